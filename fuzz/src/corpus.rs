//! The corpus of a target: a file of lines, an input each, with Rust's escapes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The inputs of a target that are worth keeping.
#[derive(Debug, Default)]
pub struct Corpus {
    /// In the order of the file.
    pub inputs: Vec<Vec<u8>>,
}

impl Corpus {
    /// Where the corpus of a target stands.
    pub fn path(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.txt"))
    }

    /// Reads a target's; lines that begin with `# ` say something about the next.
    ///
    /// # Errors
    /// If it can't be read, or a line has a broken escape.
    pub fn read(target: &str) -> io::Result<Corpus> {
        let text = fs::read_to_string(Corpus::path(target))?;
        let lines = text.lines().filter(|line| !line.starts_with("# "));
        let inputs = lines.map(|line| {
            let broken = || io::Error::other(format!("{target}: {line}: a broken escape"));
            unescaped(line).ok_or_else(broken)
        });
        Ok(Corpus { inputs: inputs.collect::<Result<_, _>>()? })
    }
}

/// An input as a line.
pub fn escaped(input: &[u8]) -> String {
    // What stands at the start of a remark.
    match input.strip_prefix(b"# ") {
        Some(rest) => format!("\\x23 {}", rest.escape_ascii()),
        None => input.escape_ascii().to_string(),
    }
}

/// A line as the input that it stands for; none if an escape is broken.
pub fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut input = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        input.push(match byte {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                    u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
                }
                same @ (b'\\' | b'\'' | b'"') => same,
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_inputs() {
        let check = |input: &[u8]| {
            let line = escaped(input);
            assert!(!line.contains('\n') && !line.starts_with("# "), "{line}");
            assert_eq!(unescaped(&line).as_deref(), Some(input), "{line}");
        };
        check(b"");
        check(b"GET / HTTP/1.1\r\n\tX: \"a\\b'\0\xff\n");
        check(b"# no remark");
        let all: Vec<u8> = (0..=255).collect();
        check(&all);
        assert_eq!(unescaped("\\x4"), None);
        assert_eq!(unescaped("\\y"), None);
    }
}
