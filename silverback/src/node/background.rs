//! Work that takes long and that nobody's request should wait for.

use std::thread;

/// Does work on a thread that gives way to the workers, and waits for it. Where there can be no
/// thread it is done on this one.
pub(crate) fn giving_way<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let mut work = Some(work);
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().name("loading".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            silverback_proxy::give_way();
            work.take().map(|work| work())
        });
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => None,
        }
    });
    match (done, work) {
        (Some(done), _) => done,
        (None, Some(work)) => work(),
        (None, None) => unreachable!("a thread that has taken its work has done it"),
    }
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
