//! Cosockets (`ngx.socket`): sockets that wait without stopping the worker. The objects are made
//! by the Lua side (`lib/silverback/ngx/socket.lua`); their methods are the functions here, whose
//! first argument is the socket.

mod pool;
mod stream;
mod tls;
mod udp;

use std::{cell::Cell, cell::RefCell, rc::Rc, time::Duration};

use futures_util::{FutureExt, future::LocalBoxFuture};
use mlua::{AnyUserData, IntoLuaMulti, Lua, LuaString, MultiValue, Table, UserData, Value};

use self::{
    pool::{Pools, Settings},
    stream::{Fault, Peer, Reader, Writer},
};
use super::codec::number;
use crate::{bind, state::State};

/// As nginx: how long a socket waits where nothing else is said (`lua_socket_*_timeout`).
const TIMEOUT: Duration = Duration::from_secs(60);

/// A TCP or Unix socket of a plugin's. A half that is not there is at work, or was never
/// connected.
pub(super) struct Tcp {
    reader: RefCell<Option<Reader>>,
    writer: RefCell<Option<Writer>>,
    connected: RefCell<Option<Connected>>,
    connect: Cell<Duration>,
    send: Cell<Duration>,
    read: Cell<Duration>,
}

/// What is known of a connection.
#[derive(Clone)]
struct Connected {
    pool: String,
    host: String,
    settings: Settings,
    reused: u32,
    tls: bool,
}

impl Default for Tcp {
    fn default() -> Tcp {
        Tcp {
            reader: RefCell::default(),
            writer: RefCell::default(),
            connected: RefCell::default(),
            connect: Cell::new(TIMEOUT),
            send: Cell::new(TIMEOUT),
            read: Cell::new(TIMEOUT),
        }
    }
}

/// What a function gives that reads nothing: a number that says all is well; nil and what is wrong.
struct Reply(Result<i64, String>);

impl Reply {
    const YES: Reply = Reply(Ok(1));
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Reply {
        Reply(Err(fault.text))
    }
}

impl IntoLuaMulti for Reply {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        match self.0 {
            Ok(number) => number.into_lua_multi(lua),
            Err(text) => gone(&text, lua),
        }
    }
}

/// The functions' common shape: what they are given may be wrong, and then there is a future.
type Begun = Result<LocalBoxFuture<'static, Result<Reply, String>>, String>;

/// Puts the functions into a table.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, into: &Table) -> mlua::Result<()> {
    let pools = Rc::new(Pools::new(state.config.socket_pool_size));
    let trust = Rc::new(tls::Trust::new(&state.config.trust, state.config.tls_versions));
    into.set("tcp", state.lua.create_function(|_, ()| Ok(Own(Rc::new(Tcp::default()))))?)?;
    let own = pools.clone();
    into.set("connect", bind::waits(state, move |lua, args| connect(lua, args, &own))?)?;
    into.set("handshake", bind::waits(state, move |lua, args| handshake(lua, args, &trust))?)?;
    into.set("send", bind::waits(state, send)?)?;
    into.set("receive", bind::waits(state, receive)?)?;
    into.set("receive_any", bind::waits(state, receive_any)?)?;
    into.set("receive_until", bind::waits(state, receive_until)?)?;
    into.set(
        "close",
        state.lua.create_function(|lua, socket: AnyUserData| {
            let socket = tcp(&socket)?;
            let open = socket.connected.take().is_some();
            socket.forget();
            if open { Value::Integer(1).into_lua_multi(lua) } else { gone("closed", lua) }
        })?,
    )?;
    into.set("keep", state.lua.create_function(move |lua, args| keep(lua, args, &pools))?)?;
    into.set(
        "reused",
        state.lua.create_function(|lua, socket: AnyUserData| {
            match tcp(&socket)?.connected.borrow().as_ref() {
                Some(connected) => connected.reused.into_lua_multi(lua),
                None => gone("closed", lua),
            }
        })?,
    )?;
    into.set("timeouts", state.lua.create_function(timeouts)?)?;
    udp::register(state, into)
}

/// A socket as Lua holds it.
struct Own(Rc<Tcp>);

impl UserData for Own {}

fn tcp(socket: &AnyUserData) -> mlua::Result<Rc<Tcp>> {
    Ok(socket.borrow::<Own>()?.0.clone())
}

/// nil and a text.
fn gone(text: &str, lua: &Lua) -> mlua::Result<MultiValue> {
    (Value::Nil, text).into_lua_multi(lua)
}

/// The socket in front of the arguments, and the others.
fn taken(args: MultiValue) -> Result<(Rc<Tcp>, Vec<Value>), String> {
    let mut args = args.into_iter();
    let socket = args.next().and_then(|socket| tcp(socket.as_userdata()?).ok());
    Ok((socket.ok_or("bad socket")?, args.collect()))
}

impl Tcp {
    /// Closes the connection.
    fn forget(&self) {
        *self.connected.borrow_mut() = None;
        *self.reader.borrow_mut() = None;
        *self.writer.borrow_mut() = None;
    }

    fn take_reader(&self) -> Result<Reader, Fault> {
        if self.connected.borrow().is_none() {
            return Err(Fault::text("closed"));
        }
        self.reader.borrow_mut().take().ok_or(Fault::text("socket busy reading"))
    }

    fn take_writer(&self) -> Result<Writer, Fault> {
        if self.connected.borrow().is_none() {
            return Err(Fault::text("closed"));
        }
        self.writer.borrow_mut().take().ok_or(Fault::text("socket busy writing"))
    }

    /// Puts the reader back, unless the connection was closed meanwhile or has failed.
    fn put_reader(&self, reader: Reader, fault: Option<&Fault>) {
        if fault.is_some_and(|fault| fault.fatal) {
            self.forget();
        } else if self.connected.borrow().is_some() {
            *self.reader.borrow_mut() = Some(reader);
        }
    }
}

fn text_at(args: &[Value], place: usize) -> Option<String> {
    args.get(place).and_then(Value::as_string).map(|text| text.to_string_lossy())
}

/// Milliseconds; what is no number, or not above zero, stays as it was.
fn milliseconds(value: Option<&Value>) -> Option<Duration> {
    let number = value.and_then(number).filter(|ms| *ms > 0.0)?;
    Some(Duration::from_secs_f64(number.min(2_147_483_647.0) / 1000.0))
}

/// (socket, connect, send, read), milliseconds.
fn timeouts(_: &Lua, args: MultiValue) -> mlua::Result<()> {
    let (socket, args) = taken(args).map_err(mlua::Error::RuntimeError)?;
    for (cell, place) in [(&socket.connect, 0), (&socket.send, 1), (&socket.read, 2)] {
        if let Some(timeout) = milliseconds(args.get(place)) {
            cell.set(timeout);
        }
    }
    Ok(())
}

/// (socket, host, port or nil, pool, pool size): true; nil and what is wrong.
fn connect(_: &Lua, args: MultiValue, pools: &Rc<Pools>) -> Begun {
    let (socket, args) = taken(args)?;
    let host = text_at(&args, 0).ok_or("bad host")?;
    let peer = match host.strip_prefix("unix:") {
        Some(path) => Peer::Unix(path.into()),
        None => {
            let port = args.get(1).and_then(number).filter(|p| (1.0..=65535.0).contains(p));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            let port = port.ok_or("bad port number")? as u16;
            Peer::Tcp(host.clone(), port)
        }
    };
    let pool = text_at(&args, 2).unwrap_or_else(|| peer.to_string());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let size = args.get(3).and_then(number).map(|size| size as usize);
    let (settings, timeout) = (Settings { size }, socket.connect.get());
    let pools = pools.clone();
    socket.forget();
    Ok(async move {
        let mut connected = Connected { pool, host, settings, reused: 0, tls: false };
        let (reader, writer) = match pools.take(&connected.pool) {
            Some(idle) => {
                connected.reused = idle.reused + 1;
                connected.tls = idle.tls;
                (idle.reader, idle.writer)
            }
            None => match stream::connect(&peer, timeout).await {
                Ok(halves) => halves,
                Err(fault) => return Ok(fault.into()),
            },
        };
        *socket.reader.borrow_mut() = Some(reader);
        *socket.writer.borrow_mut() = Some(writer);
        *socket.connected.borrow_mut() = Some(connected);
        Ok(Reply::YES)
    }
    .boxed_local())
}

/// (socket, server name or nil, verify, certificate, key): true; nil and what is wrong.
fn handshake(_: &Lua, args: MultiValue, trust: &Rc<tls::Trust>) -> Begun {
    let (socket, args) = taken(args)?;
    let name = text_at(&args, 0);
    let verify = args.get(1).is_some_and(|verify| verify.as_boolean().unwrap_or(!verify.is_nil()));
    let client = tls::Client::of(text_at(&args, 2), text_at(&args, 3))?;
    let trust = trust.clone();
    Ok(async move {
        let connected = socket.connected.borrow().clone();
        let Some(connected) = connected else { return Ok(Fault::text("closed").into()) };
        // One from a pool has done this already.
        if connected.tls {
            return Ok(Reply::YES);
        }
        let halves = socket.take_reader().and_then(|reader| Ok((reader, socket.take_writer()?)));
        let (reader, writer) = match halves {
            Ok(halves) => halves,
            Err(fault) => return Ok(fault.into()),
        };
        let name = name.unwrap_or(connected.host);
        let (timeout, plain) = (socket.connect.get(), reader.reunite(writer));
        match tls::connect(&trust, plain, &name, verify, client, timeout).await {
            Ok((reader, writer)) => {
                *socket.reader.borrow_mut() = Some(reader);
                *socket.writer.borrow_mut() = Some(writer);
                if let Some(connected) = socket.connected.borrow_mut().as_mut() {
                    connected.tls = true;
                }
                Ok(Reply::YES)
            }
            Err(fault) => {
                socket.forget();
                Ok(fault.into())
            }
        }
    }
    .boxed_local())
}

/// (socket, text): how many bytes were sent; nil and what is wrong.
fn send(_: &Lua, args: MultiValue) -> Begun {
    let (socket, args) = taken(args)?;
    let text = args.first().and_then(Value::as_string).ok_or("bad data")?.as_bytes().to_vec();
    Ok(async move {
        let mut writer = match socket.take_writer() {
            Ok(writer) => writer,
            Err(fault) => return Ok(fault.into()),
        };
        match writer.send(&text, socket.send.get()).await {
            Ok(()) => {
                if socket.connected.borrow().is_some() {
                    *socket.writer.borrow_mut() = Some(writer);
                }
                let sent = i64::try_from(text.len()).unwrap_or(i64::MAX);
                Ok(Reply(Ok(sent)))
            }
            Err(fault) => {
                socket.forget();
                Ok(fault.into())
            }
        }
    }
    .boxed_local())
}

/// What a read gives: the data, or nil, what is wrong, and the part that came.
struct Read(Result<Vec<u8>, Fault>);

impl IntoLuaMulti for Read {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        match self.0 {
            Ok(data) => lua.create_string(data)?.into_lua_multi(lua),
            Err(fault) => {
                let partial = lua.create_string(&fault.partial)?;
                (Value::Nil, fault.text, partial).into_lua_multi(lua)
            }
        }
    }
}

type BegunRead = Result<LocalBoxFuture<'static, Result<Read, String>>, String>;

/// Has a reader read, and puts it back.
fn reading<F>(socket: Rc<Tcp>, work: F) -> BegunRead
where
    F: AsyncFnOnce(&mut Reader, Duration) -> Result<Vec<u8>, Fault> + 'static,
{
    Ok(async move {
        let mut reader = match socket.take_reader() {
            Ok(reader) => reader,
            Err(fault) => return Ok(Read(Err(fault))),
        };
        let read = work(&mut reader, socket.read.get()).await;
        socket.put_reader(reader, read.as_ref().err());
        Ok(Read(read))
    }
    .boxed_local())
}

/// (socket, size or "*l" or "*a").
fn receive(_: &Lua, args: MultiValue) -> BegunRead {
    let (socket, args) = taken(args)?;
    let pattern = match args.first() {
        None | Some(Value::Nil) => "*l".to_owned(),
        Some(Value::String(text)) => text.to_string_lossy(),
        Some(size) => match number(size) {
            Some(size) if size >= 0.0 => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "checked"
                )]
                let size = size as usize;
                return reading(socket, async move |reader, timeout| {
                    reader.exact(size, timeout).await
                });
            }
            _ => return Err("bad number argument".to_owned()),
        },
    };
    match pattern.as_str() {
        "*l" | "l" => reading(socket, async |reader, timeout| reader.line(timeout).await),
        "*a" | "a" => reading(socket, async |reader, timeout| reader.all(timeout).await),
        digits => match digits.parse::<usize>() {
            Ok(size) => {
                reading(socket, async move |reader, timeout| reader.exact(size, timeout).await)
            }
            Err(_) => Err(format!("bad pattern argument: {digits}")),
        },
    }
}

/// (socket, at most so many bytes).
fn receive_any(_: &Lua, args: MultiValue) -> BegunRead {
    let (socket, args) = taken(args)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let max = args.first().and_then(number).filter(|max| *max >= 1.0).map(|max| max as usize);
    let max = max.ok_or("bad argument: the size must be positive")?;
    reading(socket, async move |reader, timeout| reader.any(max, timeout).await)
}

/// (socket, text, whether it belongs to what is read, at most so many bytes or nil): with a size,
/// an empty result says that the text has come.
fn receive_until(_: &Lua, args: MultiValue) -> BegunRead {
    let (socket, args) = taken(args)?;
    let stop =
        args.first().and_then(Value::as_string).map(|text: &LuaString| text.as_bytes().to_vec());
    let stop = stop.filter(|stop| !stop.is_empty()).ok_or("pattern is empty")?;
    let inclusive = args.get(1).and_then(Value::as_boolean).unwrap_or(false);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let max = args.get(2).and_then(number).map(|max| max as usize);
    reading(socket, async move |reader, timeout| reader.until(&stop, inclusive, max, timeout).await)
}

/// (socket, milliseconds or nil, pool size or nil): 1; nil and what is wrong.
fn keep(lua: &Lua, args: MultiValue, pools: &Rc<Pools>) -> mlua::Result<MultiValue> {
    let (socket, args) = taken(args).map_err(mlua::Error::RuntimeError)?;
    let Some(connected) = socket.connected.take() else { return gone("closed", lua) };
    let halves = (socket.reader.take(), socket.writer.take());
    let (Some(reader), Some(writer)) = halves else {
        return gone("connection in dubious state", lua);
    };
    if !reader.is_drained() {
        return gone("unread data in buffer", lua);
    }
    let timeout = match args.first().and_then(number) {
        Some(0.0) => None,
        Some(ms) if ms < 0.0 => return gone("bad \"timeout\" argument", lua),
        Some(ms) => Some(Duration::from_secs_f64(ms.min(2_147_483_647.0) / 1000.0)),
        None => Some(TIMEOUT),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let size = args.get(1).and_then(number).map(|size| size as usize);
    let idle = pool::Idle { reader, writer, reused: connected.reused, tls: connected.tls };
    let size = connected.settings.size.or(size);
    if pools.keep(&connected.pool, idle, timeout, size) {
        Value::Integer(1).into_lua_multi(lua)
    } else {
        gone("closed", lua)
    }
}
