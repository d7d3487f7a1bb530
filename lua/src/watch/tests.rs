//! What is stopped, and what fails for want of memory.

use std::rc::Rc;

use super::*;
use crate::{
    Config,
    state::State,
    testing::{exchange, run, texts},
};

fn state() -> Rc<State> {
    let cpu_budget = Some(Duration::from_millis(100));
    State::new(&Arc::new(Config { cpu_budget, ..Config::default() }), &Arc::default())
        .expect("a state")
}

/// The code is stopped, and the state is as good as before.
#[track_caller]
fn check(source: &str) {
    let state = state();
    let text = texts(run(&state, &mut exchange(), source)).expect_err(source);
    assert!(text.contains("stopped: the code ran for 0.1 s of CPU time"), "{text}");
    let rest = "local n = 0 for i = 1, 1e5 do n = n + i end return n, jit.status()";
    let ending = texts(run(&state, &mut exchange(), rest));
    assert!(ending.as_deref().is_ok_and(|text| text.starts_with("5000050000 true")));
}

#[test]
fn a_compiled_loop_looks_for_hooks() {
    check("while true do end");
    check("local n = 0 for i = 1, math.huge do n = n + i end");
    check("local t = {1, 2} while true do for k in pairs(t) do t[k] = 1 end end");
    check("local function f(n) return f(n + 1) end f(0)");
    check(
        "local t = setmetatable({}, {__index = function(t, k) return k end})
           while true do local _ = t[1] end",
    );
    check("local s = '' while true do s = tostring(#s) end");
}

#[test]
fn an_interpreted_loop_is_stopped() {
    check("jit.off(true, true) while true do end");
    check("jit.off(true, true) while true do string.rep('x', 10) end");
}

#[test]
fn nothing_that_catches_errors_goes_on() {
    check("while true do pcall(error) end");
    check("local function f() while true do end end while true do pcall(f) end");
    check("return pcall(function() while true do end end)");
    check("local function f() while true do end end while true do xpcall(f, f) end");
    check("local function f() while true do pcall(f) end end f()");
}

#[test]
fn coroutines_are_stopped() {
    check("coroutine.wrap(function() while true do end end)()");
    check(
        "while true do
             coroutine.resume(coroutine.create(function() while true do end end))
           end",
    );
    check(
        "local f = coroutine.wrap(function() while true do coroutine.yield() end end)
           while true do f() end",
    );
    check(
        "ngx.thread.wait(ngx.thread.spawn(function() while true do end end))
           while true do end",
    );
}

#[test]
fn what_c_functions_call_is_stopped() {
    check("local s = ('x'):rep(1e6) while true do s:gsub('.', function() end) end");
    check("while true do table.sort({3, 2, 1}, function(a, b) return a < b end) end");
    check("while true do require('cjson').encode({1, {2}}) end");
}

#[test]
fn what_runs_on_no_coroutine_is_stopped() {
    let state = state();
    let source = "while true do pcall(function() while true do end end) end";
    let ended = state.watched(|| state.lua.load(source).exec()).map_err(|e| e.to_string());
    let text = ended.expect_err("it is stopped");
    assert!(text.contains("stopped: the code ran for 0.1 s"), "{text}");
    state.watched(|| state.lua.load("for i = 1, 1e5 do end").exec()).expect("as before");
}

/// With too little memory code fails; the state is as good as before.
#[track_caller]
fn check_memory(source: &str) {
    let config = Config { memory_max: 32 << 20, ..Config::default() };
    let state = State::new(&Arc::new(config), &Arc::default()).expect("a state");
    for _ in 0..2 {
        let caught = format!(
            "local ok, text = pcall(function() {source} end)
                              return ok, tostring(text):match('not enough memory')"
        );
        let ending = texts(run(&state, &mut exchange(), &caught));
        assert_eq!(ending.as_deref(), Ok("false not enough memory"), "{source}");
        let text = texts(run(&state, &mut exchange(), source)).expect_err(source);
        assert!(text.contains("not enough memory"), "{source}: {text}");
        let rest = "local t = {} for i = 1, 1e5 do t[i] = tostring(i) end return #t";
        assert_eq!(texts(run(&state, &mut exchange(), rest)).as_deref(), Ok("100000"));
    }
}

#[test]
fn code_that_needs_too_much_memory_fails() {
    check_memory("return ('x'):rep(1e9)");
    check_memory("local t = {} for i = 1, math.huge do t[i] = i .. 'text' end");
    check_memory("local t = {} while true do t = { t } end");
    check_memory("local s = 'x' while true do s = s .. s end");
    check_memory("local t = {} while true do t[#t + 1] = coroutine.create(print) end");
    check_memory("local t = {} while true do t[#t + 1] = function() return t end end");
    check_memory("local b = require('string.buffer').new() while true do b:put('text') end");
    check_memory("local t = {} while true do t[#t + 1] = require('ffi').new('char[4096]') end");
    check_memory("local s = ('x'):rep(7e6) while true do s = ngx.encode_base64(s) end");
    check_memory("local t = {} while true do t[#t + 1] = kong.request.get_headers() end");
    check_memory("local t = {} while true do t[#t + 1] = require('cjson').decode('[1,2]') end");
}

#[test]
fn a_turn_that_waits_is_none_that_does_not_end() {
    let source = "
        local start, now = os.clock(), 0
        repeat
          for _ = 1, 1e4 do now = os.clock() end
          ngx.sleep(0)
        until now - start > 0.3
        return 'done'";
    assert_eq!(texts(run(&state(), &mut exchange(), source)).as_deref(), Ok("done"));
}
