//! http-log: requests to a server that tell of requests (`kong/plugins/http-log/`).

use std::{collections::BTreeMap, time::Duration};

use base64::Engine;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value as Json;
use silverback_macros::Config;
use silverback_model::schema::Schema;
use silverback_pdk::{Plugin, PluginFault};
use tokio::{sync::Mutex, time::Instant};

use super::{CustomFields, Logger, line::Peer, millis};
use crate::{
    native::native_made,
    queue::{QueueSettings, Sink},
    tls::Trust,
};

pub(super) fn plugin(trust: &Trust) -> Plugin {
    let trust = trust.clone();
    native_made(12, move |settings: HttpLog, configuration| {
        let queue = settings.queue.clone();
        let queue = queue.or_of_old(settings.queue_size, settings.flush_timeout);
        let server = Server::new(&settings, queue.batch_size() > 1, &trust)?;
        Logger::new("http-log", configuration, &settings.custom_fields_by_lua, queue, server)
    })
    .log(Logger::log)
    .build()
}

/// Sends what is to be told of requests to an HTTP server, as JSON: an object, or in batches an
/// array of them.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "http-log", protocols, with = checked)]
struct HttpLog {
    /// Where to. A user and a password in the URL are sent as Basic authentication.
    #[field(required, typedef = url, encrypted, referenceable)]
    http_endpoint: String,
    /// The method.
    #[field(default = "POST", one_of("POST", "PUT", "PATCH"))]
    method: Option<String>,
    /// The content type.
    #[field(
        default = "application/json",
        one_of("application/json", "application/json; charset=utf-8")
    )]
    content_type: Option<String>,
    /// How long to wait for the server, in milliseconds.
    #[field(default = 10000)]
    timeout: Option<f64>,
    /// How long an idle connection is kept, in milliseconds.
    #[field(default = 60000)]
    keepalive: Option<f64>,
    /// Without effect: `queue.max_retry_time` has taken its place.
    #[field(deprecation = old(10,
        "config.retry_count no longer works, please use config.queue.max_retry_time instead"))]
    #[expect(dead_code, reason = "configurations may still have it")]
    retry_count: Option<i64>,
    /// `queue.max_batch_size` has taken its place.
    #[field(deprecation = old(1,
        "config.queue_size is deprecated, please use config.queue.max_batch_size instead"))]
    queue_size: Option<usize>,
    /// `queue.max_coalescing_delay` has taken its place.
    #[field(deprecation = old(2,
        "config.flush_timeout is deprecated, please use config.queue.max_coalescing_delay \
         instead"))]
    flush_timeout: Option<f64>,
    /// More headers.
    #[field(keys(typedef = header_name, match_none(
        ("^[Hh][Oo][Ss][Tt]$", "cannot contain 'Host' header"),
        (
            "^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Ll][Ee][nn][Gg][Tt][Hh]$",
            "cannot contain 'Content-Length' header"
        ),
        (
            "^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Tt][Yy][Pp][Ee]$",
            "cannot contain 'Content-Type' header"
        )
    )), values(referenceable))]
    headers: Option<BTreeMap<String, String>>,
    /// How documents are kept and sent.
    queue: QueueSettings,
    /// Fields of the document that expressions of Lua make, by their dotted names.
    #[field(keys(len_min = 1), values(len_min = 1, custom = super::check_code))]
    custom_fields_by_lua: CustomFields,
}

/// Adds the check of the configuration as a whole.
fn checked(mut schema: Schema) -> Schema {
    if let Some(config) = schema.fields.get_mut("config") {
        *config = config.clone().custom_value(one_authorization);
    }
    schema
}

/// Who asks is said once.
fn one_authorization(config: &Json) -> Result<(), String> {
    let endpoint = config.get("http_endpoint").and_then(Json::as_str).unwrap_or_default();
    let authority = endpoint.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let mut headers = config.get("headers").and_then(Json::as_object).into_iter().flatten();
    let says = |(name, _): (&String, &Json)| name.eq_ignore_ascii_case("authorization");
    if authority.contains('@') && headers.any(says) {
        return Err("specifying both an 'Authorization' header and user info in 'http_endpoint' \
                    is not allowed"
            .to_owned());
    }
    Ok(())
}

fn old(default: i64, text: &str) -> serde_json::Value {
    serde_json::json!({
        "message": format!("http-log: {text}"),
        "removal_in_version": "4.0",
        "old_default": default,
    })
}

/// The server, and an idle connection to it.
struct Server {
    peer: Peer,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    batches: bool,
    idle: Mutex<Option<(SendRequest<Full<Bytes>>, Instant)>>,
}

impl Server {
    fn new(settings: &HttpLog, batches: bool, trust: &Trust) -> Result<Server, PluginFault> {
        let endpoint = &settings.http_endpoint;
        let fault = |why: &str| PluginFault(format!("http_endpoint: {endpoint}: {why}"));
        let uri: Uri = endpoint.parse().map_err(|_| fault("no URL"))?;
        let authority = uri.authority().ok_or_else(|| fault("no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut headers = HeaderMap::new();
        for (name, value) in settings.headers.iter().flatten() {
            let name = HeaderName::try_from(name).map_err(|_| fault("headers: no header name"))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| fault("headers: no value"))?;
            headers.insert(name, value);
        }
        let own = |text: &str| {
            HeaderValue::from_bytes(text.as_bytes()).map_err(|_| fault("no header value"))
        };
        if let Some((user, _)) = authority.as_str().rsplit_once('@') {
            let user = base64::engine::general_purpose::STANDARD.encode(user);
            headers.insert(header::AUTHORIZATION, own(&format!("Basic {user}"))?);
        }
        let name = authority.as_str().rsplit('@').next().unwrap_or_default();
        headers.insert(header::HOST, own(name)?);
        let content_type = settings.content_type.as_deref().unwrap_or("application/json");
        headers.insert(header::CONTENT_TYPE, own(content_type)?);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Server {
            uri: path.parse().map_err(|_| fault("no path"))?,
            method: settings.method.as_deref().unwrap_or("POST").parse().unwrap_or(Method::POST),
            headers,
            batches,
            idle: Mutex::default(),
            peer: Peer {
                tls: secure,
                sni: Some(host.clone()),
                host,
                port,
                timeout: millis(settings.timeout, 10_000.0),
                keepalive: millis(settings.keepalive, 60_000.0),
                trust: trust.clone(),
            },
        })
    }

    async fn post(&self, batch: &[Bytes]) -> Result<(), String> {
        let mut request = Request::new(Full::new(self.body(batch)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let mut sender = self.sender().await?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        if !sender.is_closed() {
            *self.idle.lock().await = Some((sender, Instant::now()));
        }
        if status.as_u16() < 300 {
            return Ok(());
        }
        let body = body.to_bytes();
        let body = String::from_utf8_lossy(body.get(..500.min(body.len())).unwrap_or_default());
        Err(format!("status code {} and body {body}", status.as_u16()))
    }

    fn body(&self, batch: &[Bytes]) -> Bytes {
        match batch {
            [one] if !self.batches => one.clone(),
            _ => [b"[", batch.join(&b","[..]).as_slice(), b"]"].concat().into(),
        }
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let kept = self.idle.lock().await.take();
        let kept = kept.filter(|(_, since)| since.elapsed() < self.peer.keepalive);
        if let Some((mut sender, _)) = kept
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = self.peer.connect().await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

impl Sink for Server {
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Peer { host, port, timeout, .. } = &self.peer;
            // For the connection, the request and the answer.
            let longest = timeout.checked_mul(3).unwrap_or(Duration::MAX);
            let posted = tokio::time::timeout(longest, self.post(batch)).await;
            let posted = posted.unwrap_or_else(|_| Err("timeout".to_owned()));
            posted.map_err(|error| format!("request to {host}:{port}: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use silverback_pdk::Record;

    use super::*;

    #[test]
    fn configurations_are_checked() {
        let check = |endpoint: &str, header: &str, value: &str, expect: Option<&str>| {
            let config = json!({"http_endpoint": endpoint, "headers": {header: value}});
            let entity = Record::from_iter([("config".to_owned(), config)]);
            let schema = plugin(&Trust::default()).schema;
            let outcome = schema.defaults(entity).and_then(|entity| schema.validate(&entity));
            let error = outcome.err().map(|errors| format!("{errors:?}")).unwrap_or_default();
            match expect {
                None => assert_eq!(error, "", "{endpoint} {header}"),
                Some(text) => assert!(error.contains(text), "{endpoint} {header}: {error}"),
            }
        };
        let (plain, with_user) = ("http://a.test/path?a=b@c", "http://hi:there@a.test/path");
        check(plain, "X-A", "1", None);
        check(plain, "Authorization", "1", None);
        check(plain, "X-A", "", Some("length must be at least 1"));
        check(plain, "X A", "1", Some("bad header name"));
        check(plain, "coNTEnt-Type", "1", Some("cannot contain 'Content-Type' header"));
        check(plain, "Host", "1", Some("cannot contain 'Host' header"));
        check(with_user, "X-A", "1", None);
        check(with_user, "AuthoRIZATion", "1", Some("specifying both an 'Authorization' header"));
    }
}
