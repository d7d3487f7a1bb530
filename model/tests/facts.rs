//! Schemas against what a Kong 3.10 publishes at `/schemas/…` (conformance/facts).

use serde::Deserialize;
use serde_json::{Map, Value};
use silverback_macros::Config;
use silverback_model::entities;
use silverback_model::schema::{HasSchema, Schema};

fn facts(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("facts are JSON objects")
}

fn entity_facts() -> Map<String, Value> {
    facts(include_str!("../../conformance/facts/entity-schemas.json"))
}

fn plugin_facts() -> Map<String, Value> {
    facts(include_str!("../../conformance/facts/plugin-schemas.json"))
}

/// Numbers are compared as Lua has them: 1.0 is 1.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) => n.as_f64().map_or(Value::Null, Value::from),
        Value::Array(list) => list.iter().map(plain).collect(),
        // The facts were recorded without anything named so, be it a word or a field.
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "description")
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        other => other.clone(),
    }
}

fn check(name: &str, ours: &Value, fact: &Value) {
    let (ours, fact) = (plain(ours), plain(fact));
    for part in ["fields", "entity_checks"] {
        let list = |value: &Value| value[part].as_array().cloned().unwrap_or_default();
        for (i, (ours, fact)) in list(&ours).iter().zip(list(&fact)).enumerate() {
            assert_eq!(ours, &fact, "{name}: {part}[{i}]");
        }
    }
    assert_eq!(ours, fact, "{name}");
}

#[test]
fn entities_publish_kongs_schemas() {
    for (name, fact) in entity_facts() {
        let schema = entities::schema(&name).unwrap_or_else(|| panic!("{name} has a schema"));
        check(&name, &schema.to_json(), &fact);
    }
}

#[test]
fn entities_stand_after_what_they_refer_to() {
    let mut seen: Vec<&str> = Vec::new();
    for schema in entities::schemas() {
        for (field, reference, _) in schema.foreign_fields() {
            assert!(seen.contains(&reference), "{}.{field}: {reference}", schema.name);
        }
        seen.push(&schema.name);
    }
}

#[test]
fn schemas_of_plugins_are_read_and_written_back() {
    for (name, fact) in plugin_facts() {
        let schema = Schema::for_plugin(&name, &fact).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&name, &schema.to_json(), &fact);
    }
}

/// Authentication by a key that a consumer has.
#[allow(dead_code)]
#[derive(Deserialize, Config)]
#[plugin(name = "key-auth", no_consumer, protocols_http)]
struct KeyAuth {
    /// Names under which the key is looked for.
    #[field(default = ["apikey"])]
    key_names: Vec<String>,
    /// Whether the key is kept from the upstream.
    #[field(default = false)]
    hide_credentials: bool,
    /// The consumer of requests without a key.
    anonymous: Option<String>,
    /// Whether the key is looked for in headers.
    #[field(default = true)]
    key_in_header: bool,
    /// Whether the key is looked for in the query.
    #[field(default = true)]
    key_in_query: bool,
    /// Whether the key is looked for in the body.
    #[field(default = false)]
    key_in_body: bool,
    /// Whether preflight requests need a key.
    #[field(default = true)]
    run_on_preflight: bool,
    /// The realm shown to clients without a key.
    #[field(required = false)]
    realm: Option<String>,
}

#[test]
fn a_struct_is_a_plugins_schema() {
    let schema = KeyAuth::schema();
    check("key-auth", &schema.to_json(), &plugin_facts()["key-auth"]);
    let realm = schema.field("config.realm").expect("realm");
    assert_eq!(realm.description, "The realm shown to clients without a key.");
}
