//! Functions that are called often: arguments are read where they are on Lua's stack, and short
//! results are pushed without memory of their own.
//!
//! The rules of [`super`] hold. Text of arguments stays where it is as long as the stack refers to
//! it, which is as long as the call. A result is copied to [`Scratch`] before it is pushed:
//! pushing may collect garbage, whose finalizers may change what it was lent by.

use std::{
    ffi::c_int,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use mlua::{Function, Lua, ffi};
use silverback_pdk::{
    Value,
    kong::{Given, Lent},
};

use super::{Anchor, Args, Out, Outcome, bytes, keep, leave, number, push_bytes, text};

/// How many arguments are read without memory of their own.
const FEW: usize = 3;

/// What a quick function gives back.
pub(crate) enum Quickly {
    /// nil
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// What is in the scratch.
    Text,
    /// What an [anchor](Anchor) holds that lives until the function has returned.
    Anchored(Place),
    /// Anything else.
    Other(Outcome),
}

/// Where an anchor holds its value.
pub(crate) struct Place(c_int);

impl Anchor {
    /// Where it holds its value.
    pub(crate) fn place(&self) -> Place {
        Place(self.index)
    }
}

/// Room for a short text on its way to Lua.
pub(crate) struct Scratch {
    bytes: [MaybeUninit<u8>; Scratch::MAX],
    length: usize,
}

impl Scratch {
    const MAX: usize = 256;

    /// Takes a text; a long one gets memory of its own.
    #[inline]
    pub(crate) fn text(&mut self, text: &[u8]) -> Quickly {
        let Some(bytes) = self.bytes.get_mut(..text.len()) else {
            return Quickly::Other(Outcome::One(Out::Owned(text.to_vec())));
        };
        for (place, byte) in bytes.iter_mut().zip(text) {
            place.write(*byte);
        }
        self.length = text.len();
        Quickly::Text
    }

    /// Takes what an exchange has lent.
    #[inline]
    pub(crate) fn lent(&mut self, lent: Lent<'_>) -> Quickly {
        match lent {
            Lent::Nil => Quickly::Nil,
            Lent::Bool(b) => Quickly::Bool(b),
            #[expect(clippy::cast_precision_loss, reason = "Lua numbers are doubles")]
            Lent::Int(n) => Quickly::Number(n as f64),
            Lent::Number(n) => Quickly::Number(n),
            Lent::Text(text) => self.text(text),
            Lent::Address(address) => self.text(address.as_bytes()),
            Lent::Entity(record) => {
                Quickly::Other(Outcome::One(Value::Entity(record.clone()).into()))
            }
            Lent::Value(value) => Quickly::Other(Outcome::One(value.into())),
        }
    }
}

/// Makes the `__index` of a table: the body is given the key, "" if that is no string. Where it
/// gives nil, the Lua function is called with the key.
///
/// # Errors
/// If there is no memory.
pub(crate) fn index<B: Fn(&[u8]) -> Quickly + 'static>(
    lua: &Lua,
    body: B,
    otherwise: &Function,
) -> mlua::Result<Function> {
    let address = kept(lua, body);
    // SAFETY: as in `function`; the Lua function is on the stack.
    unsafe {
        lua.exec_raw(otherwise, |state| {
            ffi::lua_pushlightuserdata(state, address.cast_mut().cast());
            ffi::lua_insert(state, -2);
            ffi::lua_pushcclosure(state, enter_index::<B>, 2);
        })
    }
}

/// Where Lua enters an `__index`: with a table and a key.
unsafe extern "C-unwind" fn enter_index<B: Fn(&[u8]) -> Quickly>(
    state: *mut ffi::lua_State,
) -> c_int {
    // SAFETY: as in `enter`; the second upvalue is the Lua function, and the key is taken back to
    // the stack for it. Nothing is left to be dropped when it is called.
    unsafe {
        let body: *const B = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast();
        let key = bytes(state, 2).unwrap_or_default();
        match catch_unwind(AssertUnwindSafe(|| (*body)(key))) {
            Ok(Quickly::Anchored(Place(index))) => {
                ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, index.into());
                1
            }
            Ok(Quickly::Nil) => {
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
                ffi::lua_pushvalue(state, 2);
                ffi::lua_call(state, 1, 1);
                1
            }
            Ok(Quickly::Bool(_)) => 0,
            other => leave(state, other.map(Outcome::from)),
        }
    }
}

/// Has a state own what a function is made of: where that is from now on.
fn kept<B: 'static>(lua: &Lua, body: B) -> *const B {
    let body = Box::new(body);
    let address: *const B = &raw const *body;
    keep(lua, body);
    address
}

/// Makes a function for Lua, as [`super::function`] does. Each body has an entrance of its own, so
/// that nothing lies between it and Lua.
///
/// # Errors
/// If there is no memory.
pub(crate) fn function<B: Fn(&[Given<'_>], &mut Scratch) -> Quickly + 'static>(
    lua: &Lua,
    body: B,
) -> mlua::Result<Function> {
    let address = kept(lua, body);
    // SAFETY: runs protected; the address is that of a box that the state owns, which is dropped
    // after the last function that could be called. Each address goes to the entrance of its type.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_pushlightuserdata(state, address.cast_mut().cast());
            ffi::lua_pushcclosure(state, enter::<B>, 1);
        })
    }
}

/// Where Lua enters a function.
unsafe extern "C-unwind" fn enter<B: Fn(&[Given<'_>], &mut Scratch) -> Quickly>(
    state: *mut ffi::lua_State,
) -> c_int {
    let mut scratch = Scratch { bytes: [MaybeUninit::uninit(); Scratch::MAX], length: 0 };
    // SAFETY: the upvalue is the address that `function` has put there; the arguments stay on the
    // stack until the function returns. Where something may be raised nothing is left to be
    // dropped, but for what is of `Other`, as in `super::enter`.
    unsafe {
        let body: *const B = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast();
        let given = catch_unwind(AssertUnwindSafe(|| call(state, &*body, &mut scratch)));
        match given {
            Ok(Quickly::Nil) => ffi::lua_pushnil(state),
            Ok(Quickly::Bool(b)) => ffi::lua_pushboolean(state, b.into()),
            Ok(Quickly::Number(n)) => ffi::lua_pushnumber(state, n),
            Ok(Quickly::Text) => {
                let text = scratch.bytes.as_ptr().cast();
                push_bytes(state, slice::from_raw_parts(text, scratch.length));
            }
            Ok(Quickly::Anchored(Place(index))) => {
                ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, index.into());
            }
            other => return leave(state, other.map(Outcome::from)),
        }
    }
    1
}

impl From<Quickly> for Outcome {
    fn from(quickly: Quickly) -> Outcome {
        if let Quickly::Other(outcome) = quickly { outcome } else { Outcome::Nothing }
    }
}

/// Reads the arguments and calls the body with them.
#[inline]
unsafe fn call(
    state: *mut ffi::lua_State,
    body: &impl Fn(&[Given<'_>], &mut Scratch) -> Quickly,
    scratch: &mut Scratch,
) -> Quickly {
    // SAFETY: the indices are those of the arguments.
    unsafe {
        let count = ffi::lua_gettop(state);
        let mut few = [Given::Nil; FEW];
        let length = usize::try_from(count).unwrap_or_default();
        let Some(places) = few.get_mut(..length) else { return call_any(state, body, scratch) };
        for (index, place) in (1..).zip(places.iter_mut()) {
            *place = match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => Given::Text(text(state, index)),
                ffi::LUA_TNIL => Given::Nil,
                ffi::LUA_TBOOLEAN => Given::Bool(ffi::lua_toboolean(state, index) != 0),
                ffi::LUA_TNUMBER => whole(ffi::lua_tonumber(state, index)),
                _ => return call_any(state, body, scratch),
            };
        }
        body(places, scratch)
    }
}

/// A number: whole where it is.
fn whole(n: f64) -> Given<'static> {
    #[expect(clippy::cast_possible_truncation, reason = "what is cut off is looked at")]
    let cut = n as i32;
    if f64::from(cut) == n {
        return Given::Int(cut.into());
    }
    if let Value::Int(n) = number(n) { Given::Int(n) } else { Given::Number(n) }
}

/// The same for arguments that must be copied, and for many.
#[cold]
unsafe fn call_any(
    state: *mut ffi::lua_State,
    body: &impl Fn(&[Given<'_>], &mut Scratch) -> Quickly,
    scratch: &mut Scratch,
) -> Quickly {
    // SAFETY: the arguments stay on the stack until the function returns.
    let args = unsafe { Args::of(state) };
    match args.values(1) {
        Ok(values) => body(&values.iter().map(Given::from).collect::<Vec<_>>(), scratch),
        Err(text) => Quickly::Other(Outcome::Raise(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{exchange, run, state, texts};

    /// What a snippet gives, in which `say` shows its arguments as a quick function sees them, and
    /// `back` gives its argument back.
    #[track_caller]
    fn check(source: &str, expect: &str) {
        let state = state();
        let say = function(&state.lua, |given, scratch| {
            let shown: Vec<String> = given
                .iter()
                .map(|given| match given {
                    Given::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                })
                .collect();
            scratch.text(shown.join(" ").as_bytes())
        });
        let back = function(&state.lua, |given, scratch| match given.first() {
            Some(Given::Text(text)) => scratch.text(text),
            Some(Given::Bool(true)) => panic!("at once"),
            Some(Given::Bool(false)) => Quickly::Other(Outcome::Raise("refused".to_owned())),
            Some(Given::Number(n)) => Quickly::Number(*n),
            Some(Given::Int(n)) => scratch.lent(Lent::Int(*n)),
            _ => Quickly::Nil,
        });
        let globals = state.lua.globals();
        globals.set("say", say.expect("a function")).expect("set");
        globals.set("back", back.expect("a function")).expect("set");
        let ended = texts(run(&state, &mut exchange(), source)).unwrap_or_else(|error| error);
        assert_eq!(ended, expect, "{source}");
    }

    #[test]
    fn arguments_are_read_where_they_are() {
        check("return say()", "");
        check("return say('a', '', 'b')", "a  b");
        check("return say(nil, true, false)", "Nil Bool(true) Bool(false)");
        check("return say(3, -0.5, 2^40)", "Int(3) Number(-0.5) Int(1099511627776)");
        check("return say(0/0, 1/0, 2^31)", "Number(NaN) Number(inf) Int(2147483648)");
        check("return say({1})", "Other(Array([Int(1)]))");
        check("return say(print)", "Other(Foreign(\"function\"))");
        check("return say('a', 'b', 'c', 'd', nil)", "a b c d Nil");
        check("local t = {} t.t = t return pcall(say, t) == false", "true");
    }

    #[test]
    fn results_are_pushed() {
        check(
            "return back('a\\0b') == 'a\\0b', back(''), back(), select('#', back())",
            "true  nil 1",
        );
        check("return back(7), back(-1), back(0.25)", "7 -1 0.25");
        // What does not fit the scratch.
        check("local t = ('x'):rep(256) return back(t) == t, back(t .. t) == t .. t", "true true");
        check("return pcall(back, false)", "false refused");
        check("return select(2, pcall(function() back(false) end))", "test:1: refused");
        check("return pcall(back, true)", "false a function of the gateway panicked");
    }

    #[test]
    fn results_outlive_what_they_were_lent_by() {
        // Each result is pushed while garbage is collected at every step.
        check(
            "collectgarbage('setpause', 0) collectgarbage('setstepmul', 100000)
             local all = {} for i = 1, 2000 do all[i] = back('text ' .. i % 50) end
             for i = 1, 2000 do assert(all[i] == 'text ' .. i % 50) end return 'kept'",
            "kept",
        );
    }

    #[test]
    fn an_index_finds_or_asks_lua() {
        let state = state();
        let anchor = Anchor::new(&state.lua, "found").expect("an anchor");
        let find = move |key: &[u8]| match key {
            b"there" => Quickly::Anchored(anchor.place()),
            b"none" => Quickly::Bool(false),
            b"bad" => Quickly::Other(Outcome::Raise("no".to_owned())),
            _ => Quickly::Nil,
        };
        let make = state.lua.load("local key = ... return 'made ' .. tostring(key)");
        let find = index(&state.lua, find, &make.into_function().expect("Lua"));
        state.lua.globals().set("find", find.expect("a function")).expect("set");
        let source = "local t = setmetatable({}, {__index = find})
            return t.there, t.none, t.other, t[5], pcall(function() return t.bad end)";
        let ended = texts(run(&state, &mut exchange(), source));
        assert_eq!(ended.as_deref(), Ok("found nil made other made 5 false test:2: no"));
    }
}
