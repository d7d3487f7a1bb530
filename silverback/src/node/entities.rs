//! What is configured: loaded, compiled, published.

use std::{
    cell::RefCell,
    fs,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use serde_json::json;
use silverback_admin::{Given, LoadError};
use silverback_model::{
    Record,
    counters::{Count, Tally},
    declarative::{self, DeclarativeErrors, Format, Loaded},
    entities::with_expressions,
    schema::Schema,
    set::{Entities, Kinds},
};
use silverback_pdk::{Counted, Found, LogLevel, Registry, SecretRef};
use silverback_proxy::{
    CompileError, CompileErrors, Config, Configured, Directory, Parts, Rebase, Snapshot, retire,
};
use silverback_router::expressions;
use silverback_store::{Sought, State, Store, ttl};
use silverback_vaults::Vaults;
use tokio::task::JoinHandle;

use super::{background::giving_way, database, last_good, plugins::migrations_of, vaults};
use crate::{
    conf::{Conf, Database, RouterFlavor},
    prefix::Prefix,
};

/// What is configured, and the snapshot that workers serve by.
pub(crate) struct Configuration {
    /// Where the entities live.
    pub(crate) store: Arc<Store>,
    /// What workers serve by.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where secrets are.
    vaults: Arc<Vaults>,
    /// What entities and plugins there are.
    kinds: Arc<Kinds>,
    registry: Registry,
    settings: Config,
    /// The entities that the snapshot is compiled of. Compilations come one after the other.
    compiled: RefCell<Arc<Entities>>,
}

/// The kinds of entities that snapshots are compiled of. Others are looked up when they are
/// needed.
const COMPILED: [&str; 9] = [
    "routes",
    "services",
    "plugins",
    "upstreams",
    "targets",
    "certificates",
    "snis",
    "ca_certificates",
    // What the others refer to.
    "vaults",
];

/// How often entities that have ended are deleted; from their end on, they are not found.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

impl Configuration {
    /// Opens the store, and compiles what it holds, or what kong.conf names.
    ///
    /// # Errors
    /// If the store can't be used; everything that is wrong with the file.
    pub(crate) async fn load(
        conf: &Conf,
        prefix: &Prefix,
        registry: &Registry,
        settings: &Config,
        before: Option<&Configuration>,
    ) -> Result<Self> {
        let kinds = kinds(conf, registry);
        let store = open(conf, prefix, &kinds, registry, before.map(|b| &b.store)).await?;
        store.set_strict(conf.worker_consistency_strict);
        if conf.database == Database::Postgres {
            last_good::keep(&store, conf, prefix);
        }
        let nothing = Arc::new(Entities::empty(Arc::clone(&kinds)));
        let vaults = vaults::open(conf, before.map(|before| &*before.vaults))?;
        let snapshot = compile_nothing(&nothing, &vaults, registry, settings)?;
        let configuration = Configuration {
            store,
            vaults,
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            compiled: RefCell::new(nothing),
            kinds,
            registry: registry.clone(),
            settings: settings.clone(),
        };
        configuration.reload(conf)?;
        Ok(configuration)
    }

    /// Compiles every change of a database, and tells when it is served.
    pub(crate) fn follow(self: &Rc<Self>) -> Option<JoinHandle<()>> {
        if !self.store.is_writable() {
            return None;
        }
        let configuration = Rc::clone(self);
        let mut changes = self.store.changes();
        let sweep = Configuration::sweep(Arc::clone(&self.store));
        let follow = async move {
            configuration.serve(&changes.newest());
            let mut rebase: Option<Pin<Box<JoinHandle<Rebase>>>> = None;
            loop {
                tokio::select! {
                    state = changes.next() => match state {
                        Some(state) => configuration.serve(&state),
                        None => break,
                    },
                    done = async { rebase.as_mut()?.await.ok() }, if rebase.is_some() => {
                        rebase = None;
                        let now = configuration.snapshot.load();
                        if let Some(snapshot) = done.and_then(|rebase| now.on(&rebase)) {
                            configuration.publish(snapshot);
                        }
                    }
                }
                let snapshot = configuration.snapshot.load_full();
                if rebase.is_none() && snapshot.is_patchy() {
                    rebase = Some(Box::pin(tokio::task::spawn_blocking(move || {
                        giving_way(|| Arc::clone(&snapshot).rebase())
                    })));
                }
                // Whoever waits for an answer goes before the next change.
                tokio::task::yield_now().await;
            }
        };
        Some(tokio::task::spawn_local(async move {
            tokio::select! {
                () = follow => {}
                () = sweep => {}
            }
        }))
    }

    /// Deletes what has ended, from time to time.
    async fn sweep(store: Arc<Store>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            if let Err(fault) = store.expire().await {
                let text = format!("what has ended could not be deleted: {fault}");
                silverback_pdk::log(LogLevel::Warn, "", &text);
            }
        }
    }

    /// Serves by a state of a database, as far as it can be compiled.
    fn serve(&self, state: &State) {
        let entities = &state.entities;
        let before = Arc::clone(&self.compiled.borrow());
        if COMPILED.iter().any(|kind| !before.shares(entities, kind)) {
            let began = Instant::now();
            let directory: Arc<dyn Directory> = self.live();
            let previous = self.snapshot.load();
            let (registry, settings) = (&self.registry, &self.settings);
            let patched = previous.patched(&before, entities, &directory, registry, settings);
            let (snapshot, errors) = patched.unwrap_or_else(|| {
                self.vaults.mark();
                let compiled = self.compile(entities, &directory, &previous);
                self.vaults.sweep();
                compiled
            });
            drop(previous);
            self.publish(snapshot);
            *self.compiled.borrow_mut() = Arc::clone(entities);
            tell(&errors);
            let took = began.elapsed();
            silverback_pdk::log(LogLevel::Debug, "", &format!("change compiled in {took:?}"));
        }
        self.store.set_served(state.version);
    }

    /// Compiles all of it, beside the workers but for plugins: these are configured on the thread
    /// that has loaded them.
    fn compile(
        &self,
        entities: &Entities,
        directory: &Arc<dyn Directory>,
        previous: &Snapshot,
    ) -> (Snapshot, Vec<CompileError>) {
        let (registry, settings) = (&self.registry, &self.settings);
        let (parts, mut errors) = giving_way(|| {
            Parts::read_without_wrong(entities, Arc::clone(directory), Some(previous))
        });
        let plugins = Configured::of(&parts, registry, Some(previous));
        let (snapshot, more) = giving_way(move || {
            Snapshot::compile_with(parts, plugins, registry, settings, Some(previous))
        });
        errors.extend(more);
        (snapshot, errors)
    }

    /// Look-ups in what the database holds now.
    pub(super) fn live(&self) -> Arc<dyn Directory> {
        let store = Arc::clone(&self.store);
        let vaults = Arc::clone(&self.vaults);
        Arc::new(Live { workspace: store.workspace_id(), store, vaults })
    }

    /// Look-ups in the entities of a declarative file.
    fn of_file(&self, entities: &Arc<Entities>) -> Arc<Memory> {
        let vaults = Arc::clone(&self.vaults);
        Arc::new(Memory { entities: Arc::clone(entities), vaults })
    }

    /// Reads secrets again in their time, and compiles what refers to those that have changed.
    pub(crate) fn rotate_secrets(self: &Rc<Self>) -> JoinHandle<()> {
        let configuration = Rc::clone(self);
        let vaults = Arc::clone(&self.vaults);
        let changed = move || configuration.recompile();
        tokio::task::spawn_local(vaults::rotate(vaults, changed))
    }

    /// Compiles what refers to secrets again, with these as they are now.
    fn recompile(&self) {
        let entities = Arc::clone(&self.compiled.borrow());
        let directory: Arc<dyn Directory> = match self.store.is_writable() {
            true => self.live(),
            false => self.of_file(&entities),
        };
        self.vaults.mark();
        let (registry, settings) = (&self.registry, &self.settings);
        let previous = self.snapshot.load();
        let (snapshot, _) = previous.with_secrets(&entities, &directory, registry, settings);
        drop(previous);
        self.vaults.sweep();
        self.publish(snapshot);
    }

    /// Has requests served by a snapshot from now on.
    fn publish(&self, snapshot: Snapshot) {
        retire(self.snapshot.swap(Arc::new(snapshot)));
    }

    /// Loads it again; nothing changes if anything is wrong.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(crate) fn reload(&self, conf: &Conf) -> Result<()> {
        if self.store.is_writable() {
            self.serve(&self.store.state());
            return Ok(());
        }
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
        let mut compiled = self.compiled.borrow_mut();
        // What stays as it was is kept as it is, and not compiled anew.
        let before = Arc::clone(&compiled);
        let kinds = &self.kinds;
        let loaded = giving_way(|| match given {
            Given::Text(text) => declarative::load_after(text, Format::Any, kinds, &before),
            Given::Fields(fields) => declarative::load_value(fields.clone(), kinds, &before),
        });
        let loaded = loaded.map_err(Refusal::Invalid)?;
        let snapshot = self.compile_strictly(&before, &loaded.entities);
        let snapshot = snapshot.map_err(|errors| Refusal::Broken(errors.into()))?;
        self.store.replace(Arc::clone(&loaded.entities), loaded.hash.clone());
        self.publish(snapshot);
        *compiled = Arc::clone(&loaded.entities);
        Ok(loaded)
    }

    /// Compiles a declarative configuration that comes after another.
    fn compile_strictly(
        &self,
        before: &Entities,
        entities: &Arc<Entities>,
    ) -> Result<Snapshot, CompileErrors> {
        let directory: Arc<dyn Directory> = self.of_file(entities);
        let previous = self.snapshot.load_full();
        let (registry, settings) = (&self.registry, &self.settings);
        let patch = || {
            let patched = previous.patched(before, entities, &directory, registry, settings);
            patched.map(|(next, errors)| match next.is_patchy() && errors.is_empty() {
                true => (next.rebased(), errors),
                false => (next, errors),
            })
        };
        // Plugins are configured on the thread that has loaded them.
        let patched = match same_plugins(before, entities) {
            true => giving_way(patch),
            false => patch(),
        };
        match patched {
            Some((snapshot, errors)) if errors.is_empty() => Ok(snapshot),
            Some((_, errors)) => Err(CompileErrors(errors)),
            None => {
                self.vaults.mark();
                let (snapshot, errors) = self.compile(entities, &directory, &previous);
                if !errors.is_empty() {
                    return Err(CompileErrors(errors));
                }
                self.vaults.sweep();
                Ok(snapshot)
            }
        }
    }

    /// The same for the Admin API, with its answer.
    pub(crate) fn replace_for_admin(&self, given: &Given) -> Result<String, Box<LoadError>> {
        let answer = self.replace(given).and_then(|loaded| {
            // It is long where there are many entities.
            let text = giving_way(|| serde_json::to_string(&loaded));
            text.map_err(|error| Refusal::Broken(error.into()))
        });
        answer.map_err(|refusal| {
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

/// Whether no plugin has changed.
fn same_plugins(before: &Entities, after: &Entities) -> bool {
    let (before, after) = (before.of("plugins"), after.of("plugins"));
    let mut pairs = before.iter().zip(after.iter());
    before.len() == after.len() && pairs.all(|(before, after)| Arc::ptr_eq(before, after))
}

/// What is served before there are any entities: the listeners' own certificates.
///
/// # Errors
/// If they can't be used.
fn compile_nothing(
    nothing: &Arc<Entities>,
    vaults: &Arc<Vaults>,
    registry: &Registry,
    settings: &Config,
) -> Result<Snapshot> {
    let directory = Arc::new(Memory { entities: Arc::clone(nothing), vaults: Arc::clone(vaults) });
    let parts = Parts { directory, ..Parts::default() };
    Ok(Snapshot::compile(parts, registry, settings, None)?)
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
    let own = registry.in_order().into_iter().flat_map(|plugin| plugin.keeps.entities.clone());
    let kinds = vaults::kinds(Kinds::bundled(schemas).and(own), conf);
    let routes = kinds.get("routes").map(|kind| Schema::clone(&kind.schema));
    Arc::new(match routes {
        Some(routes) if conf.router_flavor == RouterFlavor::Expressions => {
            kinds.with(with_expressions(routes, expressions::validate))
        }
        _ => kinds,
    })
}

/// Opens the store that kong.conf names; `before` is the one of the generation before, which goes
/// on where it is the same.
///
/// # Errors
/// If it can't be used.
pub(crate) async fn open(
    conf: &Conf,
    prefix: &Prefix,
    kinds: &Arc<Kinds>,
    registry: &Registry,
    before: Option<&Arc<Store>>,
) -> Result<Arc<Store>> {
    match &conf.database {
        Database::Off => Ok(Arc::new(Store::memory(Arc::clone(kinds)))),
        Database::Postgres => {
            let before = before.map(|store| &**store);
            let plugins = registry.in_order().into_iter();
            let own = plugins.filter_map(|plugin| migrations_of(plugin)).collect();
            Ok(Arc::new(database::open_postgres(conf, prefix, kinds, own, before).await?))
        }
        Database::Sqlite(file) => {
            if let Some(store) = before.filter(|store| store.file() == Some(file)) {
                store.renew(Arc::clone(kinds)).await?;
                return Ok(Arc::clone(store));
            }
            Ok(Arc::new(Store::sqlite(file, kinds)?))
        }
    }
}

/// Says what is wrong with entities that are kept.
fn tell(errors: &[CompileError]) {
    for error in errors {
        silverback_pdk::log(LogLevel::Err, "", &format!("not in use: {error}"));
    }
}

/// Look-ups in the entities of one declarative file.
struct Memory {
    entities: Arc<Entities>,
    vaults: Arc<Vaults>,
}

impl Directory for Memory {
    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        found(&self.entities, kind, field, value)
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        children(&self.entities, kind, parent, parent_id)
    }

    /// Never: another file has another directory.
    fn changes(&self, _: &[&str]) -> Option<u64> {
        Some(0)
    }

    fn all(&self, kind: &str) -> Vec<Arc<Record>> {
        Directory::all(&*self.entities, kind)
    }

    fn workspace_id(&self) -> Option<&str> {
        Directory::workspace_id(&*self.entities)
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        let secret = self.vaults.get(reference, Some(&self.entities));
        secret.map(|secret| secret.to_string())
    }

    fn renewed_secret(&self, reference: &SecretRef) -> Result<String, String> {
        let secret = self.vaults.renew(reference, Some(&self.entities));
        secret.map(|secret| secret.to_string())
    }

    fn flush_secrets(&self) {
        self.vaults.flush();
    }
}

/// Look-ups in what a database holds now. What is not held in memory it is asked for, and its
/// answers are kept.
struct Live {
    store: Arc<Store>,
    vaults: Arc<Vaults>,
    workspace: String,
}

impl Directory for Live {
    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        if self.store.holds(kind) {
            return found(&self.store.entities(), kind, field, value);
        }
        match self.store.find(kind, field, value) {
            Sought::Now(records) => Found::Now(records.first().cloned()),
            Sought::Later(coming) => {
                let first = |records: Arc<[Arc<Record>]>| records.first().cloned();
                let coming = coming.map(move |c| c.map(first).map_err(|fault| fault.message));
                Found::Later(coming.boxed_local())
            }
        }
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        if self.store.holds(kind) {
            return children(&self.store.entities(), kind, parent, parent_id);
        }
        match self.store.children(kind, parent, parent_id) {
            Sought::Now(records) => Found::Now(records.to_vec()),
            Sought::Later(coming) => {
                let all = |records: Arc<[Arc<Record>]>| records.to_vec();
                let coming = coming.map(move |c| c.map(all).map_err(|fault| fault.message));
                Found::Later(coming.boxed_local())
            }
        }
    }

    fn changes(&self, kinds: &[&str]) -> Option<u64> {
        let held = kinds.iter().all(|kind| self.store.holds(kind));
        held.then(|| kinds.iter().map(|kind| self.store.version_of(kind)).sum())
    }

    fn all(&self, kind: &str) -> Vec<Arc<Record>> {
        let mut all = Directory::all(&*self.store.entities(), kind);
        let now = ttl::now();
        all.retain(|record| !ttl::is_over(record, now));
        all
    }

    fn count(&self, tally: Tally, count: Count) -> Option<Counted> {
        Some(self.store.count(tally, count)?.boxed_local())
    }

    fn workspace_id(&self) -> Option<&str> {
        Some(&self.workspace)
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        let secret = self.vaults.get(reference, Some(&self.store.entities()));
        secret.map(|secret| secret.to_string())
    }

    fn renewed_secret(&self, reference: &SecretRef) -> Result<String, String> {
        let secret = self.vaults.renew(reference, Some(&self.store.entities()));
        secret.map(|secret| secret.to_string())
    }

    fn flush_secrets(&self) {
        self.vaults.flush();
    }
}

/// What has ended is not there.
fn found(entities: &Entities, kind: &str, field: &str, value: &str) -> Found {
    match Directory::find(entities, kind, field, value) {
        Found::Now(Some(record)) if ttl::has_ended(&record) => Found::Now(None),
        found => found,
    }
}

fn children(
    entities: &Entities,
    kind: &str,
    parent: &str,
    parent_id: &str,
) -> Found<Vec<Arc<Record>>> {
    let mut children = Directory::children(entities, kind, parent, parent_id);
    if let Found::Now(records) = &mut children {
        let now = ttl::now();
        records.retain(|record| !ttl::is_over(record, now));
    }
    children
}
