//! Bodies in chunks: in two pieces they are what they are in one, and what they hold is the same
//! once it is written in chunks anew. The first byte says where to cut.

use bytes::BytesMut;
use http::HeaderMap;
use silverback_http1::{Decoder, Framing, Piece, chunk_size};

pub(crate) const WORDS: &[&str] = &[
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "\r\n",
    "\n",
    ";a=b",
    ";a=\"b\"",
    " ",
    "\t",
    "X-Sum: 7\r\n",
    "ffffffffffffffff",
    "10000000000000000",
    "0x5",
    "+",
    "A",
    "Content-Length: 5\r\n",
];

/// What becomes of a body: none where its frames are broken; else whether it has ended, what it
/// held, its trailers, and what is left.
pub(crate) type Outcome = Option<(bool, Vec<u8>, Option<HeaderMap>, Vec<u8>)>;

pub(crate) fn read(mut decoder: Decoder, pieces: &[&[u8]]) -> Outcome {
    let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), None);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.take(&mut buffer).ok()? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::Trailers(came) => trailers = Some(came),
                Piece::More | Piece::End => break,
            }
        }
    }
    Some((decoder.is_ended(), data, trailers, buffer.to_vec()))
}

pub(crate) fn feed(input: &[u8]) -> bool {
    let Some((cut, text)) = input.split_first() else { return false };
    let cut = usize::from(*cut).min(text.len());
    let chunked = || Decoder::new(Framing::Chunked);
    let whole = read(chunked(), &[text]);
    assert_eq!(read(chunked(), &[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
    let Some((true, data, ..)) = whole else { return false };
    let mut again = Vec::new();
    for piece in data.chunks(7) {
        chunk_size(&mut again, piece.len());
        again.extend_from_slice(piece);
        again.extend_from_slice(b"\r\n");
    }
    again.extend_from_slice(b"0\r\n\r\n");
    let twice = read(chunked(), &[&again]);
    assert_eq!(twice, Some((true, data, None, Vec::new())));
    true
}
