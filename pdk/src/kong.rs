//! The table of `kong.*` functions: what a plugin in another language may call.
//!
//! Every function is written once, over an [`Exchange`]; the wire protocols, the Lua host,
//! `docs/pdk.md` and the phase checks are made from this table. Behaviour, refusals and their
//! texts are Kong's (`kong/pdk/`), as recorded in `conformance/`.

mod table;

mod client;
mod client_tls;
mod cluster;
mod ctx;
mod ip;
mod log;
mod nginx;
mod node;
mod plugin;
mod request;
mod response;
mod router;
mod service;
mod service_request;
mod service_response;
mod telemetry;
mod vault;

mod answers;
mod args;
mod body;
mod client_certificate;
mod headers;
pub mod nginx_vars;
mod phases;
mod quick;
mod serialize;
mod uri;

use std::fmt;

use futures_util::future::LocalBoxFuture;

pub use self::{
    answers::{complete_answer, default_message, default_page, error_answer, refusal},
    quick::{Address, Given, Lending, Lent, Quick},
    request::{arguments, decode_arguments, encode_arguments, normalized_path},
    serialize::{Latencies, latencies, serialize, serialize_text},
    table::{all, find},
};
use crate::{Answer, Exchange, Phase, PhaseSet, Value};

/// One function of the table.
pub struct Function {
    /// Its dotted name: "kong.request.get_header".
    pub name: &'static str,
    /// Where it may be called.
    pub phases: PhaseSet,
    /// What it takes, in order.
    pub args: &'static [Arg],
    /// What it gives: typed protocols choose their message by it.
    pub result: Shape,
    /// What it does, for the reference.
    pub doc: &'static str,
    /// The function itself.
    pub call: Call,
}

impl Function {
    /// A function that answers at once.
    const fn now(
        name: &'static str,
        phases: PhaseSet,
        args: &'static [Arg],
        result: Shape,
        call: fn(&mut Exchange, &[Value]) -> Outcome,
    ) -> Function {
        Function { name, phases, args, result, doc: "", call: Call::Now(call) }
    }

    /// A function that answers at once and copies nothing.
    const fn quick(
        name: &'static str,
        phases: PhaseSet,
        args: &'static [Arg],
        result: Shape,
        call: Quick,
    ) -> Function {
        Function { name, phases, args, result, doc: "", call: Call::Quick(call) }
    }

    /// A function that may have to wait.
    const fn later(
        name: &'static str,
        phases: PhaseSet,
        args: &'static [Arg],
        result: Shape,
        call: for<'a> fn(&'a mut Exchange, &'a [Value]) -> LocalBoxFuture<'a, Outcome>,
    ) -> Function {
        Function { name, phases, args, result, doc: "", call: Call::Later(call) }
    }

    /// The same with its text for the reference.
    const fn doc(self, doc: &'static str) -> Function {
        Function { doc, ..self }
    }
}

/// An argument of a function.
const fn arg(name: &'static str, shape: Shape) -> Arg {
    Arg { name, shape }
}

/// An argument: its name and what kind of value it is.
pub struct Arg {
    /// As the reference names it.
    pub name: &'static str,
    /// What a typed protocol sends.
    pub shape: Shape,
}

/// The shapes of arguments and results that typed protocols tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No value.
    None,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// Text.
    Text,
    /// Bytes: a raw body.
    Binary,
    /// Any value.
    Any,
    /// A list of any values.
    List,
    /// A map.
    Map,
    /// A map of names to lists of text: headers, query arguments.
    MultiMap,
    /// The groups of a path's regular expression.
    Captures,
    /// A route.
    Route,
    /// A service.
    Service,
    /// A consumer.
    Consumer,
    /// A credential.
    Credential,
    /// `kong.node.get_memory_stats`.
    MemoryStats,
}

/// How a function is entered.
pub enum Call {
    /// It answers at once.
    Now(fn(&mut Exchange, &[Value]) -> Outcome),
    /// It answers at once, and takes and gives what it can without a copy.
    Quick(Quick),
    /// It may have to wait: for a body, for the store.
    Later(for<'a> fn(&'a mut Exchange, &'a [Value]) -> LocalBoxFuture<'a, Outcome>),
}

/// What comes of a call.
pub type Outcome = Result<Value, Stop>;

/// What a call gives instead of a value.
#[derive(Debug)]
pub enum Stop {
    /// `nil` and this text, as Lua functions answer what can go wrong in daily life.
    Nil(String),
    /// A Lua error: the plugin broke the function's contract, and its request ends with 500.
    Raise(String),
    /// The request is answered: nothing comes back to the plugin.
    Exit(Box<Answer>),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Nil(text) | Stop::Raise(text) => f.write_str(text),
            Stop::Exit(answer) => write!(f, "exit with {}", answer.status),
        }
    }
}

/// The modules that speak of a request and its answer: a stream, which shares the log phase with
/// requests, has neither.
const OF_REQUESTS: [&str; 4] =
    ["kong.request.", "kong.response.", "kong.service.request.", "kong.service.response."];

impl Function {
    /// Calls it in the exchange's phase.
    ///
    /// # Errors
    /// [`Stop::Raise`] if it may not be called in this phase.
    pub async fn call(&self, exchange: &mut Exchange, args: &[Value]) -> Outcome {
        self.check(exchange)?;
        match self.call {
            Call::Now(call) => call(exchange, args),
            Call::Quick(call) => quick::call(call, exchange, args),
            Call::Later(call) => call(exchange, args).await,
        }
    }

    /// Calls it in the exchange's phase if it is one that never waits; none if it may, and has
    /// to be [called](Function::call) by those who can.
    pub fn call_now(&self, exchange: &mut Exchange, args: &[Value]) -> Option<Outcome> {
        let checked = |exchange: &Exchange| self.check(exchange);
        Some(match self.call {
            Call::Now(call) => checked(exchange).and_then(|()| call(exchange, args)),
            Call::Quick(quick) => {
                checked(exchange).and_then(|()| quick::call(quick, exchange, args))
            }
            Call::Later(_) => return None,
        })
    }

    /// Calls a quick one in the exchange's phase, with arguments where they are.
    ///
    /// # Errors
    /// Those of the function, and if it may not be called in this phase.
    #[inline]
    pub fn call_quick<'e>(
        &self,
        quick: Quick,
        exchange: &'e mut Exchange,
        given: &[Given<'_>],
    ) -> Lending<'e> {
        if exchange.session.is_some() || !self.phases.contains(exchange.phase) {
            self.check(exchange)?;
        }
        quick(exchange, given)
    }

    /// Whether it may be called now: in this phase, and if the exchange is a stream, for that.
    ///
    /// # Errors
    /// [`Stop::Raise`] if it may not.
    pub fn check(&self, exchange: &Exchange) -> Result<(), Stop> {
        match &exchange.session {
            None => self.check_phase(exchange.phase),
            Some(_) => self.check_stream(exchange.phase),
        }
    }

    fn check_stream(&self, phase: Phase) -> Result<(), Stop> {
        // Kong's error texts list the phases of requests alone, so that this is none of its set.
        if self.name == "kong.response.exit" && phase == Phase::Preread {
            return Ok(());
        }
        self.check_phase(phase)?;
        let of_requests = OF_REQUESTS.iter().any(|module| self.name.starts_with(module));
        let everywhere =
            self.phases.contains(Phase::Preread) || self.name == "kong.request.get_start_time";
        if of_requests && !everywhere {
            return Err(Stop::Raise("function cannot be called for a stream".to_owned()));
        }
        Ok(())
    }

    fn check_phase(&self, phase: Phase) -> Result<(), Stop> {
        if self.phases.contains(phase) {
            return Ok(());
        }
        let text = if self.phases == phases::NOT_INIT {
            "can be called in any phases except: init_worker".to_owned()
        } else {
            // Kong has a phase of its own for error pages, which goes with the Admin API's.
            format!("only in: {}", self.phases.to_string().replace("admin_api", "error, admin_api"))
        };
        Err(Stop::Raise(format!("function cannot be called in {phase} phase ({text})")))
    }
}

/// The name of the plugin that runs now; "" while the gateway itself works.
fn running_name(exchange: &Exchange) -> &str {
    let running = exchange.running.and_then(|instance| exchange.view.instance(instance));
    running.and_then(|entity| entity.get("name")?.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
