//! Who runs: for each route the plugins of each phase, found when the snapshot is compiled.
//!
//! Of the instances of a plugin one runs for a request, the one with the narrowest scope
//! (kong/runloop/plugins_iterator.lua). All of the scope but the consumer is known beforehand;
//! where a plugin has instances for consumers, its turn in access decides, when authentication
//! has run. What access has chosen runs in the later phases, whether or not access came to its end.

mod run;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use silverback_model::Record;
use silverback_pdk::{Phase, Phases, Registry};
use uuid::Uuid;

pub(crate) use self::run::{
    Ran, access, body_filter, certificate, header_filter, log, preread, response, rewrite,
};
use crate::snapshot::Slots;

/// A configured plugin.
#[derive(Clone)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) route: Option<Uuid>,
    pub(crate) service: Option<Uuid>,
    pub(crate) consumer: Option<Uuid>,
}

/// The phases that run what access has chosen.
const LATER: [Phase; 4] = [Phase::Response, Phase::HeaderFilter, Phase::BodyFilter, Phase::Log];

/// What runs, for all routes but those that have chains of their own.
#[derive(Default, Clone)]
pub(crate) struct Chains {
    /// What runs where no route was found, and before it is.
    globals: Lists,
    /// For requests: of no route at all, and of routes that nothing is limited to.
    requests: Arc<Chain>,
    /// The same for streams.
    streams: Arc<Chain>,
    /// Instances for consumers, by plugin and the rest of their scope.
    tables: Vec<Arc<HashMap<Uuid, u32>>>,
    /// Numbers of tables that are free again.
    free: Vec<u32>,
    plugins: Plugins,
    stream_plugins: Plugins,
}

/// Instances by plugin, in the order in which plugins run.
type Plugins = BTreeMap<(u32, String), Arc<Candidates>>;

/// Route and service that instances are limited to.
type Place = (Option<Uuid>, Option<Uuid>);

/// The instances of one plugin.
#[derive(Default, Clone)]
struct Candidates {
    /// Those for any consumer, by route and service.
    plain: HashMap<Place, u32>,
    /// Those for a consumer: the table, by route and service.
    by_consumer: HashMap<Place, u32>,
}

/// Whose chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ChainOf {
    /// Of requests that no route was found for.
    #[default]
    Requests,
    /// Of such streams.
    Streams,
    /// Of the route with this number.
    Route(u32),
}

/// Chains that routes have in common.
pub(crate) type Known = HashMap<Vec<Slot>, Arc<Chain>>;

/// What runs for a route.
#[derive(Default)]
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
pub(crate) struct Slot {
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
    fn of(chosen: &[u32], instances: &Slots<Instance>) -> Lists {
        let list = |phase| {
            let has = |i: &&u32| instances.get(**i).is_some_and(|i| i.phases.get(phase).is_some());
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

impl Chain {
    fn of(slots: Vec<Slot>, instances: &Slots<Instance>) -> Chain {
        let plain: Vec<_> = slots.iter().filter_map(|slot| slot.plain).collect();
        let in_access = |i: &u32| instances.get(*i).is_some_and(|i| i.phases.access.is_some());
        Chain {
            has_consumers: slots.iter().any(|slot| !slot.tables.is_empty()),
            lists: Lists::of(&plain, instances),
            access: plain.iter().copied().filter(in_access).collect(),
            slots,
        }
    }
}

impl Chains {
    /// Sorts the instances by plugin, in the order in which plugins run.
    pub(crate) fn of(registry: &Registry, instances: &Slots<Instance>) -> Chains {
        let mut chains = Chains::default();
        let order = Order::of(registry);
        for (number, instance) in instances.iter() {
            chains.insert(&order, number, instance);
        }
        chains.finish(instances);
        chains
    }

    /// These chains after instances came, changed or went, and which routes have other chains
    /// of their own now.
    pub(crate) fn changed(
        &self,
        registry: &Registry,
        changed: &HashSet<Uuid>,
        old: &Slots<Instance>,
        new: &Slots<Instance>,
    ) -> (Chains, Affected) {
        let order = Order::of(registry);
        let mut chains = self.clone();
        let mut affected = Affected::default();
        let of = |instances: &Slots<Instance>| -> Vec<(u32, Instance)> {
            let numbers = changed.iter().filter_map(|id| instances.number(*id));
            numbers.filter_map(|n| Some((n, instances.get(n)?.clone()))).collect()
        };
        let (before, after) = (of(old), of(new));
        before.iter().for_each(|(number, instance)| chains.remove(&order, *number, instance));
        after.iter().for_each(|(number, instance)| chains.insert(&order, *number, instance));
        for (_, instance) in before.iter().chain(&after) {
            // One more for a consumer where there are others changes nothing but their table.
            let tables = |chains: &Chains| chains.tables_of(&order, instance);
            if instance.scope.consumer.is_none() || tables(self) != tables(&chains) {
                affected.add(instance.scope);
            }
        }
        if affected.all {
            chains.finish(new);
        }
        (chains, affected)
    }

    /// The chain of a route of its own; none if it has that of all.
    pub(crate) fn own(
        &self,
        stream: bool,
        route: Uuid,
        service: Option<Uuid>,
        instances: &Slots<Instance>,
        known: &mut Known,
    ) -> Option<Arc<Chain>> {
        let (plugins, common) = match stream {
            true => (&self.stream_plugins, &self.streams),
            false => (&self.plugins, &self.requests),
        };
        let slots = slots(plugins, Some(route), service);
        if slots == common.slots {
            return None;
        }
        if let Some(chain) = known.get(&slots) {
            return Some(chain.clone());
        }
        let chain = Arc::new(Chain::of(slots.clone(), instances));
        known.insert(slots, chain.clone());
        Some(chain)
    }

    /// The chain of all routes that have none of their own.
    pub(crate) fn common(&self, stream: bool) -> &Chain {
        if stream { &self.streams } else { &self.requests }
    }

    /// The tables that an instance for a consumer stands in, or would.
    fn tables_of(&self, order: &Order<'_>, instance: &Instance) -> [Option<u32>; 2] {
        let key = order.of_plugin(&instance.plugin);
        let place = (instance.scope.route, instance.scope.service);
        [&self.plugins, &self.stream_plugins]
            .map(|plugins| plugins.get(&key)?.by_consumer.get(&place).copied())
    }

    fn finish(&mut self, instances: &Slots<Instance>) {
        let globals = self.plugins.values().filter_map(|p| p.plain.get(&(None, None)).copied());
        let globals: Vec<_> = globals.collect();
        self.globals = Lists::of(&globals, instances);
        self.requests = Arc::new(Chain::of(slots(&self.plugins, None, None), instances));
        self.streams = Arc::new(Chain::of(slots(&self.stream_plugins, None, None), instances));
    }

    /// Puts an instance where it is looked for. One for consumers goes into a table.
    fn insert(&mut self, order: &Order<'_>, number: u32, instance: &Instance) {
        let Scope { route, service, consumer } = instance.scope;
        let place = (route, service);
        let Chains { plugins, stream_plugins, tables, free, .. } = self;
        let of_kind = [(plugins, instance.for_requests), (stream_plugins, instance.for_streams)];
        for (plugins, _) in of_kind.into_iter().filter(|(_, counts)| *counts) {
            let candidates = plugins.entry(order.of_plugin(&instance.plugin)).or_default();
            let Some(consumer) = consumer else {
                Arc::make_mut(candidates).plain.insert(place, number);
                continue;
            };
            let known = candidates.by_consumer.get(&place).copied();
            let table = known.unwrap_or_else(|| {
                let table = free.pop().unwrap_or_else(|| {
                    tables.push(Arc::default());
                    u32::try_from(tables.len() - 1).unwrap_or(u32::MAX)
                });
                Arc::make_mut(candidates).by_consumer.insert(place, table);
                table
            });
            if let Some(table) = tables.get_mut(table as usize) {
                Arc::make_mut(table).insert(consumer, number);
            }
        }
    }

    fn remove(&mut self, order: &Order<'_>, number: u32, instance: &Instance) {
        let Scope { route, service, consumer } = instance.scope;
        let place = (route, service);
        let Chains { plugins, stream_plugins, tables, free, .. } = self;
        let of_kind = [(plugins, instance.for_requests), (stream_plugins, instance.for_streams)];
        for (plugins, _) in of_kind.into_iter().filter(|(_, counts)| *counts) {
            let Some(candidates) = plugins.get_mut(&order.of_plugin(&instance.plugin)) else {
                continue;
            };
            let Some(consumer) = consumer else {
                if candidates.plain.get(&place) == Some(&number) {
                    Arc::make_mut(candidates).plain.remove(&place);
                }
                continue;
            };
            let Some(table) = candidates.by_consumer.get(&place).copied() else { continue };
            let Some(of_consumers) = tables.get_mut(table as usize) else { continue };
            if of_consumers.get(&consumer) == Some(&number) {
                Arc::make_mut(of_consumers).remove(&consumer);
            }
            if of_consumers.is_empty() {
                Arc::make_mut(candidates).by_consumer.remove(&place);
                free.push(table);
            }
        }
    }
}

/// The order in which plugins run.
struct Order<'a>(HashMap<&'a str, u32>);

impl<'a> Order<'a> {
    fn of(registry: &'a Registry) -> Order<'a> {
        Order((0..).zip(registry.in_order()).map(|(i, p)| (p.name.as_str(), i)).collect())
    }

    fn of_plugin(&self, name: &str) -> (u32, String) {
        (self.0.get(name).copied().unwrap_or(u32::MAX), name.to_owned())
    }
}

/// Which routes have other chains of their own.
#[derive(Debug, Default)]
pub(crate) struct Affected {
    /// These.
    pub(crate) routes: HashSet<Uuid>,
    /// Those of these services.
    pub(crate) services: HashSet<Uuid>,
    /// All that have any.
    pub(crate) all: bool,
}

impl Affected {
    fn add(&mut self, scope: Scope) {
        match (scope.route, scope.service) {
            (Some(route), _) => _ = self.routes.insert(route),
            (None, Some(service)) => _ = self.services.insert(service),
            (None, None) => self.all = true,
        }
    }
}

/// The slots of the plugins that may run. The order of scopes is Kong's: consumer+route+service,
/// consumer+route, consumer+service, route+service, consumer, route, service, all.
fn slots(plugins: &Plugins, route: Option<Uuid>, service: Option<Uuid>) -> Vec<Slot> {
    let slot = |plugin: &Arc<Candidates>| {
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
    plugins.values().filter_map(slot).collect()
}

#[cfg(test)]
impl Chains {
    /// What runs of a chain, in which phases, and for whom.
    pub(crate) fn told(&self, chain: &Chain, snapshot: &crate::Snapshot) -> String {
        let id = |number: &u32| snapshot.instances.get(*number).map(|i| i.id);
        let ids = |numbers: &[u32]| format!("{:?}", numbers.iter().map(id).collect::<Vec<_>>());
        let slot = |slot: &Slot| {
            let tables = slot.tables.iter().filter_map(|table| self.tables.get(*table as usize));
            let table = |table: &Arc<HashMap<Uuid, u32>>| {
                let mut all: Vec<_> = table.iter().map(|(of, n)| (*of, id(n))).collect();
                all.sort();
                all
            };
            format!("{:?} {:?}", tables.map(table).collect::<Vec<_>>(), slot.plain.as_ref().map(id))
        };
        let slots: Vec<_> = chain.slots.iter().map(slot).collect();
        let (access, log) = (ids(&chain.access), ids(chain.lists.later(Phase::Log)));
        let globals = ids(self.globals.later(Phase::Log));
        format!("{slots:?} {access} {log} {globals} {}", chain.has_consumers)
    }
}
