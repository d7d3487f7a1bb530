//! What a snapshot is compiled from.

use std::{collections::HashMap, sync::Arc};

use serde::de::DeserializeOwned;
use silverback_model::{
    Entity, Record,
    entities::{CaCertificate, Certificate, PluginEntity, Route, Service, Sni, Target, Upstream},
    schema::EntityName,
    set::Entities,
};

use super::{CompileError, CompileErrors, Directory, NoDirectory, Snapshot};

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

impl Parts {
    /// Reads what a set of entities holds. What `previous` has read already is taken from there.
    ///
    /// # Errors
    /// If a record was not validated by the schema of its kind.
    pub fn read(
        entities: &Entities,
        directory: Arc<dyn Directory>,
        previous: Option<&Snapshot>,
    ) -> Result<Parts, CompileErrors> {
        let (parts, errors) = Parts::read_without_wrong(entities, directory, previous);
        if errors.is_empty() { Ok(parts) } else { Err(CompileErrors(errors)) }
    }

    /// Reads what can be read, and says what can't.
    pub fn read_without_wrong(
        entities: &Entities,
        directory: Arc<dyn Directory>,
        previous: Option<&Snapshot>,
    ) -> (Parts, Vec<CompileError>) {
        let routes = previous.iter().flat_map(|p| p.routes.iter()).map(|(_, r)| &r.entity);
        let services = previous.iter().flat_map(|p| p.services.iter()).map(|(_, s)| &s.entity);
        let upstreams = previous.iter().flat_map(|p| p.upstreams.iter()).map(|(_, u)| &u.entity);
        let mut errors = Vec::new();
        let of = |kind| entities.of(kind).iter();
        let parts = Parts {
            routes: typed(of("routes"), routes, &mut errors),
            services: typed(of("services"), services, &mut errors),
            upstreams: typed(of("upstreams"), upstreams, &mut errors),
            targets: typed(of("targets"), [], &mut errors),
            plugins: typed(of("plugins"), [], &mut errors),
            certificates: typed(of("certificates"), [], &mut errors),
            snis: typed(of("snis"), [], &mut errors),
            ca_certificates: typed(of("ca_certificates"), [], &mut errors),
            directory,
        };
        (parts, errors)
    }
}

/// The entities of these records with their typed views.
pub(super) fn typed<'a, T: EntityName + DeserializeOwned + 'a>(
    records: impl IntoIterator<Item = &'a Arc<Record>>,
    known: impl IntoIterator<Item = &'a Arc<Entity<T>>>,
    errors: &mut Vec<CompileError>,
) -> Vec<Arc<Entity<T>>> {
    let known: HashMap<_, _> =
        known.into_iter().map(|entity| (Arc::as_ptr(entity.record()), entity)).collect();
    let mut read = |record: &Arc<Record>| {
        if let Some(entity) = known.get(&Arc::as_ptr(record)) {
            return Some(Arc::clone(entity));
        }
        match Entity::new(Arc::clone(record)) {
            Ok(entity) => Some(Arc::new(entity)),
            Err(error) => {
                let id = record.get("id").and_then(|id| id.as_str()).unwrap_or_default();
                let what = format!("{} {id}", T::NAME);
                errors.push(CompileError::Entity { what, fault: error.to_string() });
                None
            }
        }
    };
    records.into_iter().filter_map(&mut read).collect()
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
