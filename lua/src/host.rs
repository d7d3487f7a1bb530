//! The plugins written in Lua: finding them, and making handlers of their configurations.

mod replaced;
mod turn;

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::Future,
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
};

use mlua::{Table, Value};
use silverback_model::schema::Schema;
use silverback_pdk::{
    Configuration, Exchange, Handler, Keeps, LogLevel, LuaMemory, Origin, Phase, PhaseSet, Phases,
    Plugin, Record, View, WorkerHook, log, set_lua_memory,
};
use silverback_store::Store;
use thiserror::Error;

use self::turn::Turn;
use crate::{
    Config,
    db::Database,
    expression, kong, migrations, ngx,
    plugins::Class,
    raw::plain,
    scheduler::{self, Ending},
    schema,
    state::State,
    watch,
};

/// The phases that a Lua plugin can have a handler in.
const PHASES: [Phase; 8] = [
    Phase::Certificate,
    Phase::Rewrite,
    Phase::Access,
    Phase::Response,
    Phase::HeaderFilter,
    Phase::BodyFilter,
    Phase::Log,
    Phase::Preread,
];

/// Why Lua plugins can't be had.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A plugin has a fault.
    #[error("plugin '{plugin}' (Lua): {fault}")]
    Plugin {
        /// Its name.
        plugin: String,
        /// What is wrong, with place and traceback where Lua told them.
        fault: String,
    },
    /// What plugins add to the Admin API can't be had.
    #[error("the Admin API of Lua plugins (api.lua): {0}")]
    Api(String),
    /// There is no Lua at all.
    #[error("can't start Lua: {0}")]
    State(String),
}

/// What all threads share of the host.
pub(crate) struct Shared {
    /// Tells hosts apart.
    id: u64,
    /// What the host was told.
    pub(crate) config: Arc<Config>,
    /// Where entities live.
    pub(crate) database: Arc<Database>,
    /// The configured plugins by the ids of their entities, the newest of each.
    instances: Mutex<HashMap<String, Weak<Instance>>>,
    /// The plugins in the order in which they run.
    names: OnceLock<Vec<String>>,
}

thread_local! {
    /// The states of this thread: one, but for a moment while a reload replaces the host.
    static STATES: RefCell<Vec<(u64, Rc<State>)>> = const { RefCell::new(Vec::new()) };
}

static LAST_HOST: AtomicU64 = AtomicU64::new(0);
static LAST_INSTANCE: AtomicU64 = AtomicU64::new(0);

impl Shared {
    /// A host that has no plugins yet.
    pub(crate) fn new(config: Config) -> Arc<Shared> {
        let id = LAST_HOST.fetch_add(1, Ordering::Relaxed);
        let (config, database) = (Arc::new(config), Arc::default());
        let (instances, names) = (Mutex::default(), OnceLock::new());
        Arc::new(Shared { id, config, database, instances, names })
    }

    /// Notes a configured plugin.
    fn note(&self, instance: &Arc<Instance>) {
        let Some(id) = instance.entity.get("id").and_then(|id| id.as_str()) else { return };
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if instances.len() == instances.capacity() {
            instances.retain(|_, instance| instance.strong_count() > 0);
        }
        instances.insert(id.to_owned(), Arc::downgrade(instance));
    }

    /// The configurations of all instances of a plugin, as its handlers get them; none if there
    /// is none.
    fn confs(&self, state: &State, view: &dyn View, name: &str) -> mlua::Result<Option<Value>> {
        let list = state.lua.create_table()?;
        for entity in view.instances() {
            let text = |field: &str| entity.get(field).and_then(|value| value.as_str());
            if text("name") != Some(name) {
                continue;
            }
            let known = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
            let instance = text("id").and_then(|id| known.get(id)).and_then(Weak::upgrade);
            drop(known);
            if let Some(instance) = instance {
                list.raw_push(state.conf(&instance, view)?)?;
            }
        }
        Ok((list.raw_len() > 0).then_some(Value::Table(list)))
    }

    /// The state of this thread, made now if there is none.
    ///
    /// # Errors
    /// If it can't be made.
    pub(crate) fn state(self: &Arc<Shared>) -> Result<Rc<State>, String> {
        let known = STATES.with_borrow(|states| {
            states.iter().find(|(id, _)| *id == self.id).map(|(_, state)| state.clone())
        });
        if let Some(state) = known {
            return Ok(state);
        }
        let state = State::new(&self.config, &self.database).map_err(|error| plain(&error))?;
        STATES.with_borrow_mut(|states| {
            // The host before this one has ended, or will not be asked on this thread again.
            if states.len() > 1 {
                states.remove(0);
            }
            states.push((self.id, state.clone()));
        });
        Ok(state)
    }

    /// The state for a request or a stream: that of this thread, or the one before it if the
    /// exchange has begun there. One that is full makes way for a new one.
    ///
    /// # Errors
    /// If there is none and it can't be made.
    pub(crate) fn state_for(self: &Arc<Shared>, exchange: &Exchange) -> Result<Rc<State>, String> {
        let state = self.state()?;
        if state.is_full() {
            replaced::replace(self, &state, exchange);
        } else if !replaced::any() {
            return Ok(state);
        }
        Ok(replaced::before(&state, exchange).unwrap_or(state))
    }
}

/// The plugins that are written in Lua, and what belongs to their host.
pub struct Host {
    /// The plugins.
    pub plugins: Vec<Plugin>,
    /// What they do on workers beside handling requests.
    pub hook: Arc<dyn WorkerHook>,
    pub(crate) shared: Arc<Shared>,
    /// The names of the plugins, in the order in which they are loaded.
    pub(crate) names: Vec<String>,
}

impl Host {
    /// Says where entities live: from now on `kong.db` reads and writes them. Only the first call
    /// counts.
    pub fn connect(&self, store: Arc<Store>) {
        self.shared.database.connect(store);
    }
}

/// The plugins of these names that are written in Lua. Names that no Lua plugin has are left out.
///
/// # Errors
/// If one that is there has a fault.
pub fn load(config: Config, names: &[&str]) -> Result<Host, Vec<LoadError>> {
    let shared = Shared::new(config);
    expression::serve(&shared);
    set_lua_memory(|| LuaMemory {
        states: watch::memory(),
        dicts: ngx::dict_sizes(),
        timers: ngx::timer_counts(),
    });
    let state = shared.state().map_err(|error| vec![LoadError::State(error)])?;
    // Handlers may ask for kinds as soon as they are loaded.
    let (own, mut errors) = kinds(&shared, &state, names);
    shared.database.add(own.clone());
    let mut plugins = Vec::new();
    for name in names {
        match find(&shared, &state, name) {
            Ok(Some(plugin)) => plugins.push(plugin),
            Ok(None) => {}
            Err(fault) => errors.push(LoadError::Plugin { plugin: (*name).to_owned(), fault }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for (name, schema) in own {
        let plugin = plugins.iter_mut().find(|plugin| plugin.name == name);
        plugin.into_iter().for_each(|plugin| plugin.keeps.entities.push(schema.clone()));
    }
    let loaded = plugins.iter().map(|plugin| plugin.name.clone()).collect();
    let mut order: Vec<(i32, String)> =
        plugins.iter().map(|plugin| (plugin.priority, plugin.name.clone())).collect();
    order.sort_by(|a, b| b.cmp(a));
    // A host is new: nothing else has set them.
    let _ = shared.names.set(order.into_iter().map(|(_, name)| name).collect());
    let hook = Arc::new(Hook { shared: shared.clone() });
    Ok(Host { plugins, hook, shared, names: loaded })
}

/// The kinds of entities that plugins add, each with its plugin, and what is wrong with them.
fn kinds(
    shared: &Arc<Shared>,
    state: &State,
    names: &[&str],
) -> (Vec<(String, Arc<Schema>)>, Vec<LoadError>) {
    let (mut own, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let module = format!("kong.plugins.{name}.daos");
        let read = match state.has_module(&module) {
            Ok(false) => continue,
            Ok(true) => schema::entities(shared, state, name),
            Err(error) => Err(plain(&error)),
        };
        match read.and_then(|schemas| schema::check_new(&own, schemas)) {
            Ok(schemas) => own.extend(schemas.into_iter().map(|s| ((*name).to_owned(), s))),
            Err(fault) => {
                let fault = format!("daos.lua: {fault}");
                errors.push(LoadError::Plugin { plugin: (*name).to_owned(), fault });
            }
        }
    }
    (own, errors)
}

/// init_worker and configure: what plugins do on a worker beside handling requests.
struct Hook {
    shared: Arc<Shared>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("names", &self.shared.names).finish_non_exhaustive()
    }
}

impl WorkerHook for Hook {
    fn changed(&self, view: &Rc<dyn View>, first: bool) {
        let state = match self.shared.state() {
            Ok(state) => state,
            Err(error) => return log(LogLevel::Crit, "", &format!("can't start Lua: {error}")),
        };
        begin_work(&self.shared, state, view.clone(), first);
    }

    fn ends(&self) {
        if let Ok(state) = self.shared.state() {
            state.timers.stop();
        }
    }
}

/// Has the plugins do in a worker's state what they do there beside requests, the first time or
/// because the configuration is another.
fn begin_work(shared: &Arc<Shared>, state: Rc<State>, view: Rc<dyn View>, first: bool) {
    state.pulse.belongs_to_worker();
    let shared = shared.clone();
    let mut work = Box::pin(async move {
        let names = shared.names.get().map(Vec::as_slice).unwrap_or_default();
        if first {
            for name in names {
                hook_phase(&state, &view, name, Phase::InitWorker, None).await;
            }
        } else {
            kong::forget(&state);
        }
        for name in names {
            let confs = shared.confs(&state, &*view, name);
            hook_phase(&state, &view, name, Phase::Configure, confs.ok().flatten()).await;
        }
    });
    // Requests that follow find it done, unless a handler waits for something.
    if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::task::spawn_local(work);
    }
}

/// Runs a plugin's handler of init_worker or configure, if it has one.
async fn hook_phase(
    state: &Rc<State>,
    view: &Rc<dyn View>,
    name: &str,
    phase: Phase,
    arg: Option<Value>,
) {
    let Ok(class) = state.handler_class(name) else { return };
    let Some(function) = class.function(phase) else { return };
    let mut exchange = ngx::exchange(view.clone(), phase);
    let nil = Value::Nil;
    let args = [&class.value, arg.as_ref().unwrap_or(&nil)];
    let ending = scheduler::run(state, &mut exchange, function, &args, false).await;
    if let Ending::Failed(text) = ending {
        log(LogLevel::Err, name, &format!("{phase}: {text}"));
    }
}

/// What is known of a plugin before it is configured.
pub(crate) struct Known {
    shared: Arc<Shared>,
    /// Its name.
    pub(crate) name: String,
    /// Its schema.
    pub(crate) schema: Schema,
}

fn find(shared: &Arc<Shared>, state: &Rc<State>, name: &str) -> Result<Option<Plugin>, String> {
    let module = format!("kong.plugins.{name}.handler");
    if !state.has_module(&module).map_err(|error| plain(&error))? {
        return Ok(None);
    }
    let class = state.handler_class(name).map_err(|error| plain(&error))?;
    let module = format!("kong.plugins.{name}.schema");
    if !state.has_module(&module).map_err(|error| plain(&error))? {
        return Err("no configuration schema found: schema.lua is missing".to_owned());
    }
    let table: Value = state.require(&module).map_err(|error| plain(&error))?;
    let Value::Table(table) = table else {
        return Err("schema.lua does not return a table".to_owned());
    };
    let schema = schema::plugin(shared, state, name, &table)
        .map_err(|error| format!("schema.lua: {error}"))?;
    let phases = phases(&class);
    check_phases(phases)?;
    let migrations = migrations::of(shared, state, name)?;
    let known =
        Arc::new(Known { shared: shared.clone(), name: name.to_owned(), schema: schema.clone() });
    Ok(Some(Plugin {
        name: name.to_owned(),
        priority: priority(&class.table),
        version: version(&class.table),
        origin: Origin::Lua(class.file.clone()),
        phases,
        schema,
        keeps: Keeps { entities: Vec::new(), migrations },
        configure: Box::new(move |configuration| Ok(configure(&known, configuration, phases))),
    }))
}

/// The phases that a handler has functions for.
fn phases(class: &Class) -> PhaseSet {
    let has = |phase: &Phase| class.function(*phase).is_some();
    PHASES.into_iter().filter(has).fold(PhaseSet::NONE, PhaseSet::with)
}

/// `response` can't be together with the filters that it takes the place of
/// (kong/db/dao/plugins.lua).
fn check_phases(phases: PhaseSet) -> Result<(), String> {
    let filters = phases.contains(Phase::HeaderFilter) || phases.contains(Phase::BodyFilter);
    if phases.contains(Phase::Response) && filters {
        return Err(
            "it can't have a response handler together with header_filter or body_filter: \
                    remove one of them"
                .to_owned(),
        );
    }
    Ok(())
}

/// PRIORITY; fractions are cut off.
fn priority(handler: &Table) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    handler.get::<f64>("PRIORITY").map_or(0, |priority| priority as i32)
}

fn version(handler: &Table) -> String {
    handler.get::<String>("VERSION").unwrap_or_default()
}

/// A configured plugin.
pub(crate) struct Instance {
    /// Tells instances apart, those of former configurations too.
    pub(crate) id: u64,
    /// The plugin.
    pub(crate) known: Arc<Known>,
    /// The `plugins` entity, with secrets in the place of references.
    pub(crate) entity: Record,
    /// The entity with the references, if there are any.
    pub(crate) stored: Option<Record>,
}

fn configure(known: &Arc<Known>, configuration: &Configuration<'_>, phases: PhaseSet) -> Phases {
    let id = LAST_INSTANCE.fetch_add(1, Ordering::Relaxed);
    let Configuration { entity, stored } = *configuration;
    let refers = !std::ptr::eq(entity, stored);
    let instance = Arc::new(Instance {
        id,
        known: known.clone(),
        entity: entity.clone(),
        stored: refers.then(|| stored.clone()),
    });
    known.shared.note(&instance);
    let handler = |phase| {
        let instance = instance.clone();
        phases.contains(phase).then(|| Handler::later(Turn { instance, phase }))
    };
    Phases {
        certificate: handler(Phase::Certificate),
        rewrite: handler(Phase::Rewrite),
        access: handler(Phase::Access),
        response: handler(Phase::Response),
        header_filter: handler(Phase::HeaderFilter),
        body_filter: handler(Phase::BodyFilter),
        log: handler(Phase::Log),
        preread: handler(Phase::Preread),
    }
}
