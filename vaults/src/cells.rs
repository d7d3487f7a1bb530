//! What is remembered of secrets: read once, kept for a time, read again beside the traffic.

use std::{
    hash::RandomState,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use papaya::HashMap;
use silverback_model::SecretRef;

use crate::directory::Place;

/// How many secrets are remembered. Those beyond are read whenever they are asked for.
const CELLS_MAX: usize = 10_000;

/// What there is to say about a secret after it was read again. None of it has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It has become another one.
    Rotated {
        /// What it is called.
        reference: String,
    },
    /// It can't be read any more, and its last value serves on.
    Stale {
        /// What it is called.
        reference: String,
        /// Why.
        fault: String,
    },
    /// It can't be read, and its last value has had its time.
    Lost {
        /// What it is called.
        reference: String,
        /// Why.
        fault: String,
    },
}

/// All that is remembered.
pub(crate) struct Cells {
    map: HashMap<Place, Arc<Cell>, RandomState>,
    began: Instant,
    /// Counts [`Cells::mark`].
    epoch: AtomicU64,
    changed: AtomicBool,
    flushed: AtomicBool,
}

/// One secret.
struct Cell {
    state: ArcSwap<State>,
    /// When it was last asked for.
    epoch: AtomicU64,
    reference: String,
}

struct State {
    /// The value, or why there is none.
    value: Result<Arc<str>, Arc<str>>,
    /// Why it could not be read the last time.
    fault: Option<Arc<str>>,
    /// When it was last looked for.
    checked: Instant,
    /// When it was last read.
    good: Instant,
}

impl State {
    fn of(place: &Place, now: Instant) -> State {
        match place.read() {
            Ok(text) => State { value: Ok(text.into()), fault: None, checked: now, good: now },
            Err(fault) => {
                let fault: Arc<str> = fault.into();
                State { value: Err(fault.clone()), fault: Some(fault), checked: now, good: now }
            }
        }
    }

    /// The state after this one: a value that can't be read any more serves on for its time.
    fn next(&self, place: &Place, now: Instant) -> State {
        let next = State::of(place, now);
        let (Ok(value), Some(fault)) = (&self.value, &next.fault) else { return next };
        let end = place.resurrect_ttl.map(|seconds| {
            self.good + Duration::from_secs(u64::from(place.ttl) + u64::from(seconds))
        });
        if end.is_some_and(|end| now >= end) {
            return next;
        }
        State {
            value: Ok(value.clone()),
            fault: Some(fault.clone()),
            checked: now,
            good: self.good,
        }
    }

    fn get(&self) -> Result<Arc<str>, String> {
        self.value.clone().map_err(|fault| fault.as_ref().to_owned())
    }
}

impl Cells {
    pub(crate) fn new(began: Instant) -> Cells {
        Cells {
            map: HashMap::default(),
            began,
            epoch: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            flushed: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self, place: Place, reference: &SecretRef) -> Result<Arc<str>, String> {
        if let Some(cell) = self.map.pin().get(&place) {
            cell.epoch.store(self.epoch.load(Relaxed), Relaxed);
            return cell.state.load().get();
        }
        let state = State::of(&place, Instant::now());
        let value = state.get();
        if self.map.len() < CELLS_MAX {
            let cell = Cell {
                state: ArcSwap::from_pointee(state),
                epoch: AtomicU64::new(self.epoch.load(Relaxed)),
                reference: reference.to_string(),
            };
            self.map.pin().get_or_insert_with(place, || Arc::new(cell));
        }
        value
    }

    pub(crate) fn renew(&self, place: Place, reference: &SecretRef) -> Result<Arc<str>, String> {
        let cell = self.map.pin().get(&place).cloned();
        let Some(cell) = cell else { return self.get(place, reference) };
        self.read_again(&cell, &place, Instant::now());
        cell.state.load().get()
    }

    /// Reads a secret again, and says what has come of it.
    fn read_again(&self, cell: &Cell, place: &Place, now: Instant) -> Option<Event> {
        let before = cell.state.load_full();
        let next = Arc::new(before.next(place, now));
        cell.state.store(Arc::clone(&next));
        let changed = next.value.as_ref().ok() != before.value.as_ref().ok();
        if changed {
            self.changed.store(true, Relaxed);
        }
        let reference = || cell.reference.clone();
        match (&next.value, &next.fault) {
            (Ok(_), Some(fault)) if before.fault.is_none() => {
                Some(Event::Stale { reference: reference(), fault: fault.to_string() })
            }
            (Ok(_), None) if changed => Some(Event::Rotated { reference: reference() }),
            (Err(fault), _) if changed => {
                Some(Event::Lost { reference: reference(), fault: fault.to_string() })
            }
            _ => None,
        }
    }

    /// Whether a secret's time is over. All of one period are read at the same time, so that a
    /// certificate and its key are.
    fn is_over(&self, place: &Place, state: &State, now: Instant) -> bool {
        let seconds = if state.fault.is_some() { place.neg_ttl.max(1) } else { place.ttl };
        let period = |at: Instant| {
            at.saturating_duration_since(self.began).as_secs() / u64::from(seconds.max(1))
        };
        seconds > 0 && period(now) > period(state.checked)
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let cells = self.map.pin();
        let all = self.flushed.load(Relaxed);
        cells.iter().any(|(place, cell)| all || self.is_over(place, &cell.state.load(), now))
    }

    pub(crate) fn rotate(&self, now: Instant) -> Vec<Event> {
        let all = self.flushed.swap(false, Relaxed);
        let cells = self.map.pin();
        let due = |place: &Place, cell: &Cell| all || self.is_over(place, &cell.state.load(), now);
        let due: Vec<_> = cells.iter().filter(|(place, cell)| due(place, cell)).collect();
        due.into_iter().filter_map(|(place, cell)| self.read_again(cell, place, now)).collect()
    }

    pub(crate) fn flush(&self) {
        self.flushed.store(true, Relaxed);
    }

    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Relaxed)
    }

    pub(crate) fn mark(&self) {
        self.epoch.fetch_add(1, Relaxed);
    }

    pub(crate) fn sweep(&self) {
        let epoch = self.epoch.load(Relaxed);
        self.map.pin().retain(|_, cell| cell.epoch.load(Relaxed) == epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use silverback_model::entities::FileVault;
    use tempfile::TempDir;

    use super::*;

    const REFERENCE: &str = "{vault://file/token}";

    /// A directory, a vault of it, and the time.
    struct Stage {
        top: TempDir,
        cells: Cells,
        vault: FileVault,
        began: Instant,
    }

    impl Stage {
        fn new(vault: FileVault) -> Stage {
            let began = Instant::now();
            let top = TempDir::new().expect("a directory");
            Stage { top, cells: Cells::new(began), vault, began }
        }

        fn put(&self, value: Option<&str>) {
            let file = self.top.path().join("token");
            match value {
                Some(value) => fs::write(file, value).expect("a file"),
                None => fs::remove_file(file).expect("a file"),
            }
        }

        fn place(&self) -> (Place, SecretRef) {
            let reference = SecretRef::parse(REFERENCE).expect("a reference");
            let place = Place::new(&reference, self.vault.clone(), self.top.path());
            (place.expect("a place"), reference)
        }

        fn get(&self) -> Option<String> {
            let (place, reference) = self.place();
            self.cells.get(place, &reference).ok().map(|value| value.to_string())
        }

        /// What is said at this second, whether there is a new value, and what serves then.
        fn at(&self, second: u64) -> (Vec<&'static str>, bool, Option<String>) {
            let now = self.began + Duration::from_secs(second);
            let events = match self.cells.is_due(now) {
                true => self.cells.rotate(now),
                false => Vec::new(),
            };
            let kinds = events.iter().map(|event| match event {
                Event::Rotated { .. } => "rotated",
                Event::Stale { .. } => "stale",
                Event::Lost { .. } => "lost",
            });
            (kinds.collect(), self.cells.take_changed(), self.get())
        }

        fn check(&self, second: u64, said: &[&str], changed: bool, serves: Option<&str>) {
            let expect = (said.to_vec(), changed, serves.map(str::to_owned));
            assert_eq!(self.at(second), expect, "second {second}");
        }
    }

    #[test]
    fn a_new_value_is_seen_within_its_ttl() {
        let stage = Stage::new(FileVault { ttl: 10, ..FileVault::default() });
        stage.put(Some("one"));
        assert_eq!(stage.get().as_deref(), Some("one"));
        stage.put(Some("two"));
        stage.check(9, &[], false, Some("one"));
        stage.check(10, &["rotated"], true, Some("two"));
        stage.check(20, &[], false, Some("two"));
    }

    #[test]
    fn what_is_gone_serves_for_a_time() {
        let vault =
            FileVault { ttl: 10, neg_ttl: 5, resurrect_ttl: Some(20), ..FileVault::default() };
        let stage = Stage::new(vault);
        stage.put(Some("one"));
        assert_eq!(stage.get().as_deref(), Some("one"));
        stage.put(None);
        stage.check(10, &["stale"], false, Some("one"));
        stage.check(25, &[], false, Some("one"));
        stage.check(35, &["lost"], true, None);
        stage.put(Some("two"));
        stage.check(39, &[], false, None);
        stage.check(40, &["rotated"], true, Some("two"));
    }

    #[test]
    fn without_a_limit_it_serves_on() {
        let stage = Stage::new(FileVault { ttl: 10, ..FileVault::default() });
        stage.put(Some("one"));
        assert_eq!(stage.get().as_deref(), Some("one"));
        stage.put(None);
        stage.check(10, &["stale"], false, Some("one"));
        stage.check(100_000, &[], false, Some("one"));
        stage.put(Some("one"));
        stage.check(100_010, &[], false, Some("one"));
    }

    #[test]
    fn what_was_never_there_is_looked_for_again() {
        let stage = Stage::new(FileVault { neg_ttl: 2, ..FileVault::default() });
        assert_eq!(stage.get(), None);
        stage.put(Some("one"));
        stage.check(1, &[], false, None);
        stage.check(2, &["rotated"], true, Some("one"));
    }

    #[test]
    fn for_ever_is_until_asked() {
        let stage = Stage::new(FileVault { ttl: 0, ..FileVault::default() });
        stage.put(Some("one"));
        assert_eq!(stage.get().as_deref(), Some("one"));
        stage.put(Some("two"));
        stage.check(1_000_000, &[], false, Some("one"));
        let (place, reference) = stage.place();
        let renewed = stage.cells.renew(place, &reference);
        assert_eq!(renewed.as_deref(), Ok("two"));
        assert!(stage.cells.take_changed());
        stage.put(Some("three"));
        stage.cells.flush();
        stage.check(1_000_001, &["rotated"], true, Some("three"));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let stage = Stage::new(FileVault::default());
        stage.put(Some("one"));
        let remembered = || stage.cells.map.len();
        assert_eq!((stage.get().as_deref(), remembered()), (Some("one"), 1));
        stage.cells.mark();
        assert_eq!(stage.get().as_deref(), Some("one"));
        stage.cells.sweep();
        assert_eq!(remembered(), 1);
        stage.cells.mark();
        stage.cells.sweep();
        assert_eq!(remembered(), 0);
    }
}
