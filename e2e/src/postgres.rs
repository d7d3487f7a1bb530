//! A real PostgreSQL server, Debian's: in a directory and on a port of its own.
//!
//! Tests share one as long as any of them runs, each with a database of its own; those that stop
//! it have one to themselves. It ends with this program, however that ends.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::gateway::{Builder, free_port};
use crate::setup;
use crate::wait::wait_until;

/// The password of [`USER`].
pub const PASSWORD: &str = "s3cret";
/// Who owns the databases. It is not a superuser.
pub const USER: &str = "kong";

/// A server. Dropping it stops it.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    running: Mutex<Option<Child>>,
}

/// A database of a server.
pub struct Database {
    server: Arc<Postgres>,
    name: String,
}

/// A connection that does nothing, as long as this lives.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Postgres {
    /// The server that tests share.
    pub fn shared() -> Arc<Postgres> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Postgres::alone(&[]);
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server of one's own, with these settings (`max_connections=10`).
    pub fn alone(settings: &[&str]) -> Arc<Postgres> {
        let server = Postgres::prepare(settings);
        server.make();
        server.start();
        let role = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
        server.psql("postgres", "postgres", &role);
        Arc::new(server)
    }

    /// A place for a server.
    fn prepare(settings: &[&str]) -> Postgres {
        setup::postgres();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pg-{}-{number:04}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Postgres { folder, port: free_port(), settings, running: Mutex::new(None) }
    }

    /// A streaming replica of this server.
    pub fn replica(&self) -> Arc<Postgres> {
        let replica = Postgres::prepare(&[]);
        replica.make_folder();
        let mut copy = Command::new("env");
        copy.args(as_postgres()).arg(program("pg_basebackup")).arg("-D");
        copy.arg(replica.folder.join("data")).arg("-h").arg(&self.folder);
        copy.args(["-p", &self.port.to_string(), "-U", "postgres", "-R", "-X", "stream"]);
        run(copy.args(["-c", "fast", "--no-sync"]));
        replica.start();
        Arc::new(replica)
    }

    /// Waits until a replica follows, and acknowledges nothing from then on that it does not have.
    pub fn wait_for_replica(&self) {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let follows = || self.psql("postgres", "postgres", sql) == [["1"]];
        wait_until("a replica", Duration::from_secs(60), follows);
        let strict = "ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()";
        self.psql("postgres", "postgres", strict);
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let strict = || self.psql("postgres", "postgres", sql) == [["1"]];
        wait_until("the replica to count", Duration::from_secs(60), strict);
    }

    /// Makes a replica the server that is written to.
    pub fn promote(&self) {
        self.psql("postgres", "postgres", "SELECT pg_promote(true, 60)");
    }

    /// Whether a replica goes on following, or stays where it is.
    pub fn follow(&self, on: bool) {
        let what = if on { "resume" } else { "pause" };
        self.psql("postgres", "postgres", &format!("SELECT pg_wal_replay_{what}()"));
    }

    /// A server of one's own that takes connections with TLS, as `localhost`.
    pub fn with_tls() -> Arc<Postgres> {
        let files = ["ssl_cert_file=server.crt", "ssl_key_file=server.key"];
        Postgres::alone(&["ssl=on", files[0], files[1], "ssl_ca_file=client.crt"])
    }

    /// Has it take nobody any more but those that show the certificate of
    /// [`Postgres::client_certificate`], whatever their password.
    pub fn ask_for_certificates(&self) {
        let rules = "local all all trust\nhostssl all all all cert\n";
        fs::write(self.folder.join("data/pg_hba.conf"), rules).unwrap();
        self.psql("postgres", "postgres", "SELECT pg_reload_conf()");
    }

    /// The files of [`USER`]'s own certificate and its key.
    pub fn client_certificate(&self) -> [PathBuf; 2] {
        ["client.crt", "client.key"].map(|name| self.folder.join("data").join(name))
    }

    /// The certificate of [`Postgres::with_tls`], which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// A new, empty database.
    pub fn database(self: &Arc<Postgres>) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kong{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", "postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        Database { server: Arc::clone(self), name }
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it and waits until it answers.
    pub fn start(&self) {
        // The shell ends the server when this program is gone and its input with it.
        let script = "\"$@\" & read -r _; kill -INT $!; wait $!";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(as_postgres()).arg(program("postgres"));
        command.arg("-D").arg(self.folder.join("data"));
        command.args(["-c", &format!("port={}", self.port), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", &format!("unix_socket_directories={}", self.folder.display())]);
        for setting in ["fsync=off", "max_connections=200"] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file());
        let log = log.unwrap_or_else(|err| panic!("{}: {err}", self.log_file().display()));
        let both = log.try_clone().unwrap_or_else(|err| panic!("{err}"));
        let child = command.stdin(Stdio::piped()).stdout(log).stderr(both).spawn();
        let child = child.unwrap_or_else(|err| panic!("PostgreSQL: {err}"));
        *self.running() = Some(child);
        let answers = || self.ask("postgres", "postgres", "SELECT 1").status.success();
        wait_until(&format!("PostgreSQL\n{}", self.log()), Duration::from_secs(60), answers);
    }

    /// Stops it: connections are closed at once, what was committed stays.
    pub fn stop(&self) {
        self.freeze(false);
        let Some(mut child) = self.running().take() else { return };
        drop(child.stdin.take());
        let _ = child.wait();
    }

    /// Holds every process of it still, or lets them go on: it neither answers nor hangs up.
    pub fn freeze(&self, still: bool) {
        let Some(shell) = self.running().as_ref().map(Child::id) else { return };
        let pids = crate::process::below(shell, "postgres");
        crate::process::signal(if still { "STOP" } else { "CONT" }, &pids);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    fn make_folder(&self) {
        fs::create_dir_all(&self.folder).unwrap_or_else(|err| panic!("{err}"));
        let mut own = Command::new("chown");
        if as_postgres().is_empty() {
            own = Command::new("true");
        }
        let _ = own.arg("postgres").arg(&self.folder).status();
    }

    /// Makes the files: the superuser comes by socket without a password, others with one.
    fn make(&self) {
        self.make_folder();
        let mut initdb = Command::new("env");
        initdb.args(as_postgres()).arg(program("initdb")).arg("-D").arg(self.folder.join("data"));
        initdb.args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        run(initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]));
        if self.settings.iter().any(|setting| setting == "ssl=on") {
            self.make_certificates();
        }
    }

    /// The keys belong to whom the server runs as, as PostgreSQL insists.
    fn make_certificates(&self) {
        let data = self.folder.join("data");
        for (name, who) in [("server", "localhost"), ("client", USER)] {
            let file = |end: &str| data.join(format!("{name}.{end}"));
            let mut openssl = Command::new("env");
            openssl.args(as_postgres()).args(["openssl", "req", "-x509", "-newkey", "rsa:2048"]);
            openssl.args(["-nodes", "-days", "30", "-subj", &format!("/CN={who}")]);
            openssl.args(["-addext", &format!("subjectAltName=DNS:{who}"), "-keyout"]);
            run(openssl.arg(file("key")).arg("-out").arg(file("crt")));
        }
        let copied = fs::copy(data.join("server.crt"), self.certificate());
        copied.unwrap_or_else(|err| panic!("{err}"));
    }

    /// A client that does what it reads.
    fn client(&self, user: &str, database: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", user]);
        psql.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-d", database]);
        psql.current_dir("/").env("PGTZ", "UTC");
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        psql
    }

    fn ask(&self, user: &str, database: &str, sql: &str) -> Output {
        let mut child =
            self.client(user, database).spawn().unwrap_or_else(|err| panic!("psql: {err}"));
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(sql.as_bytes());
        }
        child.wait_with_output().unwrap_or_else(|err| panic!("psql: {err}"))
    }

    /// Runs SQL and gives the rows. Panics if it is refused.
    fn psql(&self, user: &str, database: &str, sql: &str) -> Vec<Vec<String>> {
        let output = self.ask(user, database, sql);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Database {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is on.
    pub fn server(&self) -> &Arc<Postgres> {
        &self.server
    }

    /// The database of this name on another server, as a replica's.
    pub fn at(&self, server: &Arc<Postgres>) -> Database {
        Database { server: Arc::clone(server), name: self.name.clone() }
    }

    /// All that it is made of, a line for each column, constraint, index and trigger, sorted.
    pub fn layout(&self) -> Vec<String> {
        let mut dump = Command::new(program("pg_dump"));
        dump.args(["-s", "-U", "postgres", "-h"]).arg(&self.server.folder);
        dump.args(["-p", &self.server.port.to_string(), &self.name]);
        let text = run(&mut dump);
        let lines = text.lines().map(|line| line.trim_end_matches(',').to_owned());
        // The newest versions say a random word at the start and at the end.
        let mut lines: Vec<String> = lines.filter(|line| !line.starts_with('\\')).collect();
        lines.sort();
        lines
    }

    /// Runs SQL as the owner and gives the rows. Panics if it is refused.
    pub fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.server.psql(USER, &self.name, sql)
    }

    /// Runs SQL as the superuser; see [`Database::sql`].
    pub fn sql_as_superuser(&self, sql: &str) -> Vec<Vec<String>> {
        self.server.psql("postgres", &self.name, sql)
    }

    /// The one value of the one row that SQL gives.
    pub fn value(&self, sql: &str) -> String {
        self.sql(sql).into_iter().flatten().next().unwrap_or_default()
    }

    /// Takes connections until the server has none left for its owner. They last as long as what
    /// this gives.
    pub fn take_all_connections(&self) -> Vec<Held> {
        let mut held = Vec::new();
        let mut refusals = 0;
        // More than one refusal: a connection of the question before may not be gone yet.
        while refusals < 3 {
            if !self.server.ask(USER, &self.name, "SELECT 1").status.success() {
                refusals += 1;
                continue;
            }
            let mut psql = self.server.client(USER, &self.name);
            let child = psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            held.push(Held(child.unwrap_or_else(|err| panic!("psql: {err}"))));
            assert!(held.len() < 1000, "there is no end to them");
            refusals = 0;
        }
        held
    }

    /// Makes Kong's tables, by the gateway's binary.
    pub fn bootstrap(&self) {
        let gateway = self.gateway();
        let mut migrations = Command::new(setup::gateway());
        migrations.args(["migrations", "bootstrap", "-q", "-p"]).arg(gateway.prefix());
        let status = migrations.envs(gateway.settings()).status();
        assert!(status.is_ok_and(|status| status.success()), "migrations bootstrap");
        let _ = fs::remove_dir_all(gateway.prefix());
    }

    /// A gateway that keeps its entities here.
    pub fn gateway(&self) -> Builder {
        Builder::new()
            .set("database", "postgres")
            .set("pg_host", "127.0.0.1")
            .set("pg_port", &self.server.port.to_string())
            .set("pg_user", USER)
            .set("pg_password", PASSWORD)
            .set("pg_database", &self.name)
    }
}

/// Runs a program that has to succeed; what it prints.
fn run(command: &mut Command) -> String {
    let output = command.current_dir("/").output();
    let output = output.unwrap_or_else(|err| panic!("{command:?}: {err}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program of the newest version there is.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<f64>().ok();
    versions.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(std::cmp::Ordering::Equal));
    let newest = versions.last().unwrap_or_else(|| panic!("PostgreSQL is missing: e2e/setup"));
    newest.join("bin").join(name)
}

/// What to start it with: it refuses to be root.
pub(crate) fn as_postgres() -> &'static [&'static str] {
    let own = fs::metadata("/proc/self").map(|file| std::os::unix::fs::MetadataExt::uid(&file));
    if own.is_ok_and(|uid| uid == 0) {
        &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    } else {
        &[]
    }
}
