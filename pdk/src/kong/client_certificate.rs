//! The client's certificate as nginx's variables show it (`ngx_ssl_get_certificate` and its kin in
//! ngx_event_openssl.c).

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use x509_parser::{
    certificate::X509Certificate, objects::oid_registry, objects::oid2abbrev, prelude::FromDer,
    time::ASN1Time, x509::X509Name,
};

use crate::{Tls, Value};

/// The variable of that name, `ssl_client_` and more; none if there is none of that name.
pub(super) fn variable(tls: Option<&Tls>, name: &str) -> Option<Value> {
    let make: fn(&[u8]) -> Option<String> = match name {
        "ssl_client_raw_cert" => |der| Some(pem(der)),
        // As a header could hold it.
        "ssl_client_cert" => |der| Some(pem(der).trim_end().replace('\n', "\n\t")),
        "ssl_client_escaped_cert" => |der| Some(super::uri::escape_component(pem(der).as_bytes())),
        "ssl_client_fingerprint" => |der| Some(hex(&Sha1::digest(der), false)),
        "ssl_client_serial" => |der| Some(hex(parsed(der)?.raw_serial(), true)),
        "ssl_client_s_dn" => |der| Some(distinguished(parsed(der)?.subject())),
        "ssl_client_i_dn" => |der| Some(distinguished(parsed(der)?.issuer())),
        "ssl_client_v_start" => |der| Some(date(parsed(der)?.validity().not_before)),
        "ssl_client_v_end" => |der| Some(date(parsed(der)?.validity().not_after)),
        "ssl_client_v_remain" => |der| {
            let left = parsed(der)?.validity().not_after.timestamp() - ASN1Time::now().timestamp();
            Some((left.max(0) / 86_400).to_string())
        },
        _ => return None,
    };
    let leaf = tls.and_then(|tls| tls.client_chain.first());
    Some(leaf.and_then(|der| make(der)).into())
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    bytes.iter().map(digits).collect()
}

/// A name as RFC 2253 has it: the last part first.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let part = |rdn: &&x509_parser::x509::RelativeDistinguishedName<'_>| {
        let attributes = rdn.iter().map(|attribute| {
            let kind = attribute.attr_type();
            let key = oid2abbrev(kind, oid_registry())
                .map_or_else(|_| kind.to_id_string(), str::to_owned);
            format!("{key}={}", escaped(attribute.as_str().unwrap_or_default()))
        });
        attributes.collect::<Vec<_>>().join("+")
    };
    parts.iter().rev().map(part).collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let edge = (at == 0 && matches!(character, '#' | ' '))
            || (at + 1 == text.len() && character == ' ');
        if edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A moment as OpenSSL prints it: "Nov 21 02:34:45 2026 GMT".
fn date(time: ASN1Time) -> String {
    let [year, month, day, hour, minute, second] =
        super::nginx_vars::civil(u64::try_from(time.timestamp()).unwrap_or(0));
    let month = super::nginx_vars::month_name(month);
    format!("{month} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        for (text, expect) in
            [("a, b", "a\\, b"), (" a ", "\\ a\\ "), ("#1", "\\#1"), ("a#", "a#"), ("é", "é")]
        {
            assert_eq!(escaped(text), expect);
        }
    }

    #[test]
    fn without_a_certificate_there_is_none_of_it() {
        assert_eq!(variable(None, "ssl_client_s_dn"), Some(Value::Nil));
        assert_eq!(variable(None, "ssl_client_other"), None);
    }

    #[test]
    fn pem_has_lines_of_64() {
        let expect = format!(
            "-----BEGIN CERTIFICATE-----\n{}\nAAAA\n-----END CERTIFICATE-----\n",
            "A".repeat(64)
        );
        assert_eq!(pem(&[0; 51]), expect);
    }
}
