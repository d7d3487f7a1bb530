//! A list in two layers: a base that snapshots share, and few items that came or changed since.
//! Positions go through both.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use uuid::Uuid;

pub(crate) struct Layers<T> {
    base: Arc<Base<T>>,
    recent: Vec<T>,
    /// The positions of the recent ones, by id.
    places: HashMap<Uuid, u32>,
    /// Positions in the base of what is not there any more, or stands among the recent ones.
    stale: HashSet<u32>,
}

struct Base<T> {
    items: Vec<T>,
    positions: HashMap<Uuid, u32>,
}

impl<T> Default for Layers<T> {
    fn default() -> Layers<T> {
        Layers::new(Vec::new(), |_| Uuid::nil())
    }
}

impl<T> Layers<T> {
    /// A base of these.
    pub(crate) fn new(items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Layers<T> {
        let positions = (0..).zip(&items).map(|(at, item)| (id(item), at)).collect();
        let base = Arc::new(Base { items, positions });
        Layers { base, recent: Vec::new(), places: HashMap::new(), stale: HashSet::new() }
    }

    pub(crate) fn get(&self, position: u32) -> Option<&T> {
        let position = position as usize;
        match position.checked_sub(self.base.items.len()) {
            None => self.base.items.get(position),
            Some(at) => self.recent.get(at),
        }
    }

    /// How many positions there are.
    pub(crate) fn len(&self) -> usize {
        self.base.items.len() + self.recent.len()
    }

    pub(crate) fn recent(&self) -> &[T] {
        &self.recent
    }

    pub(crate) fn recent_mut(&mut self) -> &mut [T] {
        &mut self.recent
    }

    pub(crate) fn stale(&self) -> &HashSet<u32> {
        &self.stale
    }

    /// All that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let base = (0..).zip(&self.base.items).filter(|(at, _)| !self.stale.contains(at));
        base.map(|(_, item)| item).chain(&self.recent)
    }

    /// The position of the item of this id.
    pub(crate) fn position(&self, id: Uuid) -> Option<u32> {
        let of_base = || self.base.positions.get(&id).filter(|at| !self.stale.contains(at));
        self.places.get(&id).or_else(of_base).copied()
    }
}

impl<T: Clone> Layers<T> {
    /// The same without the items of these ids, and with others after the rest.
    pub(crate) fn with(
        &self,
        without: &HashSet<Uuid>,
        id_of: impl Fn(&T) -> Uuid,
        new: impl IntoIterator<Item = T>,
    ) -> Layers<T> {
        let mut stale = self.stale.clone();
        stale.extend(without.iter().filter_map(|id| self.base.positions.get(id)));
        let kept = self.recent.iter().filter(|item| !without.contains(&id_of(item)));
        let recent: Vec<T> = kept.cloned().chain(new).collect();
        let first = u32::try_from(self.base.items.len()).unwrap_or(u32::MAX);
        let places = (first..).zip(&recent).map(|(at, item)| (id_of(item), at)).collect();
        Layers { base: Arc::clone(&self.base), recent, places, stale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item = (u128, &'static str);

    fn id(item: &Item) -> Uuid {
        Uuid::from_u128(item.0)
    }

    #[test]
    fn layers_are_one_list() {
        let base = Layers::new(vec![(1, "a"), (2, "b"), (3, "c")], id);
        let gone = |ids: &[u128]| ids.iter().map(|id| Uuid::from_u128(*id)).collect();
        let changed = base.with(&gone(&[2, 4]), id, [(2, "B"), (4, "d")]);
        let again = changed.with(&gone(&[1, 4]), id, [(4, "D")]);
        let check = |layers: &Layers<Item>, expect: &[Item]| {
            assert_eq!(layers.iter().copied().collect::<Vec<_>>(), expect);
            for item in expect {
                let at = layers.position(id(item)).expect("a position");
                assert_eq!(layers.get(at), Some(item));
            }
        };
        check(&base, &[(1, "a"), (2, "b"), (3, "c")]);
        check(&changed, &[(1, "a"), (3, "c"), (2, "B"), (4, "d")]);
        check(&again, &[(3, "c"), (2, "B"), (4, "D")]);
        assert_eq!(again.position(Uuid::from_u128(1)), None);
        assert_eq!((again.len(), again.recent().len(), again.stale().len()), (5, 2, 2));
    }
}
