//! A field: its kind, and what is asked of its values.

use serde_json::{Map, Number, Value};

use super::Schema;
use super::pattern::Pattern;
use super::rule::{Meant, Rule, Validator};
use crate::Record;

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Text, at least one byte of it unless `len_min` says otherwise.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array(Box<Field>),
    /// A list without duplicates.
    Set(Box<Field>),
    /// Keys and values.
    Map {
        /// What each key must be.
        keys: Box<Field>,
        /// What each value must be.
        values: Box<Field>,
    },
    /// Fields with names.
    Record(Box<Schema>),
    /// A reference to another entity: its primary key.
    Foreign {
        /// The name of the other entity's schema.
        reference: String,
        /// `cascade` deletes this entity with the other; otherwise the other cannot be deleted.
        on_delete: Option<String>,
    },
    /// Any JSON value.
    Json,
    /// Anything at all.
    Any,
    /// A function, as only Lua has them.
    Function,
    /// What a condition asks for: of the kind of the field that it is held against.
    Partial {
        /// What is asked of each element, if that is asked.
        elements: Option<Box<Field>>,
    },
}

impl Kind {
    /// The name of the kind, as schemas say it; conditions have none.
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Array(_) => "array",
            Kind::Set(_) => "set",
            Kind::Map { .. } => "map",
            Kind::Record(_) => "record",
            Kind::Foreign { .. } => "foreign",
            Kind::Json => "json",
            Kind::Any => "any",
            Kind::Function => "function",
            Kind::Partial { .. } => return None,
        })
    }
}

/// What can be said of a field by yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// It cannot be null or absent.
    Required,
    /// The gateway fills it in.
    Auto,
    /// No two entities of a workspace have the same value.
    Unique,
    /// No two entities have the same value.
    UniqueAcrossWs,
    /// It cannot be changed.
    Immutable,
    /// It may be a reference to a vault.
    Referenceable,
    /// It is a secret.
    Encrypted,
    /// It is often looked for.
    Indexed,
    /// It is given by a subschema.
    Abstract,
    /// It is not stored.
    Transient,
    /// It may be absent; in schemas of schemas only.
    Nilable,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Flag; 11] = [
        Flag::Required,
        Flag::Auto,
        Flag::Unique,
        Flag::UniqueAcrossWs,
        Flag::Immutable,
        Flag::Referenceable,
        Flag::Encrypted,
        Flag::Indexed,
        Flag::Abstract,
        Flag::Transient,
        Flag::Nilable,
    ];

    /// The name it has in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Required => "required",
            Flag::Auto => "auto",
            Flag::Unique => "unique",
            Flag::UniqueAcrossWs => "unique_across_ws",
            Flag::Immutable => "immutable",
            Flag::Referenceable => "referenceable",
            Flag::Encrypted => "encrypted",
            Flag::Indexed => "indexed",
            Flag::Abstract => "abstract",
            Flag::Transient => "transient",
            Flag::Nilable => "nilable",
        }
    }
}

/// A field of a schema.
#[derive(Debug, Clone)]
pub struct Field {
    /// What it holds.
    pub kind: Kind,
    /// The value of an absent field.
    pub default: Option<Value>,
    /// What to say, whatever rule is broken.
    pub err: Option<String>,
    /// What it means, for people; schemas as JSON do not show it.
    pub description: String,
    /// What takes its place, since when: as schemas say it.
    pub deprecation: Option<Value>,
    /// What else the schema says, kept for showing it.
    pub extra: Record,
    flags: Vec<(Flag, bool)>,
    rules: Vec<Rule>,
}

impl Field {
    /// A field that can be null, without rules.
    pub fn new(kind: Kind) -> Field {
        Field {
            kind,
            default: None,
            err: None,
            description: String::new(),
            deprecation: None,
            extra: Map::new(),
            flags: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Text.
    pub fn string() -> Field {
        Field::new(Kind::String)
    }

    /// A whole number.
    pub fn integer() -> Field {
        Field::new(Kind::Integer)
    }

    /// Any number.
    pub fn number() -> Field {
        Field::new(Kind::Number)
    }

    /// True or false.
    pub fn boolean() -> Field {
        Field::new(Kind::Boolean)
    }

    /// A list.
    pub fn array(elements: Field) -> Field {
        Field::new(Kind::Array(Box::new(elements)))
    }

    /// A list without duplicates.
    pub fn set(elements: Field) -> Field {
        Field::new(Kind::Set(Box::new(elements)))
    }

    /// Keys and values.
    pub fn map(keys: Field, values: Field) -> Field {
        Field::new(Kind::Map { keys: Box::new(keys), values: Box::new(values) })
    }

    /// Fields with names.
    pub fn record(schema: Schema) -> Field {
        Field::new(Kind::Record(Box::new(schema)))
    }

    /// A reference to an entity of the named schema.
    pub fn foreign(reference: &str) -> Field {
        Field::new(Kind::Foreign { reference: reference.to_owned(), on_delete: None })
    }

    /// What a condition asks of a value.
    pub fn partial() -> Field {
        Field::new(Kind::Partial { elements: None })
    }

    /// Whether this is said of it.
    pub fn is(&self, flag: Flag) -> bool {
        self.said(flag) == Some(true)
    }

    /// What is said of it, if anything.
    pub fn said(&self, flag: Flag) -> Option<bool> {
        self.flags.iter().find(|(other, _)| *other == flag).map(|(_, yes)| *yes)
    }

    /// Everything that is said of it.
    pub fn flags(&self) -> &[(Flag, bool)] {
        &self.flags
    }

    /// Its rules, in the order in which they are checked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The schema of a record.
    pub fn as_record(&self) -> Option<&Schema> {
        match &self.kind {
            Kind::Record(schema) => Some(schema),
            _ => None,
        }
    }

    /// The schema of a record.
    pub fn as_record_mut(&mut self) -> Option<&mut Schema> {
        match &mut self.kind {
            Kind::Record(schema) => Some(schema),
            _ => None,
        }
    }

    /// What each element of a list must be.
    pub fn elements(&self) -> Option<&Field> {
        match &self.kind {
            Kind::Array(elements) | Kind::Set(elements) => Some(elements),
            Kind::Partial { elements } => elements.as_deref(),
            _ => None,
        }
    }

    /// Says something of it.
    pub fn with(mut self, flag: Flag, yes: bool) -> Field {
        self.flags.retain(|(other, _)| *other != flag);
        self.flags.push((flag, yes));
        self
    }

    /// Adds a rule, in place of one of the same name.
    pub fn rule(mut self, rule: Rule) -> Field {
        self.rules.retain(|other| other.name() != rule.name());
        let at = self.rules.partition_point(|other| other.rank() <= rule.rank());
        self.rules.insert(at, rule);
        self
    }
}

/// What a field's attributes say: each is a word of the schema language.
impl Field {
    /// It cannot be null or absent.
    pub fn required(self) -> Field {
        self.with(Flag::Required, true)
    }

    /// It can be null, and the schema says so.
    pub fn optional(self) -> Field {
        self.with(Flag::Required, false)
    }

    /// It cannot be null, unless the schema says so or the gateway fills it in.
    pub fn required_unless_said(self) -> Field {
        if self.said(Flag::Required).is_some() || self.is(Flag::Auto) {
            self
        } else {
            self.required()
        }
    }

    /// The value of an absent field.
    pub fn default(mut self, value: impl Into<Value>) -> Field {
        self.default = Some(value.into());
        self
    }

    /// The default of a record: the defaults of its fields.
    pub fn default_of_fields(mut self) -> Field {
        let fields = self.as_record().into_iter().flat_map(|schema| &schema.fields);
        let defaults = fields.filter_map(|(name, field)| {
            Some((name.clone(), field.default.clone().filter(|value| !value.is_null())?))
        });
        self.default = Some(Value::Object(defaults.collect()));
        self
    }

    /// What it means.
    pub fn description(mut self, text: &str) -> Field {
        text.clone_into(&mut self.description);
        self
    }

    /// What to say, whatever rule is broken.
    pub fn err(mut self, text: &str) -> Field {
        self.err = Some(text.to_owned());
        self
    }

    /// What takes its place, as schemas say it.
    pub fn deprecation(mut self, value: Value) -> Field {
        self.deprecation = Some(value);
        self
    }

    /// What happens to this entity with the one referred to: `cascade`.
    pub fn on_delete(mut self, action: &str) -> Field {
        if let Kind::Foreign { on_delete, .. } = &mut self.kind {
            *on_delete = Some(action.to_owned());
        }
        self
    }

    /// Equal to this; null means that it must not be set.
    pub fn eq(self, value: impl Into<Value>) -> Field {
        self.rule(Rule::Eq(value.into()))
    }

    /// Not equal to this; null means that it must be set.
    pub fn ne(self, value: impl Into<Value>) -> Field {
        self.rule(Rule::Ne(value.into()))
    }

    /// Greater than this.
    pub fn gt(self, limit: impl Into<Number>) -> Field {
        self.rule(Rule::Gt(limit.into()))
    }

    /// From the first to the second, both included.
    pub fn between(self, from: impl Into<Number>, to: impl Into<Number>) -> Field {
        self.rule(Rule::Between(from.into(), to.into()))
    }

    /// One of these.
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Field {
        self.rule(Rule::OneOf(values.into_iter().map(Into::into).collect()))
    }

    /// None of these.
    pub fn not_one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Field {
        self.rule(Rule::NotOneOf(values.into_iter().map(Into::into).collect()))
    }

    /// As many bytes, elements or entries.
    pub fn len_eq(self, n: u64) -> Field {
        self.rule(Rule::LenEq(n))
    }

    /// At least so many bytes, elements or entries.
    pub fn len_min(self, n: u64) -> Field {
        self.rule(Rule::LenMin(n))
    }

    /// At most so many bytes, elements or entries.
    pub fn len_max(self, n: u64) -> Field {
        self.rule(Rule::LenMax(n))
    }

    /// Begins with this.
    pub fn starts_with(self, start: &str) -> Field {
        self.rule(Rule::StartsWith(start.to_owned()))
    }

    /// This Lua pattern is found. A malformed pattern is never found.
    pub fn matches(self, pattern: &str) -> Field {
        self.rule(Rule::Match(fixed(pattern)))
    }

    /// This Lua pattern is not found.
    pub fn not_match(self, pattern: &str) -> Field {
        self.rule(Rule::NotMatch(fixed(pattern)))
    }

    /// One of these Lua patterns is found, else `err`.
    pub fn match_any<'a>(self, patterns: impl IntoIterator<Item = &'a str>, err: &str) -> Field {
        let patterns = patterns.into_iter().map(fixed).collect();
        self.rule(Rule::MatchAny { patterns, err: err.to_owned() })
    }

    /// All these Lua patterns are found, else the text beside.
    pub fn match_all<'a>(self, list: impl IntoIterator<Item = (&'a str, &'a str)>) -> Field {
        self.rule(Rule::MatchAll(list.into_iter().map(meant).collect()))
    }

    /// None of these Lua patterns is found, else the text beside.
    pub fn match_none<'a>(self, list: impl IntoIterator<Item = (&'a str, &'a str)>) -> Field {
        self.rule(Rule::MatchNone(list.into_iter().map(meant).collect()))
    }

    /// This is one of the elements.
    pub fn contains(self, value: impl Into<Value>) -> Field {
        self.rule(Rule::Contains(value.into()))
    }

    /// Elements come from one of these lists of texts only.
    pub fn mutually_exclusive_subsets(self, subsets: Value) -> Field {
        let subsets = serde_json::from_value(subsets).unwrap_or_default();
        self.rule(Rule::MutuallyExclusiveSubsets(subsets))
    }

    /// A check of text, written in Rust.
    pub fn custom(
        self,
        check: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Field {
        self.rule(Rule::Custom(Validator::of_text(check)))
    }

    /// A check of any value, written in Rust; that of a record sees all of it.
    pub fn custom_value(
        self,
        check: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Field {
        self.rule(Rule::Custom(Validator::new(check)))
    }

    /// A UUID.
    pub fn uuid(self) -> Field {
        self.rule(Rule::Uuid)
    }

    /// Greater than 0.
    pub fn timestamp(self) -> Field {
        self.rule(Rule::Timestamp)
    }

    /// A regular expression.
    pub fn is_regex(self) -> Field {
        self.rule(Rule::IsRegex)
    }

    /// The gateway fills it in.
    pub fn auto(self) -> Field {
        self.with(Flag::Auto, true)
    }

    /// No two entities have the same value.
    pub fn unique(self) -> Field {
        self.with(Flag::Unique, true)
    }

    /// Changes what each element of a list must be.
    pub fn elements_with(mut self, change: impl FnOnce(Field) -> Field) -> Field {
        match &mut self.kind {
            Kind::Array(elements) | Kind::Set(elements) => {
                let old = std::mem::replace(&mut **elements, Field::partial());
                **elements = change(old);
            }
            Kind::Partial { elements } => {
                *elements = Some(Box::new(change(Field::partial())));
            }
            _ => {}
        }
        self
    }

    /// Changes what each key of a map must be.
    pub fn keys_with(mut self, change: impl FnOnce(Field) -> Field) -> Field {
        if let Kind::Map { keys, .. } = &mut self.kind {
            let old = std::mem::replace(&mut **keys, Field::partial());
            **keys = change(old);
        }
        self
    }

    /// Changes what each value of a map must be.
    pub fn values_with(mut self, change: impl FnOnce(Field) -> Field) -> Field {
        if let Kind::Map { values, .. } = &mut self.kind {
            let old = std::mem::replace(&mut **values, Field::partial());
            **values = change(old);
        }
        self
    }
}

fn meant((pattern, err): (&str, &str)) -> Meant {
    Meant { pattern: fixed(pattern), err: err.to_owned() }
}

fn fixed(pattern: &str) -> Pattern {
    Pattern::new(pattern).unwrap_or_else(|error| {
        debug_assert!(false, "{pattern}: {error}");
        Pattern::never()
    })
}
