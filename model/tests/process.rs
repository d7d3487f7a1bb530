//! Entities as a Kong 3.10 took or refused them: inputs and answers of the recorded scenarios
//! (`data/process.json`), run through the schemas.

use serde_json::{Map, Value, json};
use silverback_model::Record;
use silverback_model::entities;
use silverback_model::errors::Fault;
use silverback_model::schema::{Field, Mode, Schema, Shorthand, values};

fn record(value: Value) -> Record {
    match value {
        Value::Object(record) => record,
        other => unreachable!("not an object: {other}"),
    }
}

/// The schema of an entity; that of plugins with every plugin of the facts.
fn schema(name: &str) -> Schema {
    let mut schema = (*entities::schema(name).expect(name)).clone();
    if name == "plugins" {
        let facts = include_str!("../../conformance/facts/plugin-schemas.json");
        let facts: Map<String, Value> = serde_json::from_str(facts).expect("facts");
        for (name, fact) in &facts {
            schema.add_subschema(name, Schema::for_plugin(name, fact).expect(name));
        }
        schema.add_subschema("field-zoo", field_zoo());
    }
    schema
}

/// The plugin of conformance/plugins/lua that has a field of every kind.
fn field_zoo() -> Schema {
    let fields = json!({"fields": [
        {"consumer": {"type": "foreign", "reference": "consumers", "eq": null}},
        {"protocols": {"type": "set", "required": true, "elements": {"type": "string",
            "one_of": ["grpc", "grpcs", "http", "https"]}, "default": ["http"]}},
        {"config": {"type": "record", "fields": [
            {"name": {"type": "string", "required": true, "len_min": 2, "len_max": 8}},
            {"mode": {"type": "string", "default": "soft", "one_of": ["soft", "hard"]}},
            {"count": {"type": "integer", "default": 4, "between": [0, 10]}},
            {"ratio": {"type": "number", "gt": 0}},
            {"word": {"type": "string", "match": "^%a+$"}},
            {"not_word": {"type": "string", "not_match": "%s"}},
            {"starts": {"type": "string", "starts_with": "ab"}},
            {"id": {"type": "string", "uuid": true}},
            {"when": {"type": "integer", "timestamp": true}},
            {"flag": {"type": "boolean", "default": false, "required": true}},
            {"only": {"type": "string", "ne": "that"}},
            {"secret": {"type": "string", "referenceable": true, "encrypted": true}},
            {"list": {"type": "array", "default": ["one"],
                "elements": {"type": "string", "not_one_of": ["bad"]}}},
            {"short_list": {"type": "array", "len_max": 2, "elements": {"type": "integer"}}},
            {"names": {"type": "set", "elements": {"type": "string"}}},
            {"table": {"type": "map", "keys": {"type": "string", "len_min": 1},
                "values": {"type": "integer"}}},
            {"nested": {"type": "record", "fields": [
                {"inner": {"type": "string", "required": true, "default": "deep"}},
                {"host": {"type": "string"}},
                {"port": {"type": "integer", "between": [0, 65535], "default": 80}},
                {"more": {"type": "record", "fields": [{"level": {"type": "integer"}}]}},
            ]}},
            {"any_of_two": {"type": "string"}},
            {"other_of_two": {"type": "string"}},
        ], "entity_checks": [
            {"mutually_exclusive": ["any_of_two", "other_of_two"]},
            {"conditional": {"if_field": "mode", "if_match": {"eq": "hard"},
                "then_field": "ratio", "then_match": {"required": true}}},
        ]}},
    ]});
    let mut schema = Schema::for_plugin("field-zoo", &fields).expect("field-zoo");
    let config = schema.fields.get_mut("config").and_then(Field::as_record_mut).expect("config");
    let mut change = |name: &str, with: &dyn Fn(Field) -> Field| {
        let field = config.fields.get_mut(name).expect(name);
        *field = with(field.clone());
    };
    change("count", &|field| {
        field.custom_value(|n| match n.as_i64() {
            Some(n) if n % 2 != 0 => Err("must be even".to_owned()),
            _ => Ok(()),
        })
    });
    change("names", &|f| f.elements_with(|name| name.custom(values::header_name)));
    change("nested", &|mut field| {
        let host = field.as_record_mut().and_then(|record| record.fields.get_mut("host"));
        let host = host.expect("host");
        *host = host.clone().custom(values::host);
        field
    });
    let old = Shorthand::new(Field::string(), |value| {
        Some(Record::from_iter([("word".to_owned(), value.clone())]))
    });
    config.shorthand_fields.insert("old_word".to_owned(), old);
    schema
}

/// Numbers are compared as Lua has them; `<…>` stands for anything.
fn same(expect: &Value, found: &Value) -> bool {
    match (expect, found) {
        (Value::String(text), _) if text.starts_with('<') && text.ends_with('>') => true,
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// What the Admin API answers.
fn answer(schema: &Schema, input: Value, mode: Mode<'_>) -> Value {
    let entity = schema.process(record(input), mode);
    let shown = entity.and_then(|entity| schema.process(entity, Mode::Select));
    shown.map_or_else(|errors| Fault::from(errors).to_json(), Value::Object)
}

fn check(schema: &Schema, input: &Value, expect: &Value) {
    let found = answer(schema, input.clone(), Mode::Insert);
    assert!(same(expect, &found), "{}: {input}\nexpect {expect}\nfound  {found}", schema.name);
}

#[test]
fn inputs_are_answered_as_recorded() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/process.json")).expect("cases");
    let plugins = schema("plugins");
    for case in cases {
        let name = case["schema"].as_str().expect("schema");
        let own = if name == "plugins" { plugins.clone() } else { schema(name) };
        check(&own, &case["input"], &case["expect"]);
    }
}

/// Checks fields of an answer to a change.
fn check_update(name: &str, input: Value, change: Value, expect: Value) {
    let schema = schema(name);
    let existing = schema.process(record(input), Mode::Insert).expect("valid");
    let found = answer(&schema, change, Mode::Update(&existing));
    for (name, expect) in record(expect) {
        assert!(same(&expect, &found[&name]), "{name}: expect {expect}, found {found}");
    }
}

#[test]
fn changes_are_merged_and_checked() {
    check_update(
        "consumers",
        json!({"username": "a"}),
        json!({"username": null}),
        json!({"message": "schema violation (when updating, at least one of these fields must be \
            non-empty: 'custom_id', 'username')"}),
    );
    check_update(
        "upstreams",
        json!({"name": "u.test", "hash_on": "ip"}),
        json!({"algorithm": "least-connections"}),
        json!({"algorithm": "least-connections", "hash_on": "none"}),
    );
    check_update(
        "upstreams",
        json!({"name": "u.test", "hash_on": "ip"}),
        json!({"algorithm": "round-robin"}),
        json!({"algorithm": "consistent-hashing", "hash_on": "ip"}),
    );
    check_update(
        "services",
        json!({"url": "https://a.test/x", "tags": ["a", "b", "a"]}),
        json!({"url": "http://b.test:81", "retries": null}),
        json!({
            "protocol": "http", "host": "b.test", "port": 81, "path": null, "retries": null,
            "read_timeout": 60000, "tags": ["a", "b"]
        }),
    );
    check_update(
        "services",
        json!({"host": "a.test"}),
        json!({"host": null}),
        json!({"fields": {"host": "required field missing"}}),
    );
    check_update(
        "basicauth_credentials",
        json!({
            "consumer": {"id": "11111111-1111-4111-8111-111111111111"},
            "username": "u", "password": "p"
        }),
        json!({"username": "v"}),
        json!({"username": "v", "password": entities::password_hash(
            "11111111-1111-4111-8111-111111111111", "p"
        )}),
    );
}

#[test]
fn old_names_are_read_and_shown() {
    let plugins = schema("plugins");
    let config = |config: Value| {
        answer(&plugins, json!({"name": "rate-limiting", "config": config}), Mode::Insert)
    };
    let found = config(json!({"minute": 1, "redis_host": "r.test", "redis": {"port": 1}}));
    assert_eq!(found["config"]["redis"]["host"], "r.test");
    assert_eq!(found["config"]["redis"]["port"], 1);
    assert_eq!(found["config"]["redis_host"], "r.test");
    let found = config(json!({"minute": 1, "redis_host": "a", "redis": {"host": "b"}}));
    assert_eq!(
        found["message"],
        "schema violation (redis_host: both deprecated and new field are used but their values \
         mismatch: redis_host = a vs redis.host = b)"
    );
}

#[test]
fn typed_entities_read_what_was_processed() {
    let routes = schema("routes");
    let route = routes
        .process(record(json!({"paths": ["/a"], "headers": {"x": ["1"]}})), Mode::Insert)
        .expect("valid");
    let route: entities::Route = serde_json::from_value(Value::Object(route)).expect("typed");
    assert_eq!(route.paths, ["/a"]);
    assert_eq!(route.headers["x"], ["1"]);
    assert!(route.strip_path && route.methods.is_empty() && !route.id.is_nil());
    let upstream = schema("upstreams")
        .process(record(json!({"name": "u.test"})), Mode::Insert)
        .expect("valid");
    let upstream: entities::Upstream =
        serde_json::from_value(Value::Object(upstream)).expect("typed");
    assert_eq!(upstream.healthchecks.active.healthy.http_statuses, [200, 302]);
}

#[test]
fn expressions_take_the_place_of_other_conditions() {
    let validate = |text: &str, _: &[_]| if text == "?" { Err("no".to_owned()) } else { Ok(()) };
    let schema = entities::with_expressions(schema("routes"), validate);
    let found = answer(&schema, json!({"expression": "?"}), Mode::Insert);
    let expect = "schema violation (Router Expression failed validation: no)";
    assert_eq!(found["message"], expect);
    let found = answer(&schema, json!({"expression": "http.path == \"/a\""}), Mode::Insert);
    assert_eq!(found["priority"], 0);
    let found = answer(&schema, json!({"expression": "x", "paths": ["/a"]}), Mode::Insert);
    assert_eq!(
        found["message"],
        "schema violation (Router Expression failed validation: cannot set 'expression' with \
         'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' \
         simultaneously)"
    );
}
