//! redirect: sends clients elsewhere (`kong/plugins/redirect/`).

use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, StatusCode, header::LOCATION};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Answer, Exchange, Flow, Plugin};

use crate::{identity::call, native::native};

pub(crate) fn plugin() -> Plugin {
    native::<Redirect>(779).access_later(Redirect::access).build()
}

/// Sends clients elsewhere.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "redirect", protocols_http)]
struct Redirect {
    /// The status of the answer.
    #[field(required, default = 301, between(100, 599))]
    status_code: u16,
    /// Where to.
    #[field(typedef = url, required)]
    location: String,
    /// Whether the request's path and query take the place of those of `location`.
    #[field(default = false)]
    keep_incoming_path: Option<bool>,
}

/// What is escaped in a path and in a query (WHATWG URL, section 1.3).
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'');
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');

impl Redirect {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            let location = if self.keep_incoming_path == Some(true) {
                let path = call(exchange, "kong.request.get_path").await;
                let query = exchange.request.query.as_deref().unwrap_or_default();
                moved(&self.location, path.as_str().unwrap_or("/"), query)
            } else {
                self.location.clone()
            };
            // The schema has checked the status.
            let status = StatusCode::from_u16(self.status_code);
            let answer = Answer::new(status.unwrap_or(StatusCode::FOUND), "redirecting");
            match HeaderValue::try_from(location) {
                Ok(location) => Flow::Exit(answer.with(LOCATION, location)),
                Err(error) => Flow::Fail(format!("location: {error}")),
            }
        })
    }
}

/// A URL with another path and query, written as browsers write it.
fn moved(url: &str, path: &str, query: &str) -> String {
    let (url, fragment) = match url.split_once('#') {
        Some((url, fragment)) => (url, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = scheme.to_lowercase();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host.to_lowercase()),
        None => (String::new(), authority.to_lowercase()),
    };
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    let path = path.replace('\\', "/");
    let path = utf8_percent_encode(&path, PATH);
    let mark = if query.is_empty() { "" } else { "?" };
    let query = utf8_percent_encode(query, QUERY);
    format!("{scheme}://{user}{host}{path}{mark}{query}{fragment}")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::testing::Case;

    #[test]
    fn clients_are_sent_elsewhere() {
        let url = "https://New.example.test:443/gone?gone=1#top";
        let keep = json!({"location": url, "keep_incoming_path": true, "status_code": 307});
        let cases = [
            (json!({ "location": url }), "/a?x=1", 301, url),
            (keep.clone(), "/a/b?x=1&y=%20z", 307, "https://new.example.test/a/b?x=1&y=%20z#top"),
            (keep, "/caf%C3%A9?", 307, "https://new.example.test/caf%C3%A9#top"),
        ];
        for (config, target, status, location) in cases {
            let (phases, mut exchange) = Case::new(&config).request("GET", target).start(&plugin());
            let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
            let Flow::Exit(answer) = flow else { panic!("{flow:?}") };
            assert_eq!(answer.status, status, "{target}");
            assert_eq!(answer.headers["location"], location, "{target}");
            assert_eq!(answer.headers.len(), 1, "{target}");
        }
    }
}
