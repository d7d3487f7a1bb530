//! Where answers are kept: in this process, for all workers, within a bound. What has been asked
//! for least lately makes room, on a thread that no request waits for.

use std::{
    collections::HashMap as StdMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use papaya::HashMap;
use serde_json::{Value as Json, json};
use silverback_pdk::Spelling;

use crate::background;

/// What an entry takes besides its texts, about.
const OVERHEAD: u64 = 512;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body of the request, for log plugins.
    pub(crate) request_body: Option<Bytes>,
    /// When it was kept, in seconds since 1970.
    pub(crate) at: i64,
    /// How many seconds it is good.
    pub(crate) ttl: i64,
    /// When it is dropped, in seconds since 1970.
    pub(crate) until: i64,
}

/// An answer, and when it was last asked for.
struct Entry {
    kept: Kept,
    size: u64,
    used: AtomicI64,
}

/// Answers by key.
pub(crate) struct Memory {
    entries: HashMap<String, Arc<Entry>>,
    bytes: AtomicU64,
    most: u64,
    sweeping: AtomicBool,
}

static MEMORIES: LazyLock<Mutex<StdMap<String, Arc<Memory>>>> = LazyLock::new(Mutex::default);

/// The memory of a name; it outlives configurations. It holds no more than `most` bytes.
pub(crate) fn named(name: &str, most: u64) -> Arc<Memory> {
    // Taken where configurations are loaded, and by the Admin API.
    let mut memories = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
    let new = || Arc::new(Memory::new(most));
    Arc::clone(memories.entry(name.to_owned()).or_insert_with(new))
}

/// All of them, or that of a name.
pub(crate) fn all(name: Option<&str>) -> Vec<Arc<Memory>> {
    let memories = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = memories.iter().filter(|(known, _)| name.is_none_or(|name| name == *known));
    wanted.map(|(_, memory)| Arc::clone(memory)).collect()
}

/// How much each of them holds.
pub(crate) fn in_use() -> Vec<crate::MemoryUse> {
    let memories = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
    let one = |(name, memory): (&String, &Arc<Memory>)| crate::MemoryUse {
        name: name.clone(),
        used: memory.bytes.load(Relaxed),
        most: memory.most,
    };
    memories.iter().map(one).collect()
}

/// The headers of an answer without those that belong to it alone.
pub(super) fn without_what_is_of_one_answer(headers: &HeaderMap) -> HeaderMap {
    const ALONE: [HeaderName; 11] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        HeaderName::from_static("trailers"),
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::CONTENT_LENGTH,
        header::AGE,
        super::CACHE_STATUS,
    ];
    let mut kept = headers.clone();
    for name in headers.keys() {
        if ALONE.contains(name) || name.as_str().contains("ratelimit-remaining") {
            kept.remove(name);
        }
    }
    kept
}

impl Kept {
    fn size(&self) -> u64 {
        let headers: usize =
            self.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 32).sum();
        let request = self.request_body.as_ref().map_or(0, Bytes::len);
        OVERHEAD + (headers + self.body.len() + request) as u64
    }

    /// As the Admin API shows it, names of headers as they are sent.
    pub(crate) fn to_json(&self) -> Json {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers = serde_json::Map::new();
        for name in self.headers.keys() {
            let mut lines: Vec<Json> =
                self.headers.get_all(name).iter().map(|v| text(v.as_bytes()).into()).collect();
            let value = if lines.len() == 1 { lines.pop() } else { Some(lines.into()) };
            headers.insert(Spelling::usual(name.as_str()), value.unwrap_or_default());
        }
        json!({
            "status": self.status.as_u16(),
            "headers": headers,
            "body": text(&self.body),
            "body_len": self.body.len(),
            "timestamp": self.at,
            "ttl": self.ttl,
            "version": 1,
            "req_body": self.request_body.as_deref().map(text),
        })
    }
}

impl Memory {
    fn new(most: u64) -> Memory {
        let (bytes, sweeping) = (AtomicU64::new(0), AtomicBool::new(false));
        Memory { entries: HashMap::new(), bytes, most, sweeping }
    }

    /// How large an answer may be, in bytes: an eighth of all.
    pub(crate) fn most_of_one(&self) -> u64 {
        self.most / 8
    }

    /// What is kept under a key, unless its time is over.
    pub(crate) fn get(&self, key: &str, now: i64) -> Option<Kept> {
        let entries = self.entries.pin();
        let entry = entries.get(key)?;
        if entry.kept.until <= now {
            return None;
        }
        entry.used.store(now, Relaxed);
        Some(entry.kept.clone())
    }

    /// Keeps an answer, if there is room at all.
    pub(crate) fn put(self: &Arc<Memory>, key: String, kept: Kept, now: i64) {
        let size = kept.size() + key.len() as u64;
        let full = self.bytes.load(Relaxed) + size > self.most;
        if full {
            self.make_room(now);
            return;
        }
        self.bytes.fetch_add(size, Relaxed);
        let entry = Arc::new(Entry { kept, size, used: AtomicI64::new(now) });
        if let Some(old) = self.entries.pin().insert(key, entry) {
            self.bytes.fetch_sub(old.size, Relaxed);
        }
        if self.bytes.load(Relaxed) > self.most / 8 * 7 {
            self.make_room(now);
        }
    }

    /// Drops a key: whether there was something.
    pub(crate) fn purge(&self, key: &str) -> bool {
        let entries = self.entries.pin();
        let Some(old) = entries.remove(key) else { return false };
        self.bytes.fetch_sub(old.size, Relaxed);
        true
    }

    /// Drops everything.
    pub(crate) fn flush(&self) {
        let entries = self.entries.pin();
        let keys: Vec<String> = entries.keys().cloned().collect();
        for key in keys {
            self.purge(&key);
        }
    }

    fn make_room(self: &Arc<Memory>, now: i64) {
        if !self.sweeping.swap(true, Relaxed) {
            let this = Arc::clone(self);
            background::spawn(move |_| async move {
                this.sweep(now);
                this.sweeping.store(false, Relaxed);
            });
        }
    }

    /// Drops what is over, then what was asked for least lately, down to three quarters.
    fn sweep(&self, now: i64) {
        let entries = self.entries.pin();
        let mut by_use: Vec<(i64, String)> = Vec::new();
        for (key, entry) in &entries {
            let over = entry.kept.until <= now;
            by_use.push((if over { i64::MIN } else { entry.used.load(Relaxed) }, key.clone()));
        }
        by_use.sort();
        for (used, key) in by_use {
            if used > i64::MIN && self.bytes.load(Relaxed) <= self.most / 4 * 3 {
                return;
            }
            self.purge(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(size: usize, until: i64) -> Kept {
        Kept {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![b'x'; size].into(),
            request_body: None,
            at: 0,
            ttl: 10,
            until,
        }
    }

    #[test]
    fn the_least_lately_used_make_room() {
        let memory = Arc::new(Memory::new(100_000));
        for at in 0..9 {
            memory.put(format!("key{at}"), kept(9_000, 1_000 + at), at);
        }
        assert!(memory.bytes.load(Relaxed) <= 100_000);
        memory.get("key0", 20);
        memory.sweep(20);
        assert!(memory.bytes.load(Relaxed) <= 75_000);
        let there = |key: &str| memory.get(key, 20).is_some();
        assert_eq!([there("key0"), there("key1"), there("key8")], [true, false, true]);
        memory.sweep(1_005);
        assert_eq!([there("key0"), there("key6")], [false, true]);
        assert!(memory.purge("key6") && !memory.purge("key6"));
        memory.flush();
        assert_eq!((memory.entries.len(), memory.bytes.load(Relaxed)), (0, 0));
    }
}
