//! The bytes of a body: from its frames to what is in them.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use crate::{Framing, Lines, Names, scan};

/// How long the line with the size of a chunk may be.
const SIZE_LINE_MAX: usize = 1024;
/// How much of a body may be extensions of chunks, which are dropped.
const EXTENSIONS_MAX: usize = 16 * 1024;
/// How large the trailers may be.
const TRAILERS_MAX: usize = 16 * 1024;
/// How many trailers there may be.
const TRAILERS_LINES_MAX: usize = 64;

/// Takes a body out of its frames.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    extensions: usize,
}

#[derive(Debug, Clone)]
enum State {
    /// This much of the body, and then it ends.
    Length(u64),
    UntilClose,
    /// The line with a chunk's size.
    Size,
    /// This much of a chunk.
    Chunk(u64),
    /// The end of the line that a chunk is.
    ChunkEnd,
    Trailers(scan::Scan),
    Ended,
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of it, at least one.
    Data(Bytes),
    /// The headers after the last chunk.
    Trailers(HeaderMap),
    /// It has come to its end.
    End,
    /// More has to be read first.
    More,
}

/// The frames are broken: nothing more can be read of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

impl Decoder {
    /// For a body that ends like this.
    pub fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        Decoder { state, extensions: 0 }
    }

    /// Whether all of the body has been taken.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// How much is to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// How much may be read of the connection at once, without reading far into what follows.
    pub fn wanted(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// Takes the next piece off what was read.
    ///
    /// # Errors
    /// If the frames are broken.
    pub fn take(&mut self, read: &mut BytesMut) -> Result<Piece, Broken> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(Piece::End),
                _ if read.is_empty() => return Ok(Piece::More),
                State::Length(left) => {
                    let data = split(read, left);
                    if *left == 0 {
                        self.state = State::Ended;
                    }
                    return Ok(Piece::Data(data));
                }
                State::UntilClose => return Ok(Piece::Data(read.split().freeze())),
                State::Chunk(left) => {
                    let data = split(read, left);
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                        self.end_early(read);
                    }
                    return Ok(Piece::Data(data));
                }
                State::ChunkEnd => match read.get(..2) {
                    Some(b"\r\n") => {
                        read.advance(2);
                        self.state = State::Size;
                    }
                    Some(_) => return Err(Broken("chunk is longer than its size")),
                    None => return Ok(Piece::More),
                },
                State::Size => match self.size(read)? {
                    None => return Ok(Piece::More),
                    Some(0) => self.state = State::Trailers(scan::Scan::default()),
                    Some(size) => self.state = State::Chunk(size),
                },
                State::Trailers(_) => return self.trailers(read),
            }
        }
    }

    /// Nothing more can be read: whether that is the body's end.
    ///
    /// # Errors
    /// If there should be more.
    pub fn close(&mut self) -> Result<(), Broken> {
        match self.state {
            State::Ended | State::UntilClose => {
                self.state = State::Ended;
                Ok(())
            }
            _ => Err(Broken("connection closed before the end of the body")),
        }
    }

    /// Most bodies end right after their last piece, and it is good to know then.
    fn end_early(&mut self, read: &mut BytesMut) {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        if read.starts_with(END) {
            read.advance(END.len());
            self.state = State::Ended;
        }
    }

    /// The size of the next chunk, in hexadecimal digits; what follows them on the line is dropped.
    fn size(&mut self, read: &mut BytesMut) -> Result<Option<u64>, Broken> {
        let window = read.get(..read.len().min(SIZE_LINE_MAX)).unwrap_or_default();
        let Some(end) = memchr(b'\n', window) else {
            return match window.len() < SIZE_LINE_MAX {
                true => Ok(None),
                false => Err(Broken("line with a chunk's size is too long")),
            };
        };
        let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        let line = line.ok_or(Broken("line feed without carriage return"))?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, rest) = line.split_at(digits);
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() <= 16);
        let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let size = size.ok_or(Broken("invalid size of a chunk"))?;
        self.extensions += rest.len();
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let fine = matches!(rest.get(blanks), None | Some(b';'))
            && rest.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        if !fine || self.extensions > EXTENSIONS_MAX {
            return Err(Broken("invalid extension of a chunk"));
        }
        read.advance(end + 1);
        Ok(Some(size))
    }

    fn trailers(&mut self, read: &mut BytesMut) -> Result<Piece, Broken> {
        let State::Trailers(scan) = &mut self.state else { return Ok(Piece::More) };
        match read.get(..2) {
            Some(b"\r\n") => {
                read.advance(2);
                self.state = State::Ended;
                return Ok(Piece::End);
            }
            None => return Ok(Piece::More),
            Some(_) => {}
        }
        let taken = scan.take(read, TRAILERS_MAX).map_err(|refusal| Broken(refusal.reason))?;
        let Some(text) = taken else { return Ok(Piece::More) };
        let mut trailers = HeaderMap::new();
        let mut names = Names::new(text.clone());
        let max = TRAILERS_LINES_MAX;
        scan::fields(&text, 0, Lines::Strict, max, &mut trailers, &mut names)
            .map_err(|refusal| Broken(refusal.reason))?;
        self.state = State::Ended;
        Ok(Piece::Trailers(trailers))
    }
}

/// Takes what there is of `left` bytes.
fn split(read: &mut BytesMut, left: &mut u64) -> Bytes {
    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= size as u64;
    read.split_to(size).freeze()
}
