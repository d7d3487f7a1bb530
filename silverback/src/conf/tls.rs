//! TLS settings: suites, versions, certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

/// A TLS version that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// TLS of the proxy's listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Default certificates.
    pub certificates: Pairs,
    /// Versions; never empty.
    pub versions: Vec<TlsVersion>,
    /// OpenSSL names of the TLS 1.2 ciphers, in order; `None` is all.
    pub ciphers: Option<Vec<String>>,
    /// Whether the server's order counts.
    pub prefer_server_ciphers: bool,
    /// Whether sessions are resumed by tickets.
    pub session_tickets: bool,
    /// How long a session may be resumed.
    pub session_timeout: Duration,
    /// Size of the session cache, in bytes.
    pub session_cache_size: u64,
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
    let fips = settings.text("ssl_cipher_suite") == Some("fips");
    let ciphers = settings.text("ssl_ciphers").filter(|_| !fips);
    let names = |text: &str| text.split(':').map(str::to_owned).collect();
    let timeout = settings.text("nginx_http_ssl_session_timeout").and_then(value::duration);
    Tls {
        certificates: pairs(settings, "", is_needed, findings),
        versions: versions(settings, "nginx_http_ssl_protocols", findings),
        ciphers: ciphers.map(names),
        prefer_server_ciphers: settings.is_on("nginx_http_ssl_prefer_server_ciphers"),
        session_tickets: settings.is_on("nginx_http_ssl_session_tickets"),
        session_timeout: timeout.unwrap_or(Duration::from_secs(86_400)),
        session_cache_size: settings.size("ssl_session_cache_size").unwrap_or(10 << 20),
    }
}

/// The TLS versions that a setting names. Those before 1.2 are not spoken, which is said if they
/// were asked for.
pub(super) fn versions(settings: &Settings, key: &str, findings: &mut Findings) -> Vec<TlsVersion> {
    let mut versions = Vec::new();
    let text = settings.text_or_empty(key);
    for word in text.split_whitespace() {
        match word {
            "TLSv1.2" => versions.push(TlsVersion::V1_2),
            "TLSv1.3" => versions.push(TlsVersion::V1_3),
            "TLSv1.1" | "TLSv1" | "SSLv3" | "SSLv2" => findings
                .warnings
                .push(format!("{key}: {word} is not supported, TLSv1.2 and TLSv1.3 are")),
            other => {
                let message = format!("{key}: invalid entry '{other}' (TLSv1.2, TLSv1.3)");
                findings.error(settings, key, message);
            }
        }
    }
    if versions.is_empty() {
        let message = format!("{key} names no supported version: '{text}' (TLSv1.2, TLSv1.3)");
        findings.error(settings, key, message);
        versions.push(TlsVersion::V1_3);
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
    use crate::conf::{Conf, LoadArgs, Loaded};

    fn load(pairs: &[(&str, &str)]) -> Loaded {
        let overrides = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let args = LoadArgs { conf: Some("/dev/null".into()), overrides, ..LoadArgs::default() };
        Conf::load(&args).expect("a valid configuration")
    }

    #[test]
    fn suites_override_settings() {
        use TlsVersion::{V1_2, V1_3};
        let given = [("ssl_protocols", "TLSv1.2"), ("ssl_ciphers", "A:B"), ("ssl_dhparam", "/x")];
        for (suite, versions, ciphers, prefer, dhparam) in [
            ("modern", vec![V1_3], None, false, None),
            ("intermediate", vec![V1_2, V1_3], Some(9), false, Some("ffdhe2048")),
            ("old", vec![V1_2, V1_3], Some(26), true, Some("/x")),
            ("fips", vec![V1_2], None, true, None),
            ("custom", vec![V1_2], Some(2), true, Some("/x")),
        ] {
            let conf = load(&[&[("ssl_cipher_suite", suite)], &given[..]].concat()).conf;
            assert_eq!(conf.tls.versions, versions, "{suite}");
            assert_eq!(conf.tls.ciphers.map(|c| c.len()), ciphers, "{suite}");
            assert_eq!(conf.tls.prefer_server_ciphers, prefer, "{suite}");
            assert_eq!(conf.settings.text("ssl_dhparam"), dhparam, "{suite}");
        }
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
