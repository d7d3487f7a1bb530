//! Work that takes long and that nobody's request should wait for.

use std::{io, thread};

/// Does work on a thread that gives way to the workers, and waits for it.
///
/// # Errors
/// If there can be no thread; nothing was done then.
pub(crate) fn giving_way<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("loading".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            silverback_proxy::give_way();
            work()
        })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done() {
        let here = thread::current().id();
        assert_ne!(giving_way(|| thread::current().id()).expect("a thread"), here);
    }
}
