//! Accepting: sockets, the PROXY header, and what a connection is led through before its first
//! request.

mod proxy_protocol;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use silverback_pdk::LogLevel;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{
    net::TcpStream,
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{
    Listener, SoKeepalive,
    clock::HeadTimer,
    http::{self, Connection},
    stream, tls,
    worker::Worker,
};

/// The length of the accept queue where the listener does not say.
const BACKLOG: i32 = 4096;
/// How long to wait after the system had no room for one more connection.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an idle connection stays when its worker drains. Its next request may be on its way
/// already: it is answered, and told that the connection closes.
const LINGER: Duration = Duration::from_millis(500);

/// Opens a socket. Each worker has its own on the same address; the system spreads connections.
///
/// # Errors
/// If the address can't be bound.
pub(crate) fn open(
    listener: &Listener,
    address: SocketAddr,
    send_timeout: Duration,
) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(listener.ipv6only)?;
    }
    set_keepalive(&socket, listener.so_keepalive)?;
    // Connections inherit it: a client that takes nothing of its answer does not stay for ever.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(send_timeout))?;
    socket.bind(&address.into())?;
    let backlog = listener.backlog.and_then(|b| i32::try_from(b).ok()).unwrap_or(BACKLOG);
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn set_keepalive(socket: &Socket, keepalive: SoKeepalive) -> io::Result<()> {
    match keepalive {
        SoKeepalive::Default => Ok(()),
        SoKeepalive::Off => socket.set_keepalive(false),
        SoKeepalive::On { idle, interval, count } => {
            let mut settings = TcpKeepalive::new();
            if let Some(idle) = idle {
                settings = settings.with_time(idle);
            }
            if let Some(interval) = interval {
                settings = settings.with_interval(interval);
            }
            if let Some(count) = count {
                settings = settings.with_retries(count);
            }
            socket.set_keepalive(true)?;
            socket.set_tcp_keepalive(&settings)
        }
    }
}

/// Accepts connections for ever.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    listener: Listener,
    socket: tokio::net::TcpListener,
) {
    let listener = Rc::new(listener);
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                worker.counters.accepted.up();
                let open = Open(worker.clone());
                if worker.connections() > worker.config.limits.connections as u64 {
                    worker.counters.refused.up();
                    let text = "worker_connections are not enough: a connection was closed";
                    silverback_pdk::log(LogLevel::Alert, "", text);
                    continue;
                }
                spawn_local(serve(open, listener.clone(), stream, peer));
            }
            Err(error) => {
                silverback_pdk::log(LogLevel::Crit, "", &format!("accept: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection that counts as open until this is dropped.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.closed.up();
    }
}

/// Serves a connection to its end.
async fn serve(open: Open, listener: Rc<Listener>, mut stream: TcpStream, peer: SocketAddr) {
    let worker = open.0.clone();
    // Without it the last piece of an answer could wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let mut connection = Connection::new(worker.clone(), peer, local);
    connection.stream = listener.stream;
    let limit = worker.config.limits.handshake_timeout;
    if listener.proxy_protocol {
        let read = timeout(limit, proxy_protocol::read(&mut stream)).await;
        let Ok(Ok(header)) = read else { return };
        if let Some((source, destination)) = header {
            connection.stand_for(source, destination);
        }
    }
    if listener.ssl {
        let shaken = timeout(limit, tls::handshake(&connection, stream)).await;
        let Ok(Some((stream, tls))) = shaken else { return };
        connection.tls = Some(Rc::new(tls));
        converse(connection, stream).await;
    } else {
        converse(connection, stream).await;
    }
}

/// Hands the connection to what is spoken on it.
async fn converse<S>(connection: Connection, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    if connection.stream {
        stream::serve(Rc::new(connection), stream).await;
    } else {
        let worker = connection.worker.clone();
        speak(&worker, Rc::new(connection), stream).await;
    }
}

/// Speaks HTTP/1 until the connection ends, or until what is under way has ended if the worker
/// drains.
async fn speak<S>(worker: &Rc<Worker>, connection: Rc<Connection>, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let limits = &worker.config.limits;
    let service = service_fn(move |request| http::serve(connection.clone(), request));
    let conversation = http1::Builder::new()
        .timer(HeadTimer::default())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.head_size.max(8192))
        .max_headers(limits.head_lines)
        .preserve_header_case(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut conversation = pin!(conversation);
    let mut told = pin!(worker.draining.notified());
    let (mut listens, mut draining) = (false, false);
    let mut linger = None;
    // How a conversation ends tells of the client alone.
    let _ = std::future::poll_fn(|cx| {
        if !listens {
            // Once is enough: it wakes this task, which then sees that the worker drains.
            listens = true;
            let _ = told.as_mut().poll(cx);
        }
        if !draining && worker.is_draining() {
            draining = true;
            linger = Some(Box::pin(sleep(LINGER)));
        }
        if let Some(timer) = &mut linger
            && timer.as_mut().poll(cx).is_ready()
        {
            linger = None;
            conversation.as_mut().graceful_shutdown();
        }
        conversation.as_mut().poll(cx)
    })
    .await;
}
