//! UDP cosockets and Unix datagrams.

use std::{cell::Cell, cell::RefCell, io, rc::Rc, time::Duration};

use futures_util::FutureExt;
use mlua::{AnyUserData, MultiValue, Table, UserData, Value};
use tokio::{
    net::{UdpSocket, UnixDatagram},
    time::timeout,
};

use super::{Begun, BegunRead, Fault, Read, Reply, TIMEOUT, milliseconds, stream, text_at};
use crate::{bind, ngx::codec::number, state::State};

/// The longest datagram that is read, bytes.
const DATAGRAM_MAX: usize = 65535;

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    async fn send(&self, text: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Udp(socket) => socket.send(text).await,
            Socket::Unix(socket) => socket.send(text).await,
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Udp(socket) => socket.recv(buffer).await,
            Socket::Unix(socket) => socket.recv(buffer).await,
        }
    }
}

struct Udp {
    socket: RefCell<Option<Rc<Socket>>>,
    timeout: Cell<Duration>,
}

/// A socket as Lua holds it.
struct Own(Rc<Udp>);

impl UserData for Own {}

fn udp(socket: &AnyUserData) -> Option<Rc<Udp>> {
    socket.borrow::<Own>().ok().map(|own| own.0.clone())
}

fn taken(args: MultiValue) -> Result<(Rc<Udp>, Vec<Value>), String> {
    let mut args = args.into_iter();
    let socket = args.next().and_then(|socket| udp(socket.as_userdata()?));
    Ok((socket.ok_or("bad socket")?, args.collect()))
}

/// Puts the functions into a table.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, into: &Table) -> mlua::Result<()> {
    let lua = &state.lua;
    into.set(
        "udp",
        lua.create_function(|_, ()| {
            let (socket, timeout) = (RefCell::new(None), Cell::new(TIMEOUT));
            Ok(Own(Rc::new(Udp { socket, timeout })))
        })?,
    )?;
    into.set("udp_connect", bind::waits(state, |_, args| connect(args))?)?;
    into.set("udp_send", bind::waits(state, |_, args| send(args))?)?;
    into.set("udp_receive", bind::waits(state, |_, args| receive(args))?)?;
    let close = |_: &mlua::Lua, socket: AnyUserData| {
        let open = udp(&socket).and_then(|udp| udp.socket.take());
        Ok(if open.is_some() { (Some(1), None) } else { (None, Some("closed")) })
    };
    into.set("udp_close", lua.create_function(close)?)?;
    let set_timeout = |_: &mlua::Lua, (socket, timeout): (AnyUserData, Value)| {
        if let (Some(udp), Some(timeout)) = (udp(&socket), milliseconds(Some(&timeout))) {
            udp.timeout.set(timeout);
        }
        Ok(())
    };
    into.set("udp_timeout", lua.create_function(set_timeout)?)
}

async fn open(host: &str, port: u16) -> Result<Socket, Fault> {
    let fault = |error: io::Error| Fault::io(&error);
    if let Some(path) = host.strip_prefix("unix:") {
        let socket = UnixDatagram::unbound().map_err(fault)?;
        socket.connect(path).map_err(fault)?;
        return Ok(Socket::Unix(socket));
    }
    let addresses = stream::resolve(host, port).await?;
    let v6_only = addresses.iter().all(std::net::SocketAddr::is_ipv6);
    let own = if v6_only { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(own).await.map_err(fault)?;
    let mut usable = addresses.into_iter().filter(|address| address.is_ipv6() == v6_only);
    let address = usable.next().ok_or(Fault::text("no address"))?;
    socket.connect(address).await.map_err(fault)?;
    Ok(Socket::Udp(socket))
}

/// (socket, host, port)
fn connect(args: MultiValue) -> Begun {
    let (udp, args) = taken(args)?;
    let host = text_at(&args, 0).ok_or("bad host")?;
    let port = args.get(1).and_then(number).filter(|port| (0.0..65536.0).contains(port));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    let port = port.unwrap_or_default() as u16;
    if port == 0 && !host.starts_with("unix:") {
        return Err("bad port number".to_owned());
    }
    Ok(async move {
        Ok(match timeout(udp.timeout.get(), open(&host, port)).await {
            Ok(Ok(socket)) => {
                *udp.socket.borrow_mut() = Some(Rc::new(socket));
                Reply::YES
            }
            Ok(Err(fault)) => fault.into(),
            Err(_) => Fault::text("timeout").into(),
        })
    }
    .boxed_local())
}

/// (socket, text)
fn send(args: MultiValue) -> Begun {
    let (udp, args) = taken(args)?;
    let text = args.first().and_then(Value::as_string).ok_or("bad data")?.as_bytes().to_vec();
    Ok(async move {
        let socket = udp.socket.borrow().clone();
        let Some(socket) = socket else { return Ok(Fault::text("closed").into()) };
        Ok(match timeout(udp.timeout.get(), socket.send(&text)).await {
            Ok(Ok(_)) => Reply::YES,
            Ok(Err(error)) => Fault::io(&error).into(),
            Err(_) => Fault::text("timeout").into(),
        })
    }
    .boxed_local())
}

/// (socket, size or nil)
fn receive(args: MultiValue) -> BegunRead {
    let (udp, args) = taken(args)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let size = args.first().and_then(number).map_or(DATAGRAM_MAX, |size| size as usize);
    Ok(async move {
        let socket = udp.socket.borrow().clone();
        let Some(socket) = socket else { return Ok(Read(Err(Fault::text("closed")))) };
        let mut buffer = vec![0; size.clamp(1, DATAGRAM_MAX)];
        let read = timeout(udp.timeout.get(), socket.receive(&mut buffer)).await;
        Ok(Read(match read {
            Ok(Ok(length)) => {
                buffer.truncate(length);
                Ok(buffer)
            }
            Ok(Err(error)) => Err(Fault::io(&error)),
            Err(_) => Err(Fault::text("timeout")),
        }))
    }
    .boxed_local())
}
