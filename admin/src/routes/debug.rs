//! `/debug/node/log-level` (`kong/api/routes/debug.lua`).

use std::time::Duration;

use http::StatusCode;
use silverback_pdk::{LogLevel, log_level as current, override_log_level};

use crate::{
    Answer, arguments,
    call::{Call, Outcome},
};

/// For how many seconds a level holds, unless the request says otherwise.
const HOLDS_S: f64 = 60.0;

/// The longest time that a level holds: a year.
const HOLDS_MAX_S: f64 = 31_536_000.0;

/// What is logged now.
pub(super) fn log_level(_: &Call<'_>) -> Outcome {
    Ok(Answer::message(StatusCode::OK, &format!("log level: {}", shown(current()))))
}

/// Kong's name of a level.
pub(super) fn shown(level: LogLevel) -> &'static str {
    if level == LogLevel::Err { "error" } else { level.name() }
}

/// Changes what is logged, for a time; then it is again what the configuration says. Without a
/// database it is refused, as by Kong.
pub(super) fn set_log_level(call: &Call<'_>) -> Outcome {
    if !call.service.store.is_writable() {
        let text = "cannot change log level when not using a database";
        return Err(Answer::message(StatusCode::METHOD_NOT_ALLOWED, text).into());
    }
    let refuse = |text: &str| Answer::message(StatusCode::BAD_REQUEST, text);
    let name = call.parameter(0);
    let level = LogLevel::from_name(name).filter(|_| name != "err");
    let level = level.ok_or_else(|| refuse(&format!("unknown log level: {name}")))?;
    let seconds = call.request.argument("timeout").and_then(arguments::number);
    let seconds = seconds.and_then(|number| number.as_f64()).unwrap_or(HOLDS_S).ceil();
    if seconds < 0.0 {
        return Err(refuse("timeout must be greater than or equal to 0").into());
    }
    if current() == level {
        let text = format!("log level is already {name}");
        return Ok(Answer::message(StatusCode::OK, &text));
    }
    let change = override_log_level(level);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_secs_f64(seconds.min(HOLDS_MAX_S))).await;
        change.end();
    });
    Ok(Answer::message(StatusCode::OK, "log level changed"))
}
