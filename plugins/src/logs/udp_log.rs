//! udp-log: a datagram for each request (`kong/plugins/udp-log/`).

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::Plugin;
use tokio::{net::UdpSocket, time::timeout};

use super::{CustomFields, Logger, millis};
use crate::{
    native::native_made,
    queue::{QueueSettings, Sink},
};

pub(super) fn plugin() -> Plugin {
    native_made(8, |settings: UdpLog, configuration| {
        let timeout = millis(settings.timeout, 10_000.0);
        let sink = Datagrams { host: settings.host, port: settings.port, timeout };
        let queue = QueueSettings::batches(1000);
        Logger::new("udp-log", configuration, &settings.custom_fields_by_lua, queue, sink)
    })
    .log(Logger::log)
    .build()
}

/// Sends what is to be told of each request to a UDP server, a datagram of JSON each. What does
/// not fit into one is lost.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "udp-log", protocols)]
struct UdpLog {
    /// The host of the server.
    #[field(required, typedef = host)]
    host: String,
    /// Its port.
    #[field(required, typedef = port)]
    port: u16,
    /// How long to wait, in milliseconds.
    #[field(default = 10000)]
    timeout: Option<f64>,
    /// Fields of the document that expressions of Lua make, by their dotted names.
    #[field(keys(len_min = 1), values(len_min = 1, custom = super::check_code))]
    custom_fields_by_lua: CustomFields,
}

struct Datagrams {
    host: String,
    port: u16,
    timeout: Duration,
}

impl Sink for Datagrams {
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Datagrams { host, port, .. } = self;
            let sending = timeout(self.timeout, self.send_all(batch)).await;
            let sending = sending.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            sending.map_err(|error| format!("could not send to {host}:{port}: {error}"))
        })
    }
}

impl Datagrams {
    async fn send_all(&self, batch: &[Bytes]) -> std::io::Result<()> {
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        for entry in batch {
            // Not connected: a server that is away is no error, as for any datagram.
            if let Err(error) = socket.send_to(entry, address).await {
                let text = format!("a document of {} bytes is lost: {error}", entry.len());
                silverback_pdk::log(silverback_pdk::LogLevel::Err, "udp-log", &text);
            }
        }
        Ok(())
    }
}
