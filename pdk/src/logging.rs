//! Where lines of the log go: the gateway decides, everything else only says what is to be said.

use std::{fmt, sync::OnceLock};

/// How much a line matters, in nginx's words: `log_level` names the last that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// The gateway can't go on.
    Emerg,
    /// Somebody must act at once.
    Alert,
    /// A part has failed.
    Crit,
    /// A request or a task has failed.
    Err,
    /// Something is odd.
    Warn,
    /// Worth knowing in normal running; the default of `log_level`.
    Notice,
    /// What goes on.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// Every level, the most urgent first.
    pub const ALL: [LogLevel; 8] = [
        LogLevel::Emerg,
        LogLevel::Alert,
        LogLevel::Crit,
        LogLevel::Err,
        LogLevel::Warn,
        LogLevel::Notice,
        LogLevel::Info,
        LogLevel::Debug,
    ];

    /// As nginx writes it: "err".
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Emerg => "emerg",
            LogLevel::Alert => "alert",
            LogLevel::Crit => "crit",
            LogLevel::Err => "err",
            LogLevel::Warn => "warn",
            LogLevel::Notice => "notice",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// The level of that name; "error" is "err".
    pub fn from_name(name: &str) -> Option<LogLevel> {
        let name = if name == "error" { "err" } else { name };
        LogLevel::ALL.into_iter().find(|level| level.name() == name)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes a line: its level, the plugin it is about ("" for the gateway's own), its text.
pub type LogSink = fn(LogLevel, &str, &str);

static SINK: OnceLock<(LogLevel, LogSink)> = OnceLock::new();

/// Says where lines go and how urgent they must be. The first call counts: it is made once, at
/// start. Before it lines go nowhere.
pub fn set_log_sink(least: LogLevel, sink: LogSink) {
    // A second call is a test's or an embedder's; the first sink stays.
    let _ = SINK.set((least, sink));
}

/// Whether lines of this level are written: ask before making a text that costs something.
pub fn logs(level: LogLevel) -> bool {
    SINK.get().is_some_and(|(least, _)| level <= *least)
}

/// Writes a line about a plugin; with "" about the gateway itself.
pub fn log(level: LogLevel, plugin: &str, text: &str) {
    if let Some((least, sink)) = SINK.get()
        && level <= *least
    {
        sink(level, plugin, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_by_name() {
        for level in LogLevel::ALL {
            assert_eq!(LogLevel::from_name(level.name()), Some(level));
        }
        assert_eq!(LogLevel::from_name("error"), Some(LogLevel::Err));
        assert_eq!(LogLevel::from_name("loud"), None);
    }
}
