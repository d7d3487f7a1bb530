//! The entities of one kind, with their indexes.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Kind, TagFilter};
use crate::Record;

/// The entities of one kind, in the order of their keys.
#[derive(Debug, Default)]
pub struct Collection {
    entries: Vec<Entry>,
    endpoint_key: Option<String>,
    /// By unique field, then value.
    unique: HashMap<String, HashMap<Box<str>, u32>>,
    /// By field that refers to another entity, then its key.
    children: HashMap<String, HashMap<Box<str>, Vec<u32>>>,
    /// By what makes an entity unique together, as far as it has that.
    cache_keys: HashMap<String, u32>,
}

#[derive(Debug)]
struct Entry {
    key: Box<str>,
    record: Arc<Record>,
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
        let mut entries: Vec<Entry> = records
            .into_iter()
            .map(|record| Entry { key: kind.key(&record).into(), record })
            .collect();
        // Stable, so that of entities with one key the last is the last.
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.reverse();
        entries.dedup_by(|a, b| a.key == b.key);
        entries.reverse();
        let endpoint_key = kind.schema.endpoint_key.clone();
        let mut collection = Collection { entries, endpoint_key, ..Collection::default() };
        collection.index(kind);
        collection
    }

    fn index(&mut self, kind: &Kind) {
        let entries = || self.entries.iter().zip(0_u32..);
        for field in kind.unique_fields() {
            let mut values = HashMap::with_capacity(self.entries.len());
            for (entry, at) in entries() {
                if let Some(value) = entry.record.get(field).and_then(text) {
                    values.insert(value.into(), at);
                }
            }
            self.unique.insert(field.to_owned(), values);
        }
        for (field, _, _) in kind.schema.foreign_fields() {
            let mut parents: HashMap<Box<str>, Vec<u32>> = HashMap::new();
            for (entry, at) in entries() {
                let Some(parent) = entry.record.get(field).and_then(reference) else { continue };
                match parents.get_mut(parent) {
                    Some(children) => children.push(at),
                    None => {
                        parents.insert(parent.into(), vec![at]);
                    }
                }
            }
            self.children.insert(field.to_owned(), parents);
        }
        if !kind.schema.cache_key.is_empty() {
            let keys = entries().map(|(entry, at)| (kind.cache_key(&entry.record), at));
            self.cache_keys = keys.collect();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Record>> {
        self.entries.iter().map(|entry| &entry.record)
    }

    /// The entity of this primary key; several fields are joined by `:`.
    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        let at = self.entries.binary_search_by(|entry| (*entry.key).cmp(key)).ok()?;
        self.entries.get(at).map(|entry| &entry.record)
    }

    /// The entity with this value in a unique field; none if the field is not unique.
    pub fn by(&self, field: &str, value: &str) -> Option<&Arc<Record>> {
        self.at(*self.unique.get(field)?.get(value)?)
    }

    /// The entity of this primary key or endpoint key, as it stands in a path of the Admin API.
    pub fn find(&self, key: &str) -> Option<&Arc<Record>> {
        self.get(key).or_else(|| self.by(self.endpoint_key.as_deref()?, key))
    }

    /// The entity whose fields of the schema's `cache_key` have these values, an empty text for
    /// null: of a plugin, its name and the ids of route, service and consumer.
    pub fn by_cache_key(&self, values: &[&str]) -> Option<&Arc<Record>> {
        self.at(*self.cache_keys.get(&values.join(":"))?)
    }

    /// The entities whose field refers to the entity of this key.
    pub fn children(&self, field: &str, parent: &str) -> impl Iterator<Item = &Arc<Record>> {
        self.children_at(field, parent).iter().filter_map(|at| self.at(*at))
    }

    /// A page of the entities.
    ///
    /// # Errors
    /// If the offset is not one of ours.
    pub fn page(&self, query: &PageQuery<'_>) -> Result<Page, OffsetError> {
        let start = match query.offset {
            None => 0,
            Some(offset) => {
                let after = decode(offset)?;
                self.entries.partition_point(|entry| *entry.key <= *after)
            }
        };
        let wanted = |entry: &&Entry| query.tags.is_none_or(|tags| tags.matches(&entry.record));
        match query.parent {
            None => {
                let entries = self.entries.get(start..).unwrap_or_default();
                Ok(page_of(entries.iter().filter(wanted), query.size))
            }
            Some((field, parent)) => {
                let at = self.children_at(field, parent).iter().map(|at| *at as usize);
                let entries = at.filter(|at| *at >= start).filter_map(|at| self.entries.get(at));
                Ok(page_of(entries.filter(wanted), query.size))
            }
        }
    }

    fn at(&self, at: u32) -> Option<&Arc<Record>> {
        self.entries.get(at as usize).map(|entry| &entry.record)
    }

    fn children_at(&self, field: &str, parent: &str) -> &[u32] {
        let children = self.children.get(field).and_then(|parents| parents.get(parent));
        children.map_or(&[], Vec::as_slice)
    }
}

fn page_of<'a>(mut entries: impl Iterator<Item = &'a Entry>, size: usize) -> Page {
    let mut page = Page::default();
    let mut last = None;
    for entry in entries.by_ref().take(size) {
        page.records.push(Arc::clone(&entry.record));
        last = Some(entry);
    }
    if entries.next().is_some() {
        page.next = last.map(|entry| URL_SAFE_NO_PAD.encode(entry.key.as_bytes()));
    }
    page
}

fn decode(offset: &str) -> Result<String, OffsetError> {
    let bytes = URL_SAFE_NO_PAD.decode(offset).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| OffsetError(offset.to_owned()))
}

/// The value of a unique field, as it is looked up.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| reference(value))
}

/// The id that a reference holds.
pub(super) fn reference(value: &Value) -> Option<&str> {
    value.get("id")?.as_str()
}
