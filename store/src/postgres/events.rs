//! What other nodes are told of a change.
//!
//! Kong's nodes read the table `cluster_events`: which keys of their caches are stale
//! (kong/runloop/events.lua, kong/cache/init.lua). Ours hear at once, by NOTIFY. Both are part of
//! the change's own transaction: nobody hears of what has not happened, nor misses what has.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::set::Kind;
use uuid::Uuid;

use super::hint::Hint;
use super::tables::{Table, Tables};
use super::transaction::Done;

/// The channel of NOTIFY.
pub(super) const CHANNEL: &str = "silverback";

/// Kong's channel for keys of the cache of core entities.
pub(super) const CORE_CACHE: &str = "invalidations_kong_core_db_cache";
/// Kong's channel for keys of the cache of all other entities.
pub(super) const CACHE: &str = crate::CACHE_INVALIDATIONS;
/// Kong's channels for what balancers are made of.
pub(super) const TARGETS: &str = "balancer:targets";
/// See [`TARGETS`].
pub(super) const UPSTREAMS: &str = "balancer:upstreams";

/// The channels of changes, which nodes hear of by NOTIFY as well.
pub(super) const OF_CHANGES: [&str; 4] = [CORE_CACHE, CACHE, TARGETS, UPSTREAMS];

/// Kinds of the core cache (kong/constants.lua, `ENTITY_CACHE_STORE`).
const CORE: [&str; 11] = [
    "certificates",
    "services",
    "routes",
    "snis",
    "upstreams",
    "targets",
    "plugins",
    "ca_certificates",
    "vaults",
    "key_sets",
    "keys",
];

/// How long events stay in the table (kong/cluster_events/init.lua, `MIN_EVENT_TTL_IN_DB`).
const EVENT_LIFE: &str = "3600 second";
/// How far in the future an event is dated. Whoever reads all events up to now does not read one
/// of a transaction that is committed after that: this leaves time to commit.
const AHEAD: &str = "20 millisecond";
/// How many events one statement leaves.
const AT_ONCE: usize = 5_000;
/// The longest payload of NOTIFY, less than 8000 bytes.
const PAYLOAD_MAX: usize = 7_900;

/// Who tells.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    /// The node's id.
    pub(crate) node: String,
    /// The id of this store, so that it does not hear itself.
    pub(crate) instance: String,
    /// How long replicas may lag behind, in whole seconds.
    pub(crate) delay: u64,
}

/// The SQL that tells of changes, in statements that do not take long each; none if there are none.
pub(super) fn of(changes: &[Done], tables: &Tables, author: &Author) -> Vec<String> {
    if changes.is_empty() {
        return Vec::new();
    }
    let events: Vec<_> = for_kong(changes, tables).into_iter().collect();
    let mut all: Vec<String> =
        events.chunks(AT_ONCE).map(|some| rows(some.iter(), author)).collect();
    let notify = notify(&payload(changes, tables, author));
    match all.last_mut() {
        Some(last) => last.push_str(&notify),
        None => all.push(notify),
    }
    all
}

/// The SQL that tells other nodes of what a plugin keeps.
pub(super) fn of_plugin(channel: &'static str, data: &str, author: &Author) -> String {
    let hint = Hint::Plugin { channel: channel.to_owned(), data: data.to_owned() };
    let payload = json!({"from": author.instance, "hints": [hint.to_json()]}).to_string();
    row(channel, data, author) + &notify(&payload)
}

/// The SQL that leaves an event for those who look for some.
pub(super) fn row(channel: &str, data: &str, author: &Author) -> String {
    rows([&(channel, data.to_owned())].into_iter(), author)
}

fn notify(payload: &str) -> String {
    format!(" SELECT pg_notify('{CHANNEL}', {});", literal(payload))
}

fn rows<'a>(events: impl Iterator<Item = &'a (&'a str, String)>, author: &Author) -> String {
    let nbf = match author.delay {
        0 => "NULL".to_owned(),
        seconds => format!("clock_timestamp() + INTERVAL '{seconds} second'"),
    };
    let row = |(channel, data): &(&str, String)| {
        format!(
            "({}, {}, date_trunc('milliseconds', clock_timestamp()) + INTERVAL '{AHEAD}', {nbf}, \
             clock_timestamp() + INTERVAL '{EVENT_LIFE}', {}, {})",
            literal(&event_id()),
            literal(&author.node),
            literal(channel),
            literal(data)
        )
    };
    let events: Vec<String> = events.map(row).collect();
    format!(
        "INSERT INTO cluster_events (id, node_id, at, nbf, expire_at, channel, data) VALUES {};",
        events.join(", ")
    )
}

/// A random id of version 8, where Kong's have version 4: so ours are told apart.
fn event_id() -> String {
    uuid::Builder::from_custom_bytes(Uuid::new_v4().into_bytes()).into_uuid().to_string()
}

/// What our nodes hear: what has changed, by kind and key.
fn payload(changes: &[Done], tables: &Tables, author: &Author) -> String {
    let hints = |whole: bool| {
        let hints = changes.iter().filter_map(|done| {
            let kind = tables.kinds.get(&done.change.kind)?;
            let hint = Hint::of(kind, done);
            Some(if whole { Hint::Kind(done.change.kind.clone()) } else { hint })
        });
        let hints: BTreeSet<String> = hints.map(|hint| hint.to_json().to_string()).collect();
        let hints = hints.iter().filter_map(|hint| serde_json::from_str(hint).ok());
        json!({"from": author.instance, "hints": Value::Array(hints.collect())}).to_string()
    };
    let payload = hints(false);
    if payload.len() <= PAYLOAD_MAX { payload } else { hints(true) }
}

/// What Kong's nodes read: channel and data of each event.
fn for_kong(changes: &[Done], tables: &Tables) -> BTreeSet<(&'static str, String)> {
    let mut events = BTreeSet::new();
    for done in changes {
        let kind = tables.kinds.get(&done.change.kind);
        if let Some((kind, table)) = kind.and_then(|kind| Some((kind, tables.of(kind)?))) {
            add(&mut events, done, kind, table, &tables.workspace);
        }
    }
    events
}

fn add(
    events: &mut BTreeSet<(&'static str, String)>,
    done: &Done,
    kind: &Kind,
    table: &Table,
    workspace: &str,
) {
    let name = kind.schema.name.as_str();
    let cache = if CORE.contains(&name) { CORE_CACHE } else { CACHE };
    let (old, new) = (done.old.as_deref(), done.change.record.as_deref());
    let both = || [old, new].into_iter().flatten();
    let operation = match (old, new) {
        (None, _) => "create",
        (_, None) => "delete",
        _ => "update",
    };
    for record in both() {
        events.insert((cache, table.kong_cache_key(record, workspace)));
    }
    let text = |record: &Record, field: &str| {
        record.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match name {
        "routes" => {
            events.insert((CORE_CACHE, "router:version".to_owned()));
        }
        // A new one has no routes yet, a deleted one none any more.
        "services" if operation == "update" => {
            events.insert((CORE_CACHE, "router:version".to_owned()));
        }
        "plugins" => {
            events.insert((CORE_CACHE, "plugins_iterator:version".to_owned()));
        }
        "snis" => {
            for name in both().flat_map(|record| wild_names(&text(record, "name"))) {
                events.insert((CORE_CACHE, format!("snis:{name}")));
            }
        }
        "consumers" => {
            for name in both().map(|record| text(record, "username")).filter(|n| !n.is_empty()) {
                events.insert((CACHE, table.cache_key(&name, workspace)));
            }
        }
        "upstreams" => {
            if let Some(record) = new.or(old) {
                let (id, name) = (text(record, "id"), text(record, "name"));
                events.insert((UPSTREAMS, format!("{operation}:{workspace}:{id}:{name}")));
            }
        }
        "targets" => {
            let upstream = new.or(old).and_then(|record| record.get("upstream")?.get("id"));
            let upstream = upstream.and_then(Value::as_str).unwrap_or_default();
            events.insert((TARGETS, format!("{operation}:{upstream}")));
        }
        _ => {}
    }
}

/// A server name and the wildcards that match it (kong/runloop/certificate.lua,
/// `produce_wild_snis`).
fn wild_names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Some((_, rest)) = name.split_once('.') {
        names.push(format!("*.{rest}"));
    }
    if let Some((rest, _)) = name.rsplit_once('.') {
        names.push(format!("{rest}.*"));
    }
    names
}

/// A text as SQL writes it.
pub(super) fn literal(text: &str) -> String {
    // Texts with NUL do not come this far: the entity's own statement was refused.
    let quoted = text.replace('\0', "").replace('\'', "''").replace('\\', "\\\\");
    if text.contains('\\') { format!("E'{quoted}'") } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        let check = |text, expect: &str| assert_eq!(literal(text), expect);
        check("a", "'a'");
        check("it's", "'it''s'");
        check("a\\' b", "E'a\\\\'' b'");
    }

    #[test]
    fn wildcards_match_a_name() {
        assert_eq!(wild_names("a.b.c"), ["a.b.c", "*.b.c", "a.b.*"]);
        assert_eq!(wild_names("host"), ["host"]);
    }
}
