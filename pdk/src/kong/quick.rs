//! What functions that are called often take and give: arguments where they are, results as the
//! exchange has them. Who only reads them copies nothing.

use std::sync::Arc;

use super::{Outcome, Stop, args};
use crate::{Exchange, Record, Value};

/// How a quick function is entered.
pub type Quick = for<'e> fn(&'e mut Exchange, &[Given<'_>]) -> Lending<'e>;

/// What comes of calling one.
pub type Lending<'e> = Result<Lent<'e>, Stop>;

/// An argument, given for the time of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given<'a> {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Number(f64),
    /// Text, or bytes.
    Text(&'a [u8]),
    /// Anything else.
    Other(&'a Value),
}

/// A result, lent by the exchange.
#[derive(Debug)]
pub enum Lent<'e> {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(&'e [u8]),
    /// An address, written out.
    Address(Address),
    /// A whole entity.
    Entity(&'e Arc<Record>),
    /// Anything else, and what was made for this call.
    Value(Value),
}

/// An address as text.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    bytes: [u8; Address::MAX],
    length: u8,
}

impl<'a> From<&'a Value> for Given<'a> {
    fn from(value: &'a Value) -> Given<'a> {
        match value {
            Value::Nil => Given::Nil,
            Value::Bool(b) => Given::Bool(*b),
            Value::Int(n) => Given::Int(*n),
            Value::Number(n) => Given::Number(*n),
            Value::Text(text) | Value::Binary(text) => Given::Text(text),
            other => Given::Other(other),
        }
    }
}

impl<'a> Given<'a> {
    /// As [`Value::type_name`].
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Given::Text(_) => "string",
            Given::Other(value) => value.type_name(),
            other => other.to_value().type_name(),
        }
    }

    /// The bytes of text.
    pub(super) fn as_bytes(self) -> Option<&'a [u8]> {
        if let Given::Text(text) = self { Some(text) } else { None }
    }

    /// The value, copied.
    pub(super) fn to_value(self) -> Value {
        match self {
            Given::Nil => Value::Nil,
            Given::Bool(b) => Value::Bool(b),
            Given::Int(n) => Value::Int(n),
            Given::Number(n) => Value::Number(n),
            Given::Text(text) => Value::text(text),
            Given::Other(value) => value.clone(),
        }
    }
}

impl From<Lent<'_>> for Value {
    fn from(lent: Lent<'_>) -> Value {
        match lent {
            Lent::Nil => Value::Nil,
            Lent::Bool(b) => Value::Bool(b),
            Lent::Int(n) => Value::Int(n),
            Lent::Number(n) => Value::Number(n),
            Lent::Text(text) => Value::text(text),
            Lent::Address(address) => Value::text(address.as_bytes()),
            Lent::Entity(record) => Value::Entity(record.clone()),
            Lent::Value(value) => value,
        }
    }
}

impl<'e> From<&'e str> for Lent<'e> {
    fn from(text: &'e str) -> Lent<'e> {
        Lent::Text(text.as_bytes())
    }
}

impl From<u16> for Lent<'_> {
    fn from(n: u16) -> Self {
        Lent::Int(n.into())
    }
}

impl<'e, T: Into<Lent<'e>>> From<Option<T>> for Lent<'e> {
    fn from(option: Option<T>) -> Lent<'e> {
        option.map_or(Lent::Nil, Into::into)
    }
}

impl<'e> From<&'e Arc<Record>> for Lent<'e> {
    fn from(record: &'e Arc<Record>) -> Lent<'e> {
        Lent::Entity(record)
    }
}

impl Address {
    /// The longest: of six bytes words, the last two as four numbers.
    const MAX: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

    /// An address of these bytes; what is too long for one is cut off.
    pub(super) fn new(text: &[u8]) -> Address {
        let mut address = Address { bytes: [0; Address::MAX], length: 0 };
        text.iter().for_each(|byte| address.push(*byte));
        address
    }

    /// Adds a byte.
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Calls a quick function with values.
pub(super) fn call(quick: Quick, exchange: &mut Exchange, values: &[Value]) -> Outcome {
    let mut few = [Given::Nil; 4];
    let lent = match few.get_mut(..values.len()) {
        Some(few) => {
            few.iter_mut().zip(values).for_each(|(given, value)| *given = value.into());
            quick(exchange, few)
        }
        None => quick(exchange, &values.iter().map(Given::from).collect::<Vec<_>>()),
    };
    lent.map(Value::from)
}

/// The argument at a position; nil beyond the last.
pub(super) fn get<'a>(given: &[Given<'a>], position: usize) -> Given<'a> {
    given.get(position).copied().unwrap_or(Given::Nil)
}

/// An argument that must be a string.
pub(super) fn text<'a>(
    given: &[Given<'a>],
    position: usize,
    refusal: &str,
) -> Result<&'a [u8], Stop> {
    get(given, position).as_bytes().ok_or_else(|| args::raise(refusal))
}

/// Whether an argument is anything but nil and false.
pub(super) fn truthy(given: &[Given<'_>], position: usize) -> bool {
    !matches!(get(given, position), Given::Nil | Given::Bool(false))
}

/// Nothing, as the result of a function that only does something.
pub(super) fn done<'e>() -> Lending<'e> {
    Ok(Lent::Nil)
}
