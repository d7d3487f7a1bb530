//! Which requests go to a service (kong/db/schema/entities/routes.lua and routes_subschemas.lua).

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use silverback_macros::{Config, Entity};
use uuid::Uuid;

use crate::Record;
use crate::entities::{Foreign, Protocol, Service, Set, null_default};
use crate::schema::{
    Condition, ConditionalAtLeastOneOf, CustomCheck, EntityCheck, Field, Schema, is_nonempty,
};

/// Which requests go to a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(
    name = "routes",
    endpoint_key = "name",
    workspaceable,
    subschema_key = "protocols",
    with = rules
)]
#[serde(default)]
pub struct Route {
    /// The id.
    #[field(typedef = uuid)]
    pub id: Uuid,
    /// When it was created, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub created_at: i64,
    /// When it was updated, in seconds since 1970.
    #[field(typedef = auto_timestamp_s)]
    #[serde(deserialize_with = "null_default")]
    pub updated_at: i64,
    /// A unique name.
    #[field(typedef = utf8_name)]
    pub name: Option<String>,
    /// What it accepts.
    #[field(
        len_min = 1,
        default = ["http", "https"],
        mutually_exclusive_subsets = [
            ["http", "https"], ["tcp", "tls", "udp"], ["tls_passthrough"], ["grpc", "grpcs"]
        ]
    )]
    pub protocols: Set<Protocol>,
    /// The answer to a request that matches in all but the protocol.
    #[field(default = 426, one_of(426, 301, 302, 307, 308))]
    pub https_redirect_status_code: u16,
    /// Whether the part of the path that matched is cut off.
    #[field(default = true)]
    pub strip_path: bool,
    /// Whether the client's Host is sent on.
    #[field(default = false)]
    pub preserve_host: bool,
    /// Whether a request is read whole before it is sent on.
    #[field(default = true)]
    pub request_buffering: bool,
    /// Whether a response is read whole before it is sent on.
    #[field(default = true)]
    pub response_buffering: bool,
    /// Labels for grouping and filtering.
    #[field(typedef = tags, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub tags: Set<String>,
    /// The service, absent where plugins answer by themselves.
    pub service: Option<Foreign<Service>>,
    /// Server names of the TLS hello.
    #[field(nullable, elements(typedef = wildcard_host))]
    #[serde(deserialize_with = "null_default")]
    pub snis: Set<String>,
    /// Addresses and ports that connections come from.
    #[field(nullable)]
    #[serde(deserialize_with = "null_default")]
    pub sources: Set<Endpoint>,
    /// Addresses and ports that connections come in at.
    #[field(nullable)]
    #[serde(deserialize_with = "null_default")]
    pub destinations: Set<Endpoint>,
    /// HTTP methods, in upper case.
    #[field(nullable, elements(typedef = http_method))]
    #[serde(deserialize_with = "null_default")]
    pub methods: Set<String>,
    /// Host names, one label of which may be `*`, with or without a port.
    #[field(typedef = hosts, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub hosts: Vec<String>,
    /// Prefixes that start with `/`, regexes that start with `~/`.
    #[field(nullable, elements(typedef = router_path))]
    #[serde(deserialize_with = "null_default")]
    pub paths: Vec<String>,
    /// Header names to the values of which one must be there; one value may be a regex (`~*…`).
    #[field(typedef = route_headers, nullable)]
    #[serde(deserialize_with = "null_default")]
    pub headers: IndexMap<String, Vec<String>>,
    /// Which regex is tried first: the greater.
    #[field(default = 0)]
    pub regex_priority: Option<i64>,
    /// How the paths of service, route and request are joined: `v0` or `v1`.
    #[field(default = "v0", one_of("v0", "v1"))]
    pub path_handling: Option<String>,
    /// The condition, with `router_flavor = expressions` only.
    #[field(skip)]
    pub expression: Option<String>,
    /// Which expression is tried first, with `router_flavor = expressions` only: the greater.
    #[field(skip)]
    #[serde(deserialize_with = "null_default")]
    pub priority: u64,
}

/// An address, a port, or both, of one end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Config)]
#[record(at_least_one_of("ip", "port"))]
#[serde(default)]
pub struct Endpoint {
    /// An IP address or a CIDR range.
    #[field(typedef = ip_or_cidr)]
    pub ip: Option<String>,
    /// The port.
    #[field(typedef = port)]
    pub port: Option<u16>,
}

/// The protocols that have a server name.
const WITH_SNI: [&str; 4] = ["grpcs", "https", "tls", "tls_passthrough"];

/// What else routes.lua and routes_subschemas.lua ask.
fn rules(schema: Schema) -> Schema {
    let without_sni = Field::partial().elements_with(|_| Field::string().not_one_of(WITH_SNI));
    let mut schema = schema
        .conditional_or(
            "protocols",
            without_sni,
            "snis",
            Field::partial().len_eq(0),
            Some(
                "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or \
                 'tls_passthrough'",
            ),
        )
        .custom_check(&["path_handling"], |_| Ok(()))
        .check(whole(one_way_of_matching));
    let kinds: [(&[&str], Schema); 3] = [
        (&["http", "https"], http(&schema)),
        (&["tcp", "tls", "udp", "tls_passthrough"], stream(&schema)),
        (&["grpc", "grpcs"], grpc(&schema)),
    ];
    for (protocols, subschema) in kinds {
        let subschema = Arc::new(subschema);
        for protocol in protocols {
            schema.add_subschema(protocol, Arc::clone(&subschema));
        }
    }
    schema
}

/// A check of all that a route is found by.
fn whole(check: impl Fn(&Record) -> Result<(), String> + Send + Sync + 'static) -> EntityCheck {
    let sources = [
        "id",
        "protocols",
        "snis",
        "sources",
        "destinations",
        "methods",
        "hosts",
        "paths",
        "headers",
        "expression",
        "regex_priority",
        "priority",
    ];
    let mut whole = CustomCheck::new(&sources, check);
    whole.run_with_missing_fields = Some(true);
    whole.into()
}

/// An expression and other conditions exclude each other.
fn one_way_of_matching(route: &Record) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("Router Expression failed validation: {what}"));
    let list = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations'";
    let (mut expression, mut others) = (false, false);
    let (mut regex_priority, mut priority) = (false, false);
    let not_zero = |value: &Value| value.as_f64().is_some_and(|n| n != 0.0);
    // Every route comes here: each field is looked at once.
    for (name, value) in route {
        match name.as_str() {
            "expression" => expression = is_nonempty(Some(value)),
            "regex_priority" => regex_priority = not_zero(value),
            "priority" => priority = not_zero(value),
            "snis" | "sources" | "destinations" | "methods" | "hosts" | "paths" => {
                others |= is_nonempty(Some(value));
            }
            "headers" => {
                others |= is_nonempty(Some(value));
                let mut headers = value.as_object().into_iter().flatten();
                if let Some((name, _)) = headers.find(|(_, v)| !is_nonempty(Some(v))) {
                    return refuse(&format!("header '{name}' has no values"));
                }
            }
            _ => {}
        }
    }
    if expression && others {
        return refuse(&format!("cannot set 'expression' with {list} simultaneously"));
    }
    if expression && regex_priority {
        return refuse("cannot set 'regex_priority' with 'expression' simultaneously");
    }
    if priority && others {
        return refuse(&format!("cannot set 'priority' with {list} simultaneously"));
    }
    Ok(())
}

/// A subschema in which these fields cannot be set.
fn without(schema: &Schema, fields: &[&str], protocols: &str) -> Schema {
    let mut subschema = Schema::default();
    for name in fields {
        if let Some(field) = schema.fields.get(*name) {
            let err = format!("cannot set '{name}' when 'protocols' is {protocols}");
            subschema = subschema.with_field(name, field.clone().eq(()).err(&err));
        }
    }
    subschema
}

/// One of these fields must be set if the protocols contain this one.
fn case(matches: Field, fields: &[&str], err: &str) -> Condition {
    Condition {
        matches,
        at_least_one_of: fields.iter().map(|name| (*name).to_owned()).collect(),
        err: Some(err.to_owned()),
    }
}

fn one_of_fields(then: Condition, or_else: Option<Condition>) -> EntityCheck {
    EntityCheck::ConditionalAtLeastOneOf(Box::new(ConditionalAtLeastOneOf {
        if_field: "protocols".to_owned(),
        then,
        or_else,
    }))
}

fn http(schema: &Schema) -> Schema {
    let has = |protocol: &str| Field::partial().contains(protocol);
    without(schema, &["sources", "destinations"], "'http' or 'https'").check(one_of_fields(
        case(
            has("https"),
            &["methods", "hosts", "headers", "paths", "snis"],
            "must set one of %s when 'protocols' is 'https'",
        ),
        Some(case(
            has("http"),
            &["methods", "hosts", "headers", "paths"],
            "must set one of %s when 'protocols' is 'http'",
        )),
    ))
}

fn stream(schema: &Schema) -> Schema {
    let all = |protocols: &'static [&'static str]| {
        let element = Field::string().one_of(protocols.iter().copied());
        Field::partial().elements_with(|_| element)
    };
    let protocols = "'tcp', 'tls', 'tls_passthrough' or 'udp'";
    without(schema, &["methods", "hosts", "paths", "headers"], protocols)
        .check(one_of_fields(
            case(
                all(&["tcp", "tls", "udp"]),
                &["sources", "destinations", "snis"],
                "must set one of %s when 'protocols' is 'tcp', 'tls' or 'udp'",
            ),
            None,
        ))
        .check(one_of_fields(
            case(
                all(&["tls_passthrough"]),
                &["snis"],
                "must set snis when 'protocols' is 'tls_passthrough'",
            ),
            None,
        ))
}

fn grpc(schema: &Schema) -> Schema {
    let has = |protocol: &str| Field::partial().contains(protocol);
    let protocols = "'grpc' or 'grpcs'";
    let strip_path = Field::boolean()
        .required()
        .default(false)
        .ne(true)
        .err("cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'");
    without(schema, &["methods", "sources", "destinations"], protocols)
        .with_field("strip_path", strip_path)
        .check(one_of_fields(
            case(
                has("grpcs"),
                &["hosts", "headers", "paths", "snis"],
                "must set one of %s when 'protocols' is 'grpcs'",
            ),
            Some(case(
                has("grpc"),
                &["hosts", "headers", "paths"],
                "must set one of %s when 'protocols' is 'grpc'",
            )),
        ))
}

/// The schema of routes with `router_flavor = expressions`: with an expression and its priority,
/// which satisfy what the other flavours ask of hosts, paths and so on. `validate` says what is
/// wrong with an expression for a route of these protocols.
pub fn with_expressions(
    mut schema: Schema,
    validate: impl Fn(&str, &[Protocol]) -> Result<(), String> + Send + Sync + 'static,
) -> Schema {
    let check = move |route: &Record| {
        one_way_of_matching(route)?;
        let Some(expression) = route.get("expression").and_then(Value::as_str) else {
            return Ok(());
        };
        let protocols = route.get("protocols").cloned().unwrap_or_default();
        let protocols: Vec<Protocol> = serde_json::from_value(protocols).unwrap_or_default();
        validate(expression, &protocols)
            .map_err(|error| format!("Router Expression failed validation: {error}"))
    };
    let mut whole = Some(whole(check));
    for check in &mut schema.entity_checks {
        let is_whole =
            |custom: &CustomCheck| custom.field_sources.iter().any(|f| f == "expression");
        if matches!(check, EntityCheck::Custom(custom) if is_whole(custom))
            && let Some(whole) = whole.take()
        {
            *check = whole;
        }
    }
    schema = schema.with_field("expression", Field::string()).with_field(
        "priority",
        Field::integer().between(0, (1_u64 << 46) - 1).required().default(0),
    );
    for subschema in schema.subschemas.values_mut() {
        let subschema = Arc::make_mut(subschema);
        let is_stream = subschema.fields.contains_key("hosts");
        if !is_stream {
            subschema.fields.shift_remove("sources");
            subschema.fields.shift_remove("destinations");
        }
        for check in &mut subschema.entity_checks {
            if let EntityCheck::ConditionalAtLeastOneOf(check) = check {
                check.then.at_least_one_of.push("expression".to_owned());
                if let Some(other) = &mut check.or_else {
                    other.at_least_one_of.push("expression".to_owned());
                }
            }
        }
    }
    schema
}
