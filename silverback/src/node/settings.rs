//! From kong.conf to what the data plane needs to know.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::HeaderName;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use silverback_lua::Untrusted;
use silverback_pdk::{ErrorTemplates, LogLevel, Node};
use silverback_proxy::{self as proxy, Config, DnsClient, DnsSettings, DnsType, LogFormat};
use silverback_router::Flavor;
use silverback_tls::Trust;

use crate::{
    certificate::default_certificate,
    conf::{
        Conf, Dns, Listener, Log, LogTarget, Material, Pairs, RouterFlavor, SoKeepalive,
        UntrustedLua,
    },
    prefix::Prefix,
};

/// What the data plane needs to know.
///
/// # Errors
/// If the prefix can't be written, or a setting asks for what is not there yet.
pub(crate) fn proxy(conf: &Conf, prefix: &Prefix) -> Result<Config> {
    let mut config = Config::new(node(conf, prefix)?);
    let requests = conf.proxy_listen.iter().map(|l| listener("proxy_listen", l));
    let streams = conf.stream_listen.iter().map(stream_listener);
    config.listeners = requests.chain(streams).collect::<Result<_>>()?;
    config.flavor = flavor(conf);
    config.headers = headers(conf);
    config.added_headers.clone_from(&conf.added_headers);
    config.debug_header = conf.allow_debug_header;
    config.request_id_upstream = conf.upstream_request_id;
    config.real_ip = real_ip(conf)?;
    config.port_maps.clone_from(&conf.port_maps);
    config.keepalive = keepalive(conf);
    config.limits = limits(conf);
    config.tls = tls(conf, prefix)?;
    config.access_log = access_log("proxy_access_log", &conf.logs.proxy_access.target)?;
    config.access_log_format = log_format(conf, "proxy_access_log", &conf.logs.proxy_access)?;
    if !conf.stream_listen.is_empty() {
        let target = &conf.logs.stream_access.target;
        config.stream_access_log = access_log("proxy_stream_access_log", target)?;
        config.stream_access_log_format =
            log_format(conf, "proxy_stream_access_log", &conf.logs.stream_access)?;
    }
    config.dns = dns(&conf.dns);
    Ok(config)
}

fn dns(conf: &Dns) -> DnsSettings {
    let kind = |name: &String| match name.as_str() {
        "LAST" => DnsType::Last,
        "SRV" => DnsType::Srv,
        "AAAA" => DnsType::Aaaa,
        "CNAME" => DnsType::Cname,
        _ => DnsType::A,
    };
    DnsSettings {
        client: if conf.new_client { DnsClient::New } else { DnsClient::Old },
        servers: conf.servers.clone(),
        hosts_file: conf.hosts_file.clone(),
        order: conf.order.iter().map(kind).collect(),
        valid_ttl: conf.valid_ttl,
        stale_ttl: conf.stale_ttl,
        not_found_ttl: conf.not_found_ttl,
        error_ttl: conf.error_ttl,
        names_max: conf.cache_size as usize,
        bytes_max: conf.memory,
        no_sync: conf.no_sync,
        ..DnsSettings::default()
    }
}

fn access_log(key: &str, target: &LogTarget) -> Result<Option<silverback_proxy::LogTarget>> {
    let file = |path: PathBuf| Some(path.into());
    Ok(match target {
        LogTarget::Off => None,
        LogTarget::File(path) => file(path.clone()),
        LogTarget::Stdout => file("/dev/stdout".into()),
        LogTarget::Stderr => file("/dev/stderr".into()),
        LogTarget::Syslog(text) => {
            let syslog = silverback_proxy::Syslog::parse(text, &hostname())
                .with_context(|| key.to_owned())?;
            Some(silverback_proxy::LogTarget::Syslog(syslog))
        }
    })
}

/// This machine's name.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The settings that may define formats, as `name 'text ...'`.
const LOG_FORMATS: [&str; 2] = ["nginx_http_log_format", "nginx_stream_log_format"];

/// The format that a log is to have; none is Kong's own.
fn log_format(conf: &Conf, key: &str, log: &Log) -> Result<Option<LogFormat>> {
    let Some(name) = log.option.as_deref() else { return Ok(None) };
    for setting in LOG_FORMATS {
        let given = conf.settings.text(setting).unwrap_or_default();
        // Several directives may stand in one setting.
        for definition in given.split("; log_format ") {
            let text = definition.trim_start().strip_prefix(name);
            if let Some(text) = text.filter(|text| text.starts_with(char::is_whitespace)) {
                let format = LogFormat::parse(text);
                return format.map(Some).with_context(|| format!("{setting}: log format '{name}'"));
            }
        }
    }
    let named = LogFormat::named(name).with_context(|| {
        format!(
            "{key}: unknown log format '{name}': define it with nginx_http_log_format = {name} \
             '...'; there are combined, kong_log_format, json and, for streams, basic"
        )
    })?;
    Ok(Some(named))
}

/// The facts about this node that plugins see.
///
/// # Errors
/// If the node's id can't be kept, or the system does not say how many cores there are.
pub(super) fn node(conf: &Conf, prefix: &Prefix) -> Result<Node> {
    let workers = match conf.workers {
        Some(workers) => workers,
        None => cores()?,
    };
    Ok(Node {
        id: prefix.node_id(conf.node_id.as_deref())?,
        hostname: hostname(),
        prefix: prefix.path().to_owned(),
        body_buffer_max: conf.limits.body.body_buffer,
        body_max: conf.limits.body.max_body.unwrap_or(0),
        trusted_ips: conf.trusted.networks.clone(),
        error_default_type: conf.errors.default_type.clone(),
        error_templates: ErrorTemplates {
            json: template("error_template_json", &conf.errors.template_json)?,
            html: template("error_template_html", &conf.errors.template_html)?,
            xml: template("error_template_xml", &conf.errors.template_xml)?,
            plain: template("error_template_plain", &conf.errors.template_plain)?,
        },
        workers: u16::try_from(workers).unwrap_or(u16::MAX),
    })
}

/// A template of error answers. Kong says that it can't be read when it first needs it.
fn template(key: &str, path: &Option<PathBuf>) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let text = fs::read_to_string(path);
    text.map(Some).with_context(|| format!("{key}: can't read {}", path.display()))
}

/// What the files hold that the settings name and that are read at the start: one that is
/// exchanged counts from the next reload on.
pub(crate) fn fingerprint(conf: &Conf) -> u64 {
    let tls = &conf.tls;
    let pairs = [&tls.certificates, &conf.admin_certificates, &conf.status_certificates];
    let pairs = pairs.into_iter().flatten().chain(&conf.client_certificate);
    let materials = pairs.flat_map(|(certificate, key)| [certificate, key]);
    let materials = materials.chain(&conf.lua.trusted_certificates);
    let materials = materials.chain(&conf.upstream_tls.trusted);
    let mut hasher = DefaultHasher::new();
    materials.for_each(|material| bytes(material).ok().hash(&mut hasher));
    let errors = &conf.errors;
    let templates = [&errors.template_json, &errors.template_html];
    let templates = templates.into_iter().chain([&errors.template_xml, &errors.template_plain]);
    templates.flatten().for_each(|path| fs::read(path).ok().hash(&mut hasher));
    hasher.finish()
}

/// Lets the process open as many files as the settings say, within what the system allows.
pub(crate) fn allow_open_files(conf: &Conf) {
    let before = getrlimit(Resource::Nofile);
    let wanted = match (conf.open_files, before.maximum) {
        (Some(files), Some(most)) if files > most => {
            let text = format!("nginx_main_worker_rlimit_nofile: the system allows only {most}");
            silverback_pdk::log(LogLevel::Warn, "", &text);
            Some(most)
        }
        (given, most) => given.or(most),
    };
    let limit = Rlimit { current: wanted, maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        let text = format!("the limit of open files stays at {:?}: {error}", before.current);
        silverback_pdk::log(LogLevel::Warn, "", &text);
    }
}

/// How many workers there are where the settings do not say.
///
/// # Errors
/// If the system does not say how many cores there are.
pub(crate) fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

/// A listener for streams. What it may ask for and Silverback does not have yet is refused, never
/// left out in silence.
fn stream_listener(given: &Listener) -> Result<proxy::Listener> {
    if given.udp {
        let port = given.port;
        bail!("stream_listen: UDP is not available yet; remove the entry for port {port}/udp");
    }
    Ok(proxy::Listener { stream: true, ..listener("stream_listen", given)? })
}

/// A listener of the proxy or of an API.
///
/// # Errors
/// If its host is a name.
pub(crate) fn listener(key: &str, listener: &Listener) -> Result<proxy::Listener> {
    let address = listener
        .address()
        .with_context(|| format!("{key}: {:?} is no IP address", listener.host))?;
    let mut own = proxy::Listener::new(address);
    own.ssl = listener.ssl;
    own.http2 = listener.http2;
    own.proxy_protocol = listener.proxy_protocol;
    own.backlog = listener.backlog;
    own.ipv6only = listener.ipv6only.unwrap_or(true);
    let seconds = |s: Option<u32>| s.map(|s| Duration::from_secs(s.into()));
    own.so_keepalive = match listener.so_keepalive {
        SoKeepalive::Default => proxy::SoKeepalive::Default,
        SoKeepalive::Off => proxy::SoKeepalive::Off,
        SoKeepalive::On => proxy::SoKeepalive::On { idle: None, interval: None, count: None },
        SoKeepalive::Times { idle_s, interval_s, count } => {
            proxy::SoKeepalive::On { idle: seconds(idle_s), interval: seconds(interval_s), count }
        }
    };
    Ok(own)
}

fn flavor(conf: &Conf) -> Flavor {
    match conf.router_flavor {
        RouterFlavor::Traditional => Flavor::Traditional,
        RouterFlavor::TraditionalCompatible => Flavor::TraditionalCompatible,
        RouterFlavor::Expressions => Flavor::Expressions,
    }
}

fn headers(conf: &Conf) -> proxy::Headers {
    proxy::Headers {
        server: conf.headers.server,
        via: conf.headers.via,
        upstream_latency: conf.headers.upstream_latency,
        proxy_latency: conf.headers.proxy_latency,
        response_latency: conf.headers.response_latency,
        upstream_status: conf.headers.upstream_status,
        request_id: conf.headers.request_id,
    }
}

fn real_ip(conf: &Conf) -> Result<proxy::RealIp> {
    let name = conf.trusted.real_ip_header.as_str();
    let header = match name {
        "proxy_protocol" => None,
        _ => Some(
            HeaderName::try_from(name.to_lowercase())
                .with_context(|| format!("real_ip_header: '{name}' is no header name"))?,
        ),
    };
    Ok(proxy::RealIp { header, recursive: conf.trusted.real_ip_recursive })
}

fn keepalive(conf: &Conf) -> proxy::Keepalive {
    proxy::Keepalive {
        pool_size: conf.upstream_keepalive.pool_size as usize,
        max_requests: conf.upstream_keepalive.max_requests.map_or(0, u64::from),
        idle_timeout: conf.upstream_keepalive.idle_timeout.unwrap_or_default(),
    }
}

fn limits(conf: &Conf) -> proxy::Limits {
    proxy::Limits {
        header_timeout: conf.limits.head_timeout,
        idle_timeout: conf.limits.keepalive_timeout,
        body_timeout: conf.limits.body_timeout,
        send_timeout: conf.limits.send_timeout,
        head_size: usize::try_from(conf.limits.max_head).unwrap_or(usize::MAX),
        head_line_size: usize::try_from(conf.limits.max_head_line).unwrap_or(usize::MAX),
        requests_per_connection: conf.limits.keepalive_requests,
        connections: match conf.worker_connections {
            Some(connections) => usize::try_from(connections).unwrap_or(usize::MAX),
            None => proxy::Limits::default().connections,
        },
        ..proxy::Limits::default()
    }
}

fn tls(conf: &Conf, prefix: &Prefix) -> Result<proxy::TlsSettings> {
    let mut listeners = conf.proxy_listen.iter().chain(&conf.stream_listen);
    let needed = listeners.any(|listener| listener.ssl);
    let default_certificates =
        if needed { certificates(&conf.tls.certificates, prefix, "kong")? } else { Vec::new() };
    let tls = &conf.tls;
    Ok(proxy::TlsSettings {
        default_certificates,
        versions: tls.versions,
        ciphers: tls.ciphers.clone(),
        prefer_server_ciphers: tls.prefer_server_ciphers,
        session_tickets: tls.session_tickets,
        session_timeout: tls.session_timeout,
        session_cache: usize::try_from(tls.session_cache_size).unwrap_or(usize::MAX),
        upstream: upstream_tls(conf)?,
    })
}

fn upstream_tls(conf: &Conf) -> Result<proxy::UpstreamTls> {
    let tls = &conf.upstream_tls;
    let depth = tls.depth as usize;
    let client = conf.client_certificate.as_ref();
    let client = client.map(|(certificate, key)| anyhow::Ok((pem(certificate)?, pem(key)?)));
    Ok(proxy::UpstreamTls {
        trust: match &tls.trusted {
            Some(bundle) => Trust::of_pem([bytes(bundle)?.as_slice()], depth),
            None => trust(conf)?.with_depth(depth),
        },
        verify: tls.verify,
        client_certificate: client.transpose()?,
        versions: tls.versions,
        ciphers: tls.ciphers.clone(),
    })
}

/// Whom the gateway trusts (`lua_ssl_trusted_certificate`, `lua_ssl_verify_depth`).
///
/// # Errors
/// If a file can't be read.
pub(crate) fn trust(conf: &Conf) -> Result<Trust> {
    let pems = conf.lua.trusted_certificates.iter().map(bytes).collect::<Result<Vec<_>>>()?;
    let pems = pems.iter().map(Vec::as_slice);
    Ok(Trust::of_pem(pems, conf.lua.ssl_verify_depth as usize))
}

/// The certificates of a kind of listener, PEM; a self-signed one where none is configured.
///
/// # Errors
/// If a file can't be read, or the prefix can't be written.
pub(crate) fn certificates(
    configured: &Pairs,
    prefix: &Prefix,
    use_for: &str,
) -> Result<Vec<(String, String)>> {
    if configured.is_empty() {
        let files = default_certificate(prefix, use_for)?;
        return Ok(vec![(fs::read_to_string(files.certificate)?, fs::read_to_string(files.key)?)]);
    }
    configured.iter().map(|(certificate, key)| Ok((pem(certificate)?, pem(key)?))).collect()
}

/// What the host of Lua plugins needs to know.
///
/// # Errors
/// If a file of trusted certificates can't be read.
pub(crate) fn lua(conf: &Conf) -> Result<silverback_lua::Config> {
    let lua = &conf.lua;
    Ok(silverback_lua::Config {
        package_path: lua.package_path.clone(),
        package_cpath: lua.package_cpath.clone(),
        directory: std::env::current_dir().unwrap_or_default(),
        home: std::env::var_os("HOME").map(PathBuf::from),
        untrusted: match lua.untrusted {
            UntrustedLua::On => Untrusted::On,
            UntrustedLua::Off => Untrusted::Off,
            UntrustedLua::Sandbox => Untrusted::Sandbox,
        },
        sandbox_requires: lua.sandbox_requires.clone(),
        sandbox_environment: lua.sandbox_environment.clone(),
        shared_dicts: lua.shared_dicts.clone(),
        socket_pool_size: lua.socket_pool_size as usize,
        trust: trust(conf)?,
        tls_versions: lua.ssl_versions,
        regex_match_limit: lua.regex_match_limit,
        cpu_budget: lua.cpu_budget,
        memory_max: usize::try_from(lua.max_memory).unwrap_or(0),
        settings: serde_json::Value::Object(conf.configuration()),
    })
}

fn pem(material: &Material) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(material)?).into_owned())
}

/// A bundle of certificates may have comments in any encoding.
fn bytes(material: &Material) -> Result<Vec<u8>> {
    match material {
        Material::Pem(text) => Ok(text.clone().into_bytes()),
        Material::File(path) => {
            fs::read(path).with_context(|| format!("can't read {}", path.display()))
        }
    }
}
