//! `/tags`: which entities carry which tag (`kong/api/routes/tags.lua`).

use serde_json::{Value, json};

use crate::{Answer, Request, Service};

/// All tags of all entities.
pub(super) fn all(service: &Service, _: &Request, _: &[String]) -> Answer {
    tagged(service, None)
}

/// The entities that carry a tag.
pub(super) fn one(service: &Service, _: &Request, parameters: &[String]) -> Answer {
    tagged(service, Some(&parameters[0]))
}

fn tagged(service: &Service, wanted: Option<&str>) -> Answer {
    let entities = service.entities();
    let mut data = Vec::new();
    for (kind, collection) in entities.iter() {
        for record in collection.iter() {
            let tags = record.get("tags").and_then(Value::as_array).into_iter().flatten();
            for tag in tags.filter(|tag| wanted.is_none_or(|wanted| *tag == wanted)) {
                let id = record.get("id").cloned().unwrap_or_default();
                data.push(json!({ "entity_name": kind.schema.name, "entity_id": id, "tag": tag }));
            }
        }
    }
    Answer::ok(json!({ "data": data, "next": null }))
}
