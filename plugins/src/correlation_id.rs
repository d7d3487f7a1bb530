//! correlation-id: gives every request an id (`kong/plugins/correlation-id/`).

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, Plugin, SerializeMode, Value};
use uuid::Uuid;

use crate::native::native;

pub(crate) fn plugin() -> Plugin {
    native::<CorrelationId>(100_001)
        .access(CorrelationId::access)
        .header_filter(CorrelationId::header_filter)
        .build()
}

/// Gives every request an id that the upstream and, on demand, the client can see.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "correlation-id", protocols_http)]
struct CorrelationId {
    /// The header that holds the id.
    #[field(default = "Kong-Request-ID")]
    header_name: Option<String>,
    /// How ids are made: a UUID each; one UUID a worker and a count; or the connection's facts.
    #[field(required, default = "uuid#counter", one_of("uuid", "uuid#counter", "tracker"))]
    generator: String,
    /// Whether the client sees the id.
    #[field(required, default = false)]
    echo_downstream: bool,
}

impl CorrelationId {
    fn header(&self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.header_name.as_deref()?.as_bytes()).ok()
    }

    fn access(&self, exchange: &mut Exchange) -> Flow {
        let Some(name) = self.header() else {
            return Flow::Fail(format!("'{:?}' is no header name", self.header_name));
        };
        let id = match exchange.request.headers.get(&name) {
            Some(id) if !id.is_empty() => id.clone(),
            _ => {
                let id = self.generate(exchange);
                exchange.request.headers.insert(name, id.clone());
                id
            }
        };
        let shown = Value::text(id.as_bytes());
        exchange.serialize.push(("correlation_id".into(), shown, SerializeMode::Set));
        Flow::Next
    }

    /// An answer that another plugin gave before this one's access still gets an id.
    fn header_filter(&self, exchange: &mut Exchange) -> Flow {
        if !self.echo_downstream {
            return Flow::Next;
        }
        let Some(name) = self.header() else { return Flow::Next };
        let id = match exchange.request.headers.get(&name) {
            Some(id) if !id.is_empty() => id.clone(),
            _ => self.generate(exchange),
        };
        exchange.response.headers.insert(name, id);
        Flow::Next
    }

    fn generate(&self, exchange: &Exchange) -> HeaderValue {
        let id = match self.generator.as_str() {
            "uuid" => Uuid::new_v4().to_string(),
            "tracker" => tracker(exchange),
            _ => counted(),
        };
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

thread_local! {
    /// The worker's own UUID, and how many ids it has made of it.
    static COUNTER: (Uuid, Cell<u64>) = (Uuid::new_v4(), Cell::new(0));
}

fn counted() -> String {
    COUNTER.with(|(worker, count)| {
        count.set(count.get() + 1);
        format!("{worker}#{}", count.get())
    })
}

/// Address, port, pid, connection, request on it, time: the client's port stands for the number
/// that nginx gives its connections.
fn tracker(exchange: &Exchange) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let client = &exchange.client;
    let (address, port) = (client.local.ip(), client.local.port());
    format!("{address}-{port}-{}-{}-1-{now:0.3}", std::process::id(), client.peer.port())
}
