//! tcp-log: a line for each request on a TCP connection (`kong/plugins/tcp-log/`).

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::Plugin;

use super::{CustomFields, Logger, line::Peer, lines, millis};
use crate::{
    native::native_made,
    queue::{QueueSettings, Sink},
    tls::Trust,
};

pub(super) fn plugin(trust: &Trust) -> Plugin {
    let trust = trust.clone();
    native_made(7, move |settings: TcpLog, configuration| {
        let sink = Lines(Peer {
            tls: settings.tls,
            sni: settings.tls_sni,
            host: settings.host,
            port: settings.port,
            timeout: millis(settings.timeout, 10_000.0),
            keepalive: millis(settings.keepalive, 60_000.0),
            trust: trust.clone(),
        });
        let queue = QueueSettings::batches(1000);
        Logger::new("tcp-log", configuration, &settings.custom_fields_by_lua, queue, sink)
    })
    .log(Logger::log)
    .build()
}

/// Sends what is to be told of each request to a TCP server, a line of JSON each.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "tcp-log", protocols)]
struct TcpLog {
    /// The host of the server.
    #[field(required, typedef = host)]
    host: String,
    /// Its port.
    #[field(required, typedef = port)]
    port: u16,
    /// How long to wait for the server, in milliseconds.
    #[field(default = 10000)]
    timeout: Option<f64>,
    /// How long an idle connection is kept, in milliseconds.
    #[field(default = 60000)]
    keepalive: Option<f64>,
    /// Whether to use TLS.
    #[field(required, default = false)]
    tls: bool,
    /// The name that TLS asks for; none asks for no name.
    tls_sni: Option<String>,
    /// Fields of the line that expressions of Lua make, by their dotted names.
    #[field(keys(len_min = 1), values(len_min = 1, custom = super::check_code))]
    custom_fields_by_lua: CustomFields,
}

struct Lines(Peer);

impl Sink for Lines {
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.0.send(&lines(batch)).await })
    }
}
