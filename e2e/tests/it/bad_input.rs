//! Bad input of each kind, and the whole text that its user sees: kong.conf, declarative files,
//! the dumps of plugin servers, configurations that break a plugin's schema.

use std::fs;

use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::Request;
use silverback_e2e::servers;
use silverback_e2e::setup;
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use crate::uses::{plugin, routes};

/// A gateway that must not start, and the error it prints; `PREFIX` stands for its prefix.
fn check(builder: Builder, expect: &str) {
    let prefix = builder.prefix().display().to_string();
    let why = match builder.try_start() {
        Ok(_) => panic!("it started; expected it to say {expect:?}"),
        Err(why) => why.replace(&prefix, "PREFIX"),
    };
    let expect = format!("\nError: {expect}\n");
    let said = why.split("\n--- ").next().unwrap_or_default(); // the log's end follows
    let said = said.split_once("\nError: ").map_or("", |(_, said)| said);
    assert_eq!(format!("\nError: {said}"), expect);
}

#[test]
fn a_setting() {
    check(
        Builder::new().set("log_level", "loud"),
        "KONG_LOG_LEVEL: log_level has an invalid value: 'loud' (debug, info, notice, warn, error, \
         crit, alert, emerg)",
    );
    check(
        Builder::new().set("pluginserver_names", "srv"),
        "KONG_PLUGINSERVER_NAMES: query_command undefined for pluginserver srv; set \
         pluginserver_srv_query_cmd, or install /usr/local/bin/srv",
    );
    check(
        Builder::new().set("plugins", "bundled,x"),
        "plugins: x enabled but not installed: neither bundled, nor offered by a plugin server \
         (pluginserver_names), nor found as kong/plugins/NAME/handler.lua (lua_package_path)",
    );
}

/// `check` on a file of this text; what it prints.
fn check_conf(text: &str, expect: &str) {
    let upstream = Upstream::start();
    let gateway = Builder::new().declarative(&routes(&upstream, &[])).start();
    let path = gateway.prefix().join("bad.conf");
    fs::write(&path, text).unwrap();
    let output = std::process::Command::new(setup::gateway()).arg("check").arg(&path).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = said.replace(&gateway.prefix().display().to_string(), "PREFIX");
    assert_eq!(said, format!("Error: {expect}\n"));
}

#[test]
fn a_conf_file() {
    check_conf(
        "log_level = debug\nproxy_listen 8000\n",
        "PREFIX/bad.conf:2: expected `key = value`, got 'proxy_listen 8000'",
    );
    check_conf(
        "worker_consistency = maybe\nrole = data\n",
        "PREFIX/bad.conf:2: role has an invalid value: 'data' (data_plane, control_plane, \
         traditional)\n\
         PREFIX/bad.conf:1: worker_consistency has an invalid value: 'maybe' (strict, eventual)",
    );
}

#[test]
fn a_declarative_file() {
    check(
        Builder::new().declarative(
            "_format_version: '3.0'\nservices:\n- {name: echo, url: 'http://a', retries: many}\n\
             - {name: x}\nrouts: []\n",
        ),
        "PREFIX/kong.yml:5: routs: unknown field\n\
         PREFIX/kong.yml:3: services[1] 'echo'.retries: expected an integer\n\
         PREFIX/kong.yml:4: services[2] 'x'.host: required field missing",
    );
    check(
        Builder::new().declarative("_format_version: '3.0'\nservices: [\n- a: {"),
        "PREFIX/kong.yml: failed parsing declarative configuration: 2:11: invalid indentation",
    );
    check(
        Builder::new().set("declarative_config", "/no/such.yml"),
        "can't read /no/such.yml: No such file or directory (os error 2)",
    );
}

#[test]
fn the_dump_of_a_plugin_server() {
    let schema = |fields: &str| {
        format!(
            r#"[{{"Name":"x","Phases":["access"],"Schema":{{"name":"x","fields":[{fields}]}}}}]"#
        )
    };
    let of_type = r#"{"config":{"type":"record","fields":[{"a":{"type":"strin"}}]}}"#;
    let cases: [(String, &str); 8] = [
        ("nonsense".into(), "its output has no JSON; it printed: nonsense"),
        (
            r#"[{"Name":"x""#.into(),
            "its output is no JSON: EOF while parsing an object at line 1 column 12; it printed: \
             [{\"Name\":\"x\"",
        ),
        (String::new(), "it printed nothing"),
        ("[]".into(), "it has no plugins"),
        (
            r#"{"Protocol":"ProtoBuf:9","Plugins":[]}"#.into(),
            "it speaks the unknown protocol 'ProtoBuf:9'",
        ),
        (
            r#"[{"Name":"x","Priority":"high"}]"#.into(),
            "its description of the plugins has a fault: invalid type: string \"high\", expected \
             f64",
        ),
        (schema(""), "the schema of plugin 'x': config: expected a field of type record"),
        (schema(of_type), "the schema of plugin 'x': config: a: invalid type: strin"),
    ];
    for (dump, expect) in cases {
        let builder = Builder::new();
        let path = builder.prefix().join("dump");
        fs::write(&path, dump).unwrap();
        let query = format!("cat {}", path.display());
        let builder = builder.plugin_server("srv", "", "true", &query).set("plugins", "x");
        let expect = format!("plugin server 'srv': query command 'cat PREFIX/dump': {expect}");
        check(builder, &expect);
    }
}

/// A configuration of go-hello that breaks its schema twice.
const WRONG: &str = "message: 3, mesage: x";

#[test]
fn a_plugins_configuration_at_start() {
    let upstream = Upstream::start();
    let builder = servers::enable(servers::go(Builder::new(), "go-hello"), &["go-hello"]);
    check(
        builder.declarative(&routes(&upstream, &[("r", &plugin("go-hello", WRONG))])),
        "PREFIX/kong.yml:6: services[1] 'echo'.routes[1] 'r'.plugins[1] \
         'go-hello'.config.message: expected a string\n\
         PREFIX/kong.yml:6: services[1] 'echo'.routes[1] 'r'.plugins[1] \
         'go-hello'.config.mesage: unknown field",
    );
}

fn hello(upstream: &Upstream) -> Gateway {
    let builder = servers::enable(servers::go(Builder::new(), "go-hello"), &["go-hello"]);
    let good = routes(upstream, &[("r", &plugin("go-hello", "message: hi"))]);
    let gateway = builder.declarative(&good).start();
    gateway.wait_status("/r", 200);
    gateway
}

/// The Admin API answers with Kong's code, name, message and tree of fields.
#[test]
fn a_plugins_configuration_through_the_admin_api() {
    let upstream = Upstream::start();
    let gateway = hello(&upstream);
    let why =
        gateway.load(&routes(&upstream, &[("r", &plugin("go-hello", "message: 3"))])).unwrap_err();
    let message = "declarative config is invalid: {services={{routes={{plugins={{config={message=\
                   \\\"expected a string\\\"}}}}}}}}";
    let fields = "{\"services\":[{\"routes\":[{\"plugins\":[{\"config\":{\"message\":\"expected a \
                  string\"}}]}]}]}";
    let expect = format!(
        "POST /config answered 400: {{\"code\":14,\"name\":\"invalid declarative configuration\",\
         \"message\":\"{message}\",\"fields\":{fields}}}"
    );
    assert_eq!(why, expect);

    let request = Request::new("POST", "/schemas/plugins/validate")
        .header("Content-Type", "application/json")
        .body(r#"{"name":"go-hello","config":{"message":3}}"#);
    let answer = gateway.ask_admin(&request);
    let expect = "{\"code\":2,\"name\":\"schema violation\",\"message\":\"schema violation \
                  (config.message: expected a string)\",\"fields\":{\"config\":{\"message\":\
                  \"expected a string\"}}}";
    assert_eq!((answer.status, answer.text().as_str()), (400, expect));
}

/// A reload of a wrong file says what is wrong, to the user and in the log; what runs goes on.
#[test]
fn a_reload() {
    let upstream = Upstream::start();
    let gateway = hello(&upstream);
    let wrong = routes(&upstream, &[("r", &plugin("go-hello", WRONG))]);
    fs::write(gateway.prefix().join("kong.yml"), wrong).unwrap();
    let output = gateway.command("reload");
    assert_eq!(output.status.code(), Some(1));
    let file = gateway.prefix().join("kong.yml").display().to_string();
    let at = format!("{file}:6: services[1] 'echo'.routes[1] 'r'.plugins[1] 'go-hello'");
    let expect =
        format!("{at}.config.message: expected a string\n{at}.config.mesage: unknown field");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = said.split_once("Error: ").map_or("", |(_, said)| said); // warnings come first
    assert_eq!(said, format!("{expect}\n"));
    assert_eq!(gateway.get("/r").header("x-go-hello"), Some("Go says hi to example.test"));
}

/// A plugin server that takes part in no configuration may be as broken as it likes.
#[test]
fn a_server_that_nobody_uses_does_not_hold_up_the_start() {
    let upstream = Upstream::start();
    let builder = servers::go(Builder::new(), "go-hello");
    let query = format!("{} -dump", setup::go_plugin("go-fault").display());
    let builder = builder.plugin_server("broken", "", "/no/such/server", &query);
    let gateway = servers::enable(builder, &["go-hello"])
        .declarative(&routes(&upstream, &[("r", "")]))
        .start();
    wait_until("the broken server in the log", PATIENCE, || {
        gateway.log().contains("plugin server 'broken'")
    });
    assert_eq!(gateway.get("/r").status, 200);
}
