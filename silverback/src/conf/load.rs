//! From the sources to effective values: defaults, under a file, under KONG_* variables, under
//! arguments.
//!
//! The order of precedence and the places of the file are Kong's (kong/conf_loader/init.lua,
//! `load`). Everything that is wrong is found in one go.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::env_file;
use super::file::{self, FileError};
use super::keys::{self, Effect};
use super::secrets;
use super::settings::{ConfError, Findings, Origin, Setting, Settings};
use super::value::{self, Value};
use silverback_model::is_reference;
use silverback_vaults::{Config, Vaults};

/// Where kong.conf is looked for without `-c`.
static DEFAULT_FILES: &[&str] = &["/etc/kong/kong.conf", "/etc/kong.conf"];

/// What to load a configuration from.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadArgs {
    /// The file (`-c`). Without one, the places where Kong looks are tried; none need exist.
    pub conf: Option<PathBuf>,
    /// The prefix (`-p`); it overrides all else.
    pub prefix: Option<PathBuf>,
    /// The environment, of which `KONG_*` counts and `{vault://env/...}` reads.
    pub env: Vec<(String, String)>,
    /// What `{vault://env/...}` reads beside `env`.
    pub variables: Vec<(String, String)>,
    /// Whether secrets may be missing: who stops a node does not need them.
    pub without_secrets: bool,
    /// Values by key that override all else.
    pub overrides: Vec<(String, String)>,
}

impl LoadArgs {
    /// The arguments for this process: its environment, and what its command line says.
    pub(crate) fn from_process(conf: Option<PathBuf>, prefix: Option<PathBuf>) -> Self {
        Self { conf, prefix, env: environment(), ..Self::default() }
    }
}

/// The environment of this process, as far as it is text.
pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// How the file is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A kong.conf, written by people: what looks wrong is said.
    Written,
    /// A `.kong_env`, written by a node: it holds everything, some of it only for that node.
    EnvFile,
}

/// A value as it was given.
#[derive(Debug, Clone)]
struct Given {
    text: String,
    origin: Origin,
}

/// Loads all values. Wrong ones are found errors, and have their default.
pub(super) fn settings(args: &LoadArgs, mode: Mode, findings: &mut Findings) -> Settings {
    let mut given = gather(args, mode, findings);
    stand_in_for_aliases(&mut given, mode, findings);
    let settings = settle(&given, args, findings);
    if mode == Mode::Written {
        note_what_has_no_effect(&settings, findings);
    }
    settings
}

/// The given values by key, the most important source last.
fn gather(args: &LoadArgs, mode: Mode, findings: &mut Findings) -> BTreeMap<String, Given> {
    let mut given = BTreeMap::new();
    if let Some(path) = file_to_read(args) {
        for (key, value, origin) in read_file(&path, findings) {
            put(&mut given, key, value, origin, mode, findings);
        }
    }
    let mut variables: Vec<_> = args.env.iter().collect();
    variables.sort();
    for (name, value) in variables {
        // Kong asks for KONG_ and the key in capitals, so other spellings do not count.
        let Some(rest) = name.strip_prefix("KONG_") else { continue };
        if is_not_a_setting(rest) {
            continue;
        }
        if rest.bytes().any(|b| b.is_ascii_lowercase()) {
            findings.warnings.push(format!("{name} does not count: write it in capitals"));
            continue;
        }
        let origin = Origin::Env(name.clone());
        put(&mut given, rest.to_lowercase(), value.clone(), origin, mode, findings);
    }
    for (key, value) in &args.overrides {
        put(&mut given, key.clone(), value.clone(), Origin::Argument, mode, findings);
    }
    if let Some(prefix) = &args.prefix {
        let text = prefix.display().to_string();
        given.insert("prefix".to_owned(), Given { text, origin: Origin::Argument });
    }
    given
}

fn file_to_read(args: &LoadArgs) -> Option<PathBuf> {
    let default = || DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists());
    args.conf.clone().or_else(default)
}

fn read_file(path: &Path, findings: &mut Findings) -> Vec<(String, String, Origin)> {
    match file::read(path) {
        Ok(entries) => entries
            .into_iter()
            .map(|entry| {
                let origin = Origin::File { path: path.display().to_string(), line: entry.line };
                (entry.key, env_file::whole_text(entry.value), origin)
            })
            .collect(),
        Err(errors) => {
            let error = |e: FileError| ConfError { origin: None, message: e.to_string() };
            findings.errors.extend(errors.into_iter().map(error));
            Vec::new()
        }
    }
}

/// Takes a value if its key is known; warns if it is not.
fn put(
    given: &mut BTreeMap<String, Given>,
    key: String,
    text: String,
    origin: Origin,
    mode: Mode,
    findings: &mut Findings,
) {
    let is_alias = keys::ALIASES.iter().any(|alias| alias.name == key);
    let known = keys::find(&key).is_some() || keys::family_of(&key).is_some() || is_alias;
    if known || LEGACY_GO.contains(&key.as_str()) {
        given.insert(key, Given { text, origin });
    } else if mode == Mode::Written {
        let hint = match keys::nearest(&key) {
            Some(name) => format!("; did you mean '{name}'?"),
            None => String::new(),
        };
        findings.warnings.push(format!("{origin}: unknown setting '{key}'{hint}"));
    }
}

/// Kong 2.x's settings of its Go plugin server; see [`super::pluginserver`].
pub(super) static LEGACY_GO: &[&str] = &["go_plugins_dir", "go_pluginserver_exe"];

/// Whether `KONG_` and this is a variable that container images and Kubernetes set, and that was
/// never meant as a setting. Kubernetes makes `KONG_PROXY_SERVICE_HOST` and the like for a service
/// called `kong-proxy`.
fn is_not_a_setting(name: &str) -> bool {
    let exact = ["VERSION", "SHA256", "LUA_PATH_OVERRIDE", "PORT"];
    exact.contains(&name)
        || name.starts_with("PROCESS_SECRETS")
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_") && ["TCP", "UDP"].iter().any(|part| name.contains(part))
        || name.ends_with("_PORT") && keys::find(&name.to_lowercase()).is_none()
}

/// Gives every key the value of its alias, unless it has one of its own.
fn stand_in_for_aliases(given: &mut BTreeMap<String, Given>, mode: Mode, findings: &mut Findings) {
    for alias in keys::ALIASES {
        let Some(value) = given.get(alias.name).cloned() else { continue };
        if alias.deprecated && mode == Mode::Written {
            findings.warnings.push(format!(
                "{}: the '{}' configuration property is deprecated, use '{}' instead",
                value.origin, alias.name, alias.replacement
            ));
        }
        let seconds_only = alias.replacement == "upstream_keepalive_idle_timeout";
        let value = if seconds_only { in_seconds(value) } else { value };
        given.entry(alias.replacement.to_owned()).or_insert(value);
    }
    for (key, directives) in keys::ALSO_DIRECTIVES {
        let Some(value) = given.get(*key).cloned() else { continue };
        for directive in *directives {
            given.entry((*directive).to_owned()).or_insert_with(|| value.clone());
        }
    }
}

/// The old names of the upstreams' idle timeout took nginx's times; the new one takes seconds.
fn in_seconds(given: Given) -> Given {
    match value::duration(&given.text) {
        Some(time) => Given { text: time.as_secs_f64().to_string(), ..given },
        None => given,
    }
}

/// Parses what was given and fills in defaults.
fn settle(given: &BTreeMap<String, Given>, args: &LoadArgs, findings: &mut Findings) -> Settings {
    let vaults = vaults(given, args, findings);
    let counts = |given: &Given| !(args.without_secrets && given.text.contains("{vault://"));
    let mut settings = Settings::default();
    for key in keys::all() {
        let setting = match given.get(key.name) {
            None => default_setting(key),
            Some(given) => {
                let parse = |text: &str| value::parse(key, text);
                let as_given = || as_given(key, &given.text);
                setting(key.name, given, &vaults, parse, as_given).unwrap_or_else(|error| {
                    findings.errors.extend(counts(given).then_some(error));
                    default_setting(key)
                })
            }
        };
        settings.map.insert(key.name.to_owned(), setting);
    }
    for (name, given) in given {
        if keys::find(name).is_some() {
            continue;
        }
        let value = |text: &str| match text.trim() {
            "" => Value::Unset,
            text => Value::Text(text.to_owned()),
        };
        match setting(name, given, &vaults, |text| Ok(value(text)), || value(&given.text)) {
            Ok(setting) => drop(settings.map.insert(name.clone(), setting)),
            Err(error) => findings.errors.extend(counts(given).then_some(error)),
        }
    }
    settings
}

/// The vaults that settings may refer to, by the texts as they were given.
fn vaults(given: &BTreeMap<String, Given>, args: &LoadArgs, findings: &mut Findings) -> Vaults {
    let variables = args.variables.iter().chain(&args.env);
    let environment: HashMap<String, String> = variables.cloned().collect();
    let text = |name: &str| given.get(name).map(|given| given.text.as_str());
    let config = secrets::config(&environment, text).or_else(|(name, message)| {
        let origin = given.get(&name).map(|given| given.origin.clone());
        findings.errors.push(ConfError { origin, message });
        Config::read(&[], environment, |_| None)
    });
    // Without settings there is nothing that could be wrong.
    Vaults::new(config.unwrap_or_else(|(_, text)| unreachable!("{text}")))
}

/// A value as it is effective, with secrets in the place of references.
fn setting(
    name: &str,
    given: &Given,
    vaults: &Vaults,
    parse: impl Fn(&str) -> Result<Value, String>,
    as_given: impl Fn() -> Value,
) -> Result<Setting, ConfError> {
    let setting = dereferenced(name, given, vaults).and_then(|(text, refers)| {
        let origin = given.origin.clone();
        let value = parse(&text).map_err(|message| match refers {
            true => message.replace(text.trim(), &given.text),
            false => message,
        })?;
        Ok(Setting { value, origin, reference: refers.then(as_given) })
    });
    setting.map_err(|message| ConfError { origin: Some(given.origin.clone()), message })
}

fn default_setting(key: &keys::Key) -> Setting {
    // A test parses every default.
    let directive_of = keys::ALSO_DIRECTIVES.iter().find(|(_, names)| names.contains(&key.name));
    let source = directive_of.and_then(|(name, _)| keys::find(name)).unwrap_or(key);
    let value = value::parse(source, source.default).unwrap_or(Value::Unset);
    Setting { value, origin: Origin::Default, reference: None }
}

fn as_given(key: &keys::Key, text: &str) -> Value {
    match key.kind {
        keys::Kind::List | keys::Kind::Listen(_) => Value::List(value::list(text)),
        _ => Value::Text(text.trim().to_owned()),
    }
}

/// The given text with its vault references replaced, and whether there were any.
fn dereferenced(name: &str, given: &Given, vaults: &Vaults) -> Result<(String, bool), String> {
    // What tells where secrets are can't be one.
    let tells = name == "vaults" || name.starts_with("vault_");
    if tells || !given.text.contains("{vault://") {
        return Ok((given.text.clone(), false));
    }
    let is_list = keys::find(name).is_some_and(|key| matches!(key.kind, keys::Kind::List));
    let resolve = |text: &str| {
        if !is_reference(text) {
            return Ok(text.to_owned());
        }
        secrets::resolve(vaults, text).map_err(|error| {
            format!("failed to dereference '{text}': {error} for config option '{name}'")
        })
    };
    if is_list {
        let items: Result<Vec<_>, _> =
            value::list(&given.text).iter().map(|item| resolve(item)).collect();
        return Ok((items?.join(","), true));
    }
    let text = given.text.trim();
    Ok((resolve(text)?, is_reference(text)))
}

/// Says which of the given settings do nothing here.
fn note_what_has_no_effect(settings: &Settings, findings: &mut Findings) {
    for (name, setting) in &settings.map {
        let own = keys::find(name).map(|key| key.effect);
        let used = keys::DIRECTIVES_USED.contains(&name.as_str());
        let family = || keys::family_of(name).filter(|_| !used).map(|family| family.effect);
        let derived = keys::ALSO_DIRECTIVES.iter().any(|(_, d)| d.contains(&name.as_str()))
            || keys::ALIASES.iter().any(|alias| alias.name == name);
        // Who switches off what is not there has got what they want.
        let is_off = ["", "off"].contains(&setting.value.to_text().as_str());
        if setting.origin == Origin::Default || derived || is_off {
            continue;
        }
        if let Some(Effect::Ignored(reason)) = own.or_else(family) {
            let origin = &setting.origin;
            findings.notices.push(format!("{origin}: '{name}' has no effect: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Conf, ConfErrors, Loaded};

    /// Loads a file of the given text under the given environment.
    fn load(file: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfErrors> {
        let unique = format!("silverback-load-{:?}.conf", std::thread::current().id());
        let path = std::env::temp_dir().join(unique);
        std::fs::write(&path, file).expect("a writable temporary directory");
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let loaded = Conf::load(&LoadArgs { conf: Some(path.clone()), env, ..LoadArgs::default() });
        std::fs::remove_file(&path).expect("the file just written");
        let named = |text: &String| text.replace(&path.display().to_string(), "FILE");
        match loaded {
            Ok(mut loaded) => {
                loaded.warnings = loaded.warnings.iter().map(named).collect();
                loaded.notices = loaded.notices.iter().map(named).collect();
                Ok(loaded)
            }
            Err(mut errors) => {
                for error in &mut errors.0 {
                    if let Some(Origin::File { path, .. }) = &mut error.origin {
                        *path = "FILE".to_owned();
                    }
                    error.message = named(&error.message);
                }
                Err(errors)
            }
        }
    }

    #[track_caller]
    fn check_errors(file: &str, env: &[(&str, &str)], expect: &[&str]) {
        let errors = load(file, env).expect_err("errors");
        assert_eq!(errors.to_string().lines().collect::<Vec<_>>(), expect);
    }

    #[track_caller]
    fn check_said(file: &str, env: &[(&str, &str)], warnings: &[&str], notices: &[&str]) {
        let loaded = load(file, env).expect("a valid configuration");
        assert_eq!(loaded.warnings, warnings);
        assert_eq!(loaded.notices, notices);
    }

    #[test]
    fn the_environment_counts_more_than_the_file() {
        let file = "log_level = debug\nallow_debug_header = on";
        let loaded = load(file, &[("KONG_LOG_LEVEL", " error "), ("kong_log_level", "info")]);
        let conf = loaded.expect("a valid configuration").conf;
        assert_eq!(conf.settings.text("log_level"), Some("error"));
        assert!(conf.allow_debug_header);
        assert_eq!(conf.settings.origin("prefix"), Some(Origin::Default));
        assert_eq!(conf.prefix, Path::new("/usr/local/kong"));
    }

    #[test]
    fn arguments_count_most() {
        let args = LoadArgs {
            conf: Some("/dev/null".into()),
            prefix: Some("/p/".into()),
            env: vec![
                ("KONG_PREFIX".into(), "/q".into()),
                ("KONG_LOG_LEVEL".into(), "warn".into()),
            ],
            overrides: vec![("log_level".into(), "crit".into())],
            ..LoadArgs::default()
        };
        let conf = Conf::load(&args).expect("a valid configuration").conf;
        assert_eq!(conf.prefix, Path::new("/p"));
        assert_eq!(conf.settings.text("log_level"), Some("crit"));
    }

    #[test]
    fn all_errors_are_found_and_say_their_place() {
        check_errors(
            "plugins = bundled\nlog_level = loud\nlua_max_uri_args = 5000\n",
            &[("KONG_CLIENT_SSL", "yes"), ("KONG_ADMIN_LISTEN", "127.0.0.1")],
            &[
                "FILE:2: log_level has an invalid value: 'loud' \
                 (debug, info, notice, warn, error, crit, alert, emerg)",
                "KONG_ADMIN_LISTEN: admin_listen must be of form: [off] | <ip>:<port> [ssl] \
                 [http2] [proxy_protocol] [deferred] [bind] [reuseport] [backlog=%d+] \
                 [ipv6only=on] [ipv6only=off] [so_keepalive=on] [so_keepalive=off] \
                 [so_keepalive=%w*:%w*:%d*], [... next entry ...] ('127.0.0.1': no port)",
                "KONG_CLIENT_SSL: client_ssl is not a boolean: 'yes' (on, off, true, false)",
                "FILE:3: lua_max_uri_args must be an integer between 1 and 1000, got '5000'",
            ],
        );
        check_errors("oops", &[], &["FILE:1: expected `key = value`, got 'oops'"]);
    }

    #[test]
    fn errors_hold_no_secrets() {
        let env = [
            ("KONG_SSL_CERT", "/nonexistent.crt"),
            ("KONG_SSL_CERT_KEY", "hidden"),
            ("KONG_PROXY_SERVER", "ftp://u:hidden@h"),
        ];
        check_errors(
            "",
            &env,
            &[
                "KONG_SSL_CERT: ssl_cert: failed loading certificate from /nonexistent.crt",
                "KONG_SSL_CERT_KEY: ssl_cert_key: failed loading key from ******",
                "KONG_PROXY_SERVER: proxy_server only supports \"http\" and \"https\", got ftp",
            ],
        );
    }

    #[test]
    fn unknown_settings_are_warnings() {
        check_said(
            "log_levl = debug\nenforce_rbac = on",
            &[
                ("KONG_TRUSTED_IP", "10.0.0.0/8"),
                ("KONG_VERSION", "3.10.0"),
                ("KONG_PROXY_PORT_8000_TCP_ADDR", "10.0.0.1"),
                ("KONG_KONG_PROXY_SERVICE_HOST", "10.0.0.1"),
                ("KONG_PROXY_PORT", "tcp://10.0.0.1:80"),
                ("KONG_plugins", "off"),
            ],
            &[
                "FILE:1: unknown setting 'log_levl'; did you mean 'log_level'?",
                "FILE:2: unknown setting 'enforce_rbac'",
                "KONG_TRUSTED_IP: unknown setting 'trusted_ip'; did you mean 'trusted_ips'?",
                "KONG_plugins does not count: write it in capitals",
            ],
            &[],
        );
    }

    #[test]
    fn what_has_no_effect_is_noticed() {
        check_said(
            "admin_gui_listen = 0.0.0.0:8002\nnginx_http_gzip = on\n\
             nginx_http_lua_shared_dict = a 1m\nwasm = off",
            &[("KONG_ANONYMOUS_REPORTS", "on"), ("KONG_ADMIN_GUI_URL", "")],
            &[],
            &[
                "FILE:1: 'admin_gui_listen' has no effect: Kong Manager is not a part of \
                 Silverback",
                "KONG_ANONYMOUS_REPORTS: 'anonymous_reports' has no effect: Silverback sends no \
                 reports",
                "FILE:2: 'nginx_http_gzip' has no effect: there is no nginx here that it could \
                 configure",
            ],
        );
    }

    #[test]
    fn old_names_stand_for_new_ones() {
        check_said(
            "client_max_body_size = 1m\nnginx_upstream_keepalive_timeout = 2m",
            &[("KONG_OPENTELEMETRY_TRACING", "request")],
            &[
                "FILE:1: the 'client_max_body_size' configuration property is deprecated, use \
                 'nginx_http_client_max_body_size' instead",
                "KONG_OPENTELEMETRY_TRACING: the 'opentelemetry_tracing' configuration property \
                 is deprecated, use 'tracing_instrumentations' instead",
                "FILE:2: the 'nginx_upstream_keepalive_timeout' configuration property is \
                 deprecated, use 'upstream_keepalive_idle_timeout' instead",
            ],
            &["KONG_OPENTELEMETRY_TRACING: 'tracing_instrumentations' has no effect: traces are \
               not recorded"],
        );
        let file = "client_max_body_size = 1m\nnginx_upstream_keepalive_timeout = 2m\n\
                    real_ip_header = X-Forwarded-For\nnginx_worker_processes = 3\n\
                    upstream_keepalive_pool_size = 7\nupstream_keepalive = 9";
        let conf = load(file, &[]).expect("a valid configuration").conf;
        assert_eq!(conf.limits.body.max_body, Some(1 << 20));
        assert_eq!(conf.upstream_keepalive.idle_timeout, Some(std::time::Duration::from_secs(120)));
        assert_eq!(conf.trusted.real_ip_header, "X-Forwarded-For");
        assert_eq!(conf.workers, Some(3));
        assert_eq!(conf.upstream_keepalive.pool_size, 7);
    }

    #[test]
    fn vault_references() {
        let env = [("KONG_LOG_LEVEL", "{vault://env/my-level}"), ("MY_LEVEL", "debug")];
        let conf = load("", &env).expect("a valid configuration").conf;
        assert_eq!(conf.settings.text("log_level"), Some("debug"));
        assert_eq!(conf.configuration()["log_level"], "{vault://env/my-level}");
        check_errors(
            "declarative_config_string = {vault://env/none}",
            &[],
            &["FILE:1: failed to dereference '{vault://env/none}': could not get value from \
                 external vault (no value found) for config option 'declarative_config_string'"],
        );
    }
}
