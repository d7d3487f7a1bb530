//! Shared dictionaries (`ngx.shared`): tables of the process that all workers see. They outlive a
//! reload, as nginx's do.

mod store;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub(super) use self::store::{Found, Item, Mode, Problem};
use self::store::{Place, Store};

/// A shared dictionary.
pub(super) struct Dict {
    store: Mutex<Store>,
}

static KNOWN: Mutex<BTreeMap<String, Arc<Dict>>> = Mutex::new(BTreeMap::new());

/// Of all dictionaries name, capacity and what is in use, in bytes.
pub(super) fn sizes() -> Vec<(String, u64, u64)> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let sizes = known.iter().map(|(name, dict)| {
        let (capacity, free) = dict.room();
        (name.clone(), capacity as u64, capacity.saturating_sub(free) as u64)
    });
    sizes.collect()
}

/// The dictionary of that name, made with that size in bytes if it is not there yet.
pub(super) fn open(name: &str, size: u64) -> Arc<Dict> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let dict = known
        .entry(name.to_owned())
        .or_insert_with(|| Arc::new(Dict { store: Mutex::new(Store::new(size, Instant::now())) }));
    dict.lock().resize(size);
    dict.clone()
}

impl Dict {
    /// The store. Nothing waits while it holds this.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value; with `stale_too` also one that has expired and was not thrown out yet.
    ///
    /// # Errors
    /// If it is a list.
    pub(super) fn get(&self, key: &[u8], stale_too: bool) -> Result<Option<Found>, Problem> {
        self.lock().get(key, Instant::now(), stale_too)
    }

    /// Keeps a value, for `ttl` if that is not zero. Whether others had to go for it.
    ///
    /// # Errors
    /// What the mode forbids, or that there is no room.
    pub(super) fn set(
        &self,
        mode: Mode,
        key: &[u8],
        item: Item,
        ttl: Duration,
        flags: u32,
    ) -> Result<bool, Problem> {
        let place = Place { ttl, flags };
        self.lock().set(mode, key, item, place, Instant::now())
    }

    /// Forgets a value.
    pub(super) fn delete(&self, key: &[u8]) {
        self.lock().remove(key);
    }

    /// Adds to a number, which begins with `init`, for `ttl`, if it is not there.
    ///
    /// # Errors
    /// If there is none, or no number.
    pub(super) fn incr(
        &self,
        key: &[u8],
        by: f64,
        init: Option<f64>,
        ttl: Duration,
    ) -> Result<(f64, bool), Problem> {
        self.lock().incr(key, by, init, ttl, Instant::now())
    }

    /// Puts a value at the front or the back of a list; its length.
    ///
    /// # Errors
    /// If something else is there, or there is no room.
    pub(super) fn push(&self, key: &[u8], item: Item, front: bool) -> Result<usize, Problem> {
        self.lock().push(key, item, front, Instant::now())
    }

    /// Takes a value off the front or the back of a list.
    ///
    /// # Errors
    /// If something else is there.
    pub(super) fn pop(&self, key: &[u8], front: bool) -> Result<Option<Item>, Problem> {
        self.lock().pop(key, front, Instant::now())
    }

    /// How long a list is; 0 if there is none.
    ///
    /// # Errors
    /// If something else is there.
    pub(super) fn length(&self, key: &[u8]) -> Result<usize, Problem> {
        self.lock().length(key, Instant::now())
    }

    /// How long a value will still be kept; zero for ever. None if there is none.
    pub(super) fn ttl(&self, key: &[u8]) -> Option<Duration> {
        self.lock().ttl(key, Instant::now())
    }

    /// Keeps a value for that long from now on; zero for ever. Whether there is one.
    pub(super) fn expire(&self, key: &[u8], ttl: Duration) -> bool {
        self.lock().expire(key, ttl, Instant::now())
    }

    /// Has all values expire; they are only thrown out when room is needed.
    pub(super) fn flush_all(&self) {
        self.lock().flush_all(Instant::now());
    }

    /// Throws out what has expired, at most that many (0: all); how many.
    pub(super) fn flush_expired(&self, max: usize) -> usize {
        self.lock().flush_expired(max, Instant::now())
    }

    /// Keys, at most that many (0: all).
    pub(super) fn keys(&self, max: usize) -> Vec<Vec<u8>> {
        self.lock().keys(max, Instant::now())
    }

    /// Its size and what of it is free, bytes.
    pub(super) fn room(&self) -> (usize, usize) {
        self.lock().room()
    }
}
