//! The grammar of kong.conf.
//!
//! Kong reads the file with Penlight's `pl.config` and strips comments afterwards
//! (kong/conf_loader/init.lua, `load_config`). The rules that follow from the two together:
//!
//! - A line that starts with `#` or `;` is a comment, and ` #` ends a value; `\#` is a plain `#`.
//! - A line that ends with `\` goes on in the next one.
//! - `key = value`: white space around both is dropped. What is not a letter or digit in a key
//!   becomes `_`, so `proxy-listen` is `proxy_listen`. The last of several equal keys wins.
//! - Quotes are not special, they are part of the value.

use std::path::Path;

/// One `key = value` of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key, in the form `[A-Za-z0-9_]+`.
    pub key: String,
    /// The value without comment and surrounding white space; may be empty.
    pub value: String,
    /// The line on which the entry starts, from 1.
    pub line: usize,
}

/// What a file cannot mean.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// The file cannot be read. The first text is Kong's where the file does not exist.
    #[error("{0}")]
    Unreadable(String),
    /// A line that is neither a comment nor `key = value`.
    #[error("{path}:{line}: expected `key = value`, got '{text}'")]
    NotAnAssignment {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The line's text.
        text: String,
    },
}

/// Reads and parses the file at `path`.
///
/// # Errors
/// [`FileError::Unreadable`] alone, or every line that is not an assignment.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, Vec<FileError>> {
    let shown = path.display().to_string();
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(vec![FileError::Unreadable(format!("no file at: {shown}"))]);
        }
        Err(error) => {
            let text = format!("could not load config file: {shown}: {error}");
            return Err(vec![FileError::Unreadable(text)]);
        }
    };
    parse(&shown, &text)
}

/// Parses the text of a file; `path` is only named in errors.
///
/// # Errors
/// Every line that is not an assignment.
pub(crate) fn parse(path: &str, text: &str) -> Result<Vec<Entry>, Vec<FileError>> {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (line, text) in logical_lines(text) {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => entries.push(Entry {
                key: key.trim().replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
                value: strip_comment(value.trim()),
                line,
            }),
            _ => errors.push(FileError::NotAnAssignment {
                path: path.to_owned(),
                line,
                text: text.trim().to_owned(),
            }),
        }
    }
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

/// Writes `value` so that [`parse`] reads it back.
pub(crate) fn escape(value: &str) -> String {
    value.replace('#', "\\#")
}

/// The lines that say something, continuation lines joined, each with its first line's number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    // Some editors start a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let (number, mut joined) = pending.take().unwrap_or((index + 1, String::new()));
        if let Some(head) = line.trim_end().strip_suffix('\\') {
            joined.push_str(head);
            pending = Some((number, joined));
        } else {
            joined.push_str(line);
            lines.push((number, joined));
        }
    }
    // Penlight loses a last line that promises one more; here it counts as it stands.
    lines.extend(pending);
    lines
}

/// Cuts a value at its first `#` that no `\` precedes, then takes the escapes away.
fn strip_comment(value: &str) -> String {
    let mut previous = None;
    let cut = value.char_indices().find(|&(_, c)| {
        let comment = c == '#' && previous != Some('\\');
        previous = Some(c);
        comment
    });
    let kept = cut.map_or(value, |(at, _)| &value[..at]);
    kept.trim_end().replace("\\#", "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[(&str, &str, usize)]) {
        let entries = parse("kong.conf", text).expect("the text is well formed");
        let got: Vec<_> =
            entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn assignments() {
        check("a=1\n\n  b =  two words  \n", &[("a", "1", 1), ("b", "two words", 3)]);
        check("proxy-listen = off", &[("proxy_listen", "off", 1)]);
        check("a = b = c", &[("a", "b = c", 1)]);
        check("a =", &[("a", "", 1)]);
        check("a = \"quoted\"", &[("a", "\"quoted\"", 1)]);
        check("\u{feff}a = 1", &[("a", "1", 1)]);
        check("a = 1\r\nb = 2\r\n", &[("a", "1", 1), ("b", "2", 2)]);
    }

    #[test]
    fn comments() {
        check("# one\n ; two\n   # three = 3\n", &[]);
        check("a = b # c\n", &[("a", "b", 1)]);
        check("a = b#c", &[("a", "b", 1)]);
        check("a = # nothing", &[("a", "", 1)]);
        check(r"a = test\#123  # but \# not this", &[("a", "test#123", 1)]);
        check(r"a = \#\#", &[("a", "##", 1)]);
    }

    #[test]
    fn continuation_lines() {
        check("a = x, \\\n    y\nb = 1", &[("a", "x,     y", 1), ("b", "1", 3)]);
        check("a = x, \\\n# between\ny", &[("a", "x, y", 1)]);
        check("a = x \\", &[("a", "x", 1)]);
    }

    #[test]
    fn escape_is_undone_by_parse() {
        for value in ["plain", "a#b", "##x# ", "10 # 20"] {
            let text = format!("k = {}", escape(value));
            check(&text, &[("k", value.trim(), 1)]);
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let errors = parse("/etc/kong.conf", "a = 1\nprefix /tmp\n[kong]\n= x").unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "/etc/kong.conf:2: expected `key = value`, got 'prefix /tmp'",
                "/etc/kong.conf:3: expected `key = value`, got '[kong]'",
                "/etc/kong.conf:4: expected `key = value`, got '= x'",
            ]
        );
        let missing = read(Path::new("/nonexistent/kong.conf")).unwrap_err();
        assert_eq!(missing[0].to_string(), "no file at: /nonexistent/kong.conf");
    }
}
