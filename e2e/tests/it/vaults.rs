//! Secrets by reference: what plugins of every kind are given, what is shown to clients, and what
//! changes while traffic flows. No log ever has one of them.

mod guide;
mod rotation;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::Request;
use silverback_e2e::servers::{self, PythonMode};
use silverback_e2e::upstream::{Seen, Upstream};

use crate::uses::{plugin, routes};

/// A plugin in Lua that tells the upstream what it was given, and takes orders.
const TELLER: &str = r#"
local cjson = require "cjson"
local orders = {
  tell = function(conf) return conf end,
  -- The second call of `try` has what was read again.
  try = function(conf)
    local calls = 0
    local got = kong.vault.try(function(options)
      calls = calls + 1
      return calls == 2 and options.secret
    end, conf)
    return { calls = calls, got = got }
  end,
  flush = function() kong.vault.flush() return {} end,
  warmup = function(conf) kong.vault.warmup(conf["$refs"]) return {} end,
  get = function() return { kong.vault.get(kong.request.get_query_arg("reference")) } end,
}
local order = function(_, conf)
  local order = orders[kong.request.get_query_arg("order") or "tell"]
  kong.service.request.set_header("x-told", cjson.encode(order(conf)))
end
return { PRIORITY = 5, VERSION = "1.0", access = order }
"#;

const TELLER_SCHEMA: &str = r#"
local secret = { type = "string", referenceable = true }
return {
  name = "teller",
  fields = { { config = { type = "record", fields = {
    { plain = { type = "string" } },
    { secret = secret },
    { list = { type = "array", elements = secret } },
    { map = { type = "map", keys = { type = "string" }, values = secret } },
    { inner = { type = "record", fields = { { deep = secret } } } },
  } } } },
}
"#;

/// A gateway with the plugin `teller`, with a directory of secrets, and talkative.
pub(crate) fn builder() -> (Builder, PathBuf) {
    let builder = Builder::new();
    let secrets = builder.prefix().join("secrets");
    let teller = builder.prefix().join("lua/kong/plugins/teller");
    for directory in [&secrets, &teller] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(teller.join("handler.lua"), TELLER).unwrap();
    fs::write(teller.join("schema.lua"), TELLER_SCHEMA).unwrap();
    let lua = builder.prefix().join("lua/?.lua").display().to_string();
    let builder = builder
        .set("lua_package_path", &format!("{lua};;"))
        .set("vault_file_directory", &secrets.display().to_string())
        .set("log_level", "debug");
    (servers::enable(builder, &["teller"]), secrets)
}

/// What `teller` tells on a route.
pub(crate) fn told(gateway: &Gateway, upstream: &Upstream, target: &str) -> Value {
    upstream.take_seen();
    let answer = gateway.get(target);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.take_seen();
    let seen = seen.iter().find_map(|seen| seen.header("x-told"));
    serde_json::from_str(seen.unwrap_or("null")).unwrap()
}

/// No file below `logs` has any of these texts.
pub(crate) fn assert_not_logged(prefix: &Path, secrets: &[&str]) {
    for entry in fs::read_dir(prefix.join("logs")).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for secret in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{} has a secret", path.display());
        }
    }
}

fn header(seen: &[Seen], name: &str) -> Option<String> {
    seen.iter().find_map(|seen| seen.header(name)).map(str::to_owned)
}

/// Native plugins, those in Lua and those of plugin servers are given secrets; the Admin API keeps
/// the references.
#[test]
fn plugins_of_every_kind() {
    let upstream = Upstream::start();
    let (builder, secrets) = builder();
    fs::write(secrets.join("token"), "of-a-file\n").unwrap();
    let log = plugin(
        "http-log",
        &format!(
            "http_endpoint: '{}/log', headers: {{x-key: '{{vault://file/token}}'}}",
            upstream.url()
        ),
    );
    let lua = plugin(
        "teller",
        "plain: '{vault://env/a}', secret: '{vault://env/my-secret}', \
         list: [x, '{vault://env/db/user}'], map: {k: '{vault://env/none}'}, \
         inner: {deep: '{vault://file/token}'}",
    );
    let python = plugin("py-hello", "message: '{vault://env/my-secret}'");
    let builder = servers::python(builder, PythonMode::Threads);
    let gateway = servers::enable(builder, &["teller", "py-hello"])
        .environment("MY_SECRET", "of-the-environment")
        .environment("DB", r#"{"user": "the-user"}"#)
        .declarative(&routes(&upstream, &[("lua", &lua), ("py", &python), ("log", &log)]))
        .start();
    let expect = json!({
        "plain": "{vault://env/a}", "secret": "of-the-environment", "list": ["x", "the-user"],
        "map": {"k": ""}, "inner": {"deep": "of-a-file", "$refs": {"deep": "{vault://file/token}"}},
        "$refs": {"secret": "{vault://env/my-secret}", "list": {"2": "{vault://env/db/user}"},
            "map": {"k": "{vault://env/none}"}},
    });
    let got = told(&gateway, &upstream, "/lua");
    for (name, value) in expect.as_object().unwrap() {
        let sparse = json!({"2": "{vault://env/db/user}"});
        // Lists with holes are whatever the encoder makes of them.
        let got = match name.as_str() {
            "$refs" => json!({"secret": got[name]["secret"], "list": sparse,
                "map": got[name]["map"]}),
            _ => got[name].clone(),
        };
        assert_eq!(&got, value, "{name}");
    }
    gateway.wait_status("/py", 200);
    assert_eq!(header(&upstream.take_seen(), "x-py-hello").as_deref(), Some("of-the-environment"));
    gateway.wait_status("/log", 200);
    let logged = silverback_e2e::wait::wait_for("the log", silverback_e2e::wait::PATIENCE, || {
        header(&upstream.take_seen(), "x-key")
    });
    assert_eq!(logged, "of-a-file");

    let shown = gateway.ask_admin(&Request::get("/plugins")).text();
    assert!(shown.contains("{vault://env/my-secret}"), "{shown}");
    for secret in ["of-the-environment", "of-a-file", "the-user"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    gateway.wait_log("config.map.k: {vault://env/none}: could not get value from external vault");
    assert_not_logged(gateway.prefix(), &["of-the-environment", "of-a-file", "the-user"]);
}

#[test]
fn vaults_change_at_once() {
    let upstream = Upstream::start();
    let (builder, _) = builder();
    let gateway = builder
        .set("database", "sqlite")
        .environment("ONE_KEY", "of-one")
        .environment("TWO_KEY", "of-two")
        .start();
    let ask = |method: &str, path: &str, body: Value, status: u16| {
        let request = Request::new(method, path).header("Content-Type", "application/json");
        let answer = gateway.ask_admin(&request.body(body.to_string()));
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    };
    ask("PUT", "/services/s", json!({ "url": upstream.url() }), 200);
    ask("PUT", "/services/s/routes/r", json!({ "paths": ["/r"] }), 200);
    let config = json!({ "secret": "{vault://mine/key}" });
    ask("POST", "/routes/r/plugins", json!({ "name": "teller", "config": config }), 201);
    let check = |expect: &str| assert_eq!(told(&gateway, &upstream, "/r")["secret"], expect);
    check("");
    let vault = |prefix: &str| json!({ "name": "env", "config": { "prefix": prefix } });
    ask("PUT", "/vaults/mine", vault("ONE_"), 200);
    check("of-one");
    ask("PATCH", "/vaults/mine", vault("TWO_"), 200);
    check("of-two");
    ask("DELETE", "/vaults/mine", json!({}), 204);
    check("");
    assert_not_logged(gateway.prefix(), &["of-one", "of-two"]);
}

#[test]
fn files_outside_are_refused() {
    let (builder, secrets) = builder();
    let gateway = builder.set("database", "sqlite").start();
    let check = |config: Value, expect: Value| {
        let body = json!({ "name": "file", "prefix": "mine", "config": config });
        let request = Request::new("POST", "/vaults").header("Content-Type", "application/json");
        let answer = gateway.ask_admin(&request.body(body.to_string()));
        let fields = answer.json()["fields"]["config"].clone();
        assert_eq!((answer.status, fields), (400, expect), "{}", answer.text());
    };
    let outside = "not inside of ROOT (vault_file_directory in kong.conf)";
    let outside = outside.replace("ROOT", &secrets.display().to_string());
    check(json!({ "directory": "/etc" }), json!({ "directory": outside }));
    check(json!({ "directory": "a/../.." }), json!({ "directory": outside }));
    check(json!({ "prefix": "../" }), json!({ "prefix": "invalid value: ../" }));
    check(json!({ "ttl": -1 }), json!({ "ttl": "value should be between 0 and 100000000" }));
    check(json!({ "path": "x" }), json!({ "path": "unknown field" }));
}

/// `vaults` says which kinds there are, to the Admin API as well.
#[test]
fn kinds_can_be_left_out() {
    let (builder, _) = builder();
    let gateway = builder.set("database", "sqlite").set("vaults", "env").start();
    let body = json!({ "name": "file", "prefix": "mine" });
    let request = Request::new("POST", "/vaults").header("Content-Type", "application/json");
    let answer = gateway.ask_admin(&request.body(body.to_string()));
    let fields = json!({ "name": "vault 'file' is not installed" });
    assert_eq!((answer.status, &answer.json()["fields"]), (400, &fields), "{}", answer.text());
    let refused = Builder::new().set("vaults", "hcv").try_start().err().unwrap_or_default();
    assert!(refused.contains("vaults: there is no vault 'hcv'"), "{refused}");
}

/// What kong.conf refers to is resolved where the node starts and reloads, kept as a reference, and
/// not needed to stop.
#[test]
fn settings_refer_to_secrets() {
    let upstream = Upstream::start();
    let (builder, secrets) = builder();
    fs::write(secrets.join("level"), "info\n").unwrap();
    fs::write(secrets.join("yaml"), routes(&upstream, &[("before", "")])).unwrap();
    let gateway = builder
        .set("vault_env_prefix", "MY_")
        .set("log_level", "{vault://file/level}")
        .set("admin_error_log", "{vault://env/log-path}")
        .environment("MY_LOG_PATH", "logs/hidden.log")
        .set("declarative_config_string", "{vault://file/yaml}")
        .start();
    gateway.wait_status("/before", 200);
    let shown = gateway.ask_admin(&Request::get("/")).json();
    assert_eq!(shown["configuration"]["admin_error_log"], "{vault://env/log-path}");

    fs::write(secrets.join("yaml"), routes(&upstream, &[("after", "")])).unwrap();
    let reload = gateway.command("reload");
    assert!(reload.status.success(), "{}", silverback_e2e::gateway::said(&reload));
    gateway.wait_status("/after", 200);
    let file = fs::read_to_string(gateway.prefix().join(".kong_env")).unwrap();
    assert!(file.contains("log_level = {vault://file/level}"), "{file}");

    fs::remove_file(secrets.join("level")).unwrap();
    let reload = gateway.command("reload");
    let said = silverback_e2e::gateway::said(&reload);
    let expect = "failed to dereference '{vault://file/level}': could not get value from external \
                  vault (no value found (there is no ";
    assert!(!reload.status.success() && said.contains(expect), "{said}");
    // Workers of before may still be about to leave.
    gateway.wait_status("/after", 200);
    let stop = gateway.command("stop");
    assert!(stop.status.success(), "{}", silverback_e2e::gateway::said(&stop));
}

/// A value that does not fit its setting is not shown.
#[test]
fn a_wrong_secret_is_not_told() {
    let (builder, secrets) = builder();
    fs::write(secrets.join("level"), "s3cret-level").unwrap();
    let said = builder.set("log_level", "{vault://file/level}").try_start().err();
    let said = said.unwrap_or_default();
    assert!(said.contains("{vault://file/level}") && !said.contains("s3cret-level"), "{said}");
}
