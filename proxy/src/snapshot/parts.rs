//! What a snapshot is compiled from.

use std::sync::Arc;

use silverback_model::{
    Entity,
    entities::{CaCertificate, Certificate, PluginEntity, Route, Service, Sni, Target, Upstream},
};

use super::{Directory, NoDirectory};

/// The entities that a snapshot is compiled from, validated, and where plugins look up others.
#[derive(Clone)]
pub struct Parts {
    /// All routes.
    pub routes: Vec<Arc<Entity<Route>>>,
    /// All services.
    pub services: Vec<Arc<Entity<Service>>>,
    /// All upstreams.
    pub upstreams: Vec<Arc<Entity<Upstream>>>,
    /// All targets.
    pub targets: Vec<Arc<Entity<Target>>>,
    /// All uses of plugins.
    pub plugins: Vec<Arc<Entity<PluginEntity>>>,
    /// All certificates.
    pub certificates: Vec<Arc<Entity<Certificate>>>,
    /// All server names.
    pub snis: Vec<Arc<Entity<Sni>>>,
    /// All authorities.
    pub ca_certificates: Vec<Arc<Entity<CaCertificate>>>,
    /// Where plugins look up entities of any kind.
    pub directory: Arc<dyn Directory>,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            routes: Vec::new(),
            services: Vec::new(),
            upstreams: Vec::new(),
            targets: Vec::new(),
            plugins: Vec::new(),
            certificates: Vec::new(),
            snis: Vec::new(),
            ca_certificates: Vec::new(),
            directory: Arc::new(NoDirectory),
        }
    }
}
