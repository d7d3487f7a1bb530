//! Work that takes long and that nobody's request should wait for.

use std::thread;

/// Does work on a thread that gives way to the workers, and waits for it. Where there can be no
/// thread it is done on this one.
pub(crate) fn giving_way<T: Send>(work: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("loading".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            silverback_proxy::give_way();
            work()
        });
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done() {
        let here = thread::current().id();
        assert_ne!(giving_way(|| thread::current().id()), here);
    }
}
