//! Plugin entities become instances: handlers, with the scope they run in.

use std::{collections::HashMap, sync::Arc};

use silverback_model::{Entity, Record, entities::PluginEntity};
use silverback_pdk::{Configuration, Flow, Handler, Phases, Registry};

use super::{CompileError, Snapshot};
use crate::chain::{Instance, Scope};

/// Configures every enabled plugin entity.
pub(super) fn compile(
    plugins: &[Arc<Entity<PluginEntity>>],
    registry: &Registry,
    previous: Option<&Snapshot>,
    errors: &mut Vec<CompileError>,
) -> Vec<Instance> {
    let before: HashMap<_, _> =
        previous.iter().flat_map(|p| p.instances.iter()).map(|i| (i.id, i)).collect();
    let mut instances = Vec::new();
    for entity in plugins.iter().filter(|plugin| plugin.enabled) {
        let known = before.get(&entity.id).filter(|old| is_same(&old.record, entity.record()));
        let phases = match known {
            Some(old) => Ok(old.phases.clone()),
            None => configure(entity, registry).map(Arc::new),
        };
        let phases = phases.unwrap_or_else(|error| {
            let text = error.to_string();
            errors.push(error);
            Arc::new(refusing(&text))
        });
        instances.push(Instance {
            id: entity.id,
            plugin: entity.name.clone(),
            record: entity.record().clone(),
            scope: Scope {
                route: entity.route.map(|r| r.id),
                service: entity.service.map(|s| s.id),
                consumer: entity.consumer.map(|c| c.id),
            },
            for_requests: entity.protocols.is_empty()
                || entity.protocols.iter().any(|p| !p.is_stream()),
            for_streams: entity.protocols.iter().any(|p| p.is_stream()),
            phases,
        });
    }
    instances
}

fn configure(entity: &Entity<PluginEntity>, registry: &Registry) -> Result<Phases, CompileError> {
    let (id, name) = (entity.id, &entity.name);
    let plugin =
        registry.get(name).ok_or_else(|| CompileError::UnknownPlugin { id, name: name.clone() })?;
    (plugin.configure)(&Configuration { entity: entity.record() })
        .map_err(|fault| CompileError::Plugin { id, name: name.clone(), fault: fault.to_string() })
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
