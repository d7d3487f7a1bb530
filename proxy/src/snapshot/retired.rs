//! Snapshots that are not served any more. Freeing a hundred thousand routes takes tens of
//! milliseconds, which no request should wait for: a thread keeps each until nobody else has it.

use std::{
    sync::{Arc, LazyLock, OnceLock, mpsc},
    thread,
    time::Duration,
};

use super::Snapshot;
use crate::give_way;

/// How long it waits between looks: at first, and at the most where something is in use for long.
const GLANCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Sees to it that a snapshot is freed where nobody waits for it.
pub fn retire(snapshot: Arc<Snapshot>) {
    static THREAD: LazyLock<mpsc::Sender<Arc<Snapshot>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("retired".to_owned());
        // Without a thread they are freed by whoever has them last.
        let _ = thread.spawn(move || {
            give_way();
            free(&receiver);
        });
        sender
    });
    let _ = THREAD.send(snapshot);
}

/// What is to be done when all snapshots that are over have been freed, and none has come for a
/// while: the first that is said.
pub fn after_freeing(work: fn()) {
    let _ = AFTER.set(work);
}

static AFTER: OnceLock<fn()> = OnceLock::new();

fn free(retired: &mpsc::Receiver<Arc<Snapshot>>) {
    let mut kept: Vec<Arc<Snapshot>> = Vec::new();
    let mut glance = GLANCE[0];
    let mut tidy = true;
    loop {
        let next = match kept.is_empty() {
            true if tidy => retired.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            true => retired.recv_timeout(GLANCE[1]),
            false => retired.recv_timeout(glance),
        };
        match next {
            Ok(snapshot) => {
                kept.push(snapshot);
                glance = GLANCE[0];
                tidy = false;
            }
            Err(mpsc::RecvTimeoutError::Timeout) if kept.is_empty() => {
                AFTER.get().into_iter().for_each(|work| work());
                tidy = true;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => glance = (glance * 2).min(GLANCE[1]),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        kept.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}
