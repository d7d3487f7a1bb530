//! The configuration, compiled: what every request works on, immutable, replaced whole.

mod directory;
mod instances;
mod parts;
mod patch;
mod retired;
mod secrets;
mod slots;

use std::{collections::HashMap, fmt, sync::Arc};

use silverback_model::{
    Entity,
    entities::{Protocol, Route, Service, Target as TargetEntity, Upstream},
};
use silverback_pdk::Registry;
use silverback_router::{BuildErrors, RouteInput, Router};
use thiserror::Error;
use uuid::Uuid;

use self::secrets::Resolver;
pub use self::{
    directory::{Directory, NoDirectory},
    instances::Configured,
    parts::Parts,
    patch::Rebase,
    retired::{after_freeing, retire},
};
pub(crate) use self::{
    secrets::Secrets,
    slots::{SharedMap, Slots},
};
use crate::{
    Config,
    balancer::{Balancer, Registrar, Target},
    chain::{Chain, Chains, Instance, Known},
    tls::{Certificates, ClientConfigs, Maker, Materials, ServiceTls},
};

/// The configuration, compiled. Copies share what it is made of.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) router: Router,
    pub(crate) routes: Slots<CompiledRoute>,
    pub(crate) services: Slots<CompiledService>,
    pub(crate) upstreams: Slots<Arc<Balancer>>,
    /// Where balancers that need tending are put down.
    pub(crate) registrar: Arc<Registrar>,
    /// Their numbers, by name.
    pub(crate) upstream_names: SharedMap<String, u32>,
    pub(crate) instances: Slots<Instance>,
    pub(crate) chains: Arc<Chains>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) client_configs: Arc<ClientConfigs>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) directory: Arc<dyn Directory>,
}

/// A route and what is known of it beforehand. Requests that need no more don't look at the entity:
/// of many routes, none is in a cache.
#[derive(Clone)]
pub(crate) struct CompiledRoute {
    pub(crate) entity: Arc<Entity<Route>>,
    /// Its service, by its number in [`Snapshot::services`].
    pub(crate) service: Option<u32>,
    /// Whether it is for connections rather than requests.
    pub(crate) stream: bool,
    /// Its chain, where it is not that of all routes.
    pub(crate) chain: Option<Arc<Chain>>,
    /// Whether plain HTTP is answered with what `https_redirect_status_code` says.
    pub(crate) https_only: bool,
    /// Whether it is for gRPC.
    pub(crate) grpc: bool,
    /// Whether the upstream sees the client's Host.
    pub(crate) preserve_host: bool,
}

/// A service and what is known of it beforehand.
#[derive(Clone)]
pub(crate) struct CompiledService {
    pub(crate) entity: Arc<Entity<Service>>,
    /// The upstream that its host names.
    pub(crate) upstream: Option<u32>,
    /// How it is spoken to with TLS.
    pub(crate) tls: ServiceTls,
}

impl Snapshot {
    /// Compiles a configuration. What is unchanged since `previous` is taken from there: a plugin
    /// whose entity is the same keeps its handlers, so that what they hold is not started anew.
    ///
    /// # Errors
    /// Everything that is wrong; there is no half snapshot.
    pub fn compile(
        parts: Parts,
        registry: &Registry,
        config: &Config,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, CompileErrors> {
        let (snapshot, errors) = Snapshot::compile_without_wrong(parts, registry, config, previous);
        if errors.is_empty() { Ok(snapshot) } else { Err(CompileErrors(errors)) }
    }

    /// Compiles what can be compiled, as for entities that are kept already, whoever wrote them.
    /// Of the rest, routes never match, and a plugin that can't be configured refuses what it
    /// would have run for.
    pub fn compile_without_wrong(
        parts: Parts,
        registry: &Registry,
        config: &Config,
        previous: Option<&Snapshot>,
    ) -> (Snapshot, Vec<CompileError>) {
        let plugins = Configured::of(&parts, registry, previous);
        Snapshot::compile_with(parts, plugins, registry, config, previous)
    }

    /// The same where plugins are configured already: this can be done on any thread.
    pub fn compile_with(
        mut parts: Parts,
        plugins: Configured,
        registry: &Registry,
        config: &Config,
        previous: Option<&Snapshot>,
    ) -> (Snapshot, Vec<CompileError>) {
        let mut errors = Vec::new();
        let directory = Arc::clone(&parts.directory);
        let Configured { instances, secrets, errors: of_plugins } = plugins;
        let mut resolver = Resolver::with(&*directory, previous.map(|p| &*p.secrets), secrets);
        resolver.certificates(&mut parts.certificates);
        let registrar = previous.map(|p| p.registrar.clone()).unwrap_or_default();
        let certificates = Certificates::compile(&parts, config, previous, &mut errors);
        errors.extend(of_plugins);
        let chains = Chains::of(registry, &instances);
        let mut snapshot = Snapshot {
            certificates: Arc::new(certificates),
            instances,
            chains: Arc::new(chains),
            registrar,
            ..Snapshot::empty()
        };
        snapshot.compile_upstreams(&parts, previous);
        let known = previous.map(|p| &*p.client_configs);
        let mut maker = Maker::new(Materials::of(&parts), config, known);
        let compile = |entity| snapshot.compile_service(entity, &mut maker, &mut errors);
        let services = parts.services.iter().map(compile).collect();
        snapshot.services = Slots::new(services, |service| service.entity.id);
        let probe = |(_, b): (u32, &Arc<Balancer>)| maker.probe(&b.entity, &mut errors);
        let probes: Vec<_> = snapshot.upstreams.iter().map(probe).collect();
        snapshot.client_configs = Arc::new(maker.finish());
        for ((_, balancer), tls) in snapshot.upstreams.iter().zip(probes) {
            balancer.probe_tls.store(tls);
        }
        snapshot.compile_routes(&parts, config, &mut errors);
        snapshot.secrets = Arc::new(resolver.finish());
        snapshot.directory = directory;
        (snapshot, errors)
    }

    /// The routes, and the router to them.
    fn compile_routes(&mut self, parts: &Parts, config: &Config, errors: &mut Vec<CompileError>) {
        let mut known = Known::new();
        let compile = |route| self.compile_route(route, &mut known);
        let routes: Vec<_> = parts.routes.iter().map(compile).collect();
        if config.listeners.iter().any(|listener| listener.stream) {
            errors.extend(routes.iter().filter_map(refuse_passthrough));
        }
        self.routes = Slots::new(routes, |route| route.entity.id);
        let inputs = self.routes.iter().map(|(at, route)| (at, self.input(route)));
        let (router, wrong) = Router::build_without_wrong(config.flavor, inputs);
        self.router = router;
        if !wrong.is_empty() {
            errors.push(BuildErrors(wrong).into());
        }
    }

    /// A snapshot of no entities at all: every request is answered 404.
    pub fn empty() -> Snapshot {
        Snapshot {
            router: Router::default(),
            routes: Slots::default(),
            services: Slots::default(),
            upstreams: Slots::default(),
            registrar: Arc::default(),
            upstream_names: SharedMap::default(),
            instances: Slots::default(),
            chains: Arc::default(),
            certificates: Arc::default(),
            client_configs: Arc::default(),
            secrets: Arc::default(),
            directory: Arc::new(NoDirectory),
        }
    }

    /// Takes over what the balancers of a snapshot that does not come of the same one know of
    /// their targets.
    pub(crate) fn adopt(&self, other: &Snapshot) {
        for (_, balancer) in self.upstreams.iter() {
            match other.upstreams.by(balancer.entity.id) {
                Some(other) if !Arc::ptr_eq(other, balancer) => balancer.adopt(other),
                _ => {}
            }
        }
    }

    /// What balances an upstream, by the upstream's id.
    pub fn balancer(&self, upstream: Uuid) -> Option<&Arc<Balancer>> {
        self.upstreams.by(upstream)
    }

    pub(crate) fn route(&self, route: u32) -> Option<&CompiledRoute> {
        self.routes.get(route)
    }

    pub(crate) fn service_of(&self, route: u32) -> Option<&CompiledService> {
        self.services.get(self.route(route)?.service?)
    }
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot::empty()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("routes", &self.routes.len())
            .field("services", &self.services.len())
            .field("plugins", &self.instances.len())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// An upstream that has not changed keeps its balancer; one that has keeps what is known of
    /// its targets' health.
    fn compile_upstreams(&mut self, parts: &Parts, previous: Option<&Snapshot>) {
        let mut targets: HashMap<Uuid, Vec<_>> = HashMap::new();
        for target in &parts.targets {
            targets.entry(target.upstream.id).or_default().push(target);
        }
        let of = |entity: &Arc<Entity<Upstream>>| {
            let targets = targets_of(targets.remove(&entity.id).unwrap_or_default());
            let before = previous.and_then(|previous| previous.upstreams.by(entity.id));
            balancer(entity, targets, before, &self.registrar)
        };
        let upstreams: Vec<_> = parts.upstreams.iter().map(of).collect();
        self.upstream_names = upstreams.iter().map(|u| u.entity.name.clone()).zip(0..).collect();
        self.upstreams = Slots::new(upstreams, |upstream| upstream.entity.id);
    }

    fn compile_service(
        &self,
        entity: &Arc<Entity<Service>>,
        maker: &mut Maker<'_>,
        errors: &mut Vec<CompileError>,
    ) -> CompiledService {
        let upstream = self.upstream_names.get(entity.host.as_str()).copied();
        let balancer = upstream.and_then(|upstream| self.upstreams.get(upstream));
        let tls = maker.service(entity, balancer.map(|balancer| &**balancer), errors);
        CompiledService { entity: entity.clone(), upstream, tls }
    }

    fn compile_route(&self, entity: &Arc<Entity<Route>>, known: &mut Known) -> CompiledRoute {
        let has = |protocol| entity.protocols.contains(&protocol);
        let service = entity.service.map(|service| service.id);
        let stream = entity.protocols.first().is_some_and(|protocol| protocol.is_stream());
        CompiledRoute {
            entity: entity.clone(),
            service: service.and_then(|id| self.services.number(id)),
            stream,
            chain: self.chains.own(stream, entity.id, service, &self.instances, known),
            https_only: has(Protocol::Https) && !has(Protocol::Http),
            grpc: has(Protocol::Grpc) || has(Protocol::Grpcs),
            preserve_host: entity.preserve_host,
        }
    }

    /// A route as the router wants it.
    fn input<'a>(&'a self, route: &'a CompiledRoute) -> RouteInput<'a> {
        let service = route.service.and_then(|service| self.services.get(service));
        RouteInput { route: &route.entity, service: service.map(|service| &**service.entity) }
    }
}

/// The targets of an upstream as Kong has them: the oldest first.
fn targets_of(mut entities: Vec<&Arc<Entity<TargetEntity>>>) -> Vec<Target> {
    entities.sort_by(|a, b| a.created_at.total_cmp(&b.created_at).then(a.id.cmp(&b.id)));
    entities.into_iter().filter_map(|entity| Target::of(entity)).collect()
}

fn balancer(
    entity: &Arc<Entity<Upstream>>,
    targets: Vec<Target>,
    before: Option<&Arc<Balancer>>,
    registrar: &Registrar,
) -> Arc<Balancer> {
    match before.filter(|before| before.is_for(entity, &targets)) {
        Some(same) => same.clone(),
        None => {
            let before = before.map(|before| &**before);
            let balancer = Arc::new(Balancer::new(entity.clone(), targets, before));
            registrar.add(&balancer);
            balancer
        }
    }
}

/// TLS is ended here, or not looked into at all: passing it on by its server name is not there yet.
fn refuse_passthrough(route: &CompiledRoute) -> Option<CompileError> {
    let route = &route.entity;
    let passes = route.protocols.contains(&Protocol::TlsPassthrough);
    let name = || route.name.clone().unwrap_or_else(|| route.id.to_string());
    passes.then(|| CompileError::Passthrough { route: name() })
}

/// Something that keeps a configuration from being used.
#[derive(Debug, Error)]
pub enum CompileError {
    /// Routes that no router can be built from.
    #[error(transparent)]
    Routes(#[from] BuildErrors),
    /// A route whose TLS would be passed on unopened.
    #[error(
        "route '{route}': tls_passthrough is not available yet; use 'tls', which ends TLS here"
    )]
    Passthrough {
        /// The route's name, or else its id.
        route: String,
    },
    /// An entity that does not have the fields of its kind.
    #[error("{what}: {fault}")]
    Entity {
        /// Which one: "routes UUID".
        what: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A plugin entity whose plugin is not there.
    #[error("plugin {id}: '{name}' is not enabled; add it to 'plugins' in kong.conf or remove it")]
    UnknownPlugin {
        /// The entity's id.
        id: Uuid,
        /// The plugin's name.
        name: String,
    },
    /// A plugin entity that its plugin refuses.
    #[error("plugin {id} ({name}): {fault}")]
    Plugin {
        /// The entity's id.
        id: Uuid,
        /// The plugin's name.
        name: String,
        /// The plugin's reason.
        fault: String,
    },
    /// A certificate or key that can't be used.
    #[error("{what}: {fault}")]
    Certificate {
        /// Which one: "certificate UUID", "ssl_cert".
        what: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// All that is wrong with a configuration; not empty.
#[derive(Debug, Error)]
pub struct CompileErrors(pub Vec<CompileError>);

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
