//! Paths: how a request's path is normalised, and what becomes of it for the upstream.

use std::borrow::Cow;

use thiserror::Error;

/// Why a request's path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPath {
    /// A `%` that two hexadecimal digits do not follow. Answered 400.
    #[error("the path has a % that two hexadecimal digits do not follow")]
    Escape,
    /// `%00`. Answered 400.
    #[error("the path has a NUL character")]
    Nul,
    /// `..` that leads out of the root. Answered 400.
    #[error("the path leads out of the root")]
    AboveRoot,
    /// Escapes that do not decode to UTF-8. No route can match: answered 404.
    #[error("the path is not UTF-8")]
    NotUtf8,
}

/// The path as routes see it: unreserved characters decoded, other escapes in upper case, dot
/// segments resolved, repeated slashes merged (kong/tools/uri.lua, `normalize`). What the web
/// server refuses before routing is an error here. Borrowed if there is nothing to do.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    check_depth(path.as_bytes())?;
    let mut decoded = decode_unreserved(path.as_bytes());
    remove_dot_segments(&mut decoded);
    // Slashes that stay encoded counted as such above, but stood for no segment when dots were
    // resolved: an upstream that decodes them must not be led out of its root either.
    check_depth(&decoded)?;
    let normal = String::from_utf8(decoded).map_err(|_| BadPath::NotUtf8)?;
    Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
}

/// Whether there is nothing to decode, merge or resolve.
fn is_normal(path: &[u8]) -> bool {
    let mut after_slash = false;
    for (at, &byte) in path.iter().enumerate() {
        let changes = match byte {
            b'%' | 0 => true,
            b'/' => after_slash,
            b'.' => after_slash && starts_with_dot_segment(path.get(at..).unwrap_or_default()),
            _ => false,
        };
        if changes {
            return false;
        }
        after_slash = byte == b'/';
    }
    true
}

/// Whether the first segment of `rest` is `.` or `..`.
fn starts_with_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, b"." | b".." | [b'.', b'/', ..] | [b'.', b'.', b'/', ..])
}

/// Refuses bad escapes, NUL, and `..` that leads out of the root. As the web server does, it
/// takes encoded slashes and dots for real ones here, though they stay encoded afterwards.
fn check_depth(path: &[u8]) -> Result<(), BadPath> {
    let mut depth = 0_usize;
    let mut segment = Segment::Empty;
    let mut rest = path;
    while let Some((byte, after)) = next_decoded(rest)? {
        rest = after;
        if byte == b'/' {
            depth = segment.depth_after(depth)?;
            segment = Segment::Empty;
        } else {
            segment = segment.with(byte);
        }
    }
    segment.depth_after(depth).map(|_| ())
}

/// What is known of a path segment so far.
#[derive(Clone, Copy)]
enum Segment {
    Empty,
    Dot,
    DotDot,
    Name,
}

impl Segment {
    fn with(self, byte: u8) -> Segment {
        match (self, byte) {
            (Segment::Empty, b'.') => Segment::Dot,
            (Segment::Dot, b'.') => Segment::DotDot,
            _ => Segment::Name,
        }
    }

    fn depth_after(self, depth: usize) -> Result<usize, BadPath> {
        match self {
            Segment::Empty | Segment::Dot => Ok(depth),
            Segment::DotDot => depth.checked_sub(1).ok_or(BadPath::AboveRoot),
            Segment::Name => Ok(depth + 1),
        }
    }
}

/// The next byte of a path, its escape decoded, and the rest of the path.
fn next_decoded(path: &[u8]) -> Result<Option<(u8, &[u8])>, BadPath> {
    match path {
        [] => Ok(None),
        [b'%', high, low, rest @ ..] => match hex_pair(*high, *low) {
            Some(0) => Err(BadPath::Nul),
            Some(byte) => Ok(Some((byte, rest))),
            None => Err(BadPath::Escape),
        },
        [b'%', ..] => Err(BadPath::Escape),
        [0, ..] => Err(BadPath::Nul),
        [byte, rest @ ..] => Ok(Some((*byte, rest))),
    }
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// The characters whose escapes keep their meaning only as escapes (kong/tools/uri.lua,
/// `RESERVED_CHARS`).
fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?%#[]".contains(&byte)
}

/// Decodes all escapes but those of reserved characters, which it writes in upper case.
/// Expects escapes to be well-formed.
fn decode_unreserved(mut path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    while let [byte, rest @ ..] = path {
        path = rest;
        if let (b'%', [high, low, rest @ ..]) = (byte, rest)
            && let Some(value) = hex_pair(*high, *low)
        {
            path = rest;
            if is_reserved(value) {
                decoded.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
            } else {
                decoded.push(value);
            }
        } else {
            decoded.push(*byte);
        }
    }
    decoded
}

/// Resolves `.` and `..` and merges slashes, in place. A trailing dot segment leaves its slash.
fn remove_dot_segments(path: &mut Vec<u8>) {
    if path.first() != Some(&b'/') {
        return;
    }
    let mut normal: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b".." => {
                let parent = normal.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                normal.truncate(parent);
            }
            b"" | b"." => {}
            name => {
                normal.push(b'/');
                normal.extend_from_slice(name);
                continue;
            }
        }
        if last {
            normal.push(b'/');
        }
    }
    *path = normal;
}

/// How a request's path becomes the upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewrite {
    /// Whether the matched part is cut off.
    pub(crate) strip: bool,
    /// How many bytes are cut off, if any.
    pub(crate) cut: usize,
    /// Whether paths are joined as they are (`path_handling` v1), not by segments (v0).
    pub(crate) verbatim: bool,
}

impl Rewrite {
    /// The path for the upstream, escaped.
    pub(crate) fn apply(self, path: &str, base: &str) -> String {
        let path = path.as_bytes();
        let rest = if self.strip {
            without_dot_segment(path.get(self.cut..).unwrap_or_default())
        } else {
            path.strip_prefix(b"/").unwrap_or(path)
        };
        let (base, rest) = if self.verbatim {
            join_verbatim(base, rest)
        } else if self.strip {
            join_stripped(base, path, rest)
        } else {
            join_whole(base, path)
        };
        let mut upstream = String::with_capacity(base.len() + rest.len() + 1);
        escape(base.as_bytes(), &mut upstream);
        escape(rest, &mut upstream);
        upstream
    }
}

/// What is left of a path after stripping, without the `.` or `..` that it may begin with
/// (kong/router/utils.lua, `sanitize_uri_postfix`).
fn without_dot_segment(rest: &[u8]) -> &[u8] {
    match rest {
        b"." | b".." => &[],
        [b'.', b'/', rest @ ..] | [b'.', b'.', b'/', rest @ ..] => rest,
        rest => rest,
    }
}

/// `path_handling` v1 (kong/router/traditional.lua): nothing is added, one of two slashes goes.
fn join_verbatim<'a>(base: &'a str, rest: &'a [u8]) -> (Cow<'a, str>, &'a [u8]) {
    match base.strip_suffix('/') {
        Some(shorter) if rest.first() == Some(&b'/') => (shorter.into(), rest),
        _ => (base.into(), rest),
    }
}

/// `path_handling` v0 with `strip_path` (kong/router/utils.lua, `get_upstream_uri_v0`).
fn join_stripped<'a>(base: &'a str, path: &[u8], rest: &'a [u8]) -> (Cow<'a, str>, &'a [u8]) {
    let bare = base.strip_suffix('/').unwrap_or(base);
    match rest.first() {
        Some(b'/') => (bare.into(), rest),
        Some(_) => (format!("{bare}/").into(), rest),
        None if base == "/" => ("/".into(), rest),
        // A path of nothing but a slash says nothing about how the upstream's should end.
        None if path == b"/" => (base.into(), rest),
        None if path.ends_with(b"/") => (format!("{bare}/").into(), rest),
        None => (bare.into(), rest),
    }
}

/// `path_handling` v0 without `strip_path` (kong/router/utils.lua, `get_upstream_uri_v0`).
fn join_whole<'a>(base: &'a str, path: &'a [u8]) -> (Cow<'a, str>, &'a [u8]) {
    match base.strip_suffix('/') {
        Some(bare) => (bare.into(), path),
        None if path == b"/" => (base.into(), &[]),
        None => (base.into(), path),
    }
}

/// Percent-encodes what may not stand in a request line; escapes stay as they are
/// (kong/tools/uri.lua, `escape`).
fn escape(text: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let hex = |digit: u8| HEX.get(usize::from(digit)).copied().map_or('0', char::from);
    for &byte in text {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || is_reserved(byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        let check = |path: &str, expect: Result<&str, BadPath>| {
            assert_eq!(normalize(path), expect.map(Cow::Borrowed), "{path}");
        };
        check("/", Ok("/"));
        check("", Ok(""));
        check("/a/b", Ok("/a/b"));
        check("/a//b///", Ok("/a/b/"));
        check("//", Ok("/"));
        check("/.", Ok("/"));
        check("/./a/./b/.", Ok("/a/b/"));
        check("/a/../b", Ok("/b"));
        check("/a//../b", Ok("/b"));
        check("/a/b/..", Ok("/a/"));
        check("/a/b/%2E%2e/c", Ok("/a/c"));
        check("/.well-known/..a/b..", Ok("/.well-known/..a/b.."));
        check("/%41%7e%2D%5f", Ok("/A~-_"));
        check("/a%2fb%3Fc%23d%25", Ok("/a%2Fb%3Fc%23d%25"));
        check("/%252e%252e/a", Ok("/%252e%252e/a"));
        check("/a%20b%22", Ok("/a b\""));
        check("/caf%c3%a9", Ok("/café"));
        check("/café/%41", Ok("/café/A"));
        check("/..%2f%2e./a", Err(BadPath::AboveRoot));
        check("/..", Err(BadPath::AboveRoot));
        check("/a/../../b", Err(BadPath::AboveRoot));
        check("/a/./../..", Err(BadPath::AboveRoot));
        check("/a/%2e%2e%2f..", Err(BadPath::AboveRoot));
        check("/a/..%2fb", Ok("/a/..%2Fb"));
        check("/a%2fb/..", Ok("/"));
        check("/a/b%2f..", Ok("/a/b%2F.."));
        check("/a%2fb/../..%2fc", Err(BadPath::AboveRoot));
        check("/%", Err(BadPath::Escape));
        check("/%4", Err(BadPath::Escape));
        check("/%zz", Err(BadPath::Escape));
        check("/%+1", Err(BadPath::Escape));
        check("/a%00", Err(BadPath::Nul));
        check("/a\0", Err(BadPath::Nul));
        check("/%ff", Err(BadPath::NotUtf8));
    }

    #[test]
    fn what_is_normal_is_borrowed() {
        for path in ["/", "/a/b", "/.a/..b/", "/a%2Fb", "/café"] {
            assert!(matches!(normalize(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn paths_are_rewritten_for_the_upstream() {
        // The matched length (None: not stripped), then what v0 and v1 make of it.
        let check = |base: &str, path: &str, cut: Option<usize>, v0: &str, v1: &str| {
            for (verbatim, expect) in [(false, v0), (true, v1)] {
                let rewrite =
                    Rewrite { strip: cut.is_some(), cut: cut.unwrap_or_default(), verbatim };
                assert_eq!(rewrite.apply(path, base), expect, "{rewrite:?} {base} {path}");
            }
        };
        check("/", "/", Some(1), "/", "/");
        check("/", "/r", Some(2), "/", "/");
        check("/", "/r/", Some(2), "/", "/");
        check("/", "/r/x", None, "/r/x", "/r/x");
        check("/s", "/", None, "/s", "/s");
        check("/s", "/r", None, "/s/r", "/sr");
        check("/s", "/r/", Some(2), "/s/", "/s/");
        check("/s", "/rx", Some(2), "/s/x", "/sx");
        check("/s", "/r/x", Some(2), "/s/x", "/s/x");
        check("/s", "/r/x", Some(3), "/s/x", "/sx");
        check("/s/", "/", Some(1), "/s/", "/s/");
        check("/s/", "/r", Some(2), "/s", "/s/");
        check("/s/", "/r/", Some(2), "/s/", "/s/");
        check("/s/", "/r/x", None, "/s/r/x", "/s/r/x");
        check("/s", "/r../x", Some(2), "/s/x", "/sx");
        check("/s", "/r..", Some(2), "/s", "/s");
        check("/s", "/r./x", Some(2), "/s/x", "/sx");
        check("/s", "/r/é \"%2F", Some(2), "/s/%C3%A9%20%22%2F", "/s/%C3%A9%20%22%2F");
    }
}
