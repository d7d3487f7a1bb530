//! Changes by chance: whatever is tried, keys stay unique, references lead somewhere, and the file
//! holds what was acknowledged.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::schema::{Field, Flag, Kind as FieldKind, Schema};
use silverback_model::set::{Entities, Kind};
use silverback_store::{Key, Options};

use crate::kit::{Kit, id};

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len() as u64) as usize]
    }

    /// A value that a field may have, or may not.
    fn value(&mut self, field: &Field) -> Value {
        if self.roll(12) == 0 {
            return [json!(null), json!(1.5), json!("x"), json!([]), json!({}), json!([null])]
                [self.roll(6) as usize]
                .clone();
        }
        match &field.kind {
            FieldKind::Boolean => (self.roll(2) == 0).into(),
            FieldKind::Integer | FieldKind::Number => self.roll(70_000).into(),
            FieldKind::Array(of) | FieldKind::Set(of) => {
                (0..self.roll(3)).map(|_| self.value(of)).collect()
            }
            FieldKind::Map { values, .. } => json!({ "k": self.value(values) }),
            FieldKind::Record(schema) => self.record(schema, 3).into(),
            FieldKind::Foreign { .. } => json!({ "id": id(self.roll(8) as u32) }),
            FieldKind::String => self.text().into(),
            _ => json!({ "any": 1 }),
        }
    }

    /// A text that fits somewhere: a name, a path, an address, an id.
    fn text(&mut self) -> String {
        match self.roll(8) {
            0 => format!("/p{}", self.roll(9)),
            1 => format!("{}.test", self.pick(&["a", "b", "c", "*"])),
            2 => format!("10.0.0.{}", self.roll(300)),
            3 => id(self.roll(8) as u32),
            4 => self.pick(&["http", "https", "none", "round-robin", "plain"]).to_owned(),
            5 => "\u{0}\u{1f600} %".to_owned(),
            _ => format!("n{}", self.roll(6)),
        }
    }

    /// An input, with one field in `sparse` on average beside those that it needs.
    fn record(&mut self, schema: &Schema, sparse: u64) -> Record {
        let mut record = Record::new();
        for (name, field) in &schema.fields {
            if field.is(Flag::Auto) {
                continue;
            }
            if field.is(Flag::Required) && field.default.is_none() || self.roll(sparse) == 0 {
                record.insert(name.clone(), self.value(field));
            }
        }
        record
    }

    /// An input that is likely to be right.
    fn input(&mut self, kind: &Kind) -> Record {
        let mut input = match kind.schema.name.as_str() {
            "services" => json!({"name": self.text(), "host": "h.test"}),
            "routes" => json!({"name": self.text(), "paths": ["/"], "service": self.reference()}),
            "consumers" => json!({"username": self.text(), "custom_id": self.text()}),
            "upstreams" => json!({"name": format!("{}.test", self.roll(6))}),
            "targets" => json!({"target": self.text(), "upstream": self.reference()}),
            "plugins" => json!({"name": "plain", "service": self.reference(), "config": {}}),
            "keyauth_credentials" => json!({"key": self.text(), "consumer": self.reference()}),
            "acls" => json!({"group": self.text(), "consumer": self.reference()}),
            _ => self.record(&kind.schema, 4).into(),
        };
        if self.roll(3) > 0 {
            input["id"] = id(self.roll(8) as u32).into();
        }
        if self.roll(6) == 0 {
            let wild = self.record(&kind.schema, 6);
            input.as_object_mut().unwrap().extend(wild);
        }
        let Value::Object(input) = input else { unreachable!() };
        input
    }

    fn reference(&mut self) -> Value {
        match self.roll(4) {
            0 => Value::Null,
            1 => json!({ "name": self.text() }),
            _ => json!({ "id": id(self.roll(8) as u32) }),
        }
    }
}

type Everything = BTreeMap<(String, String), Arc<Record>>;

fn everything(entities: &Entities) -> Everything {
    let all = entities.iter().flat_map(|(kind, records)| {
        records
            .iter()
            .map(|record| ((kind.schema.name.clone(), kind.key(record)), Arc::clone(record)))
    });
    all.collect()
}

/// Every key is its own entity's, every unique value is there once, every reference leads to an
/// entity.
fn check_whole(entities: &Entities) {
    for (kind, records) in entities.iter() {
        let mut seen = HashSet::new();
        for record in records.iter() {
            let key = kind.key(record);
            assert!(records.get(&key).is_some_and(|found| Arc::ptr_eq(found, record)));
            for field in kind.unique_fields() {
                let value = record.get(field).filter(|value| !value.is_null());
                let value = value.map(|value| (field.to_owned(), value.to_string()));
                assert!(value.is_none_or(|value| seen.insert(value)), "{field} {record:?}");
            }
            if kind.schema.cache_key.len() > 1 {
                assert!(seen.insert((String::new(), kind.cache_key(record))), "{record:?}");
            }
            for (field, other, _) in kind.schema.foreign_fields() {
                let Some(id) = record.get(field).and_then(|v| v.get("id")?.as_str()) else {
                    continue;
                };
                assert!(entities.of(other).get(id).is_some(), "{field} {record:?}");
                let mut children = records.children(field, id);
                assert!(children.any(|child| Arc::ptr_eq(child, record)));
            }
        }
    }
}

#[tokio::test]
async fn nothing_breaks_the_rules() {
    let mut kit = Kit::new();
    let mut dice = Dice(11);
    let kinds = Arc::clone(kit.store().entities().kinds());
    let names: Vec<_> = kinds.iter().filter(|kind| kind.schema.generate_admin_api).collect();
    let often = ["services", "routes", "consumers", "upstreams", "targets", "plugins"];
    let (mut done, options) = (0, Options::default());
    for step in 0..6_000_u32 {
        let kind = match dice.roll(3) {
            0 => names[dice.roll(names.len() as u64) as usize],
            1 => kinds.get(dice.pick(&["keyauth_credentials", "acls"])).unwrap(),
            _ => kinds.get(dice.pick(&often)).unwrap(),
        };
        let name = kind.schema.name.as_str();
        let before = kit.store().entities();
        let input = dice.input(kind);
        let (by_id, text) = (id(dice.roll(8) as u32), dice.text());
        let key = match (&kind.schema.endpoint_key, dice.roll(3)) {
            (Some(field), 0) => Key::Unique(field, &text),
            _ => Key::Id(&by_id),
        };
        let store = kit.store();
        let outcome = match dice.roll(8) {
            0 => store.delete(name, key).await,
            1 | 2 => store.update(name, key, input, &options).await.map(drop),
            3 => store.upsert(name, key, input, &options).await.map(drop),
            _ => store.insert(name, input, &options).await.map(drop),
        };
        match outcome {
            Ok(()) => done += 1,
            Err(fault) => {
                assert!(fault.status() < 500, "{fault:?}");
                assert!(Arc::ptr_eq(&before, &kit.store().entities()), "half a change");
            }
        }
        if step % 500 == 499 {
            let state = everything(&kit.store().entities());
            check_whole(&kit.store().entities());
            kit.reopen();
            assert!(state == everything(&kit.store().entities()), "the file differs");
        }
    }
    assert!(done > 1_000, "only {done} changes were right");
}
