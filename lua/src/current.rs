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

/// Works on the exchange; none outside of [`enter`], and within another `with`.
pub(crate) fn with<R>(work: impl FnOnce(&mut Exchange) -> R) -> Option<R> {
    let mut exchange = SLOT.take()?;
    let _restore = Restore(Some(exchange));
    // SAFETY: the pointer was made of a unique reference that `enter` holds until after it has
    // taken the pointer out of the slot again. The slot is empty while this reference lives, so
    // that it is the only one made of it.
    Some(work(unsafe { exchange.as_mut() }))
}
