//! Fields that many schemas have (kong/db/schema/typedefs.lua). The derives name them:
//! `#[field(typedef = port)]`.

use serde_json::json;

use super::{Field, Flag, Kind, Rule, Schema, Validator, values};
use crate::entities::Protocol;

/// The protocols handled by the HTTP proxy, the default of plugins.
const HTTP: [&str; 4] = ["grpc", "grpcs", "http", "https"];

/// An HTTP method in upper case.
pub fn http_method() -> Field {
    Field::string().matches("^%u+$")
}

/// A protocol's name.
pub fn protocol() -> Field {
    Field::string().one_of(Protocol::ALL.map(Protocol::as_str))
}

/// Protocols that a plugin runs on.
pub fn protocols() -> Field {
    Field::set(protocol()).required().default(json!(HTTP))
}

/// Protocols that a plugin runs on, those of the HTTP proxy only.
pub fn protocols_http() -> Field {
    Field::set(Field::string().one_of(HTTP)).required().default(json!(HTTP))
}

/// A host name or an address.
pub fn host() -> Field {
    Field::string().custom(values::host)
}

/// A host name or an address, with or without a port.
pub fn host_with_optional_port() -> Field {
    Field::string().custom(values::host_with_optional_port)
}

/// A host name, the first or last character of which may be `*`.
pub fn wildcard_host() -> Field {
    Field::string().custom(values::wildcard_host)
}

/// A server name of TLS.
pub fn sni() -> Field {
    Field::string().custom(values::sni)
}

/// An IP address.
pub fn ip() -> Field {
    Field::string().custom(values::ip)
}

/// An IP address or a CIDR range.
pub fn ip_or_cidr() -> Field {
    Field::string().custom(values::ip_or_cidr)
}

/// An IPv4 address or a CIDR range of such.
pub fn cidr_v4() -> Field {
    Field::string().custom(values::cidr_v4)
}

/// A port.
pub fn port() -> Field {
    Field::integer().between(0, 65535)
}

/// A path that starts with `/`.
pub fn path() -> Field {
    Field::string()
        .starts_with("/")
        .match_none([("//", "must not have empty segments")])
        .custom(values::path)
}

/// A URL with scheme and host.
pub fn url() -> Field {
    Field::string().custom(values::url)
}

/// The name of a cookie.
pub fn cookie_name() -> Field {
    Field::string().custom(values::cookie_name)
}

/// The name of a header.
pub fn header_name() -> Field {
    Field::string().custom(values::header_name)
}

/// Milliseconds.
pub fn timeout() -> Field {
    Field::integer().between(0, 2_147_483_646)
}

/// An id that the gateway makes.
pub fn uuid() -> Field {
    Field::string().uuid().auto()
}

/// A time that the gateway sets, in seconds.
pub fn auto_timestamp_s() -> Field {
    Field::integer().timestamp().auto()
}

/// A time that the gateway sets, in seconds with milliseconds.
pub fn auto_timestamp_ms() -> Field {
    Field::number().timestamp().auto()
}

/// A plugin that cannot be for one route.
pub fn no_route() -> Field {
    Field::foreign("routes").eq(())
}

/// A plugin that cannot be for one service.
pub fn no_service() -> Field {
    Field::foreign("services").eq(())
}

/// A plugin that cannot be for one consumer.
pub fn no_consumer() -> Field {
    Field::foreign("consumers").eq(())
}

/// A unique name of ASCII letters, digits and `.-_~`.
pub fn name() -> Field {
    Field::string().unique().custom(values::name)
}

/// A unique name of letters, digits and `.-_~`.
pub fn utf8_name() -> Field {
    Field::string().unique().custom(values::utf8_name)
}

/// Certificates in PEM.
pub fn certificate() -> Field {
    Field::string().custom(values::certificate)
}

/// A private key in PEM.
pub fn key() -> Field {
    Field::string().custom(values::key)
}

/// A label.
pub fn tag() -> Field {
    Field::string().required().custom(values::tag)
}

/// Labels.
pub fn tags() -> Field {
    Field::set(tag())
}

/// Host names of a route, one label of which may be `*`.
pub fn hosts() -> Field {
    Field::array(
        Field::string()
            .match_all([("^[^*]*%*?[^*]*$", "invalid wildcard: must have at most one wildcard")])
            .match_any(
                ["^%*%.", "%.%*$", "^[^*]*$"],
                "invalid wildcard: must be placed at leftmost or rightmost label",
            )
            .custom(values::host_with_wildcards),
    )
}

/// A path of a route: a prefix or a regex.
pub fn router_path() -> Field {
    Field::string()
        .match_any(["^/", "^~/"], "should start with: / (fixed path) or ~/ (regex path)")
        .match_none([("//", "must not have empty segments")])
        .custom(values::router_path)
}

/// Header names to values.
pub fn headers() -> Field {
    Field::map(header_name(), Field::array(Field::string()))
}

/// Headers of a route, which do not include Host.
pub fn route_headers() -> Field {
    let err = "cannot contain 'host' header, which must be specified in the 'hosts' attribute";
    headers().keys_with(|keys| keys.match_none([("^[Hh][Oo][Ss][Tt]$", err)]))
}

/// What an upstream hashes.
pub fn hash_on() -> Field {
    Field::string().default("none").one_of([
        "none",
        "consumer",
        "ip",
        "header",
        "cookie",
        "path",
        "query_arg",
        "uri_capture",
    ])
}

/// A version such as 3.10.0 or 3.10.0-rc.1.
pub fn semantic_version() -> Field {
    Field::string()
        .match_any(
            ["^%d+[%.%d]*$", "^%d+[%.%d]*%-?.*$"],
            "invalid version number: must be in format of X.Y.Z",
        )
        .match_none([("%.%.", "must not have empty version segments")])
}

/// Lua code by name. Whether it compiles is found where there is a Lua.
pub fn lua_code() -> Field {
    Field::map(Field::string().len_min(1), Field::string().len_min(1))
}

/// A record that a subschema gives.
pub fn abstract_record() -> Field {
    Field::record(Schema::default()).with(Flag::Abstract, true)
}

/// A record without fields.
pub fn empty_record() -> Field {
    Field::record(Schema::default())
}

/// The configuration of a WebAssembly filter: a text, as no filter brings a schema of its own.
pub fn wasm_filter_config() -> Field {
    let mut field = Field::new(Kind::Json).rule(Rule::Custom(Validator::new(|value| {
        if value.is_string() { Ok(()) } else { Err("wrong type: expected string".to_owned()) }
    })));
    field.extra.insert(
        "json_schema".to_owned(),
        json!({
            "parent_subschema_key": "name",
            "namespace": "proxy-wasm-filters",
            "optional": true,
            "default": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "type": ["string", "null"],
            },
        }),
    );
    field
}
