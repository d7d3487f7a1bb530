//! Heads of requests: what is accepted means the same once it is written, and reading never panics.
#![no_main]

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use silverback_http1::{Request, Scan, headers, request, request_line};

fn read(text: &[u8]) -> Option<Request> {
    let head: Bytes = Scan::default().take(&mut BytesMut::from(text), 16 * 1024).ok()??;
    request(&head, 100, HeaderMap::new()).ok()
}

fuzz_target!(|text: &[u8]| {
    let Some(read_once) = read(text) else { return };
    let mut again = Vec::new();
    request_line(&mut again, &read_once.method, &[&read_once.target.path]);
    headers(&mut again, &read_once.headers, &read_once.names, |_| true);
    again.extend_from_slice(b"\r\n");
    let twice = read(&again).expect("what was accepted is accepted again");
    assert_eq!(twice.headers, read_once.headers);
    assert_eq!(twice.framing, read_once.framing);
    assert_eq!(twice.target.path, read_once.target.path);
});
