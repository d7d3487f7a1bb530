//! Where the tests find the plugin servers, which `e2e/setup` installs on first use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// A path under `.env/`, where `e2e/setup` installs. Runs it once per process, to be sure that what
/// is there is what the checkout asks for; when nothing is missing that takes no time.
pub fn env(path: &str) -> PathBuf {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let script = root().join("e2e/setup");
        let output = Command::new(&script).output();
        let output = output.map_err(|err| format!("{}: {err}", script.display()))?;
        let text = String::from_utf8_lossy(&output.stderr);
        output.status.success().then_some(()).ok_or(format!("{}:\n{text}", script.display()))
    });
    if let Err(why) = done {
        panic!("the plugin servers could not be installed by {why}");
    }
    let path = root().join(".env").join(path);
    assert!(path.exists(), "{} is missing: remove .env/*.stamp, run e2e/setup", path.display());
    path
}

/// Installs PostgreSQL and PgBouncer if they are missing.
pub fn postgres() {
    if ["/usr/lib/postgresql", "/usr/sbin/pgbouncer"].iter().all(|path| Path::new(path).exists()) {
        return;
    }
    let status = Command::new(root().join("e2e/setup")).arg("--postgres").status();
    assert!(status.is_ok_and(|status| status.success()), "e2e/setup could not install PostgreSQL");
}

/// The command of the Python plugin server.
pub fn python_server() -> PathBuf {
    env("python/bin/kong-python-pluginserver")
}

/// The command of the JavaScript plugin server.
pub fn js_server() -> PathBuf {
    env("js/node_modules/.bin/kong-js-pluginserver")
}

/// A Go plugin that is its own server, e.g. `go-hello`.
pub fn go_plugin(name: &str) -> PathBuf {
    env(&format!("go/bin/{name}"))
}

/// The gateway's binary: `SILVERBACK_BIN`, or else the one beside the test binary that Cargo built.
pub fn gateway() -> PathBuf {
    if let Some(path) = std::env::var_os("SILVERBACK_BIN") {
        return PathBuf::from(path);
    }
    // Tests run from target/PROFILE/deps/NAME.
    let own = std::env::current_exe().unwrap_or_default();
    let profile = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let binary = profile.join("silverback");
    assert!(binary.exists(), "{} is missing: cargo build -p silverback", binary.display());
    binary
}
