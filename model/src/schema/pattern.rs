//! Lua patterns, in which Kong's schemas write `match` (Lua 5.1 reference manual, §5.4.1).

use std::fmt;

/// The most steps that one search may take; a pattern that needs more counts as not found.
const STEPS_MAX: u32 = 200_000;

/// The deepest nesting of alternatives being tried.
const DEPTH_MAX: u32 = 200;

/// The most groups in a pattern.
const CAPTURES_MAX: usize = 32;

/// A Lua pattern that is well formed.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text is no Lua pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It ends with `%`.
    #[error("malformed pattern (ends with '%')")]
    EndsWithEscape,
    /// A set has no end.
    #[error("malformed pattern (missing ']')")]
    OpenSet,
    /// `%b` without its two characters.
    #[error("malformed pattern (missing arguments to '%b')")]
    Balance,
    /// `%f` without a set.
    #[error("missing '[' after '%f' in pattern")]
    Frontier,
    /// A group without its beginning or end.
    #[error("unfinished or unopened capture in pattern")]
    Capture,
    /// More groups than can be kept.
    #[error("too many captures in pattern")]
    TooManyCaptures,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.0)
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn new(pattern: &str) -> Result<Pattern, PatternError> {
        verify(pattern.as_bytes())?;
        Ok(Pattern(pattern.to_owned()))
    }

    /// A pattern that is never found.
    pub(crate) fn never() -> Pattern {
        Pattern("[^%s%S]".to_owned())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is found in the text.
    pub fn is_match(&self, text: &str) -> bool {
        let (anchored, pattern) = match self.0.as_bytes() {
            [b'^', rest @ ..] => (true, rest),
            whole => (false, whole),
        };
        let mut search =
            Search { text: text.as_bytes(), pattern, captures: Vec::new(), steps: STEPS_MAX };
        for start in 0..=text.len() {
            search.captures.clear();
            if search.matches(start, 0, DEPTH_MAX).is_some() {
                return true;
            }
            if anchored || search.steps == 0 {
                return false;
            }
        }
        false
    }
}

/// Walks a pattern once, so that searches need not look for malformed ones.
fn verify(pattern: &[u8]) -> Result<(), PatternError> {
    let mut at = usize::from(pattern.first() == Some(&b'^'));
    let (mut open, mut count) = (0_usize, 0_usize);
    while let Some(&c) = pattern.get(at) {
        match c {
            b'(' => {
                count += 1;
                if count > CAPTURES_MAX {
                    return Err(PatternError::TooManyCaptures);
                }
                let position = pattern.get(at + 1) == Some(&b')');
                open += usize::from(!position);
                at += 1 + usize::from(position);
            }
            b')' => {
                open = open.checked_sub(1).ok_or(PatternError::Capture)?;
                at += 1;
            }
            b'%' => match pattern.get(at + 1) {
                None => return Err(PatternError::EndsWithEscape),
                Some(b'b') if pattern.len() < at + 4 => return Err(PatternError::Balance),
                Some(b'b') => at += 4,
                Some(b'f') if pattern.get(at + 2) != Some(&b'[') => {
                    return Err(PatternError::Frontier);
                }
                Some(b'f') => at = set_end(pattern, at + 2)?,
                Some(digit) if digit.is_ascii_digit() => {
                    if *digit == b'0' || usize::from(digit - b'0') > count {
                        return Err(PatternError::Capture);
                    }
                    at += 2;
                }
                Some(_) => at += 2,
            },
            b'[' => at = set_end(pattern, at)?,
            _ => at += 1,
        }
    }
    if open == 0 { Ok(()) } else { Err(PatternError::Capture) }
}

/// The position behind the set that begins at `start`.
fn set_end(pattern: &[u8], start: usize) -> Result<usize, PatternError> {
    let mut at = start + 1;
    at += usize::from(pattern.get(at) == Some(&b'^'));
    // A bracket right at the start stands for itself.
    let first = at;
    loop {
        match pattern.get(at) {
            None => return Err(PatternError::OpenSet),
            Some(b']') if at > first => return Ok(at + 1),
            Some(b'%') => {
                pattern.get(at + 1).ok_or(PatternError::EndsWithEscape)?;
                at += 2;
            }
            Some(_) => at += 1,
        }
    }
}

#[derive(Clone, Copy)]
struct Capture {
    start: usize,
    /// The end, once the group is closed.
    end: Option<usize>,
}

struct Search<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: Vec<Capture>,
    steps: u32,
}

impl Search<'_> {
    /// The end of a match of the pattern from `p` on, at `s` of the text.
    fn matches(&mut self, mut s: usize, mut p: usize, depth: u32) -> Option<usize> {
        let depth = depth.checked_sub(1)?;
        loop {
            self.steps = self.steps.checked_sub(1)?;
            let Some(&c) = self.pattern.get(p) else { return Some(s) };
            match (c, self.pattern.get(p + 1)) {
                (b'(', _) => return self.open(s, p, depth),
                (b')', _) => return self.close(s, p + 1, depth),
                (b'$', None) => return (s == self.text.len()).then_some(s),
                (b'%', Some(b'b')) => {
                    s = self.balanced(s, p + 2)?;
                    p += 4;
                    continue;
                }
                (b'%', Some(b'f')) => {
                    let end = set_end(self.pattern, p + 2).ok()?;
                    let set = self.pattern.get(p + 2..end)?;
                    let before = s.checked_sub(1).and_then(|i| self.text.get(i)).copied();
                    let here = self.text.get(s).copied();
                    if in_set(before.unwrap_or(0), set) || !in_set(here.unwrap_or(0), set) {
                        return None;
                    }
                    p = end;
                    continue;
                }
                (b'%', Some(digit)) if digit.is_ascii_digit() => {
                    s = self.repeated(s, usize::from(digit - b'1'))?;
                    p += 2;
                    continue;
                }
                _ => {}
            }
            let end = self.single_end(p)?;
            match self.pattern.get(end) {
                Some(b'?') => {
                    if self.single(s, p, end)
                        && let Some(found) = self.kept(s + 1, end + 1, depth)
                    {
                        return Some(found);
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.longest(s, p, end, depth),
                Some(b'+') => {
                    return if self.single(s, p, end) {
                        self.longest(s + 1, p, end, depth)
                    } else {
                        None
                    };
                }
                Some(b'-') => return self.shortest(s, p, end, depth),
                _ if self.single(s, p, end) => {
                    s += 1;
                    p = end;
                }
                _ => return None,
            }
        }
    }

    /// A match whose groups are forgotten if it fails.
    fn kept(&mut self, s: usize, p: usize, depth: u32) -> Option<usize> {
        let before = self.captures.clone();
        let found = self.matches(s, p, depth);
        if found.is_none() {
            self.captures = before;
        }
        found
    }

    fn open(&mut self, s: usize, p: usize, depth: u32) -> Option<usize> {
        let position = self.pattern.get(p + 1) == Some(&b')');
        let end = position.then_some(s);
        self.captures.push(Capture { start: s, end });
        let found = self.matches(s, p + 1 + usize::from(position), depth);
        if found.is_none() {
            self.captures.pop();
        }
        found
    }

    fn close(&mut self, s: usize, p: usize, depth: u32) -> Option<usize> {
        let i = self.captures.iter().rposition(|capture| capture.end.is_none())?;
        self.captures.get_mut(i)?.end = Some(s);
        let found = self.matches(s, p, depth);
        if found.is_none()
            && let Some(capture) = self.captures.get_mut(i)
        {
            capture.end = None;
        }
        found
    }

    /// The end of what group `i` found, found again at `s`.
    fn repeated(&self, s: usize, i: usize) -> Option<usize> {
        let capture = self.captures.get(i)?;
        let again = self.text.get(capture.start..capture.end?)?;
        self.text.get(s..)?.starts_with(again).then_some(s + again.len())
    }

    /// The end of a balanced text at `s`, between the two characters at `p`.
    fn balanced(&mut self, s: usize, p: usize) -> Option<usize> {
        let (open, close) = (*self.pattern.get(p)?, *self.pattern.get(p + 1)?);
        if self.text.get(s) != Some(&open) {
            return None;
        }
        let mut level = 1_usize;
        for (i, &c) in self.text.iter().enumerate().skip(s + 1) {
            self.steps = self.steps.checked_sub(1)?;
            if c == close {
                level -= 1;
                if level == 0 {
                    return Some(i + 1);
                }
            } else if c == open {
                level += 1;
            }
        }
        None
    }

    fn longest(&mut self, s: usize, p: usize, end: usize, depth: u32) -> Option<usize> {
        let mut count = 0;
        while self.single(s + count, p, end) {
            count += 1;
            self.steps = self.steps.checked_sub(1)?;
        }
        loop {
            if let Some(found) = self.kept(s + count, end + 1, depth) {
                return Some(found);
            }
            count = count.checked_sub(1)?;
        }
    }

    fn shortest(&mut self, mut s: usize, p: usize, end: usize, depth: u32) -> Option<usize> {
        loop {
            if let Some(found) = self.kept(s, end + 1, depth) {
                return Some(found);
            }
            if !self.single(s, p, end) {
                return None;
            }
            s += 1;
        }
    }

    /// The position behind the class at `p`.
    fn single_end(&self, p: usize) -> Option<usize> {
        match self.pattern.get(p)? {
            b'%' => Some(p + 2),
            b'[' => set_end(self.pattern, p).ok(),
            _ => Some(p + 1),
        }
    }

    /// Whether the character at `s` is of the class from `p` to `end`.
    fn single(&self, s: usize, p: usize, end: usize) -> bool {
        let (Some(&c), Some(class)) = (self.text.get(s), self.pattern.get(p..end)) else {
            return false;
        };
        match class {
            [b'.'] => true,
            [b'%', class] => in_class(c, *class),
            [b'[', ..] => in_set(c, class),
            [literal] => *literal == c,
            _ => false,
        }
    }
}

/// Whether `c` is of the set, brackets included.
fn in_set(c: u8, set: &[u8]) -> bool {
    let Some(inside) = set.get(1..set.len().saturating_sub(1)) else { return false };
    let (wanted, mut rest) = match inside {
        [b'^', rest @ ..] => (false, rest),
        rest => (true, rest),
    };
    loop {
        rest = match rest {
            [] => return !wanted,
            [b'%', class, rest @ ..] => {
                if in_class(c, *class) {
                    return wanted;
                }
                rest
            }
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&c) {
                    return wanted;
                }
                rest
            }
            [literal, rest @ ..] => {
                if *literal == c {
                    return wanted;
                }
                rest
            }
        };
    }
}

/// Whether `c` is of the class `%class`; an upper-case letter is the complement.
fn in_class(c: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => c.is_ascii_alphabetic(),
        b'c' => c.is_ascii_control(),
        b'd' => c.is_ascii_digit(),
        b'g' => c.is_ascii_graphic(),
        b'l' => c.is_ascii_lowercase(),
        b'p' => c.is_ascii_punctuation(),
        b's' => c.is_ascii_whitespace() || c == 0x0b,
        b'u' => c.is_ascii_uppercase(),
        b'w' => c.is_ascii_alphanumeric(),
        b'x' => c.is_ascii_hexdigit(),
        b'z' => c == 0,
        _ => return class == c,
    };
    found != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let found = Pattern::new(pattern).expect(pattern);
        for text in yes {
            assert!(found.is_match(text), "{pattern} is in {text:?}");
        }
        for text in no {
            assert!(!found.is_match(text), "{pattern} is not in {text:?}");
        }
    }

    #[test]
    fn patterns_of_schemas() {
        check("^%u+$", &["GET", "A"], &["get", "", "GET1"]);
        check("^[^*]*%*?[^*]*$", &["a.b", "*.b", "a*b", ""], &["*a*"]);
        check("^%*%.", &["*.a"], &["*a", "a*."]);
        check("%.%*$", &["a.*"], &["a.*.b"]);
        check("//", &["/a//b"], &["/a/b"]);
        check("^[a-z][a-z%d-]-[a-z%d]+$", &["my-env", "ab", "a-1"], &["a", "-a", "a-", "A1"]);
        check("^%d+[%.%d]*%-?.*$", &["3.10.0-rc"], &["x"]);
        check("^[0-9]+-[0-9]+$", &["100-200"], &["100", "1-"]);
        check("%w*%p*@+%w*%.?%w*", &["me@example.com"], &["none"]);
        check("^[^%s*&%%\\`][^*&%%\\`]*[^%s*&%%\\`]$", &["my.log"], &[" a", "a%b"]);
    }

    #[test]
    fn everything_else() {
        check("(a*(.)%w(%s*))", &["aab x"], &["!"]);
        check("^(.)%1$", &["aa"], &["ab"]);
        check("^%b()$", &["(a(b)c)"], &["(a(b)"]);
        check("%f[%w]end%f[%W]", &["the end."], &["bend", "ends"]);
        check("^[]]$", &["]"], &["["]);
        check("^[^]]$", &["a"], &["]"]);
        check("^a.-b$", &["ab", "axxb"], &["a"]);
        check("()", &[""], &[]);
        check("^[%]]$", &["]"], &["%"]);
        check("^[a-]$", &["a", "-"], &["b"]);
        check("a$b", &["a$b"], &["ab"]);
    }

    #[test]
    fn malformed() {
        for (pattern, error) in [
            ("%", PatternError::EndsWithEscape),
            ("[a", PatternError::OpenSet),
            ("%b(", PatternError::Balance),
            ("%fa", PatternError::Frontier),
            ("(a", PatternError::Capture),
            ("a)", PatternError::Capture),
            ("%1", PatternError::Capture),
        ] {
            assert_eq!(Pattern::new(pattern), Err(error), "{pattern}");
        }
    }

    #[test]
    fn searches_end() {
        let text = "a".repeat(5000);
        check(&format!("{}b", "a*".repeat(20)), &[], &[&text]);
    }
}
