//! Protocol Buffers over [`Value`]: the messages of `ProtoBuf:1`, made from the shapes in the
//! table of `kong.*` functions.
//!
//! A call's message has a field for each argument, numbered from 1 in the table's order; a lone map
//! is a `google.protobuf.Struct` itself, and what the log functions take is a `ListValue`. The
//! messages of entities stand in [`entities`]. Field numbers are those of Kong's
//! `pluginsocket.proto`. Fields that hold a type's zero value are not on the wire, so nil, "", 0
//! and false are one and the same to the other side.

mod entities;
mod wire;

use std::borrow::Cow;

use bytes::Bytes;
use silverback_pdk::{
    Value,
    kong::{Arg, Function, Shape},
};

use crate::input::Part;

pub use self::wire::{Malformed, Reader, Wire, put_bytes, put_double, put_int, put_message};

/// How deep values may be nested.
const MAX_DEPTH: usize = 100;
/// How many values one message may hold.
const MAX_VALUES: u32 = 1_000_000;

/// The shape of a result where this protocol has a narrower one than the table.
fn result_shape(function: &Function) -> Shape {
    match function.name {
        // An argument without a value is true in the table; here it is text like any other.
        "kong.request.get_query_arg" => Shape::Text,
        _ => function.result,
    }
}

/// The shape of an argument likewise: `ExitArgs.body` is bytes.
fn argument_shape(function: &Function, at: usize) -> Option<Shape> {
    match (function.name, at) {
        ("kong.response.exit", 1) => Some(Shape::Text),
        _ => function.args.get(at).map(|arg| arg.shape),
    }
}

/// The function whose result may be in a file.
pub const RAW_BODY: &str = "kong.request.get_raw_body";
/// Functions that take arguments from other hosts, and none over this protocol.
const WITHOUT_ARGUMENTS: [&str; 3] = [RAW_BODY, "kong.node.get_memory_stats", "kong.log.serialize"];

/// Reads the arguments in a call's message into `args`, in place of what is there.
///
/// # Errors
/// If the bytes are no such message.
pub fn arguments(
    function: &Function,
    message: Part<'_>,
    args: &mut Vec<Value>,
) -> Result<(), Malformed> {
    args.clear();
    if function.args.is_empty() || WITHOUT_ARGUMENTS.contains(&function.name) {
        return Ok(());
    }
    let mut budget = Budget::default();
    match function.args {
        // Messages for the log: as many arguments as the list has items.
        _ if is_log(function.name) => *args = list(message, &mut budget, 0)?,
        [Arg { shape: Shape::Map | Shape::MultiMap, .. }] => {
            args.push(structure(message, &mut budget, 0)?);
        }
        _ => fields(function, message, &mut budget, args)?,
    }
    Ok(())
}

fn is_log(name: &str) -> bool {
    name.strip_prefix("kong.log.").is_some_and(|level| {
        matches!(level, "alert" | "crit" | "err" | "warn" | "notice" | "info" | "debug")
    })
}

fn fields(
    function: &Function,
    message: Part<'_>,
    budget: &mut Budget,
    values: &mut Vec<Value>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.field()? {
        let at = (number as usize).wrapping_sub(1);
        let Some(shape) = argument_shape(function, at) else { continue };
        let value = argument(shape, wire, budget)?;
        // They come in order, and those that are left out are seldom in the middle.
        fill(function, values, at);
        match values.get_mut(at) {
            Some(earlier) => *earlier = value,
            None => values.push(value),
        }
    }
    fill(function, values, function.args.len());
    Ok(())
}

/// Gives the arguments before a position that did not come what that means.
fn fill(function: &Function, values: &mut Vec<Value>, until: usize) {
    while values.len() < until {
        values.push(argument_shape(function, values.len()).map_or(Value::Nil, absent));
    }
}

/// What a field that is not on the wire means: the zero value of its type.
fn absent(shape: Shape) -> Value {
    match shape {
        Shape::Bool => Value::Bool(false),
        Shape::Int => Value::Int(0),
        Shape::Number => Value::Number(0.0),
        Shape::Text => Value::constant(""),
        Shape::Binary => Value::Binary(Bytes::new()),
        _ => Value::Nil,
    }
}

fn argument(shape: Shape, wire: Wire<'_>, budget: &mut Budget) -> Result<Value, Malformed> {
    Ok(match (shape, wire) {
        (Shape::Bool, Wire::Int(n)) => Value::Bool(n != 0),
        (Shape::Int | Shape::Number, Wire::Int(n)) => Value::Int(n.cast_signed()),
        (Shape::Int | Shape::Number, Wire::Fixed64(n)) => Value::Number(f64::from_bits(n)),
        (Shape::Text, Wire::Bytes(text)) => Value::Text(text.to_bytes()),
        (Shape::Binary, Wire::Bytes(bytes)) => Value::Binary(bytes.to_bytes()),
        (Shape::List, Wire::Bytes(bytes)) => Value::Array(list(bytes, budget, 0)?),
        (Shape::Map | Shape::MultiMap, Wire::Bytes(bytes)) => structure(bytes, budget, 0)?,
        (Shape::Consumer, Wire::Bytes(bytes)) => entities::read(entities::CONSUMER, bytes)?,
        (Shape::Credential, Wire::Bytes(bytes)) => entities::read(entities::CREDENTIAL, bytes)?,
        (Shape::Any, Wire::Bytes(bytes)) => value(bytes, budget, 0)?,
        _ => return Err(Malformed::Type),
    })
}

/// Writes the message of a function's result.
pub fn result(function: &Function, result: &Value, out: &mut Vec<u8>) {
    match result_shape(function) {
        Shape::None => {}
        Shape::Bool => put_int(out, 1, i64::from(truth(result))),
        Shape::Int => put_int(out, 1, whole(result)),
        Shape::Number => put_double(out, 1, result.as_number().unwrap_or(0.0)),
        Shape::Text => put_bytes(out, 1, &text(result)),
        // Content is one of several possible fields, and there even when empty.
        Shape::Binary if !result.is_nil() => wire::put_present(out, 1, &text(result)),
        Shape::Binary => {}
        Shape::Any => put_value(out, result),
        Shape::List => put_list(out, result),
        Shape::Map | Shape::MultiMap => put_struct(out, result),
        Shape::Captures => put_captures(out, result),
        Shape::Route => entities::write(entities::ROUTE, result, out),
        Shape::Service => entities::write(entities::SERVICE, result, out),
        Shape::Consumer => entities::write(entities::CONSUMER, result, out),
        Shape::Credential => entities::write(entities::CREDENTIAL, result, out),
        Shape::MemoryStats => entities::write(entities::MEMORY_STATS, result, out),
    }
}

/// Writes what went wrong where the result's message has a field for it.
pub fn error(function: &Function, text: &str, out: &mut Vec<u8>) {
    if function.name == RAW_BODY {
        wire::put_present(out, 3, text.as_bytes());
    }
}

/// Writes the result of [`RAW_BODY`] whose body is in a file (`RawBodyResult.body_filepath`).
pub fn body_path(path: &std::path::Path, out: &mut Vec<u8>) {
    wire::put_present(out, 2, path.as_os_str().as_encoded_bytes());
}

fn truth(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::Bool(false))
}

fn whole(value: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a fraction has no place on the wire")]
    value.as_number().map_or(0, |n| n as i64)
}

/// Text of any value. True, which is an argument without a value, is "".
fn text(value: &Value) -> Bytes {
    match value {
        Value::Text(bytes) | Value::Binary(bytes) => bytes.clone(),
        Value::Int(n) => n.to_string().into(),
        Value::Number(n) => n.to_string().into(),
        Value::Nil | Value::Bool(_) => Bytes::new(),
        table => table.to_json().to_string().into(),
    }
}

// google.protobuf.Value {1 null, 2 number, 3 text, 4 bool, 5 Struct, 6 ListValue},
// Struct {1 map<string, Value>}, ListValue {1 repeated Value}.

#[derive(Default)]
struct Budget(u32);

impl Budget {
    fn spend(&mut self, depth: usize) -> Result<(), Malformed> {
        self.0 += 1;
        if self.0 > MAX_VALUES {
            return Err(Malformed::Values);
        }
        if depth > MAX_DEPTH { Err(Malformed::Depth) } else { Ok(()) }
    }
}

fn value(message: Part<'_>, budget: &mut Budget, depth: usize) -> Result<Value, Malformed> {
    budget.spend(depth)?;
    let mut result = Value::Nil;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.field()? {
        result = match field {
            (2, Wire::Fixed64(bits)) => number(f64::from_bits(bits)),
            (3, Wire::Bytes(text)) => Value::Text(text.to_bytes()),
            (4, Wire::Int(n)) => Value::Bool(n != 0),
            (5, Wire::Bytes(bytes)) => structure(bytes, budget, depth + 1)?,
            (6, Wire::Bytes(bytes)) => Value::Array(list(bytes, budget, depth + 1)?),
            _ => Value::Nil,
        };
    }
    Ok(result)
}

/// Numbers are doubles here; whole ones were whole before.
fn number(n: f64) -> Value {
    Value::Number(n).as_int().map_or(Value::Number(n), Value::Int)
}

fn list(message: Part<'_>, budget: &mut Budget, depth: usize) -> Result<Vec<Value>, Malformed> {
    let mut items = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.field()? {
        if let (1, Wire::Bytes(item)) = field {
            items.push(value(item, budget, depth + 1)?);
        }
    }
    Ok(items)
}

fn structure(message: Part<'_>, budget: &mut Budget, depth: usize) -> Result<Value, Malformed> {
    let mut pairs = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.field()? {
        let (1, Wire::Bytes(entry)) = field else { continue };
        let (mut key, mut member) = (Bytes::new(), Value::Nil);
        let mut entry = Reader::new(entry);
        while let Some(field) = entry.field()? {
            match field {
                (1, Wire::Bytes(text)) => key = text.to_bytes(),
                (2, Wire::Bytes(bytes)) => member = value(bytes, budget, depth + 1)?,
                _ => {}
            }
        }
        pairs.push((Value::Text(key), member));
    }
    Ok(Value::Map(pairs))
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    #[expect(clippy::cast_precision_loss, reason = "google.protobuf.Value has doubles only")]
    match value {
        Value::Nil | Value::Foreign(_) => {}
        Value::Bool(b) => wire::put_present_int(out, 4, u64::from(*b)),
        Value::Int(n) => wire::put_present_double(out, 2, *n as f64),
        Value::Number(n) => wire::put_present_double(out, 2, *n),
        Value::Text(text) | Value::Binary(text) => wire::put_present(out, 3, &utf8(text)),
        Value::Array(_) => put_message(out, 6, |out| put_list(out, value)),
        Value::Map(_) | Value::Entity(_) => put_message(out, 5, |out| put_struct(out, value)),
    }
}

/// Text fields must be UTF-8, or the other side refuses the whole message.
fn utf8(text: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn put_list(out: &mut Vec<u8>, value: &Value) {
    if let Value::Array(items) = value {
        for item in items {
            put_message(out, 1, |out| put_value(out, item));
        }
    }
}

fn put_struct(out: &mut Vec<u8>, value: &Value) {
    let converted;
    let pairs = match value {
        Value::Map(pairs) => pairs,
        Value::Entity(record) => {
            converted = Value::from(&serde_json::Value::Object(record.as_ref().clone()));
            let Value::Map(pairs) = &converted else { return };
            pairs
        }
        _ => return,
    };
    for (key, member) in pairs {
        put_message(out, 1, |out| {
            put_bytes(out, 1, &utf8(&text(key)));
            put_message(out, 2, |out| put_value(out, member));
        });
    }
}

/// `UriCapturesResult {1 repeated bytes unnamed, 2 map<string, bytes> named}`, without the whole
/// match.
fn put_captures(out: &mut Vec<u8>, value: &Value) {
    match value.member("unnamed") {
        Value::Array(items) => {
            for item in &items {
                wire::put_present(out, 1, &text(item));
            }
        }
        Value::Map(pairs) => {
            for (_, item) in pairs.iter().filter(|(k, _)| k.as_int().is_some_and(|n| n > 0)) {
                wire::put_present(out, 1, &text(item));
            }
        }
        _ => {}
    }
    if let Value::Map(pairs) = value.member("named") {
        for (key, item) in &pairs {
            put_message(out, 2, |out| {
                put_bytes(out, 1, &text(key));
                wire::put_present(out, 2, &text(item));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use silverback_pdk::{PhaseSet, kong::Call};

    use super::*;
    use crate::testing::{Random, hex, value as any_value};

    fn function(name: &'static str, args: &[Shape], result: Shape) -> Function {
        let args: Vec<_> = args.iter().map(|&shape| Arg { name: "x", shape }).collect();
        let args = Vec::leak(args);
        let call = Call::Now(|_, _| Ok(Value::Nil));
        Function { name, phases: PhaseSet::ANY, args, result, doc: "", call }
    }

    #[track_caller]
    fn arguments_of(function: &Function, message: &str) -> Vec<Value> {
        // What an earlier call left is not taken for this one's.
        let mut args = vec![Value::constant("earlier")];
        arguments(function, Part::new(&hex(message)), &mut args).expect("a message");
        args
    }

    #[track_caller]
    fn check_result(shape: Shape, value: &Value, expect: &str) {
        let mut out = Vec::new();
        result(&function("kong.f", &[], shape), value, &mut out);
        assert_eq!(out, hex(expect), "{value:?}");
    }

    #[test]
    fn results_are_as_kong_sends_them() {
        let map = |pairs: &[(&str, &str)]| {
            Value::Map(pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect())
        };
        check_result(Shape::Text, &Value::constant("hi"), "0a026869");
        check_result(Shape::Text, &Value::Bool(true), "");
        check_result(Shape::Text, &Value::Nil, "");
        check_result(Shape::Number, &Value::Number(1.1), "099a9999999999f13f");
        check_result(Shape::Int, &Value::Int(200), "08c801");
        check_result(Shape::Bool, &Value::Bool(true), "0801");
        check_result(Shape::Binary, &Value::Binary(Bytes::new()), "0a00");
        check_result(
            Shape::MultiMap,
            &map(&[("b", ""), ("a", "1")]),
            "0a070a016212021a00 0a080a016112031a0131",
        );
        check_result(Shape::Any, &Value::Bool(false), "2000");
        check_result(Shape::None, &Value::constant("x"), "");
        let captures = Value::Map(vec![
            (
                Value::constant("unnamed"),
                Value::Map(vec![
                    (Value::Int(0), Value::constant("whole")),
                    (Value::Int(1), Value::constant("a")),
                ]),
            ),
            (Value::constant("named"), map(&[("n", "a")])),
        ]);
        check_result(Shape::Captures, &captures, "0a0161 12060a016e120161");
    }

    #[test]
    fn entities_have_the_fields_of_their_messages() {
        let route = serde_json::json!({
            "id": "r", "created_at": 1, "methods": ["GET"], "strip_path": true,
            "headers": {"x": ["y"]}, "service": {"id": "s"}, "name": null,
        });
        check_result(
            Shape::Route,
            &Value::from(&route),
            "0a0172 1001 3203474554 6001 9201030a0173",
        );
    }

    #[test]
    fn arguments_come_in_the_order_of_their_numbers() {
        #[track_caller]
        fn check(args: &[Shape], message: &str, expect: &[Value]) {
            let got = arguments_of(&function("kong.f", args, Shape::None), message);
            assert_eq!(got, expect);
        }
        check(&[Shape::Text], "0a03782d61", &[Value::constant("x-a")]);
        check(&[Shape::Text], "", &[Value::constant("")]);
        check(&[Shape::Int], "0864", &[Value::Int(100)]);
        check(&[Shape::Int], "08ffffffffffffffffff01", &[Value::Int(-1)]);
        check(
            &[Shape::Text, Shape::Any],
            "0a016b 12031a0176",
            &[Value::constant("k"), Value::constant("v")],
        );
        // In any order, the last one counts, and what is left out has its type's zero value.
        check(
            &[Shape::Int, Shape::Text, Shape::Bool],
            "1801 1201 61 120162",
            &[Value::Int(0), Value::constant("b"), Value::Bool(true)],
        );
        check(&[Shape::Text, Shape::Int], "2a0178", &[Value::constant(""), Value::Int(0)]);
        check(
            &[Shape::Map],
            "0a080a016112031a0131",
            &[Value::Map(vec![(Value::constant("a"), Value::constant("1"))])],
        );
        check(&[], "0a03782d61", &[]);
    }

    #[test]
    fn the_go_pdk_finds_the_types_it_knows() {
        let exit =
            function("kong.response.exit", &[Shape::Int, Shape::Any, Shape::Map], Shape::None);
        let got = arguments_of(&exit, "089303 12026869");
        assert_eq!(got, [Value::Int(403), Value::constant("hi"), Value::Nil]);
        let query = function("kong.request.get_query_arg", &[Shape::Text], Shape::Any);
        let mut out = Vec::new();
        result(&query, &Value::constant("v"), &mut out);
        assert_eq!(out, hex("0a0176"));
    }

    #[test]
    fn log_functions_take_what_the_list_holds() {
        let info = function("kong.log.info", &[Shape::Any], Shape::None);
        let got = arguments_of(&info, "0a031a0161 0a031a0162");
        assert_eq!(got, [Value::constant("a"), Value::constant("b")]);
    }

    #[test]
    fn values_come_back_as_they_went() {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let mut once = Vec::new();
            put_value(&mut once, &any_value(&mut random, 4));
            let read = value(Part::new(&once), &mut Budget::default(), 0).expect("readable");
            let mut again = Vec::new();
            put_value(&mut again, &read);
            assert_eq!(once, again);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut random = Random::new(5);
        let args = [Shape::Any, Shape::Map, Shape::Consumer, Shape::List];
        let f = function("kong.f", &args, Shape::None);
        for _ in 0..20_000 {
            let _ = arguments(&f, Part::new(&random.bytes(40)), &mut Vec::new());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut nested = Vec::new();
        for _ in 0..300 {
            let mut outer = Vec::new();
            put_message(&mut outer, 6, |out| put_message(out, 1, |out| out.extend(&nested)));
            nested = outer;
        }
        let got = value(Part::new(&nested), &mut Budget::default(), 0);
        assert_eq!(got, Err(Malformed::Depth));
    }
}
