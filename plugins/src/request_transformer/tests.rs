use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use silverback_pdk::Captures;

use super::*;
use crate::testing::Case;

/// What the upstream gets of a request: method, query, a few headers, and the body.
fn run(config: &Json, case: Case) -> String {
    let (phases, mut exchange) = case.start(&plugin());
    let captures = Captures {
        unnamed: vec!["/t/42".to_owned(), "42".to_owned()],
        named: vec![("id".to_owned(), "42".to_owned())],
    };
    exchange.matched.as_mut().unwrap().captures = Some(Box::new(captures));
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    if let Flow::Fail(text) = flow {
        return format!("fail {text}");
    }
    assert!(matches!(flow, Flow::Next), "{config}");
    let request = &mut exchange.request;
    let mut words = vec![format!("{} ?{}", request.method, query_text(request.query.as_ref()))];
    let mut headers: Vec<String> = request
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with('x'))
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    words.extend(headers);
    let body = request.body.read(u64::MAX).now_or_never().unwrap().unwrap();
    words.push(String::from_utf8_lossy(&body).into_owned());
    words.join(" ").trim_end().to_owned()
}

fn query_text(query: Option<&String>) -> String {
    query.cloned().unwrap_or_default()
}

#[test]
fn templates_see_the_request() {
    let check = |template: &str, expect: &str| {
        let config = json!({"add": {"headers": [format!("x:{template}")]}});
        let case = Case::new(&config)
            .request("GET", "/t/42?user=joe&flag&twice=1&twice=2")
            .headers(&[("In-Side", "in"), ("X-Two", "a"), ("X-Two", "b")])
            .shared("who", Value::constant("me"));
        let got = run(&config, case);
        let got = got.split_once("x=").map_or(got.as_str(), |(_, value)| value);
        assert_eq!(got.split(" x-two").next(), Some(expect), "{template}");
    };
    check("$(query_params.user)", "joe");
    check("a-$(query_params.user)-b$(headers['in-side'])", "a-joe-bin");
    check("$(headers.in_side)$(headers[\"IN-SIDE\"])", "inin");
    check("$(uri_captures[1])/$(uri_captures.id)/$(uri_captures['id'])", "42/42/42");
    check("$(query_params.none or 'x' .. 1)", "x1");
    check("$(query_params.user == 'joe' and 'yes' or 'no')", "yes");
    check("$(query_params.user ~= \"joe\" and 'yes' or 'no')", "no");
    check("$(query_params.user and query_params.user:upper())", "JOE");
    check("$(type(headers['x-two']))$(headers['x-two'][2])", "tableb");
    check("$(not query_params.none)$(query_params.flag)", "truetrue");
    check("$(shared.who)$(shared.none)$((1))", "me1");
    check("$(query_params.twice[1])", "1");
    check("$(unclosed", "$(unclosed");
    check("$(query_params.none:upper())", "fail attempt to concatenate a nil value");
    check("$(headers['x-two'])", "fail a template gives a table");
}

#[test]
fn what_is_no_lua_is_refused_and_what_is_more_waits_for_it() {
    let check = |code: &str, expect: &str| {
        let got = expression::Expression::read(code).map_err(|trouble| match trouble {
            expression::Trouble::Wrong(error) => error,
            expression::Trouble::Beyond => "beyond".to_owned(),
        });
        assert_eq!(got.err().as_deref(), Some(expect), "{code}");
    };
    check("1 +", "[string \"TMP\"]:1: unexpected symbol near ')'");
    check("", "[string \"TMP\"]:1: unexpected symbol near ')'");
    check("headers.a or", "[string \"TMP\"]:1: unexpected symbol near ')'");
    for code in ["1 + 1", "(function() return 1 end)()", "ngx.var.host", "#headers", "'\\n'"] {
        check(code, "beyond");
    }
    let config = json!({"add": {"headers": ["x:$(1 + 1)"]}});
    let entity = silverback_pdk::Record::from_iter([("config".to_owned(), config)]);
    let entity = plugin().schema.defaults(entity).unwrap();
    let fault = (plugin().configure)(&silverback_pdk::Configuration::of(&entity)).err();
    let text = fault.unwrap().0;
    assert_eq!(text, "$(1 + 1): nobody runs Lua here");
}

#[test]
fn headers_query_and_method_are_changed() {
    let config = json!({
        "http_method": "GET",
        "remove": {"headers": ["x-gone", "x-gone2:why"], "querystring": ["gone"]},
        "rename": {"headers": ["X-Old:X-New"], "querystring": ["old:new"]},
        "replace": {"headers": ["X-Keep:r", "X-No:r"], "querystring": ["keep:r", "no:r"]},
        "add": {"headers": ["X-Keep:a", "X-Add:$(headers['x-gone'])"], "querystring": ["add:a b"]},
        "append": {"headers": ["X-Keep:p"], "querystring": ["add:p"]},
    });
    let case = Case::new(&config)
        .request("POST", "/t?gone=1&old=2&keep=3")
        .headers(&[("x-gone", "g"), ("x-gone2", "g"), ("x-old", "1"), ("x-old", "2")])
        .headers(&[("x-keep", "k"), ("content-type", "application/x-www-form-urlencoded")])
        .body("form=1&keep=4");
    let expect = "GET ?add=a%20b&add=p&form=1&keep=r&new=2 x-add=g x-keep=p x-keep=r x-new=1 \
                  x-new=2 form=1&keep=4";
    assert_eq!(run(&config, case), expect);
}

#[test]
fn names_are_written_as_they_are_configured() {
    let config = json!({
        "rename": {"headers": ["x-old:x-NEW", "x-same:X-SAME"]},
        "add": {"headers": ["x-there:1", "X-ID:2", "X-Usual:3"]},
        "append": {"headers": ["x-More:4"]},
    });
    let case = Case::new(&config).headers(&[("x-old", "1"), ("x-same", "1"), ("x-there", "1")]);
    let (phases, mut exchange) = case.start(&plugin());
    phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    let names: Vec<&str> = exchange.request_spelling.iter().collect();
    assert_eq!(names, ["x-NEW", "X-SAME", "X-ID", "x-More"]);
    assert_eq!(exchange.request.headers["x-same"], "1");
}

#[test]
fn members_of_bodies_are_changed() {
    let config = json!({
        "remove": {"body": ["gone"]},
        "rename": {"body": ["old:new"]},
        "replace": {"body": ["keep:r", "no:r"]},
        "add": {"body": ["keep:a", "add:a"]},
        "append": {"body": ["list:p"]},
    });
    let check = |content_type: &str, body: &'static str, expect: &str| {
        let case = Case::new(&config).request("POST", "/").body(body);
        let case = case.headers(&[("content-type", content_type)]);
        assert_eq!(run(&config, case), format!("POST ? {expect}").trim_end(), "{body}");
    };
    let json = "application/json; charset=utf-8";
    check(
        json,
        r#"{"gone":1,"old":2,"keep":3,"list":["l"],"n":12345678901234567890}"#,
        r#"{"keep":"r","list":["l","p"],"n":12345678901234567890,"new":2,"add":"a"}"#,
    );
    check(json, "", r#"{"add":"a","keep":"a","list":["p"]}"#.replace(
        r#"{"add":"a","keep":"a""#, r#"{"keep":"a","add":"a""#).as_str());
    check(json, "[1]", "[1]");
    check(json, "{broken", "{broken");
    check("text/plain", "gone=1", "gone=1");
    let form = "application/x-www-form-urlencoded";
    check(form, "gone=1&old=2&keep=3&list=l", "add=a&keep=r&list=l&list=p&new=2");
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let before = [part("gone", "1"), part("old", "2"), part("keep", "3"), part("f", "x\r\ny")];
    let before: &'static str = format!("{}--b--\r\n", before.concat()).leak();
    let after = [part("f", "x\r\ny"), part("new", "2"), part("keep", "r"), part("add", "a")];
    let after = format!("{}--b--", after.concat());
    check("multipart/form-data; boundary=b", before, &after);
}
