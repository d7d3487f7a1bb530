//! How the other side writes the names of its headers.

use bytes::Bytes;

/// The names of a head's headers as they came. Names mean the same in any case, but there are
/// clients and servers that care: what passes through keeps its own.
#[derive(Debug, Clone, Default)]
pub struct Names {
    head: Bytes,
    /// Where each starts, and how long it is.
    at: Vec<(u32, u32)>,
    /// A bit for each length that occurs: most names that are not here are known by it.
    lengths: u64,
    /// How others write names, which counts before how they came.
    own: Vec<Box<str>>,
}

impl Names {
    pub(crate) fn new(head: Bytes) -> Names {
        Names { head, at: Vec::with_capacity(16), lengths: 0, own: Vec::new() }
    }

    pub(crate) fn push(&mut self, start: usize, len: usize) {
        // Heads are far smaller than 4 GiB; what were not would lose its spelling, no more.
        if let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) {
            self.at.push((start, len));
            self.lengths |= 1 << (len & 63);
        }
    }

    /// Writes names as `own` has them, however they came.
    pub fn respell<'a>(&mut self, own: impl Iterator<Item = &'a str>) {
        self.own.extend(own.map(Box::from));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// How `name` was written, if it was there. `next` is where to look first: headers mostly
    /// leave in the order in which they came.
    pub(crate) fn spelling(&self, name: &str, next: &mut usize) -> Option<&[u8]> {
        if let Some(own) = self.own.iter().find(|own| is(own.as_bytes(), name)) {
            return Some(own.as_bytes());
        }
        if self.lengths & (1 << (name.len() & 63)) == 0 {
            return None;
        }
        let here = self.text(*next).filter(|text| is(text, name));
        let found = here.map(|text| (*next, text)).or_else(|| {
            let mut places = (*next + 1..self.at.len()).chain(0..*next);
            places.find_map(|at| Some((at, self.text(at).filter(|text| is(text, name))?)))
        });
        let (at, text) = found?;
        *next = at + 1;
        Some(text)
    }

    fn text(&self, at: usize) -> Option<&[u8]> {
        let (start, len) = *self.at.get(at)?;
        self.head.get(start as usize..(start + len) as usize)
    }
}

fn is(text: &[u8], name: &str) -> bool {
    text.len() == name.len() && text.eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_order() {
        let mut names = Names::new(Bytes::from_static(b"X-aB: 1\r\nhOST: a\r\nx-Ab: 2\r\n"));
        for start in [0, 9, 18] {
            names.push(start, 4);
        }
        let mut next = 0;
        let mut check = |name, expect: Option<&str>| {
            assert_eq!(names.spelling(name, &mut next), expect.map(str::as_bytes), "{name}");
        };
        check("x-ab", Some("X-aB"));
        check("x-ab", Some("x-Ab"));
        check("host", Some("hOST"));
        check("none", None);
        check("x-ab", Some("x-Ab"));
    }

    #[test]
    fn the_word_of_others_counts_first() {
        let mut names = Names::new(Bytes::from_static(b"X-aB: 1\r\n"));
        names.push(0, 4);
        names.respell(["X-AB", "New"].into_iter());
        for (name, expect) in [("x-ab", Some("X-AB")), ("new", Some("New")), ("none", None)] {
            assert_eq!(names.spelling(name, &mut 0), expect.map(str::as_bytes), "{name}");
        }
    }
}
