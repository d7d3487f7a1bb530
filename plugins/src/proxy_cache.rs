//! proxy-cache: answers are kept and given again (`kong/plugins/proxy-cache/`).

mod directives;
mod key;
pub(crate) mod memory;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_model::schema::{CustomCheck, Schema};
use silverback_pdk::{Answer, Exchange, Flow, Plugin, Value};

use self::{
    directives::{Directives, MediaType},
    memory::{Kept, Memory},
};
use crate::native::native_made;

pub(crate) fn plugin(most_bytes: u64) -> Plugin {
    native_made(100, move |settings: Settings, _| {
        let memory = memory::named(&settings.memory.dictionary_name, most_bytes);
        let types = settings.content_type.iter().filter_map(|text| MediaType::read(text));
        Ok(ProxyCache { types: types.collect(), memory, settings })
    })
    .access_later(ProxyCache::access)
    .header_filter(ProxyCache::header_filter)
    .body_filter_when(|_| true, ProxyCache::body_filter)
    .build()
}

/// Keeps answers in memory, and gives them again to those who ask for the same.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "proxy-cache", protocols, with = rules)]
struct Settings {
    /// The statuses of answers that are kept.
    #[field(len_min = 1, required, default = [200, 301, 404], elements(between(100, 900)))]
    response_code: Vec<u16>,
    /// The methods whose answers are kept.
    #[field(
        required,
        default = ["GET", "HEAD"],
        elements(one_of("HEAD", "GET", "POST", "PATCH", "PUT"))
    )]
    request_method: Vec<String>,
    /// The content types of answers that are kept, parameters included; `*` stands for any.
    #[field(required, default = ["text/plain", "application/json"])]
    content_type: Vec<String>,
    /// How long an answer is good, in seconds.
    #[field(default = 300, gt = 0)]
    cache_ttl: Option<i64>,
    /// Where answers are kept.
    #[field(required, one_of("memory"))]
    #[expect(dead_code, reason = "there is but one")]
    strategy: String,
    /// Whether Cache-Control of requests and answers says what is kept, and for how long.
    #[field(required, default = false)]
    cache_control: bool,
    /// Whether paths differ that differ in case only.
    #[field(required = false, default = false)]
    ignore_uri_case: Option<bool>,
    /// How long an answer is kept, in seconds, whether it is good or not.
    storage_ttl: Option<i64>,
    /// The memory.
    memory: Dictionary,
    /// The query arguments by which answers differ; none: all.
    vary_query_params: Option<Vec<String>>,
    /// The request's headers by which answers differ.
    vary_headers: Option<Vec<String>>,
    /// Which headers of the cache answers have. With a header Kong-Debug in the request: all.
    response_headers: Shown,
}

/// A place in memory.
#[derive(Debug, Deserialize, Config)]
struct Dictionary {
    /// Plugins with the same name share what they keep. All of one name together keep no more than
    /// `mem_cache_size`.
    #[field(required, default = "kong_db_cache")]
    dictionary_name: String,
}

/// Headers.
#[derive(Debug, Deserialize, Config)]
struct Shown {
    /// How old the answer is, in seconds.
    #[field(default = true)]
    age: Option<bool>,
    /// Hit, Miss, Refresh or Bypass.
    #[field(default = true)]
    #[serde(rename = "X-Cache-Status")]
    status: Option<bool>,
    /// The key under which it is kept.
    #[field(default = true)]
    #[serde(rename = "X-Cache-Key")]
    key: Option<bool>,
}

/// As in Kong there is a check, of the dictionary; here every name has one.
fn rules(schema: Schema) -> Schema {
    schema.check(CustomCheck::new(&["config"], |_| Ok(())).into())
}

/// An instance.
struct ProxyCache {
    settings: Settings,
    types: Vec<MediaType>,
    memory: Arc<Memory>,
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("x-cache-status");
const CACHE_KEY: HeaderName = HeaderName::from_static("x-cache-key");
const DEBUG: HeaderName = HeaderName::from_static("kong-debug");

/// What an exchange is to leave in the cache.
#[derive(Clone, Default)]
struct Keeping {
    key: String,
    request_body: Option<bytes::Bytes>,
    headers: HeaderMap,
    ttl: i64,
    body: BytesMut,
}

impl ProxyCache {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        Box::pin(async move {
            let directives = Directives::of(&exchange.request.headers);
            if !self.is_cacheable(exchange, &directives) {
                self.show_status(exchange, "Bypass");
                return Flow::Next;
            }
            let key = key::of(exchange, &self.settings);
            if shows(exchange, self.settings.response_headers.key) {
                let value = HeaderValue::try_from(key.as_str());
                exchange.response.headers.extend(value.ok().map(|value| (CACHE_KEY, value)));
            }
            let now = seconds();
            let Some(kept) = self.memory.get(&key, now) else {
                if self.settings.cache_control && directives.has("only-if-cached") {
                    return Flow::Exit(Answer::bare(StatusCode::GATEWAY_TIMEOUT));
                }
                self.keep(exchange, key, "Miss").await;
                return Flow::Next;
            };
            if self.is_stale(&kept, &directives, now) {
                self.keep(exchange, key, "Refresh").await;
                return Flow::Next;
            }
            self.serve(exchange, &kept, now)
        })
    }

    /// Whether the answer to a request may be kept or come from the cache.
    fn is_cacheable(&self, exchange: &Exchange, directives: &Directives) -> bool {
        let method = exchange.request.method.as_str();
        self.settings.request_method.iter().any(|known| known == method)
            && !(self.settings.cache_control
                && (directives.has("no-store") || directives.has("no-cache")))
    }

    /// Whether what is kept is too old for the one who asks.
    fn is_stale(&self, kept: &Kept, directives: &Directives, now: i64) -> bool {
        let age = now - kept.at;
        if !self.settings.cache_control {
            return age > self.settings.cache_ttl.unwrap_or(300);
        }
        let says = |name: &str, refuses: &dyn Fn(i64) -> bool| {
            directives.number(name).is_some_and(refuses)
        };
        says("max-age", &|most| age > most)
            || says("max-stale", &|most| age - kept.ttl > most)
            || says("min-fresh", &|least| kept.ttl - age < least)
    }

    fn serve(&self, exchange: &mut Exchange, kept: &Kept, now: i64) -> Flow {
        let mut headers = kept.headers.clone();
        // Who asked first may have been shown it.
        headers.remove(CACHE_KEY);
        if shows(exchange, self.settings.response_headers.age) {
            headers.insert(header::AGE, HeaderValue::from((now - kept.at).max(0)));
        }
        self.show_status(exchange, "Hit");
        exchange.response.from_cache = true;
        // What log plugins are told, as in Kong.
        let map = |pairs: Vec<(&'static str, Value)>| {
            Value::Map(pairs.into_iter().map(|(k, v)| (Value::constant(k), v)).collect())
        };
        let request_body = kept.request_body.clone().map(Value::Text).unwrap_or_default();
        let res = map(vec![
            ("status", kept.status.as_u16().into()),
            ("body", Value::Text(kept.body.clone())),
            ("timestamp", kept.at.into()),
            ("ttl", kept.ttl.into()),
        ]);
        let address = exchange.client.local.ip().to_string();
        let hit = map(vec![
            ("res", res),
            ("req", map(vec![("body", request_body)])),
            ("server_addr", address.into()),
        ]);
        exchange.shared.insert("proxy_cache_hit".to_owned(), hit);
        Flow::Exit(Answer { headers, ..Answer::new(kept.status, kept.body.clone()) })
    }

    /// Notes that the answer is to be kept.
    async fn keep(&self, exchange: &mut Exchange, key: String, status: &'static str) {
        self.show_status(exchange, status);
        let most = exchange.view.node().body_buffer_max;
        // A body that breaks off fails the request later on.
        let request_body = exchange.request.body.read_within(most).await.ok().flatten();
        let keeping = Keeping { key, request_body, ..Keeping::default() };
        exchange.extensions.insert(keeping);
    }

    fn show_status(&self, exchange: &mut Exchange, status: &'static str) {
        if shows(exchange, self.settings.response_headers.status) {
            let status = HeaderValue::from_static(status);
            exchange.response.headers.insert(CACHE_STATUS, status);
        }
    }

    fn header_filter(&self, exchange: &mut Exchange) -> Flow {
        let Some(mut keeping) = exchange.extensions.remove::<Keeping>() else {
            return Flow::Next;
        };
        let headers = &exchange.response.headers;
        let directives = Directives::of(headers);
        let ttl = directives.ttl(headers, seconds());
        if !self.may_keep(exchange, &directives, ttl) {
            self.show_status(exchange, "Bypass");
            return Flow::Next;
        }
        keeping.ttl =
            if self.settings.cache_control { ttl } else { self.settings.cache_ttl.unwrap_or(300) };
        keeping.headers = memory::without_what_is_of_one_answer(headers);
        exchange.extensions.insert(keeping);
        Flow::Next
    }

    /// Whether an answer may be kept.
    fn may_keep(&self, exchange: &Exchange, directives: &Directives, ttl: i64) -> bool {
        let response = &exchange.response;
        let content_type = response.headers.get(header::CONTENT_TYPE);
        let media_type = content_type.and_then(|v| v.to_str().ok()).and_then(MediaType::read);
        let forbidden = || ["private", "no-store", "no-cache"].iter().any(|d| directives.has(d));
        self.settings.response_code.contains(&response.status.as_u16())
            && media_type.is_some_and(|found| self.types.iter().any(|t| t.covers(&found)))
            && !(self.settings.cache_control && (forbidden() || ttl <= 0))
    }

    /// Pieces are sent on as they come, and kept when the last one has.
    fn body_filter(&self, exchange: &mut Exchange) -> Flow {
        let Some(keeping) = exchange.extensions.get_mut::<Keeping>() else { return Flow::Next };
        keeping.body.extend_from_slice(&exchange.chunk.data);
        if keeping.body.len() as u64 > self.memory.most_of_one() {
            exchange.extensions.remove::<Keeping>();
            return Flow::Next;
        }
        if !exchange.chunk.last {
            return Flow::Next;
        }
        let Some(keeping) = exchange.extensions.remove::<Keeping>() else { return Flow::Next };
        let now = seconds();
        let storage = self.settings.storage_ttl.unwrap_or(keeping.ttl);
        let kept = Kept {
            status: exchange.response.status,
            headers: keeping.headers,
            body: keeping.body.freeze(),
            request_body: keeping.request_body,
            at: now,
            ttl: keeping.ttl,
            // As in Kong, 0 is for good.
            until: if storage == 0 { i64::MAX } else { now.saturating_add(storage) },
        };
        self.memory.put(keeping.key, kept, now);
        Flow::Next
    }
}

/// Whether a header of the cache is shown.
fn shows(exchange: &Exchange, configured: Option<bool>) -> bool {
    configured == Some(true) || exchange.request.headers.contains_key(DEBUG)
}

/// The clock's seconds since 1970.
pub(crate) fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Directives, by name, with what they were given.
type Given = HashMap<String, Option<String>>;

#[cfg(test)]
mod tests;
