//! Entities that end by themselves. What is kept says when (`ttl`, in seconds since 1970), what is
//! shown says in how many seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use silverback_model::errors::{Errors, Fault};
use silverback_model::schema::Schema;
use silverback_model::{Record, field};

/// The field that says when an entity ends.
pub const TTL: &str = "ttl";

/// The longest life, in seconds (kong/constants.lua, `DAO_MAX_TTL`).
const LONGEST: f64 = 100_000_000.0;

/// The time, in seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Whether an entity has ended at a time.
pub fn is_over(record: &Record, now: f64) -> bool {
    record.get(TTL).and_then(Value::as_f64).is_some_and(|end| end < now)
}

/// Whether an entity has ended by now. Most never do, and need no clock.
pub fn has_ended(record: &Record) -> bool {
    field(record, TTL).and_then(Value::as_f64).is_some_and(|end| end < now())
}

/// In how many whole seconds an entity ends; null if it does not.
pub(crate) fn left(kept: &Record, now: f64) -> Value {
    match kept.get(TTL).and_then(Value::as_f64) {
        #[expect(clippy::cast_possible_truncation, reason = "seconds within years")]
        Some(end) => Value::from((end - now).floor() as i64),
        None => Value::Null,
    }
}

/// What a change says of an entity's life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Life {
    /// Nothing.
    Unsaid,
    /// It does not end by itself.
    Endless,
    /// It ends that many seconds after it was written.
    Seconds(f64),
}

impl Life {
    /// Reads the option, and takes the field of that name out of the input.
    ///
    /// # Errors
    /// If it is no whole number of seconds in range, or the kind has no such thing.
    pub(crate) fn take(
        schema: &Schema,
        input: &mut Record,
        option: Option<&Value>,
    ) -> Result<Life, Fault> {
        let sent = if schema.ttl { input.shift_remove(TTL) } else { None };
        let Some(value) = option.or(sent.as_ref()).filter(|value| !value.is_null()) else {
            return Ok(Life::Unsaid);
        };
        let refuse = |text: String| Fault::invalid_options(Errors::of(TTL, text));
        if !schema.ttl {
            return Err(refuse(format!("cannot be used with '{}'", schema.name)));
        }
        match value.as_f64() {
            Some(0.0) => Ok(Life::Endless),
            Some(seconds) if seconds.fract() == 0.0 && (0.0..=LONGEST).contains(&seconds) => {
                Ok(Life::Seconds(seconds))
            }
            _ => Err(refuse(format!("must be an integer between 0 and {LONGEST}"))),
        }
    }

    /// When an entity ends that is written now; `before` is when it did.
    pub(crate) fn end(self, record: &Record, written: &str, before: Value) -> Value {
        match self {
            Life::Unsaid => before,
            Life::Endless => Value::Null,
            Life::Seconds(seconds) => {
                let from = record.get(written).and_then(Value::as_f64).unwrap_or_else(now);
                Value::from(from + seconds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(ttl: &Value, expect: Result<Life, &str>) {
        let mut schema = Schema::named("tokens").ttl(true);
        schema.ttl = true;
        let mut input = Record::from_iter([(TTL.to_owned(), ttl.clone())]);
        let got = Life::take(&schema, &mut input, None).map_err(|fault| fault.message);
        assert_eq!(got, expect.map_err(str::to_owned), "{ttl}");
        assert!(input.is_empty());
    }

    #[test]
    fn lives_are_whole_seconds() {
        check(&json!(60), Ok(Life::Seconds(60.0)));
        check(&json!(0), Ok(Life::Endless));
        check(&Value::Null, Ok(Life::Unsaid));
        for wrong in [json!(1.5), json!(-1), json!(100_000_001), json!("soon")] {
            let text = "invalid option (ttl: must be an integer between 0 and 100000000)";
            check(&wrong, Err(text));
        }
    }
}
