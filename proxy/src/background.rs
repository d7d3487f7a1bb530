//! Threads of work that no request should wait for.

/// How much such a thread gives way to what else there is to do.
const NICE: i32 = 10;

/// Has this thread give way to the workers: where all have one core, requests are answered
/// meanwhile as ever. It can't be taken back.
pub fn give_way() {
    // It is as well done at full speed.
    let _ = rustix::process::nice(NICE);
}
