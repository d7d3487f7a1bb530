//! Log levels that hold for a time, on this node or on all of a cluster
//! (`kong/api/routes/debug.lua`, `kong/runloop/log_level.lua`).

use std::time::Duration;

use serde_json::{Value, json};
use silverback_pdk::{LogLevel, log, override_log_level};

/// The longest time that a level holds, in seconds: a year.
const HOLDS_MAX_S: f64 = 31_536_000.0;

/// Logs at this level for so many seconds; then it is again what the configuration says.
pub(crate) fn hold(level: LogLevel, seconds: f64) {
    let change = override_log_level(level);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, HOLDS_MAX_S))).await;
        change.end();
    });
}

/// What the nodes of a cluster are told, in the channel of that name: levels are nginx's numbers.
pub(crate) fn told(level: LogLevel, seconds: f64) -> String {
    json!({"log_level": level as u8 + 1, "timeout": seconds}).to_string()
}

/// Does as another node has told.
pub fn heard(data: &str) {
    match read(data) {
        Some((level, seconds)) => {
            log(LogLevel::Notice, "", &format!("another node has set the log level: {level}"));
            hold(level, seconds);
        }
        None => log(LogLevel::Err, "", &format!("another node sets no log level by {data}")),
    }
}

fn read(data: &str) -> Option<(LogLevel, f64)> {
    let data: Value = serde_json::from_str(data).ok()?;
    let place = data.get("log_level")?.as_u64()?.checked_sub(1)?;
    let level = LogLevel::ALL.get(usize::try_from(place).ok()?)?;
    Some((*level, data.get("timeout")?.as_f64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        for level in LogLevel::ALL {
            assert_eq!(read(&told(level, 7.0)), Some((level, 7.0)));
        }
        // As a Kong says "debug" for a minute.
        assert_eq!(read(r#"{"timeout":60,"log_level":8}"#), Some((LogLevel::Debug, 60.0)));
        for wrong in
            ["", "null", r#"{"log_level":0,"timeout":1}"#, r#"{"log_level":9,"timeout":1}"#]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
