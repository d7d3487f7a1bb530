//! Regular expressions (`ngx.re`), by PCRE2. The Lua side (`lib/silverback/ngx/re.lua`) makes
//! matches, iterators and replacements of what `find` tells.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, rc::Rc};

use mlua::Table;
use pcre2::bytes::{CaptureLocations, Regex, RegexBuilder};

use crate::{
    bind,
    raw::{Args, Out, Outcome},
    state::State,
};

/// How many compiled expressions a worker keeps (Kong: `lua_regex_cache_max_entries`).
const CACHE_MAX: usize = 8192;

/// An expression with room for what it captures.
struct Compiled {
    regex: Regex,
    locations: RefCell<CaptureLocations>,
}

/// The compiled expressions of a worker.
struct Cache {
    match_limit: u32,
    known: RefCell<HashMap<Vec<u8>, Rc<Compiled>>>,
}

/// Puts `find` and `names` into a table.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, into: &Table) -> mlua::Result<()> {
    let cache =
        Rc::new(Cache { match_limit: state.config.regex_match_limit, known: RefCell::default() });
    let own = cache.clone();
    into.set("find", bind::fast(state, move |args| own.find(args))?)?;
    into.set("names", bind::fast(state, move |args| cache.names(args))?)
}

impl Cache {
    /// The expression in the arguments at 2 and 3, compiled; else what is wrong with it.
    fn compiled(&self, args: &Args<'_>) -> Result<Rc<Compiled>, Outcome> {
        let pattern = args.bytes(2).unwrap_or_default();
        let options = args.text(3).unwrap_or_default();
        let mut key = Vec::with_capacity(options.len() + 1 + pattern.len());
        key.extend_from_slice(options.as_bytes());
        key.push(0);
        key.extend_from_slice(pattern);
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let regex = self.compile(pattern, options)?;
        let locations = RefCell::new(regex.capture_locations());
        let compiled = Rc::new(Compiled { regex, locations });
        let mut known = self.known.borrow_mut();
        if known.len() >= CACHE_MAX {
            known.clear();
        }
        known.insert(key, compiled.clone());
        Ok(compiled)
    }

    fn compile(&self, pattern: &[u8], options: &str) -> Result<Regex, Outcome> {
        let pattern = readable(pattern);
        let mut builder = RegexBuilder::new();
        let (mut anchored, mut duplicates) = (false, "");
        builder.jit_if_available(true);
        for option in options.chars() {
            match option {
                'a' => anchored = true,
                'D' => duplicates = "(?J)",
                // Caching and compiling happen anyway; d matches as without it.
                'd' | 'j' | 'J' | 'o' => {}
                _ => {
                    let known = match option {
                        'i' => builder.caseless(true),
                        'm' => builder.multi_line(true),
                        's' => builder.dotall(true),
                        'u' | 'U' => builder.utf(true),
                        'x' => builder.extended(true),
                        other => {
                            let text = format!("unknown flag \"{other}\" (flags \"{options}\")");
                            return Err(Outcome::Raise(text));
                        }
                    };
                    known.jit_if_available(true);
                }
            }
        }
        let limit = match self.match_limit {
            0 => String::new(),
            limit => format!("(*LIMIT_MATCH={limit})"),
        };
        // A line's end before the bracket ends a comment of an extended pattern.
        let (open, close) = match (anchored, options.contains('x')) {
            (true, true) => ("\\G(?:", "\n)"),
            (true, false) => ("\\G(?:", ")"),
            (false, _) => ("", ""),
        };
        let before = limit.len() + duplicates.len() + open.len();
        let full = format!("{limit}{duplicates}{open}{pattern}{close}");
        builder.build(&full).map_err(|error| refused(&pattern, &error, before))
    }

    /// (subject, pattern, options, start): where the match begins and ends, counted from 1, and
    /// the captures, false for those that have none; nil if there is no match; nil and a text if
    /// something is wrong.
    fn find(&self, args: &Args<'_>) -> Outcome {
        let compiled = match self.compiled(args) {
            Ok(compiled) => compiled,
            Err(outcome) => return outcome,
        };
        let subject = args.bytes(1).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let start = (args.number(4).unwrap_or(1.0) - 1.0).max(0.0) as usize;
        if start > subject.len() {
            return Outcome::One(Out::Nil);
        }
        let mut locations = compiled.locations.borrow_mut();
        match compiled.regex.captures_read_at(&mut locations, subject, start) {
            Ok(Some(_)) => Outcome::Many(spans(&locations, subject)),
            Ok(None) => Outcome::One(Out::Nil),
            Err(error) => Outcome::nil(format!("pcre_exec() failed: {}", error.code())),
        }
    }

    /// (subject, pattern, options): the names of the groups, "" for those without one, the whole
    /// match left out.
    fn names(&self, args: &Args<'_>) -> Outcome {
        match self.compiled(args) {
            Ok(compiled) => Outcome::Many(
                compiled
                    .regex
                    .capture_names()
                    .iter()
                    .skip(1)
                    .map(|name| Out::from(name.clone().unwrap_or_default()))
                    .collect(),
            ),
            Err(outcome) => outcome,
        }
    }
}

/// A pattern as text; bytes that are not UTF-8 as escapes.
fn readable(pattern: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(pattern) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let escaped = pattern.iter().map(|&byte| match byte {
                0..0x80 => char::from(byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            Cow::Owned(escaped.collect())
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "positions are far below 2^53")]
fn spans(locations: &CaptureLocations, subject: &[u8]) -> Vec<Out> {
    let mut out = Vec::with_capacity(2 + 3 * locations.len());
    for group in 0..locations.len() {
        match locations.get(group) {
            Some((from, to)) => {
                out.push(Out::Number((from + 1) as f64));
                out.push(Out::Number(to as f64));
                out.push(Out::Owned(subject.get(from..to).unwrap_or_default().to_vec()));
            }
            None => out.extend([Out::Bool(false), Out::Bool(false), Out::Bool(false)]),
        }
    }
    out
}

/// What is wrong with a pattern, as OpenResty says it.
fn refused(pattern: &str, error: &pcre2::Error, before: usize) -> Outcome {
    let message = error.to_string();
    let reason = message.rsplit_once(": ").map_or(message.as_str(), |(_, reason)| reason);
    let place = error.offset().unwrap_or_default().saturating_sub(before);
    let at = match pattern.get(place..) {
        Some("") | None => String::new(),
        Some(rest) => format!(" at \"{rest}\""),
    };
    Outcome::nil(format!("pcre2_compile() failed: {reason} in \"{pattern}\"{at}"))
}
