//! Checks of texts that schemas name: hosts, paths, names (kong/db/schema/typedefs.lua,
//! kong/tools/ip.lua, kong/tools/uri.lua). Each says why a text is refused.

mod address;
mod pem;
mod uri;

use regex::Regex;

pub use address::{Address, AddressError, AddressKind, parse_address};
pub use pem::{
    Key, KeyKind, certificate, certificate_info, key, key_of_certificate, matching_keys,
    private_key, public_key, sha256_hex,
};
pub use uri::{Url, normalize, parse_url};

type Check = Result<(), String>;

/// A host name or an address without a port.
///
/// # Errors
/// Why it is refused.
pub fn host(text: &str) -> Check {
    match parse_address(text) {
        Err(AddressError::Port) => Err("must not have a port".to_owned()),
        Err(_) => Err(format!("invalid value: {text}")),
        Ok(address) if address.port.is_some() => Err("must not have a port".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// A host name or an address, with or without a port.
///
/// # Errors
/// Why it is refused.
pub fn host_with_optional_port(text: &str) -> Check {
    parse_address(text).map(drop).map_err(|error| error.to_string())
}

/// A host of a route: asterisks stand for names.
///
/// # Errors
/// Why it is refused.
pub fn host_with_wildcards(text: &str) -> Check {
    host_with_optional_port(&text.replace('*', "abc"))
}

/// A server name of TLS: no address, no port.
///
/// # Errors
/// Why it is refused.
pub fn sni(text: &str) -> Check {
    name_only(text, text)
}

/// A server name, the first or last character of which may be `*`.
///
/// # Errors
/// Why it is refused.
pub fn wildcard_host(text: &str) -> Check {
    let Some(at) = text.find('*') else { return sni(text) };
    if at != 0 && at + 1 != text.len() {
        return Err("wildcard must be leftmost or rightmost character".to_owned());
    }
    if text.matches('*').count() > 1 {
        return Err("only one wildcard must be specified".to_owned());
    }
    let name = text.replace('*', "wildcard");
    name_only(&name, &name)
}

fn name_only(text: &str, shown: &str) -> Check {
    match parse_address(text) {
        Err(AddressError::Port) => Err("must not have a port".to_owned()),
        Err(_) => Err(format!("invalid value: {shown}")),
        Ok(address) if address.kind != AddressKind::Name => Err("must not be an IP".to_owned()),
        Ok(address) if address.port.is_some() => Err("must not have a port".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// A target: a host name or an address, with or without a port.
///
/// # Errors
/// Why it is refused.
pub fn target(text: &str) -> Check {
    parse_address(text)
        .map(drop)
        .map_err(|_| format!("Invalid target ('{text}'); not a valid hostname or ip address"))
}

/// The name of an upstream: a host name.
///
/// # Errors
/// Why it is refused.
pub fn upstream_name(text: &str) -> Check {
    let refuse = |why: &str| Err(format!("Invalid name ('{text}'); {why}"));
    match parse_address(text) {
        Err(_) => refuse("must be a valid hostname"),
        Ok(address) if address.kind != AddressKind::Name => refuse("no ip addresses allowed"),
        Ok(address) if address.port.is_some() => refuse("no port allowed"),
        Ok(_) => Ok(()),
    }
}

/// An IP address.
///
/// # Errors
/// Why it is refused.
pub fn ip(text: &str) -> Check {
    if address::is_ip(text) { Ok(()) } else { Err(format!("not an ip address: {text}")) }
}

/// An IP address or a CIDR range.
///
/// # Errors
/// Why it is refused.
pub fn ip_or_cidr(text: &str) -> Check {
    if address::is_ip(text) || address::is_cidr(text) {
        return Ok(());
    }
    Err(format!("invalid ip or cidr range: '{text}'"))
}

/// An IPv4 address or a CIDR range of such.
///
/// # Errors
/// Why it is refused.
pub fn cidr_v4(text: &str) -> Check {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    if !address.contains(':') && (address::is_ip(text) || address::is_cidr(text)) {
        return Ok(());
    }
    Err(format!("invalid ipv4 cidr range: '{text}'"))
}

/// A path in the characters of RFC 3986, with whole percent escapes.
///
/// # Errors
/// Why it is refused.
pub fn path(text: &str) -> Check {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_~/%:@!$&'()*+,;=".contains(c);
    if !text.starts_with('/') || !text.chars().all(allowed) {
        return Err(format!(
            "invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)"
        ));
    }
    percent(text)
}

/// Whether every `%` is followed by two hexadecimal digits.
fn percent(text: &str) -> Check {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(i) = bytes.iter().skip(at).position(|b| *b == b'%').map(|i| i + at) {
        let digits = bytes.get(i + 1..i + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let shown: String = text.get(i..).unwrap_or_default().chars().take(3).collect();
            return Err(format!("invalid url-encoded value: '{shown}'"));
        }
        at = i + 3;
    }
    Ok(())
}

/// A path of a route: a normalized prefix, or `~` and a regex.
///
/// # Errors
/// Why it is refused.
pub fn router_path(text: &str) -> Check {
    let reserved = path(text);
    if let Err(error) = &reserved
        && error.starts_with("invalid url-encoded")
    {
        return reserved;
    }
    if let Some(regex) = text.strip_prefix('~') {
        return match regex_error(regex) {
            None => Ok(()),
            Some(error) => Err(format!("invalid regex: '{regex}' (PCRE returned: {error})")),
        };
    }
    let normal = normalize(text, true);
    if normal == text {
        return Ok(());
    }
    Err(format!("non-normalized path, consider use '{normal}' instead"))
}

/// A URL with scheme and host.
///
/// # Errors
/// Why it is refused.
pub fn url(text: &str) -> Check {
    match parse_url(text) {
        None => Err("could not parse url. invalid url".to_owned()),
        Some(url) if url.host.is_none() => Err("missing host in url".to_owned()),
        Some(url) if url.scheme.is_none() => Err("missing scheme in url".to_owned()),
        Some(_) => Ok(()),
    }
}

/// A URL that OAuth 2.0 may send a user back to: with scheme and host, without a fragment.
///
/// # Errors
/// Why it is refused.
pub fn redirect_uri(text: &str) -> Check {
    match parse_url(text) {
        Some(url) if url.host.is_some() && url.scheme.is_some() => {
            if url.fragment.is_none() {
                return Ok(());
            }
            Err(format!("fragment not allowed in '{text}'"))
        }
        _ => Err(format!("cannot parse '{text}'")),
    }
}

/// The name of a cookie: a token of RFC 2616.
///
/// # Errors
/// Why it is refused.
pub fn cookie_name(text: &str) -> Check {
    let refused = |c: char| c.is_ascii_control() || " \t()<>@,;:\\\"/?={}[]".contains(c);
    if text.is_empty() {
        return Err("no token provided".to_owned());
    }
    if !text.contains(refused) {
        return Ok(());
    }
    Err("contains one or more invalid characters. ASCII control characters (0-31;127), space, \
         tab and the characters ()<>@,;:\\\"/?={}[] are not allowed."
        .to_owned())
}

/// The name of a header.
///
/// # Errors
/// Why it is refused.
pub fn header_name(text: &str) -> Check {
    if text.is_empty() {
        return Err("no header name provided".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Ok(());
    }
    Err(format!("bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"))
}

/// A name of ASCII letters, digits and `.-_~`.
///
/// # Errors
/// Why it is refused.
pub fn name(text: &str) -> Check {
    if !text.is_empty() && text.bytes().all(is_name_byte) {
        return Ok(());
    }
    Err(format!(
        "invalid value '{text}': it must only contain alphanumeric and '., -, _, ~' characters"
    ))
}

/// A name of letters, digits and `.-_~`.
///
/// # Errors
/// Why it is refused.
pub fn utf8_name(text: &str) -> Check {
    if !text.is_empty() && text.bytes().all(|b| is_name_byte(b) || !b.is_ascii()) {
        return Ok(());
    }
    Err(format!(
        "invalid value '{text}': the only accepted ascii characters are alphanumerics or \
         ., -, _, and ~"
    ))
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b".-_~".contains(&b)
}

/// A label: printable, without comma and slash.
///
/// # Errors
/// Why it is refused.
pub fn tag(text: &str) -> Check {
    let allowed = |b: u8| !b.is_ascii() || ((0x20..0x7f).contains(&b) && b != b',' && b != b'/');
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf-8 \
         sequences"
    ))
}

/// Constructions of PCRE that are valid there, though the engine that checks here lacks them.
const PCRE_ONLY: [&str; 12] =
    ["(?=", "(?!", "(?<=", "(?<!", "(?>", "(?|", "(?R", "(?(", "(?&", "\\k", "\\G", "\\K"];

/// Why a text is no regular expression, as PCRE would say it. What only PCRE has is believed.
pub fn regex_error(regex: &str) -> Option<String> {
    let error = Regex::new(regex).err()?.to_string();
    let reference = regex
        .as_bytes()
        .windows(2)
        .any(|pair| matches!(pair, [b'\\', b'1'..=b'9'] | [b'+' | b'*' | b'?' | b'}', b'+']));
    if reference || PCRE_ONLY.iter().any(|only| regex.contains(only)) {
        return None;
    }
    let said = [
        ("unclosed group", "missing closing parenthesis"),
        ("unopened group", "unmatched closing parenthesis"),
        ("unclosed character class", "missing terminating ] for character class"),
        ("repetition operator missing", "quantifier does not follow a repeatable item"),
        ("incomplete escape", "\\ at end of pattern"),
    ];
    let reason = said.iter().find(|(ours, _)| error.contains(ours));
    let reason = reason.map_or("syntax error", |(_, theirs)| theirs);
    Some(format!("pcre2_compile() failed: {reason} in \"{regex}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(with: fn(&str) -> Check, text: &str, expect: &str) {
        assert_eq!(with(text).err().unwrap_or_default(), expect, "{text}");
    }

    #[test]
    fn hosts() {
        for right in ["a.test", "10.0.0.1", "::1", "a_b", "a.", "[::1]"] {
            check(host, right, "");
        }
        check(host, "a.test:80", "must not have a port");
        check(host, "a.test:70000", "must not have a port");
        check(host, "http://x", "invalid value: http://x");
        check(host, "a b", "invalid value: a b");
        check(host_with_optional_port, "bad host", "invalid hostname: bad host");
        check(host_with_optional_port, "a.test:70000", "invalid port number");
        check(host_with_wildcards, "*.a.test:80", "");
        check(wildcard_host, "*.a", "");
        check(wildcard_host, "a.*", "");
        check(wildcard_host, "a.*.b", "wildcard must be leftmost or rightmost character");
        check(wildcard_host, "*.*", "only one wildcard must be specified");
        check(wildcard_host, "10.0.0.1", "must not be an IP");
        check(sni, "a.test:1", "must not have a port");
        check(upstream_name, "10.0.0.1", "Invalid name ('10.0.0.1'); no ip addresses allowed");
        check(upstream_name, "a b", "Invalid name ('a b'); must be a valid hostname");
        check(ip_or_cidr, "10.0.0.0/33", "invalid ip or cidr range: '10.0.0.0/33'");
        check(ip_or_cidr, "::/0", "");
        check(ip, "10.0.0", "not an ip address: 10.0.0");
    }

    #[test]
    fn paths() {
        check(path, "/a-b_c~/%20", "");
        check(path, "/%zz", "invalid url-encoded value: '%zz'");
        check(path, "/%2", "invalid url-encoded value: '%2'");
        check(
            path,
            "/a b",
            "invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)",
        );
        check(router_path, "/a b", "");
        check(router_path, "~/[0-9]+$", "");
        check(router_path, "~/a(?=b)", "");
        check(
            router_path,
            "~/(",
            "invalid regex: '/(' (PCRE returned: pcre2_compile() failed: missing closing \
             parenthesis in \"/(\")",
        );
        check(router_path, "/a%20b", "non-normalized path, consider use '/a b' instead");
        check(router_path, "/a/../b", "non-normalized path, consider use '/b' instead");
    }

    #[test]
    fn names() {
        check(utf8_name, "été-~._1", "");
        check(tag, "a b", "");
        check(
            tag,
            "a,b",
            "invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 \
             sequences",
        );
        check(redirect_uri, "https://a.test/x", "");
        check(redirect_uri, "not a uri", "cannot parse 'not a uri'");
        check(redirect_uri, "https://a/#f", "fragment not allowed in 'https://a/#f'");
        check(cookie_name, "sid", "");
        check(url, "/x", "missing host in url");
    }
}
