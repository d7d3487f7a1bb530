//! cors: tells browsers which pages may use an API (`kong/plugins/cors/`).

mod origin;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN, VARY,
    },
};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Answer, Exchange, Flow, Plugin, Value};

use self::origin::Origin;
use crate::native::native;

pub(crate) fn plugin() -> Plugin {
    native::<Cors>(2000).access(Cors::access).header_filter(Cors::header_filter).build()
}

/// Tells browsers which pages of other origins may use an API, and answers their preflights.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "cors", no_consumer, protocols_http)]
struct Cors {
    /// The origins that may, as they are or as regular expressions, which have to match from end
    /// to end: of the host if they have no colon. None, or a lone `*`: all.
    #[field(elements(custom = origin::check))]
    origins: Option<Vec<Origin>>,
    /// The headers that requests may have; none: those that the preflight asks for.
    headers: Option<Vec<String>>,
    /// The headers of answers that pages may read.
    exposed_headers: Option<Vec<String>>,
    /// The methods that may be used.
    #[field(
        default = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"],
        elements(one_of(
            "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"
        ))
    )]
    methods: Option<Vec<String>>,
    /// How long the answer to a preflight holds, in seconds.
    max_age: Option<f64>,
    /// Whether requests may carry cookies and the like.
    #[field(required, default = false)]
    credentials: bool,
    /// Whether pages from the open Internet may use an API in a private network.
    #[field(required, default = false)]
    private_network: bool,
    /// Whether preflights are left to the upstream.
    #[field(required, default = false)]
    preflight_continue: bool,
    /// Whether answers to requests without an origin get the headers as well.
    #[field(required, default = true)]
    allow_origin_absent: bool,
}

/// Under this key the access handler leaves word that the answer needs no more headers. Only
/// plugins that read `ngx.ctx` would see it.
const ANSWERED: &str = "silverback.cors.answered";
/// All methods, where none are configured.
const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");

impl Cors {
    fn access(&self, exchange: &mut Exchange) -> Flow {
        let request = &exchange.request;
        let is_preflight = request.method == Method::OPTIONS
            && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let Some(origin) = origin_of(exchange).filter(|_| is_preflight) else {
            return Flow::Next;
        };
        exchange.nginx_ctx.insert(ANSWERED.to_owned(), Value::Bool(true));
        if self.preflight_continue {
            return Flow::Next;
        }
        let mut headers = HeaderMap::new();
        self.allow(Some(&origin), &mut headers);
        self.allow_request(&exchange.request.headers, &mut headers);
        Flow::Exit(Answer { headers, ..Answer::bare(StatusCode::OK) })
    }

    fn header_filter(&self, exchange: &mut Exchange) -> Flow {
        if exchange.nginx_ctx.contains_key(ANSWERED) {
            return Flow::Next;
        }
        let origin = origin_of(exchange);
        if origin.is_none() && !self.allow_origin_absent {
            return Flow::Next;
        }
        let headers = &mut exchange.response.headers;
        self.allow(origin.as_ref(), headers);
        let exposed = self.exposed_headers.as_deref().unwrap_or_default();
        if !exposed.is_empty() {
            set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &exposed.join(","));
        }
        Flow::Next
    }

    /// Which origin may read the answer, and whether with credentials.
    fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let allowed = self.allowed(origin);
        if allowed.varies || (allowed.all && self.credentials && origin.is_some()) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let yes = HeaderValue::from_static("true");
        let value = match (allowed.all && self.credentials, origin) {
            // `*` and credentials don't go together: the origin stands for itself.
            (true, Some(origin)) => {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                Some(origin.clone())
            }
            (true, None) => allowed.origin,
            (false, _) => {
                if self.credentials {
                    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                }
                allowed.origin
            }
        };
        match value {
            Some(value) => headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value),
            None => headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN),
        };
    }

    fn allowed(&self, origin: Option<&HeaderValue>) -> Allowed {
        let star = || Some(HeaderValue::from_static("*"));
        let origins = match self.origins.as_deref().unwrap_or_default() {
            [] | [Origin::Any] => return Allowed { origin: star(), all: true, varies: false },
            [Origin::Literal { text, .. }] => {
                let origin = HeaderValue::from_bytes(text.as_bytes()).ok();
                return Allowed { origin, all: false, varies: true };
            }
            origins => origins,
        };
        let Some(origin) = origin else {
            return Allowed { origin: None, all: false, varies: true };
        };
        if origins.iter().any(|origin| matches!(origin, Origin::Any)) {
            return Allowed { origin: star(), all: true, varies: true };
        }
        let asked = origin.to_str().ok().map(origin::normalize);
        let found = asked.filter(|asked| origins.iter().any(|origin| origin.matches(asked)));
        let origin = found.and_then(|asked| HeaderValue::try_from(asked.origin).ok());
        Allowed { origin, all: false, varies: true }
    }

    /// What a preflight is told besides.
    fn allow_request(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        match self.headers.as_deref() {
            Some(allowed) if !allowed.is_empty() => {
                set(headers, ACCESS_CONTROL_ALLOW_HEADERS, &allowed.join(","));
            }
            _ => {
                if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                }
            }
        }
        let methods = self.methods.as_ref().map(|methods| methods.join(","));
        set(headers, ACCESS_CONTROL_ALLOW_METHODS, methods.as_deref().unwrap_or(METHODS));
        if let Some(seconds) = self.max_age {
            set(headers, ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        if self.private_network
            && request.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true")
        {
            set(headers, ALLOW_PRIVATE_NETWORK, "true");
        }
    }
}

/// What is found out of an origin.
struct Allowed {
    /// What Access-Control-Allow-Origin says; none: it is missing.
    origin: Option<HeaderValue>,
    /// Whether all origins are allowed.
    all: bool,
    /// Whether it depends on the origin, so that caches have to keep answers apart.
    varies: bool,
}

/// The request's Origin header, unless it is empty.
fn origin_of(exchange: &Exchange) -> Option<HeaderValue> {
    exchange.request.headers.get(ORIGIN).filter(|origin| !origin.is_empty()).cloned()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
