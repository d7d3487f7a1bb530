//! A stream: bytes both ways, in the place of a request and its answer.

/// What is known of a stream, as the web server's stream module counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session {
    /// How it ended: 200, or 400, 403, 500, 502, 503 for why it was refused; 0 as long as it
    /// goes on. Clients never see it.
    pub status: u16,
    /// Bytes that the client has sent.
    pub received: u64,
    /// Bytes that were sent to the client.
    pub sent: u64,
    /// Bytes that the upstream has sent.
    pub upstream_received: u64,
    /// Bytes that were sent to the upstream.
    pub upstream_sent: u64,
}
