//! What Lua plugins can't do to the gateway: hold a worker, or all its memory, or leave anything
//! behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::{Connection, Request};
use silverback_e2e::process;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

/// A plugin that does what a request's header `do` says, in the phase that its header `phase` says.
const HANDLER: &str = r#"
local native = require "silverback.native"
local ffi = require "ffi"
local kept = {}

local actions = {
  loop = function() while true do pcall(function() while true do end end) end end,
  allocate = function() local t = {} while true do t[#t + 1] = tostring(#t) end end,
  fill = function() for _ = 1, 1e5 do kept[#kept + 1] = ("x"):rep(1000) .. #kept end end,
  rep = function() return ("x"):rep(2 ^ 31 - 64) end,
  error = function() error("as asked") end,
  exit = function() return kong.response.exit(204) end,
  ["ngx.exit"] = function() return ngx.exit(403) end,
  timer = function() ngx.timer.at(0, function() ngx.sleep(0.001) error("in a timer") end) end,
  ["looping timer"] = function() ngx.timer.at(0, function() while true do end end) end,
  ["thread"] = function()
    ngx.thread.spawn(function() ngx.sleep(0.001) error("in a thread") end)
    ngx.thread.kill(ngx.thread.spawn(ngx.sleep, 1000))
  end,
  coroutine = function() coroutine.wrap(function() coroutine.yield() end)() end,
  socket = function()
    local socket = ngx.socket.tcp()
    socket:settimeout(5000)
    assert(socket:connect("127.0.0.1", tonumber(kong.request.get_header("port"))))
    assert(socket:send("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"))
    assert(socket:receive())
    socket:close()
  end,
  count = function()
    collectgarbage()
    return kong.response.exit(200, { coroutines = native.coroutines(),
      timers = ngx.timer.pending_count() + ngx.timer.running_count(),
      bytes = collectgarbage("count") * 1024, pid = ngx.worker.pid() })
  end,
}

local handler = { PRIORITY = 1000, VERSION = "1.0" }
function handler:init_worker() kong.log.notice("the plugin begins in a state") end
for _, phase in ipairs { "access", "header_filter", "log" } do
  handler[phase] = function(_, conf)
    if (kong.request.get_header("phase") or "access") ~= phase then return end
    local action = actions[kong.request.get_header("do")]
    if action then return action(conf) end
  end
end
return handler
"#;

const SCHEMA: &str = r#"
return { name = "limits", fields = { { config = { type = "record", fields = {
  { check = { type = "string", custom_validator = function(text)
      while text == "loop" do end
      return true
    end } } } } } } }"#;

/// Writes the plugin where `lua_package_path` finds it.
fn write_plugin(prefix: &Path) -> String {
    let place = prefix.join("lua/kong/plugins/limits");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("handler.lua"), HANDLER).unwrap();
    fs::write(place.join("schema.lua"), SCHEMA).unwrap();
    prefix.join("lua/?.lua").display().to_string() + ";;"
}

fn start(upstream: &Upstream, settings: &[(&str, &str)]) -> Gateway {
    let mut builder = Builder::new();
    let path = write_plugin(builder.prefix());
    builder = builder.set("lua_package_path", &path).set("plugins", "bundled,limits");
    for (name, value) in settings {
        builder = builder.set(name, value);
    }
    let yaml = format!(
        "_format_version: '3.0'
services:
- {{name: web, url: '{}', routes: [{{name: web, paths: [/]}}]}}
plugins:
- {{name: limits}}
",
        upstream.url()
    );
    builder.declarative(&yaml).start()
}

fn asking(what: &str, phase: &str, upstream: &Upstream) -> Request {
    let request = Request::get("/").header("do", what).header("phase", phase);
    request.header("port", &upstream.port().to_string())
}

#[test]
fn code_that_does_not_end_is_stopped() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("lua_cpu_budget", "200ms")]);
    let check = |phase: &str, what: &str, status: Option<u16>, said: &str| {
        let answer = gateway.send(&asking(what, phase, &upstream)).ok();
        assert_eq!(answer.map(|answer| answer.status), status, "{phase} {what}");
        gateway.wait_log(said);
        assert_eq!(gateway.get("/").status, 200, "after {phase} {what}");
    };
    check("access", "loop", Some(500), "stopped: the code ran for 0.2 s of CPU time");
    let line = gateway.log().lines().find(|line| line.contains("stopped:")).map(str::to_owned);
    let line = line.unwrap_or_default();
    assert!(line.contains("limits") && line.contains("access"), "{line}");
    assert!(line.contains("see lua_cpu_budget in kong.conf"), "{line}");
    check("log", "loop", Some(200), "log: ");
    check("access", "looping timer", Some(200), "context: ngx.timer");
    // The function of a schema, on the thread that reads configurations.
    let load =
        gateway.load("_format_version: '3.0'\nplugins: [{name: limits, config: {check: loop}}]");
    assert!(load.is_err_and(|text| text.contains("stopped: the code ran")));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn code_that_needs_too_much_memory_fails() {
    let upstream = Upstream::start();
    let settings = [("lua_max_memory", "48m"), ("nginx_worker_processes", "2")];
    let gateway = start(&upstream, &settings);
    for _ in 0..3 {
        for what in ["allocate", "rep"] {
            let answer = gateway.send(&asking(what, "access", &upstream)).unwrap();
            assert_eq!(answer.status, 500, "{what}");
            assert_eq!(gateway.get("/").status, 200, "after {what}");
        }
    }
    gateway.wait_log("not enough memory");
    let status = gateway.ask_admin(&Request::get("/status?unit=b")).json();
    let states = status["memory"]["workers_lua_vms"].as_array().unwrap();
    assert_eq!(states.len(), 2, "{status}");
    for state in states {
        let bytes = state["http_allocated_gc"].as_u64().unwrap();
        assert!((10_000..60_000_000).contains(&bytes), "{status}");
        assert_ne!(state["pid"], states[0]["http_allocated_gc"], "{status}");
    }
    assert_ne!(states[0]["pid"], states[1]["pid"], "{status}");
    let status = gateway.ask_admin(&Request::get("/status")).json();
    let shown = status["memory"]["workers_lua_vms"][0]["http_allocated_gc"].as_str();
    assert!(shown.is_some_and(|text| text.ends_with(" MiB")), "{status}");
    let metrics = gateway.ask_admin(&Request::get("/metrics")).text();
    let pid = states[0]["pid"].as_u64().unwrap_or_default();
    assert!(metrics.contains(&format!("pid=\"{pid}\",kong_subsystem=\"http\"}}")), "{metrics}");
}

/// What a plugin keeps for ever fills a state; a new one takes its place.
#[test]
fn a_state_that_is_full_makes_way() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("lua_max_memory", "48m"), ("log_level", "notice")]);
    let begins = || gateway.log().matches("the plugin begins in a state").count();
    assert_eq!(begins(), 1);
    let mut failed = 0;
    wait_until("a new state", PATIENCE, || {
        let answer = gateway.send(&asking("fill", "access", &upstream)).unwrap();
        assert!(matches!(answer.status, 200 | 500), "{}", answer.status);
        failed += usize::from(answer.status == 500);
        gateway.log().contains("a worker's Lua state is full")
    });
    assert!((1..10).contains(&failed), "{failed} requests failed");
    // What follows runs in the new one, in which the plugin has begun anew.
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
        let count = gateway.send(&asking("count", "access", &upstream)).unwrap().json();
        assert!(count["bytes"].as_f64().unwrap() < 30e6, "{count}");
    }
    assert_eq!(begins(), 2);
    assert_eq!(gateway.log().matches("a worker's Lua state is full").count(), 1);
}

/// Requests of the soak, in all; a million take some minutes: `LUA_SOAK_REQUESTS=1000000`.
fn soak_requests() -> usize {
    std::env::var("LUA_SOAK_REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(4000)
}

/// Whatever handlers do, nothing of them is left.
#[test]
fn nothing_is_left_of_requests() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("log_level", "crit")]);
    let plan = [
        ("error", "access", 500),
        ("error", "log", 200),
        ("exit", "access", 204),
        ("ngx.exit", "access", 403),
        ("timer", "access", 200),
        ("thread", "access", 200),
        ("coroutine", "access", 200),
        ("socket", "access", 200),
        ("nothing", "access", 200),
    ];
    let mut connection: Option<Connection> = None;
    let mut send = |count: usize| {
        for (what, phase, status) in plan.iter().cycle().take(count) {
            let open = || Connection::open(&gateway.proxy(), PATIENCE).unwrap();
            let to = connection.get_or_insert_with(open);
            let answer = to.ask(&asking(what, phase, &upstream), true);
            let answer = answer.unwrap_or_else(|why| panic!("{what} in {phase}: {why}"));
            assert_eq!(answer.status, *status, "{what} in {phase}");
            if answer.header("connection") == Some("close") {
                connection = None;
            }
            upstream.take_seen();
        }
    };
    let count = || gateway.send(&asking("count", "access", &upstream)).unwrap().json();
    let requests = soak_requests();
    send(requests / 4);
    let settled = || {
        wait_until("timers and threads to end", Duration::from_secs(60), || {
            // The one that counts is a coroutine itself.
            let left = count();
            left["timers"] == 0 && left["coroutines"] == 1
        });
        count()["bytes"].as_f64().unwrap_or_default()
    };
    let (before, resident) = (settled(), process::resident_bytes(gateway.pid()));
    send(requests - requests / 4);
    let (after, resident_after) = (settled(), process::resident_bytes(gateway.pid()));
    assert!(after < before * 1.1 + 100_000.0, "{before} bytes became {after}");
    let most = resident + resident / 10 + (16 << 20);
    assert!(resident_after < most, "{resident} bytes of the process became {resident_after}");
    eprintln!(
        "{requests} requests: {before} to {after} bytes of Lua, {resident} to \
               {resident_after} of the process"
    );
}
