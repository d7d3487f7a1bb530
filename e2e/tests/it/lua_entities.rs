//! A Lua plugin with everything that one may have: entities of its own, paths of its own in the
//! Admin API, and migrations; in every store.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use silverback_e2e::gateway::{Builder, Gateway, said};
use silverback_e2e::http::{Answer, Request};
use silverback_e2e::postgres::Postgres;
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;

/// A builder that knows the plugin.
fn with_plugin(builder: Builder) -> Builder {
    let path = setup::root().join("e2e/plugins/lua/?.lua");
    let folders = setup::root().join("e2e/plugins/lua/?/init.lua");
    let path = format!("{};{};;", path.display(), folders.display());
    builder.set("lua_package_path", &path).set("plugins", "bundled,badges")
}

fn ask(gateway: &Gateway, method: &str, target: &str, body: &Value) -> Answer {
    let request = Request::new(method, target);
    gateway.ask_admin(&match body {
        Value::Null => request,
        body => request.header("Content-Type", "application/json").body(body.to_string()),
    })
}

/// Asks for something, and looks at the members of the answer that are expected.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "made for it")]
fn check(gateway: &Gateway, line: &str, body: Value, status: u16, expect: Value) -> Value {
    let (method, target) = line.split_once(' ').unwrap();
    let answer = ask(gateway, method, target, &body);
    assert_eq!(answer.status, status, "{line}: {}", answer.text());
    if status == 204 {
        return Value::Null;
    }
    let json = answer.json();
    for (name, expected) in expect.as_object().unwrap() {
        assert_eq!(&json[name], expected, "{line}: {name} of {json}");
    }
    json
}

/// Whether a badge is let in, and what the upstream hears of it.
fn enters(gateway: &Gateway, upstream: &Upstream, badge: &str) -> (u16, Option<String>) {
    upstream.take_seen();
    let request = Request::get("/door").header("X-Badge", badge);
    let answer = gateway.send(&request).unwrap();
    let seen = upstream.take_seen();
    let uses = seen.first().and_then(|seen| seen.header("x-badge-uses"));
    (answer.status, uses.map(str::to_owned))
}

/// What holds in a store that can be written.
fn exercise(gateway: &Gateway, upstream: &Upstream) {
    let service = json!({"name": "echo", "url": upstream.url()});
    check(gateway, "POST /services", service, 201, json!({}));
    check(gateway, "POST /services/echo/routes", json!({"paths": ["/door"]}), 201, json!({}));
    let plugin = json!({"name": "badges", "config": {"counts": true}});
    check(gateway, "POST /plugins", plugin, 201, json!({}));
    check(gateway, "POST /consumers", json!({"username": "ann"}), 201, json!({}));

    // Made by an endpoint that the plugin has changed.
    let list = json!({"name": "hall", "floor": 3});
    let made = json!({"note": "new", "tags": ["made"], "floor": 3});
    check(gateway, "POST /badge-lists", list, 201, made);
    let twice = json!({"name": "roof", "floor": 3});
    let unique = json!({"code": 5, "fields": {"floor": 3}});
    check(gateway, "POST /badge-lists", twice, 409, unique);
    let half = json!({"name": "roof", "from": "8"});
    let needs = "all or none of these fields must be set: 'from', 'till'";
    check(
        gateway,
        "POST /badge-lists",
        half,
        400,
        json!({"code": 2, "fields": {"@entity": [needs]}}),
    );

    // By the plugin's own DAO, with a reference by name to another entity of its own.
    let badge = json!({"code": "a-1", "pin": "1234", "list": {"name": "hall"}, "ttl": 1000});
    let pin = "md5:81dc9bdb52d04dc20036dbd8313ed055";
    let shown = json!({"code": "A-1", "uses": 0, "pin": pin});
    let badge = check(gateway, "POST /consumers/ann/badge", badge, 201, shown);
    assert!(badge["ttl"].as_f64().is_some_and(|ttl| (900.0..=1000.0).contains(&ttl)), "{badge}");
    let again = json!({"code": "b-1", "list": {"name": "hall"}});
    check(gateway, "POST /consumers/ann/badge", again, 409, json!({"code": 5}));
    let short = json!({"code": "x", "list": {"name": "hall"}});
    let refused = json!({"fields": {"code": "too short to be a badge"}});
    check(gateway, "POST /consumers/ann/badge", short, 400, refused);
    let nowhere = json!({"code": "c-1", "list": {"name": "none"}});
    check(gateway, "POST /consumers/ann/badge", nowhere, 400, json!({"code": 13}));

    check(gateway, "GET /badges/A-1", Value::Null, 200, json!({"id": badge["id"], "pin": pin}));
    check(gateway, "GET /badges", Value::Null, 200, json!({"next": null}));
    check(gateway, "GET /badges/A-1/consumer", Value::Null, 200, json!({"username": "ann"}));
    check(gateway, "GET /badges/A-1/list", Value::Null, 200, json!({"name": "hall"}));
    check(gateway, "GET /badge-lists/hall/badge/A-1", Value::Null, 200, json!({"code": "A-1"}));
    what_was_said_before_counts(gateway);
    let size = json!({"name": "hall", "size": 1});
    check(gateway, "GET /badge-lists/hall/size", Value::Null, 200, size);
    let floor = json!({"floor": 3, "name": "hall"});
    check(gateway, "GET /floors/3", Value::Null, 200, floor);
    check(gateway, "GET /floors/4", Value::Null, 404, json!({}));
    check(gateway, "GET /badge-lists/none/size", Value::Null, 404, json!({}));
    check(gateway, "POST /badge-lists/hall/fail", json!({}), 400, json!({"code": 2}));
    let error = json!({"message": "An unexpected error occurred"});
    check(gateway, "POST /badge-lists/hall/fail", json!({"how": "error"}), 500, error);
    check(gateway, "DELETE /badge-lists/hall/size", Value::Null, 405, json!({}));
    let tags = check(gateway, "GET /tags/made", Value::Null, 200, json!({}));
    assert_eq!(tags["data"][0]["entity_name"], "badge_lists", "{tags}");

    assert_eq!(enters(gateway, upstream, "none"), (403, None));
    assert_eq!(enters(gateway, upstream, "a-1"), (200, Some("1".to_owned())));
    assert_eq!(enters(gateway, upstream, "A-1"), (200, Some("2".to_owned())));
    check(gateway, "PATCH /badges/A-1", json!({"uses": 10}), 200, json!({"uses": 10, "pin": pin}));
    assert_eq!(enters(gateway, upstream, "a-1"), (200, Some("11".to_owned())));

    // What refers to it goes with it.
    check(gateway, "DELETE /badge-lists/hall", Value::Null, 204, json!({}));
    check(gateway, "GET /badges/A-1", Value::Null, 404, json!({}));
    assert_eq!(enters(gateway, upstream, "a-1"), (403, None));
}

/// What an endpoint of `api.lua` sets before it calls the one that was there, or prints.
fn what_was_said_before_counts(gateway: &Gateway) {
    let list = ask(gateway, "GET", "/badge-lists/hall", &Value::Null);
    assert_eq!((list.status, list.header("x-badges")), (200, Some("shown")));
    let word = ask(gateway, "GET", "/badge-word", &Value::Null);
    assert_eq!((word.status, word.text().as_str()), (202, "word"));
}

#[test]
fn entities_of_plugins_are_kept_in_sqlite() {
    let upstream = Upstream::start();
    let builder = with_plugin(Builder::new().set("database", "sqlite"));
    let settings = builder.settings().clone();
    let gateway = builder.start();
    exercise(&gateway, &upstream);
    // They are in what is exported.
    check(&gateway, "POST /badge-lists", json!({"name": "cellar"}), 201, json!({}));
    let file = gateway.prefix().join("export.yml");
    let output = Command::new(setup::gateway())
        .args(["config", "db_export"])
        .arg(&file)
        .arg("-p")
        .arg(gateway.prefix())
        .envs(&settings)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let export = std::fs::read_to_string(&file).unwrap();
    assert!(export.contains("badge_lists:") && export.contains("cellar"), "{export}");
}

#[test]
fn entities_of_plugins_are_kept_in_postgres() {
    let database = Postgres::shared().database();
    let builder = with_plugin(database.gateway());
    let migrations = |word: &str| {
        let output = Command::new(setup::gateway())
            .args(["migrations", word, "-p"])
            .arg(builder.prefix())
            .envs(builder.settings())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code().unwrap_or(-1), said(&output))
    };
    // The plugin is added to a database that is in use: it has to be brought up to date first.
    database.bootstrap();
    let (code, text) = migrations("list");
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("badges: 000_base_badges, 001_badges_pin"), "{text}");
    let (code, text) = migrations("up");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("badges migrated up to: 001_badges_pin (pending)"), "{text}");
    let (code, text) = migrations("finish");
    assert_eq!(code, 0, "{text}");
    assert_eq!(database.value("SELECT obj_description('badges'::regclass)"), "had 0");
    let record = "SELECT last_executed || ' ' || array_to_string(executed, ',') || ' ' || \
                  cardinality(pending) FROM schema_meta WHERE subsystem = 'badges'";
    let expect = "001_badges_pin 000_base_badges,001_badges_pin 0";
    assert_eq!(database.value(record), expect);
    let upstream = Upstream::start();
    exercise(&builder.start(), &upstream);
}

/// An empty database gets all of it at once.
#[test]
fn migrations_of_plugins_are_part_of_bootstrap() {
    let database = Postgres::shared().database();
    let builder = with_plugin(database.gateway());
    let status = Command::new(setup::gateway())
        .args(["migrations", "bootstrap", "-q", "-p"])
        .arg(builder.prefix())
        .envs(builder.settings())
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    assert_eq!(database.value("SELECT obj_description('badges'::regclass)"), "had 0");
    let _ = std::fs::remove_dir_all(builder.prefix());
}

#[test]
fn entities_of_plugins_are_declared() {
    let upstream = Upstream::start();
    let file = format!(
        "_format_version: '3.0'
consumers:
- username: ann
  badges:
  - code: NESTED
    list: hall
- username: bob
badge_lists:
- name: hall
  tags: [a]
badges:
- code: FLAT
  pin: '1234'
  consumer: bob
  list: hall
services:
- name: echo
  url: {}
  routes:
  - paths: [/door]
  plugins:
  - name: badges
",
        upstream.url()
    );
    let gateway = with_plugin(Builder::new()).declarative(&file).start();
    assert_eq!(enters(&gateway, &upstream, "nested"), (200, Some("0".to_owned())));
    assert_eq!(enters(&gateway, &upstream, "flat"), (200, Some("0".to_owned())));
    assert_eq!(enters(&gateway, &upstream, "none"), (403, None));
    let pin = "md5:81dc9bdb52d04dc20036dbd8313ed055";
    check(&gateway, "GET /badges/FLAT", Value::Null, 200, json!({"pin": pin}));
    check(&gateway, "GET /consumers/bob/badge/FLAT", Value::Null, 200, json!({"code": "FLAT"}));
    check(&gateway, "GET /badge-lists/hall/size", Value::Null, 200, json!({"size": 2}));
    let text = "cannot create 'badge_lists' entities when not using a database";
    let refused = json!({"code": 12, "message": text});
    check(&gateway, "POST /badge-lists", json!({"name": "x"}), 405, refused);
    let schema = check(&gateway, "GET /schemas/badges", Value::Null, 200, json!({}));
    let fields: BTreeMap<String, Value> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|field| field.as_object().unwrap().clone())
        .collect();
    assert_eq!(fields["code"], json!({"type": "string", "unique": true, "auto": true}));
    let wrong = gateway.load("_format_version: '3.0'\nbadge_lists: [{name: a}, {name: a}]");
    assert!(wrong.is_err_and(|text| text.contains("uniqueness violation")));
}
