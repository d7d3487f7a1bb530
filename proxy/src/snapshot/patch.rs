//! A snapshot with few changes of routes and services, for no more than they cost.

use std::{collections::HashSet, sync::Arc};

use silverback_model::{
    Entity, Record,
    entities::{Protocol, Route, Service},
    set::Entities,
};
use silverback_router::{BuildErrors, RouteInput, Router};
use uuid::Uuid;

use super::{
    CompileError, CompiledRoute, CompiledService, Directory, Parts, Snapshot, build_router,
    compile_route, is_stream, layers::Layers, parts::typed, refuse_passthrough,
};
use crate::{
    Config,
    tls::{ClientConfigs, Maker},
};

/// The kinds of entities whose changes are taken in without compiling the rest.
pub const PATCHED: [&str; 2] = ["routes", "services"];

/// How many routes or services may stand beside the base at the most: what a change costs grows
/// with them.
const RECENT_MAX: usize = 1_000;

/// From this number on, a new base is worth its while.
const RECENT_MANY: usize = 200;

/// What differs between two sets of entities.
struct Changes {
    /// What is not there any more, or is otherwise now.
    gone: HashSet<Uuid>,
    new: Vec<Arc<Record>>,
}

impl Changes {
    /// None if they are too many.
    fn between(old: &Entities, new: &Entities, kind: &str) -> Option<Changes> {
        let (old, new) = (old.of(kind), new.of(kind));
        let few = |records: Vec<_>| (records.len() <= RECENT_MAX).then_some(records);
        let gone: Vec<_> = few(old.beyond(new).take(RECENT_MAX + 1).collect())?;
        let new: Vec<_> = few(new.beyond(old).take(RECENT_MAX + 1).collect())?;
        let gone = gone.into_iter().chain(new.iter().copied()).filter_map(id).collect();
        Some(Changes { gone, new: new.into_iter().cloned().collect() })
    }
}

fn id(record: &Arc<Record>) -> Option<Uuid> {
    Uuid::try_parse(record.get("id")?.as_str()?).ok()
}

impl Snapshot {
    /// This snapshot, which is compiled of `old`, with the routes and services of `new`. What
    /// else differs is for [`Snapshot::compile_without_wrong`], as are changes of many: then
    /// there is none.
    pub fn patched(
        &self,
        old: &Entities,
        new: &Entities,
        directory: Arc<dyn Directory>,
        config: &Config,
    ) -> Option<(Snapshot, Vec<CompileError>)> {
        let changed = Changes::between(old, new, "services")?;
        let mut errors = Vec::new();
        let (services, client_configs) = self.patch_services(new, &changed, config, &mut errors);
        let mut routes = Changes::between(old, new, "routes")?;
        // Routes know their service by its position, and the router asks whether it is enabled.
        for service in &changed.gone {
            for route in new.of("routes").children("service", &service.to_string()) {
                if let Some(id) = id(route)
                    && routes.gone.insert(id)
                {
                    routes.new.push(Arc::clone(route));
                }
            }
        }
        let mut snapshot = Snapshot { directory, services, client_configs, ..self.shared() };
        snapshot.routes = self.patch_routes(&mut snapshot, &routes, &mut errors);
        if snapshot.routes.recent().len().max(snapshot.services.recent().len()) > RECENT_MAX {
            return None;
        }
        if config.listeners.iter().any(|listener| listener.stream) {
            errors.extend(snapshot.routes.recent().iter().filter_map(refuse_passthrough));
        }
        let (router, wrong) = snapshot.patch_router(&self.router)?;
        if !wrong.0.is_empty() {
            errors.push(wrong.into());
        }
        snapshot.router = router;
        Some((snapshot, errors))
    }

    /// Whether so much has been patched that a new base should be made ([`Snapshot::rebased`]).
    pub fn is_patchy(&self) -> bool {
        self.routes.recent().len().max(self.services.recent().len()) > RECENT_MANY
            || self.routes.stale().len() > 10 * RECENT_MANY
    }

    /// Whether both are patches, or bases, of what was compiled at once: neither has newer plugins
    /// or secrets than the other.
    pub fn is_beside(&self, other: &Snapshot) -> bool {
        Arc::ptr_eq(&self.instances, &other.instances)
    }

    /// The same with all routes and services in the base. It takes its time.
    pub fn rebased(&self, config: &Config) -> Snapshot {
        let services: Vec<_> = self.services.iter().cloned().collect();
        let services = Layers::new(services, |service| service.entity.id);
        let mut routes: Vec<CompiledRoute> = self.routes.iter().cloned().collect();
        for route in &mut routes {
            route.service = position(&services, route);
        }
        let router = build_router(config, &routes, &services, &mut Vec::new());
        let routes = Layers::new(routes, |route| route.entity.id);
        Snapshot { router, routes, services, ..self.shared() }
    }

    /// What patches share.
    fn shared(&self) -> Snapshot {
        Snapshot {
            router: Router::default(),
            routes: Layers::default(),
            services: Layers::default(),
            upstreams: self.upstreams.clone(),
            registrar: self.registrar.clone(),
            upstream_names: self.upstream_names.clone(),
            instances: self.instances.clone(),
            chains: self.chains.clone(),
            certificates: self.certificates.clone(),
            client_configs: self.client_configs.clone(),
            secrets: self.secrets.clone(),
            directory: self.directory.clone(),
        }
    }

    fn patch_services(
        &self,
        entities: &Entities,
        changes: &Changes,
        config: &Config,
        errors: &mut Vec<CompileError>,
    ) -> (Layers<CompiledService>, Arc<ClientConfigs>) {
        let new: Vec<Arc<Entity<Service>>> = typed(&changes.new, [], errors);
        let upstream_of = |service: &Service| {
            let upstream = self.upstream_names.get(&service.host).copied();
            let balancer = upstream.and_then(|at| self.upstreams.get(at as usize));
            (upstream, balancer.map(|balancer| &**balancer))
        };
        let speaks_tls = |service: &Arc<Entity<Service>>| {
            matches!(service.protocol, Protocol::Https | Protocol::Grpcs | Protocol::Tls)
                || upstream_of(service).1.is_some_and(|u| u.entity.client_certificate.is_some())
        };
        let mut parts = Parts::default();
        if new.iter().any(speaks_tls) {
            parts.certificates = typed(entities.of("certificates").iter(), [], errors);
            self.secrets.put(&mut parts.certificates);
            parts.ca_certificates = typed(entities.of("ca_certificates").iter(), [], errors);
        }
        let mut maker = Maker::new(&parts, config, Some(&self.client_configs));
        let compiled: Vec<_> = new
            .into_iter()
            .map(|entity| {
                let (upstream, balancer) = upstream_of(&entity);
                let tls = maker.service(&entity, balancer, errors);
                CompiledService { entity, upstream, tls }
            })
            .collect();
        let client_configs = if compiled.is_empty() {
            self.client_configs.clone()
        } else {
            Arc::new(maker.finish_beside())
        };
        (self.services.with(&changes.gone, |s| s.entity.id, compiled), client_configs)
    }

    /// The routes of `next`, whose services are there already; its chains grow as is needed.
    fn patch_routes(
        &self,
        next: &mut Snapshot,
        changes: &Changes,
        errors: &mut Vec<CompileError>,
    ) -> Layers<CompiledRoute> {
        let new: Vec<Arc<Entity<Route>>> = typed(&changes.new, [], errors);
        let compiled = new.iter().map(|route| {
            let service = route.service.map(|service| service.id);
            let stream = is_stream(route);
            let known = next.chains.known(stream, Some(route.id), service);
            let chain = known.unwrap_or_else(|| {
                let chains = Arc::make_mut(&mut next.chains);
                chains.add(stream, Some(route.id), service, &next.instances)
            });
            compile_route(route, None, chain)
        });
        let compiled: Vec<_> = compiled.collect();
        let mut routes = self.routes.with(&changes.gone, |route| route.entity.id, compiled);
        for route in routes.recent_mut() {
            route.service = position(&next.services, route);
        }
        routes
    }

    fn patch_router(&self, before: &Router) -> Option<(Router, BuildErrors)> {
        let inputs: Vec<_> = self
            .routes
            .recent()
            .iter()
            .map(|route| {
                let service = route.service.and_then(|at| self.services.get(at));
                RouteInput { route: &route.entity, service: service.map(|s| &**s.entity) }
            })
            .collect();
        let (router, wrong) = before.with_recent(&inputs, self.routes.stale().clone())?;
        Some((router, BuildErrors(wrong)))
    }
}

/// Where the service of a route is.
fn position(services: &Layers<CompiledService>, route: &CompiledRoute) -> Option<u32> {
    services.position(route.entity.service?.id)
}
