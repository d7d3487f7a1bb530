//! The flavour `expressions`: routes whose condition is written in the router's own language, tried
//! from the highest priority to the lowest. The language and its engine are those of the atc-router
//! crate, which Kong uses too; which fields there are and what they hold stands here
//! (kong/router/{expressions,fields,transform}.lua).

mod fields;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use atc_router::ast::Value;
use atc_router::context::{Context, Match as Found};
use atc_router::router::Router as Engine;
use atc_router::schema::Schema;
use regex::Regex;
use silverback_model::entities::{Protocol, Route};
use uuid::Uuid;

use crate::lookup::{Captures, Lookup};
use crate::router::{Flavor, Problem};
use fields::Field;

/// The field that captures and `strip_path` go by.
const PATH: &str = "http.path";

/// Whether an expression is valid for a route of requests or of streams.
///
/// # Errors
/// What is wrong with it, in the words of Kong's Admin API.
pub fn validate(expression: &str, protocols: &[Protocol]) -> Result<(), String> {
    let stream = protocols.first().is_some_and(|protocol| protocol.is_stream());
    let mut engine = Engine::new(fields::schema(stream));
    engine.add_matcher(0, Uuid::nil(), &amended(expression))?;
    engine.fields.keys().try_for_each(|name| Field::parse(name).map(drop))
}

/// The routes with an expression, of requests or of streams.
pub(crate) struct Expressions {
    schema: &'static Schema,
    engine: Engine<'static>,
    /// The fields that some expression looks at.
    fields: Vec<(String, Field)>,
    /// The routes' positions.
    routes: HashMap<Uuid, u32>,
}

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expressions").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

/// What an expression found.
pub(crate) struct Hit<'a> {
    pub(crate) route: u32,
    /// What a condition on the path matched, if there is one.
    pub(crate) path: Option<Cow<'a, str>>,
    pub(crate) captures: Option<Box<Captures>>,
}

impl Expressions {
    pub(crate) fn new(stream: bool) -> Expressions {
        let schema = fields::schema(stream);
        let engine = Engine::new(schema);
        Expressions { schema, engine, fields: Vec::new(), routes: HashMap::new() }
    }

    /// Adds a route; `expression` is its own.
    pub(crate) fn add(
        &mut self,
        position: u32,
        route: &Route,
        expression: &str,
    ) -> Result<(), Problem> {
        let problem = |reason| Problem::Expression { reason };
        let schemes = schemes(route, Flavor::Expressions);
        let text = with_schemes(&amended(expression), &schemes);
        // Priorities have 46 bits.
        let priority = usize::try_from(route.priority).unwrap_or(usize::MAX);
        validate(expression, &route.protocols).map_err(problem)?;
        self.engine.add_matcher(priority, route.id, &text).map_err(problem)?;
        self.routes.insert(route.id, position);
        Ok(())
    }

    /// To be called once all routes are there.
    pub(crate) fn finish(mut self) -> Expressions {
        let names = self.engine.fields.keys();
        let parsed = names.filter_map(|name| Some((name.clone(), Field::parse(name).ok()?)));
        self.fields = parsed.collect();
        self
    }

    /// The first route whose expression holds.
    pub(crate) fn find<'a>(&self, lookup: &Lookup<'a>) -> Option<Hit<'a>> {
        if self.routes.is_empty() {
            return None;
        }
        let mut context = Context::new(self.schema);
        for (name, field) in &self.fields {
            field.values(lookup, &mut |value| context.add_value(name, value));
        }
        if !self.engine.execute(&mut context) {
            return None;
        }
        let Found { uuid, mut matches, captures } = context.result?;
        let path = match matches.remove(PATH) {
            Some(Value::String(matched)) => Some(Cow::Owned(matched)),
            // Of `!=` and the like nothing is known but that there was a match.
            _ => None,
        };
        let captures = (captures.len() > 1).then(|| Box::new(in_order(captures)));
        Some(Hit { route: *self.routes.get(&uuid)?, path, captures })
    }
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

/// The schemes that a route demands, none where any will do: in the flavour `expressions`, those of
/// its protocols. Where TLS is the only one, the answer to a request without it is a redirect or
/// 426, so that the route has to be found; and the other flavours look at protocols only then.
pub(crate) fn schemes(route: &Route, flavor: Flavor) -> Box<[Protocol]> {
    let secure =
        matches!(*route.protocols, [Protocol::Https | Protocol::Tls | Protocol::TlsPassthrough]);
    if flavor != Flavor::Expressions || secure {
        return Box::default();
    }
    route.protocols.iter().map(|protocol| scheme(*protocol)).collect()
}

/// The scheme that requests of a protocol have.
fn scheme(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Grpc => Protocol::Http,
        Protocol::Grpcs => Protocol::Https,
        Protocol::TlsPassthrough => Protocol::Tcp,
        other => other,
    }
}

/// An expression that also asks for one of the schemes.
///
/// As in Kong the text is appended to: since `||` binds tighter than `&&`, that asks for a scheme
/// whatever the expression is.
fn with_schemes(expression: &str, schemes: &[Protocol]) -> String {
    if schemes.is_empty() {
        return expression.to_owned();
    }
    let any: Vec<_> =
        schemes.iter().map(|scheme| format!("net.protocol == \"{}\"", scheme.as_str())).collect();
    format!("{expression} && ({})", any.join(" || "))
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
    fn schemes_are_asked_for() {
        let both = [Protocol::Http, Protocol::Https];
        let expect = r#"a && (net.protocol == "http" || net.protocol == "https")"#;
        assert_eq!(with_schemes("a", &both), expect);
        assert_eq!(with_schemes("a", &[]), "a");
    }

    #[test]
    fn the_old_name_of_the_port_is_known() {
        assert_eq!(amended("net.port  == 1 && net.portal"), "net.dst.port  == 1 && net.portal");
    }
}
