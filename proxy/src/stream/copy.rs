//! Bytes both ways, until both sides have ended or one keeps silent for too long.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    time::Duration,
};

use silverback_pdk::LogLevel;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::{Instant, sleep_until, timeout},
};

use crate::{http1::Socket, lifecycle::Work, upstream};

/// How much is read at a time: a record of TLS.
const PIECE: usize = 16 * 1024;

/// What went one way.
#[derive(Default)]
struct Count {
    read: Cell<u64>,
    written: Cell<u64>,
}

/// Copies both ways and counts. A side that has sent its last byte still gets what the other
/// sends. The service's `read_timeout` is how long nothing may move either way, its
/// `write_timeout` how long the upstream may take nothing of what was read for it.
pub(super) async fn both_ways<S>(work: &mut Work, client: &mut S, upstream: Socket)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (up, down) = (Count::default(), Count::default());
    if let Err(reason) = converse(work, client, upstream, &up, &down).await {
        let (peer, id) = (work.exchange.client.peer, work.exchange.request.id);
        let text = format!("stream from {peer}: {reason}, request_id: {}", id.as_str());
        silverback_pdk::log(LogLevel::Info, "", &text);
    }
    if let Some(session) = &mut work.exchange.session {
        session.received = up.read.get();
        session.upstream_sent = up.written.get();
        session.upstream_received = down.read.get();
        session.sent += down.written.get();
    }
}

async fn converse<C, U>(
    work: &Work,
    client: &mut C,
    upstream: U,
    up: &Count,
    down: &Count,
) -> Result<(), String>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (timeouts, _) = upstream::patience(&work.exchange);
    let moved = Cell::new(Instant::now());
    let (client_reads, client_writes) = split(client);
    let (upstream_reads, upstream_writes) = split(upstream);
    let send_timeout = work.worker.config.limits.send_timeout;
    let both = async {
        tokio::try_join!(
            pump("client", client_reads, upstream_writes, timeouts.write, up, &moved),
            pump("upstream", upstream_reads, client_writes, send_timeout, down, &moved),
        )
    };
    tokio::select! {
        ended = both => ended.map(drop),
        () = silence(&moved, timeouts.read) => Err("nothing moved in time".to_owned()),
    }
}

/// Copies one way, to the end of what `from` sends.
async fn pump(
    name: &str,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    limit: Duration,
    count: &Count,
    moved: &Cell<Instant>,
) -> Result<(), String> {
    let mut buffer = vec![0; PIECE];
    loop {
        let size = read(&mut from, &mut buffer).await.map_err(|e| format!("{name}: {e}"))?;
        moved.set(Instant::now());
        count.read.set(count.read.get() + size as u64);
        let Some(piece) = buffer.get(..size).filter(|piece| !piece.is_empty()) else {
            // That it can't be told is the other way's to find out.
            let _ = timeout(limit, to.shutdown()).await;
            return Ok(());
        };
        let write = async {
            to.write_all(piece).await?;
            to.flush().await
        };
        match timeout(limit, write).await {
            Ok(Ok(())) => count.written.set(count.written.get() + size as u64),
            Ok(Err(error)) => return Err(format!("what the {name} sent has no taker: {error}")),
            Err(_) => return Err(format!("what the {name} sent was not taken in time")),
        }
        moved.set(Instant::now());
    }
}

/// Many end TLS without saying so first: with what is not HTTP nothing tells that from an end.
async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    match from.read(buffer).await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}

/// Ends when nothing has moved for that long.
async fn silence(moved: &Cell<Instant>, limit: Duration) {
    loop {
        let until = moved.get() + limit;
        sleep_until(until).await;
        if moved.get() + limit <= until {
            return;
        }
    }
}
