//! Where lines of the log go: the gateway decides, everything else only says what is to be said.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

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

static SINK: OnceLock<LogSink> = OnceLock::new();

/// Which lines are written. Levels are numbers here: their places in [`LogLevel::ALL`].
static LEVEL: Level = Level::new();

struct Level {
    /// What the configuration says.
    configured: AtomicU8,
    /// What holds now, in the lower byte; above it how often it was set.
    now: AtomicU64,
}

impl Level {
    const fn new() -> Level {
        let notice = LogLevel::Notice as u8;
        Level { configured: AtomicU8::new(notice), now: AtomicU64::new(notice as u64) }
    }

    fn get(&self) -> LogLevel {
        let place = (self.now.load(Relaxed) & 0xff) as usize;
        LogLevel::ALL.get(place).copied().unwrap_or(LogLevel::Debug)
    }

    fn set(&self, level: LogLevel) {
        self.configured.store(level as u8, Relaxed);
        self.set_for_a_time(level);
    }

    fn set_for_a_time(&self, level: LogLevel) -> LogOverride {
        let next = |old| following(old, level as u8);
        let old = self.now.fetch_update(Relaxed, Relaxed, |old| Some(next(old)));
        LogOverride(next(old.unwrap_or_default()))
    }

    fn end(&self, level: LogOverride) {
        let next = following(level.0, self.configured.load(Relaxed));
        // Where it was set again, it is for others to say when that ends.
        let _ = self.now.compare_exchange(level.0, next, Relaxed, Relaxed);
    }
}

/// What [`Level::now`] is when it is set once more.
fn following(old: u64, level: u8) -> u64 {
    ((old >> 8).wrapping_add(1) << 8) | u64::from(level)
}

/// Says where lines go and how urgent they must be. The first call counts: it is made once, at
/// start. Before it lines go nowhere.
pub fn set_log_sink(least: LogLevel, sink: LogSink) {
    // A second call is a test's or an embedder's; the first sink stays.
    if SINK.set(sink).is_ok() {
        set_log_level(least);
    }
}

/// Which lines are written now: those of this level and more urgent ones.
pub fn log_level() -> LogLevel {
    LEVEL.get()
}

/// Says which lines the configuration wants written; what held for a time ends.
pub fn set_log_level(level: LogLevel) {
    LEVEL.set(level);
}

/// Says which lines are written for a time.
pub fn override_log_level(level: LogLevel) -> LogOverride {
    LEVEL.set_for_a_time(level)
}

/// A level that holds for a time.
#[derive(Debug, Clone, Copy)]
pub struct LogOverride(u64);

impl LogOverride {
    /// Goes back to what the configuration says, unless the level was set again since.
    pub fn end(self) {
        LEVEL.end(self);
    }
}

/// The last level that is written: [`log_level`], or none as long as lines go nowhere.
pub fn written_level() -> Option<LogLevel> {
    SINK.get().map(|_| log_level())
}

/// Whether lines of this level are written: ask before making a text that costs something.
pub fn logs(level: LogLevel) -> bool {
    level <= log_level() && SINK.get().is_some()
}

/// Writes a line about a plugin; with "" about the gateway itself.
pub fn log(level: LogLevel, plugin: &str, text: &str) {
    if level <= log_level()
        && let Some(sink) = SINK.get()
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

    #[test]
    fn a_level_holds_until_it_ends_or_another_is_set() {
        let level = Level::new();
        level.set(LogLevel::Err);
        let first = level.set_for_a_time(LogLevel::Warn);
        let second = level.set_for_a_time(LogLevel::Debug);
        level.end(first);
        assert_eq!(level.get(), LogLevel::Debug);
        level.end(second);
        assert_eq!(level.get(), LogLevel::Err);
    }
}
