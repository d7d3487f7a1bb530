//! Heads of answers.

use bytes::BytesMut;
use http::{HeaderMap, Method};
use silverback_http1::{Framing, Scan, response};

#[test]
fn each_head_has_one_meaning_or_none() {
    use Framing::{Chunked, Length, None as Nothing, UntilClose};
    let check = |method: Method, head: &str, expect: Option<(u16, Framing)>| {
        let mut buffer = BytesMut::from(head.as_bytes());
        let text = Scan::default().take(&mut buffer, 1000).unwrap().expect(head);
        let read = response(&text, &method, 10, HeaderMap::new());
        assert_eq!(read.ok().map(|r| (r.status.as_u16(), r.framing)), expect, "{head:?}");
    };
    let get = |head: &str, expect| check(Method::GET, head, expect);
    get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some((200, Length(5))));
    get("HTTP/1.1 200\r\n\r\n", Some((200, UntilClose)));
    get("HTTP/1.1 200 \r\n\r\n", Some((200, UntilClose)));
    get("HTTP/1.1 299 all is well\r\n\r\n", Some((299, UntilClose)));
    get("HTTP/1.0 200 OK\r\n\r\n", Some((200, UntilClose)));
    get("HTTP/1.1 200 OK\nContent-Length: 0\n\n", Some((200, Nothing)));
    get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some((200, Chunked)));
    get("HTTP/1.1 204 No Content\r\n\r\n", Some((204, Nothing)));
    get("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Some((304, Nothing)));
    get("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", Some((101, Nothing)));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    check(Method::HEAD, head, Some((200, Nothing)));
    for wrong in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: x",
        "Content-Length: -1",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "X-A: 1\r\n folded",
        "X-A : 1",
        "X-A: \u{1}",
        "no colon",
    ] {
        get(&format!("HTTP/1.1 200 OK\r\n{wrong}\r\n\r\n"), None);
    }
    for wrong in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1  200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.1",
        "ICY 200 OK",
        "garbage",
        "",
    ] {
        get(&format!("{wrong}\r\n\r\n"), None);
    }
    get("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None);
}
