//! Answers to look-ups that traffic asks for, kept until they change: of credentials and consumers,
//! of which there may be more than fit into memory.
//!
//! An answer may be that there is nothing. Whoever asks for what is being asked for already waits
//! for the same answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use silverback_model::errors::Fault;

use super::hint::{Hint, Lookup};
use crate::last_good::{Answers, Remembered};
use crate::transaction::Kept;
use crate::ttl;
use crate::versions::Versions;

/// How long answers are kept, and how many bytes of them.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// How long entities are kept; nothing is until they change.
    pub found: Option<Duration>,
    /// How long it is kept that there is none; nothing is until there is one.
    pub nothing: Option<Duration>,
    /// How long what is stale serves on while the database can't be asked.
    pub stale: Duration,
    /// About how many bytes all of it may take.
    pub bytes: usize,
}

impl Default for Keeping {
    fn default() -> Keeping {
        let stale = Duration::from_secs(30);
        Keeping { found: None, nothing: None, stale, bytes: 128 << 20 }
    }
}

/// What a look-up found.
pub(crate) type Answer = Arc<[Kept]>;
/// An answer to come.
type Coming = Shared<BoxFuture<'static, Result<Answer, Fault>>>;

/// Parts, so that workers seldom wait for each other.
const SHARDS: usize = 64;
/// What an entry takes beside its entities, roughly.
const OVERHEAD: usize = 160;

/// The kept answers.
#[derive(Debug)]
pub(crate) struct Cache {
    keeping: Keeping,
    shards: Vec<Shard>,
    news: AtomicU64,
    /// How often kinds that are asked for may have changed.
    pub(crate) versions: Versions,
}

#[derive(Debug, Default)]
struct Shard {
    /// How often something of it became stale. An answer that was asked for before is not kept.
    staled: AtomicU64,
    /// Held only to look or to put.
    entries: Mutex<Entries>,
}

/// Two generations: what was used lately, and what was before. The old one goes when the young one
/// is full.
#[derive(Debug, Default)]
struct Entries {
    young: HashMap<Lookup, Entry>,
    old: HashMap<Lookup, Entry>,
    coming: HashMap<Lookup, Coming>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    kind: Arc<str>,
    answer: Answer,
    /// From when on it has to be asked for again.
    until: Option<Instant>,
    bytes: usize,
}

/// What is known of a look-up.
pub(crate) enum Known {
    /// The answer.
    Answer(Answer),
    /// Somebody asks already.
    Coming(Coming),
    /// Nothing, or a stale answer; what was seen helps to keep the new one.
    Unknown { seen: u64, stale: Option<Answer> },
}

impl Cache {
    pub(crate) fn new(keeping: Keeping) -> Cache {
        let shards = std::iter::repeat_with(Shard::default).take(SHARDS).collect();
        Cache { keeping, shards, news: AtomicU64::new(0), versions: Versions::default() }
    }

    /// What is known of a look-up.
    pub(crate) fn get(&self, lookup: Lookup) -> Known {
        let shard = self.shard(lookup);
        let seen = shard.staled.load(Ordering::Acquire);
        let mut entries = shard.entries();
        let mut stale = None;
        if let Some(entry) = entries.find(lookup) {
            if entry.until.is_none_or(|until| Instant::now() < until) {
                return Known::Answer(living(&entry.answer));
            }
            stale = Some(Arc::clone(&entry.answer));
        }
        match entries.coming.get(&lookup) {
            Some(coming) => Known::Coming(coming.clone()),
            None => Known::Unknown { seen, stale },
        }
    }

    /// Lets others wait for the same answer, and keeps it when it has come.
    pub(crate) fn ask(
        self: &Arc<Cache>,
        kind: &str,
        lookup: Lookup,
        (seen, stale): (u64, Option<Answer>),
        asking: BoxFuture<'static, Result<Answer, Fault>>,
    ) -> Coming {
        let (cache, kind) = (Arc::clone(self), Arc::<str>::from(kind));
        let coming = async move {
            let outcome = match (asking.await, stale) {
                (Err(fault), Some(stale)) if fault.temporary => {
                    let until = Instant::now().checked_add(cache.keeping.stale);
                    cache.keep(&kind, lookup, seen, &stale, until);
                    Ok(living(&stale))
                }
                (Ok(answer), _) => {
                    let keeping = &cache.keeping;
                    let life = if answer.is_empty() { keeping.nothing } else { keeping.found };
                    let until = life.and_then(|life| Instant::now().checked_add(life));
                    cache.keep(&kind, lookup, seen, &answer, until);
                    Ok(living(&answer))
                }
                (Err(fault), _) => Err(fault),
            };
            cache.shard(lookup).entries().coming.remove(&lookup);
            outcome
        };
        let coming = coming.boxed().shared();
        self.shard(lookup).entries().coming.insert(lookup, coming.clone());
        coming
    }

    fn keep(
        &self,
        kind: &Arc<str>,
        lookup: Lookup,
        seen: u64,
        answer: &Answer,
        until: Option<Instant>,
    ) {
        let shard = self.shard(lookup);
        let mut entries = shard.entries();
        if shard.staled.load(Ordering::Acquire) != seen {
            return;
        }
        let bytes = OVERHEAD + answer.iter().map(|record| size(record)).sum::<usize>();
        let entry = Entry { kind: Arc::clone(kind), answer: Arc::clone(answer), until, bytes };
        entries.put(lookup, entry, self.keeping.bytes / SHARDS / 2);
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something came or went.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::Relaxed)
    }

    /// The kept answers that are not nothing, up to about so many bytes; what was used lately comes
    /// first.
    pub(crate) fn answers(&self, bytes: usize) -> Answers {
        let mut answers = Vec::new();
        let mut room = bytes;
        for old in [false, true] {
            for shard in &self.shards {
                let entries = shard.entries();
                let entries = if old { &entries.old } else { &entries.young };
                for (lookup, entry) in entries.iter().filter(|(_, e)| !e.answer.is_empty()) {
                    let Some(left) = room.checked_sub(entry.bytes) else { return Answers(answers) };
                    room = left;
                    let (kind, records) = (entry.kind.to_string(), Arc::clone(&entry.answer));
                    answers.push(Remembered { kind, lookup: *lookup, records });
                }
            }
        }
        Answers(answers)
    }

    /// Goes on from answers of before.
    pub(crate) fn recall(&self, answers: &Answers) {
        let until = self.keeping.found.and_then(|life| Instant::now().checked_add(life));
        for Remembered { kind, lookup, records } in &answers.0 {
            let seen = self.shard(*lookup).staled.load(Ordering::Acquire);
            self.keep(&Arc::from(kind.as_str()), *lookup, seen, records, until);
        }
    }

    /// Forgets what may have changed.
    pub(crate) fn forget(&self, hint: &Hint) {
        self.news.fetch_add(1, Ordering::Relaxed);
        match hint {
            Hint::Entity { lookups, .. } => {
                for lookup in lookups {
                    let shard = self.shard(*lookup);
                    let mut entries = shard.entries();
                    shard.staled.fetch_add(1, Ordering::AcqRel);
                    entries.remove_if(|other, _| other == lookup);
                }
            }
            Hint::Kind(kind) => self.forget_all(|entry| *entry.kind == **kind),
            Hint::All => self.doubt_all(),
            // It keeps that itself.
            Hint::Plugin { .. } => return,
        }
        match hint {
            Hint::Entity { kind, .. } | Hint::Kind(kind) => self.versions.changed(kind),
            _ => self.versions.all_changed(),
        }
    }

    /// Nothing is known to have changed: what was known serves on if the database can't be asked.
    fn doubt_all(&self) {
        let now = Some(Instant::now());
        for shard in &self.shards {
            let mut entries = shard.entries();
            shard.staled.fetch_add(1, Ordering::AcqRel);
            let Entries { young, old, coming, .. } = &mut *entries;
            young.values_mut().chain(old.values_mut()).for_each(|entry| entry.until = now);
            coming.clear();
        }
    }

    fn forget_all(&self, which: impl Fn(&Entry) -> bool) {
        for shard in &self.shards {
            let mut entries = shard.entries();
            shard.staled.fetch_add(1, Ordering::AcqRel);
            entries.remove_if(|_, entry| which(entry));
        }
    }

    fn shard(&self, lookup: Lookup) -> &Shard {
        // The last bits of a hash are as good as any.
        let at = (lookup as usize) % SHARDS;
        self.shards.get(at).unwrap_or_else(|| unreachable!("there are as many shards"))
    }
}

impl Shard {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Entries {
    fn find(&mut self, lookup: Lookup) -> Option<&Entry> {
        if let Some(entry) = self.old.remove(&lookup) {
            self.bytes += entry.bytes;
            self.young.insert(lookup, entry);
        }
        self.young.get(&lookup)
    }

    fn put(&mut self, lookup: Lookup, entry: Entry, limit: usize) {
        self.old.remove(&lookup);
        self.bytes += entry.bytes;
        if let Some(before) = self.young.insert(lookup, entry) {
            self.bytes = self.bytes.saturating_sub(before.bytes);
        }
        if self.bytes > limit {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
    }

    /// Takes entries out; whoever waits for an answer still gets it, nobody after them.
    fn remove_if(&mut self, which: impl Fn(&Lookup, &Entry) -> bool) {
        self.young.retain(|lookup, entry| !which(lookup, entry));
        self.old.retain(|lookup, entry| !which(lookup, entry));
        self.bytes = self.young.values().map(|entry| entry.bytes).sum();
        self.coming.clear();
    }
}

/// The entities that have not ended.
fn living(answer: &Answer) -> Answer {
    let now = ttl::now();
    if answer.iter().any(|record| ttl::is_over(record, now)) {
        return answer.iter().filter(|record| !ttl::is_over(record, now)).cloned().collect();
    }
    Arc::clone(answer)
}

/// About how many bytes an entity takes.
fn size(record: &silverback_model::Record) -> usize {
    use serde_json::Value;
    fn of(value: &Value) -> usize {
        48 + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(of).sum(),
            Value::Object(fields) => fields.iter().map(|(name, v)| 48 + name.len() + of(v)).sum(),
            _ => 0,
        }
    }
    record.iter().map(|(name, value)| 48 + name.len() + of(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::hint;
    use serde_json::json;

    fn entity(id: &str) -> Kept {
        Arc::new(silverback_model::Record::from_iter([("id".to_owned(), json!(id))]))
    }

    /// Looks up; the answer's ids, where nothing is known yet what `asked` says.
    async fn check(cache: &Arc<Cache>, key: &str, asked: Result<&[&str], Fault>, expect: &[&str]) {
        let lookup = hint::lookup("acls", "consumer", key);
        let answer = match cache.get(lookup) {
            Known::Answer(answer) => Ok(answer),
            Known::Coming(coming) => coming.await,
            Known::Unknown { seen, stale } => {
                let answer = asked.map(|ids| ids.iter().map(|id| entity(id)).collect());
                cache.ask("acls", lookup, (seen, stale), async { answer }.boxed()).await
            }
        };
        let answer = answer.expect("an answer");
        let ids: Vec<&str> = answer.iter().filter_map(|r| r.get("id")?.as_str()).collect();
        assert_eq!(ids, expect, "{key}");
    }

    const NOTHING: Result<&[&str], Fault> = Ok(&[]);

    #[tokio::test(flavor = "current_thread")]
    async fn answers_are_kept_until_they_change() {
        let cache = Arc::new(Cache::new(Keeping::default()));
        check(&cache, "a", Ok(&["1", "2"]), &["1", "2"]).await;
        check(&cache, "a", NOTHING, &["1", "2"]).await;
        check(&cache, "b", NOTHING, &[]).await;
        check(&cache, "b", Ok(&["3"]), &[]).await;
        let lookups = vec![hint::lookup("acls", "consumer", "b")];
        cache.forget(&Hint::Entity { kind: "acls".into(), key: "3".into(), lookups });
        check(&cache, "b", Ok(&["3"]), &["3"]).await;
        check(&cache, "a", NOTHING, &["1", "2"]).await;
        cache.forget(&Hint::Kind("consumers".into()));
        check(&cache, "a", NOTHING, &["1", "2"]).await;
        cache.forget(&Hint::Kind("acls".into()));
        check(&cache, "a", Ok(&["4"]), &["4"]).await;
        cache.forget(&Hint::All);
        check(&cache, "a", NOTHING, &[]).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_changed_meanwhile_is_not_kept() {
        let cache = Arc::new(Cache::new(Keeping::default()));
        let lookup = hint::lookup("acls", "consumer", "a");
        let Known::Unknown { seen, stale } = cache.get(lookup) else { unreachable!() };
        let answer: Answer = [entity("old")].into_iter().collect();
        let coming = cache.ask("acls", lookup, (seen, stale), async { Ok(answer) }.boxed());
        cache.forget(&Hint::All);
        assert_eq!(coming.await.expect("an answer").len(), 1);
        check(&cache, "a", Ok(&["new"]), &["new"]).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn stale_answers_serve_while_there_is_no_database() {
        let found = Some(Duration::ZERO);
        let keeping = Keeping { found, ..Keeping::default() };
        let cache = Arc::new(Cache::new(keeping));
        check(&cache, "a", Ok(&["1"]), &["1"]).await;
        let gone = || Err(Fault::database_unreachable("gone"));
        check(&cache, "a", gone(), &["1"]).await;
        check(&cache, "a", Ok(&["2"]), &["1"]).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn another_goes_on_from_what_was_found() {
        let cache = Arc::new(Cache::new(Keeping::default()));
        check(&cache, "a", Ok(&["1"]), &["1"]).await;
        check(&cache, "b", NOTHING, &[]).await;
        check(&cache, "c", Ok(&["2"]), &["2"]).await;
        assert_eq!(cache.answers(usize::MAX).len(), 2);
        assert_eq!(cache.answers(OVERHEAD * 3).len(), 1);
        let other = Arc::new(Cache::new(Keeping::default()));
        other.recall(&cache.answers(usize::MAX));
        check(&other, "a", NOTHING, &["1"]).await;
        check(&other, "b", Ok(&["3"]), &["3"]).await;
        other.forget(&Hint::All);
        check(&other, "c", NOTHING, &[]).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn memory_is_bounded() {
        let cache = Arc::new(Cache::new(Keeping { bytes: 1 << 20, ..Keeping::default() }));
        for n in 0..20_000 {
            check(&cache, &n.to_string(), Ok(&["1"]), &["1"]).await;
        }
        let kept = cache.shards.iter().map(|shard| {
            let entries = shard.entries();
            entries.young.len() + entries.old.len()
        });
        assert!((500..6_000).contains(&kept.sum::<usize>()));
    }
}
