//! Counters that nodes share.
//!
//! What waits to be counted is counted together, in one transaction for all requests that came
//! while the last one ran: their rows are locked, in an order that is the same for all nodes and
//! for Kong's, so that what is read is what is still so when it is written. No request counts by
//! a number that another has changed since, and none waits for more than two transactions.

mod batch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use silverback_model::counters::{Count, Tally};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::batch::Batch;
use super::error::DatabaseError;
use super::pool::Pool;

/// How many may wait to be counted.
const WAITING: usize = 10_000;
/// How many are counted together.
const TOGETHER: usize = 1_000;
/// How often a transaction is tried that loses against another.
const TRIES: usize = 5;
/// How long nobody waits for a database that could not be reached: who asks within this time is
/// told at once.
const REST: Duration = Duration::from_secs(1);

/// What was used before, of each window in turn, or why that can't be said.
type Answer = Result<Vec<u64>, String>;

/// Someone who waits for an answer.
struct Asked {
    count: Count,
    answer: oneshot::Sender<Answer>,
}

/// The counters of both tables.
#[derive(Debug)]
pub(super) struct Counters {
    requests: mpsc::Sender<Asked>,
    answers: mpsc::Sender<Asked>,
}

impl Counters {
    pub(super) fn start(pool: &Arc<Pool>, io: &Handle) -> Counters {
        let start = |tally| {
            let (sender, inbox) = mpsc::channel(WAITING);
            io.spawn(run(tally, Arc::clone(pool), inbox));
            sender
        };
        Counters { requests: start(Tally::Requests), answers: start(Tally::Answers) }
    }

    /// Counts on the store's thread, whether or not its answer is waited for.
    pub(super) fn count(&self, tally: Tally, count: Count) -> BoxFuture<'static, Answer> {
        let sender = match tally {
            Tally::Requests => &self.requests,
            Tally::Answers => &self.answers,
        };
        let (answer, coming) = oneshot::channel();
        let sent = sender.try_send(Asked { count, answer });
        async move {
            sent.map_err(|_| format!("{WAITING} wait for the database to count them already"))?;
            coming.await.unwrap_or_else(|_| Err("the database is being left".to_owned()))
        }
        .boxed()
    }
}

async fn run(tally: Tally, pool: Arc<Pool>, mut inbox: mpsc::Receiver<Asked>) {
    let mut failed: Option<(Instant, String)> = None;
    let mut asked = Vec::new();
    while inbox.recv_many(&mut asked, TOGETHER).await > 0 {
        let resting = failed.as_ref().filter(|(at, _)| at.elapsed() < REST);
        let outcome = match resting {
            Some((_, text)) => Err(text.clone()),
            None => {
                let counts: Vec<&Count> = asked.iter().map(|asked| &asked.count).collect();
                let outcome = count(tally, &pool, &counts).await;
                let away = outcome.as_ref().err().filter(|error| error.is_unreachable());
                failed = away.map(|error| (Instant::now(), error.to_string()));
                outcome.map_err(|error| error.to_string())
            }
        };
        match outcome {
            Ok(used) => {
                for (asked, used) in asked.drain(..).zip(used) {
                    let _ = asked.answer.send(Ok(used));
                }
            }
            Err(text) => {
                for asked in asked.drain(..) {
                    let _ = asked.answer.send(Err(text.clone()));
                }
            }
        }
    }
}

async fn count(
    tally: Tally,
    pool: &Arc<Pool>,
    counts: &[&Count],
) -> Result<Vec<Vec<u64>>, DatabaseError> {
    let mut attempt = 1;
    loop {
        let outcome = Batch::of(tally, counts).count(pool).await;
        let again = |error: &DatabaseError| error.is_lost_race() || error.is_unreachable();
        match outcome {
            // A connection that was closed while it was idle is found out here: another may do.
            Err(error) if again(&error) && attempt < limit(&error) => attempt += 1,
            outcome => return outcome,
        }
    }
}

fn limit(error: &DatabaseError) -> usize {
    if error.is_unreachable() { 2 } else { TRIES }
}
