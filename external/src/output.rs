//! What plugin servers print: line by line into the log, with its level, and tracebacks whole.

use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;
use silverback_pdk::LogLevel;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A line may go on in the next one that comes this soon.
const QUIET: Duration = Duration::from_millis(50);
/// The longest text that is logged as one.
const MAX_TEXT: usize = 64 << 10;

/// Something that a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) level: LogLevel,
    pub(crate) text: String,
    /// A thread of a Python server, green or not, ended in an exception.
    pub(crate) thread_died: bool,
}

/// Reads a server's output to its end and hands on what it says.
pub(crate) async fn follow(mut from: impl AsyncRead + Unpin, mut hand_on: impl FnMut(Said)) {
    let mut buffer = BytesMut::with_capacity(4096);
    let mut pending = Pending::default();
    loop {
        let read = tokio::time::timeout(QUIET, from.read_buf(&mut buffer));
        // Without something pending there is nothing that a pause could end.
        let read =
            if pending.is_empty() { Ok(from.read_buf(&mut buffer).await) } else { read.await };
        match read {
            Err(_) => pending.flush().into_iter().for_each(&mut hand_on),
            Ok(Ok(n)) if n > 0 => {
                while let Some(line) = next_line(&mut buffer, false) {
                    pending.take(&line).into_iter().for_each(&mut hand_on);
                }
            }
            Ok(_) => break,
        }
    }
    while let Some(line) = next_line(&mut buffer, true) {
        pending.take(&line).into_iter().for_each(&mut hand_on);
    }
    pending.flush().into_iter().for_each(&mut hand_on);
}

/// The next whole line, or what there is at the end or beyond what is kept.
fn next_line(buffer: &mut BytesMut, end: bool) -> Option<String> {
    let length = match buffer.iter().position(|&b| b == b'\n') {
        Some(at) => at + 1,
        None if buffer.len() > MAX_TEXT || (end && !buffer.is_empty()) => buffer.len(),
        None => return None,
    };
    let line = buffer.split_to(length);
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// What has been said and may go on.
#[derive(Debug, Default)]
struct Pending {
    lines: String,
    kind: Kind,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One line, and those indented below it.
    #[default]
    Line,
    /// A Python traceback before the line that names the exception.
    Traceback,
    /// One behind that line: another may follow.
    Closed,
    /// A Go panic: all that comes without a pause.
    Panic,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes a line; gives what was pending if the line does not belong to it.
    fn take(&mut self, raw: &str) -> Option<Said> {
        // JavaScript's logger writes a line piece by piece and moves up to overwrite it.
        if let Some(rest) = raw.strip_prefix("\u{1b}[1A") {
            self.lines = plain(rest).into_owned();
            return None;
        }
        let line = plain(raw);
        if self.belongs(&line) {
            if self.lines.len() + line.len() < MAX_TEXT {
                self.lines.push('\n');
                self.lines.push_str(&line);
            }
            self.kind = self.after(&line);
            return None;
        }
        let said = self.flush();
        self.kind = if line.contains("Traceback (most recent call last):")
            || line.starts_with("Exception in thread ")
        {
            Kind::Traceback
        } else if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
            Kind::Panic
        } else {
            Kind::Line
        };
        self.lines = line.into_owned();
        said
    }

    fn belongs(&self, line: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let indented = line.starts_with([' ', '\t']);
        match self.kind {
            Kind::Line => indented,
            Kind::Traceback | Kind::Panic => true,
            Kind::Closed => {
                line.is_empty()
                    || indented
                    || line.starts_with("Traceback (")
                    || line.starts_with("During handling of the above")
                    || line.starts_with("The above exception was")
            }
        }
    }

    fn after(&self, line: &str) -> Kind {
        let heading = line.starts_with("Traceback (");
        let outside = line.is_empty() || line.starts_with([' ', '\t']);
        match self.kind {
            Kind::Traceback if !heading && !outside => Kind::Closed,
            Kind::Closed if heading => Kind::Traceback,
            kind => kind,
        }
    }

    fn flush(&mut self) -> Option<Said> {
        let kind = std::mem::take(&mut self.kind);
        let lines = std::mem::take(&mut self.lines);
        let lines = lines.trim_end();
        if lines.trim().is_empty() {
            return None;
        }
        let (level, text) = level(lines);
        let thread_died = lines.starts_with("Exception in thread ")
            || (lines.contains("<Greenlet at ") && lines.contains(" failed with "));
        let level = if kind == Kind::Line { level } else { Some(LogLevel::Err) };
        let level = level.unwrap_or(LogLevel::Info);
        Some(Said { level, text: text.to_owned(), thread_died })
    }
}

/// The line without escape sequences and other control characters.
fn plain(line: &str) -> Cow<'_, str> {
    if !line.contains(|c: char| c.is_control() && c != '\t') {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.as_str().starts_with('[') => {
                // Parameters up to a letter; the bracket itself is one of the skipped.
                let _ = chars.by_ref().skip(1).find(|c| ('@'..='~').contains(c));
            }
            '\u{1b}' => drop(chars.next()),
            c if c.is_control() && c != '\t' => {}
            c => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// The level that a line names in the way of one of the PDKs' loggers, and its text without what
/// our log shows itself.
fn level(line: &str) -> (Option<LogLevel>, &str) {
    // Python: `INFO - [09:00:54] text`.
    if let Some((word, rest)) = line.split_once(" - [")
        && let Some(level) = named(word.trim_end())
        && let Some((_, text)) = rest.split_once("] ")
    {
        return (Some(level), text);
    }
    // JavaScript: `2026-11-21T02:41:11.371Z [INFO] text`.
    if let Some((time, rest)) = line.split_once(' ')
        && time.ends_with('Z')
        && time.starts_with(|c: char| c.is_ascii_digit())
        && let Some((word, text)) =
            rest.trim_start().strip_prefix('[').and_then(|r| r.split_once(']'))
        && let Some(level) = named(word)
    {
        return (Some(level), text.trim_start());
    }
    // Go: `2026/11/21 02:41:11 text`.
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || "/:.".contains(c));
    if let Some((date, rest)) = line.split_once(' ')
        && let Some((time, text)) = rest.split_once(' ')
        && (date.len(), date.matches('/').count()) == (10, 2)
        && (digits(date) && digits(time) && time.contains(':'))
    {
        return (None, text);
    }
    (None, line)
}

fn named(word: &str) -> Option<LogLevel> {
    Some(match word {
        "CRITICAL" | "FATAL" => LogLevel::Crit,
        "ERROR" => LogLevel::Err,
        "WARN" | "WARNING" => LogLevel::Warn,
        "INFO" => LogLevel::Info,
        "DEBG" | "DEBUG" | "VERB" | "TRACE" | "LOG" => LogLevel::Debug,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, expect: &[(LogLevel, &str)]) {
        let mut said = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let follow = follow(output.as_bytes(), |s| said.push((s.level, s.text)));
        runtime.expect("a runtime").block_on(follow);
        let said: Vec<_> = said.iter().map(|(level, text)| (*level, text.as_str())).collect();
        assert_eq!(said, expect);
    }

    #[test]
    fn levels_are_those_of_the_pdks_loggers() {
        use LogLevel::{Debug, Err, Info, Warn};
        check(
            "INFO - [10:41:12] up\nDEBG - [10:41:12] x - [y] z\n",
            &[(Info, "up"), (Debug, "x - [y] z")],
        );
        check("WARN - [1] a\nERROR - [1] b", &[(Warn, "a"), (Err, "b")]);
        check("2026/11/21 02:41:11 no plugin instance 7\n", &[(Info, "no plugin instance 7")]);
        check(
            "printed by a plugin\n\nand more",
            &[(Info, "printed by a plugin"), (Info, "and more")],
        );
    }

    #[test]
    fn lines_that_are_written_piece_by_piece_come_once() {
        let e = "\u{1b}";
        let line = format!(
            "2026Z {e}[0m\n{e}[1A{e}[K\n{e}[1A2026Z {e}[0m{e}[42m[INFO]{e}[0m\n{e}[1A{e}[K\n\
             {e}[1A2026Z {e}[0m[INFO]{e}[0m {e}[32mstarted{e}[0m\n"
        );
        let expect = (LogLevel::Info, "started");
        check(&format!("{line}{line}"), &[expect, expect]);
    }

    #[test]
    fn tracebacks_stay_whole() {
        let text = "Exception in thread Thread-1:\nTraceback (most recent call last):\n  File x\n\
                    ValueError: a\n\nDuring handling of the above exception, another one:\n\n\
                    Traceback (most recent call last):\n  File y\nKeyError: b";
        check(
            &format!("{text}\nINFO - [1] next\n"),
            &[(LogLevel::Err, text), (LogLevel::Info, "next")],
        );
        let text = "panic: raised\n\ngoroutine 7 [running]:\nmain.main()\n\t/x.go:1";
        check(text, &[(LogLevel::Err, text)]);
        check(
            "Error: x\n    at y\n    at z\nnext",
            &[(LogLevel::Info, "Error: x\n    at y\n    at z"), (LogLevel::Info, "next")],
        );
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut buffer = BytesMut::from("x".repeat(MAX_TEXT + 1).as_str());
        assert_eq!(next_line(&mut buffer, false).map(|l| l.len()), Some(MAX_TEXT + 1));
    }
}
