//! What is asked of several fields together (kong/db/schema/init.lua, `entity_checkers`).

use std::fmt;
use std::slice;
use std::sync::Arc;

use serde_json::Value;

use super::rule::same;
use super::text::quoted;
use super::validate::{Overlaid, Words};
use super::{Field, Flag, Kind, Schema, get_path, is_nonempty};
use crate::errors::Errors;
use crate::{Record, is_reference};

/// A check of several fields; names with dots go into records.
#[derive(Debug, Clone)]
pub enum EntityCheck {
    /// One field at least is not empty.
    AtLeastOneOf(Vec<String>),
    /// Exactly one field is not empty.
    OnlyOneOf(Vec<String>),
    /// Fields that are not empty differ.
    Distinct(Vec<String>),
    /// All fields are empty, or none is.
    MutuallyRequired(Vec<String>),
    /// One field at most is not empty.
    MutuallyExclusive(Vec<String>),
    /// Fields of one list only are not empty.
    MutuallyExclusiveSets(Vec<String>, Vec<String>),
    /// If one field matches, another must.
    Conditional(Box<Conditional>),
    /// If one field matches, one of others is not empty.
    ConditionalAtLeastOneOf(Box<ConditionalAtLeastOneOf>),
    /// A check written in Rust.
    Custom(CustomCheck),
}

/// If one field matches, another must.
#[derive(Debug, Clone)]
pub struct Conditional {
    /// The field that decides.
    pub if_field: String,
    /// What it must match.
    pub if_match: Field,
    /// The other field.
    pub then_field: String,
    /// What that must match.
    pub then_match: Field,
    /// What to say; `%s` is the field that decides.
    pub then_err: Option<String>,
}

/// If one field matches, one of others is not empty.
#[derive(Debug, Clone)]
pub struct ConditionalAtLeastOneOf {
    /// The field that decides.
    pub if_field: String,
    /// The case in which it matches.
    pub then: Condition,
    /// The case in which it matches this, but not the first.
    pub or_else: Option<Condition>,
}

/// A case of [`ConditionalAtLeastOneOf`].
#[derive(Debug, Clone)]
pub struct Condition {
    /// What the field must match.
    pub matches: Field,
    /// The fields of which one is not empty.
    pub at_least_one_of: Vec<String>,
    /// What to say; `%s` is the list of them.
    pub err: Option<String>,
}

/// A check written in Rust; schemas as JSON show its fields only.
#[derive(Clone)]
pub struct CustomCheck {
    /// The fields that it looks at.
    pub field_sources: Vec<String>,
    /// Whether it runs where some of them are absent, as the schema says it.
    pub run_with_missing_fields: Option<bool>,
    /// Whether it runs where some of them are wrong, as the schema says it.
    pub run_with_invalid_fields: Option<bool>,
    check: Arc<Check>,
}

type Check = dyn Fn(&Record) -> Result<(), String> + Send + Sync;

impl fmt::Debug for CustomCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomCheck")
            .field("field_sources", &self.field_sources)
            .finish_non_exhaustive()
    }
}

impl CustomCheck {
    /// A check of these fields. It runs where all of them are there and right.
    pub fn new(
        field_sources: &[&str],
        check: impl Fn(&Record) -> Result<(), String> + Send + Sync + 'static,
    ) -> CustomCheck {
        CustomCheck {
            field_sources: names(field_sources),
            run_with_missing_fields: None,
            run_with_invalid_fields: None,
            check: Arc::new(check),
        }
    }
}

impl From<CustomCheck> for EntityCheck {
    fn from(check: CustomCheck) -> EntityCheck {
        EntityCheck::Custom(check)
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Builder methods, which the derives use: each is a word of the schema language.
impl Schema {
    /// One field at least is not empty.
    pub fn at_least_one_of<const N: usize>(self, fields: [&str; N]) -> Schema {
        self.check(EntityCheck::AtLeastOneOf(names(&fields)))
    }

    /// Exactly one field is not empty.
    pub fn only_one_of<const N: usize>(self, fields: [&str; N]) -> Schema {
        self.check(EntityCheck::OnlyOneOf(names(&fields)))
    }

    /// Fields that are not empty differ.
    pub fn distinct<const N: usize>(self, fields: [&str; N]) -> Schema {
        self.check(EntityCheck::Distinct(names(&fields)))
    }

    /// All fields are empty, or none is.
    pub fn mutually_required<const N: usize>(self, fields: [&str; N]) -> Schema {
        self.check(EntityCheck::MutuallyRequired(names(&fields)))
    }

    /// One field at most is not empty.
    pub fn mutually_exclusive<const N: usize>(self, fields: [&str; N]) -> Schema {
        self.check(EntityCheck::MutuallyExclusive(names(&fields)))
    }

    /// If one field matches, another must.
    pub fn conditional(
        self,
        if_field: &str,
        if_match: Field,
        then_field: &str,
        then_match: Field,
    ) -> Schema {
        self.conditional_or(if_field, if_match, then_field, then_match, None)
    }

    /// If one field matches, another must, else `then_err`, in which `%s` is the first field.
    pub fn conditional_or(
        self,
        if_field: &str,
        if_match: Field,
        then_field: &str,
        then_match: Field,
        then_err: Option<&str>,
    ) -> Schema {
        self.check(EntityCheck::Conditional(Box::new(Conditional {
            if_field: if_field.to_owned(),
            if_match,
            then_field: then_field.to_owned(),
            then_match,
            then_err: then_err.map(str::to_owned),
        })))
    }

    /// A check written in Rust, of fields that are all there and right.
    pub fn custom_check(
        self,
        field_sources: &[&str],
        check: impl Fn(&Record) -> Result<(), String> + Send + Sync + 'static,
    ) -> Schema {
        self.check(CustomCheck::new(field_sources, check).into())
    }
}

/// Where a check looks: an entity, its schema, and its subschema's fields before that.
pub(crate) struct Scope<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) subschema: Option<&'a Schema>,
    pub(crate) entity: &'a Record,
    /// Whether the entity is whole, rather than changed in part.
    pub(crate) full: bool,
    pub(crate) words: &'a Words,
    /// Whether any of its texts may refer to a secret.
    pub(crate) refers: bool,
}

impl Scope<'_> {
    fn field(&self, path: &str) -> Option<&Field> {
        let special = self.subschema.and_then(|schema| schema.field(path));
        special.or_else(|| self.schema.field(path))
    }

    fn get(&self, path: &str) -> Option<&Value> {
        get_path(self.entity, path)
    }

    fn nonempty(&self, path: &str) -> bool {
        is_nonempty(self.get(path))
    }

    /// Whether a field's value matches, by its own rules with those of the condition over them.
    fn matches(&self, path: &str, condition: &Field, value: Option<&Value>) -> Result<(), Value> {
        // A condition on an absent field never holds.
        let value = value.ok_or(Value::Null)?;
        match self.field(path) {
            Some(field) => Overlaid::new(field, condition).check(value),
            None => condition.check(value),
        }
    }
}

/// How a check is run, and on which fields (`run_entity_check`). Every check of every entity makes
/// one: it borrows all it has.
struct Plan<'a> {
    fields: [&'a [String]; 3],
    required: &'a [String],
    with_missing: bool,
    with_invalid: bool,
}

impl EntityCheck {
    /// The name it has in a schema.
    pub fn name(&self) -> &'static str {
        match self {
            EntityCheck::AtLeastOneOf(_) => "at_least_one_of",
            EntityCheck::OnlyOneOf(_) => "only_one_of",
            EntityCheck::Distinct(_) => "distinct",
            EntityCheck::MutuallyRequired(_) => "mutually_required",
            EntityCheck::MutuallyExclusive(_) => "mutually_exclusive",
            EntityCheck::MutuallyExclusiveSets(..) => "mutually_exclusive_sets",
            EntityCheck::Conditional(_) => "conditional",
            EntityCheck::ConditionalAtLeastOneOf(_) => "conditional_at_least_one_of",
            EntityCheck::Custom(_) => "custom_entity_check",
        }
    }

    fn plan(&self) -> Plan<'_> {
        const NONE: &[String] = &[];
        let whole = |list, with_missing, with_invalid| Plan {
            fields: [list, NONE, NONE],
            required: list,
            with_missing,
            with_invalid,
        };
        match self {
            EntityCheck::AtLeastOneOf(list) => whole(list, true, true),
            EntityCheck::OnlyOneOf(list) | EntityCheck::Distinct(list) => whole(list, false, true),
            EntityCheck::MutuallyRequired(list) | EntityCheck::MutuallyExclusive(list) => {
                whole(list, true, false)
            }
            EntityCheck::MutuallyExclusiveSets(one, other) => Plan {
                fields: [one, other, NONE],
                required: NONE,
                with_missing: true,
                with_invalid: false,
            },
            EntityCheck::Conditional(check) => Plan {
                fields: [
                    slice::from_ref(&check.if_field),
                    slice::from_ref(&check.then_field),
                    NONE,
                ],
                required: slice::from_ref(&check.if_field),
                with_missing: false,
                with_invalid: true,
            },
            EntityCheck::ConditionalAtLeastOneOf(check) => {
                let or_else = check.or_else.as_ref().map_or(NONE, |case| &case.at_least_one_of);
                let if_field = slice::from_ref(&check.if_field);
                Plan {
                    fields: [if_field, &check.then.at_least_one_of, or_else],
                    required: NONE,
                    with_missing: true,
                    with_invalid: true,
                }
            }
            EntityCheck::Custom(check) => whole(
                &check.field_sources,
                check.run_with_missing_fields == Some(true),
                check.run_with_invalid_fields == Some(true),
            ),
        }
    }

    /// The fields that it looks at, without what stands inside of them; none if that can't be
    /// known.
    pub(crate) fn sources(&self) -> Option<impl Iterator<Item = &str>> {
        if let EntityCheck::Custom(_) = self {
            return None;
        }
        let paths = self.plan().fields.into_iter().flatten();
        Some(paths.map(|path| path.split_once('.').map_or(path.as_str(), |(head, _)| head)))
    }

    /// Runs the check, and adds what is wrong to the errors.
    pub(crate) fn run(&self, scope: &Scope<'_>, errors: &mut Errors) {
        let plan = self.plan();
        if plan.with_missing && scope.full && !scope.refers && errors.is_empty() {
            // What is there and what is not makes no difference.
            if let Err(error) = self.evaluate(scope, errors) {
                errors.add_entity(error);
            }
            return;
        }
        let (mut missing, mut all_absent, mut all_right) = (Vec::new(), true, true);
        for path in plan.fields.into_iter().flatten() {
            match scope.get(path) {
                None => {
                    let nilable = || scope.field(path).is_some_and(|field| field.is(Flag::Nilable));
                    if !plan.with_missing && plan.required.contains(path) && !nilable() {
                        missing.push(path);
                    }
                }
                Some(value) => {
                    all_absent = false;
                    // What a reference stands for cannot be known.
                    if value.as_str().is_some_and(is_reference)
                        && scope.field(path).is_some_and(is_referenceable)
                    {
                        return;
                    }
                }
            }
            all_right &= errors.is_empty() || errors.get(path).is_none();
        }
        let applies =
            (all_right || plan.with_invalid) && !(all_absent && !(plan.with_missing && scope.full));
        if !applies {
            return;
        }
        for path in &missing {
            errors.set_path(path, scope.words.required_for_entity_check);
        }
        if missing.is_empty()
            && let Err(error) = self.evaluate(scope, errors)
        {
            errors.add_entity(error);
        }
    }

    fn evaluate(&self, scope: &Scope<'_>, errors: &mut Errors) -> Result<(), String> {
        let nonempty = |list: &[String]| list.iter().filter(|path| scope.nonempty(path)).count();
        let expect = |right: bool, what: &str, list: &[String]| {
            if right { Ok(()) } else { Err(format!("{what}: {}", quoted(list))) }
        };
        match self {
            EntityCheck::AtLeastOneOf(list) => {
                expect(nonempty(list) > 0, scope.words.at_least_one_of, list)
            }
            EntityCheck::OnlyOneOf(list) => {
                expect(nonempty(list) == 1, "exactly one of these fields must be non-empty", list)
            }
            EntityCheck::Distinct(list) => {
                expect(distinct(scope, list), "values of these fields must be distinct", list)
            }
            EntityCheck::MutuallyRequired(list) => {
                let count = nonempty(list);
                let right = count == 0 || count == list.len();
                expect(right, "all or none of these fields must be set", list)
            }
            EntityCheck::MutuallyExclusive(list) => {
                expect(nonempty(list) <= 1, "only one or none of these fields must be set", list)
            }
            EntityCheck::MutuallyExclusiveSets(one, other) => {
                let set = |list: &[String]| -> Vec<String> {
                    list.iter().filter(|path| scope.nonempty(path)).cloned().collect()
                };
                let (one, other) = (set(one), set(other));
                if one.is_empty() || other.is_empty() {
                    return Ok(());
                }
                let (one, other) = (quoted(&one), quoted(&other));
                Err(format!("these sets are mutually exclusive: ({one}), ({other})"))
            }
            EntityCheck::Conditional(check) => conditional(check, scope, errors),
            EntityCheck::ConditionalAtLeastOneOf(check) => conditional_one(check, scope),
            EntityCheck::Custom(check) => (check.check)(scope.entity),
        }
    }
}

fn is_referenceable(field: &Field) -> bool {
    matches!(field.kind, Kind::String) && field.is(Flag::Referenceable)
}

fn distinct(scope: &Scope<'_>, list: &[String]) -> bool {
    let values: Vec<_> = list.iter().filter_map(|path| scope.get(path)).collect();
    let set = |value: &Value| is_nonempty(Some(value));
    values
        .iter()
        .enumerate()
        .all(|(i, value)| !set(value) || !values.iter().skip(i + 1).any(|other| same(value, other)))
}

fn conditional(check: &Conditional, scope: &Scope<'_>, errors: &mut Errors) -> Result<(), String> {
    let Conditional { if_field, if_match, then_field, then_match, then_err } = check;
    let value = scope.get(then_field).unwrap_or(&Value::Null);
    let missing = then_match.is(Flag::Required) && value.is_null();
    // Mostly this holds, and says nothing; a condition that does not would have to say why.
    let then = scope.matches(then_field, then_match, Some(value));
    if !missing && then.is_ok() || scope.matches(if_field, if_match, scope.get(if_field)).is_err() {
        return Ok(());
    }
    let failed = format!("failed conditional validation given value of field '{if_field}'");
    if missing {
        errors.set_path(then_field, "required field missing");
        return Err(failed);
    }
    then.map_err(|error| {
        errors.set_path(then_field, error);
        then_err.as_ref().map_or(failed, |text| text.replace("%s", if_field))
    })
}

fn conditional_one(check: &ConditionalAtLeastOneOf, scope: &Scope<'_>) -> Result<(), String> {
    let value = scope.get(&check.if_field);
    if value.is_none() {
        return Ok(());
    }
    let mut cases = [Some(&check.then), check.or_else.as_ref()].into_iter().flatten();
    let Some(case) =
        cases.find(|case| scope.matches(&check.if_field, &case.matches, value).is_ok())
    else {
        return Ok(());
    };
    if case.at_least_one_of.iter().any(|path| scope.nonempty(path)) {
        return Ok(());
    }
    let list = quoted(&case.at_least_one_of);
    Err(match &case.err {
        Some(text) => text.replace("%s", &list),
        None => format!("{}: {list}", scope.words.at_least_one_of),
    })
}
