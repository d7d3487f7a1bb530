//! A tag and an entity that bears it (kong/db/schema/entities/tags.lua).

use serde::Deserialize;
use silverback_macros::Entity;
use uuid::Uuid;

/// A tag and an entity that bears it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Entity)]
#[entity(name = "tags", primary_key("tag"), endpoint_key = "tag", db_export = false)]
#[serde(default)]
pub struct Tag {
    /// The tag.
    #[field(typedef = tag)]
    pub tag: String,
    /// The kind of entity, as its schema is named.
    pub entity_name: String,
    /// The entity's id.
    #[field(typedef = uuid, required)]
    pub entity_id: Uuid,
}
