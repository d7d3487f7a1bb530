//! Why an event could not be brought to its end.

use std::{io, time::Duration};

use thiserror::Error;

use crate::{msgpack, protobuf};

/// Why an event could not be brought to its end.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// Nothing was sent.
    #[error("can't connect to {path}: {error}")]
    Connect { path: String, error: io::Error },
    /// Nothing was sent.
    #[error("{0}")]
    Down(String),
    /// The instance is not known there.
    #[error("the server doesn't know the instance: {0}")]
    NoInstance(String),
    /// The server's own words.
    #[error("the server answered: {0}")]
    Server(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another process serves the socket than the one that has the instance.
    #[error("the server was started anew")]
    Replaced,
    /// The server was gone before the message could be written.
    #[error("the server closed the connection before the message was sent")]
    Unsent,
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    #[error("the server broke the protocol: {0}")]
    Malformed(#[from] msgpack::Malformed),
}

impl From<protobuf::Malformed> for Fault {
    fn from(fault: protobuf::Malformed) -> Fault {
        Fault::Protocol(fault.to_string())
    }
}

impl Fault {
    /// What an error tells that came of writing.
    #[cold]
    pub(super) fn sending(error: io::Error) -> Fault {
        if is_closed(&error) { Fault::Unsent } else { Fault::Io(error) }
    }

    /// What an error tells that came of reading.
    #[cold]
    pub(super) fn reading(error: io::Error) -> Fault {
        if is_closed(&error) { Fault::Closed } else { Fault::Io(error) }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
