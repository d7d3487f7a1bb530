//! Lua plugins beside each other: in a chain, on several workers, on several nodes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::{Answer, Request};
use silverback_e2e::postgres::Postgres;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

/// One of a chain: it does what the header named like it says.
const LINK: &str = r#"
local NAME = "chain-PLACE"
local Link = { PRIORITY = 100 - PLACE, VERSION = "1" }
function Link:access(conf)
  local ran = kong.ctx.shared.ran or ""
  kong.ctx.shared.ran = ran .. PLACE
  kong.ctx.plugin.place = PLACE
  local what = kong.request.get_header(NAME)
  if what == "wait" then ngx.sleep(0.001) end
  if what == "error" then error("as asked") end
  if what == "exit" then return kong.response.exit(418, NAME) end
  if what == "say" then ngx.say(NAME) end
  if what == "log" then kong.log.err("a line") end
  if what == "thread" then
    ngx.thread.spawn(function() ngx.sleep(0.001) kong.ctx.shared.thread = kong.ctx.plugin.place end)
  end
end
function Link:header_filter()
  if kong.request.get_header(NAME) == "header" then kong.response.exit(419) end
  kong.response.set_header(NAME, tostring(kong.ctx.plugin.place))
  kong.response.set_header("ran", kong.ctx.shared.ran)
  kong.response.set_header("thread", tostring(kong.ctx.shared.thread))
end
function Link:log()
  if kong.request.get_header(NAME) == "log" then error("not logged") end
  local names = kong.ctx.shared.logged or ""
  kong.ctx.shared.logged = names .. PLACE
  if PLACE == LAST then kong.log.err("logged: ", kong.ctx.shared.logged) end
end
return Link
"#;

/// The places of the chain: more than fit into one call.
const LINKS: usize = 20;

/// Writes a plugin without configuration where `lua_package_path` finds it.
fn write(prefix: &Path, name: &str, handler: &str) {
    let place = prefix.join("lua/kong/plugins").join(name);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("handler.lua"), handler).unwrap();
    let fields = "fields = { { config = { type = 'record', fields = {} } } }";
    let schema = format!("return {{ name = '{name}', {fields} }}");
    fs::write(place.join("schema.lua"), schema).unwrap();
}

fn with_plugins(builder: Builder, names: &[String]) -> Builder {
    let path = builder.prefix().join("lua/?.lua").display().to_string() + ";;";
    let plugins = format!("bundled,{}", names.join(","));
    builder.set("lua_package_path", &path).set("plugins", &plugins)
}

#[test]
fn plugins_of_a_chain_run_as_each_by_itself() {
    let upstream = Upstream::start();
    let builder = Builder::new();
    let names: Vec<String> = (1..=LINKS).map(|place| format!("chain-{place}")).collect();
    for (place, name) in (1..).zip(&names) {
        let handler = LINK.replace("PLACE", &place.to_string());
        write(builder.prefix(), name, &handler.replace("LAST", &LINKS.to_string()));
    }
    let plugins: String = names.iter().map(|name| format!("- name: {name}\n")).collect();
    let yaml = format!(
        "_format_version: '3.0'\nservices:\n- {{name: web, url: '{}', routes: [{{name: web, \
         paths: [/]}}]}}\nplugins:\n{plugins}",
        upstream.url()
    );
    let gateway = with_plugins(builder, &names).declarative(&yaml).start();
    let ask = |name: &str, what: &str| gateway.send(&Request::get("/").header(name, what));
    let all: String = (1..=LINKS).map(|place| place.to_string()).collect();
    let shows = |answer: &Answer, ran: &str| {
        assert_eq!(answer.header("ran"), Some(ran));
        for name in &names {
            let place = name.strip_prefix("chain-").unwrap_or_default();
            let had_its_turn = ran == all || place == "1" || place == "2" || place == "3";
            let expect = if had_its_turn { place } else { "nil" };
            assert_eq!(answer.header(name), Some(expect), "{name}");
        }
    };
    // More than once: what runs often is compiled.
    for _ in 0..100 {
        let answer = ask("none", "").unwrap();
        assert_eq!((answer.status, upstream.take_seen().len()), (200, 1));
        shows(&answer, &all);
    }
    for waiting in ["chain-1", "chain-3", "chain-16", "chain-20"] {
        shows(&ask(waiting, "wait").unwrap(), &all);
    }
    let thread = ask("chain-3", "thread").unwrap();
    assert_eq!((thread.status, thread.header("thread")), (200, Some("3")));
    let exit = ask("chain-3", "exit").unwrap();
    assert_eq!((exit.status, exit.text().as_str()), (418, "chain-3"));
    shows(&exit, "123");
    let failed = ask("chain-3", "error").unwrap();
    assert_eq!(failed.status, 500);
    shows(&failed, "123");
    gateway.wait_log("[chain-3] access: ");
    // Those behind one that has answered have no turn in any phase.
    let said = ask("chain-3", "say").unwrap();
    assert_eq!((said.status, said.text().as_str()), (200, "chain-3\n"));
    assert_eq!((said.header("ran"), said.header("chain-4")), (Some("123"), None));
    // An exit of header_filter changes what those behind it see.
    let header = ask("chain-3", "header").unwrap();
    assert_eq!((header.status, header.header("chain-20")), (419, Some("20")));
    // A line says whose it is, and one that fails in log keeps nobody from its turn.
    assert_eq!(ask("chain-17", "log").unwrap().status, 200);
    gateway.wait_log("[chain-17] ");
    gateway.wait_log(&format!("logged: {}", all.replacen("17", "", 1)));
}

/// What plugins keep and tell: it does what a query says.
const KEEPER: &str = r#"
local Keeper = { PRIORITY = 1, VERSION = "1" }
local heard, calls = {}, 0
function Keeper:init_worker()
  local events = { "consumers", "consumers:create", "consumers:update", "consumers:delete" }
  for _, event in ipairs(events) do
    kong.worker_events.register(function(data)
      local line = event .. " " .. data.operation .. " " .. data.entity.username
      if data.old_entity then line = line .. " was " .. data.old_entity.username end
      heard[#heard + 1] = line .. " " .. data.schema.name
    end, "crud", event)
  end
end
local actions = {
  get = function(key, options)
    return kong.cache:get(key, options, function()
      calls = calls + 1
      return ngx.worker.id() .. " " .. calls
    end)
  end,
  none = function(key)
    return kong.cache:get(key, { neg_ttl = 100 }, function() calls = calls + 1 end) or calls
  end,
  probe = function(key)
    local ttl, problem, value = kong.cache:probe(key)
    return { ttl = ttl or false, value = value, problem = problem }
  end,
  invalidate = function(key) kong.cache:invalidate(key) end,
  invalidate_local = function(key) kong.cache:invalidate_local(key) end,
  heard = function() return heard end,
  sql = function(sql)
    local rows, problem = kong.db.connector:query(sql)
    return { rows = rows, problem = problem }
  end,
}
function Keeper:access()
  local query = kong.request.get_query()
  local value, problem = actions[query["do"]](query.key, { ttl = tonumber(query.ttl) })
  kong.response.exit(200, { value = value, problem = problem, worker = ngx.worker.id() })
end
return Keeper
"#;

/// Asks until each of two workers has answered; their answers, by worker.
fn of_both(gateway: &Gateway, query: &str) -> [Value; 2] {
    let mut answers = [Value::Null, Value::Null];
    wait_until("both workers to answer", PATIENCE, || {
        let answer = gateway.get(&format!("/keep?{query}")).json();
        let worker = answer["worker"].as_u64().unwrap_or_default() as usize;
        if answers[worker].is_null() {
            answers[worker] = answer["value"].clone();
        }
        answers.iter().all(|answer| !answer.is_null())
    });
    answers
}

fn post(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let request = Request::new(method, path).header("Content-Type", "application/json");
    let answer = gateway.ask_admin(&request.body(body.to_string()));
    assert!(answer.status < 300, "{method} {path}: {}", answer.text());
    if answer.status == 204 { Value::Null } else { answer.json() }
}

fn keep(builder: Builder) -> Gateway {
    write(builder.prefix(), "keeper", KEEPER);
    with_plugins(builder, &["keeper".to_owned()]).set("nginx_worker_processes", "2").start()
}

fn with_route(gateway: &Gateway) {
    let route = post(gateway, "POST", "/routes", &json!({"name": "keep", "paths": ["/keep"]}));
    let plugin = json!({"name": "keeper", "route": {"id": route["id"]}});
    post(gateway, "POST", "/plugins", &plugin);
    gateway.wait_status("/keep?do=heard", 200);
}

/// What was heard of changes, once there is as much.
fn heard(gateway: &Gateway, count: usize) -> Vec<String> {
    let mut lines = BTreeSet::new();
    wait_until("the changes to be heard", PATIENCE, || {
        for lists in of_both(gateway, "do=heard") {
            let list = lists.as_array().cloned().unwrap_or_default();
            lines.extend(list.iter().filter_map(|line| line.as_str().map(str::to_owned)));
        }
        lines.len() >= count
    });
    lines.into_iter().collect()
}

#[test]
fn workers_keep_values_and_hear_of_changes() {
    let gateway = keep(Builder::new().set("database", "sqlite"));
    with_route(&gateway);
    let [first, second] = of_both(&gateway, "do=get&key=a");
    assert_eq!(of_both(&gateway, "do=get&key=a"), [first.clone(), second.clone()]);
    gateway.get("/keep?do=invalidate&key=a");
    let [third, fourth] = of_both(&gateway, "do=get&key=a");
    assert!(third != first && fourth != second, "{third} {fourth}");
    let probed = of_both(&gateway, "do=probe&key=a");
    assert_eq!([&probed[0]["value"], &probed[1]["value"]], [&third, &fourth]);
    let none = of_both(&gateway, "do=none&key=none");
    assert_eq!(of_both(&gateway, "do=none&key=none"), none);
    let sql = gateway.get("/keep?do=sql&key=select+1").json();
    let problem = sql["value"]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("database = postgres"), "{sql}");

    post(&gateway, "POST", "/consumers", &json!({"username": "ann"}));
    post(&gateway, "PATCH", "/consumers/ann", &json!({"username": "bea"}));
    post(&gateway, "DELETE", "/consumers/bea", &Value::Null);
    let expect = [
        "consumers create ann consumers",
        "consumers delete bea consumers",
        "consumers update bea was ann consumers",
        "consumers:create create ann consumers",
        "consumers:delete delete bea consumers",
        "consumers:update update bea was ann consumers",
    ];
    assert_eq!(heard(&gateway, expect.len()), expect);
}

#[test]
fn nodes_of_one_database_forget_together() {
    let database = Postgres::shared().database();
    database.bootstrap();
    let one = keep(database.gateway());
    let two = keep(database.gateway());
    with_route(&one);
    two.wait_status("/keep?do=heard", 200);
    let [before, _] = of_both(&two, "do=get&key=a");
    // Told by one node, to both workers of the other.
    one.get("/keep?do=invalidate&key=a");
    wait_until("the other node to forget", PATIENCE, || {
        of_both(&two, "do=get&key=a").iter().all(|value| *value != before)
    });
    let rows = |query: &str| {
        let query = query.replace(' ', "+").replace('\'', "%27").replace('=', "%3D");
        one.get(&format!("/keep?do=sql&key={query}")).json()["value"].clone()
    };
    post(&one, "POST", "/consumers", &json!({"username": "ann", "tags": ["x"]}));
    let found = rows("select username, tags, 7 as n from consumers where username = 'ann'");
    assert_eq!(found["rows"], json!([{"username": "ann", "tags": ["x"], "n": 7}]));
    let changed = rows("update consumers set custom_id = 'c' where username = 'ann'");
    assert_eq!(changed["rows"], json!({"affected_rows": 1}));
    let wrong = rows("select nothing from nowhere");
    assert!(wrong["problem"].as_str().is_some_and(|text| text.contains("nowhere")), "{wrong}");
}
