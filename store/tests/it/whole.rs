//! Whole sets of entities: imported, exported, swept.

use std::time::Duration;

use serde_json::json;
use silverback_model::declarative::{self, Format};
use silverback_model::set::PageQuery;
use silverback_store::{Key, sqlite, ttl};

use crate::kit::{Kit, id, kinds, to};

const FILE: &str = "{_format_version: '3.0', services: [{name: a, host: h, routes: [{name: r, \
                    paths: [/]}]}], consumers: [{username: c, keyauth_credentials: [{key: k}]}]}";

#[tokio::test]
async fn what_is_exported_can_be_imported() {
    let kit = Kit::new();
    let loaded = declarative::load(FILE, Format::Any, &kinds()).unwrap();
    kit.store().import(&loaded.entities).await.unwrap();
    // The file again: everything takes its own place.
    let loaded = declarative::load(FILE, Format::Any, &kinds()).unwrap();
    kit.store().import(&loaded.entities).await.unwrap();
    let mortal = json!({"key": "m", "consumer": {"username": "c"}, "ttl": 100});
    kit.insert("keyauth_credentials", mortal).await.unwrap();
    // A node has it open meanwhile.
    let entities = sqlite::read(&kit.file(), &kinds()).unwrap();
    let text = declarative::to_yaml(&declarative::export(&entities));
    let again = declarative::load(&text, Format::Any, &kinds()).unwrap();
    let other = Kit::new();
    other.store().import(&again.entities).await.unwrap();
    let counts = |kit: &Kit| {
        let entities = kit.store().entities();
        let counts = entities.iter().map(|(kind, all)| (kind.schema.name.clone(), all.len()));
        counts.collect::<Vec<_>>()
    };
    assert_eq!(counts(&kit), counts(&other));
    let key = Key::Unique("key", "m");
    let copy = other.store().select("keyauth_credentials", key).await.unwrap().unwrap();
    assert!(copy["ttl"].as_i64().is_some_and(|left| (90..=100).contains(&left)), "{copy:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_not_imported() {
    let kit = Kit::new();
    kit.insert("services", json!({"id": id(1), "name": "a", "host": "h"})).await.unwrap();
    let loaded = declarative::load(FILE, Format::Any, &kinds()).unwrap();
    let fault = kit.store().import(&loaded.entities).await.unwrap_err();
    assert_eq!(fault.message, "UNIQUE violation detected on '{name=\"a\"}'");
    assert!(kit.store().entities().of("consumers").is_empty());
}

/// Fields that came since an entity was written have their defaults, those that are gone are gone.
#[tokio::test]
async fn what_an_older_version_wrote_is_completed() {
    let mut kit = Kit::new();
    kit.insert("services", json!({"id": id(1), "name": "a", "host": "h"})).await.unwrap();
    kit.insert("plugins", json!({"id": id(2), "name": "plain"})).await.unwrap();
    kit.insert("consumers", json!({"id": id(3), "username": "c"})).await.unwrap();
    let kept = |kit: &Kit, kind: &str, n: u32| {
        let entities = kit.store().entities();
        entities.of(kind).get(&id(n)).cloned().unwrap()
    };
    let whole = [kept(&kit, "services", 1), kept(&kit, "plugins", 2), kept(&kit, "consumers", 3)];
    kit.close();
    let file = rusqlite::Connection::open(kit.file()).unwrap();
    file.execute_batch(
        "UPDATE entities SET record = json_remove(record, '$.retries', '$.enabled', '$.path'); \
         UPDATE entities SET record = json_remove(record, '$.config.key', '$.custom_id', \
         '$.protocols'); \
         UPDATE entities SET record = json_set(record, '$.gone', 1, '$.host', 'h') \
         WHERE kind = 'services'",
    )
    .unwrap();
    drop(file);
    kit.reopen();
    let read = [kept(&kit, "services", 1), kept(&kit, "plugins", 2), kept(&kit, "consumers", 3)];
    assert_eq!(read, whole);
    assert_eq!((&read[0]["retries"], &read[1]["enabled"]), (&json!(5), &json!(true)));
}

#[tokio::test]
async fn what_has_ended_is_swept() {
    let kit = Kit::new();
    kit.insert("consumers", json!({"id": id(3), "username": "c"})).await.unwrap();
    let mortal = json!({"id": id(4), "key": "m", "consumer": to(3), "ttl": 1});
    kit.insert("keyauth_credentials", mortal).await.unwrap();
    let immortal = json!({"id": id(2), "key": "i", "consumer": to(3)});
    kit.insert("keyauth_credentials", immortal).await.unwrap();
    kit.store().expire().await.unwrap();
    assert_eq!(kit.store().entities().of("keyauth_credentials").len(), 2);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(ttl::now() > 1.6e9);
    // What has ended leaves no gap in a page.
    let query = PageQuery { size: 1, ..PageQuery::default() };
    let page = kit.store().page("keyauth_credentials", &query).await.unwrap();
    assert_eq!((page.records.len(), page.next), (1, None));
    kit.store().expire().await.unwrap();
    let left = kit.store().entities();
    let left: Vec<_> = left.of("keyauth_credentials").iter().map(|key| &key["key"]).collect();
    assert_eq!(left, ["i"]);
}
