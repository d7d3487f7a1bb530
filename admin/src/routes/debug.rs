//! `/debug/node/log-level` and `/debug/cluster/log-level` (`kong/api/routes/debug.lua`).

use http::StatusCode;
use silverback_pdk::{LogLevel, log_level as current};
use silverback_store::LOG_LEVEL;

use crate::{
    Answer, Refusal, arguments,
    call::{Call, Outcome},
    log_level,
};

/// For how many seconds a level holds, unless the request says otherwise.
const HOLDS_S: f64 = 60.0;

/// What is logged now.
pub(super) fn show_log_level(_: &Call<'_>) -> Outcome {
    Ok(Answer::message(StatusCode::OK, &format!("log level: {}", shown(current()))))
}

/// Kong's name of a level.
pub(super) fn shown(level: LogLevel) -> &'static str {
    if level == LogLevel::Err { "error" } else { level.name() }
}

/// Changes what is logged, for a time; then it is again what the configuration says. Without a
/// database it is refused, as by Kong.
pub(super) fn set_log_level(call: &Call<'_>) -> Outcome {
    match change(call)? {
        Change::None(answer) => Ok(answer),
        Change::To(..) => Ok(changed()),
    }
}

/// The same on all nodes that share the database.
pub(super) async fn set_cluster_log_level(call: &Call<'_>) -> Outcome {
    let (level, seconds) = match change(call)? {
        Change::None(answer) => return Ok(answer),
        Change::To(level, seconds) => (level, seconds),
    };
    let told = log_level::told(level, seconds);
    call.service.store.broadcast(LOG_LEVEL, &told).await?;
    Ok(changed())
}

/// What a request has changed on this node.
enum Change {
    /// The level is what it should be.
    None(Answer),
    /// The level, and for how many seconds.
    To(LogLevel, f64),
}

fn changed() -> Answer {
    Answer::message(StatusCode::OK, "log level changed")
}

fn change(call: &Call<'_>) -> Result<Change, Refusal> {
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
        return Ok(Change::None(Answer::message(StatusCode::OK, &text)));
    }
    log_level::hold(level, seconds);
    Ok(Change::To(level, seconds))
}
