//! Plugin entities become instances: handlers, with the scope they run in.

use std::sync::Arc;

use silverback_model::{Entity, Record, entities::PluginEntity};
use silverback_pdk::{Configuration, Flow, Handler, Phase, Phases, Plugin, Registry};

use super::{
    CompileError, Parts, Slots, Snapshot,
    secrets::{Resolver, Secrets},
};
use crate::chain::{Instance, Scope};

/// The plugins of a configuration, configured. A host of plugins may ask for that to be done on
/// the thread that has loaded them; what else is compiled doesn't mind.
pub struct Configured {
    pub(super) instances: Slots<Instance>,
    /// What was learned of secrets.
    pub(super) secrets: Secrets,
    pub(super) errors: Vec<CompileError>,
}

impl Configured {
    /// Configures every enabled plugin entity. One that is what it was in `previous` keeps its
    /// handlers.
    pub fn of(parts: &Parts, registry: &Registry, previous: Option<&Snapshot>) -> Configured {
        let known = previous.map(|previous| &*previous.secrets);
        let mut resolver = Resolver::with(&*parts.directory, known, Secrets::default());
        let mut errors = Vec::new();
        let before = |entity: &Entity<PluginEntity>| previous?.instances.by(entity.id);
        let enabled = parts.plugins.iter().filter(|plugin| plugin.enabled);
        let instances = enabled
            .map(|entity| instance(entity, before(entity), registry, &mut resolver, &mut errors));
        let instances = Slots::new(instances.collect(), |instance| instance.id);
        Configured { instances, secrets: resolver.finish(), errors }
    }
}

/// Configures a plugin entity, unless it is what it was before.
pub(super) fn instance(
    entity: &Entity<PluginEntity>,
    before: Option<&Instance>,
    registry: &Registry,
    resolver: &mut Resolver<'_>,
    errors: &mut Vec<CompileError>,
) -> Instance {
    let (phases, resolved) = configured(entity, before, registry, resolver, errors);
    Instance {
        id: entity.id,
        plugin: entity.name.clone(),
        record: entity.record().clone(),
        resolved,
        scope: Scope {
            route: entity.route.map(|r| r.id),
            service: entity.service.map(|s| s.id),
            consumer: entity.consumer.map(|c| c.id),
        },
        for_requests: entity.protocols.is_empty()
            || entity.protocols.iter().any(|p| !p.is_stream()),
        for_streams: entity.protocols.iter().any(|p| p.is_stream()),
        phases,
    }
}

/// The handlers of an entity, those of before if it has not changed, and its secrets neither.
fn configured(
    entity: &Entity<PluginEntity>,
    old: Option<&Instance>,
    registry: &Registry,
    resolver: &mut Resolver<'_>,
    errors: &mut Vec<CompileError>,
) -> (Arc<Phases>, Option<Arc<Record>>) {
    let record = entity.record();
    let same = old.filter(|old| is_same(&old.record, record));
    if let Some(old) = same.filter(|old| old.resolved.is_none()) {
        return (old.phases.clone(), None);
    }
    let (id, name) = (entity.id, &entity.name);
    let Some(plugin) = registry.get(name) else {
        let error = CompileError::UnknownPlugin { id, name: name.clone() };
        let text = error.to_string();
        errors.push(error);
        return (Arc::new(refusing(&text)), None);
    };
    let what = || format!("plugin {id} ({name})");
    let resolved = resolver.resolve(what, record, &plugin.schema);
    let configure = |entity| (plugin.configure)(&Configuration { entity, stored: record });
    let Some(resolved) = resolved else {
        let phases = configure(record).unwrap_or_else(|fault| {
            let fault = fault.to_string();
            let error = CompileError::Plugin { id, name: name.clone(), fault };
            let text = error.to_string();
            errors.push(error);
            refusing(&text)
        });
        return (Arc::new(phases), None);
    };
    let known =
        |old: &&Instance| old.resolved.as_ref().is_some_and(|r| is_same(r, &resolved.record));
    let phases = match same.filter(known) {
        Some(old) => old.phases.clone(),
        None => configure(&resolved.record).map(Arc::new).unwrap_or_else(|fault| {
            // What a secret is like shows when it is there: the entity is right, and stays.
            let fault = resolved.redacted(&fault.to_string());
            let text = format!("{}: its secrets can't be used: {fault}", what());
            resolver.say(text.clone());
            match same {
                Some(old) => old.phases.clone(),
                None if only_logs(plugin) => Arc::default(),
                None => Arc::new(refusing(&text)),
            }
        }),
    };
    (phases, Some(resolved.record))
}

/// Whether a plugin guards nothing: traffic does not depend on it.
fn only_logs(plugin: &Plugin) -> bool {
    Phase::ALL.into_iter().all(|phase| phase == Phase::Log || !plugin.phases.contains(phase))
}

/// The handlers of a plugin that could not be configured: what it would have guarded stays shut.
fn refusing(why: &str) -> Phases {
    let handler = || {
        let why = why.to_owned();
        Some(Handler::now(move |_| Flow::Fail(why.clone())))
    };
    Phases { access: handler(), preread: handler(), ..Phases::default() }
}

/// Whether nothing that a plugin can see has changed.
fn is_same(old: &Arc<Record>, new: &Arc<Record>) -> bool {
    Arc::ptr_eq(old, new)
        || (old.len() == new.len()
            && old.iter().all(|(name, value)| {
                name == "updated_at" || new.get(name).is_some_and(|now| now == value)
            }))
}
