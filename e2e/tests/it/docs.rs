//! The examples of `docs/plugins/`, run as their pages say: the configuration, what to ask, and
//! what comes of it.
//!
//! A page's console has commands (`$ …`) and under each what is to be seen: the status, headers
//! (`…` is any value), parts of the body, and in comments what the upstream and the log server
//! get.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use silverback_e2e::gateway::{Builder, Gateway, free_port};
use silverback_e2e::setup::root;
use silverback_e2e::upstream::{Seen, Upstream};
use silverback_e2e::wait::{PATIENCE, wait_until};

/// An example with what it talks to.
struct Stage {
    gateway: Gateway,
    upstream: Upstream,
    logs: LogServer,
    folder: PathBuf,
}

/// What log plugins send, whichever way.
struct LogServer {
    port: u16,
    got: Arc<Mutex<String>>,
}

impl LogServer {
    fn start() -> LogServer {
        let port = free_port();
        let got: Arc<Mutex<String>> = Arc::default();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let add = |got: &Mutex<String>, bytes: &[u8]| {
            got.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        };
        let shared = Arc::clone(&got);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut buffer = [0; 65536];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    add(&shared, &buffer[..n]);
                }
            }
        });
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::clone(&got);
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n) = socket.recv(&mut buffer) {
                add(&shared, &buffer[..n]);
            }
        });
        LogServer { port, got }
    }
}

/// The first block of a language in a page.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let begin = format!("```{language}\n");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {language} in {page}"));
    rest.split_once("```").unwrap().0
}

impl Stage {
    fn set(name: &str, page: &str) -> Stage {
        let (upstream, logs) = (Upstream::start(), LogServer::start());
        let folder = std::env::temp_dir().join(format!("docs-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let steering = block(page, "console").lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("# the upstream answers: ")?.split_once(": ")?;
            Some(format!("/set/{name}/{value}"))
        });
        let url = format!("{}{}", upstream.url(), steering.collect::<String>());
        let yaml = block(page, "yaml").replace("http://127.0.0.1:9000", &url);
        // Log servers of examples listen on ports of their own.
        let yaml = yaml.replace(":9200", &format!(":{}", logs.port));
        let yaml = yaml.replace("port: 9300", &format!("port: {}", logs.port));
        let yaml = yaml.replace("port: 9400", &format!("port: {}", logs.port));
        let yaml = yaml.replace("/tmp/", &format!("{}/", folder.display()));
        let gateway = Builder::new().declarative(&yaml).start();
        Stage { gateway, upstream, logs, folder }
    }

    /// Runs commands as a shell would; what the last one has written.
    fn run(&self, commands: &str) -> String {
        let ports =
            [("127.0.0.1:8000", self.gateway.proxy()), ("127.0.0.1:8001", self.gateway.admin())];
        let commands = ports.iter().fold(commands.to_owned(), |c, (doc, own)| c.replace(doc, own));
        let commands = commands.replace("curl -i", "curl -s -i --max-time 60");
        let output = Command::new("bash").args(["-euc", &commands]).output().unwrap();
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Checks what is to be seen after a command.
    fn check(&self, line: &str, answer: &str, seen: &[Seen]) {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let lower = head.to_lowercase();
        let has =
            |name: &str| lower.lines().any(|l| l.starts_with(&format!("{}:", name.to_lowercase())));
        let last = || seen.last().unwrap_or_else(|| panic!("nothing came to the upstream: {line}"));
        let found = if let Some(text) = line.strip_prefix("# to the log server: ") {
            let text = text.to_lowercase();
            let got = || self.logs.got.lock().unwrap().to_lowercase().contains(&text);
            wait_until(line, PATIENCE, got);
            true
        } else if let Some(rest) = line.strip_prefix("# in /tmp/") {
            let (file, text) = rest.split_once(": ").unwrap();
            let path = self.folder.join(file);
            wait_until(line, PATIENCE, || {
                fs::read_to_string(&path).is_ok_and(|t| t.contains(text))
            });
            true
        } else if let Some(name) = line.strip_prefix("# not to the upstream: ") {
            last().header(name).is_none()
        } else if let Some(text) = line.strip_prefix("# to the upstream: ") {
            match text.split_once(": ") {
                Some((name, value)) => is(last().header(name), value),
                None => text == format!("{} {}", last().method, last().target),
            }
        } else if line == "# nothing to the upstream" {
            seen.is_empty()
        } else if let Some(name) = line.strip_prefix("# not in the answer: ") {
            !has(name)
        } else if line.starts_with("HTTP/1.1 ") {
            head.starts_with(line)
        } else if let Some((name, value)) = line.split_once(": ").filter(|(name, _)| has(name)) {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.any(|(n, v)| n.eq_ignore_ascii_case(name) && is(Some(v), value))
        } else {
            body.contains(line)
        };
        assert!(found, "{line}\n--- the answer:\n{answer}\n--- the upstream:\n{seen:?}");
    }
}

fn is(found: Option<&str>, expect: &str) -> bool {
    found.is_some_and(|found| expect == "…" || found == expect)
}

fn try_page(name: &str, page: &str) {
    let stage = Stage::set(name, page);
    let (mut commands, mut answer, mut seen) = (String::new(), String::new(), Vec::new());
    let mut pending = false;
    for line in block(page, "console").lines().filter(|line| !line.is_empty()) {
        if let Some(command) = line.strip_prefix("$ ") {
            // What a shell knows by now stays known, but nothing is asked twice.
            commands = without_requests(&commands);
            commands += &format!("{command}\n");
            pending = true;
            continue;
        }
        if line.starts_with("# the upstream answers: ") {
            continue;
        }
        if pending {
            stage.upstream.take_seen();
            answer = stage.run(&commands);
            seen = stage.upstream.take_seen();
            pending = false;
        }
        stage.check(line, &answer, &seen);
    }
    assert!(!answer.is_empty(), "{name}: nothing was asked");
    let _ = fs::remove_dir_all(&stage.folder);
}

fn without_requests(commands: &str) -> String {
    let keeps = |line: &&str| !line.contains("curl ");
    commands.lines().filter(keeps).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_example_does_what_its_page_says() {
    let mut pages: Vec<PathBuf> = fs::read_dir(root().join("docs/plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    for path in pages {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        println!("{name}");
        try_page(&name, &fs::read_to_string(&path).unwrap());
    }
}
