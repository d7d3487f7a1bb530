//! Who runs: for each route the plugins of each phase, found when the snapshot is compiled.
//!
//! Of the instances of a plugin one runs for a request, the one with the narrowest scope
//! (kong/runloop/plugins_iterator.lua). All of the scope but the consumer is known beforehand;
//! where a plugin has instances for consumers, its turn in access decides, when authentication
//! has run. What access has chosen runs in the later phases, whether or not access came to its end.

mod run;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use silverback_model::Record;
use silverback_pdk::{Phase, Phases, Registry};
use uuid::Uuid;

pub(crate) use self::run::{
    Ran, access, body_filter, certificate, header_filter, log, preread, response, rewrite,
};

/// A configured plugin.
pub(crate) struct Instance {
    /// The entity's id.
    pub(crate) id: Uuid,
    /// The plugin's name.
    pub(crate) plugin: String,
    /// The entity.
    pub(crate) record: Arc<Record>,
    /// The same with secrets, where it refers to some.
    pub(crate) resolved: Option<Arc<Record>>,
    /// What it is limited to.
    pub(crate) scope: Scope,
    /// Whether its protocols have it run for requests.
    pub(crate) for_requests: bool,
    /// Whether its protocols have it run for streams.
    pub(crate) for_streams: bool,
    /// Its handlers.
    pub(crate) phases: Arc<Phases>,
}

/// What an instance is limited to; none of them is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) route: Option<Uuid>,
    pub(crate) service: Option<Uuid>,
    pub(crate) consumer: Option<Uuid>,
}

/// The phases that run what access has chosen.
const LATER: [Phase; 4] = [Phase::Response, Phase::HeaderFilter, Phase::BodyFilter, Phase::Log];

/// All chains. Routes with the same plugins share one.
#[derive(Default, Clone)]
pub(crate) struct Chains {
    chains: Vec<Chain>,
    /// What runs where no route was found, and before it is.
    globals: Lists,
    /// Instances for consumers, by plugin and the rest of their scope.
    tables: Vec<HashMap<Uuid, u32>>,
    plugins: Vec<Candidates>,
    /// The same for streams.
    stream_plugins: Vec<Candidates>,
    /// The chain of a stream for which no route was found, and before it is.
    pub(crate) of_streams: u32,
    known: HashMap<Vec<Slot>, u32>,
}

/// The instances of one plugin.
#[derive(Default, Clone)]
struct Candidates {
    /// Those for any consumer, by route and service.
    plain: HashMap<(Option<Uuid>, Option<Uuid>), u32>,
    /// Those for a consumer: the table, by route and service.
    by_consumer: HashMap<(Option<Uuid>, Option<Uuid>), u32>,
}

/// What runs for a route.
#[derive(Clone)]
pub(crate) struct Chain {
    slots: Vec<Slot>,
    /// Whether any slot waits for the consumer.
    has_consumers: bool,
    /// Where none does, what runs in each phase.
    lists: Lists,
    access: Box<[u32]>,
}

/// One plugin's place in a chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    /// Tables for the consumer, narrowest scope first.
    tables: Vec<u32>,
    /// What runs where none of them knows the consumer.
    plain: Option<u32>,
}

/// Instances by phase.
#[derive(Default, Clone)]
pub(crate) struct Lists {
    certificate: Box<[u32]>,
    rewrite: Box<[u32]>,
    preread: Box<[u32]>,
    later: [Box<[u32]>; LATER.len()],
}

impl Lists {
    fn of(chosen: &[u32], instances: &[Instance]) -> Lists {
        let list = |phase| {
            let has = |i: &&u32| {
                instances.get(**i as usize).is_some_and(|i| i.phases.get(phase).is_some())
            };
            chosen.iter().filter(has).copied().collect()
        };
        Lists {
            certificate: list(Phase::Certificate),
            rewrite: list(Phase::Rewrite),
            preread: list(Phase::Preread),
            later: LATER.map(list),
        }
    }

    fn later(&self, phase: Phase) -> &[u32] {
        match LATER.iter().position(|&p| p == phase) {
            Some(at) => self.later.get(at).map_or(&[], |list| list),
            None => &[],
        }
    }
}

impl Chains {
    /// Sorts the instances by plugin, in the order in which plugins run.
    pub(crate) fn of(registry: &Registry, instances: &[Instance]) -> Chains {
        let mut tables = Vec::new();
        let plugins = candidates(registry, instances, |i| i.for_requests, &mut tables);
        let stream_plugins = candidates(registry, instances, |i| i.for_streams, &mut tables);
        let globals: Vec<_> =
            plugins.iter().filter_map(|p| p.plain.get(&(None, None)).copied()).collect();
        let globals = Lists::of(&globals, instances);
        let mut chains = Chains { globals, tables, plugins, stream_plugins, ..Chains::default() };
        // Chain 0 is that of no route at all, for errors before access.
        chains.intern(slots(&chains.plugins, None, None), instances);
        chains.of_streams = chains.intern(slots(&chains.stream_plugins, None, None), instances);
        chains
    }

    /// The chain for a route of requests, or of streams, and its service.
    pub(crate) fn add(
        &mut self,
        stream: bool,
        route: Option<Uuid>,
        service: Option<Uuid>,
        instances: &[Instance],
    ) -> u32 {
        let plugins = if stream { &self.stream_plugins } else { &self.plugins };
        let slots = slots(plugins, route, service);
        self.intern(slots, instances)
    }

    /// The same, if there is such a chain already.
    pub(crate) fn known(
        &self,
        stream: bool,
        route: Option<Uuid>,
        service: Option<Uuid>,
    ) -> Option<u32> {
        let plugins = if stream { &self.stream_plugins } else { &self.plugins };
        self.known.get(&slots(plugins, route, service)).copied()
    }

    pub(crate) fn get(&self, chain: u32) -> Option<&Chain> {
        self.chains.get(chain as usize)
    }

    fn intern(&mut self, slots: Vec<Slot>, instances: &[Instance]) -> u32 {
        if let Some(known) = self.known.get(&slots) {
            return *known;
        }
        let plain: Vec<_> = slots.iter().filter_map(|slot| slot.plain).collect();
        let in_access =
            |i: &u32| instances.get(*i as usize).is_some_and(|i| i.phases.access.is_some());
        let number = u32::try_from(self.chains.len()).unwrap_or(u32::MAX);
        self.chains.push(Chain {
            has_consumers: slots.iter().any(|slot| !slot.tables.is_empty()),
            lists: Lists::of(&plain, instances),
            access: plain.iter().copied().filter(in_access).collect(),
            slots: slots.clone(),
        });
        self.known.insert(slots, number);
        number
    }
}

/// The instances that are for requests, or for streams, by plugin, in the order in which plugins
/// run. Those for consumers go into tables.
fn candidates(
    registry: &Registry,
    instances: &[Instance],
    counts: fn(&Instance) -> bool,
    tables: &mut Vec<HashMap<Uuid, u32>>,
) -> Vec<Candidates> {
    let order: HashMap<_, _> =
        (0_u32..).zip(registry.in_order()).map(|(i, p)| (p.name.as_str(), i)).collect();
    let mut plugins: BTreeMap<(u32, &str), Candidates> = BTreeMap::new();
    for (number, instance) in (0..).zip(instances).filter(|(_, i)| counts(i)) {
        let name = instance.plugin.as_str();
        let place = (order.get(name).copied().unwrap_or(u32::MAX), name);
        let candidates = plugins.entry(place).or_default();
        let Scope { route, service, consumer } = instance.scope;
        match consumer {
            None => {
                candidates.plain.insert((route, service), number);
            }
            Some(consumer) => {
                let table = *candidates.by_consumer.entry((route, service)).or_insert_with(|| {
                    tables.push(HashMap::new());
                    u32::try_from(tables.len() - 1).unwrap_or(u32::MAX)
                });
                if let Some(table) = tables.get_mut(table as usize) {
                    table.insert(consumer, number);
                }
            }
        }
    }
    plugins.into_values().collect()
}

/// The slots of the plugins that may run. The order of scopes is Kong's: consumer+route+service,
/// consumer+route, consumer+service, route+service, consumer, route, service, all.
fn slots(plugins: &[Candidates], route: Option<Uuid>, service: Option<Uuid>) -> Vec<Slot> {
    let slot = |plugin: &Candidates| {
        let both = (route.is_some() && service.is_some()).then_some((route, service));
        let of_route = route.map(|_| (route, None));
        let of_service = service.map(|_| (None, service));
        let plain = |scope: Option<_>| plugin.plain.get(&scope?).copied();
        let table = |scope: Option<_>| plugin.by_consumer.get(&scope?).copied();
        let on_both = plain(both);
        let mut tables: Vec<_> =
            [both, of_route, of_service].into_iter().filter_map(table).collect();
        if on_both.is_none() {
            tables.extend(table(Some((None, None))));
        }
        let rest = [of_route, of_service, Some((None, None))];
        let plain = on_both.or_else(|| rest.into_iter().find_map(plain));
        (plain.is_some() || !tables.is_empty()).then_some(Slot { tables, plain })
    };
    plugins.iter().filter_map(slot).collect()
}
