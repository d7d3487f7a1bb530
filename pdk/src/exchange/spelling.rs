//! How plugins write the names of headers.

use http::{HeaderMap, HeaderName};

/// How plugins write the names of the headers that they add. Names mean the same in any case, but
/// there are servers that care, and Kong writes a name as the plugin or its configuration has it.
/// One that is not here is written as it came, or else with a capital at the start and after
/// each hyphen.
#[derive(Debug, Clone, Default)]
pub struct Spelling(Vec<Box<str>>);

impl Spelling {
    /// How a name is written of which nobody has said anything.
    pub fn usual(name: &str) -> String {
        let mut starts = true;
        let letter = |letter: char| {
            let shown = if starts { letter.to_ascii_uppercase() } else { letter };
            starts = letter == '-';
            shown
        };
        name.chars().map(letter).collect()
    }

    /// Says how a header will be written that is about to be put among `headers`. One that is
    /// there already keeps its name, as in nginx.
    pub fn add(&mut self, headers: &HeaderMap, name: &HeaderName, given: &str) {
        let is_known = || self.0.iter().any(|known| known.eq_ignore_ascii_case(given));
        if (!is_usual(given) || is_known()) && !headers.contains_key(name) {
            self.put(given);
        }
    }

    /// The same of a header that is written as is usual.
    pub fn add_usual(&mut self, headers: &HeaderMap, name: &HeaderName) {
        self.add(headers, name, &Spelling::usual(name.as_str()));
    }

    /// Says that a header is to be taken away: what comes under its name is written anew.
    pub fn remove(&mut self, headers: &HeaderMap, name: &HeaderName) {
        if headers.contains_key(name) {
            self.put(&Spelling::usual(name.as_str()));
        }
    }

    /// Says how a header is written, whatever it was before.
    pub fn put(&mut self, given: &str) {
        match self.0.iter_mut().find(|known| known.eq_ignore_ascii_case(given)) {
            Some(known) if **known == *given => {}
            Some(known) => *known = given.into(),
            None => self.0.push(given.into()),
        }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was said: each name once.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// Whether a name has capitals at the start and after hyphens, and nowhere else.
pub(crate) fn is_usual(name: &str) -> bool {
    let mut starts = true;
    name.bytes().all(|byte| {
        let fits = if starts { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() };
        starts = byte == b'-';
        fits
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_last_word_counts() {
        let mut headers = HeaderMap::new();
        let mut spelling = Spelling::default();
        let mut check = |step: &str, given: &str, expect: &str| {
            let name = HeaderName::try_from(given).unwrap();
            match step {
                "add" => {
                    spelling.add(&headers, &name, given);
                    headers.insert(name, HeaderValue::from_static("1"));
                }
                "remove" => {
                    spelling.remove(&headers, &name);
                    headers.remove(name);
                }
                _ => spelling.put(given),
            }
            assert_eq!(spelling.iter().collect::<Vec<_>>().join(" "), expect, "{step} {given}");
        };
        check("add", "X-Usual", "");
        check("add", "X-API-key", "X-API-key");
        check("add", "x-api-KEY", "X-API-key");
        check("remove", "x-api-key", "X-Api-Key");
        check("add", "x-api-key", "x-api-key");
        check("remove", "x-none", "x-api-key");
        check("add", "X-More", "x-api-key");
        check("put", "X-USUAL", "x-api-key X-USUAL");
    }
}
