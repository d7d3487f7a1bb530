//! What a shared dictionary holds: values by key, in the order of their last use, so that those
//! that nobody asks for make room (lua-nginx-module, `ngx_http_lua_shdict.c`).

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use thiserror::Error;

/// What an entry takes beside its key and value, bytes.
const OVERHEAD: usize = 80;
/// What an item of a list takes beside its value, bytes.
const ITEM_OVERHEAD: usize = 32;
/// How many values that have expired a write throws out.
const SWEEP: usize = 2;
/// How many values may have to go for one.
const EVICT_MAX: usize = 30;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ngx) enum Item {
    Bool(bool),
    Number(f64),
    Text(Bytes),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Item::Bool(_) => 1,
            Item::Number(_) => 8,
            Item::Text(text) => text.len(),
        }
    }
}

/// Why something can't be done; the texts are OpenResty's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(in crate::ngx) enum Problem {
    #[error("exists")]
    Exists,
    #[error("not found")]
    NotFound,
    #[error("not a number")]
    NotANumber,
    #[error("value not a list")]
    NotAList,
    #[error("value is a list")]
    IsAList,
    #[error("no memory")]
    NoMemory,
}

/// When a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ngx) enum Mode {
    /// Whatever is there; others may have to go.
    Set,
    /// Whatever is there, if there is room.
    SafeSet,
    /// Where nothing is there.
    Add,
    /// Where nothing is there, if there is room.
    SafeAdd,
    /// Where something is there.
    Replace,
}

/// How a value is kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) ttl: Duration,
    pub(super) flags: u32,
}

/// A value that was found.
#[derive(Debug)]
pub(in crate::ngx) struct Found {
    pub(in crate::ngx) item: Item,
    pub(in crate::ngx) flags: u32,
    pub(in crate::ngx) stale: bool,
}

enum Content {
    One(Item),
    List(VecDeque<Item>),
}

struct Entry {
    key: Bytes,
    content: Content,
    flags: u32,
    expires: Option<Instant>,
    size: usize,
    newer: Option<usize>,
    older: Option<usize>,
}

impl Entry {
    fn expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// What a shared dictionary holds.
pub(super) struct Store {
    capacity: usize,
    used: usize,
    places: HashMap<Bytes, usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    newest: Option<usize>,
    oldest: Option<usize>,
    began: Instant,
}

impl Store {
    /// An empty one of that size in bytes.
    pub(super) fn new(capacity: usize, now: Instant) -> Store {
        Store {
            capacity,
            used: 0,
            places: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            newest: None,
            oldest: None,
            began: now,
        }
    }

    /// Another size; what is too much goes with the next write.
    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    fn entry(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)?.as_ref()
    }

    fn entry_mut(&mut self, place: usize) -> Option<&mut Entry> {
        self.entries.get_mut(place)?.as_mut()
    }

    /// Takes an entry out of the order of use.
    fn unlink(&mut self, place: usize) {
        let Some((newer, older)) = self.entry(place).map(|entry| (entry.newer, entry.older)) else {
            return;
        };
        match newer.and_then(|newer| self.entry_mut(newer)) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match older.and_then(|older| self.entry_mut(older)) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Makes an entry the one that was used last.
    fn link(&mut self, place: usize) {
        let before = self.newest.replace(place);
        if let Some(entry) = self.entry_mut(place) {
            (entry.newer, entry.older) = (None, before);
        }
        match before.and_then(|before| self.entry_mut(before)) {
            Some(entry) => entry.newer = Some(place),
            None => self.oldest = Some(place),
        }
    }

    fn touch(&mut self, place: usize) {
        if self.newest != Some(place) {
            self.unlink(place);
            self.link(place);
        }
    }

    fn remove_at(&mut self, place: usize) {
        self.unlink(place);
        if let Some(entry) = self.entries.get_mut(place).and_then(Option::take) {
            self.places.remove(&entry.key);
            self.used = self.used.saturating_sub(entry.size);
            self.free.push(place);
        }
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(&place) = self.places.get(key) {
            self.remove_at(place);
        }
    }

    /// Where a key's value is that has not expired.
    fn alive(&self, key: &[u8], now: Instant) -> Option<usize> {
        let place = *self.places.get(key)?;
        self.entry(place).filter(|entry| !entry.expired(now)).map(|_| place)
    }

    /// A value, also one that has expired if that is wanted.
    pub(super) fn get(
        &mut self,
        key: &[u8],
        now: Instant,
        stale_too: bool,
    ) -> Result<Option<Found>, Problem> {
        let Some(&place) = self.places.get(key) else { return Ok(None) };
        let Some(entry) = self.entry(place) else { return Ok(None) };
        let stale = entry.expired(now);
        if stale && !stale_too {
            return Ok(None);
        }
        let Content::One(item) = &entry.content else { return Err(Problem::IsAList) };
        let found = Found { item: item.clone(), flags: entry.flags, stale };
        if !stale {
            self.touch(place);
        }
        Ok(Some(found))
    }

    /// Makes room for that many bytes: first by what has expired, then, unless `safe`, by what was
    /// used least recently. Whether that had to go.
    fn make_room(&mut self, size: usize, safe: bool, now: Instant) -> Result<bool, Problem> {
        for _ in 0..SWEEP {
            match self.oldest {
                Some(oldest) if self.entry(oldest).is_some_and(|entry| entry.expired(now)) => {
                    self.remove_at(oldest);
                }
                _ => break,
            }
        }
        let mut forced = false;
        for _ in 0..EVICT_MAX {
            if self.used + size <= self.capacity {
                return Ok(forced);
            }
            let Some(oldest) = self.oldest.filter(|_| !safe) else { break };
            forced = true;
            self.remove_at(oldest);
        }
        if self.used + size <= self.capacity { Ok(forced) } else { Err(Problem::NoMemory) }
    }

    fn insert(&mut self, key: &[u8], content: Content, place: Place, size: usize, now: Instant) {
        let key = Bytes::copy_from_slice(key);
        let expires = (!place.ttl.is_zero()).then(|| now + place.ttl);
        let flags = place.flags;
        let entry =
            Entry { key: key.clone(), content, flags, expires, size, newer: None, older: None };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.entries.push(None);
                self.entries.len() - 1
            }
        };
        if let Some(slot) = self.entries.get_mut(at) {
            *slot = Some(entry);
        }
        self.used += size;
        self.places.insert(key, at);
        self.link(at);
    }

    /// Keeps a value. Whether others had to go for it.
    pub(super) fn set(
        &mut self,
        mode: Mode,
        key: &[u8],
        item: Item,
        place: Place,
        now: Instant,
    ) -> Result<bool, Problem> {
        let there = self.alive(key, now).is_some();
        match mode {
            Mode::Add | Mode::SafeAdd if there => return Err(Problem::Exists),
            Mode::Replace if !there => return Err(Problem::NotFound),
            _ => {}
        }
        self.remove(key);
        let size = OVERHEAD + key.len() + item.size();
        let safe = matches!(mode, Mode::SafeSet | Mode::SafeAdd);
        let forced = self.make_room(size, safe, now)?;
        self.insert(key, Content::One(item), place, size, now);
        Ok(forced)
    }

    /// Adds to a number. What it is then, and whether others had to go for it.
    pub(super) fn incr(
        &mut self,
        key: &[u8],
        by: f64,
        init: Option<f64>,
        ttl: Duration,
        now: Instant,
    ) -> Result<(f64, bool), Problem> {
        if let Some(place) = self.alive(key, now) {
            self.touch(place);
            return match self.entry_mut(place).map(|entry| &mut entry.content) {
                Some(Content::One(Item::Number(number))) => {
                    *number += by;
                    Ok((*number, false))
                }
                _ => Err(Problem::NotANumber),
            };
        }
        let number = init.ok_or(Problem::NotFound)? + by;
        let place = Place { ttl, flags: 0 };
        let forced = self.set(Mode::Set, key, Item::Number(number), place, now)?;
        Ok((number, forced))
    }

    /// The list under a key; none if nothing is there.
    fn list(&mut self, key: &[u8], now: Instant) -> Result<Option<usize>, Problem> {
        let Some(place) = self.alive(key, now) else { return Ok(None) };
        match self.entry(place).map(|entry| &entry.content) {
            Some(Content::List(_)) => Ok(Some(place)),
            _ => Err(Problem::NotAList),
        }
    }

    /// Puts an item at an end of a list.
    pub(super) fn push(
        &mut self,
        key: &[u8],
        item: Item,
        front: bool,
        now: Instant,
    ) -> Result<usize, Problem> {
        let size = ITEM_OVERHEAD + item.size();
        if self.list(key, now)?.is_none() {
            self.remove(key);
            let own = OVERHEAD + key.len();
            self.make_room(own + size, false, now)?;
            self.insert(key, Content::List(VecDeque::new()), Place::default(), own, now);
        } else {
            // As OpenResty: a list never makes others go.
            self.make_room(size, true, now)?;
        }
        let Some(place) = self.list(key, now)? else { return Err(Problem::NoMemory) };
        self.used += size;
        self.touch(place);
        let Some(entry) = self.entry_mut(place) else { return Err(Problem::NoMemory) };
        entry.size += size;
        let Content::List(list) = &mut entry.content else { return Err(Problem::NotAList) };
        if front {
            list.push_front(item);
        } else {
            list.push_back(item);
        }
        Ok(list.len())
    }

    /// Takes an item off an end of a list. An empty list is gone.
    pub(super) fn pop(
        &mut self,
        key: &[u8],
        front: bool,
        now: Instant,
    ) -> Result<Option<Item>, Problem> {
        let Some(place) = self.list(key, now)? else { return Ok(None) };
        self.touch(place);
        let Some(entry) = self.entry_mut(place) else { return Ok(None) };
        let Content::List(list) = &mut entry.content else { return Ok(None) };
        let item = if front { list.pop_front() } else { list.pop_back() };
        let empty = list.is_empty();
        let size = item.as_ref().map_or(0, |item| ITEM_OVERHEAD + item.size());
        entry.size -= size;
        self.used -= size;
        if empty {
            self.remove_at(place);
        }
        Ok(item)
    }

    /// How long a list is.
    pub(super) fn length(&mut self, key: &[u8], now: Instant) -> Result<usize, Problem> {
        let place = self.list(key, now)?;
        Ok(match place.and_then(|place| self.entry(place)).map(|entry| &entry.content) {
            Some(Content::List(list)) => list.len(),
            _ => 0,
        })
    }

    /// How long a value is still kept.
    pub(super) fn ttl(&self, key: &[u8], now: Instant) -> Option<Duration> {
        let entry = self.entry(self.alive(key, now)?)?;
        Some(entry.expires.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
    }

    /// Changes how long a value is kept.
    pub(super) fn expire(&mut self, key: &[u8], ttl: Duration, now: Instant) -> bool {
        let Some(place) = self.alive(key, now) else { return false };
        if let Some(entry) = self.entry_mut(place) {
            entry.expires = (!ttl.is_zero()).then(|| now + ttl);
        }
        true
    }

    /// Has everything expire.
    pub(super) fn flush_all(&mut self, now: Instant) {
        let at = self.began.min(now);
        self.entries.iter_mut().flatten().for_each(|entry| entry.expires = Some(at));
    }

    /// Throws out what has expired.
    pub(super) fn flush_expired(&mut self, max: usize, now: Instant) -> usize {
        let expired = (0..self.entries.len())
            .filter(|&place| self.entry(place).is_some_and(|entry| entry.expired(now)))
            .take(if max == 0 { usize::MAX } else { max })
            .collect::<Vec<_>>();
        expired.iter().for_each(|&place| self.remove_at(place));
        expired.len()
    }

    /// Keys, the latest used first.
    pub(super) fn keys(&self, max: usize, now: Instant) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let mut next = self.newest;
        while let Some(entry) = next.and_then(|place| self.entry(place)) {
            if !entry.expired(now) {
                keys.push(entry.key.to_vec());
                if keys.len() == max {
                    break;
                }
            }
            next = entry.older;
        }
        keys
    }

    /// The size and what of it is free, in whole pages as nginx counts.
    pub(super) fn room(&self) -> (usize, usize) {
        let free = self.capacity.saturating_sub(self.used);
        (self.capacity, free - free % 4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Item {
        Item::Text(Bytes::from_static(text.as_bytes()))
    }

    fn at(seconds: u64) -> Place {
        Place { ttl: Duration::from_secs(seconds), flags: 0 }
    }

    #[test]
    fn values_are_kept_as_the_mode_says() {
        let now = Instant::now();
        let mut store = Store::new(10_000, now);
        let mut set = |mode, key: &str| store.set(mode, key.as_bytes(), text("v"), at(0), now);
        assert_eq!(set(Mode::Replace, "a"), Err(Problem::NotFound));
        assert_eq!(set(Mode::Add, "a"), Ok(false));
        assert_eq!(set(Mode::Add, "a"), Err(Problem::Exists));
        assert_eq!(set(Mode::SafeAdd, "a"), Err(Problem::Exists));
        assert_eq!(set(Mode::Replace, "a"), Ok(false));
        assert_eq!(store.keys(0, now), [b"a"]);
        store.remove(b"a");
        assert_eq!(store.used, 0);
    }

    #[test]
    fn values_expire() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let mut store = Store::new(10_000, now);
        store.set(Mode::Set, b"a", text("v"), at(1), now).expect("room");
        let mut stale = |now, too| store.get(b"a", now, too).map(|found| found.map(|f| f.stale));
        assert_eq!(stale(now, false), Ok(Some(false)));
        assert_eq!(stale(later, false), Ok(None));
        assert_eq!(stale(later, true), Ok(Some(true)));
        assert_eq!(store.ttl(b"a", later), None);
        assert_eq!(store.set(Mode::Add, b"a", text("w"), at(0), later), Ok(false));
        assert_eq!(store.ttl(b"a", later), Some(Duration::ZERO));
        assert!(store.expire(b"a", Duration::from_secs(5), later));
        assert_eq!(store.ttl(b"a", later), Some(Duration::from_secs(5)));
        store.flush_all(later);
        assert!(store.get(b"a", later, false).is_ok_and(|found| found.is_none()));
        assert_eq!(store.flush_expired(0, later), 1);
        assert_eq!(store.used, 0);
    }

    #[test]
    fn those_that_nobody_asks_for_make_room() {
        let now = Instant::now();
        let mut store = Store::new(3 * (OVERHEAD + 2), now);
        for key in [b"a", b"b", b"c"] {
            assert_eq!(store.set(Mode::Set, key, Item::Bool(true), at(0), now), Ok(false));
        }
        assert!(store.get(b"a", now, false).is_ok());
        let full = store.set(Mode::SafeSet, b"d", Item::Bool(true), at(0), now);
        assert_eq!(full, Err(Problem::NoMemory));
        assert_eq!(store.set(Mode::Set, b"d", Item::Bool(true), at(0), now), Ok(true));
        assert_eq!(store.keys(0, now), [b"d", b"a", b"c"]);
        let huge = Item::Text(Bytes::from(vec![0; 1000]));
        assert_eq!(store.set(Mode::Set, b"e", huge, at(0), now), Err(Problem::NoMemory));
    }

    #[test]
    fn numbers_count_and_lists_grow() {
        let now = Instant::now();
        let mut store = Store::new(10_000, now);
        assert_eq!(store.incr(b"n", 1.0, None, Duration::ZERO, now), Err(Problem::NotFound));
        assert_eq!(store.incr(b"n", 1.0, Some(5.0), Duration::ZERO, now), Ok((6.0, false)));
        assert_eq!(store.incr(b"n", -2.0, None, Duration::ZERO, now), Ok((4.0, false)));
        assert_eq!(store.push(b"n", text("x"), true, now), Err(Problem::NotAList));
        for (item, front, length) in [("b", true, 1), ("c", false, 2), ("a", true, 3)] {
            assert_eq!(store.push(b"l", text(item), front, now), Ok(length));
        }
        assert_eq!(store.get(b"l", now, false).map(|_| ()), Err(Problem::IsAList));
        assert_eq!(store.incr(b"l", 1.0, None, Duration::ZERO, now), Err(Problem::NotANumber));
        assert_eq!(store.pop(b"l", true, now), Ok(Some(text("a"))));
        assert_eq!(store.pop(b"l", false, now), Ok(Some(text("c"))));
        assert_eq!(store.length(b"l", now), Ok(1));
        assert_eq!(store.pop(b"l", false, now), Ok(Some(text("b"))));
        assert_eq!(store.pop(b"l", false, now), Ok(None));
        store.remove(b"n");
        assert_eq!(store.used, 0);
    }
}
