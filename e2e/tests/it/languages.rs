//! One plugin in four languages: the same requests, the same answers.

use serde_json::{Value, json};
use silverback_e2e::{
    gateway::{Builder, Gateway},
    http::Request,
    servers::{self, PythonMode},
    upstream::Upstream,
};

use crate::uses::{plugin, routes};

const LANGUAGES: [&str; 4] = ["mirror-lua", "go-mirror", "js-mirror", "py-mirror"];

/// What comes of a request: the answer, and what the upstream saw.
fn account(gateway: &Gateway, upstream: &Upstream, request: &Request, name: &str) -> Value {
    upstream.take_seen();
    let answer = gateway.send(request).unwrap_or_else(|why| panic!("{name}: {why}"));
    let own = |(header, text): &(String, String)| {
        let header = header.to_ascii_lowercase();
        let about = ["x-mirror", "x-list", "x-reason", "x-shared", "content-type"];
        about.contains(&header.as_str()).then(|| format!("{header}: {text}"))
    };
    let mut headers: Vec<_> = answer.headers.iter().filter_map(own).collect();
    headers.sort();
    let body = if answer.status == 200 { String::new() } else { answer.text() };
    let seen = upstream.take_seen().into_iter().map(|seen| {
        let header = |name: &str| seen.header(name).map(str::to_owned);
        json!({ "target": seen.target, "seen": header("x-seen"), "secret": header("x-secret") })
    });
    let seen: Vec<_> = seen.collect();
    let account = json!({
        "status": answer.status, "headers": headers, "body": body, "seen": seen,
    });
    serde_json::from_str(&account.to_string().replace(name, "NAME")).unwrap()
}

#[test]
fn a_plugin_behaves_the_same_in_lua_go_javascript_and_python() {
    let upstream = Upstream::start();
    let shared = "{name: post-function, config: {header_filter: ['kong.response.set_header(\
                  \"X-Shared\", kong.ctx.shared.mirror or \"\")']}}";
    let chain = |name: &str| format!("{},{shared}", plugin(name, "message: hello"));
    let chains: Vec<_> = LANGUAGES.iter().map(|name| (*name, chain(name))).collect();
    let chains: Vec<_> = chains.iter().map(|(name, chain)| (*name, chain.as_str())).collect();
    let builder = servers::lua(servers::go(Builder::new(), "go-mirror"));
    let builder = servers::python(servers::js(builder), PythonMode::Threads);
    let builder = servers::enable(builder, &LANGUAGES);
    let gateway = builder.declarative(&routes(&upstream, &chains)).start();
    // Four plugin servers start at once, on whatever else the machine does.
    LANGUAGES.iter().for_each(|name| gateway.wait_status(&format!("/{name}"), 200));

    let check = |method: &str, rest: &str, headers: &[(&str, &str)], expect: Value| {
        for name in LANGUAGES {
            let mut request = Request::new(method, &format!("/{name}{rest}"));
            for (header, text) in headers {
                request = request.header(header, text);
            }
            let got = account(&gateway, &upstream, &request, name);
            assert_eq!(got, expect, "{name} {method} {rest}");
        }
    };
    let headers = |shared: &str, more: &[&str]| {
        let mut all = vec!["x-list: 1".to_owned(), "x-list: 2".to_owned()];
        all.push("x-mirror: hello".to_owned());
        all.push(format!("x-shared: {shared}"));
        all.extend(more.iter().map(|line| (*line).to_owned()));
        all.sort();
        all
    };
    let json_type = "content-type: application/json";
    let through = |shared: &str, target: &str| {
        let seen = json!({ "target": target, "seen": shared, "secret": null });
        let headers = headers(shared, &[json_type]);
        json!({ "status": 200, "headers": headers, "body": "", "seen": [seen] })
    };
    let expect = through("GET /NAME/a 5", "/NAME/a?n=5&mirrored=yes");
    check("GET", "/a?n=5&x=y", &[("X-Secret", "s")], expect);
    check("POST", "", &[], through("POST /NAME none", "/NAME?n=none&mirrored=yes"));
    let headers = headers("GET /NAME/d 7", &[json_type, "x-reason: header"]);
    let expect = json!({
        "status": 403, "headers": headers, "body": "{\"denied\":\"7\"}", "seen": [],
    });
    check("GET", "/d?n=7", &[("X-Deny", "1")], expect);
}
