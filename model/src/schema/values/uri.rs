//! URLs and paths, taken apart and normalized as Kong does (LuaSocket's `url.parse`,
//! kong/tools/uri.lua).

/// The parts of a URL, as they stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Url {
    /// What stands before the first colon.
    pub scheme: Option<String>,
    /// The host, without the brackets of IPv6.
    pub host: Option<String>,
    /// What stands behind the host's colon; it need not be a number.
    pub port: Option<String>,
    /// The path.
    pub path: Option<String>,
    /// What stands behind `?`.
    pub query: Option<String>,
    /// What stands behind `#`.
    pub fragment: Option<String>,
}

/// Takes a URL apart; `None` if it is empty.
pub fn parse_url(text: &str) -> Option<Url> {
    if text.is_empty() {
        return None;
    }
    let mut url = Url::default();
    let mut rest = text;
    if let Some((before, fragment)) = rest.split_once('#') {
        url.fragment = Some(fragment.to_owned());
        rest = before;
    }
    if let Some((scheme, after)) = rest.split_once(':')
        && scheme.starts_with(|c: char| c.is_ascii_alphanumeric())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        url.scheme = Some(scheme.to_owned());
        rest = after;
    }
    let mut authority = "";
    if let Some(after) = rest.strip_prefix("//") {
        let end = after.find('/').unwrap_or(after.len());
        (authority, rest) = after.split_at(end);
    }
    if let Some((before, query)) = rest.split_once('?') {
        url.query = Some(query.to_owned());
        rest = before;
    }
    rest = rest.split_once(';').map_or(rest, |(before, _)| before);
    url.path = (!rest.is_empty()).then(|| rest.to_owned());
    authority = authority.split_once('@').map_or(authority, |(_, host)| host);
    if let Some((host, port)) = authority.rsplit_once(':')
        && !port.contains(']')
    {
        url.port = Some(port.to_owned());
        authority = host;
    }
    if !authority.is_empty() {
        let inside = authority.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        url.host = Some(inside.unwrap_or(authority).to_owned());
    }
    Some(url)
}

/// A path without dot segments, with escapes of unreserved characters decoded and those of
/// reserved ones in upper case, and with slashes merged if so wished. What is decoded to something
/// other than UTF-8 is replaced.
pub fn normalize(path: &str, merge_slashes: bool) -> String {
    let path = decode(path);
    let mut out: Vec<&str> = Vec::new();
    let mut rest = path.as_str();
    while !rest.is_empty() {
        if rest == "/." || rest == "/.." {
            if rest == "/.." {
                out.pop();
            }
            rest = "/";
        } else if rest == "." || rest == ".." {
            rest = "";
        } else if let Some(after) = rest.strip_prefix("../").or_else(|| rest.strip_prefix("./")) {
            rest = after;
        } else if rest.starts_with("/./") {
            rest = &rest[2..];
        } else if rest.starts_with("/../") {
            out.pop();
            rest = &rest[3..];
        } else if merge_slashes && rest.starts_with("//") {
            rest = &rest[1..];
        } else {
            let mut after = rest.chars();
            after.next();
            let first = rest.len() - after.as_str().len();
            let end = after.as_str().find('/').map_or(rest.len(), |i| i + first);
            let (segment, after) = rest.split_at(end);
            out.push(segment);
            rest = after;
        }
    }
    out.concat()
}

const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

fn decode(path: &str) -> String {
    if !path.contains('%') {
        return path.to_owned();
    }
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let digits = (b == b'%').then(|| path.get(at + 1..at + 3)).flatten();
        let byte = digits
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if RESERVED.contains(&byte) => {
                out.extend(format!("%{byte:02X}").bytes());
                at += 3;
            }
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(b);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expect: [Option<&str>; 4]| {
            let url = parse_url(text).expect(text);
            let found = [
                url.scheme.as_deref(),
                url.host.as_deref(),
                url.port.as_deref(),
                url.path.as_deref(),
            ];
            assert_eq!(found, expect, "{text}");
        };
        check("http://a.test:80/x?y#z", [Some("http"), Some("a.test"), Some("80"), Some("/x")]);
        check("https://[::1]:8443", [Some("https"), Some("::1"), Some("8443"), None]);
        check("https://h:443?x=1", [Some("https"), Some("h"), Some("443?x=1"), None]);
        check("a.test", [None, None, None, Some("a.test")]);
        check("http://u:p@h/", [Some("http"), Some("h"), None, Some("/")]);
    }

    #[test]
    fn paths() {
        let check = |path: &str, expect: &str| assert_eq!(normalize(path, true), expect, "{path}");
        check("/a/./b/../c", "/a/c");
        check("/a//b", "/a/b");
        check("/%61%2f%20", "/a%2F ");
        check("/..", "/");
        check("/a/..", "/");
        check("a/b", "a/b");
        check("/é/x", "/é/x");
    }
}
