//! Bodies in their frames.

use bytes::BytesMut;
use silverback_http1::{Broken, Decoder, Framing, Piece};

/// What is expected of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// It holds this, and this is left of the connection.
    Whole(&'static str, &'static str),
    /// It is not complete.
    More,
    /// Its frames are broken.
    Bad,
}

use Expect::{Bad, More, Whole};

/// Bodies in chunks.
pub(crate) const CHUNKED: &[(&str, Expect)] = &[
    ("5\r\nhello\r\n0\r\n\r\n", Whole("hello", "")),
    ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", Whole("hello world", "GET /")),
    ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Whole("01234567890123456789", "")),
    ("005\r\nhello\r\n000\r\n\r\n", Whole("hello", "")),
    ("0\r\n\r\n0\r\n\r\n", Whole("", "0\r\n\r\n")),
    ("2;a=b\r\nhi\r\n0;c\r\n\r\n", Whole("hi", "")),
    ("2 ;a=\"b\"\r\nhi\r\n0\r\n\r\n", Whole("hi", "")),
    ("2 \r\nhi\r\n0\r\n\r\n", Whole("hi", "")),
    ("2\r\nhi\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\nrest", Whole("hi", "rest")),
    ("", More),
    ("5", More),
    ("5\r\nhel", More),
    ("5\r\nhello", More),
    ("5\r\nhello\r\n", More),
    ("5\r\nhello\r\n0\r\n", More),
    ("5\r\nhello\r\n0\r\nX-A: 1\r\n", More),
    ("\r\n", Bad),
    ("g\r\n", Bad),
    ("0x5\r\nhello\r\n", Bad),
    ("-5\r\nhello\r\n", Bad),
    ("+5\r\nhello\r\n", Bad),
    (" 5\r\nhello\r\n", Bad),
    ("5 5\r\nhello\r\n", Bad),
    ("5x\r\nhello\r\n", Bad),
    ("5\nhello\n0\n\n", Bad),
    ("5\r\nhello\n0\r\n\r\n", Bad),
    ("5\r\nhello0\r\n\r\n", Bad),
    ("5\r\nhello!\r\n0\r\n\r\n", Bad),
    ("4\r\nhello\r\n0\r\n\r\n", Bad),
    ("10000000000000000\r\n", Bad),
    ("00000000000000005\r\nhello\r\n", Bad),
    ("5;a\r\rb\r\nhello\r\n", Bad),
    ("5;a\u{1}\r\nhello\r\n", Bad),
    ("0\r\nX-A: 1\n\r\n", Bad),
    ("0\r\nX-A : 1\r\n\r\n", Bad),
    ("0\r\n folded\r\n\r\n", Bad),
    ("0\r\nno colon\r\n\r\n", Bad),
];

/// Takes a body apart that comes in these pieces.
pub(crate) fn read<'a>(
    framing: Framing,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Result<bool, Broken>, Vec<u8>, Vec<u8>) {
    let (mut decoder, mut buffer, mut data) = (Decoder::new(framing), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.take(&mut buffer) {
                Ok(Piece::Data(piece)) => data.extend_from_slice(&piece),
                Ok(Piece::More) => break,
                Ok(Piece::End | Piece::Trailers(_)) => break,
                Err(broken) => return (Err(broken), data, buffer.to_vec()),
            }
        }
    }
    (Ok(decoder.is_ended()), data, buffer.to_vec())
}

#[test]
fn chunks_have_one_meaning_or_none() {
    for (text, expect) in CHUNKED {
        let (outcome, data, rest) = read(Framing::Chunked, [text.as_bytes()]);
        match expect {
            Whole(whole, left) => {
                assert_eq!(outcome, Ok(true), "{text:?}");
                assert_eq!((&data[..], &rest[..]), (whole.as_bytes(), left.as_bytes()), "{text:?}");
            }
            More => assert_eq!(outcome, Ok(false), "{text:?}"),
            Bad => assert!(outcome.is_err(), "{text:?}: {outcome:?}"),
        }
    }
}

#[test]
fn lengths_are_kept_to() {
    let check = |framing, text: &str, ended, body: &str, left: &str| {
        let (outcome, data, rest) = read(framing, [text.as_bytes()]);
        assert_eq!(outcome, Ok(ended), "{text}");
        assert_eq!((&data[..], &rest[..]), (body.as_bytes(), left.as_bytes()), "{text}");
    };
    check(Framing::None, "GET /", true, "", "GET /");
    check(Framing::Length(5), "helloGET /", true, "hello", "GET /");
    check(Framing::Length(5), "hell", false, "hell", "");
    check(Framing::UntilClose, "hello", false, "hello", "");
}

#[test]
fn a_connection_that_closes_ends_only_what_may_end_so() {
    let check = |framing, expect| assert_eq!(Decoder::new(framing).close().is_ok(), expect);
    check(Framing::None, true);
    check(Framing::UntilClose, true);
    check(Framing::Length(1), false);
    check(Framing::Chunked, false);
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let check = |text: String| {
        let (outcome, ..) = read(Framing::Chunked, [text.as_bytes()]);
        assert!(outcome.is_err());
    };
    check(format!("1;{}\r\n", "x".repeat(2000)));
    check(format!("1;{}\r\nx\r\n", "x".repeat(900)).repeat(20));
    check(format!("0\r\nX-A: {}", "x".repeat(20_000)));
    check(format!("0\r\n{}\r\n", "X-A: 1\r\n".repeat(100)));
}
