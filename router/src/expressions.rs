//! The flavour `expressions`: routes whose condition is written in the router's own language. The
//! one with the highest priority whose expression holds wins. The language and what evaluates it
//! are those of the atc-router crate, which Kong uses too; which fields there are and what they
//! hold stands here (kong/router/{expressions,fields,transform}.lua), and so does the index that
//! finds the few expressions worth evaluating ([`keys`]).

mod fields;
mod keys;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use atc_router::ast::{BinaryOperator, Expression, Predicate, Value};
use atc_router::context::{Context, Match as Found};
use atc_router::interpreter::Execute;
use atc_router::parser::parse;
use atc_router::semantics::{FieldCounter, Validate};
use regex::Regex;
use silverback_model::entities::{Protocol, Route};
use uuid::Uuid;

use crate::buckets::{Buckets, Key};
use crate::lookup::{Captures, Lookup};
use crate::router::{Flavor, Problem};
use crate::schemes::Schemes;
use fields::Field;
use keys::Keys;

/// The field that captures and `strip_path` go by.
const PATH: &str = "http.path";

/// Whether an expression is valid for a route of requests or of streams.
///
/// # Errors
/// What is wrong with it, in the words of Kong's Admin API.
pub fn validate(expression: &str, protocols: &[Protocol]) -> Result<(), String> {
    let stream = protocols.first().is_some_and(|protocol| protocol.is_stream());
    parsed(expression, stream).map(drop)
}

fn parsed(expression: &str, stream: bool) -> Result<Expression, String> {
    let parsed = parse(&spaced(&amended(expression))).map_err(|error| error.to_string())?;
    parsed.validate(fields::schema(stream))?;
    named(&parsed).keys().try_for_each(|name| Field::parse(name).map(drop))?;
    Ok(parsed)
}

/// The names of the fields that an expression looks at, each with how often it does.
fn named(expression: &Expression) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    expression.add_to_counter(&mut names);
    names
}

/// A route with an expression. Copies share what is large.
#[derive(Clone)]
pub(crate) struct Rule {
    /// The position of the route.
    pub(crate) route: u32,
    /// Its priority, and its id; the greater goes first.
    place: (u64, Uuid),
    /// Whether what matched is cut off.
    strip: bool,
    schemes: Schemes,
    /// What it demands, where that is no more than a path and the index has looked at it.
    path: Option<PathOnly>,
    expression: Arc<Expression>,
}

/// An expression that is a single condition on the path: `http.path ^= "/text"`, or `==`. The index
/// finds it by that very text, so that it need not be evaluated.
#[derive(Debug, Clone, Copy)]
struct PathOnly {
    /// The length of the text.
    length: usize,
    /// Whether the path has to end with it.
    whole: bool,
}

impl PathOnly {
    fn of(expression: &Expression) -> Option<PathOnly> {
        let Expression::Predicate(Predicate { lhs, rhs: Value::String(text), op }) = expression
        else {
            return None;
        };
        let whole = match op {
            BinaryOperator::Prefix => false,
            BinaryOperator::Equals => true,
            _ => return None,
        };
        let is_path = lhs.var_name == PATH && lhs.transformations.is_empty();
        is_path.then_some(PathOnly { length: text.len(), whole })
    }

    /// What is matched of a path that starts with the text, if anything is.
    fn find(self, path: &str) -> Option<&str> {
        let matched = path.get(..self.length)?;
        (!self.whole || matched.len() == path.len()).then_some(matched)
    }
}

impl Rule {
    /// Compiles a route; `expression` is its own.
    pub(crate) fn compile(
        position: u32,
        route: &Route,
        stream: bool,
        expression: &str,
    ) -> Result<Rule, Problem> {
        let expression =
            parsed(expression, stream).map_err(|reason| Problem::Expression { reason })?;
        Ok(Rule {
            route: position,
            place: (route.priority, route.id),
            strip: route.strip_path,
            schemes: Schemes::of(route, Flavor::Expressions),
            path: PathOnly::of(&expression),
            expression: Arc::new(expression),
        })
    }
}

/// Routes with an expression, of requests or of streams.
#[derive(Default)]
pub(crate) struct Rules {
    /// The best first.
    rules: Vec<Rule>,
    buckets: Buckets,
    /// The fields that some expression that has to be evaluated looks at.
    fields: Vec<(String, Field)>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("route", &self.route).finish_non_exhaustive()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// What an expression found.
pub(crate) struct Hit<'a> {
    pub(crate) route: u32,
    pub(crate) strip: bool,
    /// What a condition on the path matched, if there is one.
    pub(crate) path: Option<Cow<'a, str>>,
    pub(crate) captures: Option<Box<Captures>>,
}

impl Rules {
    /// Makes the index. `known` are fields that need not be gathered.
    pub(crate) fn new(mut rules: Vec<Rule>, stream: bool, known: &[(String, Field)]) -> Rules {
        rules.sort_by_key(|rule| Reverse(rule.place));
        let mut names = HashMap::new();
        let evaluated = rules.iter().filter(|rule| rule.path.is_none());
        evaluated.for_each(|rule| rule.expression.add_to_counter(&mut names));
        names.retain(|name, _| !known.iter().any(|(other, _)| other == name));
        let fields = names.into_keys().filter_map(|name| {
            let field = Field::parse(&name).ok()?;
            Some((name, field))
        });
        let fields = fields.collect();
        let keys: Vec<_> = rules.iter().map(|rule| Keys::of(&rule.expression, stream)).collect();
        let buckets = Buckets::new((0..).zip(&keys).flat_map(|(rank, keys)| {
            keys.iter().map(move |key| (Key { host: key.host(), path: &key.path }, rank))
        }));
        Rules { rules, buckets, fields }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn fields(&self) -> &[(String, Field)] {
        &self.fields
    }

    /// All rules, best first.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first route whose expression holds, of those that are `wanted`.
    fn find<'a>(
        &self,
        request: &mut Request<'_, 'a>,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<(&Rule, Matched<'a>)> {
        let (host, path) = (request.host, request.lookup.path);
        let (_, found) = self.buckets.find(host, path, |rank| {
            let rule = self.rules.get(rank as usize)?;
            let may = wanted(rule.route) && rule.schemes.hold(request.lookup.scheme);
            let matched = match rule.path {
                _ if !may => None,
                Some(only) => only.find(path).map(Matched::Path),
                None => request.evaluate(&rule.expression),
            };
            matched.map(|matched| (rule, matched))
        })?;
        Some(found)
    }
}

/// What was matched.
enum Matched<'a> {
    /// The path, or its beginning.
    Path(&'a str),
    /// What evaluation brought to light.
    Found(Found),
}

/// A request or a connection as expressions see it.
struct Request<'l, 'a> {
    lookup: &'l Lookup<'a>,
    host: &'a str,
    /// The fields that expressions look at.
    fields: [&'l [(String, Field)]; 2],
    /// What these hold, once an expression has to be evaluated.
    context: Option<Context<'static>>,
}

impl Request<'_, '_> {
    fn evaluate(&mut self, expression: &Expression) -> Option<Matched<'static>> {
        let context = self.context.get_or_insert_with(|| {
            let mut context = Context::new(fields::schema(self.lookup.scheme.is_stream()));
            for (name, field) in self.fields.into_iter().flatten() {
                field.values(self.lookup, &mut |value| context.add_value(name, value));
            }
            context
        });
        let mut found = Found::new();
        expression.execute(context, &mut found).then_some(Matched::Found(found))
    }
}

/// The first route whose expression holds: of `base`, where it is `wanted`, or of `recent`.
pub(crate) fn find<'a>(
    base: &Rules,
    recent: &Rules,
    lookup: &Lookup<'a>,
    wanted: impl Fn(u32) -> bool,
) -> Option<Hit<'a>> {
    if base.is_empty() && recent.is_empty() {
        return None;
    }
    let stream = lookup.scheme.is_stream();
    let host = if stream { lookup.sni.unwrap_or_default() } else { fields::host(lookup) };
    let fields = [base.fields(), recent.fields()];
    let mut request = Request { lookup, host, fields, context: None };
    let of_base = base.find(&mut request, wanted);
    let of_recent = recent.find(&mut request, |_| true);
    let place = |found: &(&Rule, Matched<'_>)| found.0.place;
    let newer = of_recent.as_ref().map(place) > of_base.as_ref().map(place);
    let (rule, matched) = if newer { of_recent } else { of_base }?;
    let (path, captures) = match matched {
        Matched::Path(path) => (Some(path.into()), None),
        Matched::Found(found) => of_evaluation(found),
    };
    Some(Hit { route: rule.route, strip: rule.strip, path, captures })
}

/// What a condition on the path matched, and the groups of a regex.
fn of_evaluation(found: Found) -> (Option<Cow<'static, str>>, Option<Box<Captures>>) {
    let Found { mut matches, captures, .. } = found;
    let path = match matches.remove(PATH) {
        Some(Value::String(matched)) => Some(matched.into()),
        // Of `!=` and the like nothing is known but that there was a match.
        _ => None,
    };
    (path, (captures.len() > 1).then(|| Box::new(in_order(captures))))
}

/// Groups by position, and those with a name by it as well.
fn in_order(groups: impl IntoIterator<Item = (String, String)>) -> Captures {
    let mut captures = Captures::default();
    for (name, text) in groups {
        let Ok(position) = name.parse::<usize>() else {
            captures.named.push((name, text));
            continue;
        };
        if captures.unnamed.len() <= position {
            captures.unnamed.resize(position + 1, None);
        }
        if let Some(group) = captures.unnamed.get_mut(position) {
            *group = Some(text);
        }
    }
    captures.named.sort();
    captures
}

/// `net.port` is the old name of `net.dst.port`.
fn amended(expression: &str) -> Cow<'_, str> {
    static OLD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"net\.port(\s*[=><!])").ok());
    match &*OLD {
        Some(old) if expression.contains("net.port") => {
            old.replace_all(expression, "net.dst.port$1")
        }
        _ => expression.into(),
    }
}

/// `not in` with one space: the grammar takes any white space between the words, and none, where
/// atc-router 1.7 then panics (`parse_binary_operator`). Texts stay as they are.
fn spaced(expression: &str) -> Cow<'_, str> {
    static TEXT_OR_OPERATOR: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r##"(r#"(?s:.*?)"#|"(?:[^"\\]|\\.)*")|([\s)])not\s*in"##).ok());
    match &*TEXT_OR_OPERATOR {
        Some(pattern) if expression.contains("not") => {
            pattern.replace_all(expression, |found: &regex::Captures<'_>| match found.get(1) {
                Some(text) => text.as_str().to_owned(),
                None => format!("{}not in", found.get(2).map_or("", |before| before.as_str())),
            })
        }
        _ => expression.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expect: Result<(), &str>) {
        let got = validate(expression, &[Protocol::Http]);
        assert_eq!(got.as_ref().map_err(String::as_str).copied(), expect, "{expression}");
    }

    #[test]
    fn expressions_are_validated() {
        check(r#"http.path == "/x" && net.port == 80"#, Ok(()));
        check(r#"http.path.segments.1_2 == "a/b""#, Ok(()));
        check("http.path.segments.len > 3", Ok(()));
        let wrong = "illformed http.path.segments.* field";
        check(r#"http.path.segments.2_1 == "a""#, Err(wrong));
        check(r#"http.path.segments.01 == "a""#, Err(wrong));
        check(r#"http.path.segments.x == "a""#, Err(wrong));
        check("http.pth == 1", Err("Unknown LHS field"));
        let mismatch = "Type mismatch between the LHS and RHS values of predicate";
        check("http.path == 12", Err(mismatch));
        assert!(validate("http.path = 1", &[Protocol::Http]).is_err());
        assert!(validate(r#"http.path == "/""#, &[Protocol::Tcp]).is_err());
        assert!(validate(r#"tls.sni == "a""#, &[Protocol::Tls]).is_ok());
    }

    #[test]
    fn the_old_name_of_the_port_is_known() {
        assert_eq!(amended("net.port  == 1 && net.portal"), "net.dst.port  == 1 && net.portal");
    }

    #[test]
    fn operators_have_one_space() {
        let check = |given: &str, expect: &str| assert_eq!(spaced(given), expect, "{given}");
        check("net.src.ip not  in 10.0.0.0/8", "net.src.ip not in 10.0.0.0/8");
        check("any(net.src.ip)notin 10.0.0.0/8", "any(net.src.ip)not in 10.0.0.0/8");
        check("net.src.ip not\n\tin::1/128", "net.src.ip not in::1/128");
        check(r#"a == "x not  in\" not  in" && b"#, r#"a == "x not  in\" not  in" && b"#);
        let raw = "a == r#\"\" not  in\"# && b";
        check(raw, raw);
        for spelling in ["not in", "not  in", "notin", "not\r\nin"] {
            let expression = format!("net.src.ip {spelling} 10.0.0.0/8");
            assert_eq!(validate(&expression, &[Protocol::Http]), Ok(()), "{expression}");
        }
        let wrong = "http.path not  in 10.0.0.0/8";
        assert!(validate(wrong, &[Protocol::Http]).is_err(), "{wrong}");
    }
}
