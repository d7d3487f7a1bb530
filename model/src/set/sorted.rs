//! A sorted map whose copies share what is equal: a change of a copy costs a chunk and a list of
//! chunks, not the whole.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// How many entries a chunk has at the most. What a change copies is this, and a pointer for each
/// chunk: some twenty microseconds together, with 100,000 entries.
const CHUNK_MAX: usize = 256;

type Chunk<V> = Vec<Entry<V>>;

/// A key with its value.
#[derive(Debug, Clone)]
struct Entry<V> {
    /// How the key begins: mostly enough to tell it from another without looking for it in memory.
    head: u64,
    key: Arc<str>,
    value: V,
}

impl<V> Entry<V> {
    fn new(key: Arc<str>, value: V) -> Entry<V> {
        Entry { head: head(&key), key, value }
    }

    /// How its key stands to another, whose head is given with it.
    fn order(&self, head: u64, key: &str) -> Ordering {
        self.head.cmp(&head).then_with(|| (*self.key).cmp(key))
    }

    fn pair(&self) -> (&Arc<str>, &V) {
        (&self.key, &self.value)
    }
}

/// The first bytes of a text as a number, so that numbers stand in the order of texts. Texts with
/// the same number may differ.
fn head(text: &str) -> u64 {
    let mut bytes = [0; size_of::<u64>()];
    bytes.iter_mut().zip(text.as_bytes()).for_each(|(own, byte)| *own = *byte);
    u64::from_be_bytes(bytes)
}

/// A map from texts, in their order.
#[derive(Debug, Clone)]
pub(super) struct Sorted<V> {
    /// None of them is empty.
    chunks: Arc<Vec<Arc<Chunk<V>>>>,
    len: usize,
}

impl<V> Default for Sorted<V> {
    fn default() -> Sorted<V> {
        Sorted { chunks: Arc::default(), len: 0 }
    }
}

impl<V: Clone> Sorted<V> {
    /// A map of these entries; of those with the same key, the last stays.
    pub(super) fn of(mut entries: Vec<(Arc<str>, V)>) -> Sorted<V> {
        // Stable, so that of equal keys the last is the last.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.reverse();
        entries.dedup_by(|a, b| a.0 == b.0);
        entries.reverse();
        let len = entries.len();
        let mut chunks = Vec::with_capacity(len.div_ceil(CHUNK_MAX / 2));
        let mut entries = entries.into_iter().map(|(key, value)| Entry::new(key, value));
        loop {
            // Half full, so that entries in between have room.
            let chunk: Chunk<V> = entries.by_ref().take(CHUNK_MAX / 2).collect();
            if chunk.is_empty() {
                break;
            }
            chunks.push(Arc::new(chunk));
        }
        Sorted { chunks: Arc::new(chunks), len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let head = head(key);
        let at = chunk.binary_search_by(|entry| entry.order(head, key)).ok()?;
        chunk.get(at).map(|entry| &entry.value)
    }

    /// Sets the value of a key, and says which it had.
    pub(super) fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        let at = self.chunk_of(&key).unwrap_or(0);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![Entry::new(key, value)]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        let head = head(&key);
        match chunk.binary_search_by(|entry| entry.order(head, &key)) {
            Ok(place) => Some(std::mem::replace(&mut chunk[place].value, value)),
            Err(place) => {
                chunk.insert(place, Entry { head, key, value });
                self.len += 1;
                if chunk.len() > CHUNK_MAX {
                    let rest = chunk.split_off(CHUNK_MAX / 2);
                    chunks.insert(at + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// Takes a key out, and says which value it had.
    pub(super) fn remove(&mut self, key: &str) -> Option<V> {
        let at = self.chunk_of(key)?;
        let head = head(key);
        let place = self.chunks.get(at)?.binary_search_by(|entry| entry.order(head, key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let Entry { value, .. } = chunk.remove(place);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(Entry::pair)
    }

    /// The entries from this key on, or behind it.
    pub(super) fn from<'a>(
        &'a self,
        key: &str,
        behind: bool,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a V)> + Clone + use<'a, V> {
        let at = self.chunk_of(key).unwrap_or(0);
        let before = |other: &str| if behind { other <= key } else { other < key };
        let first = self.chunks.get(at).map(Arc::as_ref);
        let place = first.map_or(0, |chunk| chunk.partition_point(|entry| before(&entry.key)));
        let first = first.and_then(|chunk| chunk.get(place..)).unwrap_or_default();
        let rest = self.chunks.get(at + 1..).unwrap_or_default();
        let rest = rest.iter().flat_map(|chunk| chunk.iter());
        first.iter().chain(rest).map(Entry::pair)
    }

    /// The values of this map that stand in chunks which another does not share. Between copies
    /// that went different ways, it is those that differ, and some of their neighbours.
    pub(super) fn unshared<'a>(&'a self, other: &Sorted<V>) -> impl Iterator<Item = &'a V> {
        let theirs: HashSet<_> = other.chunks.iter().map(Arc::as_ptr).collect();
        let own = self.chunks.iter().filter(move |chunk| !theirs.contains(&Arc::as_ptr(chunk)));
        own.flat_map(|chunk| chunk.iter()).map(|entry| &entry.value)
    }

    /// The chunk that has a key, if any has it.
    fn chunk_of(&self, key: &str) -> Option<usize> {
        let head = head(key);
        let begins_before =
            |chunk: &Arc<Chunk<V>>| chunk.first().is_some_and(|e| e.order(head, key).is_le());
        let after = self.chunks.partition_point(begins_before);
        after.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The same steps on this map and on one of the standard library end in the same.
    #[test]
    fn is_a_map() {
        let (mut map, mut model) = (Sorted::default(), BTreeMap::new());
        let mut seed = 7_u64;
        for step in 0..20_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Some begin with the same bytes, some have fewer than a head.
            let begin = if seed & 1 << 20 == 0 { "" } else { "as long as a head" };
            let key: Arc<str> = format!("{begin}{:03}", (seed >> 33) % 900).into();
            if seed >> 63 == 0 || step < 4_000 {
                assert_eq!(map.insert(Arc::clone(&key), step), model.insert(key, step));
            } else {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
        }
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()));
        for key in ["", "0", "450", "4505", "899", "9", "as long", "as long as a head77", "b"] {
            for behind in [false, true] {
                let wanted = |other: &str| if behind { other > key } else { other >= key };
                let expect = model.iter().filter(|(other, _)| wanted(other));
                assert!(map.from(key, behind).eq(expect), "{key} {behind}");
            }
            assert_eq!(map.get(key), model.get(key));
        }
    }

    #[test]
    fn copies_stay_as_they_were() {
        let entries = (0..1_000).map(|n| (format!("{n:04}").into(), n)).collect();
        let map = Sorted::of(entries);
        let mut changed = map.clone();
        changed.insert("0500x".into(), 1);
        changed.remove("0000");
        assert_eq!((map.len(), changed.len()), (1_000, 1_000));
        assert_eq!((map.get("0000"), changed.get("0000")), (Some(&0), None));
        let shared = map.chunks.iter().zip(changed.chunks.iter());
        assert!(shared.filter(|(a, b)| Arc::ptr_eq(a, b)).count() >= 5);
    }
}
