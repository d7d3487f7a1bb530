//! Accepting: sockets, the PROXY header, and what a connection is led through before its first
//! request.

mod proxy_protocol;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    time::Duration,
};

use silverback_pdk::LogLevel;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{net::TcpStream, task::spawn_local, time::timeout};

use crate::{Listener, SoKeepalive, http::Connection, http1, stream, tls, worker::Worker};

/// The length of the accept queue where the listener does not say.
const BACKLOG: i32 = 4096;
/// How long to wait after the system had no room for one more connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens a socket. Each worker has its own on the same address; the system spreads connections.
/// One that takes nothing of what is sent to it for `send_timeout` is given up.
///
/// # Errors
/// If the address can't be bound.
pub fn open(
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
    let socket = if listener.ssl {
        let shaken = timeout(limit, tls::handshake(&connection, stream)).await;
        let Ok(Some((stream, tls))) = shaken else { return };
        connection.tls = Some(Rc::new(tls));
        http1::Socket::Tls(Box::new(stream.into()))
    } else {
        http1::Socket::Plain(stream)
    };
    let connection = Rc::new(connection);
    if connection.stream {
        stream::serve(connection, socket).await;
    } else {
        http1::converse(connection, socket).await;
    }
}
