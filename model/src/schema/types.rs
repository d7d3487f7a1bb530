//! Which kind of field holds a Rust type.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Field, Kind, Schema};
use crate::entities::{Foreign, Protocol, Set};

/// A type that has a schema: by `derive(Entity)`, or by `derive(Config)` with `#[plugin(…)]`.
pub trait HasSchema {
    /// The schema.
    fn schema() -> Schema;
}

/// A type that a field can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of a field",
    note = "a field is text, a number, a bool, `Vec`, `Set`, a map by `String`, `Foreign`, \
            `serde_json::Value`, an `Option` of these, or a struct with `derive(Config)`"
)]
pub trait FieldType {
    /// Whether null is a value of it.
    const OPTIONAL: bool = false;

    /// The field that holds it, without constraints.
    fn field() -> Field;
}

macro_rules! kinds {
    ($($type:ty => $field:expr;)*) => {
        $(impl FieldType for $type {
            fn field() -> Field {
                $field
            }
        })*
    };
}

kinds! {
    String => Field::string();
    bool => Field::boolean();
    u8 => Field::integer();
    u16 => Field::integer();
    u32 => Field::integer();
    u64 => Field::integer();
    usize => Field::integer();
    i32 => Field::integer();
    i64 => Field::integer();
    f64 => Field::number();
    Uuid => Field::string().uuid();
    Value => Field::new(Kind::Json);
    Map<String, Value> => Field::record(Schema::default());
    Protocol => Field::string().one_of(Protocol::ALL.map(Protocol::as_str));
}

impl<T: FieldType> FieldType for Option<T> {
    const OPTIONAL: bool = true;

    fn field() -> Field {
        T::field()
    }
}

impl<T: FieldType> FieldType for Box<T> {
    const OPTIONAL: bool = T::OPTIONAL;

    fn field() -> Field {
        T::field()
    }
}

impl<T: FieldType> FieldType for Vec<T> {
    fn field() -> Field {
        Field::array(T::field())
    }
}

macro_rules! sets {
    ($($set:ident)*) => {
        $(impl<T: FieldType> FieldType for $set<T> {
            fn field() -> Field {
                Field::set(T::field())
            }
        })*
    };
}

sets! { Set BTreeSet HashSet }

macro_rules! maps {
    ($($map:ident)*) => {
        $(impl<T: FieldType> FieldType for $map<String, T> {
            fn field() -> Field {
                Field::map(Field::string(), T::field())
            }
        })*
    };
}

maps! { IndexMap BTreeMap HashMap }

impl<E: EntityName> FieldType for Foreign<E> {
    fn field() -> Field {
        Field::foreign(E::NAME)
    }
}

/// The name of an entity's schema, by `derive(Entity)`.
pub trait EntityName {
    /// The name.
    const NAME: &'static str;
}
