//! Paths: normalised as rule after rule says, once and for all, and never out of the root.

use silverback_router::{BadPath, normalize};

pub(crate) const WORDS: &[&str] = &[
    "/", "//", ".", "..", "/./", "/../", "%2e", "%2E", "%2f", "%2F", "%41", "%7e", "%", "%4",
    "%zz", "%00", "%25", "%c3%a9", "%C3", "é", "a", "b c", ";", "?", "#", "\\",
];

pub(crate) fn feed(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    // As the web server has it, before a router sees it.
    let path = format!("/{}", text.strip_prefix('/').unwrap_or(text));
    let normal = normalize(&path);
    // Of several things that are wrong any may be named first; all of them are answered 400.
    let class = |bad: BadPath| if bad == BadPath::NotUtf8 { 404 } else { 400 };
    let found = normal.as_deref().map_err(|bad| class(*bad));
    assert_eq!(found, reference(&path).as_deref().map_err(|bad| class(*bad)), "{path:?}");
    // Others come here as well: a plugin may ask for anything.
    let _ = normalize(text);
    let Ok(normal) = normal else { return false };
    assert!(normal.starts_with('/') && !normal.contains("//"), "{path:?}: {normal:?}");
    let mut segments = normal.split('/');
    assert!(!segments.any(|part| part == "." || part == ".."), "{path:?}: {normal:?}");
    assert_eq!(normalize(&normal).as_deref(), Ok(&*normal), "{path:?}");
    true
}

/// A character of a path: itself, or an escape that stays one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Plain(u8),
    Escaped(u8),
}

/// The rules one after the other: escapes are read, what leads out of the root is refused with all
/// of them read, then segments are resolved with those left that must stay escapes, and what leads
/// out of the root now is refused, too.
fn reference(path: &str) -> Result<String, BadPath> {
    let mut units = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        units.push(match byte {
            0 => return Err(BadPath::Nul),
            b'%' => {
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let (Some(high), Some(low)) = (high, low) else { return Err(BadPath::Escape) };
                match u8::try_from(high * 16 + low).unwrap() {
                    0 => return Err(BadPath::Nul),
                    value if b"!*'();:@&=+$,/?%#[]".contains(&value) => Unit::Escaped(value),
                    value => Unit::Plain(value),
                }
            }
            byte => Unit::Plain(byte),
        });
    }
    if leads_out(units.iter().copied()) {
        return Err(BadPath::AboveRoot);
    }
    const DOT: Unit = Unit::Plain(b'.');
    let mut kept: Vec<&[Unit]> = Vec::new();
    // Whether it ends with a slash.
    let mut open = true;
    for segment in units.split(|unit| *unit == Unit::Plain(b'/')).skip(1) {
        open = matches!(segment, [] | [DOT] | [DOT, DOT]);
        match segment {
            [DOT, DOT] => drop(kept.pop()),
            [] | [DOT] => {}
            name => kept.push(name),
        }
    }
    let joined = kept.iter().flat_map(|segment| [&[Unit::Plain(b'/')], *segment]);
    if leads_out(joined.flatten().copied()) {
        return Err(BadPath::AboveRoot);
    }
    let mut normal = Vec::new();
    for segment in kept {
        normal.push(b'/');
        for unit in segment {
            match unit {
                Unit::Plain(byte) => normal.push(*byte),
                Unit::Escaped(byte) => normal.extend(format!("%{byte:02X}").bytes()),
            }
        }
    }
    if open {
        normal.push(b'/');
    }
    String::from_utf8(normal).map_err(|_| BadPath::NotUtf8)
}

/// Whether dots lead out of the root, encoded slashes and dots being as good as others.
fn leads_out(units: impl Iterator<Item = Unit>) -> bool {
    let decoded: Vec<u8> = units.map(|(Unit::Plain(byte) | Unit::Escaped(byte))| byte).collect();
    let mut depth = 0;
    decoded.split(|byte| *byte == b'/').any(|segment| {
        depth += match segment {
            b"" | b"." => 0,
            b".." => -1,
            _ => 1,
        };
        depth < 0
    })
}
