//! The store in PostgreSQL, without a gateway around it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use silverback_e2e::postgres::{Database, PASSWORD, Postgres, USER};
use silverback_model::Record;
use silverback_model::declarative::{self, Format};
use silverback_model::errors::Fault;
use silverback_model::schema::{Field, Schema};
use silverback_model::set::{Kinds, PageQuery, TagFilter};
use silverback_store::postgres::migrations::Migrations;
use silverback_store::postgres::{Bounds, Keeping, Server, Settings, Tls};
use silverback_store::{Key, Options, Sought, Store};

fn server(database: &Database) -> Server {
    Server {
        host: "127.0.0.1".to_owned(),
        port: database.server().port(),
        timeout: Duration::from_secs(5),
        user: USER.to_owned(),
        password: Some(PASSWORD.to_owned().into()),
        database: database.name().to_owned(),
        schema: String::new(),
        tls: Tls::Off,
        insists_on_tls: true,
        certificate: None,
        pool: Bounds { connections: 8, ..Bounds::default() },
    }
}

fn kinds() -> Arc<Kinds> {
    let plugin = Schema::named("limits")
        .with_field("list", Field::array(Field::string()).default(json!([])))
        .with_field("word", Field::string());
    Arc::new(Kinds::bundled([(
        "limits".to_owned(),
        Arc::new(Schema::plugin("limits", Field::record(plugin))),
    )]))
}

async fn open(database: &Database) -> Store {
    let settings = Settings {
        primary: server(database),
        replica: None,
        ttl_cleanup_interval: Duration::from_millis(200),
        update_frequency: Duration::from_millis(200),
        update_propagation: Duration::ZERO,
        plugins: vec!["bundled".to_owned()],
        own_migrations: Vec::new(),
        node_id: uuid::Uuid::new_v4().to_string(),
    };
    Store::postgres(settings, Keeping::default(), kinds(), None).await.unwrap()
}

/// A database with Kong's tables, and so many stores on it.
async fn stores<const N: usize>() -> (Database, [Store; N]) {
    let database = Postgres::shared().database();
    let migrations = Migrations::new(server(&database), &["bundled".to_owned()], &[], |_| ());
    migrations.unwrap().bootstrap(Duration::from_secs(10)).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..N {
        all.push(open(&database).await);
    }
    (database, all.try_into().unwrap_or_else(|_| unreachable!("as many as asked for")))
}

fn record(value: Value) -> Record {
    let Value::Object(record) = value else { panic!("no object") };
    record
}

async fn insert(store: &Store, kind: &str, value: Value) -> Result<Arc<Record>, Fault> {
    store.insert(kind, record(value), &Options::default()).await
}

fn id(record: &Record) -> String {
    record["id"].as_str().unwrap().to_owned()
}

async fn get(sought: Sought) -> Vec<Arc<Record>> {
    match sought {
        Sought::Now(found) => found.to_vec(),
        Sought::Later(coming) => coming.await.unwrap().to_vec(),
    }
}

/// Asks until it holds; the time that took.
async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn entities_come_back_as_they_went() {
    let (database, [store]) = stores().await;
    let service = json!({"name": "s", "url": "https://h.test:1234/p", "tags": ["a", "b"]});
    let service = insert(&store, "services", service).await.unwrap();
    let route = json!({
        "name": "r", "service": {"name": "s"}, "hosts": ["h"], "headers": {"x": ["1"]},
        "sources": [{"ip": "10.0.0.0/8", "port": 1}], "protocols": ["tcp"], "methods": null,
        "hosts": null, "headers": null
    });
    let route = insert(&store, "routes", route).await.unwrap();
    let plugin = json!({"name": "limits", "route": {"id": id(&route)}, "config": {"word": "w"}});
    let plugin = insert(&store, "plugins", plugin).await.unwrap();
    let upstream = insert(&store, "upstreams", json!({"name": "u"})).await.unwrap();
    for (kind, written) in
        [("services", &service), ("routes", &route), ("plugins", &plugin), ("upstreams", &upstream)]
    {
        let read = store.select(kind, Key::Id(&id(written))).await.unwrap().unwrap();
        assert_eq!(&read, written, "{kind}");
        assert_eq!(store.entities().of(kind).len(), 1, "{kind}");
    }
    let again = open(&database).await;
    let held = again.entities().of("plugins").get(&id(&plugin)).cloned().unwrap();
    assert_eq!(silverback_model::shown(&held), *plugin);
    let tags = database.sql("SELECT entity_name, tags FROM tags WHERE tags IS NOT NULL");
    assert_eq!(tags, [["services".to_owned(), "{a,b}".to_owned()]]);
    let key = database.value("SELECT cache_key FROM plugins");
    let workspace = database.value("SELECT id FROM workspaces");
    assert_eq!(key, format!("plugins:limits:{}::::{workspace}", id(&route)));
    assert_eq!(database.value("SELECT DISTINCT ws_id FROM routes"), workspace);
    assert_eq!(service.get("ws_id"), None);
}

/// What Kong has written is read: empty lists are `{}` there.
#[tokio::test]
async fn what_lua_wrote_is_read() {
    let (database, [store]) = stores().await;
    database.sql(
        "INSERT INTO plugins (id, name, config, enabled, protocols, cache_key, ws_id) \
         SELECT '7fca84d6-7d37-4a74-a7b0-93e576089a41', 'limits', '{\"list\": {}}', true, \
         '{http}', 'plugins:limits:::::' || id, id FROM workspaces",
    );
    let id = "7fca84d6-7d37-4a74-a7b0-93e576089a41";
    let read = store.select("plugins", Key::Id(id)).await.unwrap().unwrap();
    assert_eq!(read["config"], json!({"list": [], "word": null}));
}

#[tokio::test]
async fn the_database_says_no_in_kongs_words() {
    let (_database, [store]) = stores().await;
    let check = async |kind: &str, value: Value, status: u16, message: &str| {
        let fault = insert(&store, kind, value).await.unwrap_err();
        assert_eq!((fault.status(), fault.message.as_str()), (status, message));
    };
    let consumer = insert(&store, "consumers", json!({"username": "a"})).await.unwrap();
    check(
        "consumers",
        json!({"username": "a"}),
        409,
        "UNIQUE violation detected on '{username=\"a\"}'",
    )
    .await;
    let key = id(&consumer);
    check(
        "consumers",
        json!({"id": key, "username": "b"}),
        400,
        &format!("primary key violation on key '{{id=\"{key}\"}}'"),
    )
    .await;
    let nobody = "a5b0b5a4-5b5e-4f0e-8f0e-0a0a0a0a0a0a";
    check(
        "acls",
        json!({"consumer": {"id": nobody}, "group": "g"}),
        400,
        &format!(
            "the foreign key '{{id=\"{nobody}\"}}' does not reference an existing 'consumers' \
             entity."
        ),
    )
    .await;
    insert(&store, "acls", json!({"consumer": {"id": key}, "group": "g"})).await.unwrap();
    let again = insert(&store, "acls", json!({"consumer": {"id": key}, "group": "g"})).await;
    let fault = again.unwrap_err();
    assert_eq!(fault.status(), 409, "{fault}");
    assert_eq!(json!(fault.fields), json!({"consumer": {"id": key}, "group": "g"}));
    let service = insert(&store, "services", json!({"host": "h"})).await.unwrap();
    let of = json!({"paths": ["/"], "service": {"id": id(&service)}});
    insert(&store, "routes", of).await.unwrap();
    let fault = store.delete("services", Key::Id(&id(&service))).await.unwrap_err();
    let text = "an existing 'routes' entity references this 'services' entity";
    assert_eq!((fault.status(), fault.message.as_str()), (400, text));
    let fault = insert(&store, "services", json!({"host": "h", "name": "a\u{0}"})).await;
    assert_eq!(fault.unwrap_err().status(), 400);
}

#[tokio::test]
async fn deleting_takes_along_what_belongs_to_it() {
    let (database, [store, other]) = stores().await;
    let consumer = insert(&store, "consumers", json!({"username": "a"})).await.unwrap();
    let of = json!({"id": id(&consumer)});
    insert(&store, "keyauth_credentials", json!({"key": "k", "consumer": of})).await.unwrap();
    let plugin = json!({"name": "limits", "consumer": of});
    let plugin = insert(&store, "plugins", plugin).await.unwrap();
    let held = async || other.entities().of("plugins").get(&id(&plugin)).is_some();
    until("the plugin elsewhere", Duration::from_secs(2), held).await;
    assert_eq!(get(other.find("keyauth_credentials", "key", "k")).await.len(), 1);
    store.delete("consumers", Key::Unique("username", "a")).await.unwrap();
    assert_eq!(database.value("SELECT count(*) FROM keyauth_credentials"), "0");
    assert!(store.entities().of("plugins").is_empty());
    until("the plugin's end", Duration::from_secs(2), async || !held().await).await;
    until("the key's end", Duration::from_secs(2), async || {
        get(other.find("keyauth_credentials", "key", "k")).await.is_empty()
    })
    .await;
    store.delete("consumers", Key::Unique("username", "a")).await.unwrap();
}

#[tokio::test]
async fn pages_and_tags() {
    let (_database, [store]) = stores().await;
    for i in 0..5 {
        let tags = if i % 2 == 0 { json!(["even", "all"]) } else { json!(["all"]) };
        insert(&store, "consumers", json!({"username": i.to_string(), "tags": tags}))
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut offset: Option<String> = None;
    loop {
        let query = PageQuery { size: 2, offset: offset.as_deref(), ..PageQuery::default() };
        let page = store.page("consumers", &query).await.unwrap();
        seen.extend(page.records.iter().map(|record| id(record)));
        offset = page.next;
        if offset.is_none() {
            break;
        }
    }
    assert!(seen.len() == 5 && seen.is_sorted(), "{seen:?}");
    let count = async |filter: &str| {
        let filter = TagFilter::parse(filter).unwrap();
        let query = PageQuery { tags: Some(&filter), ..PageQuery::default() };
        store.page("consumers", &query).await.unwrap().records.len()
    };
    assert_eq!((count("even").await, count("even,all").await, count("even/all").await), (3, 3, 5));
    let query = PageQuery { offset: Some("!"), ..PageQuery::default() };
    let fault = store.page("consumers", &query).await.unwrap_err();
    assert_eq!(fault.message, "'!' is not a valid offset: bad base64 encoding");
}

/// A change is served by another node within 100 ms, look-ups included, and what is not there as
/// well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_of_each_other() {
    let (_database, [one, two]) = stores().await;
    let find = async |key: &str| get(two.find("keyauth_credentials", "key", key)).await;
    let consumer = insert(&one, "consumers", json!({"username": "a"})).await.unwrap();
    let mut longest = Duration::ZERO;
    for i in 0..10 {
        let key = format!("key{i}");
        assert!(find(&key).await.is_empty());
        let credential = json!({"key": key, "consumer": {"id": id(&consumer)}});
        let credential = insert(&one, "keyauth_credentials", credential).await.unwrap();
        let limit = Duration::from_secs(2);
        let took = until("the key elsewhere", limit, async || !find(&key).await.is_empty()).await;
        longest = longest.max(took);
        let route = insert(&one, "routes", json!({"paths": [format!("/{i}")]})).await.unwrap();
        let held = async || two.entities().of("routes").get(&id(&route)).is_some();
        longest = longest.max(until("the route elsewhere", limit, held).await);
        one.delete("keyauth_credentials", Key::Id(&id(&credential))).await.unwrap();
        let took = until("the key's end", limit, async || find(&key).await.is_empty()).await;
        longest = longest.max(took);
    }
    println!("longest: {longest:?}");
    assert!(longest < Duration::from_millis(100), "{longest:?}");
}

/// A Kong node says in `cluster_events` what has changed, and reads there what we have.
#[tokio::test]
async fn kongs_events_are_heard_and_written() {
    let (database, [store]) = stores().await;
    let consumer = insert(&store, "consumers", json!({"username": "a"})).await.unwrap();
    let key = json!({"key": "k", "consumer": {"id": id(&consumer)}});
    insert(&store, "keyauth_credentials", key).await.unwrap();
    insert(&store, "routes", json!({"paths": ["/"]})).await.unwrap();
    let written = database.sql("SELECT DISTINCT channel || ' ' || data FROM cluster_events");
    let written: Vec<String> = written.into_iter().flatten().collect();
    let workspace = database.value("SELECT id FROM workspaces");
    for event in [
        "invalidations_kong_core_db_cache router:version".to_owned(),
        format!("invalidations keyauth_credentials:k:::::{workspace}"),
        format!("invalidations consumers:{}:::::{workspace}", id(&consumer)),
        format!("invalidations consumers:a:::::{workspace}"),
    ] {
        assert!(written.contains(&event), "{event} is not in {written:?}");
    }
    assert_eq!(get(store.find("keyauth_credentials", "key", "k")).await.len(), 1);
    database.sql("DELETE FROM keyauth_credentials; UPDATE routes SET paths = '{/new}'");
    let says = |channel: &str, data: &str| {
        database.sql(&format!(
            "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES \
             ('{}', '{}', now(), now() + interval '1 hour', '{channel}', '{data}')",
            uuid::Uuid::new_v4(),
            uuid::Uuid::new_v4()
        ));
    };
    says("invalidations_kong_core_db_cache", "router:version");
    says("invalidations", &format!("keyauth_credentials:k:::::{workspace}"));
    until("Kong's changes", Duration::from_secs(3), async || {
        let paths = store.entities().of("routes").iter().map(|r| r["paths"].clone()).collect();
        let gone = get(store.find("keyauth_credentials", "key", "k")).await.is_empty();
        gone && Value::Array(paths) == json!([["/new"]])
    })
    .await;
}

/// Many at once on two nodes: each name is given once, and no change of a field is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_do_not_undo_each_other() {
    let (database, stores) = stores::<2>().await;
    let stores = Arc::new(stores);
    let service = insert(&stores[0], "services", json!({"host": "h"})).await.unwrap();
    let service = id(&service);
    let fields = ["retries", "connect_timeout", "read_timeout", "write_timeout"];
    let mut tasks = Vec::new();
    for i in 0..16_usize {
        let (stores, service) = (Arc::clone(&stores), service.clone());
        tasks.push(tokio::spawn(async move {
            let store = &stores[i % 2];
            let name = format!("n{}", i / 4);
            let made = insert(store, "consumers", json!({"username": name})).await;
            let field = fields[i % 4];
            let change = record(json!({ field: 1000 + i }));
            let options = Options::default();
            let changed = store.update("services", Key::Id(&service), change, &options).await;
            (made, changed)
        }));
    }
    let mut made = 0;
    for task in tasks {
        let (consumer, changed) = task.await.unwrap();
        made += usize::from(consumer.is_ok());
        changed.unwrap();
    }
    assert_eq!(made, 4);
    assert_eq!(database.value("SELECT count(*) FROM consumers"), "4");
    let row = &database
        .sql("SELECT retries, connect_timeout, read_timeout, write_timeout FROM services")[0];
    assert!(row.iter().all(|value| value.parse::<u32>().unwrap() >= 1000), "{row:?}");
}

/// A file without ids goes in again and again, through two nodes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_do_not_hinder_each_other() {
    const TIMES: usize = 10;
    let (database, stores) = stores::<2>().await;
    let stores = Arc::new(stores);
    let services: Vec<Value> =
        (0..20).map(|n| json!({"name": format!("s{n}"), "host": "h"})).collect();
    let key = json!([{"key": "k"}]);
    let file = json!({
        "_format_version": "3.0",
        "services": services,
        "consumers": [{"username": "c", "keyauth_credentials": key, "jwt_secrets": key}],
    });
    let mut tasks = Vec::new();
    for n in 0..2 {
        let (stores, file) = (Arc::clone(&stores), file.to_string());
        tasks.push(tokio::spawn(async move {
            for _ in 0..TIMES {
                let loaded = declarative::load(&file, Format::Any, &kinds()).unwrap();
                stores[n].import(&loaded.entities).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for (table, count) in [("services", "20"), ("keyauth_credentials", "1"), ("jwt_secrets", "1")] {
        assert_eq!(database.value(&format!("SELECT count(*) FROM {table}")), count, "{table}");
    }
}

/// PUT of the same entity on two nodes at once: whoever comes second changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upserts_meet() {
    let (database, stores) = stores::<2>().await;
    let stores = Arc::new(stores);
    let mut tasks = Vec::new();
    for n in 0..40_usize {
        let stores = Arc::clone(&stores);
        tasks.push(tokio::spawn(async move {
            let name = format!("n{}", n / 4);
            let input = record(json!({"custom_id": format!("{name}-{}", n % 4)}));
            let key = Key::Unique("username", &name);
            stores[n % 2].upsert("consumers", key, input, &Options::default()).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(database.value("SELECT count(*) FROM consumers"), "10");
}

/// A service and its first route: one node deletes it while another makes the route. One of both
/// goes well, and nothing refers to what is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_hold_between_nodes() {
    let (database, stores) = stores::<2>().await;
    let stores = Arc::new(stores);
    let mut tasks = Vec::new();
    for n in 0..20_usize {
        let service = json!({"host": "h", "name": format!("s{n}")});
        let service = id(&insert(&stores[0], "services", service).await.unwrap());
        let (here, there, of) = (Arc::clone(&stores), Arc::clone(&stores), service.clone());
        let delete =
            tokio::spawn(async move { here[n % 2].delete("services", Key::Id(&service)).await });
        let make = tokio::spawn(async move {
            let route = json!({"paths": ["/"], "service": {"id": of}});
            insert(&there[(n + 1) % 2], "routes", route).await
        });
        tasks.push((delete, make));
    }
    let mut made = Vec::new();
    for (delete, make) in tasks {
        match (delete.await.unwrap(), make.await.unwrap()) {
            (Ok(()), Err(fault)) | (Err(fault), Ok(_)) if fault.status() != 400 => {
                panic!("{fault}")
            }
            (Ok(()), Err(_)) => {}
            (Err(_), Ok(route)) => made.push(id(&route)),
            both => panic!("{both:?}"),
        }
    }
    let kept = database.sql("SELECT r.id FROM routes r JOIN services s ON s.id = r.service_id");
    let mut kept: Vec<String> = kept.into_iter().flatten().collect();
    kept.sort();
    made.sort();
    assert_eq!(kept, made);
    for store in stores.iter() {
        let held = async || store.entities().of("routes").len() == made.len();
        until("the routes", Duration::from_secs(10), held).await;
    }
}

#[tokio::test]
async fn what_has_ended_is_gone() {
    let (database, [store]) = stores().await;
    let consumer = insert(&store, "consumers", json!({"username": "a"})).await.unwrap();
    let key = record(json!({"key": "k", "consumer": {"id": id(&consumer)}}));
    let options = Options { ttl: Some(json!(1)) };
    let key = store.insert("keyauth_credentials", key, &options).await.unwrap();
    assert_eq!(key["ttl"], json!(1).as_i64().map_or(json!(0), |n| json!(n - 1)));
    assert_eq!(get(store.find("keyauth_credentials", "key", "k")).await.len(), 1);
    until("the key's end", Duration::from_secs(5), async || {
        get(store.find("keyauth_credentials", "key", "k")).await.is_empty()
    })
    .await;
    assert!(store.select("keyauth_credentials", Key::Id(&id(&key))).await.unwrap().is_none());
    until("the row's end", Duration::from_secs(5), async || {
        database.value("SELECT count(*) FROM keyauth_credentials") == "0"
    })
    .await;
}
