//! Changes, one by one.

use serde_json::{Value, json};
use silverback_model::errors::Fault;
use silverback_model::set::PageQuery;
use silverback_store::{Key, Options, Store};

use crate::kit::{Kit, id, kinds, record, to};

fn message<T: std::fmt::Debug>(result: Result<T, Fault>) -> (u16, String) {
    let fault = result.unwrap_err();
    (fault.status(), fault.message)
}

async fn seeded() -> Kit {
    let kit = Kit::new();
    let service = json!({"id": id(1), "name": "a", "host": "h.test"});
    kit.insert("services", service).await.unwrap();
    let route = json!({"id": id(2), "name": "r", "paths": ["/r"], "service": {"name": "a"}});
    let route = kit.insert("routes", route).await.unwrap();
    assert_eq!(route["service"], to(1));
    kit.insert("consumers", json!({"id": id(3), "username": "alice"})).await.unwrap();
    kit
}

#[tokio::test]
async fn what_is_written_is_read_and_kept() {
    let mut kit = seeded().await;
    kit.update("services", Key::Unique("name", "a"), json!({"port": 81})).await.unwrap();
    let id = id(1);
    for _ in 0..2 {
        let service = kit.store().select("services", Key::Id(&id)).await.unwrap().unwrap();
        assert_eq!((&service["name"], &service["port"]), (&json!("a"), &json!(81)));
        assert!(!service.contains_key("ws_id"));
        kit.reopen();
    }
    let page = kit.store().page("routes", &PageQuery::default()).await.unwrap();
    assert_eq!(page.records.len(), 1);
    let workspace = Key::Unique("name", "default");
    assert!(kit.store().select("workspaces", workspace).await.unwrap().is_some());
}

#[tokio::test]
async fn keys_are_unique() {
    let kit = seeded().await;
    let check = async |kind: &str, input: Value, expect: (u16, &str)| {
        let got = message(kit.insert(kind, input).await);
        assert_eq!(got, (expect.0, expect.1.to_owned()));
    };
    let key = format!("primary key violation on key '{{id=\"{}\"}}'", id(1));
    check("services", json!({"id": id(1), "host": "h"}), (400, &key)).await;
    let named = json!({"name": "a", "host": "h"});
    check("services", named, (409, "UNIQUE violation detected on '{name=\"a\"}'")).await;
    let plugin = json!({"name": "plain", "service": to(1)});
    kit.insert("plugins", plugin.clone()).await.unwrap();
    let text = format!(
        "UNIQUE violation detected on '{{consumer=null,name=\"plain\",route=null,\
         service={{id=\"{}\"}}}}'",
        id(1)
    );
    check("plugins", plugin, (409, &text)).await;
    // An entity is no other to itself.
    let same = kit.update("services", Key::Id(&id(1)), json!({"name": "a"})).await;
    assert!(same.is_ok());
}

#[tokio::test]
async fn references_lead_somewhere() {
    let kit = seeded().await;
    let route = json!({"paths": ["/x"], "service": to(9)});
    let text = format!(
        "the foreign key '{{id=\"{}\"}}' does not reference an existing 'services' entity.",
        id(9)
    );
    assert_eq!(message(kit.insert("routes", route).await), (400, text));
    let route = json!({"paths": ["/x"], "service": {"name": "none"}});
    let (status, text) = message(kit.insert("routes", route).await);
    assert_eq!(status, 400);
    assert!(text.starts_with("foreign key unresolved (service.name: "), "{text}");
    // Beside the key, what is said of another entity is not kept.
    let route = json!({"paths": ["/x"], "service": {"id": id(1), "name": "b", "port": 1}});
    let route = kit.insert("routes", route).await.unwrap();
    assert_eq!(route["service"], to(1));
}

#[tokio::test]
async fn deleting_takes_along_or_is_refused() {
    let kit = seeded().await;
    let store = kit.store();
    let (service, consumer) = (id(1), id(3));
    let text = "an existing 'routes' entity references this 'services' entity";
    let refused = store.delete("services", Key::Id(&service)).await;
    assert_eq!(message(refused), (400, text.to_owned()));
    let key = json!({"key": "k", "consumer": {"username": "alice"}});
    kit.insert("keyauth_credentials", key).await.unwrap();
    store.delete("consumers", Key::Id(&consumer)).await.unwrap();
    assert!(store.entities().of("keyauth_credentials").is_empty());
    store.delete("consumers", Key::Id(&consumer)).await.unwrap();
    store.delete("routes", Key::Unique("name", "r")).await.unwrap();
    store.delete("services", Key::Unique("name", "a")).await.unwrap();
    assert_eq!(store.entities().len(), 1);
}

#[tokio::test]
async fn upserts_replace_or_make() {
    let kit = seeded().await;
    let made = kit.upsert("services", Key::Unique("name", "b"), json!({"host": "b"})).await;
    let made = made.unwrap();
    let again = json!({"host": "c", "id": id(7), "name": "other"});
    let again = kit.upsert("services", Key::Unique("name", "b"), again).await.unwrap();
    assert_eq!((&again["id"], &again["name"]), (&made["id"], &json!("b")));
    let by_id = kit.upsert("services", Key::Id(&id(1)), json!({"host": "z"})).await.unwrap();
    assert_eq!((&by_id["id"], &by_id["name"]), (&json!(id(1)), &Value::Null));
    let missing = kit.update("services", Key::Unique("name", "none"), json!({})).await;
    assert_eq!(message(missing), (404, "could not find the entity with '{name=\"none\"}'".into()));
}

#[tokio::test]
async fn lives_end() {
    let kit = seeded().await;
    let key = json!({"key": "k", "consumer": to(3), "ttl": 1});
    let made = kit.insert("keyauth_credentials", key).await.unwrap();
    assert!(made["ttl"].as_i64().is_some_and(|left| left <= 1), "{made:?}");
    let key = Key::Unique("key", "k");
    let found = async || kit.store().select("keyauth_credentials", key).await.unwrap();
    assert!(found().await.is_some());
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(found().await.is_none());
}

#[tokio::test]
async fn targets_have_a_port() {
    let kit = seeded().await;
    kit.insert("upstreams", json!({"id": id(4), "name": "u.test"})).await.unwrap();
    let target = json!({"target": "[::1]", "upstream": to(4)});
    let target = kit.insert("targets", target).await.unwrap();
    assert_eq!(target["target"], "[0000:0000:0000:0000:0000:0000:0000:0001]:8000");
    let wrong = kit.insert("targets", json!({"target": "a b", "upstream": to(4)})).await;
    let text = "schema violation (target: Invalid target; not a valid hostname or ip address)";
    assert_eq!(message(wrong), (400, text.to_owned()));
}

#[tokio::test]
async fn without_a_database_nothing_is_written() {
    let store = Store::memory(kinds());
    let options = Options::default();
    let check = async |input: Value, expect: (u16, &str)| {
        let got = message(store.insert("services", record(input), &options).await);
        assert_eq!(got, (expect.0, expect.1.to_owned()));
    };
    let text = "cannot create 'services' entities when not using a database";
    check(json!({"host": "h"}), (405, text)).await;
    check(json!({}), (400, "schema violation (host: required field missing)")).await;
    assert!(store.delete("services", Key::Unique("name", "x")).await.is_ok());
    let missing = store.update("services", Key::Unique("name", "x"), record(json!({})), &options);
    assert_eq!(message(missing.await).0, 404);
}

#[tokio::test]
async fn only_one_process_writes() {
    let kit = seeded().await;
    let error = Store::sqlite(&kit.file(), &kinds()).unwrap_err().to_string();
    assert!(error.contains("is in use by another process"), "{error}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(kit.file()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
