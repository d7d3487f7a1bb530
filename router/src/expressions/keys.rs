//! What an expression demands of the host and the path, to find it by.

use atc_router::ast::{BinaryOperator, Expression, LogicalExpression, Predicate, Value};

use super::PATH;
use crate::hosts::{Bucket, NamePattern};
use crate::pattern::leading_literal;

/// How many keys an expression has at the most. One that would have more is found by fewer, or by
/// every request.
const KEYS_MAX: usize = 1_000;

/// What an expression demands of host and path: where it holds, one of these is met. None is met
/// by what can never hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys(Vec<HostAndPath>);

/// A demand on the host, or for streams the server name, and on the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostAndPath {
    /// None is demanded nothing.
    host: Option<NamePattern>,
    /// What the path starts with.
    pub(super) path: Box<str>,
}

impl HostAndPath {
    pub(super) fn host(&self) -> Bucket<'_> {
        self.host.as_ref().map_or(Bucket::Any, NamePattern::bucket)
    }

    fn is_all(&self) -> bool {
        self.host() == Bucket::Any && self.path.is_empty()
    }

    /// What both demand; none if nothing can meet both.
    fn and(&self, other: &HostAndPath) -> Option<HostAndPath> {
        let host = match (&self.host, &other.host) {
            (None, host) | (host, None) => host,
            (own @ Some(NamePattern::Exact(a)), Some(NamePattern::Exact(b))) => {
                if a != b {
                    return None;
                }
                own
            }
            (_, exact @ Some(NamePattern::Exact(_))) => exact,
            (own, _) => own,
        };
        let (long, short) = match self.path.len() < other.path.len() {
            true => (&other.path, &self.path),
            false => (&self.path, &other.path),
        };
        let path = long.starts_with(&**short).then(|| long.clone())?;
        Some(HostAndPath { host: host.clone(), path })
    }
}

impl Keys {
    pub(super) fn of(expression: &Expression, stream: bool) -> Keys {
        let host = if stream { "tls.sni" } else { "http.host" };
        Keys(of(expression, host))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HostAndPath> {
        self.0.iter()
    }
}

fn all() -> Vec<HostAndPath> {
    vec![HostAndPath { host: None, path: Box::default() }]
}

fn of(expression: &Expression, host: &str) -> Vec<HostAndPath> {
    match expression {
        Expression::Predicate(predicate) => vec![of_predicate(predicate, host)],
        Expression::Logical(logical) => match &**logical {
            LogicalExpression::And(a, b) => both(of(a, host), of(b, host)),
            LogicalExpression::Or(a, b) => either(of(a, host), of(b, host)),
            LogicalExpression::Not(_) => all(),
        },
    }
}

fn both(a: Vec<HostAndPath>, b: Vec<HostAndPath>) -> Vec<HostAndPath> {
    if a.len().saturating_mul(b.len()) > KEYS_MAX {
        // Each alone is demanded too.
        let is_worse = a.iter().any(HostAndPath::is_all) || a.len() > b.len();
        return if is_worse && !b.iter().any(HostAndPath::is_all) { b } else { a };
    }
    let met = a.iter().flat_map(|a| b.iter().filter_map(|b| a.and(b)));
    let mut keys = Vec::new();
    for key in met {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn either(mut a: Vec<HostAndPath>, b: Vec<HostAndPath>) -> Vec<HostAndPath> {
    a.extend(b);
    if a.len() > KEYS_MAX || a.iter().any(HostAndPath::is_all) { all() } else { a }
}

/// Of the host and the path there is one value each, so that `any()` changes nothing.
fn of_predicate(predicate: &Predicate, host: &str) -> HostAndPath {
    let mut key = HostAndPath { host: None, path: Box::default() };
    let (lower, _) = predicate.lhs.get_transformations();
    if lower {
        return key;
    }
    let name = predicate.lhs.var_name.as_str();
    match (&predicate.op, &predicate.rhs) {
        (BinaryOperator::Equals | BinaryOperator::Prefix, Value::String(text)) if name == PATH => {
            key.path = text.as_str().into();
        }
        (BinaryOperator::Regex, Value::Regex(regex)) if name == PATH => {
            let hir = regex_syntax::parse(regex.as_str());
            key.path = hir.map_or_else(|_| String::new(), |hir| leading_literal(&hir)).into();
        }
        (op, Value::String(text)) if name == host => {
            let text: Box<str> = text.as_str().into();
            key.host = match op {
                BinaryOperator::Equals => Some(NamePattern::Exact(text)),
                BinaryOperator::Prefix => Some(NamePattern::Prefix(text)),
                BinaryOperator::Postfix => Some(NamePattern::Suffix(text)),
                _ => None,
            };
        }
        _ => {}
    }
    key
}

#[cfg(test)]
mod tests {
    use atc_router::parser::parse;

    use super::*;

    fn check(expression: &str, expect: &[(&str, &str)]) {
        let keys = Keys::of(&parse(expression).expect("an expression"), false);
        let shown = |key: &HostAndPath| {
            let host = match key.host() {
                Bucket::Exact(name) => name.to_owned(),
                Bucket::Suffix(name) => format!("*{name}"),
                Bucket::Prefix(name) => format!("{name}*"),
                Bucket::Any => String::new(),
            };
            (host, key.path.to_string())
        };
        let keys: Vec<_> = keys.iter().map(shown).collect();
        let keys: Vec<_> = keys.iter().map(|(host, path)| (&**host, &**path)).collect();
        assert_eq!(keys, expect, "{expression}");
    }

    #[test]
    fn what_is_demanded_is_found() {
        check(r#"http.path ^= "/a""#, &[("", "/a")]);
        check(r#"http.path == "/a" && http.host == "h""#, &[("h", "/a")]);
        check(r#"http.path ~ "^/a/[0-9]+" && http.host =^ ".h""#, &[("*.h", "/a/")]);
        check(r#"http.path ~ "/a" && http.host ^= "h.""#, &[("h.*", "")]);
        check(
            r#"(http.host == "a" || http.host == "b") && http.path ^= "/x""#,
            &[("a", "/x"), ("b", "/x")],
        );
        check(r#"http.path ^= "/a" || http.method == "GET""#, &[("", "")]);
        check(r#"http.path ^= "/a" && http.path == "/a/b""#, &[("", "/a/b")]);
        check(r#"!(http.path == "/a") && http.method == "GET""#, &[("", "")]);
        check(r#"lower(http.path) == "/a" && http.host =^ "h""#, &[("", "")]);
    }

    #[test]
    fn what_can_never_hold_is_never_found() {
        check(r#"http.host == "a" && http.host == "b""#, &[]);
        check(r#"http.path ^= "/a" && http.path ^= "/b""#, &[]);
    }

    #[test]
    fn keys_have_a_limit() {
        let any = |field: &str, count: usize| {
            let parts: Vec<_> = (0..count).map(|n| format!(r#"{field} == "/{n}""#)).collect();
            parts.join(" || ")
        };
        check(&any("http.path", 1_001), &[("", "")]);
        let keys = |text: &str| Keys::of(&parse(text).expect("an expression"), false).0.len();
        assert_eq!(keys(&any("http.path", 900)), 900);
        let product = format!("({}) && ({})", any("http.path", 100), any("http.host", 50));
        assert_eq!(keys(&product), 50);
    }
}
