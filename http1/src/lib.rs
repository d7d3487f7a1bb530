//! The bytes of HTTP/1.1 (RFC 9112): heads are read and written, bodies framed. Pure: no socket,
//! no clock, no task.
//!
//! What is ambiguous is refused rather than guessed at, so that no other parser on the way can
//! understand a message differently; what is accepted is written anew, in one form. `tests/it`
//! holds the corpus.

mod names;
mod scan;

mod request;
mod response;

mod body;

mod write;

pub use self::{
    body::{Broken, Decoder, Piece},
    names::Names,
    request::{Request, Target, asks_for, begins_well, request},
    response::{Response, response},
    scan::{Lines, Refusal, Scan},
    write::{Date, chunk_size, headers, name_in_title_case, number, request_line, status_line},
};

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// It has this many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection. Only answers may.
    UntilClose,
}
