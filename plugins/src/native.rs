//! From a struct and its methods to a plugin.
//!
//! The struct is the configuration: its fields and doc comments are the schema and the
//! reference. Its methods are the handlers.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use silverback_model::schema::HasSchema;
use silverback_pdk::{
    Begun, Behind, Configuration, Exchange, Flow, Handler, Origin, Phase, PhaseSet, Phases, Plugin,
    PluginFault, Turns, Wait,
};

/// The version that bundled plugins show: that of the Kong whose behaviour they have.
const VERSION: &str = "3.10.0";

/// A method that never waits.
type NowMethod<T> = fn(&T, &mut Exchange) -> Flow;
/// A method that may wait.
type LaterMethod<T> = for<'a> fn(&'a T, &'a mut Exchange) -> LocalBoxFuture<'a, Flow>;

/// A method for what needs no waiting; none, and nothing has changed, if it is not so.
type QuickMethod<T> = fn(&T, &mut Exchange) -> Option<Flow>;

/// A method of either kind.
enum Method<T> {
    Now(NowMethod<T>),
    Later(LaterMethod<T>),
    /// The first is tried first, and costs no future.
    Either(QuickMethod<T>, LaterMethod<T>),
}

impl<T> Clone for Method<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Method<T> {}

/// A plugin in the making: `T` is what its methods work on, made of the configuration `C`.
pub(crate) struct Native<T, C = T> {
    priority: i32,
    methods: Vec<Entry<T>>,
    make: Make<T, C>,
}

/// From a configuration, and the entity that it stands in, to what the methods work on.
type Make<T, C> = Box<dyn Fn(C, &Configuration<'_>) -> Result<T, PluginFault> + Send + Sync>;

/// A method, its phase, and which configurations need it.
struct Entry<T> {
    phase: Phase,
    method: Method<T>,
    when: fn(&T) -> bool,
}

/// Begins a plugin whose configuration is `T`.
pub(crate) fn native<T>(priority: i32) -> Native<T> {
    Native { priority, methods: Vec::new(), make: Box::new(|config, _| Ok(config)) }
}

/// Begins a plugin that makes of each configuration what its methods work on.
pub(crate) fn native_made<T, C>(
    priority: i32,
    make: impl Fn(C, &Configuration<'_>) -> Result<T, PluginFault> + Send + Sync + 'static,
) -> Native<T, C> {
    Native { priority, methods: Vec::new(), make: Box::new(make) }
}

impl<T, C> Native<T, C>
where
    T: Send + Sync + 'static,
    C: HasSchema + DeserializeOwned + 'static,
{
    /// A handler of the access phase that may wait.
    pub(crate) fn access_later(self, method: LaterMethod<T>) -> Self {
        self.on(Phase::Access, Method::Later(method), |_| true)
    }

    /// The same, with a method that is tried first and does not wait.
    pub(crate) fn access_quick_or_later(
        self,
        quick: QuickMethod<T>,
        method: LaterMethod<T>,
    ) -> Self {
        self.on(Phase::Access, Method::Either(quick, method), |_| true)
    }

    /// The same, for those configurations that need one.
    pub(crate) fn access_later_when(self, when: fn(&T) -> bool, method: LaterMethod<T>) -> Self {
        self.on(Phase::Access, Method::Later(method), when)
    }

    /// A handler of the access phase.
    pub(crate) fn access(self, method: NowMethod<T>) -> Self {
        self.on(Phase::Access, Method::Now(method), |_| true)
    }

    /// The same, for those configurations that need one.
    pub(crate) fn access_when(self, when: fn(&T) -> bool, method: NowMethod<T>) -> Self {
        self.on(Phase::Access, Method::Now(method), when)
    }

    /// A handler of the header_filter phase.
    pub(crate) fn header_filter(self, method: NowMethod<T>) -> Self {
        self.on(Phase::HeaderFilter, Method::Now(method), |_| true)
    }

    /// The same, for those configurations that need one.
    pub(crate) fn header_filter_when(self, when: fn(&T) -> bool, method: NowMethod<T>) -> Self {
        self.on(Phase::HeaderFilter, Method::Now(method), when)
    }

    /// The same, which may wait.
    pub(crate) fn header_filter_later_when(
        self,
        when: fn(&T) -> bool,
        method: LaterMethod<T>,
    ) -> Self {
        self.on(Phase::HeaderFilter, Method::Later(method), when)
    }

    /// A handler of the body_filter phase, for those configurations that need one.
    pub(crate) fn body_filter_when(self, when: fn(&T) -> bool, method: NowMethod<T>) -> Self {
        self.on(Phase::BodyFilter, Method::Now(method), when)
    }

    /// A handler of the log phase.
    pub(crate) fn log(self, method: NowMethod<T>) -> Self {
        self.on(Phase::Log, Method::Now(method), |_| true)
    }

    /// A handler of the preread phase.
    pub(crate) fn preread(self, method: NowMethod<T>) -> Self {
        self.on(Phase::Preread, Method::Now(method), |_| true)
    }

    fn on(mut self, phase: Phase, method: Method<T>, when: fn(&T) -> bool) -> Self {
        self.methods.push(Entry { phase, method, when });
        self
    }

    /// The plugin.
    pub(crate) fn build(self) -> Plugin {
        let Native { priority, methods, make } = self;
        let schema = C::schema();
        Plugin {
            name: schema.name.clone(),
            priority,
            version: VERSION.to_owned(),
            origin: Origin::Bundled,
            phases: methods.iter().fold(PhaseSet::NONE, |set, entry| set.with(entry.phase)),
            schema,
            keeps: silverback_pdk::Keeps::default(),
            configure: Box::new(move |configuration| {
                let config = serde_json::from_value(configuration.config())
                    .map_err(|error| PluginFault(error.to_string()))?;
                handlers(make(config, configuration)?, &methods)
            }),
        }
    }
}

/// Every handler shares what the configuration was read to.
fn handlers<T: Send + Sync + 'static>(
    made: T,
    methods: &[Entry<T>],
) -> Result<Phases, PluginFault> {
    let made = Arc::new(made);
    let mut phases = Phases::default();
    for entry in methods.iter().filter(|entry| (entry.when)(&made)) {
        let made = Arc::clone(&made);
        let handler = match entry.method {
            Method::Now(method) => Handler::now(move |exchange| method(&made, exchange)),
            Method::Later(method) => Handler::later(Waiting { made, method, quick: |_, _| None }),
            Method::Either(quick, method) => Handler::later(Waiting { made, method, quick }),
        };
        let slot = match entry.phase {
            Phase::Access => &mut phases.access,
            Phase::HeaderFilter => &mut phases.header_filter,
            Phase::BodyFilter => &mut phases.body_filter,
            Phase::Log => &mut phases.log,
            Phase::Preread => &mut phases.preread,
            other => return Err(PluginFault(format!("no native handler for {other}"))),
        };
        *slot = Some(handler);
    }
    Ok(phases)
}

/// A method that may wait, with what it borrows.
struct Waiting<T> {
    made: Arc<T>,
    quick: QuickMethod<T>,
    method: LaterMethod<T>,
}

impl<T: Send + Sync + 'static> Wait for Waiting<T> {
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        (self.method)(&self.made, exchange)
    }

    fn begin<'a>(&'a self, exchange: &'a mut Exchange, _: &dyn Behind) -> Begun<'a> {
        match (self.quick)(&self.made, exchange) {
            Some(flow) => Begun::Done(Turns { count: 1, flow }),
            None => Begun::Waits(self.run(exchange)),
        }
    }
}
