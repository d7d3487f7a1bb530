//! The entities of one kind, with their indexes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::sorted::Sorted;
use super::{Kind, TagFilter};
use crate::Record;

/// The entities of one kind, in the order of their keys. A copy shares all that is not changed.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    entries: Sorted<Arc<Record>>,
    endpoint_key: Option<String>,
    /// By unique field, then value.
    unique: BTreeMap<String, Sorted<Arc<Record>>>,
    /// By field that refers to another entity, then the other's key and the entity's own
    /// ([`below`]).
    children: BTreeMap<String, Sorted<Arc<Record>>>,
    /// By what makes an entity unique together, as far as it has that.
    cache_keys: Sorted<Arc<Record>>,
}

/// Which entities a page has.
#[derive(Debug, Clone)]
pub struct PageQuery<'a> {
    /// How many at most.
    pub size: usize,
    /// Where to begin: [`Page::next`] of the page before.
    pub offset: Option<&'a str>,
    /// Only those with these tags.
    pub tags: Option<&'a TagFilter>,
    /// Only those whose field (first) refers to the entity of this key (second).
    pub parent: Option<(&'a str, &'a str)>,
}

impl Default for PageQuery<'_> {
    fn default() -> Self {
        PageQuery { size: 100, offset: None, tags: None, parent: None }
    }
}

/// An offset that is not one of ours; the Admin API answers `Fault::invalid_offset`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a valid offset: bad base64 encoding")]
pub struct OffsetError(pub String);

/// Some of the entities of a kind.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The entities.
    pub records: Vec<Arc<Record>>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

impl Collection {
    pub(super) fn new(kind: &Kind, records: Vec<Arc<Record>>) -> Collection {
        let entries = records.into_iter().map(|record| (kind.key(&record).into(), record));
        let entries = Sorted::of(entries.collect());
        let endpoint_key = kind.schema.endpoint_key.clone();
        let mut collection = Collection { entries, endpoint_key, ..Collection::default() };
        collection.index(kind);
        collection
    }

    fn index(&mut self, kind: &Kind) {
        for field in kind.unique_fields() {
            let values = self.entries.iter().filter_map(|(_, record)| {
                Some((
                    crate::field(record, field).and_then(unique_text)?.into(),
                    Arc::clone(record),
                ))
            });
            let values = Sorted::of(values.collect());
            self.unique.insert(field.to_owned(), values);
        }
        for (field, _, _) in kind.schema.foreign_fields() {
            let children = self.entries.iter().filter_map(|(key, record)| {
                let parent = crate::field(record, field).and_then(reference)?;
                Some((below(parent, key).into(), Arc::clone(record)))
            });
            let children = Sorted::of(children.collect());
            self.children.insert(field.to_owned(), children);
        }
        if !kind.schema.cache_key.is_empty() {
            let records = self.entries.iter().map(|(_, record)| record);
            let keys = records.map(|record| (kind.cache_key(record).into(), Arc::clone(record)));
            self.cache_keys = Sorted::of(keys.collect());
        }
    }

    /// Puts an entity in, in the place of the one with its key, which it returns.
    pub(super) fn put(&mut self, kind: &Kind, record: Arc<Record>) -> Option<Arc<Record>> {
        let key: Arc<str> = kind.key(&record).into();
        let old = self.remove(kind, &key);
        self.endpoint_key.clone_from(&kind.schema.endpoint_key);
        for field in kind.unique_fields() {
            if let Some(value) = record.get(field).and_then(unique_text) {
                let values = self.unique.entry(field.to_owned()).or_default();
                values.insert(value.into(), Arc::clone(&record));
            }
        }
        for (field, _, _) in kind.schema.foreign_fields() {
            if let Some(parent) = record.get(field).and_then(reference) {
                let children = self.children.entry(field.to_owned()).or_default();
                children.insert(below(parent, &key).into(), Arc::clone(&record));
            }
        }
        if !kind.schema.cache_key.is_empty() {
            self.cache_keys.insert(kind.cache_key(&record).into(), Arc::clone(&record));
        }
        self.entries.insert(key, record);
        old
    }

    /// Takes the entity of this key out, and returns it.
    pub(super) fn remove(&mut self, kind: &Kind, key: &str) -> Option<Arc<Record>> {
        let record = self.entries.remove(key)?;
        for (field, values) in &mut self.unique {
            if let Some(value) = record.get(field).and_then(unique_text) {
                values.remove(&value);
            }
        }
        for (field, children) in &mut self.children {
            if let Some(parent) = record.get(field).and_then(reference) {
                children.remove(&below(parent, key));
            }
        }
        if !kind.schema.cache_key.is_empty() {
            self.cache_keys.remove(&kind.cache_key(&record));
        }
        Some(record)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Record>> + Clone {
        self.entries.iter().map(|(_, record)| record)
    }

    /// The entity of this primary key; several fields are joined by `:`.
    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.entries.get(key)
    }

    /// The entity with this value in a unique field; none if the field is not unique.
    pub fn by(&self, field: &str, value: &str) -> Option<&Arc<Record>> {
        self.unique.get(field)?.get(value)
    }

    /// The entity of this primary key or endpoint key, as it stands in a path of the Admin API.
    pub fn find(&self, key: &str) -> Option<&Arc<Record>> {
        self.get(key).or_else(|| self.by(self.endpoint_key.as_deref()?, key))
    }

    /// The entity whose fields of the schema's `cache_key` have these values, an empty text for
    /// null: of a plugin, its name and the ids of route, service and consumer.
    pub fn by_cache_key(&self, values: &[&str]) -> Option<&Arc<Record>> {
        self.cache_keys.get(&values.join(":"))
    }

    /// The entities whose field refers to the entity of this key.
    pub fn children(&self, field: &str, parent: &str) -> impl Iterator<Item = &Arc<Record>> {
        self.children_after(field, parent, None).map(|(_, record)| record)
    }

    /// The entities that another collection does not have, or has otherwise. Quick if one is a
    /// changed copy of the other.
    pub fn beyond<'a>(&'a self, other: &'a Collection) -> impl Iterator<Item = &'a Arc<Record>> {
        let theirs: HashSet<_> = other.entries.unshared(&self.entries).map(Arc::as_ptr).collect();
        let own = self.entries.unshared(&other.entries);
        own.filter(move |record| !theirs.contains(&Arc::as_ptr(record)))
    }

    /// A page of the entities.
    ///
    /// # Errors
    /// If the offset is not one of ours.
    pub fn page(&self, query: &PageQuery<'_>) -> Result<Page, OffsetError> {
        self.page_of(query, |_| true)
    }

    /// A page of those that are wanted; the others are as if they were not there.
    ///
    /// # Errors
    /// If the offset is not one of ours.
    pub fn page_of(
        &self,
        query: &PageQuery<'_>,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Page, OffsetError> {
        let after = query.offset.map(decode).transpose()?;
        match query.parent {
            None => match &after {
                None => Ok(page_of(self.entries.iter(), query, wanted)),
                Some(after) => Ok(page_of(self.entries.from(after, true), query, wanted)),
            },
            Some((field, parent)) => {
                let children = self.children_after(field, parent, after.as_deref());
                Ok(page_of(children, query, wanted))
            }
        }
    }

    /// The children of a parent with their places, behind the child of this key.
    fn children_after<'a>(
        &'a self,
        field: &str,
        parent: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Record>)> {
        let prefix = below(parent, "");
        let from = after.map_or_else(|| prefix.clone(), |after| below(parent, after));
        let children = self.children.get(field).into_iter();
        let behind = after.is_some();
        let children = children.flat_map(move |all| all.from(&from, behind));
        children.take_while(move |(place, _)| place.starts_with(&prefix))
    }
}

/// The place of a child among all children: those of a parent stand together.
fn below(parent: &str, key: &str) -> String {
    format!("{parent}{SEPARATOR}{key}")
}

/// No key has it.
const SEPARATOR: char = '\0';

fn page_of<'a>(
    entries: impl Iterator<Item = (&'a Arc<str>, &'a Arc<Record>)>,
    query: &PageQuery<'_>,
    wanted: impl Fn(&Record) -> bool,
) -> Page {
    let wanted =
        |record: &Record| query.tags.is_none_or(|tags| tags.matches(record)) && wanted(record);
    let mut entries = entries.filter(|(_, record)| wanted(record));
    let mut page = Page::default();
    let mut last = None;
    for (place, record) in entries.by_ref().take(query.size) {
        page.records.push(Arc::clone(record));
        last = Some(place);
    }
    if entries.next().is_some() {
        let key = |place: &'a Arc<str>| place.rsplit(SEPARATOR).next().unwrap_or_default();
        page.next = last.map(|place| URL_SAFE_NO_PAD.encode(key(place)));
    }
    page
}

fn decode(offset: &str) -> Result<String, OffsetError> {
    let bytes = URL_SAFE_NO_PAD.decode(offset).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| OffsetError(offset.to_owned()))
}

/// The value of a unique field, as it is looked up: a text, the id of what it refers to, or a
/// number as JSON writes it. Null is none.
pub fn unique_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Number(number) => Some(number.to_string().into()),
        value => value.as_str().or_else(|| reference(value)).map(Cow::Borrowed),
    }
}

/// The id that a reference holds.
pub(super) fn reference(value: &Value) -> Option<&str> {
    value.get("id")?.as_str()
}
