//! A set of validated entities: what a declarative file holds, and what a store holds of a moment.
//!
//! It is shared, and knows its entities by key, by unique fields and by what they refer to. Copies
//! share what is equal: a change of one entity costs microseconds in a set of a million. Entities
//! of a kind stand in the order of their keys, as Kong's DB-less mode pages them
//! (kong/db/strategies/off/init.lua).

mod collection;
mod kinds;
mod sorted;
mod tags;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;

use crate::schema::EntityName;
use crate::{Entity, Record};

pub use collection::{Collection, OffsetError, Page, PageQuery, unique_text};
pub use kinds::{Child, Kind, Kinds};
pub use tags::{TagFilter, TagFilterError};

/// A set of entities, by kind.
#[derive(Debug, Clone)]
pub struct Entities {
    kinds: Arc<Kinds>,
    /// Names of kinds are not of a client's choice: a quick hash does.
    collections: HashMap<String, Arc<Collection>, foldhash::fast::RandomState>,
}

impl Entities {
    /// A set without entities.
    pub fn empty(kinds: Arc<Kinds>) -> Entities {
        Entities { kinds, collections: HashMap::default() }
    }

    /// A set of these entities, by the names of their kinds. Of entities with the same key, the
    /// last stays; kinds that are not known are left out.
    pub fn new(
        kinds: Arc<Kinds>,
        records: impl IntoIterator<Item = (String, Vec<Arc<Record>>)>,
    ) -> Entities {
        let mut by_kind: BTreeMap<String, Vec<Arc<Record>>> = BTreeMap::new();
        for (name, records) in records {
            by_kind.entry(name).or_default().extend(records);
        }
        let collections = by_kind.into_iter().filter(|(_, records)| !records.is_empty());
        let collections = collections
            .filter_map(|(name, records)| {
                let collection = Collection::new(kinds.get(&name)?, records);
                Some((name, Arc::new(collection)))
            })
            .collect();
        Entities { kinds, collections }
    }

    /// This set with other entities of one kind; the other kinds are shared with this one.
    pub fn with(&self, kind: &str, records: Vec<Arc<Record>>) -> Entities {
        let mut set = self.clone();
        match self.kinds.get(kind) {
            Some(kind_of) if !records.is_empty() => {
                let collection = Collection::new(kind_of, records);
                set.collections.insert(kind.to_owned(), Arc::new(collection));
            }
            _ => {
                set.collections.remove(kind);
            }
        }
        set
    }

    /// Puts an entity in, in the place of the one with its key, which is returned. Nothing happens
    /// if the kind is not known.
    pub fn put(&mut self, kind: &str, record: Arc<Record>) -> Option<Arc<Record>> {
        let kind = self.kinds.get(kind)?;
        let collection = self.collections.entry(kind.schema.name.clone()).or_default();
        Arc::make_mut(collection).put(kind, record)
    }

    /// Takes the entity of this primary key out, and returns it.
    pub fn remove(&mut self, kind: &str, key: &str) -> Option<Arc<Record>> {
        let kind = self.kinds.get(kind)?;
        let collection = self.collections.get_mut(&kind.schema.name)?;
        collection.get(key)?;
        let record = Arc::make_mut(collection).remove(kind, key);
        if collection.is_empty() {
            self.collections.remove(&kind.schema.name);
        }
        record
    }

    /// This set with other kinds; entities of kinds that are no more are left out.
    pub fn renewed(&self, kinds: &Arc<Kinds>) -> Entities {
        let records = self.iter().map(|(kind, collection)| {
            (kind.schema.name.clone(), collection.iter().cloned().collect())
        });
        Entities::new(Arc::clone(kinds), records)
    }

    /// The kinds that there can be.
    pub fn kinds(&self) -> &Arc<Kinds> {
        &self.kinds
    }

    /// The entities of a kind, by its schema's name; none if there is no such kind.
    pub fn of(&self, kind: &str) -> &Collection {
        static NONE: LazyLock<Collection> = LazyLock::new(Collection::default);
        self.collections.get(kind).map_or(&*NONE, Arc::as_ref)
    }

    /// Every kind of which there are entities, in the order of the kinds.
    pub fn iter(&self) -> impl Iterator<Item = (&Kind, &Collection)> {
        self.kinds.iter().filter_map(|kind| {
            Some((kind, self.collections.get(&kind.schema.name).map(Arc::as_ref)?))
        })
    }

    /// Whether the entities of a kind are those of another set, unchanged since one was a copy of
    /// the other.
    pub fn shares(&self, other: &Entities, kind: &str) -> bool {
        match (self.collections.get(kind), other.collections.get(kind)) {
            (None, None) => true,
            (Some(own), Some(theirs)) => Arc::ptr_eq(own, theirs),
            _ => false,
        }
    }

    /// How many entities there are of all kinds.
    pub fn len(&self) -> usize {
        self.collections.values().map(|collection| collection.len()).sum()
    }

    /// Whether there are no entities at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entities of a kind with their typed views. Reading them costs a microsecond or more
    /// each: whoever compiles the set does it once.
    ///
    /// # Errors
    /// If a record was not validated by the schema of `T`.
    pub fn typed<T>(&self) -> Result<Vec<Entity<T>>, serde_json::Error>
    where
        T: EntityName + DeserializeOwned,
    {
        self.of(T::NAME).iter().map(|record| Entity::new(Arc::clone(record))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entities::{Route, Service};
    use crate::schema::Mode;
    use serde_json::{Value, json};

    fn record(kinds: &Kinds, kind: &str, value: Value) -> Arc<Record> {
        let Value::Object(input) = value else { unreachable!() };
        let schema = &kinds.get(kind).expect("kind").schema;
        Arc::new(schema.process(input, Mode::Insert).expect("valid"))
    }

    fn id(n: u32) -> String {
        format!("00000000-0000-4000-8000-{n:012}")
    }

    fn set() -> Entities {
        let kinds = Arc::new(Kinds::bundled([]));
        let service = |n, name: &str, tags: Value| {
            record(
                &kinds,
                "services",
                json!({"id": id(n), "name": name, "host": "h", "tags": tags}),
            )
        };
        let route = |n, service: u32| {
            let service = json!({"id": id(service)});
            record(&kinds, "routes", json!({"id": id(n), "paths": ["/"], "service": service}))
        };
        let services = vec![
            service(3, "c", json!(["x", "y"])),
            service(1, "a", json!(["x"])),
            service(2, "b", Value::Null),
        ];
        let routes = vec![route(12, 1), route(11, 1), route(13, 2)];
        let records = [("services".to_owned(), services), ("routes".to_owned(), routes)];
        Entities::new(kinds, records)
    }

    fn names<'a>(records: impl IntoIterator<Item = &'a Arc<Record>>) -> Vec<&'a str> {
        records.into_iter().filter_map(|record| record.get("name")?.as_str()).collect()
    }

    #[test]
    fn looks_up_by_key_and_unique_field() {
        let set = set();
        let services = set.of("services");
        assert_eq!(names(services.iter()), ["a", "b", "c"]);
        assert_eq!(names(services.get(&id(2))), ["b"]);
        assert_eq!(names(services.by("name", "c")), ["c"]);
        assert_eq!(names(services.find("a")), ["a"]);
        assert_eq!(names(services.find(&id(1))), ["a"]);
        assert!(services.by("host", "h").is_none());
        assert!(set.of("nothing").is_empty());
        assert_eq!(set.len(), 6);
    }

    #[test]
    fn knows_children() {
        let set = set();
        let ids = |parent: u32| -> Vec<String> {
            let parent = id(parent);
            let routes = set.of("routes").children("service", &parent);
            routes.filter_map(|record| Some(record.get("id")?.as_str()?.to_owned())).collect()
        };
        assert_eq!(ids(1), [id(11), id(12)]);
        assert_eq!(ids(2), [id(13)]);
        assert!(ids(3).is_empty());
    }

    #[test]
    fn pages() {
        let set = set();
        let services = set.of("services");
        let mut query = PageQuery { size: 2, ..PageQuery::default() };
        let page = services.page(&query).expect("page");
        assert_eq!(names(&page.records), ["a", "b"]);
        query.offset = page.next.as_deref();
        let page = services.page(&query).expect("page");
        assert_eq!(names(&page.records), ["c"]);
        assert_eq!(page.next, None);
        query.offset = Some("no offset");
        assert!(services.page(&query).is_err());
        let query =
            PageQuery { size: 1, parent: Some(("service", &id(1))), ..PageQuery::default() };
        let page = set.of("routes").page(&query).expect("page");
        assert_eq!(page.records.len(), 1);
        assert!(page.next.is_some());
    }

    #[test]
    fn filters_by_tags() {
        let set = set();
        let check = |filter: &str, expect: &[&str]| {
            let filter = TagFilter::parse(filter).expect("filter");
            let query = PageQuery { tags: Some(&filter), ..PageQuery::default() };
            let page = set.of("services").page(&query).expect("page");
            assert_eq!(names(&page.records), expect);
        };
        check("x", &["a", "c"]);
        check("x,y", &["c"]);
        check("y/z", &["c"]);
        check("z", &[]);
    }

    #[test]
    fn gives_typed_views() {
        let set = set();
        let services = set.typed::<Service>().expect("typed");
        assert_eq!(services[0].name.as_deref(), Some("a"));
        assert_eq!(set.typed::<Route>().expect("typed").len(), 3);
    }

    /// A set that came to be step by step answers as one that was made at once.
    #[test]
    fn changes_one_by_one() {
        let set = set();
        let mut grown = Entities::empty(Arc::clone(set.kinds()));
        for (kind, records) in set.iter() {
            for record in records.iter() {
                assert!(grown.put(&kind.schema.name, Arc::clone(record)).is_none());
            }
        }
        assert_eq!(grown.len(), set.len());
        let mut renamed = Record::clone(set.of("services").get(&id(1)).expect("service"));
        renamed.insert("name".to_owned(), "z".into());
        assert!(grown.put("services", Arc::new(renamed)).is_some());
        assert!(grown.of("services").by("name", "a").is_none());
        assert_eq!(names(grown.of("services").by("name", "z")), ["z"]);
        assert!(grown.remove("routes", &id(11)).is_some());
        assert!(grown.remove("routes", &id(11)).is_none());
        assert_eq!(grown.of("routes").children("service", &id(1)).count(), 1);
        assert_eq!(set.of("routes").children("service", &id(1)).count(), 2);
        assert_eq!((grown.len(), set.len()), (5, 6));
        let mut changed = set.clone();
        changed.remove("services", &id(2));
        let beyond = |a: &Entities, b: &Entities| a.of("services").beyond(b.of("services")).count();
        assert_eq!((beyond(&set, &changed), beyond(&changed, &set)), (1, 0));
    }

    #[test]
    fn replaces_one_kind() {
        let set = set();
        let changed = set.with("services", Vec::new());
        assert!(changed.of("services").is_empty());
        assert_eq!((changed.of("routes").len(), set.of("services").len()), (3, 3));
    }
}
