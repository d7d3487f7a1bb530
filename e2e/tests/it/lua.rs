//! Lua plugins as their users have them.

use serde_json::{Value, json};
use silverback_e2e::{
    gateway::{Builder, Gateway},
    http::{Answer, Request},
    servers, setup,
    upstream::Upstream,
    wait::{PATIENCE, wait_until},
};

use crate::uses::{plugin, routes};

/// Makes an entity through the Admin API.
fn make(gateway: &Gateway, path: &str, entity: &Value) -> Answer {
    let request = Request::new("POST", path).header("Content-Type", "application/json");
    gateway.ask_admin(&request.body(entity.to_string()))
}

/// Kong's own introduction to plugins, of the time of 0.14.
#[test]
fn the_first_plugin_of_kong_0_14() {
    let upstream = Upstream::start();
    let name = "kong-plugin-header-echo";
    let builder = servers::enable(servers::lua(Builder::new()), &[name]).set("database", "sqlite");
    let gateway = builder.start();
    let service = json!({ "name": "mock-service", "url": upstream.url() });
    assert_eq!(make(&gateway, "/services", &service).status, 201);
    let route = json!({ "paths": ["/mock"] });
    assert_eq!(make(&gateway, "/services/mock-service/routes", &route).status, 201);
    let enabled = make(&gateway, "/services/mock-service/plugins", &json!({ "name": name }));
    assert_eq!(enabled.status, 201, "{}", enabled.text());
    let config = json!({"requestHeader": "X-Request-Echo", "responseHeader": "X-Response-Echo"});
    assert_eq!(enabled.json()["config"], config);

    let answer = gateway.send(&Request::get("/mock/a").header("X-Request-Echo", "hello")).unwrap();
    assert_eq!((answer.status, answer.header("x-response-echo")), (200, Some("hello")));
    // `no_consumer` of the old schemas.
    let consumer = make(&gateway, "/consumers", &json!({ "username": "c" })).json();
    let refused = json!({ "name": name, "consumer": { "id": consumer["id"] } });
    let refused = make(&gateway, "/plugins", &refused);
    assert_eq!((refused.status, &refused.json()["name"]), (400, &json!("schema violation")));
}

#[test]
fn a_plugin_is_found_in_the_working_directory_of_the_node() {
    let builder = Builder::new();
    let directory = builder.prefix().join("own/kong/plugins/here");
    std::fs::create_dir_all(&directory).unwrap();
    let handler = "return { PRIORITY = 1, VERSION = '1', access = function() \
                   kong.response.exit(200, 'found') end }";
    std::fs::write(directory.join("handler.lua"), handler).unwrap();
    let schema =
        "return { name = 'here', fields = { { config = { type = 'record', fields = {} } } } }";
    std::fs::write(directory.join("schema.lua"), schema).unwrap();
    let upstream = Upstream::start();
    let builder = servers::enable(builder, &["here"]);
    let own = builder.prefix().join("own");
    let builder = builder.declarative(&routes(&upstream, &[("r", "{name: here}")]));
    let gateway = builder.directory(&own).start();
    assert_eq!(gateway.get("/r").text(), "found");
}

#[test]
fn a_modern_plugin_runs_in_every_phase() {
    let upstream = Upstream::start();
    let builder = servers::enable(servers::lua(Builder::new()), &["modern"]);
    let yaml = format!(
        "_format_version: '3.0'\nplugins:\n- {}\n{}",
        plugin("modern", "label: all, even: 4"),
        routes(&upstream, &[("r", "")]).trim_start_matches("_format_version: '3.0'\n"),
    );
    let gateway = builder.declarative(&yaml).start();
    let started = gateway.get("/r?ran").text();
    assert_eq!(started, "<init_worker configure=all rewrite=all >");
    let answer = gateway.get("/r/html");
    assert_eq!(answer.text(), "<<html><body>hello</body></html>>");
    let mut ran = gateway.get("/r?ran").text();
    assert!(ran.contains(" access=b3 header_filter=kept body_filter "), "{ran}");
    wait_until("the log phase to run", PATIENCE, || {
        ran += &gateway.get("/r?ran").text();
        ran.contains("log=kept200 ")
    });
    let wrong = gateway.load(&yaml.replace("label: all, even: 4", "label: All, even: 3"));
    let wrong = wrong.unwrap_err();
    assert!(wrong.contains("must be even") && wrong.contains("label"), "{wrong}");
}

#[test]
fn a_plugin_of_luarocks_runs_with_its_module_in_c() {
    let upstream = Upstream::start();
    let tree = setup::env("rock").display().to_string();
    let builder = servers::enable(Builder::new(), &["rocked"])
        .set("lua_package_path", &format!("{tree}/share/lua/5.1/?.lua;;"))
        .set("lua_package_cpath", &format!("{tree}/lib/lua/5.1/?.so;;"));
    let chain = plugin("rocked", "a: 40");
    let gateway = builder.declarative(&routes(&upstream, &[("r", &chain)])).start();
    let answer = gateway.get("/r").json();
    assert_eq!((&answer["sum"], &answer["fails"]), (&json!(42), &json!(true)));
    assert!(answer["why"].as_str().unwrap().contains("number expected, got string"), "{answer}");
}

#[test]
fn native_plugins_take_expressions_of_lua() {
    let upstream = Upstream::start();
    let file = tempfile(&upstream);
    let fields = "custom_fields_by_lua: {doubled: 'return kong.request.get_query_arg(\"n\") * 2', \
                  request.headers.x-cut: 'return nil', broken: 'error(\"no\")'}";
    let chain = plugin("file-log", &format!("path: {file}, {fields}"));
    let gateway = Builder::new().declarative(&routes(&upstream, &[("r", &chain)])).start();
    let answer = gateway.send(&Request::get("/r?n=21").header("X-Cut", "secret")).unwrap();
    assert_eq!(answer.status, 200);
    let mut line = String::new();
    wait_until("the line of the log", PATIENCE, || {
        line = std::fs::read_to_string(&file).unwrap_or_default();
        line.ends_with('\n')
    });
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["doubled"], 42);
    assert_eq!(line["request"]["headers"]["x-cut"], Value::Null);
    assert_eq!((&line["broken"], &line["response"]["status"]), (&Value::Null, &json!(200)));

    let wrong = chain.replace("return nil", "return (");
    let refused = gateway.load(&routes(&upstream, &[("r", &wrong)])).unwrap_err();
    assert!(refused.contains("Error parsing function: "), "{refused}");
    let wrong = plugin("request-transformer", "add: {headers: ['x:$(nonsense(1)']}");
    assert!(gateway.load(&routes(&upstream, &[("r", &wrong)])).is_ok(), "no template at all");
    let wrong = plugin("request-transformer", "add: {headers: ['x:$(nonsense(1) end)']}");
    let refused = gateway.load(&routes(&upstream, &[("r", &wrong)])).unwrap_err();
    assert!(refused.contains("$(nonsense(1) end): "), "{refused}");
}

/// A file that no other test writes.
fn tempfile(upstream: &Upstream) -> String {
    let name = format!("silverback-log-{}-{}", std::process::id(), upstream.port());
    std::env::temp_dir().join(name).display().to_string()
}
