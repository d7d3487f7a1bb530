//! Replays one scenario against a running gateway.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::compare::{at, differences, drop_paths, sort_paths};
use super::normal;
use super::scenario::{Listener, Mode, Scenario, Step};
use crate::gateway::Gateway;
use crate::http::{Answer, Connection, NoAnswer, Request};

/// Longer bodies are compared by length.
const BODY_SHOWN_MAX: usize = 2000;

/// How long an answer that differs is asked for again after a change of configuration.
#[derive(Clone, Copy)]
pub(super) struct Settling(pub(super) Duration);

/// The differences, each with its step; empty when the gateway answered as recorded.
pub(super) fn replay(
    gateway: &Gateway,
    scenario: &Scenario,
    settling: Settling,
) -> Result<Vec<String>, String> {
    match scenario.mode {
        Mode::Db => gateway.clear()?,
        Mode::Dbless => {
            let config = scenario.config.as_deref().unwrap_or(r#"{"_format_version": "3.0"}"#);
            gateway.load(config)?;
        }
    }
    let mut saved = BTreeMap::new();
    let mut out = Vec::new();
    let mut wrote = true;
    for (number, step) in scenario.steps.iter().enumerate() {
        std::thread::sleep(Duration::from_secs_f64(step.wait));
        let to_proxy = step.to != Listener::Admin;
        let patience = if to_proxy && wrote && !step.once { settling.0 } else { Duration::ZERO };
        let filled = filled(step, &saved)?;
        let (answer, found) = ask_until_same(gateway, &filled, patience)?;
        wrote = !to_proxy;
        let place = format!("step {} ({})", number + 1, step.request);
        out.extend(found.into_iter().map(|line| format!("{place}: {line}")));
        for (name, path) in &step.save {
            saved.insert(name.clone(), answer.pick(path));
        }
    }
    Ok(out)
}

fn ask_until_same(
    gateway: &Gateway,
    step: &Step,
    patience: Duration,
) -> Result<(Raw, Vec<String>), String> {
    let deadline = Instant::now() + patience;
    let mut expect = step.expect.clone();
    drop_paths(&mut expect, &step.ignore);
    loop {
        let raw = ask(gateway, step)?;
        let mut answer = raw.normal(step)?;
        drop_paths(&mut answer, &step.ignore);
        sort_paths(&mut answer, &step.unordered);
        let found = differences(&expect, &answer, step.subset);
        if found.is_empty() || Instant::now() >= deadline {
            return Ok((raw, found));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An answer before it is normalised.
struct Raw {
    answer: Answer,
    json: Option<Value>,
    certificate: Option<String>,
}

impl Raw {
    /// What a later step wants of this answer; empty when it is not there.
    fn pick(&self, path: &str) -> String {
        let found = match path.strip_prefix("headers.") {
            Some(name) => self.answer.header(name).map(|value| json!(value)),
            None => self.json.as_ref().and_then(|json| at(json, path)).cloned(),
        };
        match found {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    fn normal(&self, step: &Step) -> Result<Value, String> {
        let mut out = Map::from_iter([("status".into(), json!(self.answer.status))]);
        if step.to != Listener::Admin || step.show_headers {
            let pairs = self.answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            out.insert("headers".into(), normal::headers(pairs));
        }
        if step.show_certificate {
            out.insert("certificate".into(), json!(self.certificate));
        }
        match &self.json {
            Some(json) if json.get("upstream").is_some() && json.get("headers").is_some() => {
                out.insert("upstream_saw".into(), normal::echo(json));
            }
            Some(json) => drop(out.insert("json".into(), normal::value(json, ""))),
            None if self.answer.body.is_empty() => {}
            None => drop(out.insert("body".into(), json!(self.shown_body(step)?))),
        }
        Ok(Value::Object(out))
    }

    fn shown_body(&self, step: &Step) -> Result<String, String> {
        let mut text = self.answer.text();
        if let Some(pattern) = &step.lines {
            let pattern = Regex::new(pattern).map_err(|err| err.to_string())?;
            let mut lines: Vec<&str> =
                text.split_inclusive('\n').filter(|line| pattern.is_match(line)).collect();
            lines.sort_unstable();
            text = lines.concat();
        }
        Ok(match text.chars().count() > BODY_SHOWN_MAX {
            true => format!("<{} bytes>", self.answer.body.len()),
            false => normal::text(&text),
        })
    }
}

fn ask(gateway: &Gateway, step: &Step) -> Result<Raw, String> {
    let request = request(gateway, step)?;
    let timeout = Duration::from_secs(15);
    let mut certificate = None;
    let connection = match step.to {
        Listener::Proxy => Connection::open(&gateway.proxy(), timeout),
        Listener::Admin => Connection::open(&gateway.admin(), timeout),
        Listener::ProxySsl => {
            let opened = Connection::open_tls(&gateway.proxy_ssl(), step.sni.as_deref(), timeout);
            opened.map(|(connection, der)| {
                certificate = normal::common_name(&der);
                connection
            })
        }
    };
    let mut connection = connection.map_err(|why| why.to_string())?;
    let mut answer = match connection.ask(&request, false) {
        Ok(answer) => answer,
        // The recording client's name for what happened.
        Err(why) => Answer { body: no_answer(&why).into(), ..Answer::default() },
    };
    let ports = gateway.ports();
    for (own, usual) in [(ports.proxy, 8000), (ports.proxy_ssl, 8443), (ports.admin, 8001)] {
        answer.body = normal::port(&answer.body, own, usual);
        for (_, value) in &mut answer.headers {
            let bytes: Vec<u8> = value.chars().map(|c| c as u8).collect();
            *value = normal::port(&bytes, own, usual).into_iter().map(char::from).collect();
        }
    }
    let json = serde_json::from_slice(&answer.body).ok();
    Ok(Raw { answer, json, certificate })
}

fn request(gateway: &Gateway, step: &Step) -> Result<Request, String> {
    let (method, target) = step.request.split_once(' ').ok_or("no target in the request")?;
    let mut request = Request::new(method, target);
    request.headers = step.headers.clone();
    if step.to == Listener::Admin && !request.headers.iter().any(|(n, _)| n == "Host") {
        request.headers.insert(0, ("Host".into(), gateway.admin()));
    }
    request.body = step.body.clone().map(String::into_bytes);
    if let Some(json) = &step.json {
        request = request.header("Content-Type", "application/json").body(normal::dump(json));
    } else if let Some(form) = &step.form {
        let form_type = "application/x-www-form-urlencoded";
        request = request.header("Content-Type", form_type).body(form.as_str());
    }
    Ok(request)
}

fn no_answer(why: &NoAnswer) -> &'static str {
    match why {
        NoAnswer::Closed => "no answer: RemoteDisconnected",
        NoAnswer::Broken(_) => "no answer: ConnectionResetError",
        NoAnswer::Timeout => "no answer: TimeoutError",
        NoAnswer::Garbage(_) => "no answer: BadStatusLine",
    }
}

/// The step with `${name}` replaced by what an earlier step saved, its expectation left alone.
fn filled(step: &Step, saved: &BTreeMap<String, String>) -> Result<Step, String> {
    let text = |given: &str| {
        saved.iter().fold(given.to_string(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
    };
    let mut step = step.clone();
    step.request = text(&step.request);
    step.body = step.body.as_deref().map(text);
    step.form = step.form.as_deref().map(text);
    for (name, value) in &mut step.headers {
        (*name, *value) = (text(name), text(value));
    }
    if let Some(json) = &mut step.json {
        fill_json(json, &text);
    }
    Ok(step)
}

fn fill_json(value: &mut Value, text: &impl Fn(&str) -> String) {
    match value {
        Value::String(held) => *held = text(held),
        Value::Array(list) => list.iter_mut().for_each(|held| fill_json(held, text)),
        Value::Object(map) => map.values_mut().for_each(|held| fill_json(held, text)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(yaml: &str) -> Step {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    #[test]
    fn saved_values_are_filled_in() {
        let saved = BTreeMap::from([("id".to_string(), "7".to_string())]);
        let given =
            step(r#"{request: "GET /${id}/${no}", json: {a: ["${id}"]}, headers: [[X, "${id}"]]}"#);
        let filled = filled(&given, &saved).unwrap();
        assert_eq!(filled.request, "GET /7/${no}");
        assert_eq!(filled.json, Some(json!({"a": ["7"]})));
        assert_eq!(filled.headers, [("X".to_string(), "7".to_string())]);
    }

    /// An answer of these parts in its normal form.
    #[expect(clippy::needless_pass_by_value, reason = "so that the table below is plain")]
    fn check(given: &str, headers: &[(&str, &str)], body: &str, expect: Value) {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let headers = headers.iter().map(own).collect();
        let answer = Answer { status: 200, headers, body: body.into(), truncated: false };
        let json = serde_json::from_str(body).ok();
        let raw = Raw { answer, json, certificate: None };
        assert_eq!(raw.normal(&step(given)).unwrap(), expect);
    }

    #[test]
    fn an_answer_takes_the_form_of_the_recordings() {
        let proxy = "{request: GET /}";
        let echo = r#"{"upstream": 9800, "headers": [["Via", "x"], ["A", "1"]], "body": ""}"#;
        let saw = json!({"upstream": 9800, "headers": {"a": "1", "via": "<any>"}, "body": ""});
        check(proxy, &[], echo, json!({"status": 200, "headers": {}, "upstream_saw": saw}));
        check(proxy, &[("A", "b")], "", json!({"status": 200, "headers": {"a": "b"}}));
        let admin = "{request: GET /, to: admin}";
        check(admin, &[("A", "b")], "[1]", json!({"status": 200, "json": [1]}));
        let lines = "{request: GET /, to: admin, lines: ^b}";
        check(lines, &[], "b2\na\nb1\n", json!({"status": 200, "body": "b1\nb2\n"}));
        let long = "x".repeat(2001);
        check(admin, &[], &long, json!({"status": 200, "body": "<2001 bytes>"}));
    }
}
