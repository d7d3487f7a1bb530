//! What consistent hashing takes of a request (kong/runloop/balancer/init.lua,
//! `get_value_to_hash`).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;
use silverback_model::entities::Upstream;
use silverback_pdk::Exchange;
use silverback_router::normalize;
use uuid::Uuid;

use super::ring;
use crate::forward;

/// How many arguments of a query are looked at (`lua_max_uri_args`).
const ARGUMENTS_MAX: usize = 100;

/// What a request hashes to.
pub(crate) struct Hashed {
    pub(crate) hash: u32,
    /// The cookie that its answer has to set, so that the next request hashes to the same.
    pub(crate) cookie: Option<HeaderValue>,
}

/// The fields that `hash_on` and `hash_fallback` each have.
struct Fields<'a> {
    header: Option<&'a str>,
    query_arg: Option<&'a str>,
    uri_capture: Option<&'a str>,
}

/// Hashes what the upstream asks for; where the request has none of it, nothing is hashed, so that
/// all such requests go to one target.
pub(crate) fn hash(exchange: &Exchange, upstream: &Upstream) -> Hashed {
    let first = Fields {
        header: upstream.hash_on_header.as_deref(),
        query_arg: upstream.hash_on_query_arg.as_deref(),
        uri_capture: upstream.hash_on_uri_capture.as_deref(),
    };
    let fallback = Fields {
        header: upstream.hash_fallback_header.as_deref(),
        query_arg: upstream.hash_fallback_query_arg.as_deref(),
        uri_capture: upstream.hash_fallback_uri_capture.as_deref(),
    };
    let ways = [(&upstream.hash_on, first), (&upstream.hash_fallback, fallback)];
    for (kind, fields) in ways {
        let kind = kind.as_deref().unwrap_or("none");
        if let Some(value) = value(exchange, upstream, kind, &fields) {
            return Hashed { hash: ring::hash(&value), cookie: None };
        }
        if kind == "cookie" {
            let value = Uuid::new_v4().to_string();
            let cookie = Some(cookie(upstream, &value));
            return Hashed { hash: ring::hash(value.as_bytes()), cookie };
        }
        if kind == "none" {
            break;
        }
    }
    Hashed { hash: ring::hash(b""), cookie: None }
}

fn value<'a>(
    exchange: &'a Exchange,
    upstream: &Upstream,
    kind: &str,
    fields: &Fields<'_>,
) -> Option<Cow<'a, [u8]>> {
    let client = &exchange.client;
    match kind {
        "consumer" => {
            let id = |record: &'a Option<_>| -> Option<&'a str> {
                let record: &silverback_model::Record = std::ops::Deref::deref(record.as_ref()?);
                record.get("id")?.as_str()
            };
            id(&client.consumer).or(id(&client.credential)).map(|id| id.as_bytes().into())
        }
        "ip" => Some(client.forwarded_ip.to_string().into_bytes().into()),
        "header" => header_value(exchange, fields.header?),
        "cookie" => cookie_value(exchange, upstream.hash_on_cookie.as_deref()?).map(Cow::Borrowed),
        "path" => {
            let path = normalize(exchange.request.raw_path()).ok()?;
            let decoded: Vec<u8> = percent_decode_str(&path).collect();
            Some(decoded.into())
        }
        "query_arg" => argument(exchange.request.query.as_deref()?, fields.query_arg?),
        "uri_capture" => {
            let captures = exchange.matched.as_ref()?.captures.as_ref()?;
            let wanted = fields.uri_capture?;
            let capture = captures.named.iter().find(|(name, _)| name == wanted);
            capture.map(|(_, value)| value.as_bytes().into())
        }
        _ => None,
    }
}

/// Headers of one name are one list, as nginx joins them.
fn header_value<'a>(exchange: &'a Exchange, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut values = exchange.request.headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let mut joined = Cow::Borrowed(first);
    for value in values {
        let joined = joined.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    Some(joined)
}

fn cookie_value<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a [u8]> {
    let lines = exchange.request.headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&b| b == b';'));
    let mut pairs = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii_start();
        let at = pair.iter().position(|&b| b == b'=')?;
        Some((pair.get(..at)?, pair.get(at + 1..)?))
    });
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

/// The values of an argument, sorted; one without a value is "true", as in OpenResty.
fn argument<'a>(query: &str, name: &str) -> Option<Cow<'a, [u8]>> {
    let decode = |text: &str| -> Vec<u8> {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).collect()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(ARGUMENTS_MAX);
    let values = pairs.filter_map(|pair| {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) => (key, decode(value)),
            None => (pair, b"true".to_vec()),
        };
        (decode(key) == name.as_bytes()).then_some(value)
    });
    let mut values: Vec<Vec<u8>> = values.collect();
    values.sort_unstable();
    if values.is_empty() { None } else { Some(values.join(&b","[..]).into()) }
}

/// Attributes as Kong writes them.
fn cookie(upstream: &Upstream, value: &str) -> HeaderValue {
    let name = upstream.hash_on_cookie.as_deref().unwrap_or_default();
    let path = upstream.hash_on_cookie_path.as_deref().unwrap_or("/");
    forward::value(format!("{name}={value}; Path={path}; Same-Site=Lax; HttpOnly").as_bytes())
}

/// Sets the cookie; it takes the place of one of its name.
pub(crate) fn set_cookie(headers: &mut HeaderMap, cookie: HeaderValue) {
    let name = |value: &HeaderValue| {
        let end = value.as_bytes().iter().position(|&b| b == b'=');
        end.and_then(|end| value.as_bytes().get(..end)).unwrap_or_default().to_vec()
    };
    let own = name(&cookie);
    if let header::Entry::Occupied(mut entry) = headers.entry(header::SET_COOKIE) {
        if let Some(same) = entry.iter_mut().find(|value| name(value) == own) {
            *same = cookie;
        } else {
            entry.append(cookie);
        }
        return;
    }
    headers.insert(header::SET_COOKIE, cookie);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined() {
        let check = |query, expect: Option<&str>| {
            let value = argument(query, "a").map(|value| value.into_owned());
            assert_eq!(value.as_deref(), expect.map(str::as_bytes), "{query}");
        };
        check("b=1", None);
        check("a=1", Some("1"));
        check("a", Some("true"));
        check("a=", Some(""));
        check("a=2&b=x&a=1", Some("1,2"));
        check("%61=x%20y+z", Some("x y z"));
    }
}
