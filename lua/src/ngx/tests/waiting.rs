//! Threads, timers, semaphores.

use super::{check, shown, state};
use crate::testing::{exchange, run};

#[test]
fn threads_run_beside() {
    check(
        "local t = ngx.thread.spawn(function(a) ngx.sleep(0.005) return a, 2 end, 1) \
           return ngx.thread.wait(t)",
        "true 1 2",
    );
    check("local t = ngx.thread.spawn(error, 'bad') return ngx.thread.wait(t)", "false bad");
    check(
        "local slow = ngx.thread.spawn(function() ngx.sleep(0.05) return 'slow' end) \
           local fast = ngx.thread.spawn(function() ngx.sleep(0.001) return 'fast' end) \
           local _, first = ngx.thread.wait(slow, fast) local _, second = ngx.thread.wait(slow) \
           return first, second, ngx.thread.wait(slow)",
        "fast slow nil already waited",
    );
    check(
        "local order = {} ngx.thread.spawn(function() order[1] = 'a' end) order[#order+1] = 'b' \
           return table.concat(order)",
        "ab",
    );
    check(
        "local t = ngx.thread.spawn(function() ngx.sleep(600) end) \
           return ngx.thread.kill(t), ngx.thread.kill(t)",
        "true nil already killed",
    );
}

#[test]
fn semaphores_are_waited_for() {
    check(
        "local s = require('ngx.semaphore').new(1) return s:wait(0), s:wait(0)",
        "true nil timeout",
    );
    check(
        "local s = require('ngx.semaphore').new() \
           ngx.thread.spawn(function() ngx.sleep(0.001) s:post(2) end) \
           return s:wait(1), s:wait(1), s:count()",
        "true true 0",
    );
    check(
        "local s = require('ngx.semaphore').new() local t = ngx.thread.spawn(function() \
           return s:wait(5) end) local before = s:count() s:post() \
           return before, ngx.thread.wait(t)",
        "-1 true true",
    );
    check("local s = require('ngx.semaphore').new() return s:wait(0.005), s:count()", "nil 0");
}

#[test]
fn timers_outlive_the_handler() {
    let source = "local done = require('ngx.semaphore').new() \
        assert(ngx.timer.at(0.001, function(early, a) seen = {early, a, ngx.get_phase(), \
          pcall(function() return ngx.var.uri end)} ngx.ctx.x = 1 ngx.sleep(0.001) \
          done:post() end, 'x')) \
        local before = ngx.timer.pending_count() done:wait(1) \
        return before, seen[1], seen[2], seen[3], seen[5]:match('API disabled.*')";
    check(source, "1 false x timer API disabled in the context of ngx.timer");
    let source = "local done = require('ngx.semaphore').new() \
        ngx.timer.every(0.001, function() done:post() end) \
        return done:wait(1), done:wait(1), ngx.timer.pending_count()";
    check(source, "true true 1");
    check(
        "ngx.timer.at(0, function() error('in a timer') end) ngx.sleep(0.005) \
           return ngx.timer.running_count()",
        "0",
    );
    check("return pcall(ngx.timer.every, 0, print)", "false delay cannot be 0");
}

#[test]
fn timers_that_wait_run_when_the_worker_ends() {
    let state = state();
    let source = "ngx.timer.at(30, function(early) ended = early end) ngx.timer.every(30, \
                  function(early) again = early end)";
    run(&state, &mut exchange(), source);
    // They ended with the runtime of the run before: begin them where they can be stopped.
    let stop = state.timers.clone();
    let function = state
        .lua
        .create_function(move |_, ()| {
            stop.stop();
            Ok(())
        })
        .expect("one");
    state.lua.globals().set("stop", function).expect("set");
    let source = format!(
        "{source} ngx.sleep(0.001) stop() ngx.sleep(0.005) \
                  return ended, again, ngx.worker.exiting(), ngx.timer.at(1, print)"
    );
    assert_eq!(shown(run(&state, &mut exchange(), &source)), "true true true nil process exiting");
}

#[test]
fn locks_are_held_by_one() {
    check(
        "local lock = require('resty.lock'):new('kong_locks', {timeout = 0.01}) \
           local other = require('resty.lock'):new('kong_locks', {timeout = 0.01}) \
           local held = lock:lock('one') local _, problem = other:lock('one') \
           return held, problem, lock:unlock(), other:lock('one'), other:unlock()",
        "0 timeout 1 0 1",
    );
    check(
        "return require('kong.concurrency').with_coroutine_mutex({name = 'a'}, function() \
           ngx.sleep(0.001) return 5 end)",
        "5 nil",
    );
    check(
        "return require('kong.concurrency').with_worker_mutex({name = 'b'}, function() \
           error('x', 0) end)",
        "nil x",
    );
}
