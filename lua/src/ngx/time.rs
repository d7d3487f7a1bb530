//! Clocks and dates (`ngx.now`, `ngx.http_time` and their like). The clock is read whenever it is
//! asked: `ngx.update_time` has nothing to do.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use mlua::Table;

use crate::{
    bind,
    raw::{Args, Out, Outcome},
    state::State,
};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Puts the functions into the table `ngx`, and those of other modules into `native`.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, ngx: &Table, native: &Table) -> mlua::Result<()> {
    let text = |name: &str, make: fn() -> String| {
        ngx.set(name, bind::fast(state, move |_| Outcome::One(make().into()))?)
    };
    text("today", || local().strftime("%Y-%m-%d").to_string())?;
    text("localtime", || local().strftime("%Y-%m-%d %H:%M:%S").to_string())?;
    text("utctime", || utc(Timestamp::now()).strftime("%Y-%m-%d %H:%M:%S").to_string())?;
    ngx.set("now", bind::fast(state, |_| Outcome::One((milliseconds() / 1000.0).into()))?)?;
    let seconds = |_: &Args<'_>| Outcome::One((milliseconds() / 1000.0).floor().into());
    ngx.set("time", bind::fast(state, seconds)?)?;
    ngx.set("update_time", bind::fast(state, |_| Outcome::Nothing)?)?;
    ngx.set("http_time", bind::fast(state, |args| dated(args, http_time))?)?;
    ngx.set("cookie_time", bind::fast(state, |args| dated(args, cookie_time))?)?;
    ngx.set("parse_http_time", bind::fast(state, parse_http_time)?)?;
    let began = std::time::Instant::now();
    let monotonic = move |_: &Args<'_>| Outcome::One((began.elapsed().as_secs_f64() * 1e3).into());
    native.set("monotonic_ms", bind::fast(state, monotonic)?)?;
    #[expect(clippy::cast_precision_loss, reason = "Lua numbers are doubles")]
    let nanoseconds = |_: &Args<'_>| Outcome::One((since_epoch().as_nanos() as f64).into());
    native.set("time_ns", bind::fast(state, nanoseconds)?)
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whole milliseconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn milliseconds() -> f64 {
    since_epoch().as_millis() as f64
}

fn local() -> DateTime {
    Timestamp::now().to_zoned(TimeZone::system()).datetime()
}

fn utc(at: Timestamp) -> DateTime {
    at.to_zoned(TimeZone::UTC).datetime()
}

/// The date of seconds since 1970 in a form.
fn dated(args: &Args<'_>, form: fn(DateTime) -> String) -> Outcome {
    let Some(seconds) = args.number(1) else {
        return Outcome::Raise("number argument only".to_owned());
    };
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and is checked then")]
    match Timestamp::from_second(seconds as i64) {
        Ok(at) => Outcome::One(form(utc(at)).into()),
        Err(_) => Outcome::Raise("the time is out of range".to_owned()),
    }
}

fn names(at: DateTime) -> (&'static str, &'static str) {
    let day = usize::try_from(at.weekday().to_monday_zero_offset()).unwrap_or_default();
    let month = usize::try_from(at.month() - 1).unwrap_or_default();
    (DAYS.get(day).unwrap_or(&""), MONTHS.get(month).unwrap_or(&""))
}

fn http_time(at: DateTime) -> String {
    let (weekday, month) = names(at);
    let (day, year, hour, minute, second) =
        (at.day(), at.year(), at.hour(), at.minute(), at.second());
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

fn cookie_time(at: DateTime) -> String {
    let (weekday, month) = names(at);
    // Netscape's cookies have two digits for the year up to 2037.
    let year = if at.year() > 2037 {
        at.year().to_string()
    } else {
        format!("{:02}", at.year().rem_euclid(100))
    };
    let (day, hour, minute, second) = (at.day(), at.hour(), at.minute(), at.second());
    format!("{weekday}, {day:02}-{month}-{year} {hour:02}:{minute:02}:{second:02} GMT")
}

fn parse_http_time(args: &Args<'_>) -> Outcome {
    let seconds = args.text(1).and_then(parsed);
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    Outcome::One(seconds.map_or(Out::Nil, |seconds| Out::Number(seconds as f64)))
}

/// Seconds since 1970 of a date in one of HTTP's three forms (RFC 9110, 5.6.7).
fn parsed(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split([' ', '-', ',']).filter(|word| !word.is_empty()).collect();
    let (day, month, year, time) = match words.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT; Sunday, 06-Nov-94 08:49:37 GMT
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let month = 1 + MONTHS.iter().position(|name| name == month)?;
    let mut parts = time.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let short = year.len() == 2;
    let year: i16 = year.parse().ok()?;
    let year = match (short, year) {
        (true, 70..) => year + 1900,
        (true, _) => year + 2000,
        (false, _) => year,
    };
    let date =
        DateTime::new(year, i8::try_from(month).ok()?, day.parse().ok()?, hour, minute, second, 0);
    Some(date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_all_forms() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parsed(text), Some(784_111_777), "{text}");
        }
        for text in ["", "yesterday", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Foo 1994 0:0:0 GMT"]
        {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_written() {
        let at = utc(Timestamp::from_second(784_111_777).expect("a time"));
        assert_eq!(http_time(at), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(cookie_time(at), "Sun, 06-Nov-94 08:49:37 GMT");
    }
}
