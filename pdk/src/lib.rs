//! What a plugin may touch: the exchange, the phases, and the table of `kong.*` functions.
//!
//! Reading order: a [`Plugin`] is one value whatever language it is written in; its [`Phases`]
//! are handlers over an [`Exchange`]; what a handler in another language may do to the exchange
//! is a [`kong::Function`], written once and bound by every host.

mod additions;
mod phase;
mod plugin;
mod registry;

mod exchange;
mod expression;
mod logging;
mod memory;
mod page;
mod value;

pub mod kong;

pub use additions::{AddedCall, AddedPath, Additions};
pub use exchange::{
    Answer, Body, BodyError, Captures, Chunk, Client, Counted, Edition, ErrorTemplates, Exchange,
    Found, Handshake, Holder, Matched, Node, Request, RequestId, Response, Scheme, SerializeMode,
    Session, Shared, Source, Spelling, Statistics, Target, Timeouts, Timing, Tls, Try, Upstream,
    View,
};
pub use expression::{CompileExpression, Expression, compile_expression, set_expressions};
pub use logging::{
    LogLevel, LogOverride, LogSink, log, log_level, logs, override_log_level, set_log_level,
    set_log_sink, written_level,
};
pub use memory::{LuaMemory, LuaTimers, lua_memory, set_lua_memory};
pub use page::page;
pub use phase::{Phase, PhaseSet};
pub use plugin::{
    Alone, Begun, Behind, Configuration, Flow, Handler, Keeps, Origin, Phases, Plugin, PluginFault,
    Turns, Wait, WorkerHook,
};
pub use registry::{Registry, RegistryError};
pub use silverback_model::{Record, SecretRef};
pub use value::Value;
