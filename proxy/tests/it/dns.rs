//! Names, asked of a real name server that changes its mind, keeps silent and fails.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_e2e::{
    http::{Answer, Request, send},
    name_server::NameServer,
    wait::wait_until,
};
use silverback_proxy::{DnsClient, DnsType};

use crate::kit::{Gateway, Setup, backend};

const PATIENCE: Duration = Duration::from_secs(60);

/// A setup that asks this server, with a resolv.conf and a hosts file of its own.
fn setup(server: &NameServer, resolv: &str) -> Setup {
    let mut setup = Setup::new();
    let dns = &mut setup.config.dns;
    dns.servers = vec![([127, 0, 0, 1], server.port()).into()];
    dns.resolv_conf = file(server, "resolv.conf", resolv);
    dns.hosts_file = Some(file(server, "hosts", ""));
    setup
}

fn file(server: &NameServer, name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sb-{name}-{}", server.port()));
    fs::write(&path, text).unwrap();
    path
}

/// Impatient, so that silence is soon noticed.
const IMPATIENT: &str = "options timeout:1 attempts:1\n";

/// How often each server answers.
fn shares(gateway: &Gateway, path: &str, requests: u32) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let text = gateway.get(path).text();
        *shares.entry(text.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    shares
}

fn check_shares(gateway: &Gateway, path: &str, expect: &[(&str, u32)]) {
    let requests = expect.iter().map(|(_, count)| count).sum();
    let expect = expect.iter().map(|(ip, count)| ((*ip).to_owned(), *count)).collect();
    assert_eq!(shares(gateway, path, requests), expect, "{path}");
}

fn check_error(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(text), "{message}");
}

#[test]
fn addresses_of_a_name_take_turns() {
    let server = NameServer::start(
        "a A 127.0.0.2\na A 127.0.0.3\nalias CNAME other\nother CNAME a\nsix AAAA ::1",
    );
    let port = backend("127.0.0.2", 0);
    backend("127.0.0.3", port);
    let mut setup = setup(&server, "");
    setup.serve_host("a.test", port, &json!({}));
    setup.serve_host("alias.test", port, &json!({}));
    setup.serve_host("six.test", backend("::1", 0), &json!({}));
    setup.config.dns.order.push(DnsType::Aaaa);
    let gateway = setup.start();
    check_shares(&gateway, "/a.test", &[("127.0.0.2", 5), ("127.0.0.3", 5)]);
    check_shares(&gateway, "/alias.test", &[("127.0.0.2", 5), ("127.0.0.3", 5)]);
    check_shares(&gateway, "/six.test", &[("::1", 2)]);
    assert!(gateway.get("/a.test").text().ends_with(&format!(" a.test:{port}")));
    // Asked for once: SRV and A, remembered from then on.
    assert_eq!(server.asked("a.test"), 2);
}

#[test]
fn what_changes_is_noticed_and_silence_is_not() {
    let mut server = NameServer::start("a 1 A 127.0.0.2");
    let port = backend("127.0.0.2", 0);
    backend("127.0.0.3", port);
    backend("127.0.0.4", port);
    let mut setup = setup(&server, IMPATIENT);
    setup.serve_host("a.test", port, &json!({}));
    setup.serve_host("b.up", port, &json!({}));
    let target = format!("a.test:{port}");
    setup.upstream_with(json!({"name": "b.up"}), &[(&target, 100)]);
    let gateway = setup.start();
    let both = ["/a.test", "/b.up"];
    let answered_by = |ip: &str| {
        for path in both {
            wait_until(ip, PATIENCE, || gateway.get(path).text().starts_with(ip));
        }
    };
    answered_by("127.0.0.2 ");
    server.set("a 1 A 127.0.0.3");
    answered_by("127.0.0.3 ");
    // What was known serves on without delay while nobody answers.
    server.pause();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for path in both {
            let began = Instant::now();
            assert_eq!(gateway.get(path).status, 200);
            assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server.go_on();
    server.set("a 1 A 127.0.0.4");
    answered_by("127.0.0.4 ");
    // A name that is gone is gone.
    server.set("c 1 A 127.0.0.4");
    wait_until("503", PATIENCE, || gateway.get("/a.test").status == 503);
    wait_until("503", PATIENCE, || gateway.get("/b.up").status == 503);
    check_error(&gateway.get("/b.up"), 503, "failure to get a peer from the ring-balancer");
}

#[test]
fn failures_are_told_as_kong_does() {
    let server = NameServer::start("txt TXT x\na A 127.0.0.2");
    let mut setup = setup(&server, IMPATIENT);
    for host in ["no.test", "txt.test", "x.broken", "x.example", "late.test"] {
        setup.serve_host(host, 80, &json!({}));
    }
    let gateway = setup.start();
    check_error(&gateway.get("/no.test"), 503, "name resolution failed");
    check_error(&gateway.get("/txt.test"), 503, "name resolution failed");
    let failed = |host: &str, why: &str| {
        format!("failed the initial dns/balancer resolve for '{host}' with: {why}")
    };
    let why = failed("x.broken", "dns server error: 2 server failure");
    check_error(&gateway.get("/x.broken"), 500, &why);
    let why = failed("x.example", "dns server error: 5 refused");
    check_error(&gateway.get("/x.example"), 500, &why);
    server.pause();
    let why = failed("late.test", "failed to receive reply from UDP server 127.0.0.1:");
    check_error(&gateway.get("/late.test"), 500, &why);
    server.go_on();
    // Failures are remembered for a second only.
    wait_until("503", PATIENCE, || gateway.get("/late.test").status == 503);
}

#[test]
fn answers_that_do_not_fit_come_by_tcp() {
    let many: Vec<String> = (2..82).map(|n| format!("many A 127.0.0.{n}")).collect();
    let server = NameServer::start(&many.join("\n"));
    let port = backend("127.0.0.2", 0);
    for n in 3..82 {
        backend(&format!("127.0.0.{n}"), port);
    }
    let mut setup = setup(&server, "");
    setup.serve_host("many.test", port, &json!({}));
    let gateway = setup.start();
    let shares = shares(&gateway, "/many.test", 160);
    assert_eq!((shares.len(), shares.values().max()), (80, Some(&2)));
}

#[test]
fn services_have_ports_and_weights() {
    let (one, two) = (backend("127.0.0.2", 0), backend("127.0.0.3", 0));
    let zone = format!(
        "_web._tcp SRV 1 30 {one} one\n_web._tcp SRV 1 10 {two} two\n_web._tcp SRV 2 50 9 one\n\
         self SRV 1 1 0 self\nself A 127.0.0.2\none A 127.0.0.2\ntwo A 127.0.0.3"
    );
    let server = NameServer::start(&zone);
    let mut setup = setup(&server, "");
    setup.serve_host("_web._tcp.test", 9, &json!({}));
    setup.serve_host("self.test", one, &json!({}));
    setup.serve_host("named.up", 9, &json!({}));
    setup.serve_host("plain.up", 9, &json!({}));
    let targets = [("_web._tcp.test:9", 100)];
    let id = setup.upstream_with(json!({"name": "named.up", "use_srv_name": true}), &targets);
    setup.upstream_with(json!({"name": "plain.up"}), &targets);
    let gateway = setup.start();
    check_shares(&gateway, "/_web._tcp.test", &[("127.0.0.2", 30), ("127.0.0.3", 10)]);
    check_shares(&gateway, "/self.test", &[("127.0.0.2", 2)]);
    let balancer = gateway.snapshots.load().balancer(id).unwrap().clone();
    let addresses = || balancer.targets_health()["_web._tcp.test:9"]["addresses"].clone();
    wait_until("two addresses", PATIENCE, || addresses().as_array().unwrap().len() == 2);
    check_shares(&gateway, "/named.up", &[("127.0.0.2", 30), ("127.0.0.3", 10)]);
    let health = balancer.targets_health();
    let off = |host: &str, port: u16, weight: u32| {
        let off = "HEALTHCHECKS_OFF";
        json!({"ip": host, "port": port, "weight": weight, "health": off})
    };
    assert_eq!(health["_web._tcp.test:9"]["dns"], "SRV");
    assert_eq!(addresses(), json!([off("one.test", one, 30), off("two.test", two, 10)]));
    let hosts = |path: &str| {
        let text = gateway.get(path).text();
        let host = text.split(' ').nth(1).unwrap_or_default();
        host.split(':').next().unwrap_or_default().to_owned()
    };
    assert!(["one.test", "two.test"].contains(&hosts("/named.up").as_str()));
    assert_eq!(hosts("/plain.up"), "_web._tcp.test");
    assert_eq!((server.asked("named.up"), server.asked("plain.up")), (0, 0));
}

#[test]
fn short_names_are_searched_for_and_hosts_come_first() {
    let server = NameServer::start("a.sub A 127.0.0.2\nb A 127.0.0.2\nb.sub A 127.0.0.3");
    let port = backend("127.0.0.2", 0);
    backend("127.0.0.3", port);
    let mut setup = setup(&server, "search sub.test\noptions ndots:2\n");
    let hosts = setup.config.dns.hosts_file.clone().unwrap();
    fs::write(&hosts, "127.0.0.3 pinned.test\n").unwrap();
    for host in ["a", "b.test", "pinned.test"] {
        setup.serve_host(host, port, &json!({}));
    }
    let gateway = setup.start();
    check_shares(&gateway, "/a", &[("127.0.0.2", 1)]);
    // One dot is less than two: b.test.sub.test was asked for first.
    check_shares(&gateway, "/b.test", &[("127.0.0.2", 1)]);
    assert!(server.asked("b.test.sub.test") > 0);
    check_shares(&gateway, "/pinned.test", &[("127.0.0.3", 1)]);
    std::thread::sleep(Duration::from_millis(1100));
    fs::write(&hosts, "127.0.0.2 pinned.test\n").unwrap();
    wait_until("the change", PATIENCE, || {
        gateway.get("/pinned.test").text().starts_with("127.0.0.2")
    });
    assert_eq!(server.asked("pinned.test"), 0);
}

#[test]
fn all_who_wait_share_one_question() {
    let check = |no_sync: bool| {
        let server = NameServer::start("slow A 127.0.0.2");
        // Nobody is to lose patience: a second question would count.
        let mut setup = setup(&server, "options timeout:30 attempts:1\n");
        setup.config.dns.order = vec![DnsType::A];
        setup.config.dns.no_sync = no_sync;
        setup.serve_host("slow.test", backend("127.0.0.2", 0), &json!({}));
        let gateway = setup.start();
        server.pause();
        std::thread::scope(|scope| {
            let ask = || send(&gateway.address, &Request::get("/slow.test")).unwrap().status;
            let waiting: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
            let stats = gateway.handle.as_ref().unwrap().stats();
            wait_until("all to wait", PATIENCE, || stats.totals().writing == 20);
            server.go_on();
            for asked in waiting {
                assert_eq!(asked.join().unwrap(), 200);
            }
        });
        server.asked("slow.test")
    };
    assert_eq!(check(false), 1);
    // Each asks for itself, but for those that come when there is an answer already.
    assert!((2..=20).contains(&check(true)));
}

#[test]
fn the_new_client_counts() {
    let port = backend("127.0.0.2", 0);
    let server = NameServer::start(&format!("a A 127.0.0.2\n_h._tcp SRV 1 1 {port} a"));
    let mut setup = setup(&server, "");
    setup.config.dns.client = DnsClient::New;
    setup.config.dns.order = vec![DnsType::A, DnsType::Srv];
    for host in ["a.test", "_h._tcp.test", "no.test"] {
        setup.serve_host(host, port, &json!({}));
    }
    let gateway = setup.start();
    check_shares(&gateway, "/a.test", &[("127.0.0.2", 3)]);
    check_shares(&gateway, "/_h._tcp.test", &[("127.0.0.2", 2)]);
    check_error(&gateway.get("/no.test"), 503, "name resolution failed");
    // SRV is asked for where the name is that of a service, and only there.
    assert_eq!((server.asked("a.test"), server.asked("_h._tcp.test")), (2, 1));
    let names = gateway.handle.as_ref().unwrap().dns().names();
    assert_eq!(names["a.test|A"]["query_succ"], 2, "{names:?}");
    assert_eq!(names["no.test|A"]["query_fail:name error"], 1, "{names:?}");
    assert_eq!(names["_h._tcp.test|SRV"]["hit_lru"], 1, "{names:?}");
}
