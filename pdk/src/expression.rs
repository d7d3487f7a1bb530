//! Expressions of Lua in the configuration of native plugins: whoever hosts Lua compiles and runs
//! them.

use std::sync::OnceLock;

use crate::{Exchange, Value};

/// A piece of Lua that gives a value. It runs in Kong's sandbox (`kong/tools/sandbox`).
pub trait Expression: Send + Sync {
    /// Runs it on the worker that serves the exchange.
    ///
    /// # Errors
    /// The error of Lua.
    fn evaluate(&self, exchange: &mut Exchange) -> Result<Value, String>;
}

/// Makes an expression of a chunk of Lua.
pub type CompileExpression = fn(&str) -> Result<Box<dyn Expression>, String>;

static COMPILE: OnceLock<CompileExpression> = OnceLock::new();

/// Says who compiles expressions. The first call counts: it is made once, at start.
pub fn set_expressions(compile: CompileExpression) {
    // A second call is a test's or an embedder's; the first one stays.
    let _ = COMPILE.set(compile);
}

/// Compiles a chunk.
///
/// # Errors
/// If it is no Lua, or nobody runs Lua here.
pub fn compile_expression(code: &str) -> Result<Box<dyn Expression>, String> {
    match COMPILE.get() {
        Some(compile) => compile(code),
        None => Err("nobody runs Lua here".to_owned()),
    }
}
