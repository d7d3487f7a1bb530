//! Many new entities of a schema: what is the same for all that say nothing of it is made and
//! checked once.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use serde_json::Value;

use super::defaults::Context;
use super::validate::special;
use super::{Flag, Kind, Schema};
use crate::Record;
use crate::errors::Errors;

impl Schema {
    /// Makes an entity as [`Schema::defaults`] does, and checks it as [`Schema::validate`] does.
    /// It is there even if something is wrong with it, unless that is a shorthand field.
    pub(crate) fn new_like(
        &self,
        mut data: Record,
        templates: &mut Templates,
    ) -> (Record, Result<(), Errors>) {
        if let Err(errors) = self.spread_shorthands(&mut data) {
            return (Record::new(), Err(errors));
        }
        let subschema = self.subschema(&data).cloned();
        let template = templates.of(self, subschema.as_ref());
        let (entity, touched) = match template.fill(self, data, subschema.as_ref()) {
            Ok(filled) => filled,
            Err(errors) => return (Record::new(), Err(errors)),
        };
        let subschema = self.subschema(&entity);
        let known = Known { touched, checked: template.checked(self, subschema) };
        let errors = self.validate_known(&entity, &known);
        (entity, errors)
    }
}

/// Some fields of a schema, by their positions.
#[derive(Debug, Clone, Copy, Default)]
struct Fields(u128);

impl Fields {
    fn bit(at: usize) -> u128 {
        u32::try_from(at).ok().and_then(|at| 1_u128.checked_shl(at)).unwrap_or(0)
    }

    /// Adds one; those that there is no room for are left out.
    fn add(&mut self, at: usize) {
        self.0 |= Fields::bit(at);
    }

    fn has(self, at: usize) -> bool {
        self.0 & Fields::bit(at) != 0
    }
}

/// What is known of an entity before it is validated.
pub(crate) struct Known<'a> {
    /// The fields that may not be as they are in the template.
    touched: Fields,
    checked: &'a Checked,
}

impl Known<'_> {
    /// Whether nothing is wrong with the field of this position.
    pub(crate) fn is_right(&self, at: usize) -> bool {
        self.checked.right.has(at) && !self.touched.has(at)
    }

    /// Whether a check of several fields says nothing, by its position; `special` are those of
    /// the subschema.
    pub(crate) fn passes(&self, at: usize, special: bool) -> bool {
        let checks = if special { &self.checked.special } else { &self.checked.checks };
        let needs = checks.get(at).copied().flatten();
        needs.is_some_and(|needs| needs.0 & self.touched.0 == 0)
    }
}

/// Entities of which nothing is said, by schema and subschema; while these stay where they are.
#[derive(Default)]
pub(crate) struct Templates(HashMap<(usize, usize), Template>);

struct Template {
    record: Record,
    /// The fields that are the same for all entities that don't have them.
    stays: Fields,
    /// What is found of it, by the subschema that its entities choose once they are filled in.
    checked: Vec<(usize, Checked)>,
}

/// What checking a template says.
struct Checked {
    /// The fields that nothing is wrong with, however the others are.
    right: Fields,
    /// Of each check of several fields, on which it depends, if it says nothing of the template.
    checks: Vec<Option<Fields>>,
    /// The same of the subschema's.
    special: Vec<Option<Fields>>,
}

fn address(subschema: Option<&Arc<Schema>>) -> usize {
    subschema.map_or(0, |subschema| Arc::as_ptr(subschema).addr())
}

impl Templates {
    fn of(&mut self, schema: &Schema, subschema: Option<&Arc<Schema>>) -> &mut Template {
        let key = (ptr::from_ref(schema).addr(), address(subschema));
        self.0.entry(key).or_insert_with(|| Template::of(schema, subschema))
    }
}

impl Template {
    fn of(schema: &Schema, subschema: Option<&Arc<Schema>>) -> Template {
        let mut record = schema.empty_record();
        let mut stays = Fields::default();
        for (at, (name, own)) in schema.fields.iter().enumerate() {
            let field = special(subschema, name).unwrap_or(own);
            let may_stay = !field.is(Flag::Auto) && !matches!(field.kind, Kind::Record(_));
            let value = may_stay.then(|| field.adjusted(None, Context::Insert).ok()).flatten();
            let value = value.flatten();
            if value.is_some() {
                stays.add(at);
            }
            record.insert(name.clone(), value.unwrap_or_default());
        }
        Template { record, stays, checked: Vec::new() }
    }

    /// An entity of what is sent, and which fields may not be as they are here.
    fn fill(
        &self,
        schema: &Schema,
        data: Record,
        subschema: Option<&Arc<Schema>>,
    ) -> Result<(Record, Fields), Errors> {
        let mut out = self.record.clone();
        let mut touched = Fields::default();
        let mut values: Vec<(String, Value)> = data.into_iter().collect();
        let mut absent = Vec::new();
        for ((at, (name, own)), slot) in schema.fields.iter().enumerate().zip(out.values_mut()) {
            // Few are sent: to compare their names costs less than to hash each.
            let place = values.iter().position(|(other, _)| other == name);
            if place.is_none() && self.stays.has(at) {
                continue;
            }
            touched.add(at);
            let value = place.map(|place| values.remove(place).1);
            let field = special(subschema, name).unwrap_or(own);
            let value = field.auto_value(name, value, Context::Insert);
            match field.adjusted(value, Context::Insert)? {
                Some(value) => *slot = value,
                None => absent.push(name),
            }
        }
        for name in absent {
            out.shift_remove(name);
        }
        out.extend(values);
        Ok((out, touched))
    }

    fn checked(&mut self, schema: &Schema, subschema: Option<&Arc<Schema>>) -> &Checked {
        let address = address(subschema);
        let known = self.checked.iter().position(|(other, _)| *other == address);
        let at = known.unwrap_or_else(|| {
            self.checked.push((address, Checked::of(self, schema, subschema)));
            self.checked.len() - 1
        });
        &self.checked[at].1
    }
}

impl Checked {
    fn of(template: &Template, schema: &Schema, subschema: Option<&Arc<Schema>>) -> Checked {
        let mut right = Fields::default();
        for (at, (name, own)) in schema.fields.iter().enumerate() {
            let value = crate::field(&template.record, name).unwrap_or(&Value::Null);
            let field = special(subschema, name).unwrap_or(own);
            let is_there = !field.is(Flag::Required) || !value.is_null();
            if template.stays.has(at) && is_there && field.check(value).is_ok() {
                right.add(at);
            }
        }
        let checks = |special: bool| {
            let checks = schema.check_alone(&template.record, subschema, special);
            let needs = checks.map(|sources| {
                let mut needs = Fields::default();
                for source in sources? {
                    let at = schema.fields.get_index_of(source)?;
                    needs.add(Some(at).filter(|at| right.has(*at))?);
                }
                Some(needs)
            });
            needs.collect()
        };
        Checked { checks: checks(false), special: checks(true), right }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::set::Kinds;

    /// Fields that some kind has, right and wrong.
    fn said() -> Vec<(&'static str, Value)> {
        let id = "00000000-0000-4000-8000-000000000001";
        vec![
            ("name", json!("x")),
            ("name", json!("")),
            ("paths", json!(["/a"])),
            ("paths", json!(["a"])),
            ("paths", json!([])),
            ("protocols", json!(["grpc"])),
            ("protocols", json!(["tcp"])),
            ("protocols", json!(["http", "tcp"])),
            ("protocols", json!(["http"])),
            ("protocols", json!(null)),
            ("snis", json!(["a.b"])),
            ("methods", json!(["GET"])),
            ("strip_path", json!(true)),
            ("headers", json!({"a": []})),
            ("sources", json!([{"port": 1}])),
            ("expression", json!("x")),
            ("tags", json!(["a"])),
            ("unknown", json!(1)),
            ("service", json!({"id": id})),
            ("service", json!("s")),
            ("regex_priority", json!(null)),
            ("url", json!("http://a:1/b")),
            ("host", json!("h")),
            ("protocol", json!("tls")),
            ("path", json!("/x")),
            ("tls_verify", json!(true)),
            ("retries", json!(-1)),
            ("hash_on", json!("header")),
            ("slots", json!(5)),
            ("hash_on_header", json!("x")),
            ("algorithm", json!("consistent-hashing")),
            ("target", json!("a:1")),
            ("weight", json!(null)),
            ("username", json!("u")),
        ]
    }

    /// Whatever is said of entities, they come out as they do one by one.
    #[test]
    fn templates_change_nothing() {
        let kinds = Kinds::bundled([]);
        let id = "00000000-0000-4000-8000-000000000001";
        let said = said();
        let mut random = 7_usize;
        let mut below = |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % end
        };
        let mut templates = Templates::default();
        for _ in 0..8_000 {
            let kind = kinds.iter().nth(below(kinds.iter().count())).expect("kind");
            let schema = [&kind.schema, &kind.flat, &kind.nested][below(3)];
            let mut data = Record::from_iter([("id".to_owned(), json!(id))]);
            for (name, value) in (0..below(4)).map(|_| said[below(said.len())].clone()) {
                data.insert(name.to_owned(), value);
            }
            let alone = schema.defaults(data.clone()).map(|entity| {
                let errors = schema.validate(&entity);
                (entity, errors)
            });
            let (entity, errors) = schema.new_like(data.clone(), &mut templates);
            let without_auto = |mut entity: Record| {
                let auto = |name: &str| schema.field(name).is_some_and(|f| f.is(Flag::Auto));
                entity.retain(|name, _| !auto(name));
                Value::from(entity).to_string()
            };
            match alone {
                Ok((expect, wrong)) => {
                    assert_eq!(without_auto(entity), without_auto(expect), "{data:?}");
                    assert_eq!(errors, wrong, "{data:?}");
                }
                Err(wrong) => assert_eq!(errors, Err(wrong), "{data:?}"),
            }
        }
    }
}
