//! A plugin: one value, whatever language it is written in.

use std::{any::Any, fmt, rc::Rc, sync::Arc};

use futures_util::future::LocalBoxFuture;
use silverback_model::{migration::Migration, schema::Schema};

use crate::{Answer, Exchange, Phase, PhaseSet, Record, View};

/// A plugin that the gateway knows: its place in the order, its schema, and how to configure it.
pub struct Plugin {
    /// The name under which it is configured.
    pub name: String,
    /// Plugins run from the highest to the lowest.
    pub priority: i32,
    /// As the plugin itself says; "0.1" and the like.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
    /// The phases it may have a handler in.
    pub phases: PhaseSet,
    /// What its configuration may hold: the whole `plugins` subschema, `config` included.
    pub schema: Schema,
    /// The kinds of entities that it adds, and the tables that they need.
    pub keeps: Keeps,
    /// Makes handlers of one validated configuration.
    #[expect(clippy::type_complexity, reason = "the type says what it takes and gives")]
    pub configure: Box<dyn Fn(&Configuration<'_>) -> Result<Phases, PluginFault> + Send + Sync>,
}

/// What a plugin keeps beside its configuration.
#[derive(Debug, Clone, Default)]
pub struct Keeps {
    /// The kinds of entities.
    pub entities: Vec<Arc<Schema>>,
    /// What makes their tables in PostgreSQL, in order.
    pub migrations: Vec<Migration>,
}

/// One instance of a plugin: a `plugins` entity, validated.
#[derive(Debug, Clone, Copy)]
pub struct Configuration<'a> {
    /// The whole entity: `id`, `config`, and the foreign keys `route`, `service`, `consumer`, with
    /// secrets in the place of references to vaults.
    pub entity: &'a Record,
    /// The entity as it is kept, with the references.
    pub stored: &'a Record,
}

impl<'a> Configuration<'a> {
    /// An entity without references.
    pub fn of(entity: &'a Record) -> Configuration<'a> {
        Configuration { entity, stored: entity }
    }

    /// The `config` record; empty if the entity has none.
    pub fn config(&self) -> serde_json::Value {
        self.entity.get("config").cloned().unwrap_or_default()
    }
}

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of Silverback.
    Bundled,
    /// Announced by the plugin server of this name.
    Server(String),
    /// Lua, in this file.
    Lua(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Bundled => f.write_str("bundled"),
            Origin::Server(name) => write!(f, "by the plugin server '{name}'"),
            Origin::Lua(file) => write!(f, "in Lua, {file}"),
        }
    }
}

/// The handlers of one configured plugin. An empty slot is a phase that is never entered and
/// costs nothing. Handlers are shared by all workers; what a worker keeps to itself (connections,
/// an interpreter) its host keeps in a thread-local.
#[derive(Default)]
pub struct Phases {
    /// See [`Phase::Certificate`].
    pub certificate: Option<Handler>,
    /// See [`Phase::Rewrite`].
    pub rewrite: Option<Handler>,
    /// See [`Phase::Access`].
    pub access: Option<Handler>,
    /// See [`Phase::Response`]. Its presence makes the gateway buffer the answer.
    pub response: Option<Handler>,
    /// See [`Phase::HeaderFilter`].
    pub header_filter: Option<Handler>,
    /// See [`Phase::BodyFilter`]: called with [`Exchange::chunk`] set.
    pub body_filter: Option<Handler>,
    /// See [`Phase::Log`].
    pub log: Option<Handler>,
    /// See [`Phase::Preread`].
    pub preread: Option<Handler>,
}

impl Phases {
    /// The handler of a phase, if there is one.
    pub fn get(&self, phase: Phase) -> Option<&Handler> {
        match phase {
            Phase::Certificate => self.certificate.as_ref(),
            Phase::Rewrite => self.rewrite.as_ref(),
            Phase::Access => self.access.as_ref(),
            Phase::Response => self.response.as_ref(),
            Phase::HeaderFilter => self.header_filter.as_ref(),
            Phase::BodyFilter => self.body_filter.as_ref(),
            Phase::Log => self.log.as_ref(),
            Phase::Preread => self.preread.as_ref(),
            Phase::InitWorker
            | Phase::Configure
            | Phase::Balancer
            | Phase::AdminApi
            | Phase::Timer => None,
        }
    }

    /// The phases that have a handler.
    pub fn set(&self) -> PhaseSet {
        Phase::ALL
            .into_iter()
            .filter(|&p| self.get(p).is_some())
            .fold(PhaseSet::NONE, PhaseSet::with)
    }
}

/// A handler that never waits.
type Now = Box<dyn Fn(&mut Exchange) -> Flow + Send + Sync>;
/// A handler that may wait, on the worker that called it. What it needs it borrows from itself:
/// nothing is cloned per request.
pub trait Wait: Any + Send + Sync {
    /// Runs it.
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow>;

    /// Begins to run it, at once and without a future where it does not have to wait. It may take
    /// some of those behind it along, one after the other as long as each says [`Flow::Next`], if
    /// entering them together is cheaper; it then keeps [`Exchange::running`] true.
    fn begin<'a>(&'a self, exchange: &'a mut Exchange, _: &dyn Behind) -> Begun<'a> {
        Begun::Waits(self.run(exchange))
    }
}

/// The handlers of the same phase that have their turns next.
pub trait Behind {
    /// The one so many places behind, with the number of its instance; none at the end, and where
    /// it is one that never waits.
    fn get(&self, place: usize) -> Option<(u32, &dyn Wait)>;

    /// Two numbers that stand for the one that runs with all of these: whenever they are the same
    /// on a worker, so are the handlers. The first only grows. None where nobody knows.
    fn key(&self) -> Option<(u64, usize)>;
}

/// Nothing stands behind it.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Behind for Alone {
    fn get(&self, _: usize) -> Option<(u32, &dyn Wait)> {
        None
    }

    fn key(&self) -> Option<(u64, usize)> {
        None
    }
}

/// What came of beginning.
pub enum Begun<'a> {
    /// It is over.
    Done(Turns),
    /// It goes on.
    Waits(LocalBoxFuture<'a, Flow>),
    /// It goes on, with others.
    Together(LocalBoxFuture<'a, Turns>),
}

/// What came of handlers that ran together.
#[derive(Debug)]
pub struct Turns {
    /// How many had their turn, this one included.
    pub count: usize,
    /// What the last of them decided.
    pub flow: Flow,
}

impl<F> Wait for F
where
    F: for<'a> Fn(&'a mut Exchange) -> LocalBoxFuture<'a, Flow> + Send + Sync + 'static,
{
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        self(exchange)
    }
}

/// What runs in a phase: `Now` for what never waits, `Later` for what may, so that a chain pays
/// for a future only where one is needed.
pub enum Handler {
    /// Answers at once.
    Now(Now),
    /// Answers when its future does.
    Later(Box<dyn Wait>),
}

impl Handler {
    /// A handler that never waits.
    pub fn now(handle: impl Fn(&mut Exchange) -> Flow + Send + Sync + 'static) -> Handler {
        Handler::Now(Box::new(handle))
    }

    /// A handler that may wait.
    pub fn later(handle: impl Wait + 'static) -> Handler {
        Handler::Later(Box::new(handle))
    }

    /// Runs it, alone.
    pub async fn run(&self, exchange: &mut Exchange) -> Flow {
        self.run_with(exchange, &Alone).await.flow
    }

    /// Runs it, and as many of those behind it as it takes along.
    pub async fn run_with(&self, exchange: &mut Exchange, behind: &impl Behind) -> Turns {
        let flow = match self {
            Handler::Now(handle) => handle(exchange),
            Handler::Later(handle) => match handle.begin(exchange, behind) {
                Begun::Done(turns) => return turns,
                Begun::Waits(rest) => rest.await,
                Begun::Together(rest) => return rest.await,
            },
        };
        Turns { count: 1, flow }
    }
}

/// What a handler decides.
#[derive(Debug)]
pub enum Flow {
    /// The next plugin's turn.
    Next,
    /// This answer, and no further handler in this phase.
    Exit(Answer),
    /// This answer, and in no phase any more a plugin whose turn would have come after this one:
    /// what Lua's `ngx.exit` does, and `ngx.say`, which has sent its answer by then.
    Send(Answer),
    /// The plugin could not do its work: the request is refused with a 500 and the text logged.
    /// Later plugins still see the response phases, as in Kong.
    Fail(String),
}

/// What a plugin host does on each worker beside handling requests.
pub trait WorkerHook: Send + Sync + fmt::Debug {
    /// The worker serves by this view from now on; `first` when it has just started. What can't
    /// be done at once is to go on beside the worker's requests.
    fn changed(&self, view: &Rc<dyn View>, first: bool);

    /// The worker takes no new connections and will end.
    fn ends(&self);
}

/// Why a configured plugin can't be made: shown where the configuration is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFault(pub String);

impl fmt::Display for PluginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PluginFault {}
