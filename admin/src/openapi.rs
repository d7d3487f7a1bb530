//! `/openapi.json`: the Admin API as an OpenAPI document, made from the table of paths and the
//! schemas.

mod schema;

use http::Method;
use serde_json::{Map, Value, json};
use silverback_model::schema::Schema;

use crate::{
    Answer, Service,
    call::{Call, Outcome},
    paths::{Endpoint, Path},
};

/// The document.
pub(crate) fn show(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(document(call.service)))
}

fn document(service: &Service) -> Value {
    let paths = service.paths().iter().map(|path| (path.pattern.clone(), path_item(path)));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Silverback Admin API",
            "version": service.facts.silverback_version,
            "description": "What Kong Gateway's Admin API is, with the same answers.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths.collect::<Map<_, _>>(),
        "components": { "schemas": components(service) },
    })
}

/// What entities are, as they are sent (`services.new`), changed (`services.change`) and shown
/// (`services`); and the answers that are no entities.
fn components(service: &Service) -> Map<String, Value> {
    let mut all = Map::new();
    for schema in service.schemas.iter().filter(|schema| schema.generate_admin_api) {
        all.insert(schema.name.clone(), schema::shown(schema));
        all.insert(format!("{}.new", schema.name), schema::sent(schema, true));
        all.insert(format!("{}.change", schema.name), schema::sent(schema, false));
    }
    let message = json!({ "type": "object", "properties": { "message": { "type": "string" } } });
    all.insert("message".to_owned(), message);
    let fault = json!({
        "type": "object",
        "required": ["code", "name", "message"],
        "properties": {
            "code": { "type": "integer", "description": "Which kind of fault it is." },
            "name": { "type": "string", "description": "The kind's name." },
            "message": { "type": "string", "description": "What is wrong, in a sentence." },
            "fields": { "type": "object", "description": "What is wrong, by field." },
            "options": { "type": "object", "description": "What is wrong, by argument." },
        },
    });
    all.insert("fault".to_owned(), fault);
    all
}

fn path_item(path: &Path) -> Value {
    let names = path.pattern.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| {
            let schema = json!({ "type": "string", "minLength": 1 });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let mut item = Map::new();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    for method in path.endpoint.methods() {
        // The answer to HEAD is that to GET, and OPTIONS says what this document says.
        if method != Method::HEAD && method != Method::OPTIONS {
            let operation = operation(path, &method);
            item.insert(method.as_str().to_lowercase(), operation);
        }
    }
    Value::Object(item)
}

fn operation(path: &Path, method: &Method) -> Value {
    let name = path.pattern.replace(['{', '}'], "");
    let id = format!("{}{}", method.as_str().to_lowercase(), name.replace('/', "-"));
    let tag = path.pattern.split('/').nth(1).filter(|tag| !tag.is_empty()).unwrap_or("node");
    let mut operation = json!({ "operationId": id, "tags": [tag] });
    match &path.endpoint {
        Endpoint::Collection(schema) => of_list(&mut operation, schema, method, true),
        Endpoint::Nested(relation) => of_list(&mut operation, &relation.child, method, false),
        Endpoint::Entity(schema) => of_entity(&mut operation, schema, method),
        Endpoint::NestedEntity(relation) => of_entity(&mut operation, &relation.child, method),
        Endpoint::Foreign(relation) => of_entity(&mut operation, &relation.parent, method),
        Endpoint::Own(_) | Endpoint::Added(..) | Endpoint::Closed(..) => {
            operation["responses"] = json!({ "default": { "description": "What it answers." } });
        }
    }
    operation
}

fn of_list(operation: &mut Value, schema: &Schema, method: &Method, by_tags: bool) {
    if method == Method::POST {
        operation["requestBody"] = body(&format!("{}.new", schema.name));
        operation["responses"] = responses(&[("201", &schema.name)]);
        return;
    }
    let mut parameters = vec![
        argument("size", &json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
        argument("offset", &json!({ "type": "string" })),
    ];
    if by_tags && schema.fields.contains_key("tags") {
        parameters.push(argument("tags", &json!({ "type": "string", "minLength": 1 })));
    }
    operation["parameters"] = parameters.into();
    operation["responses"] = responses(&[]);
    let page = json!({
        "type": "object",
        "required": ["data", "next"],
        "properties": {
            "data": { "type": "array", "items": reference(&schema.name) },
            "next": { "type": ["string", "null"] },
            "offset": { "type": "string" },
        },
    });
    operation["responses"]["200"] = answer("A page.", &page);
}

fn of_entity(operation: &mut Value, schema: &Schema, method: &Method) {
    match *method {
        Method::DELETE => {
            operation["responses"] = responses(&[]);
            operation["responses"]["204"] = json!({ "description": "It is gone." });
            return;
        }
        Method::PATCH => operation["requestBody"] = body(&format!("{}.change", schema.name)),
        Method::PUT => operation["requestBody"] = body(&format!("{}.new", schema.name)),
        _ => {}
    }
    operation["responses"] = responses(&[("200", &schema.name)]);
}

fn argument(name: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "schema": schema })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn body(name: &str) -> Value {
    let content = json!({ "schema": reference(name) });
    json!({
        "content": {
            "application/json": content,
            "application/x-www-form-urlencoded": content,
        },
    })
}

fn answer(what: &str, schema: &Value) -> Value {
    json!({ "description": what, "content": { "application/json": { "schema": schema } } })
}

/// The answers that entities have, and what is wrong where they are refused.
fn responses(entities: &[(&str, &str)]) -> Value {
    let mut all = Map::new();
    for (status, name) in entities {
        all.insert((*status).to_owned(), answer("The entity.", &reference(name)));
    }
    let faults = [
        ("400", "What was sent does not fit."),
        ("405", "This can't be done, or not without a database."),
        ("409", "Another entity has these unique values."),
    ];
    for (status, what) in faults {
        let either = json!({ "anyOf": [reference("fault"), reference("message")] });
        all.insert(status.to_owned(), answer(what, &either));
    }
    all.insert("404".to_owned(), answer("There is none.", &reference("message")));
    all.insert("413".to_owned(), json!({ "description": "The body is too large." }));
    all.insert("415".to_owned(), json!({ "description": "The body's type is not read here." }));
    all.insert("503".to_owned(), answer("The database is away.", &reference("message")));
    Value::Object(all)
}
