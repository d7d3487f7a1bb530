//! Heads of requests: which are refused, with which status, and what the others mean.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use silverback_http1::{Framing, Scan, request};

/// How much may be in a head here.
const HEAD_MAX: usize = 1000;
/// How many headers.
const LINES_MAX: usize = 5;

/// What is expected of a head.
pub(crate) enum Expect {
    /// It is refused with this status.
    Refused(u16),
    /// Method, target, authority, framing.
    Read(&'static str, &'static [u8], Option<&'static str>, Framing),
    /// It is not complete.
    More,
}

use Expect::{More, Read, Refused};

const GET: Expect = Read("GET", b"/", None, Framing::None);

/// Every head, whole and on its own.
pub(crate) const HEADS: &[(&str, &[u8], Expect)] = &[
    // What is well-formed.
    ("plain", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", GET),
    ("no headers", b"GET / HTTP/1.0\r\n\r\n", GET),
    ("blanks around a value", b"GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", GET),
    ("no blank before a value", b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", GET),
    ("an empty value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A:\r\n\r\n", GET),
    ("latin-1 in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \xe9\r\n\r\n", GET),
    (
        "characters that no URI may hold",
        b"GET /{a}|\"b\"<c>^`\\?[d]={e} HTTP/1.1\r\n\r\n",
        Read("GET", b"/{a}|\"b\"<c>^`\\?[d]={e}", None, Framing::None),
    ),
    (
        "bytes that are no UTF-8",
        b"GET /\xe9?\xff=\xc3\xa9 HTTP/1.1\r\n\r\n",
        Read("GET", b"/\xe9?\xff=\xc3\xa9", None, Framing::None),
    ),
    ("a fragment", b"GET /a#b?c HTTP/1.1\r\n\r\n", Read("GET", b"/a", None, Framing::None)),
    ("a method of its own", b"BREW / HTTP/1.1\r\n\r\n", Read("BREW", b"/", None, Framing::None)),
    ("small letters", b"get / HTTP/1.1\r\n\r\n", Read("get", b"/", None, Framing::None)),
    (
        "an absolute target",
        b"GET http://B.test:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        Read("GET", b"/x?y", Some("B.test:80"), Framing::None),
    ),
    (
        "an absolute target without a path",
        b"GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n",
        Read("GET", b"/", Some("b"), Framing::None),
    ),
    (
        "an absolute target with a query only",
        b"GET http://b?x=/y HTTP/1.1\r\nHost: a\r\n\r\n",
        Read("GET", b"/?x=/y", Some("b"), Framing::None),
    ),
    (
        "an authority",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        Read("CONNECT", b"a:443", None, Framing::None),
    ),
    (
        "an asterisk",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        Read("OPTIONS", b"*", None, Framing::None),
    ),
    (
        "a length",
        b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n",
        Read("POST", b"/", None, Framing::Length(12)),
    ),
    (
        "no length to speak of",
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        Read("POST", b"/", None, Framing::None),
    ),
    (
        "chunks",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
        Read("POST", b"/", None, Framing::Chunked),
    ),
    (
        "names that merely resemble a length",
        b"POST / HTTP/1.1\r\nContent_Length: 5\r\nContent-Length2: 6\r\n\r\n",
        Read("POST", b"/", None, Framing::None),
    ),
    // What is not complete.
    ("nothing", b"", More),
    ("a piece", b"GET / HTT", More),
    ("no empty line", b"GET / HTTP/1.1\r\nHost: a\r\n", More),
    ("half an empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\r", More),
    // How long the body is.
    (
        "both lengths",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refused(400),
    ),
    (
        "both lengths, turned",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        Refused(400),
    ),
    (
        "two lengths",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        Refused(400),
    ),
    (
        "two equal lengths",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
        Refused(400),
    ),
    ("a list of lengths", b"POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", Refused(400)),
    ("a length with a sign", b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", Refused(400)),
    ("a negative length", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", Refused(400)),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n", Refused(400)),
    ("a length with a blank", b"POST / HTTP/1.1\r\nContent-Length: 5 6\r\n\r\n", Refused(400)),
    ("an empty length", b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Refused(400)),
    (
        "a length that overflows",
        b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        Refused(400),
    ),
    (
        "chunks by another name",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        Refused(501),
    ),
    (
        "chunks, then identity",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        Refused(501),
    ),
    (
        "gzip, then chunks",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        Refused(501),
    ),
    ("identity", b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", Refused(501)),
    ("an empty coding", b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", Refused(501)),
    (
        "chunks with a parameter",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked;x\r\n\r\n",
        Refused(501),
    ),
    (
        "chunks in quotes",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
        Refused(501),
    ),
    (
        "chunks after a vertical tab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        Refused(400),
    ),
    (
        "chunks twice",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refused(400),
    ),
    ("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refused(400)),
    // Lines.
    ("a folded header", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n", Refused(400)),
    ("a folded header, by a tab", b"GET / HTTP/1.1\r\nX-A: 1\r\n\t2\r\n\r\n", Refused(400)),
    ("a fold in the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refused(400)),
    ("bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n", Refused(400)),
    ("a bare line feed after a header", b"GET / HTTP/1.1\r\nX-A: 1\nHost: a\r\n\r\n", Refused(400)),
    ("a bare line feed at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", Refused(400)),
    ("a carriage return in a value", b"GET / HTTP/1.1\r\nX-A: 1\r2\r\n\r\n", Refused(400)),
    ("a carriage return for a line end", b"GET / HTTP/1.1\rHost: a\r\n\r\n", Refused(400)),
    ("two carriage returns", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Refused(400)),
    ("NUL in a value", b"GET / HTTP/1.1\r\nX-A: 1\x002\r\n\r\n", Refused(400)),
    ("a control character in a value", b"GET / HTTP/1.1\r\nX-A: \x01\r\n\r\n", Refused(400)),
    ("DEL in a value", b"GET / HTTP/1.1\r\nX-A: \x7f\r\n\r\n", Refused(400)),
    ("a blank before a colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refused(400)),
    ("a blank within a name", b"GET / HTTP/1.1\r\nX A: a\r\n\r\n", Refused(400)),
    ("a name that is none", b"GET / HTTP/1.1\r\nX(A): a\r\n\r\n", Refused(400)),
    ("a name that is no ASCII", b"GET / HTTP/1.1\r\nX-\xe9: a\r\n\r\n", Refused(400)),
    ("NUL in a name", b"GET / HTTP/1.1\r\nContent-Length\x00: 5\r\n\r\n", Refused(400)),
    ("no name", b"GET / HTTP/1.1\r\n: a\r\n\r\n", Refused(400)),
    ("no colon", b"GET / HTTP/1.1\r\nHost\r\n\r\n", Refused(400)),
    // The first line.
    ("HTTP/0.9", b"GET /\r\n\r\n", Refused(400)),
    ("HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\n", Refused(505)),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\n\r\n", Refused(505)),
    ("HTTP/1", b"GET / HTTP/1\r\n\r\n", Refused(400)),
    ("HTTP/1.10", b"GET / HTTP/1.10\r\n\r\n", Refused(400)),
    ("http in small letters", b"GET / http/1.1\r\n\r\n", Refused(400)),
    ("something after the version", b"GET / HTTP/1.1x\r\n\r\n", Refused(400)),
    ("a blank after the version", b"GET / HTTP/1.1 \r\n\r\n", Refused(400)),
    ("two blanks", b"GET  / HTTP/1.1\r\n\r\n", Refused(400)),
    ("a blank in the target", b"GET /a b HTTP/1.1\r\n\r\n", Refused(400)),
    ("tabs for blanks", b"GET\t/\tHTTP/1.1\r\n\r\n", Refused(400)),
    ("a tab in the target", b"GET /\ta HTTP/1.1\r\n\r\n", Refused(400)),
    ("NUL in the target", b"GET /\x00 HTTP/1.1\r\n\r\n", Refused(400)),
    ("DEL in the target", b"GET /\x7f HTTP/1.1\r\n\r\n", Refused(400)),
    ("no target", b"GET HTTP/1.1\r\n\r\n", Refused(400)),
    ("nothing but a fragment", b"GET #a HTTP/1.1\r\n\r\n", Refused(400)),
    ("no method", b" / HTTP/1.1\r\n\r\n", Refused(400)),
    ("a method that is none", b"G(T / HTTP/1.1\r\n\r\n", Refused(400)),
    ("a method that is no ASCII", b"G\xc9T / HTTP/1.1\r\n\r\n", Refused(400)),
    ("an absolute target without a host", b"GET http:///x HTTP/1.1\r\n\r\n", Refused(400)),
    // Too much.
    (
        "too many headers",
        b"GET / HTTP/1.1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\n\r\n",
        Refused(494),
    ),
    ("a long first line", &long::<1100>(b"GET /"), Refused(414)),
    ("a long header", &long::<1100>(b"GET / HTTP/1.1\r\nX-A: "), Refused(494)),
];

/// `start`, filled up with letters.
const fn long<const SIZE: usize>(start: &[u8]) -> [u8; SIZE] {
    let mut text = [b'x'; SIZE];
    let mut at = 0;
    while at < start.len() {
        text[at] = start[at];
        at += 1;
    }
    text
}

/// What becomes of a head: what was read, the status it is refused with, or none for more.
pub(crate) fn read(text: &[u8]) -> Option<Result<silverback_http1::Request, u16>> {
    let mut buffer = BytesMut::from(text);
    let head: Option<Bytes> = match Scan::default().take(&mut buffer, HEAD_MAX) {
        Ok(head) => head,
        Err(refusal) => return Some(Err(refusal.status)),
    };
    Some(request(&head?, LINES_MAX, HeaderMap::new()).map_err(|refusal| refusal.status))
}

#[test]
fn each_head_has_one_meaning_or_none() {
    for (name, text, expect) in HEADS {
        match (read(text), expect) {
            (None, More) => {}
            (Some(Err(status)), Refused(expect)) => assert_eq!(status, *expect, "{name}"),
            (Some(Ok(read)), Read(method, target, authority, framing)) => {
                assert_eq!(read.method, *method, "{name}");
                assert_eq!(read.target.path, *target, "{name}");
                let given = read.target.authority.as_deref();
                assert_eq!(given, authority.map(str::as_bytes), "{name}");
                assert_eq!(read.framing, *framing, "{name}");
            }
            (read, _) => panic!("{name}: {read:?}"),
        }
    }
}

#[test]
fn values_are_what_stands_between_the_blanks() {
    let head = b"GET / HTTP/1.1\r\nX-aB:  c d\t\r\nx-ab:\r\n\r\n";
    let read = read(head).unwrap().unwrap();
    let values: Vec<_> = read.headers.get_all("x-ab").iter().collect();
    assert_eq!(values, ["c d", ""]);
    let mut out = Vec::new();
    silverback_http1::headers(&mut out, &read.headers, &read.names, |_| true);
    assert_eq!(out, b"X-aB: c d\r\nx-ab: \r\n");
}

/// A line may be too long though the head is not.
#[test]
fn lines_are_bounded() {
    let check = |head: &[u8], expect: Option<u16>| {
        for piece in [1, 7, head.len()] {
            let (mut scan, mut buffer) = (Scan::within(20), BytesMut::new());
            let pieces = head.chunks(piece).map(|piece| {
                buffer.extend_from_slice(piece);
                scan.take(&mut buffer, HEAD_MAX)
            });
            let found = pieces.filter_map(Result::transpose).next();
            let status = found.and_then(|found| found.err()).map(|refusal| refusal.status);
            assert_eq!(status, expect, "{:?} by {piece}", String::from_utf8_lossy(head));
        }
    };
    check(b"GET /789 HTTP/1.1\r\n\r\n", None);
    check(b"GET /78901 HTTP/1.1\r\n\r\n", Some(414));
    check(b"GET /789012345678901234567890", Some(414));
    check(b"GET / HTTP/1.1\r\nX-A: 567890123456\r\n\r\n", None);
    check(b"GET / HTTP/1.1\r\nX-A: 5678901234567890\r\n\r\n", Some(494));
    check(b"GET / HTTP/1.1\r\nX-A: 1\r\nX-A: 5678901234567890", Some(494));
}

#[test]
fn what_was_asked_for_is_known_of_what_is_refused() {
    let check = |start: &str, method: &str, target: Option<&str>| {
        let (got, path) = silverback_http1::asks_for(start.as_bytes());
        assert_eq!(got.map_or(String::new(), |method| method.to_string()), method, "{start:?}");
        assert_eq!(path, target.map(str::as_bytes), "{start:?}");
    };
    check("POST /a?b HTTP/1.1\r\nno colon\r\n", "POST", Some("/a?b"));
    check("POST /a?b HTT", "POST", None);
    check("G(T / HTTP/1.1\r\n", "", Some("/"));
    check("\r\n", "", None);
    check("", "", None);
}
