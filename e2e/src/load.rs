//! Steady load through a gateway, from threads with connections that are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::{Answer, Connection, NoAnswer, Request};

/// One request of a load and how it ended.
pub struct Shot {
    /// Which of the load's requests it was.
    pub request: usize,
    /// When it was sent.
    pub sent: Instant,
    /// How long it took.
    pub took: Duration,
    /// The answer, or why there is none.
    pub answer: Result<Answer, NoAnswer>,
}

/// Threads that send requests until they are told to stop.
pub struct Load {
    threads: Vec<JoinHandle<Vec<Shot>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts `threads` connections to `address`; each sends the requests in turn, without
    /// a pause after what succeeds.
    pub fn start(address: &str, threads: usize, requests: &[Request]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |thread: usize| {
            let (address, requests, stop) = (address.to_string(), requests.to_vec(), stop.clone());
            std::thread::spawn(move || run(&address, &requests, thread, &stop))
        };
        Load { threads: (0..threads).map(start).collect(), stop }
    }

    /// Ends the load; all that was sent, in no particular order.
    pub fn stop(self) -> Vec<Shot> {
        self.stop.store(true, Ordering::Relaxed);
        let join = |thread: JoinHandle<Vec<Shot>>| match thread.join() {
            Ok(shots) => shots,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        self.threads.into_iter().flat_map(join).collect()
    }
}

/// How many of the shots ended with each status, 0 for no answer, as `200: 1042, 500: 3`.
pub fn tally(shots: &[Shot]) -> String {
    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    for shot in shots {
        *counts.entry(shot.answer.as_ref().map_or(0, |a| a.status)).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(status, n)| format!("{status}: {n}")).collect();
    parts.join(", ")
}

fn run(address: &str, requests: &[Request], thread: usize, stop: &AtomicBool) -> Vec<Shot> {
    let mut shots = Vec::new();
    let mut connection = None;
    let mut turn = thread;
    while !stop.load(Ordering::Relaxed) {
        let request = turn % requests.len();
        turn += 1;
        let sent = Instant::now();
        let answer = shoot(&mut connection, address, &requests[request]);
        // A gateway that is gone, or refuses at once, must not take all CPU from what it waits for.
        if answer.as_ref().is_ok_and(|answer| answer.status >= 500) {
            std::thread::sleep(Duration::from_millis(2));
        } else if answer.is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        shots.push(Shot { request, sent, took: sent.elapsed(), answer });
    }
    shots
}

fn shoot(
    kept: &mut Option<Connection>,
    address: &str,
    request: &Request,
) -> Result<Answer, NoAnswer> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address, Duration::from_secs(15))?,
    };
    let answer = connection.ask(request, true)?;
    let closes = answer.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    if !closes && !answer.truncated {
        *kept = Some(connection);
    }
    Ok(answer)
}
