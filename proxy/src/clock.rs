//! Deadlines that are seldom reached. A timer of the runtime costs more to set and to take back
//! than most waits last; this one is set once and serves many waits.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
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

    /// What `future` gives before the deadline.
    pub(crate) async fn within<T>(
        &mut self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll(deadline, cx).map(|()| None),
        })
        .await
    }
}

/// A [`Clock`] for hyper, which takes a timer for the head of every request. The timers of a
/// connection follow one another, so that one clock serves them all.
#[derive(Clone, Default)]
pub(crate) struct HeadTimer(Arc<Mutex<Clock>>);

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(std::time::Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HeadSleep { clock: self.0.clone(), deadline: deadline.into() })
    }
}

struct HeadSleep {
    clock: Arc<Mutex<Clock>>,
    deadline: Instant,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The connection's task alone locks it.
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.poll(self.deadline, cx)
    }
}

impl hyper::rt::Sleep for HeadSleep {}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn each_wait_has_its_own_deadline() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let mut clock = Clock::default();
            let begin = Instant::now();
            assert_eq!(clock.within(begin + Duration::from_secs(60), async { 1 }).await, Some(1));
            // Later than the last one was set for, earlier, later again.
            for milliseconds in [60_000, 20, 50, 30] {
                let wait = Duration::from_millis(milliseconds);
                let begin = Instant::now();
                if milliseconds > 1000 {
                    let quick = clock.within(begin + wait, tokio::task::yield_now()).await;
                    assert_eq!(quick, Some(()));
                } else {
                    assert_eq!(clock.within(begin + wait, pending::<()>()).await, None);
                    assert!(begin.elapsed() >= wait && begin.elapsed() < wait * 10);
                }
            }
        });
    }
}
