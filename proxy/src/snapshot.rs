//! The configuration, compiled: what every request works on, immutable, replaced whole.

mod directory;
mod instances;
mod layers;
mod parts;
mod patch;
mod secrets;

use std::{collections::HashMap, fmt, sync::Arc};

use silverback_model::{
    Entity,
    entities::{Protocol, Route, Service, Upstream},
};
use silverback_pdk::Registry;
use silverback_router::{BuildErrors, RouteInput, Router};
use thiserror::Error;
use uuid::Uuid;

pub use self::{
    directory::{Directory, NoDirectory},
    parts::Parts,
    patch::PATCHED,
};
use self::{
    layers::Layers,
    secrets::{Resolver, Secrets},
};
use crate::{
    Config,
    balancer::{Balancer, Registrar, Target},
    chain::{Chains, Instance},
    tls::{Certificates, ClientConfigs, Maker, ServiceTls},
};

/// The configuration, compiled.
pub struct Snapshot {
    pub(crate) router: Router,
    pub(crate) routes: Layers<CompiledRoute>,
    pub(crate) services: Layers<CompiledService>,
    pub(crate) upstreams: Arc<Vec<Arc<Balancer>>>,
    /// Where balancers that need tending are put down.
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) upstream_names: Arc<HashMap<String, u32>>,
    pub(crate) instances: Arc<Vec<Instance>>,
    pub(crate) chains: Arc<Chains>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) client_configs: Arc<ClientConfigs>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) directory: Arc<dyn Directory>,
}

/// A route and what is known of it beforehand.
#[derive(Clone)]
pub(crate) struct CompiledRoute {
    pub(crate) entity: Arc<Entity<Route>>,
    /// Its service, counted as in [`Snapshot::services`].
    pub(crate) service: Option<u32>,
    /// Its chain.
    pub(crate) chain: u32,
    /// Whether plain HTTP is answered with what `https_redirect_status_code` says.
    pub(crate) https_only: bool,
    /// Whether it is for gRPC.
    pub(crate) grpc: bool,
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
        mut parts: Parts,
        registry: &Registry,
        config: &Config,
        previous: Option<&Snapshot>,
    ) -> (Snapshot, Vec<CompileError>) {
        let mut errors = Vec::new();
        let directory = Arc::clone(&parts.directory);
        let mut resolver = Resolver::new(&*directory, previous.map(|p| &*p.secrets));
        resolver.certificates(&mut parts.certificates);
        let registrar = previous.map(|p| p.registrar.clone()).unwrap_or_default();
        let upstreams = compile_upstreams(&parts, previous, &registrar);
        let upstream_names: HashMap<_, _> =
            (0..).zip(&upstreams).map(|(i, u)| (u.entity.name.clone(), i)).collect();
        let certificates = Certificates::compile(&parts, config, previous, &mut errors);
        let known = previous.map(|p| &*p.client_configs);
        let mut maker = Maker::new(&parts, config, known);
        let services: Vec<_> = parts
            .services
            .iter()
            .map(|entity| CompiledService {
                entity: entity.clone(),
                upstream: upstream_names.get(&entity.host).copied(),
                tls: {
                    let upstream = upstream_names.get(&entity.host);
                    let upstream = upstream.and_then(|u| upstreams.get(*u as usize));
                    maker.service(entity, upstream.map(|u| &**u), &mut errors)
                },
            })
            .collect();
        let probes: Vec<_> =
            upstreams.iter().map(|balancer| maker.probe(&balancer.entity, &mut errors)).collect();
        let client_configs = maker.finish();
        let instances =
            instances::compile(&parts.plugins, registry, previous, &mut resolver, &mut errors);
        let mut chains = Chains::of(registry, &instances);
        let services = Layers::new(services, |service| service.entity.id);
        let routes: Vec<_> = parts
            .routes
            .iter()
            .map(|route| {
                let service = route.service.map(|service| service.id);
                let chain = chains.add(is_stream(route), Some(route.id), service, &instances);
                compile_route(route, service.and_then(|id| services.position(id)), chain)
            })
            .collect();
        if config.listeners.iter().any(|listener| listener.stream) {
            errors.extend(routes.iter().filter_map(refuse_passthrough));
        }
        let router = build_router(config, &routes, &services, &mut errors);
        for (balancer, tls) in upstreams.iter().zip(probes) {
            balancer.probe_tls.store(tls);
        }
        let snapshot = Snapshot {
            router,
            routes: Layers::new(routes, |route| route.entity.id),
            services,
            upstreams: Arc::new(upstreams),
            registrar,
            upstream_names: Arc::new(upstream_names),
            instances: Arc::new(instances),
            chains: Arc::new(chains),
            certificates: Arc::new(certificates),
            client_configs: Arc::new(client_configs),
            secrets: Arc::new(resolver.finish()),
            directory: parts.directory,
        };
        (snapshot, errors)
    }

    /// A snapshot of no entities at all: every request is answered 404.
    pub fn empty() -> Snapshot {
        Snapshot {
            router: Router::default(),
            routes: Layers::default(),
            services: Layers::default(),
            upstreams: Arc::default(),
            registrar: Arc::default(),
            upstream_names: Arc::default(),
            instances: Arc::default(),
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
        let known: HashMap<Uuid, &Arc<Balancer>> =
            other.upstreams.iter().map(|balancer| (balancer.entity.id, balancer)).collect();
        for balancer in self.upstreams.iter() {
            match known.get(&balancer.entity.id) {
                Some(other) if !Arc::ptr_eq(other, balancer) => balancer.adopt(other),
                _ => {}
            }
        }
    }

    /// What balances an upstream, by the upstream's id.
    pub fn balancer(&self, upstream: Uuid) -> Option<&Arc<Balancer>> {
        self.upstreams.iter().find(|balancer| balancer.entity.id == upstream)
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

/// An upstream that has not changed keeps its balancer; one that has keeps what is known of its
/// targets' health.
fn compile_upstreams(
    parts: &Parts,
    previous: Option<&Snapshot>,
    registrar: &Registrar,
) -> Vec<Arc<Balancer>> {
    let mut targets: HashMap<Uuid, Vec<Target>> = HashMap::new();
    let mut entities: Vec<_> = parts.targets.iter().collect();
    // As Kong has them: the oldest first.
    entities.sort_by(|a, b| a.created_at.total_cmp(&b.created_at).then(a.id.cmp(&b.id)));
    for entity in entities {
        if let Some(target) = Target::of(entity) {
            targets.entry(entity.upstream.id).or_default().push(target);
        }
    }
    let before: HashMap<Uuid, &Arc<Balancer>> =
        previous.iter().flat_map(|p| p.upstreams.iter()).map(|b| (b.entity.id, b)).collect();
    let of = |entity: &Arc<Entity<Upstream>>| {
        let targets = targets.remove(&entity.id).unwrap_or_default();
        let before = before.get(&entity.id).copied();
        match before.filter(|before| before.is_for(entity, &targets)) {
            Some(same) => same.clone(),
            None => {
                let before = before.map(|before| &**before);
                let balancer = Arc::new(Balancer::new(entity.clone(), targets, before));
                registrar.add(&balancer);
                balancer
            }
        }
    };
    parts.upstreams.iter().map(of).collect()
}

fn compile_route(route: &Arc<Entity<Route>>, service: Option<u32>, chain: u32) -> CompiledRoute {
    let has = |protocol| route.protocols.contains(&protocol);
    CompiledRoute {
        entity: route.clone(),
        service,
        chain,
        https_only: has(Protocol::Https) && !has(Protocol::Http),
        grpc: has(Protocol::Grpc) || has(Protocol::Grpcs),
    }
}

/// Whether a route is for connections rather than requests.
fn is_stream(route: &Route) -> bool {
    route.protocols.first().is_some_and(|protocol| protocol.is_stream())
}

/// TLS is ended here, or not looked into at all: passing it on by its server name is not there yet.
fn refuse_passthrough(route: &CompiledRoute) -> Option<CompileError> {
    let route = &route.entity;
    let passes = route.protocols.contains(&Protocol::TlsPassthrough);
    let name = || route.name.clone().unwrap_or_else(|| route.id.to_string());
    passes.then(|| CompileError::Passthrough { route: name() })
}

fn build_router(
    config: &Config,
    routes: &[CompiledRoute],
    services: &Layers<CompiledService>,
    errors: &mut Vec<CompileError>,
) -> Router {
    let service = |at: u32| services.get(at).map(|s| &**s.entity);
    let inputs: Vec<_> = routes
        .iter()
        .map(|r| RouteInput { route: &r.entity, service: r.service.and_then(service) })
        .collect();
    let (router, wrong) = Router::build_without_wrong(config.flavor, &inputs);
    if !wrong.is_empty() {
        errors.push(BuildErrors(wrong).into());
    }
    router
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
