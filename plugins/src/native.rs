//! From a struct and its methods to a plugin.
//!
//! The struct is the configuration: its fields and doc comments are the schema and the
//! reference. Its methods are the handlers.

use std::{marker::PhantomData, sync::Arc};

use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use silverback_model::schema::HasSchema;
use silverback_pdk::{
    Configuration, Exchange, Flow, Handler, Origin, Phase, PhaseSet, Phases, Plugin, PluginFault,
    Wait,
};

/// The version that bundled plugins show: that of the Kong whose behaviour they have.
const VERSION: &str = "3.10.0";

/// A method that never waits.
type NowMethod<T> = fn(&T, &mut Exchange) -> Flow;
/// A method that may wait.
type LaterMethod<T> = for<'a> fn(&'a T, &'a mut Exchange) -> LocalBoxFuture<'a, Flow>;

/// A method of either kind.
enum Method<T> {
    Now(NowMethod<T>),
    Later(LaterMethod<T>),
}

impl<T> Clone for Method<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Method<T> {}

/// A plugin in the making.
pub(crate) struct Native<T> {
    priority: i32,
    methods: Vec<Entry<T>>,
    configuration: PhantomData<T>,
}

/// A method, its phase, and which configurations need it.
struct Entry<T> {
    phase: Phase,
    method: Method<T>,
    when: fn(&T) -> bool,
}

/// Begins a plugin whose configuration is `T`.
pub(crate) fn native<T>(priority: i32) -> Native<T> {
    Native { priority, methods: Vec::new(), configuration: PhantomData }
}

impl<T: HasSchema + DeserializeOwned + Send + Sync + 'static> Native<T> {
    /// A handler of the access phase that may wait.
    pub(crate) fn access_later(self, method: LaterMethod<T>) -> Self {
        self.on(Phase::Access, Method::Later(method))
    }

    /// A handler of the access phase.
    pub(crate) fn access(self, method: NowMethod<T>) -> Self {
        self.on(Phase::Access, Method::Now(method))
    }

    /// A handler of the header_filter phase.
    pub(crate) fn header_filter(self, method: NowMethod<T>) -> Self {
        self.on(Phase::HeaderFilter, Method::Now(method))
    }

    /// A handler of the body_filter phase, for those configurations that need one.
    pub(crate) fn body_filter_when(mut self, when: fn(&T) -> bool, method: NowMethod<T>) -> Self {
        self.methods.push(Entry { phase: Phase::BodyFilter, method: Method::Now(method), when });
        self
    }

    /// A handler of the preread phase.
    pub(crate) fn preread(self, method: NowMethod<T>) -> Self {
        self.on(Phase::Preread, Method::Now(method))
    }

    fn on(mut self, phase: Phase, method: Method<T>) -> Self {
        self.methods.push(Entry { phase, method, when: |_| true });
        self
    }

    /// The plugin.
    pub(crate) fn build(self) -> Plugin {
        let Native { priority, methods, .. } = self;
        let schema = T::schema();
        Plugin {
            name: schema.name.clone(),
            priority,
            version: VERSION.to_owned(),
            origin: Origin::Bundled,
            phases: methods.iter().fold(PhaseSet::NONE, |set, entry| set.with(entry.phase)),
            schema,
            configure: Box::new(move |configuration| configure(configuration, &methods)),
        }
    }
}

/// Reads the configuration once; every handler shares it.
fn configure<T: DeserializeOwned + Send + Sync + 'static>(
    configuration: &Configuration<'_>,
    methods: &[Entry<T>],
) -> Result<Phases, PluginFault> {
    let config: T = serde_json::from_value(configuration.config())
        .map_err(|error| PluginFault(error.to_string()))?;
    let config = Arc::new(config);
    let mut phases = Phases::default();
    for entry in methods.iter().filter(|entry| (entry.when)(&config)) {
        let config = Arc::clone(&config);
        let handler = match entry.method {
            Method::Now(method) => Handler::now(move |exchange| method(&config, exchange)),
            Method::Later(method) => Handler::later(Waiting { config, method }),
        };
        let slot = match entry.phase {
            Phase::Access => &mut phases.access,
            Phase::HeaderFilter => &mut phases.header_filter,
            Phase::BodyFilter => &mut phases.body_filter,
            Phase::Preread => &mut phases.preread,
            other => return Err(PluginFault(format!("no native handler for {other}"))),
        };
        *slot = Some(handler);
    }
    Ok(phases)
}

/// A method that may wait, with the configuration it borrows.
struct Waiting<T> {
    config: Arc<T>,
    method: LaterMethod<T>,
}

impl<T: Send + Sync> Wait for Waiting<T> {
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        (self.method)(&self.config, exchange)
    }
}
