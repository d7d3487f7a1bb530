//! The path patterns of routes: prefixes and regular expressions.

use std::sync::{Arc, OnceLock};

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::lookup::Captures;
use crate::router::{Flavor, Problem};

/// A path of a route. Copies share the regular expression, compiled or not yet.
#[derive(Debug, Clone)]
pub(crate) enum PathPattern {
    /// None is demanded.
    Any,
    /// The path starts with this.
    Prefix(Arc<str>),
    /// The path matches this.
    Regex(Arc<PathRegex>),
}

/// The part of a path that a pattern matched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl PathPattern {
    /// Compiles a route's path: `~` makes it a regular expression, None demands nothing.
    pub(crate) fn compile(path: Option<&str>, flavor: Flavor) -> Result<PathPattern, Problem> {
        let Some(path) = path else { return Ok(PathPattern::Any) };
        match path.strip_prefix('~') {
            None => Ok(PathPattern::Prefix(path.into())),
            Some(pattern) => match PathRegex::compile(pattern, flavor) {
                Ok(regex) => Ok(PathPattern::Regex(Arc::new(regex))),
                Err(reason) => Err(Problem::Regex { pattern: path.to_owned(), reason }),
            },
        }
    }

    /// What every path that matches starts with.
    pub(crate) fn literal(&self) -> &str {
        match self {
            PathPattern::Any => "",
            PathPattern::Prefix(text) => text,
            PathPattern::Regex(regex) => &regex.literal,
        }
    }

    /// The part of a path that matches, given that the path starts with the literal.
    pub(crate) fn find(&self, path: &str) -> Option<Span> {
        match self {
            PathPattern::Any => Some(Span { start: 0, end: 0 }),
            PathPattern::Prefix(text) => Some(Span { start: 0, end: text.len() }),
            PathPattern::Regex(regex) => {
                regex.get()?.find(path).map(|m| Span { start: m.start(), end: m.end() })
            }
        }
    }

    /// The groups of a path that is known to match. None if there are none, or none took part.
    pub(crate) fn captures(&self, path: &str) -> Option<Box<Captures>> {
        let PathPattern::Regex(regex) = self else { return None };
        let regex = regex.get().filter(|regex| regex.captures_len() > 1)?;
        let found = regex.captures(path)?;
        let text = |group: regex::Match<'_>| group.as_str().to_owned();
        let unnamed: Vec<_> = found.iter().map(|group| group.map(text)).collect();
        unnamed.iter().skip(1).any(Option::is_some).then(|| {
            let names = regex.capture_names().flatten();
            let named = names.filter_map(|name| Some((name.to_owned(), text(found.name(name)?))));
            Box::new(Captures { named: named.collect(), unnamed })
        })
    }
}

/// A regular expression, known to be valid. It is compiled when it is first needed, once: ten
/// thousand of them take half a second and much memory, and most requests need few.
#[derive(Debug)]
pub(crate) struct PathRegex {
    pattern: Box<str>,
    compiled: OnceLock<Option<Regex>>,
    /// What every path that matches starts with; may be empty.
    literal: Box<str>,
}

/// Up to this size, by [`size`], a regex cannot come near the size limit of the regex crate, so
/// that compiling it later cannot fail.
const SMALL: usize = 50_000;

impl PathRegex {
    /// Checks a pattern, without its `~`. The error says what is wrong with it.
    fn compile(pattern: &str, flavor: Flavor) -> Result<PathRegex, String> {
        // `traditional_compatible` anchors the first branch of an alternation only, as Kong does.
        let anchored = match flavor {
            Flavor::Traditional => format!("^(?:{pattern})"),
            Flavor::TraditionalCompatible | Flavor::Expressions => format!("^{pattern}"),
        };
        let hir = regex_syntax::parse(&anchored).map_err(|error| error.to_string())?;
        let literal = leading_literal(&hir).into();
        let compiled = OnceLock::new();
        if size(&hir) > SMALL {
            let regex = Regex::new(&anchored).map_err(|error| error.to_string())?;
            compiled.get_or_init(|| Some(regex));
        }
        Ok(PathRegex { pattern: anchored.into(), compiled, literal })
    }

    fn get(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&self.pattern).ok()).as_ref()
    }
}

/// The text that everything that a regex matches starts with, at the start of the path. Empty
/// if there is none.
pub(crate) fn leading_literal(hir: &Hir) -> String {
    let HirKind::Concat(parts) = hir.kind() else { return String::new() };
    let mut parts = parts.iter().map(Hir::kind);
    if !matches!(parts.next(), Some(HirKind::Look(Look::Start))) {
        return String::new();
    }
    let literals = parts.map_while(|part| match part {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    });
    literals.collect()
}

/// Roughly how many states a regex compiles to, on the high side.
fn size(hir: &Hir) -> usize {
    /// A range of characters takes up to a few sequences of up to four bytes.
    const STATES_PER_RANGE: usize = 16;
    let sum = |parts: &[Hir]| parts.iter().map(size).fold(parts.len(), usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() * STATES_PER_RANGE,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Repetition(repeat) => {
            let times = repeat.max.unwrap_or(repeat.min).saturating_add(1);
            size(&repeat.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(group) => size(&group.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_start_with_literals() {
        let check = |pattern: &str, expect: &str| {
            let regex = PathRegex::compile(pattern, Flavor::TraditionalCompatible).unwrap();
            assert_eq!(&*regex.literal, expect, "{pattern}");
        };
        check(r"/users/\d+", "/users/");
        check("/a$", "/a");
        check("/caf[eé]", "/caf");
        check("/ab?c", "/a");
        check("/a|/b", "");
        check("(/a)/b", "");
        check("(?i)/a/b", "/");
        check("/(?i)a/b", "/");
        check(r"/a\.b/(c|d)", "/a.b/");
        check(".*", "");
        check("(?m)^/a", "");
    }

    #[test]
    fn branches_are_anchored_by_flavour() {
        let check = |flavor, path: &str, expect: Option<(usize, usize)>| {
            let pattern = PathPattern::compile(Some("~/a|/b"), flavor).unwrap();
            assert_eq!(pattern.find(path).map(|span| (span.start, span.end)), expect, "{path}");
        };
        check(Flavor::TraditionalCompatible, "/ab", Some((0, 2)));
        check(Flavor::TraditionalCompatible, "/c/b", Some((2, 4)));
        check(Flavor::Traditional, "/b", Some((0, 2)));
        check(Flavor::Traditional, "/c/b", None);
    }

    #[test]
    fn regexes_that_are_too_big_are_refused_at_once() {
        for pattern in [r"~/(\w{100}){100}", r"~/\w{100000}", "~/((a{1000}){1000}){1000}"] {
            let flavor = Flavor::default();
            assert!(PathPattern::compile(Some(pattern), flavor).is_err(), "{pattern}");
        }
    }

    #[test]
    fn small_regexes_compile() {
        // As many states as are left for later at all.
        let pattern = format!("~/{}", "[^a]".repeat(SMALL / 40));
        let Ok(PathPattern::Regex(regex)) = PathPattern::compile(Some(&pattern), Flavor::default())
        else {
            panic!("not a regex");
        };
        assert!(regex.compiled.get().is_none() && regex.get().is_some());
    }

    #[test]
    fn groups_are_captured() {
        let check = |pattern: &str, path: &str, expect: Option<(&[&str], &[&str])>| {
            let pattern = PathPattern::compile(Some(pattern), Flavor::default()).unwrap();
            let captures = pattern.captures(path).map(|captures| {
                let unnamed = captures.unnamed.into_iter();
                let named = captures.named.into_iter().map(|(name, text)| format!("{name}={text}"));
                (unnamed.map(|g| g.unwrap_or("-".into())).collect::<Vec<_>>(), named.collect())
            });
            let expect = expect.map(|(unnamed, named)| {
                let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
                (owned(unnamed), owned(named))
            });
            assert_eq!(captures, expect, "{path}");
        };
        check("/a", "/a/b", None);
        check(r"~/a/\d+", "/a/7", None);
        check(r"~/a/(?<id>\d+)/(\w*)", "/a/7//", Some((&["/a/7/", "7", ""], &["id=7"])));
        check("~/(x/)?(?P<rest>.+)$", "/é", Some((&["/é", "-", "é"], &["rest=é"])));
        check("~/(x)?", "/y", None);
    }
}
