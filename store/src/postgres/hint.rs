//! What may have changed, as nodes tell each other.

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::schema::Flag;
use silverback_model::set::{Kind, unique_text};
use uuid::Uuid;

use super::events::{CACHE, CORE_CACHE, TARGETS, UPSTREAMS};
use super::transaction::Done;

/// A look-up by a field's value, or of what belongs to another entity. It can be told to others
/// without telling the value, which may be a secret.
pub(crate) type Lookup = u128;

/// The look-up of a kind's entities by the value of a field.
pub(crate) fn lookup(kind: &str, field: &str, value: &str) -> Lookup {
    let text = format!("{kind}\0{field}\0{value}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).as_u128()
}

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Hint {
    /// An entity, and with it the answers to look-ups.
    Entity { kind: String, key: String, lookups: Vec<Lookup> },
    /// Any entity of a kind.
    Kind(String),
    /// Anything.
    All,
    /// What a plugin keeps: it knows what the words mean.
    Plugin { channel: String, data: String },
}

impl Hint {
    /// What a change says to others.
    pub(crate) fn of(kind: &Kind, done: &Done) -> Hint {
        let mut lookups = Vec::new();
        let records = [done.old.as_deref(), done.change.record.as_deref()];
        for record in records.into_iter().flatten() {
            add_lookups(&mut lookups, kind, record);
        }
        lookups.sort_unstable();
        lookups.dedup();
        Hint::Entity { kind: done.change.kind.clone(), key: done.change.key.clone(), lookups }
    }

    /// The form in a message.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Hint::Entity { kind, key, lookups } => {
                let lookups: Vec<String> = lookups.iter().map(|l| format!("{l:x}")).collect();
                json!([kind, key, lookups])
            }
            Hint::Kind(kind) => json!([kind]),
            Hint::All => json!([]),
            Hint::Plugin { channel, data } => json!({ "channel": channel, "data": data }),
        }
    }

    /// Reads a message's form; what is not understood may mean anything.
    pub(crate) fn from_json(value: &Value) -> Hint {
        if let (Some(channel), Some(data)) = (value["channel"].as_str(), value["data"].as_str()) {
            return Hint::Plugin { channel: channel.to_owned(), data: data.to_owned() };
        }
        let Some(parts) = value.as_array() else { return Hint::All };
        let text = |at: usize| parts.get(at).and_then(Value::as_str).map(str::to_owned);
        match (text(0), text(1), parts.get(2).and_then(Value::as_array)) {
            (Some(kind), Some(key), Some(lookups)) => {
                let number = |l: &Value| Lookup::from_str_radix(l.as_str()?, 16).ok();
                Hint::Entity { kind, key, lookups: lookups.iter().filter_map(number).collect() }
            }
            (Some(kind), ..) => Hint::Kind(kind),
            _ => Hint::All,
        }
    }

    /// What an event of Kong's says has changed. Kong says which keys of its caches are stale,
    /// which does not always say which entity it was: then it may have been any of its kind.
    pub(crate) fn of_event(channel: &str, data: &str) -> Vec<Hint> {
        let kinds = |kinds: &[&str]| kinds.iter().map(|k| Hint::Kind((*k).to_owned())).collect();
        match (channel, data.split(':').next().unwrap_or_default()) {
            (TARGETS, _) => kinds(&["targets"]),
            (UPSTREAMS, _) => kinds(&["upstreams", "targets"]),
            (CORE_CACHE, "router") => kinds(&["routes", "services"]),
            (CORE_CACHE, "plugins_iterator") => kinds(&["plugins"]),
            (CORE_CACHE, "certificates" | "snis") => kinds(&["certificates", "snis"]),
            (CORE_CACHE, "ca_stores") => kinds(&["ca_certificates"]),
            (CORE_CACHE, kind) => kinds(&[kind]),
            // A plugin may have cached anything under any key.
            (CACHE, kind) => {
                let (channel, data) = (channel.to_owned(), data.to_owned());
                vec![Hint::Kind(kind.to_owned()), Hint::Plugin { channel, data }]
            }
            // Its channel is the business of those who listen.
            _ => vec![Hint::Plugin { channel: channel.to_owned(), data: data.to_owned() }],
        }
    }
}

fn add_lookups(lookups: &mut Vec<Lookup>, kind: &Kind, record: &Record) {
    let name = &kind.schema.name;
    lookups.push(lookup(name, "id", &kind.key(record)));
    let references: Vec<&str> = kind.schema.foreign_fields().map(|(field, ..)| field).collect();
    for (field, described) in &kind.schema.fields {
        let of_interest = described.is(Flag::Unique)
            || references.contains(&field.as_str())
            || kind.schema.endpoint_key.as_ref() == Some(field);
        let value = record.get(field).filter(|_| of_interest);
        if let Some(value) = value.and_then(unique_text) {
            lookups.push(lookup(name, field, &value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_come_back_as_they_went() {
        let entity =
            Hint::Entity { kind: "routes".into(), key: "1".into(), lookups: vec![1, u128::MAX] };
        let plugin = Hint::Plugin { channel: "proxy-cache:purge".into(), data: "id:nil".into() };
        for hint in [entity, Hint::Kind("acls".into()), Hint::All, plugin] {
            assert_eq!(Hint::from_json(&hint.to_json()), hint);
        }
        assert_eq!(Hint::from_json(&json!("?")), Hint::All);
    }

    #[test]
    fn kongs_events_are_understood() {
        let check = |channel, data, expect: &[&str]| {
            let kinds = expect.iter().map(|kind| Hint::Kind((*kind).to_owned()));
            assert_eq!(Hint::of_event(channel, data), kinds.collect::<Vec<_>>(), "{data}");
        };
        check(CORE_CACHE, "router:version", &["routes", "services"]);
        check(CORE_CACHE, "plugins:cors:::::ws", &["plugins"]);
        check(TARGETS, "create:id", &["targets"]);
        let plugin =
            |channel: &str, data: &str| Hint::Plugin { channel: channel.into(), data: data.into() };
        assert_eq!(Hint::of_event("elsewhere", "x"), [plugin("elsewhere", "x")]);
        let (kind, key) = ("keyauth_credentials", "keyauth_credentials:key:::::ws");
        assert_eq!(Hint::of_event(CACHE, key), [Hint::Kind(kind.into()), plugin(CACHE, key)]);
    }
}
