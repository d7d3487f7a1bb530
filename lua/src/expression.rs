//! Expressions of Lua in configurations of native plugins: compiled in the sandbox when they are
//! configured (`kong/tools/sandbox`), run in the state of the worker that serves the request.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use mlua::{Function, Table};
use silverback_pdk::{Exchange, Expression, Value};

use crate::{
    Config,
    host::Shared,
    raw::{self, plain},
    scheduler::{self, Ending},
    state::State,
};

/// The newest host, which compiles.
static HOST: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

static LAST: AtomicU64 = AtomicU64::new(0);

/// Compiles expressions from now on, on a node without Lua plugins: the first expression starts
/// Lua.
pub fn serve_expressions(config: Config) {
    serve(&Shared::new(config));
}

/// The same with the host of the node's Lua plugins.
pub(crate) fn serve(host: &Arc<Shared>) {
    *HOST.lock().unwrap_or_else(PoisonError::into_inner) = Some(host.clone());
    silverback_pdk::set_expressions(compile);
}

fn compile(code: &str) -> Result<Box<dyn Expression>, String> {
    let host = HOST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let host = host.ok_or("nobody runs Lua here")?;
    let id = LAST.fetch_add(1, Ordering::Relaxed);
    let compiled = Compiled { host, code: Arc::new((id, code.to_owned())) };
    compiled.function(&*compiled.host.state()?)?;
    Ok(Box::new(compiled))
}

/// An expression: its number and its text, of which each worker makes a function when it first
/// needs it.
struct Compiled {
    host: Arc<Shared>,
    code: Arc<(u64, String)>,
}

impl Compiled {
    fn function(&self, state: &State) -> Result<Function, String> {
        let make = |code: &str| {
            let sandbox: Table = state.require("kong.tools.sandbox")?;
            sandbox.get::<Function>("sandbox")?.call(code)
        };
        state.expression(&self.code, make).map_err(|error| first_line(&plain(&error)))
    }
}

impl Expression for Compiled {
    fn evaluate(&self, exchange: &mut Exchange) -> Result<Value, String> {
        let state = self.host.state()?;
        let function = self.function(&state)?;
        let ending = {
            let mut run = pin!(scheduler::run(&state, exchange, &function, &[], true));
            run.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match ending {
            Poll::Pending => Err("an expression can't wait for anything".to_owned()),
            Poll::Ready(Ending::Done(results)) => match results.front() {
                Some(value) => raw::read(&state.lua, value),
                None => Ok(Value::Nil),
            },
            Poll::Ready(Ending::Flow(_)) => Err("an expression can't answer a request".to_owned()),
            Poll::Ready(Ending::Failed(text)) => Err(first_line(&text)),
        }
    }
}

/// What went wrong, without the traceback.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::exchange;

    #[track_caller]
    fn check(code: &str, expect: Result<serde_json::Value, &str>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _guard = runtime.enter();
        serve_expressions(Config::default());
        let compiled = compile(code);
        let value = compiled.and_then(|compiled| compiled.evaluate(&mut exchange()));
        match (value, expect) {
            (Ok(value), Ok(expect)) => assert_eq!(value.to_json(), expect, "{code}"),
            (Err(text), Err(expect)) => assert!(text.contains(expect), "{text}"),
            (got, expect) => panic!("{code}: {got:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn expressions_run_in_the_sandbox() {
        check("return 1 + 1", Ok(json!(2)));
        check("return kong.request.get_path() .. ('x'):rep(2)", Ok(json!("/a/bxx")));
        check("return {a = {1, 'b'}, c = true}", Ok(json!({"a": [1, "b"], "c": true})));
        check("return nil", Ok(json!(null)));
        check("local x = 5", Ok(json!(null)));
        check("return nonsense()", Err("attempt to call global 'nonsense'"));
        check("return nonsense(", Err("unexpected symbol near '<eof>'"));
        check("return require('lfs')", Err("require 'lfs' not allowed within sandbox"));
        check("return setmetatable({}, {})", Err("attempt to call global 'setmetatable'"));
        check("kong.response.exit(200)", Err("can't answer a request"));
        check("return ngx.sleep(1)", Err("can't wait"));
        check("kong.own = 1 ngx.req.own = 2 return kong.own + ngx.req.own", Ok(json!(3)));
        check(
            "ngx.req.get_method = function() return 'X' end return ngx.req.get_method()",
            Ok(json!("X")),
        );
        check("return kong.request.get_method()", Ok(json!("GET")));
        check("string.own = 1", Err("Cannot modify string.own. Protected by the sandbox."));
        check("kong.licensing.own = 1", Err("Cannot modify kong.licensing.own."));
    }
}
