//! The plugins that this gateway runs, by name.

use std::{collections::HashMap, sync::Arc};

use thiserror::Error;

use crate::{Origin, Plugin};

/// The enabled plugins. Made once at start; read by everything that asks what plugins there are.
#[derive(Clone, Default)]
pub struct Registry {
    by_name: HashMap<String, Arc<Plugin>>,
}

/// Why a plugin can't be added.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RegistryError {
    /// Two hosts offer one name.
    #[error(
        "plugin '{name}' is offered twice, {first} and {second}: rename one of them or remove it \
         from 'plugins'"
    )]
    Twice {
        /// The name.
        name: String,
        /// Who offered it first.
        first: Origin,
        /// Who offered it again.
        second: Origin,
    },
}

impl Registry {
    /// Adds a plugin.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn add(&mut self, plugin: Plugin) -> Result<(), RegistryError> {
        if let Some(known) = self.by_name.get(&plugin.name) {
            let (first, second) = (known.origin.clone(), plugin.origin);
            return Err(RegistryError::Twice { name: plugin.name, first, second });
        }
        self.by_name.insert(plugin.name.clone(), Arc::new(plugin));
        Ok(())
    }

    /// The plugin of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.by_name.get(name)
    }

    /// All plugins in the order in which they run: highest priority first, equal priorities by
    /// name backwards, as Kong sorts them (`kong/runloop/plugins_iterator.lua`).
    pub fn in_order(&self) -> Vec<&Arc<Plugin>> {
        let mut plugins: Vec<_> = self.by_name.values().collect();
        plugins.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| b.name.cmp(&a.name)));
        plugins
    }
}
