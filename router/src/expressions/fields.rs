//! The fields of expressions, and what they hold for a request or a connection
//! (kong/router/fields.lua).

use std::net::SocketAddr;
use std::sync::LazyLock;

use atc_router::ast::{Type, Value};
use atc_router::schema::Schema;
use http::HeaderName;

use crate::hosts::Host;
use crate::lookup::Lookup;

/// So many headers and arguments are looked at (`lua_max_req_headers`, `lua_max_uri_args`).
const MOST: usize = 100;

const STREAM: [(&str, Type); 6] = [
    ("net.protocol", Type::String),
    ("tls.sni", Type::String),
    ("net.src.port", Type::Int),
    ("net.dst.port", Type::Int),
    ("net.src.ip", Type::IpAddr),
    ("net.dst.ip", Type::IpAddr),
];

const REQUEST: [(&str, Type); 7] = [
    ("http.method", Type::String),
    ("http.host", Type::String),
    ("http.path", Type::String),
    ("http.path.segments.*", Type::String),
    ("http.path.segments.len", Type::Int),
    ("http.headers.*", Type::String),
    ("http.queries.*", Type::String),
];

/// The fields that expressions about streams, or about requests, may name.
pub(super) fn schema(stream: bool) -> &'static Schema {
    fn of(fields: impl IntoIterator<Item = (&'static str, Type)>) -> Schema {
        let mut schema = Schema::default();
        fields.into_iter().for_each(|(name, kind)| schema.add_field(name, kind));
        schema
    }
    static STREAMS: LazyLock<Schema> = LazyLock::new(|| of(STREAM));
    static REQUESTS: LazyLock<Schema> = LazyLock::new(|| of(STREAM.into_iter().chain(REQUEST)));
    if stream { &STREAMS } else { &REQUESTS }
}

/// A field that an expression looks at.
#[derive(Debug)]
pub(crate) enum Field {
    Protocol,
    ServerName,
    SourcePort,
    DestinationPort,
    SourceAddress,
    DestinationAddress,
    Method,
    Host,
    Path,
    /// The segments of the path from one number to another.
    Segments(usize, usize),
    SegmentCount,
    /// None where no header can have the name.
    Header(Option<HeaderName>),
    Query(String),
}

impl Field {
    /// The field of this name, which the schema has.
    pub(super) fn parse(name: &str) -> Result<Field, String> {
        Ok(match name {
            "net.protocol" => Field::Protocol,
            "tls.sni" => Field::ServerName,
            "net.src.port" => Field::SourcePort,
            "net.dst.port" => Field::DestinationPort,
            "net.src.ip" => Field::SourceAddress,
            "net.dst.ip" => Field::DestinationAddress,
            "http.method" => Field::Method,
            "http.host" => Field::Host,
            "http.path" => Field::Path,
            "http.path.segments.len" => Field::SegmentCount,
            _ => return Field::parse_open(name),
        })
    }

    /// A field whose name ends in what the expression chose.
    fn parse_open(name: &str) -> Result<Field, String> {
        if let Some(range) = name.strip_prefix("http.path.segments.") {
            let (first, last) = segments(range).ok_or("illformed http.path.segments.* field")?;
            return Ok(Field::Segments(first, last));
        }
        if let Some(name) = name.strip_prefix("http.headers.") {
            let name = HeaderName::from_bytes(name.replace('_', "-").as_bytes());
            return Ok(Field::Header(name.ok()));
        }
        match name.strip_prefix("http.queries.") {
            Some(name) => Ok(Field::Query(name.to_owned())),
            None => Err("Unknown LHS field".to_owned()),
        }
    }

    /// Gives the field's values to `add`: several where a header or an argument comes repeatedly.
    pub(super) fn values(&self, lookup: &Lookup<'_>, add: &mut dyn FnMut(Value)) {
        let text = |text: &str| Value::String(text.to_owned());
        let port = |end: SocketAddr| Value::Int(end.port().into());
        match self {
            Field::Protocol => add(text(lookup.scheme.as_str())),
            Field::ServerName => lookup.sni.map(text).into_iter().for_each(add),
            Field::SourcePort => lookup.source.map(port).into_iter().for_each(add),
            Field::DestinationPort => {
                let named = Host::parse(lookup.host).port.and_then(|port| i64::try_from(port).ok());
                let came = || lookup.destination.map(port);
                named.map(Value::Int).or_else(came).into_iter().for_each(add);
            }
            Field::SourceAddress => address(lookup.source).into_iter().for_each(add),
            Field::DestinationAddress => address(lookup.destination).into_iter().for_each(add),
            Field::Method => add(text(lookup.method)),
            Field::Host => add(text(host(lookup))),
            Field::Path => add(text(lookup.path)),
            Field::SegmentCount => {
                let count = path_segments(lookup.path).count();
                add(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)));
            }
            Field::Segments(first, last) => {
                let wanted: Vec<_> = path_segments(lookup.path).skip(*first).collect();
                let wanted = wanted.get(..=last - first);
                wanted.map(|wanted| text(&wanted.join("/"))).into_iter().for_each(add);
            }
            Field::Header(None) => {}
            Field::Header(Some(name)) => {
                let values = lookup.headers.get_all(name).into_iter().take(MOST);
                values.for_each(|value| add(text(&String::from_utf8_lossy(value.as_bytes()))));
            }
            Field::Query(name) => {
                let arguments = form_urlencoded::parse(lookup.query.as_bytes()).take(MOST);
                let values = arguments.filter(|(own, _)| own == name);
                values.for_each(|(_, value)| add(Value::String(value.into_owned())));
            }
        }
    }
}

fn address(end: Option<SocketAddr>) -> Option<Value> {
    end.map(|end| Value::IpAddr(end.ip()))
}

/// What `http.host` is: without its port, in the client's own case. An IPv6 address keeps its
/// brackets.
pub(super) fn host<'a>(lookup: &Lookup<'a>) -> &'a str {
    Host::parse(lookup.host).name
}

/// `3` or `1_2`: numbers of segments from 0, the first less than the last.
fn segments(range: &str) -> Option<(usize, usize)> {
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let shortest = text == "0" || !text.starts_with('0');
        (plain && shortest).then(|| text.parse::<usize>().ok()).flatten()
    };
    match range.split_once('_') {
        None => number(range).map(|one| (one, one)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first < last).then_some((first, last))
        }
    }
}

/// What stands between the slashes of a path, without what is empty at its end.
fn path_segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path).trim_end_matches('/');
    path.split('/').take(if path.is_empty() { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use silverback_model::entities::Protocol;

    use super::*;

    fn check(name: &str, expect: &[&str]) {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let lookup = Lookup {
            method: "GET",
            host: "Example.test:8443",
            path: "/a/b/c/",
            query: "q=1&q=%32+&flag&",
            headers: &headers,
            scheme: Protocol::Https,
            sni: None,
            source: "127.0.0.1:5".parse().ok(),
            destination: "[::1]:443".parse().ok(),
        };
        let mut got = Vec::new();
        let field = Field::parse(name).expect("a field");
        field.values(&lookup, &mut |value| {
            got.push(match value {
                Value::String(text) => text,
                Value::Int(number) => number.to_string(),
                Value::IpAddr(address) => address.to_string(),
                other => panic!("{other:?}"),
            });
        });
        assert_eq!(got, expect, "{name}");
    }

    #[test]
    fn fields_hold_what_the_request_has() {
        check("net.protocol", &["https"]);
        check("tls.sni", &[]);
        check("net.src.port", &["5"]);
        check("net.dst.port", &["8443"]);
        check("net.src.ip", &["127.0.0.1"]);
        check("net.dst.ip", &["::1"]);
        check("http.method", &["GET"]);
        check("http.host", &["Example.test"]);
        check("http.path", &["/a/b/c/"]);
        check("http.path.segments.len", &["3"]);
        check("http.path.segments.0", &["a"]);
        check("http.path.segments.1_2", &["b/c"]);
        check("http.path.segments.2_3", &[]);
        check("http.path.segments.7", &[]);
        check("http.headers.x_a", &["1", "2"]);
        check("http.headers.none", &[]);
        check("http.queries.q", &["1", "2 "]);
        check("http.queries.flag", &[""]);
    }
}
