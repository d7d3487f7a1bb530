//! Upstreams that do everything wrong that a server can: what clients see of it, and that nothing
//! of it stays behind.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_e2e::{
    http::{Answer, Connection, Request},
    process::resident_bytes,
};
use socket2::SockRef;

use crate::kit::{Gateway, Setup, dead_port, read_head};

/// How long the gateway waits for an upstream here.
const SILENCE: Duration = Duration::from_millis(100);

/// What an upstream does wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    ResetAtOnce,
    CloseAtOnce,
    ResetAfterRequest,
    CloseAfterRequest,
    Garbage,
    HalfHead,
    TwoLengths,
    BadChunk,
    HalfBody,
    SilentBeforeHead,
    SilentInHead,
    SilentInBody,
    CloseWhenIdle,
}

use Fault::{
    BadChunk, CloseAfterRequest, CloseAtOnce, CloseWhenIdle, Garbage, HalfBody, HalfHead,
    ResetAfterRequest, ResetAtOnce, SilentBeforeHead, SilentInBody, SilentInHead, TwoLengths,
};

/// Those that take no time.
const QUICK: [Fault; 10] = [
    ResetAtOnce,
    CloseAtOnce,
    ResetAfterRequest,
    CloseAfterRequest,
    Garbage,
    HalfHead,
    TwoLengths,
    BadChunk,
    HalfBody,
    CloseWhenIdle,
];

impl Fault {
    /// Does it to whoever has connected.
    fn commit(self, mut stream: TcpStream) {
        let reset = |stream: &TcpStream| SockRef::from(stream).set_linger(Some(Duration::ZERO));
        match self {
            ResetAtOnce => return reset(&stream).unwrap(),
            CloseAtOnce => return,
            _ => {}
        }
        // Whoever is impatient may be gone: that is no fault of this end.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if read_head(&mut stream).is_empty() {
            return;
        }
        let text: &[u8] = match self {
            ResetAfterRequest => return reset(&stream).unwrap(),
            Garbage => b"\x16\x03\x01 nothing of HTTP\r\n\r\n",
            HalfHead | SilentInHead => b"HTTP/1.1 200 OK\r\nContent-Le",
            TwoLengths => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            BadChunk => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            HalfBody | SilentInBody => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            CloseWhenIdle => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            _ => b"",
        };
        let _ = stream.write_all(text);
        if matches!(self, SilentBeforeHead | SilentInHead | SilentInBody) {
            sleep(SILENCE * 3);
        }
    }
}

/// A server that does one wrong after the other.
fn wicked(faults: &'static [Fault]) -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for _ in 0..8 {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                faults[NEXT.fetch_add(1, Relaxed) % faults.len()].commit(stream);
            }
        });
    }
    port
}

fn gateway(port: u16, retries: u16) -> Gateway {
    let mut setup = Setup::new();
    let silence = u64::try_from(SILENCE.as_millis()).unwrap();
    let service = json!({"port": port, "retries": retries, "read_timeout": silence});
    let service = setup.service(service);
    setup.route(json!({"paths": ["/"], "service": service}));
    let refused = json!({"port": dead_port(), "retries": retries});
    let refused = setup.service(refused);
    setup.route(json!({"paths": ["/refused"], "service": refused}));
    let silent = wicked(&[SilentBeforeHead, SilentInHead, SilentInBody]);
    let silent = json!({"port": silent, "retries": 0, "read_timeout": silence});
    let silent = setup.service(silent);
    setup.route(json!({"paths": ["/silent"], "service": silent}));
    setup.start()
}

#[test]
fn each_fault_has_its_status() {
    let check = |faults: &'static [Fault], expect: (u16, bool)| {
        for method in ["GET", "POST"] {
            // Connections of its own: what a POST was sent on when it closed is not tried again.
            let gateway = gateway(wicked(faults), 0);
            let began = Instant::now();
            let Answer { status, truncated, .. } = gateway.ask(&Request::new(method, "/x"));
            assert_eq!((status, truncated), expect, "{method} {faults:?}");
            assert!(began.elapsed() < Duration::from_secs(3), "{method} {faults:?}");
        }
    };
    for fault in [
        &[ResetAtOnce],
        &[CloseAtOnce],
        &[ResetAfterRequest],
        &[CloseAfterRequest],
        &[Garbage],
        &[HalfHead],
        &[TwoLengths],
    ] {
        check(fault, (502, false));
    }
    check(&[SilentBeforeHead], (504, false));
    check(&[SilentInHead], (504, false));
    for fault in [&[HalfBody], &[SilentInBody], &[BadChunk]] {
        check(fault, (200, true));
    }
    check(&[CloseWhenIdle], (200, false));
    assert_eq!(gateway(1, 2).get("/refused").status, 502);
}

/// Sockets and files that this process has open.
fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Asks from several connections at once; every request has some answer.
fn ask_many(gateway: &Gateway, requests: usize) {
    let left = AtomicUsize::new(requests);
    let take = || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = None;
                while take() {
                    let number = left.load(Relaxed);
                    let path = match number {
                        // Each takes a while.
                        _ if number.is_multiple_of(500) => "/silent",
                        _ if number.is_multiple_of(10) => "/refused",
                        _ => "/x",
                    };
                    let method = if number.is_multiple_of(3) { "POST" } else { "GET" };
                    let mut open = connection.take().unwrap_or_else(|| gateway.connect());
                    let request = Request::new(method, path).body("data");
                    let Ok(answer) = Connection::ask(&mut open, &request, true) else { continue };
                    let status = answer.status;
                    assert!([200, 502, 504].contains(&status), "{status} {method} {path}");
                    connection = (!answer.truncated).then_some(open);
                }
            });
        }
    });
}

/// After `requests` nothing is left that was not there after a tenth of them.
fn endure(requests: usize) {
    let gateway = gateway(wicked(&QUICK), 2);
    let settled = || {
        let stats = gateway.handle.as_ref().unwrap().stats().totals();
        let still = |_: &usize| stats.active == 0;
        let files = open_files();
        Some(files).filter(still)
    };
    let patience = Duration::from_secs(20);
    ask_many(&gateway, requests / 10);
    let files = silverback_e2e::wait::wait_for("no connection", patience, settled);
    let memory = resident_bytes(std::process::id());
    ask_many(&gateway, requests);
    let after = silverback_e2e::wait::wait_for("no connection", patience, settled);
    let grown = resident_bytes(std::process::id()).saturating_sub(memory);
    println!("{requests} requests: files {files}, then {after}; {grown} bytes more");
    // The last answers' connections to the upstream may not be closed yet.
    assert!(after <= files + 16, "{files} {after}");
    assert!(grown < 16 << 20, "{grown}");
    println!("nothing has stayed");
}

/// How many requests [`in_a_process_of_its_own`] makes, where that is not said.
const REQUESTS: usize = 100_000;

/// Files are counted by the process: other tests must not run in it.
/// `cargo test -p silverback-proxy --test it -- --ignored --nocapture in_a_process_of_its_own`
#[test]
#[ignore = "the test below runs it"]
fn in_a_process_of_its_own() {
    let given = std::env::var("ENDURE_REQUESTS").ok();
    endure(given.map_or(REQUESTS, |given| given.parse().unwrap()));
}

#[test]
fn nothing_stays_behind() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "endurance::in_a_process_of_its_own", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("nothing has stayed"), "{text}");
}
