//! decK, the real one (`e2e/setup` builds it): it must find nothing left to do after it has
//! brought a gateway to the state of a file with every kind of entity.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use silverback_e2e::gateway::{Builder, Gateway};
use silverback_e2e::http::Request;
use silverback_e2e::postgres::Postgres;
use silverback_e2e::setup;

/// The kinds whose entities the file has, by the names of their lists, and how many.
const COUNTS: [(&str, usize); 19] = [
    ("services", 4),
    ("routes", 5),
    ("consumers", 2),
    ("key-auths", 1),
    ("basic-auths", 1),
    ("jwts", 1),
    ("hmac-auths", 1),
    ("oauth2", 1),
    ("acls", 2),
    ("plugins", 6),
    ("upstreams", 2),
    ("upstreams/pool.test/targets", 2),
    ("certificates", 1),
    ("snis", 2),
    ("ca_certificates", 1),
    ("vaults", 1),
    ("key-sets", 1),
    ("keys", 1),
    ("filter-chains", 0),
];

/// A gateway and a directory for decK's files.
struct Bench {
    gateway: Gateway,
    state: PathBuf,
}

impl Bench {
    fn new(builder: Builder) -> Bench {
        let gateway = builder.start();
        let state = gateway.prefix().join("state.yaml");
        fs::write(&state, filled()).unwrap();
        Bench { gateway, state }
    }

    /// Runs decK, which must succeed; what it says.
    fn deck(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "deck {arguments:?}: {}", said(&output));
        said(&output)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(setup::env("go/bin/deck"))
            .args(arguments)
            .args(["--kong-addr", &format!("http://{}", self.gateway.admin())])
            .args(["--analytics=false", "--no-color"])
            .env("HOME", self.gateway.prefix())
            .env("DECK_CONFIG", "/dev/null")
            .output()
            .unwrap()
    }

    fn sync(&self) -> String {
        self.deck(&["gateway", "sync", &self.state()])
    }

    /// `--non-zero-exit-code`: 2 where there is something left to do.
    fn assert_in_step(&self, state: &str) {
        let output = self.run(&["gateway", "diff", state, "--non-zero-exit-code"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }

    fn state(&self) -> String {
        self.state.display().to_string()
    }

    fn count(&self, list: &str) -> usize {
        let answer = self.gateway.ask_admin(&Request::get(&format!("/{list}?size=1000")));
        answer.json()["data"].as_array().map_or(0, Vec::len)
    }
}

fn said(output: &Output) -> String {
    silverback_e2e::gateway::said(output)
}

/// The file, with a certificate and an authority of its own.
fn filled() -> String {
    let file = setup::root().join("e2e/deck/state.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let pair = rcgen::generate_simple_self_signed(["one.test".to_owned()]).unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let block = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    text.replace("{cert}\n", &block(&pair.cert.pem()))
        .replace("{key}\n", &block(&pair.signing_key.serialize_pem()))
        .replace("{ca}\n", &block(&authority.pem()))
}

/// What decK does all day, on a gateway with a database.
fn check(builder: Builder) {
    let bench = Bench::new(builder);
    assert!(bench.deck(&["gateway", "ping"]).contains("Successfully connected to Kong!"));
    bench.deck(&["gateway", "validate", &bench.state()]);
    let first = bench.sync();
    assert!(first.contains("Updated: 0"), "{first}");
    assert!(first.contains("Deleted: 0"), "{first}");
    for (list, expect) in COUNTS {
        assert_eq!(bench.count(list), expect, "{list}");
    }
    bench.assert_in_step(&bench.state());
    // What it reads back is the same state, too.
    let dump = bench.gateway.prefix().join("dump.yaml").display().to_string();
    bench.deck(&["gateway", "dump", "-o", &dump, "--yes"]);
    bench.assert_in_step(&dump);
    change(&bench);
    bench.deck(&["gateway", "reset", "--force"]);
    for (list, _) in COUNTS.into_iter().filter(|(list, _)| !list.contains('/')) {
        assert_eq!(bench.count(list), 0, "{list}");
    }
}

/// A changed file: what is new is made, what is gone is deleted, the rest is changed.
fn change(bench: &Bench) {
    let text = fs::read_to_string(&bench.state).unwrap();
    let text = text
        .replace("retries: 3", "retries: 4")
        .replace("minute: 5", "minute: 6")
        .replace("- {group: admins}", "- {group: owners}")
        .replace("weight: 10", "weight: 20");
    fs::write(&bench.state, text).unwrap();
    let output = bench.run(&["gateway", "diff", &bench.state(), "--non-zero-exit-code"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    bench.sync();
    bench.assert_in_step(&bench.state());
    let service = bench.gateway.ask_admin(&Request::get("/services/echo")).json();
    assert_eq!(service["retries"], 4);
}

#[test]
fn a_gateway_with_sqlite_converges() {
    check(Builder::new().set("database", "sqlite"));
}

#[test]
fn a_gateway_with_postgres_converges() {
    let database = Postgres::shared().database();
    database.bootstrap();
    check(database.gateway());
}
