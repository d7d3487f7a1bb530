//! Functions and coroutines on LuaJIT's own C interface: what must be fast. A Rust closure costs
//! seven times as much through mlua.
//!
//! This file is `unsafe` throughout. The rules that make it sound:
//! - A function's body runs under `catch_unwind`, reads its arguments with calls that never raise,
//!   and gives an [`Outcome`] of plain Rust values. Only after that, outside, are results pushed
//!   or an error raised, when nothing is left that a Lua error could tear through.
//! - What a function is made of lives as long as its Lua state: it belongs to the state's data.
//! - A coroutine is entered through [`Coroutine`] alone, which knows what may be done with it next.
#![expect(unsafe_code, reason = "see above; everything else of this crate goes through this file")]

pub(crate) mod quick;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::{c_int, c_void},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    rc::Rc,
    slice, thread,
};

use bytes::Bytes;
use mlua::{Function, IntoLua, Lua, MultiValue, Table, Thread, WeakLua, ffi};
use silverback_pdk::Value;

/// How deep a table may be nested that is made a [`Value`].
const DEPTH: usize = 100;

/// Metatables with something under this key are those of lists, however empty (`cjson.array_mt`).
/// A number, since reading it needs no memory.
pub(crate) const ARRAY_MARK: i64 = -91;

/// What is said of code for which there is none.
const NO_MEMORY: &str = "not enough memory: see lua_max_memory in kong.conf";

/// Whether an error says that there was none.
pub(crate) fn is_of_memory(text: &str) -> bool {
    text.starts_with("not enough memory")
}

/// What a function gives back.
pub(crate) enum Outcome {
    /// Nothing.
    Nothing,
    /// One value.
    One(Out),
    /// Two: often nil and what went wrong.
    Two(Out, Out),
    /// As many as there are.
    Many(Vec<Out>),
    /// A Lua error with this text, behind the place of the caller.
    Raise(String),
    /// The coroutine ends here, for good: what is to happen has been noted in the state.
    Never,
}

/// A value on its way to Lua.
pub(crate) enum Out {
    /// nil
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(Bytes),
    /// A string.
    Owned(Vec<u8>),
    /// A string that lives as long as the program.
    Static(&'static str),
    /// Any value of the PDK.
    Value(Value),
}

impl From<Value> for Out {
    fn from(value: Value) -> Out {
        Out::Value(value)
    }
}

impl From<String> for Out {
    fn from(text: String) -> Out {
        Out::Owned(text.into_bytes())
    }
}

impl From<&'static str> for Out {
    fn from(text: &'static str) -> Out {
        Out::Static(text)
    }
}

impl From<bool> for Out {
    fn from(value: bool) -> Out {
        Out::Bool(value)
    }
}

impl From<f64> for Out {
    fn from(value: f64) -> Out {
        Out::Number(value)
    }
}

impl From<Bytes> for Out {
    fn from(value: Bytes) -> Out {
        Out::Text(value)
    }
}

impl Outcome {
    /// nil and a text.
    pub(crate) fn nil(text: impl Into<String>) -> Outcome {
        Outcome::Two(Out::Nil, Out::Owned(text.into().into_bytes()))
    }
}

/// What kind of value an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not given at all.
    None,
    Nil,
    Boolean,
    Number,
    Text,
    Table,
    Function,
    /// A userdata of either kind, a coroutine, or one of LuaJIT's own.
    Other,
}

impl Kind {
    /// As Lua's `type` says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::None | Kind::Nil => "nil",
            Kind::Boolean => "boolean",
            Kind::Number => "number",
            Kind::Text => "string",
            Kind::Table => "table",
            Kind::Function => "function",
            Kind::Other => "userdata",
        }
    }
}

/// The arguments of a call, counted from 1 as in Lua.
pub(crate) struct Args<'a> {
    state: *mut ffi::lua_State,
    count: c_int,
    call: PhantomData<&'a ()>,
}

impl<'a> Args<'a> {
    /// Those of the function that runs.
    unsafe fn of(state: *mut ffi::lua_State) -> Args<'a> {
        // SAFETY: the caller's state runs a function of ours, for as long as these live.
        Args { state, count: unsafe { ffi::lua_gettop(state) }, call: PhantomData }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    fn index(&self, position: usize) -> Option<c_int> {
        c_int::try_from(position).ok().filter(|i| (1..=self.count).contains(i))
    }

    /// What kind of value stands there.
    pub(crate) fn kind(&self, position: usize) -> Kind {
        let Some(index) = self.index(position) else { return Kind::None };
        // SAFETY: the index is that of an argument.
        unsafe { kind(self.state, index) }
    }

    /// The bytes of a string; none for anything else.
    pub(crate) fn bytes(&self, position: usize) -> Option<&'a [u8]> {
        let index = self.index(position)?;
        // SAFETY: the index is that of an argument, which the call's stack keeps alive.
        unsafe { bytes(self.state, index) }
    }

    /// A string that is UTF-8.
    pub(crate) fn text(&self, position: usize) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(position)?).ok()
    }

    /// A number; a string is none.
    pub(crate) fn number(&self, position: usize) -> Option<f64> {
        let index = self.index(position).filter(|_| self.kind(position) == Kind::Number)?;
        // SAFETY: the index is that of an argument, which is a number.
        Some(unsafe { ffi::lua_tonumber(self.state, index) })
    }

    /// Whether it is anything but nil and false.
    pub(crate) fn truthy(&self, position: usize) -> bool {
        // SAFETY: the index is that of an argument.
        self.index(position).is_some_and(|i| unsafe { ffi::lua_toboolean(self.state, i) } != 0)
    }

    /// The argument, tables included. `ngx.null` is nil; functions and the like are foreign.
    ///
    /// # Errors
    /// If a table is nested too deep, or contains itself.
    pub(crate) fn value(&self, position: usize) -> Result<Value, String> {
        let Some(index) = self.index(position) else { return Ok(Value::Nil) };
        // SAFETY: the index is that of an argument.
        unsafe { value(self.state, index, 0) }
    }

    /// Works on all arguments. Few of them take no memory of their own.
    ///
    /// # Errors
    /// As [`Args::value`].
    pub(crate) fn with_values<R>(&self, work: impl FnOnce(&[Value]) -> R) -> Result<R, String> {
        let mut few = [const { Value::Nil }; 3];
        let Some(few) = few.get_mut(..self.len()) else { return Ok(work(&self.values(1)?)) };
        for (place, value) in (1..).zip(few.iter_mut()) {
            *value = self.value(place)?;
        }
        Ok(work(few))
    }

    /// All arguments from a position on.
    ///
    /// # Errors
    /// As [`Args::value`].
    pub(crate) fn values(&self, from: usize) -> Result<Vec<Value>, String> {
        (from..=self.len()).map(|position| self.value(position)).collect()
    }
}

unsafe fn kind(state: *mut ffi::lua_State, index: c_int) -> Kind {
    // SAFETY: the caller's index is valid.
    match unsafe { ffi::lua_type(state, index) } {
        ffi::LUA_TNIL => Kind::Nil,
        ffi::LUA_TBOOLEAN => Kind::Boolean,
        ffi::LUA_TNUMBER => Kind::Number,
        ffi::LUA_TSTRING => Kind::Text,
        ffi::LUA_TTABLE => Kind::Table,
        ffi::LUA_TFUNCTION => Kind::Function,
        ffi::LUA_TNONE => Kind::None,
        _ => Kind::Other,
    }
}

unsafe fn bytes<'a>(state: *mut ffi::lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: of a string, lua_tolstring makes nothing new: it can't raise, and the bytes stay
    // where they are as long as the stack refers to the string.
    unsafe { (ffi::lua_type(state, index) == ffi::LUA_TSTRING).then(|| text(state, index)) }
}

/// The bytes of what is a string.
unsafe fn text<'a>(state: *mut ffi::lua_State, index: c_int) -> &'a [u8] {
    // SAFETY: as in `bytes`.
    unsafe {
        let mut length = 0;
        let start = ffi::lua_tolstring(state, index, &raw mut length);
        slice::from_raw_parts(start.cast(), length)
    }
}

/// A value and everything in it.
unsafe fn value(state: *mut ffi::lua_State, index: c_int, depth: usize) -> Result<Value, String> {
    // SAFETY: reads the value of a valid index with calls that can't raise.
    unsafe {
        Ok(match kind(state, index) {
            Kind::Boolean => Value::Bool(ffi::lua_toboolean(state, index) != 0),
            Kind::Number => number(ffi::lua_tonumber(state, index)),
            Kind::Text => bytes(state, index).map_or(Value::Nil, Value::text),
            Kind::Table => table(state, index, depth)?,
            Kind::Function => Value::Foreign("function"),
            Kind::Other => foreign(state, index),
            Kind::None | Kind::Nil => Value::Nil,
        })
    }
}

/// A value that JSON does not know. Of light userdata `ngx.null` stands for nothing; so do the
/// others, which are marks.
unsafe fn foreign(state: *mut ffi::lua_State, index: c_int) -> Value {
    // SAFETY: the caller's index is valid.
    match unsafe { ffi::lua_type(state, index) } {
        ffi::LUA_TLIGHTUSERDATA => Value::Nil,
        ffi::LUA_TTHREAD => Value::Foreign("thread"),
        ffi::LUA_TUSERDATA => Value::Foreign("userdata"),
        _ => Value::Foreign("cdata"),
    }
}

/// A number: whole where it is.
pub(crate) fn number(n: f64) -> Value {
    Value::Number(n).as_int().map_or(Value::Number(n), Value::Int)
}

/// A table: a list if its keys are 1 to n, or if its metatable says so.
unsafe fn table(state: *mut ffi::lua_State, index: c_int, depth: usize) -> Result<Value, String> {
    // SAFETY: the index is a table's; the stack is checked before anything is pushed, and what is
    // pushed is popped. lua_next can't raise for keys it has given itself.
    unsafe {
        if depth > DEPTH || ffi::lua_checkstack(state, 8) == 0 {
            return Err("the table is nested too deep, or contains itself".to_owned());
        }
        let index = ffi::lua_absindex(state, index);
        let mut marked = false;
        if ffi::lua_getmetatable(state, index) != 0 {
            ffi::lua_rawgeti(state, -1, ARRAY_MARK);
            marked = ffi::lua_toboolean(state, -1) != 0;
            ffi::lua_settop(state, -3);
        }
        let length = ffi::lua_objlen(state, index);
        let mut pairs = Vec::new();
        let mut in_order = length > 0 || marked;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, index) != 0 {
            let item = value(state, -1, depth + 1);
            let key = value(state, -2, DEPTH);
            ffi::lua_settop(state, -2);
            match (key, item) {
                (Ok(key), Ok(item)) => {
                    let place = i64::try_from(pairs.len() + 1).unwrap_or(i64::MAX);
                    in_order = in_order && key == Value::Int(place);
                    pairs.push((key, item));
                }
                (_, Err(error)) | (Err(error), _) => {
                    ffi::lua_settop(state, -2);
                    return Err(error);
                }
            }
        }
        if !in_order && length > 0 && pairs.len() == length {
            // All there, in the order of a hash table.
            pairs.sort_by_key(|(key, _)| key.as_int());
            in_order = (1..).zip(&pairs).all(|(place, (key, _))| key == &Value::Int(place));
        }
        if marked && !in_order {
            // As lua-cjson: of a marked list what stands under 1 to n counts.
            let place = |key: &Value| key.as_int().and_then(|key| usize::try_from(key).ok());
            pairs.retain(|(key, _)| place(key).is_some_and(|key| (1..=length).contains(&key)));
            pairs.sort_by_key(|(key, _)| key.as_int());
            return Ok(Value::Array(pairs.into_iter().map(|(_, item)| item).collect()));
        }
        if let Some(items) = sparse(&mut pairs, length) {
            return Ok(Value::Array(items));
        }
        if in_order && pairs.len() >= length {
            return Ok(Value::Array(pairs.into_iter().map(|(_, item)| item).collect()));
        }
        Ok(Value::Map(pairs))
    }
}

/// A list with holes, by lua-cjson's rule: not too many of them.
fn sparse(pairs: &mut Vec<(Value, Value)>, length: usize) -> Option<Vec<Value>> {
    if pairs.is_empty() || pairs.len() == length {
        return None;
    }
    let place = |key: &Value| key.as_int().and_then(|key| usize::try_from(key).ok());
    let mut last = 0;
    for (key, _) in &*pairs {
        last = last.max(place(key).filter(|key| *key > 0)?);
    }
    if last > 10 && last > pairs.len() * 2 {
        return None;
    }
    let mut items = vec![Value::Nil; last];
    for (key, item) in pairs.drain(..) {
        let slot = place(&key).and_then(|key| items.get_mut(key - 1));
        if let Some(slot) = slot {
            *slot = item;
        }
    }
    Some(items)
}

/// Pushes a value and everything in it. May raise a Lua error (no memory).
unsafe fn push_value(state: *mut ffi::lua_State, value: &Value) {
    // SAFETY: makes room before it pushes.
    unsafe {
        ffi::luaL_checkstack(state, 4, c"the value is nested too deep".as_ptr());
        match value {
            Value::Nil | Value::Foreign(_) => ffi::lua_pushnil(state),
            Value::Bool(b) => ffi::lua_pushboolean(state, (*b).into()),
            #[expect(clippy::cast_precision_loss, reason = "Lua numbers are doubles")]
            Value::Int(n) => ffi::lua_pushnumber(state, *n as f64),
            Value::Number(n) => ffi::lua_pushnumber(state, *n),
            Value::Text(text) | Value::Binary(text) => push_bytes(state, text),
            Value::Array(items) => {
                ffi::lua_createtable(state, c_int::try_from(items.len()).unwrap_or(0), 0);
                for (place, item) in (1..).zip(items) {
                    push_value(state, item);
                    ffi::lua_rawseti(state, -2, place);
                }
            }
            Value::Map(pairs) => {
                ffi::lua_createtable(state, 0, c_int::try_from(pairs.len()).unwrap_or(0));
                for (key, item) in pairs {
                    if key.is_nil() || matches!(key, Value::Number(n) if n.is_nan()) {
                        continue;
                    }
                    push_value(state, key);
                    push_value(state, item);
                    ffi::lua_rawset(state, -3);
                }
            }
            Value::Entity(record) => {
                ffi::lua_createtable(state, 0, c_int::try_from(record.len()).unwrap_or(0));
                for (key, item) in record.iter().filter(|(_, item)| !item.is_null()) {
                    push_bytes(state, key.as_bytes());
                    push_json(state, item);
                    ffi::lua_rawset(state, -3);
                }
            }
        }
    }
}

unsafe fn push_bytes(state: *mut ffi::lua_State, text: &[u8]) {
    // SAFETY: pointer and length are the slice's own.
    unsafe { ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len()) };
}

/// Pushes JSON; members that are null are absent.
unsafe fn push_json(state: *mut ffi::lua_State, json: &serde_json::Value) {
    use serde_json::Value as Json;
    // SAFETY: makes room before it pushes.
    unsafe {
        ffi::luaL_checkstack(state, 4, c"the value is nested too deep".as_ptr());
        match json {
            Json::Null => ffi::lua_pushnil(state),
            Json::Bool(b) => ffi::lua_pushboolean(state, (*b).into()),
            Json::Number(n) => ffi::lua_pushnumber(state, n.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => push_bytes(state, text.as_bytes()),
            Json::Array(items) => {
                ffi::lua_createtable(state, c_int::try_from(items.len()).unwrap_or(0), 0);
                for (place, item) in (1..).zip(items) {
                    push_json(state, item);
                    ffi::lua_rawseti(state, -2, place);
                }
            }
            Json::Object(map) => {
                ffi::lua_createtable(state, 0, c_int::try_from(map.len()).unwrap_or(0));
                for (key, item) in map.iter().filter(|(_, item)| !item.is_null()) {
                    push_bytes(state, key.as_bytes());
                    push_json(state, item);
                    ffi::lua_rawset(state, -3);
                }
            }
        }
    }
}

unsafe fn push_out(state: *mut ffi::lua_State, out: &Out) {
    // SAFETY: C functions have room for 20 values; more is asked for.
    unsafe {
        match out {
            Out::Nil => ffi::lua_pushnil(state),
            Out::Bool(b) => ffi::lua_pushboolean(state, (*b).into()),
            Out::Number(n) => ffi::lua_pushnumber(state, *n),
            Out::Text(text) => push_bytes(state, text),
            Out::Owned(text) => push_bytes(state, text),
            Out::Static(text) => push_bytes(state, text.as_bytes()),
            Out::Value(value) => push_value(state, value),
        }
    }
}

/// What is to be done once results have been pushed and everything else is gone.
enum Next {
    Return(c_int),
    Raise,
    Yield,
}

unsafe fn push_outcome(state: *mut ffi::lua_State, outcome: &Outcome) -> Next {
    // SAFETY: makes room before it pushes.
    unsafe {
        match outcome {
            Outcome::Nothing => Next::Return(0),
            Outcome::One(out) => {
                push_out(state, out);
                Next::Return(1)
            }
            Outcome::Two(first, second) => {
                push_out(state, first);
                push_out(state, second);
                Next::Return(2)
            }
            Outcome::Many(all) => {
                let count = c_int::try_from(all.len()).unwrap_or(0);
                ffi::luaL_checkstack(state, count, c"too many results".as_ptr());
                all.iter().for_each(|out| push_out(state, out));
                Next::Return(count)
            }
            Outcome::Raise(text) => {
                ffi::luaL_where(state, 1);
                push_bytes(state, text.as_bytes());
                ffi::lua_concat(state, 2);
                Next::Raise
            }
            Outcome::Never => {
                ffi::lua_pushlightuserdata(state, wait_mark());
                Next::Yield
            }
        }
    }
}

/// A value of Lua's and everything in it.
///
/// # Errors
/// As [`Args::value`].
pub(crate) fn read(lua: &Lua, given: &mlua::Value) -> Result<Value, String> {
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        // SAFETY: there is room for one value more, which is taken off again.
        unsafe {
            if ffi::lua_checkstack(state, 2) == 0 {
                return Err("no room on the stack".to_owned());
            }
            raw.push_value(given).map_err(|error| error.to_string())?;
            let value = value(state, -1, 0);
            ffi::lua_settop(state, -2);
            value
        }
    })
}

/// A value of a state that Rust holds on to, and that costs little to come back to.
pub(crate) struct Anchor {
    lua: WeakLua,
    index: c_int,
}

impl Anchor {
    /// Holds on to a value.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn new(lua: &Lua, value: impl IntoLua) -> mlua::Result<Anchor> {
        let mut index = 0;
        // SAFETY: runs protected; the value is on the stack and is taken off it.
        unsafe {
            lua.exec_raw::<()>(value.into_lua(lua)?, |state| {
                index = ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX);
            })?;
        }
        Ok(Anchor { lua: lua.weak(), index })
    }

    /// The table.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn table(&self, lua: &Lua) -> mlua::Result<Table> {
        lua.exec_raw_lua(|raw| {
            // SAFETY: there is room for one value more, which is taken off again.
            unsafe {
                if ffi::lua_checkstack(raw.state(), 2) == 0 {
                    return Err(mlua::Error::StackError);
                }
                ffi::lua_rawgeti(raw.state(), ffi::LUA_REGISTRYINDEX, self.index.into());
                raw.pop()
            }
        })
    }
}

impl Anchor {
    /// The value and everything in it.
    ///
    /// # Errors
    /// As [`Args::value`], and if the state has ended.
    pub(crate) fn read(&self) -> Result<Value, String> {
        let lua = self.lua.try_upgrade().ok_or("the Lua state has ended")?;
        lua.exec_raw_lua(|raw| {
            let state = raw.state();
            // SAFETY: there is room for one value more, which is taken off again. Reading the
            // registry raises nothing.
            unsafe {
                if ffi::lua_checkstack(state, 2) == 0 {
                    return Err("no room on the stack".to_owned());
                }
                ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, self.index.into());
                let value = value(state, -1, 0);
                ffi::lua_settop(state, -2);
                value
            }
        })
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if let Some(lua) = self.lua.try_upgrade() {
            lua.exec_raw_lua(|raw| {
                // SAFETY: the index was given by luaL_ref and is given back once.
                unsafe { ffi::luaL_unref(raw.state(), ffi::LUA_REGISTRYINDEX, self.index) };
            });
        }
    }
}

type Body = Box<dyn Fn(&Args<'_>) -> Outcome>;

/// What functions are made of; a state's data, so that they live as long as it does.
#[derive(Default)]
struct Bodies(RefCell<Vec<Box<dyn Any>>>);

/// Has a state own what a function of it is made of.
fn keep(lua: &Lua, body: Box<dyn Any>) {
    if lua.app_data_ref::<Bodies>().is_none() {
        lua.set_app_data(Bodies::default());
    }
    if let Some(bodies) = lua.app_data_ref::<Bodies>() {
        bodies.0.borrow_mut().push(body);
    }
}

/// Makes a function for Lua. It must not keep the Lua state alive: no handle of mlua's in it.
///
/// # Errors
/// If there is no memory.
pub(crate) fn function(
    lua: &Lua,
    body: impl Fn(&Args<'_>) -> Outcome + 'static,
) -> mlua::Result<Function> {
    let body: Box<Body> = Box::new(Box::new(body));
    let address: *const Body = &raw const *body;
    keep(lua, body);
    // SAFETY: runs protected; the address is that of a box that the state owns, which is dropped
    // after the last function that could be called.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_pushlightuserdata(state, address.cast_mut().cast());
            ffi::lua_pushcclosure(state, enter, 1);
        })
    }
}

/// What a function is made of that takes a value.
struct Keeper {
    lua: WeakLua,
    keep: Box<dyn Fn(Anchor)>,
}

/// Makes a function that holds on to its last argument, as [`function`] does.
///
/// # Errors
/// If there is no memory.
pub(crate) fn keeping(lua: &Lua, keep: impl Fn(Anchor) + 'static) -> mlua::Result<Function> {
    let keeper = Rc::new(Keeper { lua: lua.weak(), keep: Box::new(keep) });
    let address: *const Keeper = Rc::as_ptr(&keeper);
    // It belongs to a function of the state, which nobody calls, and lives as long as that.
    function(lua, move |_| {
        let _kept: &Rc<Keeper> = &keeper;
        Outcome::Nothing
    })?;
    // SAFETY: as in `function`.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_pushlightuserdata(state, address.cast_mut().cast());
            ffi::lua_pushcclosure(state, enter_keeping, 1);
        })
    }
}

/// Where Lua enters a function that takes a value.
unsafe extern "C-unwind" fn enter_keeping(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the upvalue is the address that `keeping` has put there. Only luaL_ref can raise an
    // error, when nothing is there to be dropped.
    unsafe {
        let keeper: *const Keeper = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast();
        let index = ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX);
        let anchor = Anchor { lua: (*keeper).lua.clone(), index };
        // A panic drops the anchor, which gives the value back.
        let _ = catch_unwind(AssertUnwindSafe(|| ((*keeper).keep)(anchor)));
    }
    0
}

/// Where Lua enters a function.
unsafe extern "C-unwind" fn enter(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the upvalue is the address that `function` has put there.
    unsafe {
        let body: *const Body = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast();
        let args = Args::of(state);
        leave(state, catch_unwind(AssertUnwindSafe(|| (*body)(&args))))
    }
}

/// Gives Lua what has come of a function, or its panic.
unsafe fn leave(state: *mut ffi::lua_State, outcome: thread::Result<Outcome>) -> c_int {
    // SAFETY: the caller's state is the one that has called.
    let next = unsafe {
        let outcome = outcome
            .unwrap_or_else(|_| Outcome::Raise("a function of the gateway panicked".to_owned()));
        push_outcome(state, &outcome)
    };
    // SAFETY: nothing is left to be dropped.
    unsafe {
        match next {
            Next::Return(count) => count,
            Next::Raise => ffi::lua_error(state),
            Next::Yield => ffi::lua_yield(state, 1),
        }
    }
}

static WAIT: u8 = 0;

/// What a coroutine yields that waits for the gateway, unlike one that yields for itself.
fn wait_mark() -> *mut c_void {
    (&raw const WAIT).cast_mut().cast()
}

/// The same as a value, for the Lua side.
pub(crate) fn wait_value() -> mlua::LightUserData {
    mlua::LightUserData(wait_mark())
}

/// What came of entering a coroutine.
pub(crate) enum Step {
    /// Its function returned; it can be used for another.
    Finished,
    /// It waits for the gateway.
    Waiting,
    /// It yielded for itself.
    Yielded,
    /// An error, with a traceback; it can't be used any more.
    Failed(String),
    /// It was stopped, since it did not end.
    Stopped(String),
}

/// A coroutine of the scheduler's.
pub(crate) struct Coroutine(Thread);

thread_local! {
    static COROUTINES: Cell<usize> = const { Cell::new(0) };
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        COROUTINES.set(COROUTINES.get() - 1);
    }
}

impl Coroutine {
    /// A new one.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn new(lua: &Lua, any: &Function) -> mlua::Result<Coroutine> {
        let coroutine = Coroutine(lua.create_thread(any.clone())?);
        COROUTINES.set(COROUTINES.get() + 1);
        coroutine.clear();
        Ok(coroutine)
    }

    /// How many there are on this thread.
    pub(crate) fn count() -> usize {
        COROUTINES.get()
    }

    /// Forgets what its function has left.
    fn clear(&self) {
        // SAFETY: it is not running: only `Coroutine::enter` runs it, and that has returned.
        unsafe { ffi::lua_settop(self.0.state(), 0) };
    }

    /// Has it run a function. It must be new, or have [finished](Step::Finished).
    pub(crate) fn start(&self, lua: &Lua, function: &Function, args: &[&mlua::Value]) -> Step {
        let pushed = lua.exec_raw_lua(|raw| {
            let count = c_int::try_from(args.len()).unwrap_or(0);
            // SAFETY: both stacks have room; what is pushed on the one is moved to the other.
            unsafe {
                if ffi::lua_checkstack(self.0.state(), count + 2) == 0 {
                    return Err(mlua::Error::StackError);
                }
                raw.push_value(&mlua::Value::Function(function.clone()))?;
                ffi::lua_xmove(raw.state(), self.0.state(), 1);
                for arg in args {
                    raw.push_value(arg)?;
                    ffi::lua_xmove(raw.state(), self.0.state(), 1);
                }
            }
            Ok(count)
        });
        match pushed {
            Ok(count) => self.enter(lua, count),
            Err(error) => Step::Failed(error.to_string()),
        }
    }

    /// The same for values that are [anchored](Anchor): the first is called with the others.
    pub(crate) fn start_anchored(&self, lua: &Lua, values: &[Anchor]) -> Step {
        let co = self.0.state();
        let count = c_int::try_from(values.len()).unwrap_or(c_int::MAX);
        // SAFETY: the stack has room for what is pushed; reading the registry raises nothing.
        unsafe {
            if ffi::lua_checkstack(co, count) == 0 {
                return Step::Failed(mlua::Error::StackError.to_string());
            }
            for value in values {
                ffi::lua_rawgeti(co, ffi::LUA_REGISTRYINDEX, value.index.into());
            }
        }
        self.enter(lua, count - 1)
    }

    /// Goes on with one that [waits](Step::Waiting) or has [yielded](Step::Yielded).
    pub(crate) fn resume(&self, lua: &Lua) -> Step {
        self.clear();
        self.enter(lua, 0)
    }

    fn enter(&self, lua: &Lua, count: c_int) -> Step {
        let co = self.0.state();
        let mut results = 0;
        // SAFETY: the coroutine is not running, is in a state that can be resumed, and has its
        // function (if it is new) and arguments on its stack.
        let status = unsafe { ffi::lua_resume(co, ptr::null_mut(), count, &raw mut results) };
        match status {
            ffi::LUA_OK => Step::Finished,
            ffi::LUA_YIELD => {
                // SAFETY: what was yielded is on the stack.
                let mark = unsafe { (results == 1).then(|| ffi::lua_touserdata(co, -1)) };
                if mark == Some(wait_mark()) { Step::Waiting } else { Step::Yielded }
            }
            // The stack is not to be looked at: compiled code has left it as it was.
            ffi::LUA_ERRMEM => Step::Failed(NO_MEMORY.to_owned()),
            _ => Step::Failed(self.fault(lua)),
        }
    }

    /// What its function has returned; for one that has [finished](Step::Finished).
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn results(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        lua.exec_raw_lua(|raw| {
            // SAFETY: moves values between the stacks of one state, then takes them off.
            unsafe {
                let count = ffi::lua_gettop(self.0.state());
                let mut values = MultiValue::new();
                if ffi::lua_checkstack(raw.state(), count + 2) == 0 {
                    return Err(mlua::Error::StackError);
                }
                for _ in 0..count {
                    ffi::lua_xmove(self.0.state(), raw.state(), 1);
                    values.push_front(raw.pop::<mlua::Value>()?);
                }
                Ok(values)
            }
        })
    }

    /// Takes it back for the next function; for one that has [finished](Step::Finished).
    pub(crate) fn recycled(self) -> Coroutine {
        self.clear();
        self
    }

    /// The text of the error that ended it, and where it happened.
    fn fault(&self, lua: &Lua) -> String {
        let co = self.0.state();
        // SAFETY: the error's value is on top of the dead coroutine's stack.
        let text = unsafe { bytes(co, -1) }.map(<[u8]>::to_vec);
        let text = text.unwrap_or_else(|| self.odd_fault(lua).into_bytes());
        // SAFETY: runs protected; the dead coroutine's stack can still be looked at.
        let traceback: mlua::Result<mlua::LuaString> =
            unsafe { lua.exec_raw((), |state| ffi::luaL_traceback(state, co, ptr::null(), 0)) };
        let text = String::from_utf8_lossy(&text).into_owned();
        match traceback {
            Ok(traceback) => format!("{text}\n{}", traceback.to_string_lossy()),
            Err(_) => text,
        }
    }

    /// The text of an error whose value is no string.
    fn odd_fault(&self, lua: &Lua) -> String {
        let value = lua.exec_raw_lua(|raw| {
            // SAFETY: a copy of the value moves to the other stack, which has room for it.
            unsafe {
                if ffi::lua_gettop(self.0.state()) == 0 {
                    return Ok(mlua::Value::Nil);
                }
                ffi::lua_pushvalue(self.0.state(), -1);
                ffi::lua_xmove(self.0.state(), raw.state(), 1);
                raw.pop::<mlua::Value>()
            }
        });
        match value {
            Ok(mlua::Value::Error(error)) => plain(&error),
            Ok(value) => value.to_string().unwrap_or_else(|error| error.to_string()),
            Err(error) => error.to_string(),
        }
    }
}

/// The text of an error of mlua's, without the words it puts around.
pub(crate) fn plain(error: &mlua::Error) -> String {
    match error {
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::CallbackError { cause, .. } => plain(cause),
        other => other.to_string(),
    }
}
