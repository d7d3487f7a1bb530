//! Heads of requests: what is accepted means the same once it is written anew, and has one length
//! at the most.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use silverback_http1::{Framing, Request, Scan, begins_well, headers, request, request_line};

pub(crate) const WORDS: &[&str] = &[
    "GET",
    "POST ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: a\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Content-Length: ",
    "Transfer-Encoding: ",
    "chunked",
    "identity",
    "Connection: ",
    "close",
    "keep-alive",
    "Expect: 100-continue\r\n",
    "http://",
    "https://",
    " ",
    "\t",
    "\u{b}",
    ":",
    ",",
    "0",
    "+",
    "\0",
];

/// How much may be in a head here.
const HEAD_MAX: usize = 4096;
/// How many headers.
const LINES_MAX: usize = 20;

/// Reads a head off bytes.
pub(crate) fn read(text: &[u8]) -> Option<Request> {
    let head: Bytes = Scan::default().take(&mut BytesMut::from(text), HEAD_MAX).ok()??;
    request(&head, LINES_MAX, HeaderMap::new()).ok()
}

pub(crate) fn feed(text: &[u8]) -> bool {
    let whole = Scan::default().take(&mut BytesMut::from(text), HEAD_MAX);
    for cut in [text.len() / 3, text.len() / 2, text.len().saturating_sub(2)] {
        let (mut scan, mut buffer) = (Scan::default(), BytesMut::from(&text[..cut]));
        let mut found = scan.take(&mut buffer, HEAD_MAX);
        if found == Ok(None) {
            buffer.extend_from_slice(&text[cut..]);
            found = scan.take(&mut buffer, HEAD_MAX);
        }
        assert_eq!(found, whole, "cut at {cut}");
    }
    let Some(read_once) = read(text) else { return false };
    assert!(begins_well(text).is_ok(), "who waits for the rest would have given it up");
    let lengths = read_once.headers.get_all(header::CONTENT_LENGTH).iter().count();
    let codings = read_once.headers.get_all(header::TRANSFER_ENCODING).iter().count();
    assert!(lengths + codings <= 1, "{lengths} {codings}");
    let expect = if codings == 1 { Framing::Chunked } else { Framing::None };
    assert!(lengths == 1 || read_once.framing == expect, "{:?}", read_once.framing);
    let mut again = Vec::new();
    request_line(&mut again, &read_once.method, &[&read_once.target.path]);
    headers(&mut again, &read_once.headers, &read_once.names, |_| true);
    again.extend_from_slice(b"\r\n");
    let twice = read(&again).expect("what was accepted is accepted again");
    assert_eq!(twice.headers, read_once.headers);
    assert_eq!(twice.framing, read_once.framing);
    assert_eq!(twice.method, read_once.method);
    // `a#b` of an absolute target is a path of its own once the fragment is gone, and so is what
    // follows a host; a path never becomes a host.
    if read_once.target.path.starts_with(b"/") {
        assert_eq!(twice.target.path, read_once.target.path);
        assert_eq!(twice.target.authority, None);
    }
    true
}
