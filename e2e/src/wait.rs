//! Waiting with a deadline.

use std::time::{Duration, Instant};

/// How long things may take that take long only when they will never happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `what` every 20 ms until it gives a value. Panics after `limit`, naming `waiting_for`.
pub fn wait_for<T>(waiting_for: &str, limit: Duration, mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = what() {
            return value;
        }
        if Instant::now() > deadline {
            panic!("waited {limit:?} in vain for {waiting_for}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `what` holds; see [`wait_for`].
pub fn wait_until(waiting_for: &str, limit: Duration, mut what: impl FnMut() -> bool) {
    wait_for(waiting_for, limit, || what().then_some(()));
}
