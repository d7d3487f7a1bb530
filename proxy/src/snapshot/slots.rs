//! Lists and maps that snapshots share: a copy with a few changes costs a few pieces and a list of
//! pointers, some tens of microseconds with 100,000 items. What stands in a slot keeps its number.

use std::{
    array,
    borrow::Borrow,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

use uuid::Uuid;

/// How many items a piece of a list has.
const PIECE: usize = 64;

/// How many entries a piece of a map has, more or less.
const FULL: usize = 32;

/// Items by number and by id. A copy shares all that is not changed.
#[derive(Clone)]
pub(crate) struct Slots<T> {
    pieces: Arc<Vec<Arc<[Option<T>; PIECE]>>>,
    numbers: SharedMap<Uuid, u32>,
    /// How many numbers there have been.
    end: u32,
    /// Those that are free again.
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { pieces: Arc::default(), numbers: SharedMap::default(), end: 0, free: Vec::new() }
    }
}

impl<T: Clone> Slots<T> {
    /// These items, numbered in their order; of those with the same id, the last is found by it.
    pub(crate) fn new(items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Slots<T> {
        let numbers = items.iter().map(&id).zip(0..).collect();
        let end = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut pieces = Vec::with_capacity(items.len().div_ceil(PIECE));
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            pieces.push(Arc::new(array::from_fn(|_| items.next())));
        }
        Slots { pieces: Arc::new(pieces), numbers, end, free: Vec::new() }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.pieces.get(number / PIECE)?.get(number % PIECE)?.as_ref()
    }

    /// The number of the item of this id.
    pub(crate) fn number(&self, id: Uuid) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// The item of this id.
    pub(crate) fn by(&self, id: Uuid) -> Option<&T> {
        self.get(self.number(id)?)
    }

    /// All items with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let all = self.pieces.iter().flat_map(|piece| piece.iter());
        (0..).zip(all).filter_map(|(number, item)| Some((number, item.as_ref()?)))
    }

    /// All numbers lie below.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.end as usize - self.free.len()
    }

    /// Puts an item in the slot of its id, or in a new one, and says its number.
    pub(crate) fn put(&mut self, id: Uuid, item: T) -> u32 {
        let number = self.number(id).or_else(|| self.free.pop());
        let number = number.unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        });
        self.numbers.insert(id, number);
        let pieces = Arc::make_mut(&mut self.pieces);
        if pieces.len() <= number as usize / PIECE {
            pieces.push(Arc::new([const { None }; PIECE]));
        }
        let piece = pieces.get_mut(number as usize / PIECE).map(Arc::make_mut);
        if let Some(slot) = piece.and_then(|piece| piece.get_mut(number as usize % PIECE)) {
            *slot = Some(item);
        }
        number
    }

    /// Empties the slot of this id, and says its number.
    pub(crate) fn remove(&mut self, id: Uuid) -> Option<u32> {
        let number = self.numbers.remove(&id)?;
        let pieces = Arc::make_mut(&mut self.pieces);
        let piece = pieces.get_mut(number as usize / PIECE)?;
        if let Some(slot) = Arc::make_mut(piece).get_mut(number as usize % PIECE) {
            *slot = None;
        }
        self.free.push(number);
        Some(number)
    }
}

/// A map whose copies share what is not changed.
#[derive(Clone)]
pub(crate) struct SharedMap<K, V> {
    /// By hash; as many as a power of two.
    pieces: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
    hasher: RandomState,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap { pieces: Vec::new(), len: 0, hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let piece = self.pieces.get(self.piece_of(key))?;
        piece.iter().find(|(own, _)| own.borrow() == key).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.len >= self.pieces.len() * FULL {
            self.grow(self.len + 1);
        }
        let at = self.piece_of(&key);
        let Some(piece) = self.pieces.get_mut(at) else { return };
        let piece = Arc::make_mut(piece);
        match piece.iter_mut().find(|(own, _)| *own == key) {
            Some((_, own)) => *own = value,
            None => {
                piece.push((key, value));
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.piece_of(key);
        let piece = self.pieces.get_mut(at)?;
        let place = piece.iter().position(|(own, _)| own.borrow() == key)?;
        self.len -= 1;
        Some(Arc::make_mut(piece).swap_remove(place).1)
    }

    fn piece_of<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let mask = self.pieces.len().wrapping_sub(1);
        self.hasher.hash_one(key) as usize & mask
    }

    /// Makes room for so many, half again.
    fn grow(&mut self, len: usize) {
        let count = (len * 2).div_ceil(FULL).next_power_of_two();
        let mut pieces: Vec<Vec<(K, V)>> = Vec::new();
        pieces.resize_with(count, Vec::new);
        for (key, value) in self.pieces.iter().flat_map(|piece| piece.iter()) {
            let at = self.hasher.hash_one(key) as usize & (count - 1);
            pieces.get_mut(at).into_iter().for_each(|p| p.push((key.clone(), value.clone())));
        }
        self.pieces = pieces.into_iter().map(Arc::new).collect();
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> SharedMap<K, V> {
        let entries = entries.into_iter();
        let mut map = SharedMap::default();
        map.grow(entries.size_hint().0.max(1));
        entries.for_each(|(key, value)| map.insert(key, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Item = (u128, u32);

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// The same steps on slots and on a map of the standard library end in the same, and copies
    /// stay as they were.
    #[test]
    fn slots_are_a_list_by_id() {
        let items: Vec<Item> = (0..200).map(|n| (n, 0)).collect();
        let mut slots = Slots::new(items.clone(), |item| id(item.0));
        let mut model: HashMap<u128, u32> = items.into_iter().collect();
        let check = |slots: &Slots<Item>, model: &HashMap<u128, u32>| {
            assert_eq!(slots.len(), model.len());
            let all: HashMap<u128, u32> = slots.iter().map(|(_, item)| *item).collect();
            assert_eq!(&all, model);
            for (number, item) in slots.iter() {
                assert_eq!(slots.number(id(item.0)), Some(number));
                assert_eq!(slots.by(id(item.0)), Some(item));
            }
        };
        let mut seed = 7_u64;
        for step in 0..3_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = u128::from((seed >> 33) % 400);
            let (before, before_model) = (slots.clone(), model.clone());
            let known = slots.number(id(key));
            if seed >> 63 == 0 {
                let number = slots.put(id(key), (key, step));
                assert!(known.is_none_or(|known| known == number), "a number is kept");
                model.insert(key, step);
            } else {
                assert_eq!(slots.remove(id(key)), known);
                model.remove(&key);
            }
            if step % 100 == 0 {
                check(&before, &before_model);
                check(&slots, &model);
            }
        }
        assert!(slots.end < 450, "numbers are used again: {}", slots.end);
    }

    #[test]
    fn a_shared_map_grows() {
        let mut map: SharedMap<String, u32> = SharedMap::default();
        assert_eq!(map.get("1"), None);
        assert_eq!(map.remove("1"), None);
        for n in 0..5_000 {
            map.insert(n.to_string(), n);
        }
        let copy = map.clone();
        map.insert("7".to_owned(), 0);
        assert_eq!(map.remove("8"), Some(8));
        assert_eq!((map.get("7"), map.get("8")), (Some(&0), None));
        assert!((0..5_000).all(|n| copy.get(&*n.to_string()) == Some(&n)));
        assert!(map.pieces.iter().all(|piece| piece.len() < 4 * FULL));
    }
}
