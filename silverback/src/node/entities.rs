//! What is configured: loaded, compiled, published.

use std::{cell::RefCell, fs, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use silverback_admin::{Given, LoadError};
use silverback_model::{
    Record,
    declarative::{self, DeclarativeErrors, Format, Loaded},
    entities::with_expressions,
    schema::Schema,
    set::{Entities, Kinds},
};
use silverback_pdk::{Found, Registry, SecretRef};
use silverback_proxy::{Config, Directory, Parts, Snapshot};
use silverback_router::expressions;
use silverback_store::Store;

use crate::conf::{Conf, RouterFlavor};

/// What is configured, and the snapshot that workers serve by.
pub(crate) struct Configuration {
    /// Where the entities live.
    pub(crate) store: Arc<Store>,
    /// What workers serve by.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// What entities and plugins there are.
    kinds: Arc<Kinds>,
    registry: Registry,
    settings: Config,
    /// Loads come one after the other.
    loading: RefCell<()>,
}

impl Configuration {
    /// Loads what kong.conf names, or starts empty.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(crate) fn load(conf: &Conf, registry: &Registry, settings: &Config) -> Result<Self> {
        if conf.settings.text("database") == Some("postgres") {
            bail!("database = postgres: nodes can't keep their entities there yet");
        }
        let kinds = kinds(conf, registry);
        let configuration = Configuration {
            store: Arc::new(Store::memory(Arc::clone(&kinds))),
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::empty())),
            kinds,
            registry: registry.clone(),
            settings: settings.clone(),
            loading: RefCell::new(()),
        };
        configuration.reload(conf)?;
        Ok(configuration)
    }

    /// Loads it again; nothing changes if anything is wrong.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(crate) fn reload(&self, conf: &Conf) -> Result<()> {
        let (text, from) = match (&conf.declarative_config, &conf.declarative_config_string) {
            (Some(path), _) => {
                let from = path.display().to_string();
                (fs::read_to_string(path).with_context(|| format!("can't read {from}"))?, from)
            }
            (None, Some(text)) => (text.clone(), "declarative_config_string".to_owned()),
            (None, None) => return Ok(()),
        };
        self.replace(&Given::Text(text)).map(drop).map_err(|refusal| match refusal {
            Refusal::Invalid(errors) => anyhow!("{}", errors.describe(&from).join("\n")),
            Refusal::Broken(error) => error.context(from),
        })
    }

    /// Validates, compiles and publishes a declarative configuration.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub(crate) fn replace(&self, given: &Given) -> Result<Loaded, Refusal> {
        let _one_at_a_time = self.loading.borrow_mut();
        let loaded = match given {
            Given::Text(text) => declarative::load(text, Format::Any, &self.kinds),
            Given::Fields(fields) => declarative::load_value(fields.clone(), &self.kinds),
        }
        .map_err(Refusal::Invalid)?;
        let previous = self.snapshot.load();
        let directory = Arc::new(Memory { entities: Arc::clone(&loaded.entities) });
        let snapshot = Parts::read(&loaded.entities, directory, Some(&previous))
            .and_then(|parts| {
                Snapshot::compile(parts, &self.registry, &self.settings, Some(&previous))
            })
            .map_err(|errors| Refusal::Broken(errors.into()))?;
        self.store.replace(Arc::clone(&loaded.entities), loaded.hash.clone());
        self.snapshot.store(Arc::new(snapshot));
        Ok(loaded)
    }

    /// The same for the Admin API, with its answer.
    pub(crate) fn replace_for_admin(&self, given: &Given) -> Result<Value, Box<LoadError>> {
        self.replace(given).map(|loaded| loaded.answer()).map_err(|refusal| {
            Box::new(match refusal {
                Refusal::Invalid(errors) => LoadError {
                    fault: errors.fault().to_json(),
                    flattened: errors.flattened(&self.kinds),
                },
                Refusal::Broken(error) => {
                    let body = json!({ "message": format!("{error:#}") });
                    LoadError { fault: body.clone(), flattened: body }
                }
            })
        })
    }
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It does not fit the schemas.
    #[error("{}", .0.fault())]
    Invalid(DeclarativeErrors),
    /// It fits, and can't be compiled: a regular expression, a plugin's own check.
    #[error("{0:#}")]
    Broken(anyhow::Error),
}

/// What entities and plugins there are.
pub(crate) fn kinds(conf: &Conf, registry: &Registry) -> Arc<Kinds> {
    let plugins = registry.in_order().into_iter();
    let schemas = plugins.map(|plugin| (plugin.name.clone(), Arc::new(plugin.schema.clone())));
    let kinds = Kinds::bundled(schemas);
    let routes = kinds.get("routes").map(|kind| Schema::clone(&kind.schema));
    Arc::new(match routes {
        Some(routes) if conf.router_flavor == RouterFlavor::Expressions => {
            kinds.with(with_expressions(routes, expressions::validate))
        }
        _ => kinds,
    })
}

/// Look-ups in memory, and secrets of the environment.
struct Memory {
    entities: Arc<Entities>,
}

impl Directory for Memory {
    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        Directory::find(&*self.entities, kind, field, value)
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Vec<Arc<Record>> {
        Directory::children(&*self.entities, kind, parent, parent_id)
    }

    fn workspace_id(&self) -> Option<&str> {
        Directory::workspace_id(&*self.entities)
    }

    /// The environment, as Kong's env vault reads it (`kong/vaults/env`): the name in capitals,
    /// dashes as underscores.
    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        if reference.name != "env" {
            return Err(format!("could not find vault ({})", reference.name));
        }
        let prefix = reference.config.iter().find(|(name, _)| name == "prefix");
        let prefix = prefix.map(|(_, value)| value.as_str()).unwrap_or_default();
        let name = format!("{prefix}{}", reference.resource).replace('-', "_").to_uppercase();
        let value = std::env::var(name).map_err(|_| NO_VALUE.to_owned())?;
        match &reference.key {
            None => Ok(value),
            Some(key) => {
                let object: Record = serde_json::from_str(&value).map_err(|_| NO_VALUE)?;
                object.get(key).and_then(|v| v.as_str()).map(str::to_owned).ok_or(NO_VALUE.into())
            }
        }
    }
}

const NO_VALUE: &str = "could not get value from external vault (no value found)";
