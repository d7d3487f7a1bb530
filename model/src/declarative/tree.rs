//! The entities of a file as they stand in it, some inside of others, with their ids
//! (`generate_ids` of kong/db/schema/others/declarative_config.lua).

use serde_json::Value;
use uuid::Uuid;

use crate::schema::Flag;
use crate::set::{Kind, Kinds};
use crate::{Record, field as field_of};

/// Stands for the workspace in keys: files know only one.
const WORKSPACE: &str = "*";

/// Kinds that a file does not hold: tags are made of what entities have.
const NOT_IN_FILES: [&str; 1] = ["tags"];

/// A list of entities of one kind, at the top of a file or inside of another entity.
pub(crate) struct List<'a> {
    pub(crate) kind: &'a Kind,
    /// Which field refers to the entity that the list stands in; none at the top.
    pub(crate) field: Option<&'a str>,
    pub(crate) value: &'a Value,
    pub(crate) nodes: Vec<Node<'a>>,
}

/// An entity of a file.
pub(crate) struct Node<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) item: &'a Value,
    /// The id: given, following from the name, or new where the kind's ids are UUIDs.
    pub(crate) id: Option<String>,
    /// Its fields: first as they stand in the file, once checked with all defaults.
    pub(crate) record: Record,
    /// What stands inside of it.
    pub(crate) lists: Vec<List<'a>>,
}

/// Whether a file can have a list of this name at its top.
pub(crate) fn kind_of_list<'a>(kinds: &'a Kinds, name: &str) -> Option<&'a Kind> {
    kinds.get(name).filter(|_| !NOT_IN_FILES.contains(&name))
}

/// The lists of a file.
pub(crate) fn lists<'a>(kinds: &'a Kinds, file: &'a Record) -> Vec<List<'a>> {
    let kinds_of_file =
        kinds.iter().filter(|kind| !NOT_IN_FILES.contains(&kind.schema.name.as_str()));
    kinds_of_file
        .filter_map(|kind| Some(list(kinds, kind, None, file.get(&kind.schema.name)?, None)))
        .collect()
}

/// A file with the ids that follow from names.
pub(crate) fn with_ids(kinds: &Kinds, file: &Record) -> Record {
    let mut whole = file.clone();
    fill(&lists(kinds, file), &mut whole);
    whole
}

fn fill(lists: &[List<'_>], fields: &mut Record) {
    for list in lists {
        let items = fields.get_mut(&list.kind.schema.name).and_then(Value::as_array_mut);
        for (node, item) in list.nodes.iter().zip(items.into_iter().flatten()) {
            let Value::Object(item) = item else { continue };
            set_id(node.kind, item, node.id.as_deref().filter(|id| !is_chance(id)));
            fill(&node.lists, item);
        }
    }
}

/// Whether an id does not follow from anything.
fn is_chance(id: &str) -> bool {
    Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 4)
}

fn list<'a>(
    kinds: &'a Kinds,
    kind: &'a Kind,
    field: Option<&'a str>,
    value: &'a Value,
    parent: Option<&str>,
) -> List<'a> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let nodes = items.iter().map(|item| node(kinds, kind, item, field, parent)).collect();
    List { kind, field, value, nodes }
}

fn node<'a>(
    kinds: &'a Kinds,
    kind: &'a Kind,
    item: &'a Value,
    field: Option<&str>,
    parent: Option<&str>,
) -> Node<'a> {
    let mut record = own_fields(kind, item);
    let derived = derive(kind, &record, field, parent);
    let given = field_of(&record, id_field(kind)).and_then(Value::as_str).map(str::to_owned);
    let fixed = derived.is_some() || given.is_some();
    let id = given.or(derived).or_else(|| fresh(kind, &record));
    set_id(kind, &mut record, id.as_deref());
    let parent = id.as_deref().filter(|_| fixed);
    let lists = match item {
        Value::Object(fields) => kind
            .children
            .iter()
            .filter_map(|child| {
                let value = field_of(fields, &child.kind)?;
                kind.nests(&child.kind).filter(|field| *field == child.field)?;
                Some(list(kinds, kinds.get(&child.kind)?, Some(&child.field), value, parent))
            })
            .collect(),
        _ => Vec::new(),
    };
    Node { kind, item, id, record, lists }
}

impl Node<'_> {
    /// Its fields as they stand in the file, with its id.
    pub(crate) fn input(&self) -> Record {
        let mut record = own_fields(self.kind, self.item);
        set_id(self.kind, &mut record, self.id.as_deref());
        record
    }
}

/// The fields that are not about the file and hold no other entities. A list is a table, too: its
/// items are named by their positions, an empty one has no fields.
fn own_fields(kind: &Kind, item: &Value) -> Record {
    match item {
        Value::Object(fields) => {
            // One more for the id.
            let mut own = Record::with_capacity(fields.len() + 1);
            for (name, value) in fields {
                if !is_note(name) && kind.nests(name).is_none() {
                    own.insert(name.clone(), value.clone());
                }
            }
            own
        }
        Value::Array(list) => {
            let items = list.iter().enumerate();
            items.map(|(i, item)| ((i + 1).to_string(), item.clone())).collect()
        }
        _ => Record::new(),
    }
}

/// Whether a field is a remark for readers of the file.
pub(crate) fn is_note(name: &str) -> bool {
    matches!(name, "_comment" | "_ignore")
}

fn id_field(kind: &Kind) -> &str {
    match kind.schema.primary_key.as_slice() {
        [name] => name,
        _ => "",
    }
}

fn set_id(kind: &Kind, record: &mut Record, id: Option<&str>) {
    let name = id_field(kind);
    if let Some(id) = id
        && !name.is_empty()
        && field_of(record, name).is_none()
    {
        record.insert(name.to_owned(), id.into());
    }
}

/// Whether an entity gets a UUID, as it has no key itself.
fn wants_id(kind: &Kind, record: &Record) -> bool {
    kind.id_is_made && field_of(record, id_field(kind)).is_none()
}

fn fresh(kind: &Kind, record: &Record) -> Option<String> {
    wants_id(kind, record).then(|| Uuid::new_v4().to_string())
}

/// The id that follows from what makes the entity unique, where that is all there.
fn derive(
    kind: &Kind,
    record: &Record,
    field: Option<&str>,
    parent: Option<&str>,
) -> Option<String> {
    if !wants_id(kind, record) {
        return None;
    }
    let key = if kind.schema.cache_key.is_empty() {
        endpoint_key(kind, record, field, parent)
    } else {
        cache_key(kind, record, field, parent)
    };
    let key = key.or_else(|| given_key(kind, record)).or_else(|| made_key(kind, record))?;
    Some(Uuid::new_v5(&kind.namespace, key.as_bytes()).to_string())
}

/// The key of a credential, which is made up where it is not given. Where it is, ids are by chance
/// in Kong all the same, so that it can't put such a file into its database twice.
fn given_key(kind: &Kind, record: &Record) -> Option<String> {
    let name = kind.schema.endpoint_key.as_ref()?;
    let field = kind.schema.fields.get(name)?;
    let key = record.get(name)?.as_str()?;
    let counts = field.is(Flag::Auto) && field.is(Flag::Unique);
    counts.then(|| format!("{}:{WORKSPACE}:{key}", kind.schema.name))
}

/// The key of what is unique by a field that the gateway makes, as authorities are by the digest of
/// their certificate. In Kong their ids are by chance: the same file can't be imported twice.
fn made_key(kind: &Kind, record: &Record) -> Option<String> {
    if kind.schema.transformations.is_empty() {
        return None;
    }
    let is_auto = |name: &str| kind.schema.fields.get(name).is_some_and(|f| f.is(Flag::Auto));
    let unique = kind.unique_fields();
    let absent = unique.filter(|name| field_of(record, name).is_none() && !is_auto(name));
    let absent: Vec<&str> = absent.collect();
    absent.first()?;
    let made = kind.schema.transform(record.clone(), record).ok()?;
    let value = absent.into_iter().find_map(|name| field_of(&made, name)?.as_str())?;
    Some(format!("{}:{WORKSPACE}:{value}", kind.schema.name))
}

fn cache_key(
    kind: &Kind,
    record: &Record,
    field: Option<&str>,
    parent: Option<&str>,
) -> Option<String> {
    let schema = &kind.schema;
    let mut key = format!("{}:{WORKSPACE}", schema.name);
    for name in &schema.cache_key {
        let of_key = schema.fields.get(name)?;
        let part = match record.get(name) {
            _ if of_key.is(Flag::Auto) => return None,
            Some(Value::String(text)) => text,
            // What is no text has no part in the key.
            Some(_) => continue,
            None if field == Some(name.as_str()) => parent?,
            None if of_key.is(Flag::Required) => return None,
            None => "",
        };
        key.push(':');
        key.push_str(part);
    }
    Some(key)
}

fn endpoint_key(
    kind: &Kind,
    record: &Record,
    field: Option<&str>,
    parent: Option<&str>,
) -> Option<String> {
    let schema = &kind.schema;
    let name = schema.endpoint_key.as_ref()?;
    let mut key = field_of(record, name)?.as_str()?.to_owned();
    let of_key = schema.fields.get(name)?;
    if of_key.is(Flag::Unique) {
        return Some(key);
    }
    // The name is taken to be unique among those with the same parent.
    for (foreign, _, cascades) in schema.foreign_fields() {
        if cascades {
            key.push(':');
            key.push_str(match field {
                Some(_) => parent?,
                None => record.get(foreign)?.as_str()?,
            });
        }
    }
    if !of_key.is(Flag::UniqueAcrossWs) {
        key.push(':');
        key.push_str(WORKSPACE);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The ids recorded in the scenarios of DB-less mode.
    #[test]
    fn ids_follow_from_names() {
        let kinds = Kinds::bundled([]);
        let check = |file: Value, path: &[usize], expect: &str| {
            let Value::Object(file) = file else { unreachable!() };
            let lists = lists(&kinds, &file);
            let mut node = &lists[0].nodes[path[0]];
            for at in &path[1..] {
                node = &node.lists[0].nodes[*at];
            }
            assert_eq!(node.id.as_deref(), Some(expect), "{file:?}");
        };
        let echo = json!({"services": [{"name": "echo", "routes": [{"name": "r1"}]}]});
        check(echo.clone(), &[0], "adbd70b3-4224-5183-a52a-179d7b34ab5b");
        check(echo, &[0, 0], "4726a05a-d550-537e-9fc3-a07c7a1188c7");
        let bob = json!({"consumers": [{"username": "bob", "acls": [{"group": "g"}]}]});
        check(bob.clone(), &[0], "def4f7d3-9863-5ad2-8fa9-c949bf26f55e");
        check(bob, &[0, 0], "f363fae2-e46e-560c-8df0-6fb2e9cacfcb");
        let upstream =
            json!({"upstreams": [{"name": "u.test", "targets": [{"target": "127.0.0.1:9800"}]}]});
        check(upstream, &[0, 0], "251ccd06-e1af-5089-b7b1-f6ac8a35bd22");
        let target = json!({"targets": [{"target": "127.0.0.1:9800", "upstream": "v.test"}]});
        check(target, &[0], "c6b4e5a4-98f7-5455-b093-132b04bddeca");
        let plugin = json!({"plugins": [{"name": "cors"}]});
        check(plugin, &[0], "48ee727e-8b90-5faa-bda1-a3c6bc3c9daa");
        let plugin = json!({"plugins": [{"name": "key-auth", "route": "by-id"}]});
        check(plugin, &[0], "71e81f94-611e-535a-96e6-dc28ed247bc2");
    }

    #[test]
    fn ids_of_credentials_follow_from_given_keys() {
        let kinds = Kinds::bundled([]);
        let check = |file: Value, expect: bool| {
            let Value::Object(file) = file else { unreachable!() };
            let id = || lists(&kinds, &file)[0].nodes[0].lists[0].nodes[0].id.clone();
            assert_eq!(id() == id(), expect, "{file:?}");
        };
        let bob = |list: &str, credential: Value| {
            let credentials = json!([credential]);
            json!({"consumers": [{"username": "bob", list: credentials}]})
        };
        check(bob("keyauth_credentials", json!({"key": "k"})), true);
        check(bob("jwt_secrets", json!({"key": "k", "secret": "s"})), true);
        check(bob("keyauth_credentials", json!({})), false);
    }

    #[test]
    fn ids_of_authorities_follow_from_certificates() {
        let kinds = Kinds::bundled([]);
        let id = |cert: &str| {
            let file = json!({"ca_certificates": [{"cert": cert}]});
            let Value::Object(file) = file else { unreachable!() };
            lists(&kinds, &file)[0].nodes[0].id.clone()
        };
        let pem = |bytes: &[u8]| {
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        let (one, other) = (pem(b"one"), pem(b"other"));
        assert_eq!(id(&one), id(&one));
        assert_ne!(id(&one), id(&other));
        assert_ne!(id("no certificate"), id("no certificate"));
    }
}
