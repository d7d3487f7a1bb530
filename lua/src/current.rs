//! The exchange that Lua works on now: how functions that Lua calls reach it.
//!
//! A handler has a `&mut Exchange`; between it and the functions that its code calls lies the
//! interpreter, which can't pass a reference on. So the reference waits in a slot of the thread
//! while Lua runs, and whoever needs it takes it out for as long as it is used.
#![expect(unsafe_code, reason = "the slot holds a reference without its lifetime; see above")]

use std::{cell::Cell, ptr::NonNull};

use silverback_pdk::Exchange;

thread_local! {
    static SLOT: Cell<Option<NonNull<Exchange>>> = const { Cell::new(None) };
    static TOGETHER: Together = const {
        Together {
            at: Cell::new(Place::ALONE.0),
            stop: Cell::new(0),
            numbers: [const { Cell::new(0) }; TOGETHER_MAX],
        }
    };
}

/// How many handlers may run together.
pub(crate) const TOGETHER_MAX: usize = 16;

/// Handlers that are entered together. The first two fields are shared with Lua code
/// (`together.rs`).
#[repr(C)]
struct Together {
    /// Whose turn it is.
    at: Cell<u32>,
    /// Whether those behind it have none.
    stop: Cell<u32>,
    /// The instances.
    numbers: [Cell<u32>; TOGETHER_MAX],
}

/// Whose turn it is among handlers that run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// A handler by itself, or none.
    pub(crate) const ALONE: Place = Place(u32::MAX);
    /// The first of several.
    pub(crate) const FIRST: Place = Place(0);

    /// As an index; none of a handler by itself.
    pub(crate) fn index(self) -> Option<usize> {
        (self != Place::ALONE).then_some(self.0 as usize)
    }
}

/// Where Lua code finds whose turn it is, on this thread: two numbers of 32 bits.
pub(crate) fn together_cells() -> mlua::LightUserData {
    let address = TOGETHER.with(|together| together.at.as_ptr());
    mlua::LightUserData(address.cast())
}

/// Whose turn it is now.
pub(crate) fn place() -> Place {
    Place(TOGETHER.with(|together| together.at.get()))
}

/// Of handlers that run together, none has a turn after the one that runs.
pub(crate) fn stop() {
    TOGETHER.with(|together| together.stop.set(1));
}

/// Puts back what was in the slot, also when a panic passes.
struct Restore(Option<NonNull<Exchange>>);

impl Drop for Restore {
    fn drop(&mut self) {
        SLOT.set(self.0);
    }
}

/// Runs something with the exchange in the slot.
pub(crate) fn enter<R>(exchange: &mut Exchange, run: impl FnOnce() -> R) -> R {
    let _restore = Restore(SLOT.replace(Some(NonNull::from(exchange))));
    run()
}

/// Runs handlers of these instances from a place on, or a handler by itself if there are none;
/// `place` becomes that of the one that had its turn last. It may be called within itself.
pub(crate) fn together<R>(
    numbers: &[u32],
    stopped: bool,
    place: &mut Place,
    run: impl FnOnce() -> R,
) -> R {
    let before = TOGETHER.with(|together| {
        for (cell, number) in together.numbers.iter().zip(numbers) {
            cell.set(*number);
        }
        if !numbers.is_empty() {
            together.stop.set(stopped.into());
        }
        together.at.replace(place.0)
    });
    let result = run();
    place.0 = TOGETHER.with(|together| together.at.replace(before));
    result
}

/// Works on the exchange; none outside of [`enter`], and within another `with`.
#[inline]
pub(crate) fn with<R>(work: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
    let mut exchange = SLOT.take()?;
    let _restore = Restore(Some(exchange));
    // SAFETY: the pointer was made of a unique reference that `enter` holds until after it has
    // taken the pointer out of the slot again. The slot is empty while this reference lives, so
    // that it is the only one made of it.
    let exchange = unsafe { exchange.as_mut() };
    TOGETHER.with(|together| {
        if let Some(number) = together.numbers.get(together.at.get() as usize) {
            exchange.running = Some(number.get());
        }
    });
    Some(work(exchange))
}
