//! Plugin servers that die, raise and hang, under load: no request reaches the upstream without its
//! plugin having run, none gets another route's configuration, and the gateway stays well.

use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::{Answer, Request};
use silverback_e2e::load::{Load, Shot, tally};
use silverback_e2e::process;
use silverback_e2e::servers::{self, PythonMode};
use silverback_e2e::upstream::Upstream;
use silverback_e2e::wait::{PATIENCE, wait_until};

use crate::uses::{plugin, routes};

/// The longest that a plugin server may take in these tests, in ms.
const TIMEOUT_MS: u64 = 1500;
/// The longest that a request may take whose plugin misbehaves: its other handlers wait for a
/// server that is starting, which JavaScript's does for seconds on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How soon after its server's return a plugin serves again.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// What the gateway's resident memory may grow by.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// A language with its plugins and the place of its server.
struct Language {
    hello: &'static str,
    fault: &'static str,
    /// Part of the command line of the server of `hello`.
    server: &'static str,
    socket: &'static str,
}

const LANGUAGES: [Language; 3] = [
    Language {
        hello: "go-hello",
        fault: "go-fault",
        server: "/go/bin/go-hello",
        socket: "go-hello.socket",
    },
    Language {
        hello: "js-hello",
        fault: "js-fault",
        server: "kong-js-pluginserver",
        socket: "js_pluginserver.sock",
    },
    Language {
        hello: "py-hello",
        fault: "py-fault",
        server: "kong-python-pluginserver",
        socket: "python.sock",
    },
];

fn start(yaml: &str) -> Gateway {
    let mut builder = servers::go(servers::go(Builder::new(), "go-hello"), "go-fault");
    builder = servers::python(servers::js(builder), PythonMode::Threads);
    for server in ["go_hello", "go_fault", "js", "python"] {
        builder = builder.set(&format!("pluginserver_{server}_timeout"), &TIMEOUT_MS.to_string());
    }
    let plugins: Vec<&str> = LANGUAGES.iter().flat_map(|l| [l.hello, l.fault]).collect();
    servers::enable(builder, &plugins).declarative(yaml).start()
}

/// Routes `/go-hello`, `/js-hello` and `/py-hello`, each with that plugin and its name as message.
fn hello_routes() -> Vec<(String, String)> {
    let route =
        |l: &Language| (l.hello.to_string(), plugin(l.hello, &format!("message: {}", l.hello)));
    LANGUAGES.iter().map(route).collect()
}

fn yaml(upstream: &Upstream, pairs: &[(String, String)]) -> String {
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, p)| (n.as_str(), p.as_str())).collect();
    routes(upstream, &pairs)
}

/// Every request was answered, and what passed shows that its own plugin had run. How many reached
/// the upstream.
fn assert_failed_closed(shots: &[Shot], upstream: &Upstream) -> usize {
    let names: Vec<&str> = LANGUAGES.iter().map(|l| l.hello).collect();
    for shot in shots {
        let name = names[shot.request];
        let answer = match &shot.answer {
            Ok(answer) => answer,
            Err(why) => panic!("/{name}: no answer: {why}; by status: {}", tally(shots)),
        };
        match answer.status {
            200 => {
                let greeting = answer.header(&format!("x-{name}")).unwrap_or_default();
                assert!(greeting.contains(name), "/{name} passed with {greeting:?}");
            }
            500 | 503 => {}
            other => panic!("/{name} answered {other}: {}", answer.text()),
        }
    }
    let all = upstream.take_seen();
    for seen in &all {
        let name = seen.target.trim_start_matches('/');
        let message = seen.header(&format!("x-{name}"));
        assert_eq!(message, Some(name), "{} reached the upstream without its plugin", seen.target);
    }
    all.len()
}

/// Kills the servers of a language; when they were killed, and later when one listens again.
fn kill(gateway: &Gateway, language: &Language) -> (Instant, JoinHandle<Instant>) {
    let pids = gateway.servers(language.server);
    process::signal("KILL", &pids);
    let killed = Instant::now();
    let socket = gateway.prefix().join(language.socket);
    let what = format!("the server of {} to listen", language.hello);
    let returned = std::thread::spawn(move || {
        wait_until(&what, PATIENCE, || !pids.iter().any(|pid| process::exists(*pid)));
        wait_until(&what, PATIENCE, || UnixStream::connect(&socket).is_ok());
        Instant::now()
    });
    (killed, returned)
}

/// How long after each return of its server a language was served again. A server that was killed
/// anew before, within a second, says nothing.
fn outages(
    shots: &[Shot],
    request: usize,
    kills: &[Instant],
    returns: &[Instant],
) -> Vec<Duration> {
    let served = |shot: &&Shot| {
        shot.request == request && shot.answer.as_ref().is_ok_and(|answer| answer.status == 200)
    };
    let mut served: Vec<Instant> =
        shots.iter().filter(served).map(|shot| shot.sent + shot.took).collect();
    served.sort();
    let first_after = |times: &[Instant], after| times.iter().find(|time| **time > after).copied();
    let outage = |returned: &Instant| {
        let again = first_after(&served, *returned);
        let killed = first_after(kills, *returned);
        let cut_short = killed.is_some_and(|killed| {
            again.is_none_or(|again| again > killed) && killed - *returned < SERVED_WITHIN
        });
        let again = again.unwrap_or_else(|| *returned + PATIENCE);
        (!cut_short).then(|| again - *returned)
    };
    returns.iter().filter_map(outage).collect()
}

#[test]
fn kill_every_server_every_second() {
    let upstream = Upstream::start();
    let gateway = start(&yaml(&upstream, &hello_routes()));
    for language in &LANGUAGES {
        gateway.wait_status(&format!("/{}", language.hello), 200);
    }
    upstream.take_seen();
    let before = process::resident_bytes(gateway.pid());
    // Each language has its own threads: requests wait for a server that is starting.
    let load = |language: &Language| {
        let request = Request::get(&format!("/{}", language.hello));
        Load::start(&gateway.proxy(), 4, &[request])
    };
    let loads = LANGUAGES.each_ref().map(load);
    let mut ends: [Vec<_>; 3] = Default::default();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(1));
        for (language, ends) in LANGUAGES.iter().zip(&mut ends) {
            ends.push(kill(&gateway, language));
        }
    }
    let ends = ends.map(|ends| {
        let (kills, returns): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let returns = returns.into_iter().map(|returned| returned.join().unwrap());
        (kills, returns.collect::<Vec<Instant>>())
    });
    std::thread::sleep(SERVED_WITHIN);
    let grown = process::resident_bytes(gateway.pid()).saturating_sub(before);
    let mut shots = Vec::new();
    for (request, load) in loads.into_iter().enumerate() {
        shots.extend(load.stop().into_iter().map(|shot| Shot { request, ..shot }));
    }
    for (request, (language, (kills, returns))) in LANGUAGES.iter().zip(&ends).enumerate() {
        let outages = outages(&shots, request, kills, returns);
        let longest = outages.iter().max().copied().unwrap_or(PATIENCE);
        println!(
            "{}: killed {} times; served at most {longest:?} after each of {} returns",
            language.hello,
            kills.len(),
            outages.len()
        );
        assert!(longest < SERVED_WITHIN, "{}: {outages:?}", language.hello);
        assert!(outages.len() >= 3, "{}: {outages:?}", language.hello);
    }
    let reached = assert_failed_closed(&shots, &upstream);
    println!(
        "{} requests, by status: {}; {reached} reached the upstream, each through its plugin; the \
         gateway has grown by {} KiB",
        shots.len(),
        tally(&shots),
        grown / 1024
    );
    assert!(grown < GROWTH_BYTES_MAX, "the gateway has grown by {grown} bytes");
}

/// A configuration whose `/fault` has a plugin that misbehaves in one phase. In rewrite only
/// global plugins run.
fn fault(upstream: &Upstream, name: &str, phase: &str, what: &str) -> String {
    let config = format!("phase: {phase}, do: {what}, ms: 100, after_call: true, token: t");
    let fault = plugin(name, &config);
    let mut pairs = hello_routes();
    if phase == "rewrite" {
        pairs.push(("fault".into(), String::new()));
        return yaml(upstream, &pairs) + &format!("plugins: [{fault}]\n");
    }
    pairs.push(("fault".into(), fault));
    yaml(upstream, &pairs)
}

/// One request through a plugin that misbehaves: what the client gets, and that the gateway and the
/// language's other plugins work again afterwards.
fn check_fault(
    gateway: &Gateway,
    upstream: &Upstream,
    language: &Language,
    phase: &str,
    what: &str,
) {
    let case = format!("{} {what} in {phase}", language.fault);
    // The server may still be down from the last case.
    gateway.load(&fault(upstream, language.fault, "access", "nothing")).unwrap();
    gateway.wait_status("/fault", 200);
    gateway.load(&fault(upstream, language.fault, phase, what)).unwrap();
    upstream.take_seen();
    let started = Instant::now();
    let answer = gateway.get("/fault");
    let took = started.elapsed();
    // The JavaScript server catches what a handler throws and tells the gateway that it returned.
    let swallowed = language.fault == "js-fault" && what == "raise";
    let expect: &[u16] = match phase {
        "log" => &[200],
        _ if swallowed => &[200, 500],
        _ => &[500],
    };
    assert!(expect.contains(&answer.status), "{case}: {} {}", answer.status, answer.text());
    assert!(took < ANSWERED_WITHIN, "{case}: took {took:?}");
    if answer.status == 500 {
        assert_unexpected_error(&answer, phase, &case);
        if phase != "response" {
            assert_eq!(upstream.take_seen().len(), 0, "{case}: it reached the upstream");
        }
        gateway.wait_log(language.fault);
    }
    gateway.load(&yaml(upstream, &hello_routes())).unwrap();
    gateway.wait_status(&format!("/{}", language.hello), 200);
}

/// The body of a 500 is Kong's: JSON where access fails, plain text elsewhere, for want of an
/// Accept header. A plugin with a response handler sees the 500 of its access handler; with its
/// server gone, that handler fails as well, and the answer is its own.
fn assert_unexpected_error(answer: &Answer, phase: &str, case: &str) {
    let kind = answer.header("content-type").unwrap_or_default().split(';').next();
    let body = answer.text();
    let id = match (phase, kind) {
        ("access", Some("application/json")) => {
            let json = answer.json();
            assert_eq!(json["message"], "An unexpected error occurred", "{case}");
            json["request_id"].as_str().unwrap_or_default().to_owned()
        }
        (_, Some("text/plain")) => {
            let id = body.strip_prefix("An unexpected error occurred\nrequest_id: ");
            id.unwrap_or_default().trim_end().to_owned()
        }
        _ => panic!("{case}: a body of {kind:?}: {body:?}"),
    };
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    assert!(id.len() == 32 && id.chars().all(hex), "{case}: no request id in {body:?}");
}

fn check_faults(what: &str) {
    let upstream = Upstream::start();
    let gateway = start(&yaml(&upstream, &hello_routes()));
    for language in &LANGUAGES {
        gateway.wait_status(&format!("/{}", language.hello), 200);
        for phase in ["rewrite", "access", "response", "log"] {
            check_fault(&gateway, &upstream, language, phase, what);
        }
    }
}

#[test]
fn a_handler_raises() {
    check_faults("raise");
}

#[test]
fn a_handler_never_returns() {
    check_faults("hang");
}

#[test]
fn a_handler_ends_its_server() {
    check_faults("exit");
}

/// Twenty requests that hang do not keep others from their plugins, nor does the gateway pile up.
#[test]
fn handlers_that_hang_do_not_hold_others_up() {
    let upstream = Upstream::start();
    let mut pairs = hello_routes();
    for language in &LANGUAGES {
        let config = "phase: access, do: hang, after_call: true";
        pairs.push((language.fault.into(), plugin(language.fault, config)));
    }
    let gateway = start(&yaml(&upstream, &pairs));
    for language in &LANGUAGES {
        gateway.wait_status(&format!("/{}", language.hello), 200);
    }
    let hanging: Vec<Request> =
        LANGUAGES.iter().map(|l| Request::get(&format!("/{}", l.fault))).collect();
    let load = Load::start(&gateway.proxy(), 20, &hanging);
    std::thread::sleep(Duration::from_millis(300));
    for language in &LANGUAGES {
        let started = Instant::now();
        let answer = gateway.get(&format!("/{}", language.hello));
        let took = started.elapsed();
        assert_eq!(answer.status, 200, "{}", language.hello);
        assert!(took < Duration::from_millis(1000), "{}: {took:?}", language.hello);
    }
    let shots = load.stop();
    let closed =
        shots.iter().all(|s| s.answer.as_ref().is_ok_and(|a| matches!(a.status, 500 | 503)));
    assert!(closed, "by status: {}", tally(&shots));
    let reached = upstream.take_seen().into_iter().filter(|seen| seen.target.contains("fault"));
    assert_eq!(reached.count(), 0, "a request went on without its plugin");
}
