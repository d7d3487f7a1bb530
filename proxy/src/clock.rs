//! Deadlines that are seldom reached. A timer of the runtime costs more to set and to take back
//! than most waits last; this one is set once and serves many waits.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is made when something is first waited for, and set anew only when it goes off or
/// an earlier deadline comes.
#[derive(Default)]
pub(crate) struct Clock(Option<Pin<Box<Sleep>>>);

impl Clock {
    /// Ready when the deadline has passed; else the task is woken then.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        pin::pin,
        time::Duration,
    };

    use super::*;

    /// What `future` gives before the deadline.
    async fn within<T>(
        clock: &mut Clock,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => clock.poll(deadline, cx).map(|()| None),
        })
        .await
    }

    #[test]
    fn each_wait_has_its_own_deadline() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let mut clock = Clock::default();
            let begin = Instant::now();
            assert_eq!(
                within(&mut clock, begin + Duration::from_secs(60), async { 1 }).await,
                Some(1)
            );
            // Later than the last one was set for, earlier, later again.
            for milliseconds in [60_000, 20, 50, 30] {
                let wait = Duration::from_millis(milliseconds);
                let begin = Instant::now();
                if milliseconds > 1000 {
                    let quick = within(&mut clock, begin + wait, tokio::task::yield_now()).await;
                    assert_eq!(quick, Some(()));
                } else {
                    assert_eq!(within(&mut clock, begin + wait, pending::<()>()).await, None);
                    assert!(begin.elapsed() >= wait && begin.elapsed() < wait * 10);
                }
            }
        });
    }
}
