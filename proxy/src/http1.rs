//! HTTP/1.1 on sockets: `server` speaks with clients, `client` with upstreams. What bytes mean is
//! the crate `silverback_http1`'s to say; here is when they are read and written.
//!
//! A request has no task but its connection's: the same future reads the client, writes the
//! upstream, reads its answer and writes it on.

mod socket;

mod wire;

mod server;

mod client;

pub(crate) use self::{
    client::{AnswerBody, Asked, Asking, Stuck},
    server::{RequestBody, converse},
    socket::Socket,
    wire::{Outbox, Wire},
};
