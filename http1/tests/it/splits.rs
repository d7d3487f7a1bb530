//! What comes in pieces means what it means whole: the corpus at every point where it can be cut,
//! and texts made of its parts by chance, from a fixed seed.

use bytes::BytesMut;
use http::{HeaderMap, Method};
use silverback_http1::{Framing, Scan};

use crate::{bodies, requests};

/// A generator of numbers that is the same in every run (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

#[test]
fn heads_are_found_wherever_they_are_cut() {
    for (name, text, _) in requests::HEADS {
        let whole = Scan::default().take(&mut BytesMut::from(*text), 1000);
        for cut in 0..text.len() {
            let (mut scan, mut buffer) = (Scan::default(), BytesMut::from(&text[..cut]));
            let mut found = scan.take(&mut buffer, 1000);
            if found == Ok(None) {
                buffer.extend_from_slice(&text[cut..]);
                found = scan.take(&mut buffer, 1000);
            }
            assert_eq!(found, whole, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn bodies_are_the_same_wherever_they_are_cut() {
    for (text, _) in bodies::CHUNKED {
        let text = text.as_bytes();
        let (outcome, data, rest) = bodies::read(Framing::Chunked, [text]);
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let in_two = bodies::read(Framing::Chunked, [first, second]);
            assert_eq!(in_two.0, outcome, "{text:?}, cut at {cut}");
            if outcome.is_ok() {
                assert_eq!((in_two.1, in_two.2), (data.clone(), rest.clone()), "cut at {cut}");
            }
        }
        let in_bytes = bodies::read(Framing::Chunked, text.chunks(1));
        assert_eq!(in_bytes.0.is_ok(), outcome.is_ok(), "{text:?}");
        assert_eq!(in_bytes.1, data, "{text:?}");
    }
}

/// Whatever is read can be written, and means the same when it is read again: nobody behind the
/// gateway gets to see what could be understood differently.
#[test]
fn what_is_accepted_means_the_same_once_written() {
    const PARTS: [&[u8]; 32] = [
        b"GET",
        b"POST",
        b" ",
        b" ",
        b"/",
        b"/a?b",
        b"http://h",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host",
        b"X-A",
        b"Content-Length",
        b"Transfer-Encoding",
        b": ",
        b":",
        b": ",
        b"chunked",
        b"5",
        b"0",
        b", ",
        b"\t",
        b"\x00",
        b"\xe9",
        b"x",
        b"GET / HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"\r\n\r\n",
    ];
    let mut chance = Chance(0x5117_e12b_ac4b_0001);
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut text = Vec::new();
        if chance.below(4) > 0 {
            text.extend_from_slice(b"POST /x HTTP/1.1\r\n");
        }
        for _ in 0..chance.below(14) {
            text.extend_from_slice(PARTS[chance.below(PARTS.len())]);
        }
        text.extend_from_slice(b"\r\n\r\n");
        let Some(Ok(read)) = requests::read(&text) else { continue };
        accepted += 1;
        let mut again = Vec::new();
        let target = [&read.target.path[..]];
        silverback_http1::request_line(&mut again, &read.method, &target);
        silverback_http1::headers(&mut again, &read.headers, &read.names, |_| true);
        again.extend_from_slice(b"\r\n");
        let twice = requests::read(&again).unwrap().unwrap();
        assert_eq!(twice.headers, read.headers, "{:?}", String::from_utf8_lossy(&text));
        assert_eq!(twice.framing, read.framing);
        assert_eq!(twice.target.path, read.target.path);
    }
    assert!(accepted > 1000, "{accepted}");
}

/// No bytes whatever make it panic, and answers neither.
#[test]
fn any_bytes_are_read_or_refused() {
    let mut chance = Chance(42);
    for _ in 0..50_000 {
        let (_, text, _) = &requests::HEADS[chance.below(requests::HEADS.len())];
        let mut text = text.to_vec();
        for _ in 0..chance.below(4) {
            if !text.is_empty() {
                let at = chance.below(text.len());
                text[at] = chance.below(256) as u8;
            }
        }
        let _ = requests::read(&text);
        let head = text.clone().into();
        let _ = silverback_http1::response(&head, &Method::GET, 10, HeaderMap::new());
        let _ = bodies::read(Framing::Chunked, [&text[..]]);
    }
}
