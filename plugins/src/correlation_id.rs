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

use crate::{fields::Sought, native::native};

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

/// The id that the client is to see.
#[derive(Clone)]
struct Echo(HeaderValue);

impl CorrelationId {
    /// What the client has sent.
    fn sent<'a>(&self, exchange: &'a Exchange) -> Option<&'a HeaderValue> {
        let sought = Sought::of(self.header_name.as_deref()?);
        sought.first(&exchange.request.headers).filter(|id| !id.is_empty())
    }

    fn header(&self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.given().as_bytes()).ok()
    }

    /// The header's name as it is configured, and written.
    fn given(&self) -> &str {
        self.header_name.as_deref().unwrap_or_default()
    }

    fn access(&self, exchange: &mut Exchange) -> Flow {
        let Some(name) = self.header() else {
            return Flow::Fail(format!("'{:?}' is no header name", self.header_name));
        };
        let id = match self.sent(exchange) {
            Some(id) => id.clone(),
            None => {
                let id = self.generate(exchange);
                let headers = &mut exchange.request.headers;
                exchange.request_spelling.add(headers, &name, self.given());
                headers.insert(name, id.clone());
                id
            }
        };
        let shown = Value::text(id.as_bytes());
        exchange.serialize.push(("correlation_id".into(), shown, SerializeMode::Set));
        if self.echo_downstream {
            exchange.extensions.insert(Echo(id));
        }
        Flow::Next
    }

    /// The client gets the id that was found or made, whatever became of the request's header. An
    /// answer that another plugin gave before this one's access still gets an id.
    fn header_filter(&self, exchange: &mut Exchange) -> Flow {
        if !self.echo_downstream {
            return Flow::Next;
        }
        let Some(name) = self.header() else { return Flow::Next };
        let known = exchange.extensions.remove::<Echo>().map(|Echo(id)| id);
        let sent = || self.sent(exchange).cloned();
        let id = known.or_else(sent).unwrap_or_else(|| self.generate(exchange));
        exchange.response_spelling.add(&exchange.response.headers, &name, self.given());
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

/// Address, port, pid, connection, request on it, time.
fn tracker(exchange: &Exchange) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let client = &exchange.client;
    let (address, port) = (client.local.ip(), client.local.port());
    let (pid, connection, count) = (std::process::id(), client.connection, client.requests);
    format!("{address}-{port}-{pid}-{connection}-{count}-{now:0.3}")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::testing::Case;

    #[test]
    fn clients_see_the_id_that_was_logged() {
        let config = json!({"header_name": "X-ID", "generator": "uuid", "echo_downstream": true});
        let check = |sent: &[(&str, &str)], expect: Option<&str>| {
            let (phases, mut exchange) = Case::new(&config).headers(sent).start(&plugin());
            phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
            // As request-transformer may do.
            let upstream = exchange.request.headers.remove("x-id").unwrap();
            phases.header_filter.unwrap().run(&mut exchange).now_or_never().unwrap();
            let echoed = &exchange.response.headers["x-id"];
            assert_eq!(*echoed, upstream);
            assert_eq!(exchange.response_spelling.iter().collect::<Vec<_>>(), ["X-ID"]);
            assert!(expect.is_none_or(|expect| *echoed == expect), "{echoed:?}");
            let logged = exchange.serialize.first().map(|(_, id, _)| id.clone());
            assert_eq!(logged, Some(Value::text(echoed.as_bytes())));
        };
        check(&[("x-id", "mine")], Some("mine"));
        check(&[("x-id", "")], None);
        check(&[], None);
    }
}
