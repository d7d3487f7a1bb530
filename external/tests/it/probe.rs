//! The probe plugins of the conformance suite: what PDK functions give in each language.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value as Json, json};
use silverback_e2e::setup;
use silverback_external::Config;
use silverback_pdk::{Body, Captures, Exchange, Flow, Matched, Phase};

use crate::harness::{Prefix, Rig, block_on, exchange, failed, go, header, run, went_on};

fn py(prefix: &Prefix) -> Config {
    let exe = setup::python_server().display().to_string();
    let plugins = setup::root().join("conformance/plugins/py").display().to_string();
    let query = format!("{exe} -d {plugins} --dump-all-plugins");
    let mut config = Config::new("py", prefix.join("python_pluginserver.sock"), query);
    config.start_cmd = Some(format!("{exe} -p {} -d {plugins}", prefix.0.display()));
    config
}

fn js(prefix: &Prefix) -> Config {
    let exe = setup::js_server().display().to_string();
    let plugins = setup::root().join("conformance/plugins/js").display().to_string();
    let query = format!("{exe} -d {plugins} --dump-all-plugins");
    let mut config = Config::new("js", prefix.join("js_pluginserver.sock"), query);
    config.start_cmd = Some(format!("{exe} -p {} -d {plugins}", prefix.0.display()));
    config
}

/// The three languages' servers, and their plugins' names.
fn languages(prefix: &Prefix) -> [(Config, &'static str); 3] {
    [(go(prefix, "probe-go"), "probe-go"), (js(prefix), "probe-js"), (py(prefix), "probe-py")]
}

fn request() -> Exchange {
    let mut exchange =
        exchange("POST", "/x/one?a=1&b=&flag&m=1&m=2", &[("x-a", "1"), ("x-m", "1"), ("x-m", "2")]);
    exchange.request.headers.insert("x-raw", HeaderValue::from_bytes(b"\xe9t\xe9").unwrap());
    exchange.request.body = Body::Bytes(Bytes::from_static(b"\x00body\xff"));
    exchange.matched = Some(Matched {
        route: 0,
        prefix: Some("/x/one".to_owned()),
        captures: Some(Box::new(Captures {
            unnamed: vec!["/x/one".to_owned(), "one".to_owned()],
            named: vec![("what".to_owned(), "one".to_owned())],
        })),
    });
    exchange
}

/// Has the plugin call functions; gives what it says they returned.
async fn results(rig: &Rig, plugin: &str, calls: &[Json]) -> Json {
    let calls: Vec<_> = calls.iter().map(Json::to_string).collect();
    let phases = rig.configure(
        plugin,
        &json!({"calls": calls, "phase": "access", "name": "x-probe", "store": "response"}),
    );
    let mut exchange = request();
    went_on(&run(&phases, Phase::Access, &mut exchange).await);
    let text = exchange.response.headers.get("x-probe").unwrap().as_bytes();
    serde_json::from_slice(text).unwrap()
}

/// Calls, and what Go, JavaScript and Python get: to Go nil, "" and 0 are one, JavaScript guesses
/// at bytes that are no UTF-8, and Python gets them as bytes.
fn expectations() -> Vec<(Json, [Json; 3])> {
    let all = |value: Json| [value.clone(), value.clone(), value];
    let lists = json!({"a": ["1"], "b": [""], "flag": [], "m": ["1", "2"]});
    let go_lists = json!({"a": ["1"], "b": [""], "m": ["1", "2"]});
    let captures = json!({"named": {"what": "one"}, "unnamed": {"0": "/x/one", "1": "one"}});
    let bytes = json!({"bytes": "one"});
    let go_captures = json!({"named": {"what": bytes}, "unnamed": [bytes]});
    let nobody = json!({"id": "", "created_at": 0, "username": "", "custom_id": "", "tags": null});
    let invalid = json!({"error": "string field contains invalid UTF-8"});
    vec![
        (json!(["kong.request.get_method"]), all(json!("POST"))),
        (json!(["kong.request.get_http_version"]), all(json!(1.1))),
        (json!(["kong.request.get_header", "x-a"]), all(json!("1"))),
        (json!(["kong.request.get_header", "x-none"]), [json!(""), json!(null), json!(null)]),
        (
            json!(["kong.request.get_header", "x-raw"]),
            [invalid, json!("\u{9d29}"), json!({"base64": "6XTp"})],
        ),
        (json!(["kong.request.get_query", 100]), [go_lists, lists.clone(), lists]),
        (json!(["kong.request.get_query_arg", "flag"]), [json!(""), json!(true), json!(true)]),
        (json!(["kong.request.get_query_arg", "b"]), all(json!(""))),
        (json!(["kong.request.get_raw_body"]), all(json!({"base64": "AGJvZHn/"}))),
        (json!(["kong.request.get_uri_captures"]), [go_captures, captures.clone(), captures]),
        (json!(["kong.client.get_port"]), all(json!(50000))),
        (json!(["kong.client.get_consumer"]), [nobody, json!(null), json!(null)]),
        (json!(["kong.ctx.shared.set", "k", 3]), all(json!(null))),
        (json!(["kong.ctx.shared.get", "none"]), all(json!(null))),
        (json!(["kong.log.info", "a", 1, true]), all(json!(null))),
        (json!(["kong.service.request.set_header", "x-b", "2"]), all(json!(null))),
    ]
}

#[test]
fn functions_give_what_each_language_expects() {
    block_on(async {
        let prefix = Prefix::new();
        let languages = languages(&prefix);
        let names = languages.each_ref().map(|(_, name)| *name);
        let rig = Rig::start(languages.map(|(config, _)| config).into()).await;
        for (call, expect) in expectations() {
            for (name, expect) in names.iter().zip(&expect) {
                let got = results(&rig, name, std::slice::from_ref(&call)).await;
                let got = &got[0][call[0].as_str().unwrap()];
                assert_eq!(got, expect, "{name} {call}");
            }
        }
        rig.servers.stop().await;
    });
}

#[test]
fn exits_and_refusals_end_the_event() {
    block_on(async {
        let prefix = Prefix::new();
        let languages = languages(&prefix);
        let names = languages.each_ref().map(|(_, name)| *name);
        let rig = Rig::start(languages.map(|(config, _)| config).into()).await;
        for name in names {
            let call = json!(["kong.request.get_method"]).to_string();
            let config = json!({"calls": [call], "phase": "access", "exit": true});
            let exits = rig.configure(name, &config);
            for _ in 0..3 {
                let flow = run(&exits, Phase::Access, &mut request()).await;
                let Flow::Exit(answer) = flow else { panic!("{name}: {flow:?}") };
                assert_eq!(answer.status, 200);
                assert_eq!(answer.body.unwrap(), r#"[{"kong.request.get_method":"POST"}]"#);
                assert_eq!(header(&answer.headers, "content-type"), "application/json");
            }
            let call = json!(["kong.service.set_target", "host", 99999]).to_string();
            let config = json!({"calls": [call], "phase": "access"});
            let refused = rig.configure(name, &config);
            let flow = run(&refused, Phase::Access, &mut request()).await;
            failed(&flow, "kong.service.set_target: ");
        }
        rig.servers.stop().await;
    });
}
