//! `ngx.shared`: the functions behind the methods of dictionaries (`lib/silverback/ngx/shared.lua`
//! makes the objects). The first argument is the dictionary's number.

use std::{rc::Rc, sync::Arc, time::Duration};

use mlua::Table;

use super::dict::{self, Dict, Item, Mode, Problem};
use crate::{
    bind,
    raw::{Args, Kind, Out, Outcome},
    state::State,
};

/// As nginx: what a key may hold, bytes.
const KEY_MAX: usize = 65535;

type Dicts = Rc<[Arc<Dict>]>;

/// Opens the dictionaries and puts their functions into a table; `names` in it says which number
/// each has.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, into: &Table) -> mlua::Result<()> {
    let all = state.config.dicts();
    let dicts: Dicts = all.iter().map(|(name, size)| dict::open(name, *size)).collect();
    let names = state.lua.create_table()?;
    for (number, (name, _)) in (1..).zip(&all) {
        names.raw_set(name.as_str(), number)?;
    }
    into.set("names", names)?;
    let put = |name: &str, work: fn(&Dict, &Args<'_>) -> Outcome| {
        let dicts = dicts.clone();
        let function = bind::fast(state, move |args| match dict_of(&dicts, args) {
            Some(dict) => work(dict, args),
            None => Outcome::Raise("bad \"zone\" argument".to_owned()),
        })?;
        into.set(name, function)
    };
    put("get", get)?;
    put("get_stale", get_stale)?;
    put("set", |dict, args| store(dict, args, Mode::Set))?;
    put("safe_set", |dict, args| store(dict, args, Mode::SafeSet))?;
    put("add", |dict, args| store(dict, args, Mode::Add))?;
    put("safe_add", |dict, args| store(dict, args, Mode::SafeAdd))?;
    put("replace", |dict, args| store(dict, args, Mode::Replace))?;
    put("delete", delete)?;
    put("incr", incr)?;
    put("lpush", |dict, args| push(dict, args, true))?;
    put("rpush", |dict, args| push(dict, args, false))?;
    put("lpop", |dict, args| pop(dict, args, true))?;
    put("rpop", |dict, args| pop(dict, args, false))?;
    put("llen", length)?;
    put("ttl", ttl)?;
    put("expire", expire)?;
    put("flush_all", |dict, _| {
        dict.flush_all();
        Outcome::Nothing
    })?;
    put("flush_expired", |dict, args| number(dict.flush_expired(count(args, 0))))?;
    put("get_keys", |dict, args| {
        Outcome::Many(dict.keys(count(args, 1024)).into_iter().map(Out::Owned).collect())
    })?;
    put("capacity", |dict, _| number(dict.room().0))?;
    put("free_space", |dict, _| number(dict.room().1))
}

fn dict_of<'a>(dicts: &'a Dicts, args: &Args<'_>) -> Option<&'a Dict> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, checked")]
    let number = args.number(1).filter(|n| *n >= 1.0)? as usize;
    dicts.get(number - 1).map(Arc::as_ref)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn number(n: usize) -> Outcome {
    Outcome::One(Out::Number(n as f64))
}

/// The optional count behind the dictionary.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn count(args: &Args<'_>, default: usize) -> usize {
    args.number(2).map_or(default, |n| n as usize)
}

/// The key. Numbers and the like have been made text by the Lua side.
fn key<'a>(args: &Args<'a>) -> Result<&'a [u8], Outcome> {
    match args.bytes(2) {
        None => Err(Outcome::nil("nil key")),
        Some([]) => Err(Outcome::nil("empty key")),
        Some(key) if key.len() > KEY_MAX => Err(Outcome::nil("key too long")),
        Some(key) => Ok(key),
    }
}

fn item(args: &Args<'_>, position: usize) -> Option<Item> {
    Some(match args.kind(position) {
        Kind::Text => Item::Text(bytes::Bytes::copy_from_slice(args.bytes(position)?)),
        Kind::Number => Item::Number(args.number(position)?),
        Kind::Boolean => Item::Bool(args.truthy(position)),
        _ => return None,
    })
}

fn out(item: Item) -> Out {
    match item {
        Item::Bool(b) => Out::Bool(b),
        Item::Number(n) => Out::Number(n),
        Item::Text(text) => Out::Text(text),
    }
}

/// Seconds, to the millisecond as nginx counts.
fn seconds(args: &Args<'_>, position: usize) -> Result<Duration, Outcome> {
    let seconds = args.number(position).unwrap_or_default();
    if seconds < 0.0 {
        return Err(Outcome::Raise("bad \"exptime\" argument".to_owned()));
    }
    let milliseconds = (seconds * 1000.0).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
    Ok(Duration::from_millis(milliseconds.min(1e14) as u64))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn flags(args: &Args<'_>, position: usize) -> u32 {
    args.number(position).unwrap_or_default() as u32
}

fn flags_out(flags: u32) -> Out {
    if flags == 0 { Out::Nil } else { Out::Number(flags.into()) }
}

/// Either outcome of a fallible step.
fn settle(result: Result<Outcome, Outcome>) -> Outcome {
    result.unwrap_or_else(|outcome| outcome)
}

fn get(dict: &Dict, args: &Args<'_>) -> Outcome {
    settle(key(args).map(|key| match dict.get(key, false) {
        Ok(Some(found)) if found.flags == 0 => Outcome::One(out(found.item)),
        Ok(Some(found)) => Outcome::Two(out(found.item), flags_out(found.flags)),
        Ok(None) => Outcome::One(Out::Nil),
        Err(problem) => Outcome::nil(problem.to_string()),
    }))
}

fn get_stale(dict: &Dict, args: &Args<'_>) -> Outcome {
    settle(key(args).map(|key| match dict.get(key, true) {
        Ok(Some(found)) => {
            Outcome::Many(vec![out(found.item), flags_out(found.flags), found.stale.into()])
        }
        Ok(None) => Outcome::One(Out::Nil),
        Err(problem) => Outcome::nil(problem.to_string()),
    }))
}

/// Success, what went wrong, and whether others had to go.
fn stored(result: Result<bool, Problem>) -> Outcome {
    Outcome::Many(match result {
        Ok(forced) => vec![true.into(), Out::Nil, forced.into()],
        Err(problem) => vec![false.into(), problem.to_string().into(), false.into()],
    })
}

fn store(dict: &Dict, args: &Args<'_>, mode: Mode) -> Outcome {
    let work = || {
        let key = key(args)?;
        let ttl = seconds(args, 4)?;
        let Some(item) = item(args, 3) else {
            if !matches!(args.kind(3), Kind::Nil | Kind::None) {
                return Err(Outcome::nil("bad value type"));
            }
            // A nil takes the value away.
            return match mode {
                Mode::Add | Mode::SafeAdd => {
                    Err(Outcome::nil("attempt to add or replace nil values"))
                }
                _ => {
                    dict.delete(key);
                    Ok(stored(Ok(false)))
                }
            };
        };
        Ok(stored(dict.set(mode, key, item, ttl, flags(args, 5))))
    };
    settle(work())
}

fn delete(dict: &Dict, args: &Args<'_>) -> Outcome {
    settle(key(args).map(|key| {
        dict.delete(key);
        Outcome::Many(vec![true.into(), Out::Nil, false.into()])
    }))
}

fn incr(dict: &Dict, args: &Args<'_>) -> Outcome {
    let work = || {
        let key = key(args)?;
        let by = args.number(3).ok_or_else(|| Outcome::Raise("bad \"value\" argument".into()))?;
        let init = args.number(4);
        let ttl = seconds(args, 5)?;
        if init.is_none() && args.number(5).is_some() {
            let text = "must provide \"init\" when providing \"init_ttl\"";
            return Err(Outcome::Raise(text.to_owned()));
        }
        Ok(match dict.incr(key, by, init, ttl) {
            Ok((number, forced)) if init.is_some() => {
                Outcome::Many(vec![number.into(), Out::Nil, forced.into()])
            }
            Ok((number, _)) => Outcome::One(number.into()),
            Err(problem) => Outcome::nil(problem.to_string()),
        })
    };
    settle(work())
}

fn push(dict: &Dict, args: &Args<'_>, front: bool) -> Outcome {
    settle(key(args).map(|key| match item(args, 3) {
        Some(Item::Bool(_)) | None => Outcome::nil("bad value type"),
        Some(item) => match dict.push(key, item, front) {
            Ok(length) => number(length),
            Err(problem) => Outcome::nil(problem.to_string()),
        },
    }))
}

fn pop(dict: &Dict, args: &Args<'_>, front: bool) -> Outcome {
    settle(key(args).map(|key| match dict.pop(key, front) {
        Ok(item) => Outcome::One(item.map_or(Out::Nil, out)),
        Err(problem) => Outcome::nil(problem.to_string()),
    }))
}

fn length(dict: &Dict, args: &Args<'_>) -> Outcome {
    settle(key(args).map(|key| match dict.length(key) {
        Ok(length) => number(length),
        Err(problem) => Outcome::nil(problem.to_string()),
    }))
}

fn ttl(dict: &Dict, args: &Args<'_>) -> Outcome {
    settle(key(args).map(|key| match dict.ttl(key) {
        Some(ttl) => Outcome::One(ttl.as_secs_f64().into()),
        None => Outcome::nil("not found"),
    }))
}

fn expire(dict: &Dict, args: &Args<'_>) -> Outcome {
    let work = || {
        let key = key(args)?;
        if args.number(3).is_none() {
            return Err(Outcome::Raise("bad \"exptime\" argument".to_owned()));
        }
        let there = dict.expire(key, seconds(args, 3)?);
        Ok(if there { Outcome::One(true.into()) } else { Outcome::nil("not found") })
    };
    settle(work())
}
