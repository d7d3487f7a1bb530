//! TLS settings: suites, versions, certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use silverback_tls::{Choice, Versions};

use super::settings::{Findings, Settings};
use super::value::{self, Value};

/// A certificate or key, where it is or as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Material {
    /// A file in PEM form, absolute if it exists.
    File(PathBuf),
    /// The PEM text itself.
    Pem(String),
}

/// Certificates with their keys. Empty: self-signed ones are to be made where they are needed.
pub(crate) type Pairs = Vec<(Material, Material)>;

/// TLS of the proxy's listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Default certificates.
    pub certificates: Pairs,
    /// Versions, one at least.
    pub versions: Versions,
    /// The TLS 1.2 ciphers; `None` is all.
    pub ciphers: Option<Choice>,
    /// Whether the server's order counts.
    pub prefer_server_ciphers: bool,
    /// Whether sessions are resumed by tickets.
    pub session_tickets: bool,
    /// How long a session may be resumed.
    pub session_timeout: Duration,
    /// Size of the session cache, in bytes.
    pub session_cache_size: u64,
}

/// TLS to upstreams, where their services don't say: nginx's `proxy_ssl_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamTls {
    /// Whether they are verified.
    pub verify: bool,
    /// How long a chain of certificates may be.
    pub depth: u32,
    /// Who is trusted; `None` is `lua_ssl_trusted_certificate`.
    pub trusted: Option<Material>,
    /// Versions, one at least.
    pub versions: Versions,
    /// The TLS 1.2 ciphers; `None` is all.
    pub ciphers: Option<Choice>,
}

/// What a word of `ssl_cipher_suite` stands for (Mozilla's Server Side TLS, as in
/// kong/conf_loader/constants.lua, `CIPHER_SUITES`).
struct Suite {
    name: &'static str,
    protocols: &'static str,
    ciphers: Option<&'static str>,
    dhparam: Option<&'static str>,
    prefer_server_ciphers: &'static str,
}

static SUITES: &[Suite] = &[
    Suite {
        name: "modern",
        protocols: "TLSv1.3",
        ciphers: None,
        dhparam: None,
        prefer_server_ciphers: "off",
    },
    Suite {
        name: "intermediate",
        protocols: "TLSv1.2 TLSv1.3",
        ciphers: Some(
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
             ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
             ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
             DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305",
        ),
        dhparam: Some("ffdhe2048"),
        prefer_server_ciphers: "off",
    },
    Suite {
        name: "old",
        protocols: "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
        ciphers: Some(
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
             ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
             ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
             DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305:\
             ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:\
             ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:\
             ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:DHE-RSA-AES128-SHA256:\
             DHE-RSA-AES256-SHA256:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:\
             AES256-SHA256:AES128-SHA:AES256-SHA:DES-CBC3-SHA",
        ),
        dhparam: None,
        prefer_server_ciphers: "on",
    },
    Suite {
        name: "fips",
        protocols: "TLSv1.2",
        ciphers: Some("TLSv1.2+FIPS:kRSA+FIPS:!eNULL:!aNULL"),
        dhparam: None,
        prefer_server_ciphers: "on",
    },
];

/// Puts the suite's choices in the place of the settings that it overrides.
pub(super) fn apply_suite(settings: &mut Settings) {
    let name = settings.text_or_empty("ssl_cipher_suite");
    let Some(suite) = SUITES.iter().find(|suite| suite.name == name) else { return };
    let text = |text: Option<&str>| text.map_or(Value::Unset, |t| Value::Text(t.to_owned()));
    settings.derive("ssl_ciphers", text(suite.ciphers));
    for subsystem in ["http", "stream"] {
        let key = |directive: &str| format!("nginx_{subsystem}_ssl_{directive}");
        settings.derive(&key("protocols"), text(Some(suite.protocols)));
        let prefer = text(Some(suite.prefer_server_ciphers));
        settings.derive(&key("prefer_server_ciphers"), prefer);
        if suite.name != "old" {
            settings.derive(&key("dhparam"), text(suite.dhparam));
        }
    }
    if suite.name != "old" {
        settings.derive("ssl_dhparam", text(suite.dhparam));
    }
}

/// TLS of the proxy; `is_needed` says whether one of its listeners has it.
pub(super) fn proxy(settings: &Settings, is_needed: bool, findings: &mut Findings) -> Tls {
    let timeout = settings.text("nginx_http_ssl_session_timeout").and_then(value::duration);
    let mut versions = versions(settings, "nginx_http_ssl_protocols", findings);
    let ciphers = settings.text("ssl_ciphers").map(choice);
    if let Some(ciphers) = &ciphers {
        check_ciphers(settings, ciphers, &mut versions, findings);
    }
    Tls {
        certificates: pairs(settings, "", is_needed, findings),
        versions,
        ciphers,
        prefer_server_ciphers: settings.is_on("nginx_http_ssl_prefer_server_ciphers"),
        session_tickets: settings.is_on("nginx_http_ssl_session_tickets"),
        session_timeout: timeout.unwrap_or(Duration::from_secs(86_400)),
        session_cache_size: settings.size("ssl_session_cache_size").unwrap_or(10 << 20),
    }
}

/// The entries of a cipher string stand between colons, commas or blanks.
fn choice(text: &str) -> Choice {
    Choice::of(text.split([':', ',', ' ']).filter(|entry| !entry.is_empty()))
}

/// Says what becomes of ciphers that are not there.
fn check_ciphers(
    settings: &Settings,
    ciphers: &Choice,
    versions: &mut Versions,
    findings: &mut Findings,
) {
    let suite = settings.text("ssl_cipher_suite");
    if suite == Some("fips") {
        let text = "ssl_cipher_suite: 'fips' chooses ciphers that FIPS 140 approves; the module \
                    they are computed by is not a validated one";
        findings.warnings.push(text.to_owned());
    }
    if suite == Some("custom") && !ciphers.missing.is_empty() {
        let missing = ciphers.missing.join(", ");
        let text = format!("ssl_ciphers: not available, and left out: {missing}");
        findings.warnings.push(text);
    }
    if versions.tls12 && ciphers.is_empty() {
        let text = "ssl_ciphers names no cipher of TLS 1.2 that is available (ECDHE with AES-GCM \
                    or CHACHA20-POLY1305)";
        match versions.tls13 {
            true => findings.warnings.push(format!("{text}: TLS 1.3 alone is spoken")),
            false => findings.error(settings, "ssl_ciphers", text.to_owned()),
        }
        versions.tls12 = !versions.tls13;
    }
}

/// TLS to upstreams: nginx's directives, for the proxy or for all servers.
pub(super) fn upstream(settings: &Settings, findings: &mut Findings) -> UpstreamTls {
    let given = |directive: &str| {
        let keys = ["proxy", "http"].map(|block| format!("nginx_{block}_proxy_ssl_{directive}"));
        keys.into_iter().find(|key| settings.is_given(key))
    };
    let text = |directive: &str| given(directive).and_then(|key| settings.text(&key));
    let trusted = given("trusted_certificate")
        .and_then(|key| certificate(settings, &key, &settings.text_or_empty(&key), findings));
    let depth = given("verify_depth").map_or(1, |key| {
        let depth = settings.text_or_empty(&key).parse();
        depth.unwrap_or_else(|_| {
            findings.error(settings, &key, format!("{key} is not a number"));
            1
        })
    });
    UpstreamTls {
        verify: text("verify").is_some_and(|text| text == "on"),
        depth,
        trusted,
        versions: match given("protocols") {
            Some(key) => versions(settings, &key, findings),
            None => Versions::default(),
        },
        ciphers: text("ciphers").map(choice).filter(|choice| !choice.is_empty()),
    }
}

/// The TLS versions that a setting names. Those before 1.2 are not spoken, which is said if they
/// were asked for.
pub(super) fn versions(settings: &Settings, key: &str, findings: &mut Findings) -> Versions {
    let mut versions = Versions { tls12: false, tls13: false };
    let text = settings.text_or_empty(key);
    for word in text.split_whitespace() {
        match word {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            "TLSv1.1" | "TLSv1" | "SSLv3" | "SSLv2" => findings
                .warnings
                .push(format!("{key}: {word} is not supported, TLSv1.2 and TLSv1.3 are")),
            other => {
                let message = format!("{key}: invalid entry '{other}' (TLSv1.2, TLSv1.3)");
                findings.error(settings, key, message);
            }
        }
    }
    if versions.list().is_empty() {
        let message = format!("{key} names no supported version: '{text}' (TLSv1.2, TLSv1.3)");
        findings.error(settings, key, message);
        versions.tls13 = true;
    }
    versions
}

/// The certificates and keys of `<prefix>ssl_cert` and `<prefix>ssl_cert_key`. As in Kong they
/// are looked at only where a listener needs them (kong/conf_loader/parse.lua).
pub(super) fn pairs(
    settings: &Settings,
    prefix: &str,
    is_needed: bool,
    findings: &mut Findings,
) -> Pairs {
    let (cert_key, key_key) = (format!("{prefix}ssl_cert"), format!("{prefix}ssl_cert_key"));
    let (certs, keys) = (settings.list(&cert_key), settings.list(&key_key));
    if !is_needed {
        return Vec::new();
    }
    match (certs.len(), keys.len()) {
        (0, 0) => {}
        (0, _) => findings.error(settings, &key_key, format!("{cert_key} must be specified")),
        (_, 0) => findings.error(settings, &cert_key, format!("{key_key} must be specified")),
        (c, k) if c != k => {
            let message = format!(
                "{cert_key} was specified {c} times while {key_key} was specified {k} times"
            );
            findings.error(settings, &cert_key, message);
        }
        _ => {}
    }
    let mut certs_read = Vec::new();
    for text in certs {
        certs_read.extend(certificate(settings, &cert_key, text, findings));
    }
    let mut keys_read = Vec::new();
    for text in keys {
        keys_read.extend(private_key(settings, &key_key, text, findings));
    }
    certs_read.into_iter().zip(keys_read).collect()
}

/// The client certificate for upstreams, if it is on and given.
pub(super) fn client(settings: &Settings, findings: &mut Findings) -> Option<(Material, Material)> {
    if !settings.is_on("client_ssl") {
        return None;
    }
    let cert = settings.text("client_ssl_cert");
    let key = settings.text("client_ssl_cert_key");
    if cert.is_some() && key.is_none() {
        let message = "client_ssl_cert_key must be specified".to_owned();
        findings.error(settings, "client_ssl_cert", message);
    } else if key.is_some() && cert.is_none() {
        let message = "client_ssl_cert must be specified".to_owned();
        findings.error(settings, "client_ssl_cert_key", message);
    }
    let cert = cert.and_then(|text| certificate(settings, "client_ssl_cert", text, findings));
    let key = key.and_then(|text| private_key(settings, "client_ssl_cert_key", text, findings));
    cert.zip(key)
}

/// A certificate given as a path, as PEM text, or as PEM text in base64.
pub(super) fn certificate(
    settings: &Settings,
    key: &str,
    text: &str,
    findings: &mut Findings,
) -> Option<Material> {
    let is_certificate = |pem: &[u8]| CertificateDer::from_pem_slice(pem).is_ok();
    let found = material(text, is_certificate);
    if found.is_none() {
        // What is no path may be long, and is known to who wrote it by its start.
        let start: String = text.lines().next().unwrap_or_default().chars().take(120).collect();
        let message = format!("{key}: failed loading certificate from {start}");
        findings.error(settings, key, message);
    }
    found
}

/// A private key, likewise. What does not look like a path is not repeated in the error.
fn private_key(
    settings: &Settings,
    key: &str,
    text: &str,
    findings: &mut Findings,
) -> Option<Material> {
    let found = material(text, |pem| PrivateKeyDer::from_pem_slice(pem).is_ok());
    if found.is_none() {
        let is_path = text.starts_with(['/', '.']) && text.len() < 256 && !text.contains('\n');
        let shown = if is_path { text } else { super::keys::MASK };
        findings.error(settings, key, format!("{key}: failed loading key from {shown}"));
    }
    found
}

fn material(text: &str, is_valid: impl Fn(&[u8]) -> bool) -> Option<Material> {
    if Path::new(text).exists() {
        // Links are kept: where certificates are renewed by exchanging a link, the new one counts.
        return std::path::absolute(text).ok().map(Material::File);
    }
    let compact: String = text.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(compact).ok();
    let pem = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pem = pem.unwrap_or_else(|| text.to_owned());
    is_valid(pem.as_bytes()).then_some(Material::Pem(pem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Conf, ConfErrors, LoadArgs, Loaded};

    fn load(pairs: &[(&str, &str)]) -> Loaded {
        try_load(pairs).expect("a valid configuration")
    }

    fn try_load(pairs: &[(&str, &str)]) -> Result<Loaded, ConfErrors> {
        let overrides = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let args = LoadArgs { conf: Some("/dev/null".into()), overrides, ..LoadArgs::default() };
        Conf::load(&args)
    }

    #[test]
    fn suites_override_settings() {
        let given = [("ssl_protocols", "TLSv1.2"), ("ssl_ciphers", "AES"), ("ssl_dhparam", "/x")];
        for (suite, tls12, tls13, ciphers, prefer, dhparam) in [
            ("modern", false, true, None, false, None),
            ("intermediate", true, true, Some("all"), false, Some("ffdhe2048")),
            ("old", true, true, Some("all"), true, Some("/x")),
            ("fips", true, false, Some("AES"), true, None),
            ("custom", true, false, Some("AES"), true, Some("/x")),
        ] {
            let conf = load(&[&[("ssl_cipher_suite", suite)], &given[..]].concat()).conf;
            assert_eq!(conf.tls.versions, Versions { tls12, tls13 }, "{suite}");
            let chosen = conf.tls.ciphers.map(|choice| choice.names());
            let expect = ciphers.map(|ciphers| match ciphers {
                "all" => MOZILLAS_ORDER.map(|name| name.to_owned()).to_vec(),
                ciphers => choice(ciphers).names(),
            });
            assert_eq!(chosen, expect, "{suite}");
            assert_eq!(conf.tls.prefer_server_ciphers, prefer, "{suite}");
            assert_eq!(conf.settings.text("ssl_dhparam"), dhparam, "{suite}");
        }
    }

    const MOZILLAS_ORDER: [&str; 6] = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ];

    #[test]
    fn ciphers_that_are_missing_are_named() {
        let custom = ("ssl_cipher_suite", "custom");
        let of = |ciphers: &str, protocols: &str| {
            load(&[custom, ("ssl_ciphers", ciphers), ("ssl_protocols", protocols)])
        };
        let some = of("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:DES", "TLSv1.2 TLSv1.3");
        assert_eq!(some.warnings, ["ssl_ciphers: not available, and left out: AES128-SHA, DES"]);
        let none = of("AES128-SHA", "TLSv1.2 TLSv1.3");
        assert!(none.warnings[1].ends_with("TLS 1.3 alone is spoken"), "{:?}", none.warnings);
        assert_eq!(none.conf.tls.versions, Versions { tls12: false, tls13: true });
        let pairs = [custom, ("ssl_ciphers", "AES128-SHA"), ("ssl_protocols", "TLSv1.2")];
        assert!(try_load(&pairs).is_err());
        assert!(load(&[("ssl_cipher_suite", "fips")]).warnings[0].contains("not a validated one"));
    }

    #[test]
    fn upstreams_are_spoken_to_as_nginx_is_told() {
        let tls = load(&[
            ("nginx_proxy_proxy_ssl_verify", "on"),
            ("nginx_http_proxy_ssl_verify_depth", "3"),
            ("nginx_proxy_proxy_ssl_protocols", "TLSv1.3"),
            ("nginx_proxy_proxy_ssl_ciphers", "HIGH:!RSA:!aRSA"),
        ]);
        assert_eq!(tls.notices, [""; 0]);
        let tls = tls.conf.upstream_tls;
        assert!(tls.verify && tls.depth == 3 && !tls.versions.tls12);
        assert_eq!(tls.ciphers.map(|choice| choice.names().len()), Some(3));
        assert!(try_load(&[("nginx_proxy_proxy_ssl_trusted_certificate", "/none")]).is_err());
    }

    #[test]
    fn old_versions_are_said_to_be_missing() {
        assert_eq!(
            load(&[("ssl_cipher_suite", "old")]).warnings,
            [
                "nginx_http_ssl_protocols: TLSv1 is not supported, TLSv1.2 and TLSv1.3 are",
                "nginx_http_ssl_protocols: TLSv1.1 is not supported, TLSv1.2 and TLSv1.3 are",
            ]
        );
    }
}
