//! Answers of upstreams: heads that mean the same once they are written anew, and bodies that are
//! the same in two pieces as in one. The first byte says what was asked and where to cut.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use silverback_http1::{Decoder, Framing, Response, Scan, headers, response, status_line};

use super::chunks;

pub(crate) const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 404 \r\n",
    "HTTP/1.1 ",
    "100 Continue",
    "101 ",
    "204",
    "304",
    "\r\n\r\n",
    "\n\n",
    "\r\n",
    "Content-Length: ",
    "Transfer-Encoding: ",
    "chunked",
    "Connection: close\r\n",
    "keep-alive",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "Trailer: X\r\n",
    " ",
    "\t",
    ",",
];

const LINES_MAX: usize = 20;

fn read(head: &Bytes, method: &Method) -> Option<Response> {
    response(head, method, LINES_MAX, HeaderMap::new()).ok()
}

pub(crate) fn feed(input: &[u8]) -> bool {
    let Some((first, text)) = input.split_first() else { return false };
    let method = if first & 1 == 0 { Method::GET } else { Method::HEAD };
    let mut rest = BytesMut::from(text);
    let Ok(Some(head)) = Scan::default().take(&mut rest, 4096) else { return false };
    let Some(once) = read(&head, &method) else { return false };
    check_framing(&once, &method);
    let mut again = Vec::new();
    status_line(&mut again, once.version, once.status);
    headers(&mut again, &once.headers, &once.names, |_| true);
    again.extend_from_slice(b"\r\n");
    let twice = read(&again.into(), &method).expect("what was accepted is accepted again");
    assert_eq!((twice.status, twice.version), (once.status, once.version));
    assert_eq!((twice.framing, twice.persists), (once.framing, once.persists));
    assert_eq!(twice.headers, once.headers);
    let cut = usize::from(first >> 1).min(rest.len());
    let whole = chunks::read(Decoder::new(once.framing), &[&rest]);
    let in_two = chunks::read(Decoder::new(once.framing), &[&rest[..cut], &rest[cut..]]);
    assert_eq!(in_two, whole, "cut at {cut}");
    true
}

/// RFC 9112, 6.3.
fn check_framing(read: &Response, method: &Method) {
    let status = read.status.as_u16();
    let told = |name| read.headers.get_all(name).iter().count();
    if method == Method::HEAD || matches!(status, 100..=199 | 204 | 304) {
        assert_eq!(read.framing, Framing::None);
    } else if told(header::TRANSFER_ENCODING) > 0 {
        assert_eq!(read.framing, Framing::Chunked);
    } else if told(header::CONTENT_LENGTH) == 0 {
        assert_eq!(read.framing, Framing::UntilClose);
        assert!(!read.persists, "what ends with the connection leaves none behind");
    }
    assert!(told(header::CONTENT_LENGTH) + told(header::TRANSFER_ENCODING) <= 1);
}
