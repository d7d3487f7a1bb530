//! Whom keys belong to: a worker remembers what it has looked up and made ready for the upstream,
//! as long as no consumer and no key changes.

use std::{collections::HashMap, rc::Rc};

use foldhash::quality::RandomState;
use silverback_pdk::Edition;

use crate::identity::Identity;

/// How many are remembered at the most: a few hundred bytes each.
const MOST: usize = 2_048;

/// Holders by key, all of one edition of the entities.
#[derive(Debug, Default)]
pub(super) struct Holders {
    edition: Edition,
    by_key: HashMap<String, Rc<Identity>, RandomState>,
}

impl Holders {
    /// Who holds a key in this edition, if it is remembered.
    pub(super) fn get(&self, edition: Edition, key: &str) -> Option<&Rc<Identity>> {
        if edition == self.edition { self.by_key.get(key) } else { None }
    }

    /// Remembers who holds a key, and no longer those of older editions. When there are too many,
    /// all begin anew.
    pub(super) fn keep(&mut self, edition: Edition, key: String, holder: Identity) {
        if edition < self.edition {
            return;
        }
        if edition != self.edition || self.by_key.len() >= MOST {
            self.by_key.clear();
        }
        self.edition = edition;
        self.by_key.insert(key, Rc::new(holder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_of_the_newest_edition_that_was_met() {
        let mut holders = Holders::default();
        let mut keep = |edition, key: &str, known: [(Edition, &str, bool); 3]| {
            holders.keep(edition, key.to_owned(), Identity::of(None, None, "id"));
            for (edition, key, expect) in known {
                assert_eq!(holders.get(edition, key).is_some(), expect, "{edition:?} {key}");
            }
        };
        let (old, new, newest) = (Edition(1, 5), Edition(1, 6), Edition(2, 0));
        keep(old, "a", [(old, "a", true), (new, "a", false), (old, "b", false)]);
        keep(new, "b", [(old, "a", false), (new, "a", false), (new, "b", true)]);
        keep(old, "a", [(old, "a", false), (new, "a", false), (new, "b", true)]);
        keep(newest, "c", [(newest, "b", false), (new, "b", false), (newest, "c", true)]);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut holders = Holders::default();
        for number in 0..3 * MOST {
            holders.keep(Edition(1, 0), number.to_string(), Identity::of(None, None, "id"));
            assert!(holders.by_key.len() <= MOST);
        }
    }
}
