//! The plugin servers that a configuration names.
//!
//! Defaults and errors are Kong's (end of kong/conf_loader/init.lua `load`, kong.conf.default);
//! the Go server of Kong 2.x is one more, named `go` (`go_plugins_dir`, `go_pluginserver_exe`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::{Findings, Settings};
use super::value::{self, Value};

/// Where the commands of plugin servers are looked for.
const DEFAULT_DIRECTORY: &str = "/usr/local/bin";
/// The ends of the names of a plugin server's settings.
static PROPERTIES: &[&str] =
    &["_socket", "_start_cmd", "_query_cmd", "_timeout", "_connections", "_fail_open"];
/// Longest wait for an answer unless set, in ms.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// Most connections per worker unless set.
const DEFAULT_CONNECTIONS: u32 = 256;

/// A plugin server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginServer {
    /// Its name, in lower case.
    pub name: String,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// The command that starts it, for `sh`; without one, it is started by somebody else.
    pub start_cmd: Option<String>,
    /// The command that prints what it offers, for `sh`.
    pub query_cmd: String,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Most connections per worker.
    pub connections: u32,
    /// Whether requests go on without its plugins when it fails.
    pub fail_open: bool,
}

/// All plugin servers of a configuration.
pub(super) fn servers(
    settings: &Settings,
    prefix: &Path,
    findings: &mut Findings,
) -> Vec<PluginServer> {
    servers_in(Path::new(DEFAULT_DIRECTORY), settings, prefix, findings)
}

fn servers_in(
    directory: &Path,
    settings: &Settings,
    prefix: &Path,
    findings: &mut Findings,
) -> Vec<PluginServer> {
    let names: Vec<String> =
        settings.list("pluginserver_names").iter().map(|name| name.to_lowercase()).collect();
    warn_of_strays(settings, &names, findings);
    let mut servers: Vec<PluginServer> = Vec::new();
    for name in names {
        if servers.iter().any(|server| server.name == name) {
            let message = format!("pluginserver_names: '{name}' is named twice");
            findings.error(settings, "pluginserver_names", message);
            continue;
        }
        servers.extend(server(directory, &name, settings, prefix, findings));
    }
    if !servers.iter().any(|server| server.name == "go") {
        servers.extend(legacy_go(settings, prefix));
    }
    servers
}

fn server(
    directory: &Path,
    name: &str,
    settings: &Settings,
    prefix: &Path,
    findings: &mut Findings,
) -> Option<PluginServer> {
    let key = |property: &str| format!("pluginserver_{}{property}", name.replace('-', "_"));
    let text = |property: &str| settings.text(&key(property)).map(str::to_owned);
    let in_directory = |file: String| {
        let path = directory.join(file);
        path.exists().then(|| path.display().to_string())
    };
    let binary = in_directory(name.to_owned());
    // Kong's documentation promises query_NAME; its code takes `NAME -dump` since Go servers
    // answer that.
    let query_cmd = text("_query_cmd")
        .or_else(|| in_directory(format!("query_{name}")))
        .or_else(|| binary.as_ref().map(|path| format!("{path} -dump")));
    let Some(query_cmd) = query_cmd else {
        let message = format!(
            "query_command undefined for pluginserver {name}; set {}, or install {}",
            key("_query_cmd"),
            directory.join(name).display()
        );
        findings.error(settings, "pluginserver_names", message);
        return None;
    };
    let start_cmd = text("_start_cmd").or(binary);
    if start_cmd.is_none() {
        findings.warnings.push(format!(
            "start_command undefined for pluginserver {name}; assuming external process management"
        ));
    }
    let mut number = |property: &str, default: u64, max: u64| {
        let Some(text) = text(property) else { return default };
        match text.parse() {
            Ok(number) if (1..=max).contains(&number) => number,
            _ => {
                let key = key(property);
                let allowed = format!("must be an integer between 1 and {max}");
                findings.error(settings, &key, format!("{key} {allowed}, got '{text}'"));
                default
            }
        }
    };
    let timeout = Duration::from_millis(number("_timeout", DEFAULT_TIMEOUT_MS, 2_147_483_646));
    let connections = number("_connections", DEFAULT_CONNECTIONS.into(), 65_535) as u32;
    let fail_open = text("_fail_open").unwrap_or_default();
    let fail_open = value::boolean(&fail_open).unwrap_or_else(|| {
        let key = key("_fail_open");
        let message = format!("{key} is not a boolean: '{fail_open}' (on, off, true, false)");
        findings.error(settings, &key, message);
        false
    });
    let socket = text("_socket").map_or_else(|| prefix.join(format!("{name}.socket")), Into::into);
    let name = name.to_owned();
    Some(PluginServer { name, socket, start_cmd, query_cmd, timeout, connections, fail_open })
}

/// Warns of settings of servers that are not named, or that no server has.
fn warn_of_strays(settings: &Settings, names: &[String], findings: &mut Findings) {
    for (key, setting) in &settings.map {
        let Some(rest) = key.strip_prefix("pluginserver_").filter(|rest| *rest != "names") else {
            continue;
        };
        let of = |name: &String| {
            let property = rest.strip_prefix(&name.replace('-', "_"));
            property.is_some_and(|property| PROPERTIES.contains(&property))
        };
        if !names.iter().any(of) {
            findings.warnings.push(format!(
                "{}: '{key}' is not a setting of any server in pluginserver_names",
                setting.origin
            ));
        }
    }
}

/// The Go plugin server of Kong 2.x, which `go_plugins_dir` switches on.
fn legacy_go(settings: &Settings, prefix: &Path) -> Option<PluginServer> {
    let text = |key: &str| match settings.map.get(key).map(|setting| &setting.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let plugins = quoted(text("go_plugins_dir").filter(|directory| *directory != "off")?);
    let exe = quoted(text("go_pluginserver_exe").unwrap_or("/usr/local/bin/go-pluginserver"));
    let in_prefix = quoted(&prefix.display().to_string());
    Some(PluginServer {
        name: "go".to_owned(),
        socket: prefix.join("go_pluginserver.sock"),
        start_cmd: Some(format!("{exe} -kong-prefix {in_prefix} -plugins-directory {plugins}")),
        query_cmd: format!("{exe} -plugins-directory {plugins} -dump-all-plugins"),
        timeout: Duration::from_millis(DEFAULT_TIMEOUT_MS),
        connections: DEFAULT_CONNECTIONS,
        fail_open: false,
    })
}

/// A word for `sh`, in quotes if it needs them.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&b);
    if word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::load::{self, LoadArgs, Mode};

    /// The servers of the given settings, with `files` in the directory of commands.
    fn servers_of(files: &[&str], pairs: &[(&str, &str)]) -> (Vec<PluginServer>, Findings) {
        let unique = format!("silverback-pluginserver-{:?}", std::thread::current().id());
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).unwrap();
        for file in files {
            std::fs::write(directory.join(file), "").unwrap();
        }
        let env = pairs.iter().map(|(k, v)| (format!("KONG_{k}"), (*v).to_owned())).collect();
        let mut findings = Findings::default();
        let args = LoadArgs { conf: Some("/dev/null".into()), env, ..LoadArgs::default() };
        let settings = load::settings(&args, Mode::Written, &mut findings);
        let found = servers_in(&directory, &settings, Path::new("/p"), &mut findings);
        std::fs::remove_dir_all(&directory).unwrap();
        let shown = directory.display().to_string();
        let relative = |text: String| text.replace(&shown, "BIN");
        let servers = found.into_iter().map(|server| PluginServer {
            start_cmd: server.start_cmd.map(relative),
            query_cmd: relative(server.query_cmd),
            ..server
        });
        for error in &mut findings.errors {
            error.message = relative(error.message.clone());
        }
        (servers.collect(), findings)
    }

    #[test]
    fn defaults() {
        let (servers, _) = servers_of(&["go-hello"], &[("PLUGINSERVER_NAMES", "Go-Hello")]);
        assert_eq!(
            servers,
            [PluginServer {
                name: "go-hello".into(),
                socket: "/p/go-hello.socket".into(),
                start_cmd: Some("BIN/go-hello".into()),
                query_cmd: "BIN/go-hello -dump".into(),
                timeout: Duration::from_secs(60),
                connections: 256,
                fail_open: false,
            }]
        );
        let (servers, _) = servers_of(&["x", "query_x"], &[("PLUGINSERVER_NAMES", "x")]);
        assert_eq!(servers[0].query_cmd, "BIN/query_x");
    }

    #[test]
    fn given_settings() {
        let (servers, findings) = servers_of(
            &[],
            &[
                ("PLUGINSERVER_NAMES", "my-js"),
                ("PLUGINSERVER_MY_JS_SOCKET", "/s.sock"),
                ("PLUGINSERVER_MY_JS_QUERY_CMD", "q --dump"),
                ("PLUGINSERVER_MY_JS_START_CMD", "run -p $KONG_PREFIX"),
                ("PLUGINSERVER_MY_JS_TIMEOUT", "1500"),
                ("PLUGINSERVER_MY_JS_CONNECTIONS", "4"),
                ("PLUGINSERVER_MY_JS_FAIL_OPEN", "on"),
            ],
        );
        assert!(findings.errors.is_empty() && findings.warnings.is_empty(), "{findings:?}");
        assert_eq!(
            servers,
            [PluginServer {
                name: "my-js".into(),
                socket: "/s.sock".into(),
                start_cmd: Some("run -p $KONG_PREFIX".into()),
                query_cmd: "q --dump".into(),
                timeout: Duration::from_millis(1500),
                connections: 4,
                fail_open: true,
            }]
        );
    }

    #[test]
    fn what_is_said() {
        let (_, findings) = servers_of(
            &[],
            &[
                ("PLUGINSERVER_NAMES", "gopher,js,js"),
                ("PLUGINSERVER_JS_QUERY_CMD", "q"),
                ("PLUGINSERVER_JS_TIMEOUT", "0"),
                ("PLUGINSERVER_JS_FAIL_OPEN", "maybe"),
                ("PLUGINSERVER_PY_SOCKET", "/x"),
            ],
        );
        let errors: Vec<_> = findings.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "KONG_PLUGINSERVER_NAMES: query_command undefined for pluginserver gopher; \
                 set pluginserver_gopher_query_cmd, or install BIN/gopher",
                "KONG_PLUGINSERVER_JS_TIMEOUT: pluginserver_js_timeout must be an integer \
                 between 1 and 2147483646, got '0'",
                "KONG_PLUGINSERVER_JS_FAIL_OPEN: pluginserver_js_fail_open is not a boolean: \
                 'maybe' (on, off, true, false)",
                "KONG_PLUGINSERVER_NAMES: pluginserver_names: 'js' is named twice",
            ]
        );
        assert_eq!(
            findings.warnings,
            [
                "KONG_PLUGINSERVER_PY_SOCKET: 'pluginserver_py_socket' is not a setting of any \
                 server in pluginserver_names",
                "start_command undefined for pluginserver js; assuming external process management",
            ]
        );
    }

    #[test]
    fn the_go_server_of_kong_2() {
        let (servers, _) = servers_of(&[], &[("GO_PLUGINS_DIR", "/my plugins")]);
        assert_eq!(servers[0].name, "go");
        assert_eq!(servers[0].socket, Path::new("/p/go_pluginserver.sock"));
        assert_eq!(
            servers[0].start_cmd.as_deref(),
            Some("/usr/local/bin/go-pluginserver -kong-prefix /p -plugins-directory '/my plugins'")
        );
        assert_eq!(
            servers[0].query_cmd,
            "/usr/local/bin/go-pluginserver -plugins-directory '/my plugins' -dump-all-plugins"
        );
        let (servers, _) = servers_of(&[], &[("GO_PLUGINS_DIR", "off")]);
        assert!(servers.is_empty());
    }
}
