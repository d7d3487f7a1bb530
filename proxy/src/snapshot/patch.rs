//! A snapshot with few changes, for no more than they cost: what depends on what is written here.
//!
//! Certificates come first, since upstreams and services show them; then upstreams, which services
//! name; services, which routes have; plugins, whose chains routes have; and the routes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use silverback_model::{
    Entity, Record,
    entities::{PluginEntity, Route, Service, Sni},
    schema::{EntityName, references::may_refer},
    set::Entities,
};
use silverback_pdk::Registry;
use silverback_router::{BuildErrors, Router};
use uuid::Uuid;

use super::{
    CompileError, CompiledRoute, Directory, Snapshot, balancer, instances,
    parts::typed,
    refuse_passthrough,
    secrets::{Resolver, Secrets},
    targets_of,
};
use crate::{
    Config,
    balancer::Balancer,
    chain::{Affected, Known},
    tls::{Certificates, Maker, Materials},
};

/// How many entities of a kind may have changed at the most: with more, it is as quick to compile
/// all of them. The router sorts this many in for every change.
const CHANGES_MAX: usize = 5_000;

/// From this many changes of the router on, a new base is worth its while.
const CHANGES_MANY: usize = 200;

/// A router with a new base, and the snapshot that it was made of.
pub struct Rebase {
    before: Arc<Snapshot>,
    router: Router,
}

impl Snapshot {
    /// This snapshot, which is compiled of `old`, as one that is compiled of `new`; none if too
    /// much has changed ([`Snapshot::compile_without_wrong`]).
    pub fn patched(
        &self,
        old: &Entities,
        new: &Entities,
        directory: &Arc<dyn Directory>,
        registry: &Registry,
        config: &Config,
    ) -> Option<(Snapshot, Vec<CompileError>)> {
        let between = |kind| Changes::between(old, new, kind);
        let mut changes = AllChanges {
            certificates: between("certificates")?,
            authorities: between("ca_certificates")?,
            snis: between("snis")?,
            upstreams: between("upstreams")?,
            targets: between("targets")?,
            services: between("services")?,
            plugins: between("plugins")?,
            routes: between("routes")?,
        };
        let secrets = match between("vaults")?.is_empty() {
            true => Secrets::clone(&self.secrets),
            false => {
                changes.add_references(new);
                self.secrets.to_renew()
            }
        };
        Some(self.changed(changes, secrets, new, directory, registry, config))
    }

    /// The snapshot of the same entities with the secrets that they refer to as these are now.
    pub fn with_secrets(
        &self,
        entities: &Entities,
        directory: &Arc<dyn Directory>,
        registry: &Registry,
        config: &Config,
    ) -> (Snapshot, Vec<CompileError>) {
        let mut changes = AllChanges::default();
        changes.add_references(entities);
        self.changed(changes, self.secrets.to_renew(), entities, directory, registry, config)
    }

    fn changed(
        &self,
        changes: AllChanges,
        secrets: Secrets,
        new: &Entities,
        directory: &Arc<dyn Directory>,
        registry: &Registry,
        config: &Config,
    ) -> (Snapshot, Vec<CompileError>) {
        let next = Snapshot { directory: Arc::clone(directory), ..self.clone() };
        let mut patch = Patch { before: self, next, new, changes, config, errors: Vec::new() };
        let mut resolver = Resolver::with(&**directory, Some(&self.secrets), secrets);
        patch.certificates(&mut resolver);
        let secrets = resolver.finish();
        let known = self.client_configs.clone();
        let mut maker = Maker::new(Materials::In(new, &secrets), config, Some(&known));
        let names = patch.upstreams(&mut maker);
        let services = patch.services(&names, &mut maker);
        if let Some(configs) = maker.finish_beside() {
            patch.next.client_configs = Arc::new(configs);
        }
        let mut resolver = Resolver::with(&**directory, Some(&self.secrets), secrets);
        let affected = patch.plugins(registry, &mut resolver);
        patch.next.secrets = Arc::new(resolver.finish());
        patch.routes(&services, &affected);
        (patch.next, patch.errors)
    }

    /// Whether so many routes have changed that a new base should be made.
    pub fn is_patchy(&self) -> bool {
        self.router.changes() > CHANGES_MANY
    }

    /// The same with all routes in the base. It takes its time.
    #[must_use]
    pub fn rebased(&self) -> Snapshot {
        Snapshot { router: self.router.rebased(), ..self.clone() }
    }

    /// Makes a new base, for what this snapshot has become by then ([`Snapshot::on`]).
    pub fn rebase(self: Arc<Snapshot>) -> Rebase {
        Rebase { router: self.router.rebased(), before: self }
    }

    /// The same on a new base; none if more than changes came since that was begun.
    pub fn on(&self, rebase: &Rebase) -> Option<Snapshot> {
        let router = self.router.on(&rebase.router, &rebase.before.router)?;
        Some(Snapshot { router, ..self.clone() })
    }
}

/// What differs between two sets of entities, of a kind.
#[derive(Default)]
struct Changes {
    /// What is not there any more, or is otherwise now, as it was.
    old: HashMap<Uuid, Arc<Record>>,
    /// What was not there, or was otherwise, as it is.
    new: HashMap<Uuid, Arc<Record>>,
}

impl Changes {
    /// None if they are too many.
    fn between(old: &Entities, new: &Entities, kind: &str) -> Option<Changes> {
        let (old, new) = (old.of(kind), new.of(kind));
        let few = |records: Vec<&Arc<Record>>| {
            let records = (records.len() <= CHANGES_MAX).then_some(records)?;
            let with_id = |record: &Arc<Record>| Some((id(record)?, Arc::clone(record)));
            Some(records.into_iter().filter_map(with_id).collect())
        };
        let old_ones = few(old.beyond(new).take(CHANGES_MAX + 1).collect())?;
        let new_ones = few(new.beyond(old).take(CHANGES_MAX + 1).collect())?;
        Some(Changes { old: old_ones, new: new_ones })
    }

    fn ids(&self) -> impl Iterator<Item = Uuid> {
        let only_new = self.new.keys().filter(|id| !self.old.contains_key(id));
        self.old.keys().chain(only_new).copied()
    }

    fn has(&self, id: Uuid) -> bool {
        self.old.contains_key(&id) || self.new.contains_key(&id)
    }

    fn is_empty(&self) -> bool {
        self.old.is_empty() && self.new.is_empty()
    }
}

fn id(record: &Record) -> Option<Uuid> {
    Uuid::try_parse(record.get("id")?.as_str()?).ok()
}

/// The id that a field refers to, as it is written.
fn reference<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    record.get(field)?.get("id")?.as_str()
}

/// The typed view of a record.
fn entity<T>(record: &Arc<Record>, errors: &mut Vec<CompileError>) -> Option<Arc<Entity<T>>>
where
    T: EntityName + DeserializeOwned,
{
    typed([record], [], errors).pop()
}

#[derive(Default)]
struct AllChanges {
    certificates: Changes,
    authorities: Changes,
    snis: Changes,
    upstreams: Changes,
    targets: Changes,
    services: Changes,
    plugins: Changes,
    routes: Changes,
}

impl AllChanges {
    /// Adds what refers to secrets, as if it had changed.
    fn add_references(&mut self, entities: &Entities) {
        let kinds = [("certificates", &mut self.certificates), ("plugins", &mut self.plugins)];
        for (kind, changes) in kinds {
            for record in entities.of(kind).iter().filter(|record| may_refer(record)) {
                if let Some(id) = id(record).filter(|id| !changes.has(*id)) {
                    changes.old.insert(id, Arc::clone(record));
                    changes.new.insert(id, Arc::clone(record));
                }
            }
        }
    }
}

/// A snapshot in the making.
struct Patch<'a> {
    before: &'a Snapshot,
    next: Snapshot,
    new: &'a Entities,
    changes: AllChanges,
    config: &'a Config,
    errors: Vec<CompileError>,
}

impl Patch<'_> {
    fn certificates(&mut self, resolver: &mut Resolver<'_>) {
        let (changed, names) = (&self.changes.certificates, &self.changes.snis);
        if changed.is_empty() && names.is_empty() {
            return;
        }
        let mut certificates = Certificates::clone(&self.next.certificates);
        for id in changed.ids() {
            certificates.remove(id);
            resolver.forget(id);
        }
        let mut entities = typed(changed.new.values(), [], &mut self.errors);
        resolver.certificates(&mut entities);
        certificates.put(&entities, &mut self.errors);
        for name in names.old.values().filter_map(|sni| sni.get("name")?.as_str()) {
            certificates.unname(name);
        }
        let of_changed = changed.old.values().chain(changed.new.values());
        let of_changed = of_changed.filter_map(|certificate| certificate.get("id")?.as_str());
        let snis = of_changed.flat_map(|id| self.new.of("snis").children("certificate", id));
        let snis: Vec<Arc<Entity<Sni>>> =
            typed(snis.chain(names.new.values()), [], &mut self.errors);
        certificates.name(&snis);
        self.next.certificates = Arc::new(certificates);
    }

    /// Says which names of upstreams stand for others now.
    fn upstreams(&mut self, maker: &mut Maker<'_>) -> HashSet<String> {
        let AllChanges { upstreams, targets, certificates, .. } = &self.changes;
        let mut names = HashSet::new();
        for name in upstreams.old.values().filter_map(|upstream| upstream.get("name")?.as_str()) {
            self.next.upstream_names.remove(name);
            names.insert(name.to_owned());
        }
        let with_targets = targets.old.values().chain(targets.new.values());
        let with_targets = with_targets.filter_map(|target| reference(target, "upstream"));
        let with_targets: HashSet<&str> = with_targets.collect();
        let upstreams_now = self.new.of("upstreams");
        let unchanged = with_targets.iter().filter_map(|id| upstreams_now.get(id));
        let unchanged = unchanged.filter(|r| id(r).is_some_and(|id| !upstreams.has(id)));
        let mut made: Vec<Arc<Balancer>> = Vec::new();
        for record in upstreams.new.values().chain(unchanged) {
            let before = id(record).and_then(|id| self.before.upstreams.by(id));
            let same = before.filter(|before| Arc::ptr_eq(before.entity.record(), record));
            let same = same.map(|before| before.entity.clone());
            let Some(upstream) = same.or_else(|| entity(record, &mut self.errors)) else {
                continue;
            };
            let key = record.get("id").and_then(|id| id.as_str()).unwrap_or_default();
            let targets = self.new.of("targets").children("upstream", key);
            let targets = typed(targets, [], &mut self.errors);
            let targets = targets_of(targets.iter().collect());
            made.push(balancer(&upstream, targets, before, &self.next.registrar));
        }
        let stays: HashSet<Uuid> = made.iter().map(|balancer| balancer.entity.id).collect();
        for id in upstreams.old.keys().filter(|id| !stays.contains(id)) {
            self.next.upstreams.remove(*id);
        }
        for balancer in &made {
            let upstream = &balancer.entity;
            let number = self.next.upstreams.put(upstream.id, balancer.clone());
            if upstreams.has(upstream.id) {
                names.insert(upstream.name.clone());
                self.next.upstream_names.insert(upstream.name.clone(), number);
            }
        }
        if !certificates.is_empty() {
            made = self.next.upstreams.iter().map(|(_, balancer)| balancer.clone()).collect();
        }
        for balancer in made {
            balancer.probe_tls.store(maker.probe(&balancer.entity, &mut self.errors));
        }
        names
    }

    /// Says of which services the routes have to be routed anew.
    fn services(&mut self, names: &HashSet<String>, maker: &mut Maker<'_>) -> HashSet<String> {
        let AllChanges { services, certificates, authorities, .. } = &self.changes;
        let mut to_compile: Vec<Arc<Entity<Service>>> =
            typed(services.new.values(), [], &mut self.errors);
        let tls_changed = !certificates.is_empty() || !authorities.is_empty();
        if tls_changed || !names.is_empty() {
            let shows = |id: Option<Uuid>| id.is_some_and(|id| certificates.has(id));
            let concerned = self.next.services.iter().filter(|(_, service)| {
                let service = &service.entity;
                let trusts = service.ca_certificates.iter().flatten();
                names.contains(&service.host)
                    || trusts.into_iter().any(|id| authorities.has(*id))
                    || shows(service.client_certificate.map(|c| c.id))
                    || tls_changed && self.upstream_shows(service, shows)
            });
            let concerned = concerned.map(|(_, service)| service.entity.clone());
            to_compile.extend(concerned.filter(|service| !services.has(service.id)));
        }
        let is_enabled = |snapshot: &Snapshot, id| {
            snapshot.services.by(id).map(|service| service.entity.enabled)
        };
        let stays: HashSet<Uuid> = to_compile.iter().map(|service| service.id).collect();
        for id in services.old.keys().filter(|id| !stays.contains(id)) {
            self.next.services.remove(*id);
        }
        for service in &to_compile {
            let compiled = self.next.compile_service(service, maker, &mut self.errors);
            self.next.services.put(service.id, compiled);
        }
        let records = services.old.values().chain(services.new.values());
        let otherwise = records.filter(|record| {
            let id = id(record);
            id.is_some_and(|id| is_enabled(self.before, id) != is_enabled(&self.next, id))
        });
        let ids = otherwise.filter_map(|record| record.get("id")?.as_str());
        ids.map(str::to_owned).collect()
    }

    fn upstream_shows(&self, service: &Service, shows: impl Fn(Option<Uuid>) -> bool) -> bool {
        let number = self.next.upstream_names.get(service.host.as_str());
        let upstream = number.and_then(|number| self.next.upstreams.get(*number));
        upstream.is_some_and(|upstream| shows(upstream.entity.client_certificate.map(|c| c.id)))
    }

    fn plugins(&mut self, registry: &Registry, resolver: &mut Resolver<'_>) -> Affected {
        let plugins = &self.changes.plugins;
        if plugins.is_empty() {
            return Affected::default();
        }
        let entities: Vec<Arc<Entity<PluginEntity>>> =
            typed(plugins.new.values(), [], &mut self.errors);
        let entities = entities.iter().filter(|entity| entity.enabled);
        let made: Vec<_> = entities
            .map(|entity| {
                let before = self.before.instances.by(entity.id);
                instances::instance(entity, before, registry, resolver, &mut self.errors)
            })
            .collect();
        let stays: HashSet<Uuid> = made.iter().map(|instance| instance.id).collect();
        for id in plugins.ids().filter(|id| !stays.contains(id)) {
            self.next.instances.remove(id);
        }
        for instance in made {
            self.next.instances.put(instance.id, instance);
        }
        let changed = plugins.ids().collect();
        let (before, now) = (&self.before.instances, &self.next.instances);
        let (chains, affected) = self.next.chains.changed(registry, &changed, before, now);
        self.next.chains = Arc::new(chains);
        affected
    }

    /// Compiles the routes that changed, those that have to be routed anew, and those that have
    /// other chains.
    fn routes(&mut self, services: &HashSet<String>, affected: &Affected) {
        let routes = &self.changes.routes;
        let mut changed: Vec<Arc<Entity<Route>>> = typed(routes.new.values(), [], &mut self.errors);
        let known = |record: &Arc<Record>| {
            let route = self.before.routes.by(id(record)?)?;
            Arc::ptr_eq(route.entity.record(), record).then(|| route.entity.clone())
        };
        let of = |service: &str| {
            let children = self.new.of("routes").children("service", service);
            children.filter_map(known).collect::<Vec<_>>()
        };
        changed.extend(services.iter().flat_map(|service| of(service)));
        let mut others: Vec<Arc<Entity<Route>>> =
            affected.services.iter().flat_map(|service| of(&service.to_string())).collect();
        let unchanged = affected.routes.iter().filter(|id| !routes.has(**id));
        let unchanged = unchanged.filter_map(|id| self.before.routes.by(*id));
        others.extend(unchanged.map(|route| route.entity.clone()));
        if affected.all {
            let has_own =
                |route: &&CompiledRoute| route.chain.is_some() && !routes.has(route.entity.id);
            let all = self.before.routes.iter().map(|(_, route)| route);
            others.extend(all.filter(has_own).map(|route| route.entity.clone()));
        }
        let stays: HashSet<Uuid> = changed.iter().map(|route| route.id).collect();
        let gone = routes.old.keys().filter(|id| !stays.contains(id));
        let gone: Vec<u32> = gone.filter_map(|id| self.next.routes.remove(*id)).collect();
        let mut chains = Known::new();
        let mut put = |next: &mut Snapshot, route: &Arc<Entity<Route>>| {
            let compiled = next.compile_route(route, &mut chains);
            next.routes.put(route.id, compiled)
        };
        others.iter().for_each(|route| _ = put(&mut self.next, route));
        let numbers: Vec<u32> = changed.iter().map(|route| put(&mut self.next, route)).collect();
        self.route_anew(&gone, &numbers);
    }

    fn route_anew(&mut self, gone: &[u32], numbers: &[u32]) {
        if gone.is_empty() && numbers.is_empty() {
            return;
        }
        let next = &self.next;
        let routes = || numbers.iter().filter_map(|n| Some((*n, next.routes.get(*n)?)));
        if self.config.listeners.iter().any(|listener| listener.stream) {
            self.errors.extend(routes().filter_map(|(_, route)| refuse_passthrough(route)));
        }
        let gone = gone.iter().map(|number| (*number, None));
        let inputs = routes().map(|(number, route)| (number, Some(next.input(route))));
        let (mut router, wrong) = next.router.changed(gone.chain(inputs));
        if !wrong.is_empty() {
            self.errors.push(BuildErrors(wrong).into());
        }
        if router.changes() > CHANGES_MAX {
            router = router.rebased();
        }
        self.next.router = router;
    }
}
