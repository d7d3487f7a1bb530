//! Rules that one value must keep (kong/db/schema/init.lua, `Schema.validators`).

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Number, Value, json};
use uuid::Uuid;

use super::json::SchemaError;
use super::pattern::Pattern;
use super::text;
use super::values;

/// A check written in Rust: why a value is refused.
#[derive(Clone)]
pub struct Validator(Arc<Check>);

type Check = dyn Fn(&Value) -> Result<(), String> + Send + Sync;

impl Validator {
    /// A check of any value.
    pub fn new(check: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static) -> Validator {
        Validator(Arc::new(check))
    }

    /// A check of strings.
    pub fn of_text(
        check: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Validator {
        Validator::new(move |value| value.as_str().map_or(Ok(()), &check))
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        (self.0)(value)
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validator")
    }
}

/// A pattern with the error that says what it means.
#[derive(Debug, Clone)]
pub struct Meant {
    /// What is looked for.
    pub pattern: Pattern,
    /// What to say.
    pub err: String,
}

/// A rule that one value must keep.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Equal to this; null means that it must not be set.
    Eq(Value),
    /// Not equal to this; null means that it must be set.
    Ne(Value),
    /// None of these.
    NotOneOf(Vec<Value>),
    /// One of these.
    OneOf(Vec<Value>),
    /// Greater than this.
    Gt(Number),
    /// Greater than 0.
    Timestamp,
    /// A UUID in hexadecimal with dashes.
    Uuid,
    /// A regular expression.
    IsRegex,
    /// From the first to the second, both included.
    Between(Number, Number),
    /// As many bytes, elements or entries.
    LenEq(u64),
    /// At least so many.
    LenMin(u64),
    /// At most so many.
    LenMax(u64),
    /// Begins with this.
    StartsWith(String),
    /// The pattern is not found.
    NotMatch(Pattern),
    /// None of the patterns is found.
    MatchNone(Vec<Meant>),
    /// The pattern is found.
    Match(Pattern),
    /// All patterns are found.
    MatchAll(Vec<Meant>),
    /// One of the patterns is found.
    MatchAny {
        /// What is looked for.
        patterns: Vec<Pattern>,
        /// What to say.
        err: String,
    },
    /// This is one of the elements.
    Contains(Value),
    /// A check written in Rust; schemas as JSON do not show it.
    Custom(Validator),
    /// Elements come from one of these lists only.
    MutuallyExclusiveSubsets(Vec<Vec<String>>),
}

impl Rule {
    /// The name it has in a schema.
    pub fn name(&self) -> &'static str {
        self.place().1
    }

    /// When it is checked, among the others.
    pub(crate) fn rank(&self) -> usize {
        self.place().0
    }

    /// The order in which rules are checked (`Schema.validators_order`), and their names.
    fn place(&self) -> (usize, &'static str) {
        match self {
            Rule::Eq(_) => (0, "eq"),
            Rule::Ne(_) => (1, "ne"),
            Rule::NotOneOf(_) => (2, "not_one_of"),
            Rule::OneOf(_) => (3, "one_of"),
            Rule::Gt(_) => (4, "gt"),
            Rule::Timestamp => (5, "timestamp"),
            Rule::Uuid => (6, "uuid"),
            Rule::IsRegex => (7, "is_regex"),
            Rule::Between(..) => (8, "between"),
            Rule::LenEq(_) => (9, "len_eq"),
            Rule::LenMin(_) => (10, "len_min"),
            Rule::LenMax(_) => (11, "len_max"),
            Rule::StartsWith(_) => (12, "starts_with"),
            Rule::NotMatch(_) => (13, "not_match"),
            Rule::MatchNone(_) => (14, "match_none"),
            Rule::Match(_) => (15, "match"),
            Rule::MatchAll(_) => (16, "match_all"),
            Rule::MatchAny { .. } => (17, "match_any"),
            Rule::Contains(_) => (18, "contains"),
            Rule::Custom(_) => (19, "custom_validator"),
            Rule::MutuallyExclusiveSubsets(_) => (20, "mutually_exclusive_subsets"),
        }
    }

    /// Reads a rule from its entry in a schema as JSON; `None` if the name is no rule's.
    ///
    /// # Errors
    /// If the argument is not what the rule takes.
    pub fn from_json(name: &str, arg: &Value) -> Result<Option<Rule>, SchemaError> {
        let rule = match name {
            "eq" => Rule::Eq(arg.clone()),
            "ne" => Rule::Ne(arg.clone()),
            "not_one_of" => Rule::NotOneOf(list(name, arg)?),
            "one_of" => Rule::OneOf(list(name, arg)?),
            "gt" => Rule::Gt(read(name, arg)?),
            "timestamp" | "uuid" | "is_regex" if arg != &json!(true) => return Ok(None),
            "timestamp" => Rule::Timestamp,
            "uuid" => Rule::Uuid,
            "is_regex" => Rule::IsRegex,
            "between" => {
                let (from, to) = read(name, arg)?;
                Rule::Between(from, to)
            }
            "len_eq" => Rule::LenEq(count(name, arg)?),
            "len_min" => Rule::LenMin(count(name, arg)?),
            "len_max" => Rule::LenMax(count(name, arg)?),
            "starts_with" => Rule::StartsWith(read(name, arg)?),
            "not_match" => Rule::NotMatch(pattern(name, arg)?),
            "match_none" => Rule::MatchNone(meant(name, arg)?),
            "match" => Rule::Match(pattern(name, arg)?),
            "match_all" => Rule::MatchAll(meant(name, arg)?),
            "match_any" => Rule::MatchAny {
                patterns: list(name, arg.get("patterns").unwrap_or(&Value::Null))?
                    .iter()
                    .map(|item| pattern(name, item))
                    .collect::<Result<_, _>>()?,
                err: arg.get("err").and_then(Value::as_str).unwrap_or_default().to_owned(),
            },
            "contains" => Rule::Contains(arg.clone()),
            "mutually_exclusive_subsets" => Rule::MutuallyExclusiveSubsets(read(name, arg)?),
            _ => return Ok(None),
        };
        Ok(Some(rule))
    }

    /// The argument, as a schema's JSON shows it; `None` if it is not shown.
    pub fn to_json(&self) -> Option<Value> {
        Some(match self {
            Rule::Eq(value) | Rule::Ne(value) | Rule::Contains(value) => value.clone(),
            Rule::NotOneOf(values) | Rule::OneOf(values) => values.clone().into(),
            Rule::Gt(limit) => limit.clone().into(),
            Rule::Timestamp | Rule::Uuid | Rule::IsRegex => true.into(),
            Rule::Between(from, to) => json!([from, to]),
            Rule::LenEq(n) | Rule::LenMin(n) | Rule::LenMax(n) => (*n).into(),
            Rule::StartsWith(start) => start.clone().into(),
            Rule::NotMatch(pattern) | Rule::Match(pattern) => pattern.as_str().into(),
            Rule::MatchNone(list) | Rule::MatchAll(list) => list
                .iter()
                .map(|item| json!({"pattern": item.pattern.as_str(), "err": item.err}))
                .collect(),
            Rule::MatchAny { patterns, err } => {
                let patterns: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
                let mut arg = Map::from_iter([("patterns".to_owned(), json!(patterns))]);
                if !err.is_empty() {
                    arg.insert("err".to_owned(), err.clone().into());
                }
                arg.into()
            }
            Rule::MutuallyExclusiveSubsets(subsets) => json!(subsets),
            Rule::Custom(_) => return None,
        })
    }

    /// Checks a value that is of the field's kind and not null.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let refuse = |wrong: bool, error: &dyn Fn() -> String| {
            if wrong { Err(error()) } else { Ok(()) }
        };
        let found = |pattern: &Pattern| value.as_str().is_none_or(|text| pattern.is_match(text));
        let invalid = || format!("invalid value: {}", text::show(value));
        match self {
            Rule::Eq(wanted) => {
                refuse(!same(value, wanted), &|| format!("value must be {}", text::show(wanted)))
            }
            Rule::Ne(refused) => refuse(same(value, refused), &|| {
                format!("value must not be {}", text::show(refused))
            }),
            Rule::NotOneOf(refused) => {
                refuse(refused.iter().any(|item| same(value, item)), &|| {
                    format!("must not be one of: {}", text::list(refused))
                })
            }
            Rule::OneOf(options) => refuse(!options.iter().any(|item| same(value, item)), &|| {
                format!("expected one of: {}", text::list(options))
            }),
            Rule::Gt(limit) => refuse(float(value) <= limit.as_f64(), &|| {
                format!("value must be greater than {}", text::number(limit))
            }),
            Rule::Timestamp => refuse(float(value).is_some_and(|n| n <= 0.0), &|| {
                "expected a valid timestamp".to_owned()
            }),
            Rule::Uuid => {
                refuse(!value.as_str().is_some_and(is_uuid), &|| "expected a valid UUID".to_owned())
            }
            Rule::IsRegex => {
                let error = value.as_str().and_then(values::regex_error);
                refuse(error.is_some(), &|| format!("not a valid regex: {}", text::show(value)))
            }
            Rule::Between(from, to) => {
                let outside = float(value) < from.as_f64() || float(value) > to.as_f64();
                let limits = || format!("{} and {}", text::number(from), text::number(to));
                refuse(outside, &|| format!("value should be between {}", limits()))
            }
            Rule::LenEq(n) => refuse(length(value) != *n, &|| format!("length must be {n}")),
            Rule::LenMin(n) => {
                refuse(length(value) < *n, &|| format!("length must be at least {n}"))
            }
            Rule::LenMax(n) => {
                refuse(length(value) > *n, &|| format!("length must be at most {n}"))
            }
            Rule::StartsWith(start) => refuse(
                value.as_str().is_some_and(|text| !text.starts_with(start.as_str())),
                &|| format!("should start with: {start}"),
            ),
            Rule::NotMatch(pattern) => refuse(found(pattern), &invalid),
            Rule::Match(pattern) => refuse(!found(pattern), &invalid),
            Rule::MatchNone(list) => {
                list.iter().try_for_each(|item| refuse(found(&item.pattern), &|| item.err.clone()))
            }
            Rule::MatchAll(list) => {
                list.iter().try_for_each(|item| refuse(!found(&item.pattern), &|| item.err.clone()))
            }
            Rule::MatchAny { patterns, err } => refuse(!patterns.iter().any(found), &|| {
                if err.is_empty() { invalid() } else { err.clone() }
            }),
            Rule::Contains(wanted) => {
                let has = value.as_array().is_some_and(|list| list.iter().any(|v| same(v, wanted)));
                refuse(!has, &|| format!("expected to contain: {}", text::show(wanted)))
            }
            Rule::Custom(validator) => validator.check(value),
            Rule::MutuallyExclusiveSubsets(subsets) => exclusive(value, subsets),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(name: &str, arg: &Value) -> Result<T, SchemaError> {
    serde_json::from_value(arg.clone())
        .map_err(|error| SchemaError::new(format!("{name}: {error}")))
}

fn list(name: &str, arg: &Value) -> Result<Vec<Value>, SchemaError> {
    match arg {
        Value::Array(list) => Ok(list.clone()),
        // An empty Lua table.
        Value::Object(fields) if fields.is_empty() => Ok(Vec::new()),
        _ => Err(SchemaError::new(format!("{name}: expected an array"))),
    }
}

fn count(name: &str, arg: &Value) -> Result<u64, SchemaError> {
    let n = arg.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0);
    n.map(|n| n as u64).ok_or_else(|| SchemaError::new(format!("{name}: expected a length")))
}

fn pattern(name: &str, arg: &Value) -> Result<Pattern, SchemaError> {
    let text = arg.as_str().ok_or_else(|| SchemaError::new(format!("{name}: no pattern")))?;
    Pattern::new(text).map_err(|error| SchemaError::new(format!("{name}: {error}: {text}")))
}

fn meant(name: &str, arg: &Value) -> Result<Vec<Meant>, SchemaError> {
    let read = |item: &Value| {
        Ok(Meant {
            pattern: pattern(name, item.get("pattern").unwrap_or(&Value::Null))?,
            err: item.get("err").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    };
    list(name, arg)?.iter().map(read).collect()
}

fn float(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// Whether two values are the same to Lua, which has one kind of number.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// Bytes, elements or entries.
fn length(value: &Value) -> u64 {
    let n = match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    n as u64
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

fn exclusive(value: &Value, subsets: &[Vec<String>]) -> Result<(), String> {
    let mut used: Vec<usize> = Vec::new();
    for item in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let of = subsets.iter().rposition(|subset| subset.iter().any(|other| other == item));
        if let Some(i) = of
            && !used.contains(&i)
        {
            used.push(i);
        }
    }
    if used.len() <= 1 {
        return Ok(());
    }
    let sets: Vec<String> = used
        .iter()
        .filter_map(|i| subsets.get(*i))
        .map(|subset| format!("({})", text::quoted(subset)))
        .collect();
    Err(format!("these sets are mutually exclusive: {}", sets.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, arg: impl Into<Value>, value: impl Into<Value>, expect: Result<(), &str>) {
        let (arg, value) = (arg.into(), value.into());
        let rule = Rule::from_json(name, &arg).expect(name).expect(name);
        assert_eq!(rule.check(&value), expect.map_err(str::to_owned), "{name} {arg} {value}");
        assert_eq!(rule.to_json(), Some(arg));
    }

    #[test]
    fn rules_refuse_in_kongs_words() {
        let err = Err::<(), _>;
        check("eq", json!(true), json!(false), err("value must be true"));
        check("ne", json!(true), json!(true), err("value must not be true"));
        check("one_of", json!(["a", 5]), json!("b"), err("expected one of: a, 5"));
        check("one_of", json!([5]), json!(5.0), Ok(()));
        check("not_one_of", json!(["a"]), json!("a"), err("must not be one of: a"));
        check("gt", json!(0), json!(0), err("value must be greater than 0"));
        check("timestamp", json!(true), json!(0), err("expected a valid timestamp"));
        check("uuid", json!(true), json!("x"), err("expected a valid UUID"));
        let range = "value should be between 0 and 65535";
        check("between", json!([0, 65535]), json!(70000), err(range));
        check("between", json!([0, 65535]), json!(65535), Ok(()));
        check("len_eq", json!(2), json!("é"), Ok(()));
        check("len_min", json!(1), json!(""), err("length must be at least 1"));
        check("len_max", json!(1), json!([1, 2]), err("length must be at most 1"));
        check("starts_with", json!("/"), json!("a"), err("should start with: /"));
        check("match", json!("^%u+$"), json!("get"), err("invalid value: get"));
        check("contains", json!("a"), json!(["b"]), err("expected to contain: a"));
        check(
            "mutually_exclusive_subsets",
            json!([["http", "https"], ["tcp"]]),
            json!(["tcp", "http"]),
            err("these sets are mutually exclusive: ('tcp'), ('http', 'https')"),
        );
        check(
            "match_any",
            json!({"patterns": ["^/", "^~/"], "err": "no path"}),
            json!("x"),
            err("no path"),
        );
        check(
            "match_none",
            json!([{"pattern": "//", "err": "must not have empty segments"}]),
            json!("//"),
            err("must not have empty segments"),
        );
    }
}
