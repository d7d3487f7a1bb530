//! The error log: nginx's line format, one line a message, written whole.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::{Context, Result};
use jiff::Zoned;
use silverback_pdk::LogLevel;
use silverback_proxy::{Syslog, SyslogSender};

use crate::{
    conf::{self, LogTarget},
    node::hostname,
    prefix::append,
};

/// Where error messages go.
enum Sink {
    Stdout,
    Stderr,
    Nowhere,
    /// A file, opened again on demand so that it can be rotated.
    File(PathBuf, Mutex<File>),
    /// A syslog server, told the severity of each message.
    Syslog(SyslogSender),
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sends the messages of the gateway and its plugins where `proxy_error_log` says.
///
/// # Errors
/// If the file can't be written, or the target is one that Silverback does not have.
pub(crate) fn start(log: &conf::Log, least: conf::LogLevel) -> Result<()> {
    let sink = match &log.target {
        LogTarget::Off => Sink::Nowhere,
        LogTarget::Stdout => Sink::Stdout,
        LogTarget::Stderr => Sink::Stderr,
        LogTarget::Syslog(text) => {
            let syslog = Syslog::parse(text, &hostname()).context("proxy_error_log")?;
            Sink::Syslog(syslog.open().context("proxy_error_log: syslog")?)
        }
        LogTarget::File(path) => {
            let file = append(path).with_context(|| format!("can't write {}", path.display()))?;
            Sink::File(path.clone(), Mutex::new(file))
        }
    };
    // A second start in one process (a test) keeps the first sink.
    let _ = SINK.set(sink);
    silverback_pdk::set_log_sink(level(least), write);
    Ok(())
}

/// Says which messages are written.
pub(crate) fn set_level(least: conf::LogLevel) {
    silverback_pdk::set_log_level(level(least));
}

/// Opens the file again, after it was moved away (SIGUSR1).
pub(crate) fn reopen() {
    let Some(Sink::File(path, file)) = SINK.get() else { return };
    match append(path) {
        Ok(fresh) => *lock(file) = fresh,
        Err(error) => {
            let text = format!("can't open {} again: {error}", path.display());
            silverback_pdk::log(LogLevel::Err, "", &text);
        }
    }
}

fn level(level: conf::LogLevel) -> LogLevel {
    match level {
        conf::LogLevel::Debug => LogLevel::Debug,
        conf::LogLevel::Info => LogLevel::Info,
        conf::LogLevel::Notice => LogLevel::Notice,
        conf::LogLevel::Warn => LogLevel::Warn,
        conf::LogLevel::Error => LogLevel::Err,
        conf::LogLevel::Crit => LogLevel::Crit,
        conf::LogLevel::Alert => LogLevel::Alert,
        conf::LogLevel::Emerg => LogLevel::Emerg,
    }
}

fn write(level: LogLevel, plugin: &str, text: &str) {
    let line = line(level, plugin, text);
    // There is nowhere to report that the report can't be written.
    let _ = match SINK.get() {
        Some(Sink::File(_, file)) => lock(file).write_all(line.as_bytes()),
        Some(Sink::Stdout) => io::stdout().lock().write_all(line.as_bytes()),
        Some(Sink::Stderr) => io::stderr().lock().write_all(line.as_bytes()),
        // Levels are in syslog's order.
        Some(Sink::Syslog(sender)) => sender.send(Some(level as u8), &line),
        Some(Sink::Nowhere) | None => Ok(()),
    };
}

fn line(level: LogLevel, plugin: &str, text: &str) -> String {
    let time = Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    let level = if level == LogLevel::Err { "error" } else { level.name() };
    let plugin = if plugin.is_empty() { String::new() } else { format!("[{plugin}] ") };
    format!("{time} [{level}] {}#0: {plugin}{text}\n", std::process::id())
}

/// A poisoned lock means that a writer panicked between two lines: the file is still good.
fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_level_and_plugin() {
        let of_a_plugin = line(LogLevel::Err, "my-plugin", "no");
        assert!(of_a_plugin.contains(" [error] "), "{of_a_plugin}");
        assert!(of_a_plugin.ends_with("#0: [my-plugin] no\n"), "{of_a_plugin}");
        assert!(line(LogLevel::Warn, "", "slow").ends_with("#0: slow\n"));
    }
}
