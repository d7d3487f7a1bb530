//! From the bytes of a request to its route, in all flavours: the index finds what a plain walk
//! over all routes finds, and what the upstream would be asked is a path. The first byte chooses
//! the routes, the second where the request came in; the rest is the head.

#[path = "../../../router/tests/it/reference/random.rs"]
#[allow(dead_code, reason = "the router's own tests use the rest")]
mod random;
#[path = "../../../router/tests/it/reference/walk.rs"]
mod walk;

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc};

use http::header;
use silverback_model::entities::{Protocol, Route};
use silverback_router::{Flavor, Lookup, RouteInput, Router, normalize};

use self::random::{FLAVORS, Random, in_own_words};
use super::requests;

pub(crate) const WORDS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "PUT ",
    "POST ",
    "Host: a.test\r\n",
    "Host: x.a.test:8000\r\n",
    "b.test",
    ":80",
    "/a/b",
    "/a/7",
    "/b/c",
    "/é",
    "%2F",
    "%61",
    "/../",
    "/./",
    "//",
    "?",
    "X-A: two\r\n",
    "X-B: x9\r\n",
    "\r\n\r\n",
];

/// Routes as they are meant, and as the router got them.
struct Table {
    meant: Vec<Route>,
    router: Router,
}

/// The routes of this number: the same ones each time.
fn table(flavor: Flavor, number: u8) -> Rc<Table> {
    thread_local! {
        static KNOWN: RefCell<HashMap<(usize, u8), Rc<Table>>> = RefCell::default();
    }
    let make = || {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ u64::from(number) << 20);
        let count = 1 + random.below(16);
        let meant: Vec<Route> = (0..count).map(|_| random.route(flavor)).collect();
        let given: Vec<Route> = meant.iter().map(in_own_words).collect();
        let input = |route| RouteInput { route, service: None };
        let inputs: Vec<_> = given.iter().map(input).collect();
        Rc::new(Table { meant, router: Router::build(flavor, &inputs).unwrap() })
    };
    let place = FLAVORS.iter().position(|known| *known == flavor).unwrap();
    KNOWN.with_borrow_mut(|known| known.entry((place, number)).or_insert_with(make).clone())
}

pub(crate) fn feed(input: &[u8]) -> bool {
    let [number, origin, head @ ..] = input else { return false };
    let Some(request) = requests::read(head) else { return false };
    let Ok(target) = std::str::from_utf8(&request.target.path) else { return false };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Ok(path) = normalize(path) else { return false };
    // Which of several hosts counts is never asked: such requests are refused.
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().map_or(Ok(""), |host| host.to_str());
    let (Ok(host), None) = (host, hosts.next()) else { return false };
    let one = |choices: &[&'static str], at: u8| -> SocketAddr {
        choices[usize::from(origin >> at) % choices.len()].parse().unwrap()
    };
    let tls = origin & 1 == 1;
    let names = [None, Some("one.test"), Some("a.two.test"), Some("three.test")];
    let lookup = Lookup {
        method: request.method.as_str(),
        host,
        path: &path,
        query,
        headers: &request.headers,
        scheme: if tls { Protocol::Https } else { Protocol::Http },
        sni: names[usize::from(origin >> 1) % names.len()].filter(|_| tls),
        source: Some(one(&["10.1.2.3:8000", "10.9.9.9:1", "192.0.2.1:8000", "192.0.2.9:5"], 3)),
        destination: Some(one(&["10.1.2.3:8000", "192.0.2.1:80"], 5)),
    };
    let mut matched = false;
    for flavor in FLAVORS {
        let table = table(flavor, *number);
        let found = table.router.find(&lookup);
        let expect = walk::walk(flavor, &table.meant, &lookup);
        let chosen = found.as_ref().map(|found| found.route);
        assert_eq!(chosen, expect, "{flavor:?}: {lookup:#?}\n{:#?}", table.meant);
        let Some(found) = found else { continue };
        matched = true;
        for base in [None, Some("/base"), Some("/base/")] {
            let upstream = found.upstream_path(&path, base);
            assert!(upstream.starts_with('/') || !path.starts_with('/'), "{upstream:?}");
            let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            assert!(upstream.bytes().all(plain), "{upstream:?}");
        }
    }
    matched
}
