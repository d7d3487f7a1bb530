//! Bodies in chunks: in two pieces they are what they are in one. The first byte says where to cut.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use silverback_http1::{Decoder, Framing, Piece};

fn read(pieces: &[&[u8]]) -> Option<(bool, Vec<u8>)> {
    let (mut decoder, mut buffer) = (Decoder::new(Framing::Chunked), BytesMut::new());
    let mut data = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.take(&mut buffer).ok()? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::More | Piece::End | Piece::Trailers(_) => break,
            }
        }
    }
    Some((decoder.is_ended(), data))
}

fuzz_target!(|text: &[u8]| {
    let Some((cut, text)) = text.split_first() else { return };
    let (first, second) = text.split_at(usize::from(*cut).min(text.len()));
    assert_eq!(read(&[text]), read(&[first, second]));
});
