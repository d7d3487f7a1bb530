//! Settings of Lua plugins.

use std::path::Path;

use super::traffic::number;
use crate::conf::settings::{Findings, Settings};
use crate::conf::{Lua, Material, UntrustedLua, tls, value};

pub(super) fn lua(s: &Settings, findings: &mut Findings) -> Lua {
    let dicts = |key: &str, findings: &mut Findings| shared_dicts(s, key, findings);
    Lua {
        package_path: s.text_or_empty("lua_package_path"),
        package_cpath: s.text_or_empty("lua_package_cpath"),
        max_req_headers: s.count("lua_max_req_headers"),
        max_resp_headers: s.count("lua_max_resp_headers"),
        max_uri_args: s.count("lua_max_uri_args"),
        max_post_args: s.count("lua_max_post_args"),
        socket_pool_size: s.count("lua_socket_pool_size"),
        trusted_certificates: trusted_certificates(s, findings),
        ssl_verify_depth: s.count("lua_ssl_verify_depth"),
        ssl_versions: tls::versions(s, "nginx_http_lua_ssl_protocols", findings),
        shared_dicts: dicts("nginx_http_lua_shared_dict", findings),
        stream_shared_dicts: dicts("nginx_stream_lua_shared_dict", findings),
        regex_match_limit: number(s, "nginx_http_lua_regex_match_limit", 100_000, findings)
            .try_into()
            .unwrap_or(u32::MAX),
        cpu_budget: s.text("lua_cpu_budget").and_then(value::duration).filter(|b| !b.is_zero()),
        max_memory: s.size("lua_max_memory").unwrap_or(0),
        untrusted: match s.text("untrusted_lua") {
            Some("on") => UntrustedLua::On,
            Some("off") => UntrustedLua::Off,
            _ => UntrustedLua::Sandbox,
        },
        sandbox_requires: s.list("untrusted_lua_sandbox_requires").to_vec(),
        sandbox_environment: s.list("untrusted_lua_sandbox_environment").to_vec(),
    }
}

/// `name size`, and more of them behind `; lua_shared_dict`, which is how more than one is given.
fn shared_dicts(s: &Settings, key: &str, findings: &mut Findings) -> Vec<(String, u64)> {
    let mut dicts = Vec::new();
    for part in s.text(key).unwrap_or_default().split(';').map(str::trim) {
        let part = part.strip_prefix("lua_shared_dict").unwrap_or(part).trim();
        if part.is_empty() {
            continue;
        }
        let dict = part.split_once(char::is_whitespace);
        match dict.and_then(|(name, size)| Some((name.to_owned(), value::size(size.trim())?))) {
            Some(dict) => dicts.push(dict),
            None => {
                findings.error(s, key, format!("{key} is not a name and a size: '{part}'"));
            }
        }
    }
    dicts
}

/// Where systems keep the authorities they trust (kong/tools/system.lua).
static SYSTEM_CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file of the system's trusted authorities, if it has one.
pub(in crate::conf) fn system_certificates() -> Option<&'static str> {
    SYSTEM_CERTIFICATES.iter().copied().find(|path| Path::new(path).exists())
}

fn trusted_certificates(s: &Settings, findings: &mut Findings) -> Vec<Material> {
    let key = "lua_ssl_trusted_certificate";
    let mut materials = Vec::new();
    for entry in s.list(key) {
        if entry != "system" {
            materials.extend(tls::certificate(s, key, entry, findings));
        } else if let Some(path) = system_certificates() {
            materials.push(Material::File(path.into()));
        } else if s.is_given(key) {
            findings.warnings.push(format!("{key}: unable to locate system bundle"));
        }
    }
    materials
}
