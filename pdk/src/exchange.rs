//! One request and its answer, or one stream, from the first byte to the log: what every handler
//! works on.

mod body;
mod request;
mod response;
mod session;
mod shared;
pub(crate) mod spelling;
mod upstream;
mod view;

use std::{
    any::Any,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use silverback_model::{
    Entity, Record,
    entities::{Route, Service},
};

pub use self::{
    body::{Body, BodyError, Chunk},
    request::{Captures, Matched, Request, RequestId, Scheme},
    response::{Answer, Response, Source},
    session::Session,
    shared::{Holder, Shared},
    spelling::Spelling,
    upstream::{Target, Timeouts, Try, Upstream},
    view::{Counted, Edition, ErrorTemplates, Found, Node, Statistics, View},
};
use crate::{Phase, Value};

/// One request and its answer.
///
/// It is owned by the worker that serves it and never leaves it. Parts are public: the proxy
/// fills them in, handlers change what their phase allows. What a phase allows to plugins in
/// other languages stands in the table of [`crate::kong`].
pub struct Exchange {
    /// The configuration as it was when the request came; kept until the log phase is over.
    pub view: Rc<dyn View>,
    /// The phase that runs now.
    pub phase: Phase,
    /// The instance that runs now, as the view counts them; none while the gateway itself works.
    pub running: Option<u32>,
    /// Who asks.
    pub client: Client,
    /// What was asked, as plugins have changed it.
    pub request: Request,
    /// What is known of the stream, where the exchange is one (TCP, TLS) and no request; the
    /// request and the answer are empty then.
    pub session: Option<Session>,
    /// The route that was found, if any.
    pub matched: Option<Matched>,
    /// What the upstream will be asked, and what happened when it was.
    pub upstream: Upstream,
    /// What will be answered.
    pub response: Response,
    /// How plugins write the names of the request's headers.
    pub request_spelling: Spelling,
    /// How they write those of the answer.
    pub response_spelling: Spelling,
    /// The piece of the answer's body that a body_filter handler may read and replace.
    pub chunk: Chunk,
    /// Pieces that `kong.response.get_raw_body` keeps back until the last one has come.
    pub held: Option<BytesMut>,
    /// What a certificate handler asks of the TLS handshake.
    pub handshake: Handshake,
    /// `kong.client.tls.set_client_verify`: stands for what the handshake found.
    pub client_verify: Option<String>,
    /// `kong.ctx.shared`: values that plugins leave for one another.
    pub shared: Shared,
    /// `ngx.ctx`, as far as plugins in other languages reach it (`kong.nginx.get_ctx`).
    pub nginx_ctx: HashMap<String, Value>,
    /// What a native plugin leaves for its own later phases, by type.
    pub extensions: http::Extensions,
    /// What `kong.log.set_serialize_value` was given: dotted key, value, mode.
    pub serialize: Vec<(String, Value, SerializeMode)>,
    /// When what happened.
    pub timing: Timing,
    /// What the host of an interpreter keeps with the exchange, gone with it.
    pub kept: Option<Rc<dyn Any>>,
    /// What a plugin host keeps with the exchange; it ends with it.
    pub attached: Option<Box<dyn Any>>,
}

impl Exchange {
    /// An exchange that has just begun.
    #[inline]
    pub fn new(view: Rc<dyn View>, client: Client, request: Request) -> Exchange {
        Exchange {
            view,
            phase: Phase::Rewrite,
            running: None,
            client,
            request,
            session: None,
            matched: None,
            upstream: Upstream::default(),
            response: Response::default(),
            request_spelling: Spelling::default(),
            response_spelling: Spelling::default(),
            chunk: Chunk::default(),
            held: None,
            handshake: Handshake::default(),
            client_verify: None,
            shared: Shared::default(),
            nginx_ctx: HashMap::new(),
            extensions: http::Extensions::new(),
            serialize: Vec::new(),
            timing: Timing::start(),
            kept: None,
            attached: None,
        }
    }

    /// The route that was found.
    pub fn route(&self) -> Option<&Entity<Route>> {
        self.view.route(self.matched.as_ref()?.route)
    }

    /// The service of the route that was found.
    pub fn service(&self) -> Option<&Entity<Service>> {
        self.view.service(self.matched.as_ref()?.route)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// This end of the connection.
    pub local: SocketAddr,
    /// Who is behind the trusted proxies in between; the peer's address where there are none.
    pub forwarded_ip: IpAddr,
    /// The port that goes with it.
    pub forwarded_port: u16,
    /// Whether the peer is one of `trusted_ips`: its X-Forwarded-* headers count.
    pub trusted: bool,
    /// What the TLS handshake settled; none on a plain connection.
    pub tls: Option<Rc<Tls>>,
    /// Who was authenticated.
    pub consumer: Option<Arc<Record>>,
    /// With what: an entity such as a key, or what a plugin made up.
    pub credential: Option<Arc<Record>>,
    /// The connection's number: no other of this process has it.
    pub connection: u64,
    /// How many requests have come on the connection, this one among them.
    pub requests: u64,
    /// `kong.client.set_authenticated_consumer_groups`: none until a plugin sets them.
    pub consumer_groups: Option<Vec<Value>>,
}

/// What a TLS handshake settled.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// As OpenSSL writes it: "TLSv1.3".
    pub version: &'static str,
    /// As OpenSSL writes it, where it is known.
    pub cipher: String,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// The client's certificate chain, DER, leaf first.
    pub client_chain: Vec<Bytes>,
    /// What came of verifying it, in nginx's words: NONE, SUCCESS, FAILED:reason.
    pub client_verify: String,
}

/// What a certificate handler asks of the TLS handshake (`kong.client.tls`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Whether the client is asked for a certificate.
    pub request_certificate: bool,
    /// Whether the session must not be resumed later.
    pub no_session_reuse: bool,
}

/// How `kong.log.set_serialize_value` puts its value into the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SerializeMode {
    /// Whatever was there before.
    Set,
    /// Only where nothing was there.
    Add,
    /// Only where something was there.
    Replace,
}

/// When what happened. Instants are monotonic; `began` is what clocks on the wall said.
#[derive(Debug, Clone)]
pub struct Timing {
    /// When the request's head had been read.
    pub began: SystemTime,
    /// The same moment.
    pub start: Instant,
    /// When the access phase was over.
    pub access_ended: Option<Instant>,
    /// When the target was chosen and the upstream was about to be asked.
    pub balancer_ended: Option<Instant>,
    /// When the answer's head was there, from wherever.
    pub head_at: Option<Instant>,
    /// When the last byte of the answer was handed over.
    pub ended: Option<Instant>,
}

impl Timing {
    /// A request that begins now.
    pub fn start() -> Timing {
        Timing {
            began: SystemTime::now(),
            start: Instant::now(),
            access_ended: None,
            balancer_ended: None,
            head_at: None,
            ended: None,
        }
    }

    /// When the request began, in milliseconds since 1970.
    pub fn began_ms(&self) -> u64 {
        let since = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
