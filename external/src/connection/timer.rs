//! A connection's timer, which serves many waits.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// It is set anew only when it goes off, and looked at only where it may have gone off. In a quick
/// exchange neither ever happens.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whom it wakes.
    wakes: Option<Waker>,
}

impl Timer {
    pub(super) fn new(timeout: Duration) -> Timer {
        Timer { sleep: Box::pin(tokio::time::sleep(timeout)), wakes: None }
    }

    /// Whether it goes off after `begin`, a moment that has just been, and wakes this very task
    /// then: there is no need to look at it before.
    #[inline]
    pub(super) fn is_set(&self, begin: Instant, cx: &Context<'_>) -> bool {
        let wakes_us = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        wakes_us && self.sleep.deadline() > begin
    }

    /// Ready at the deadline; wakes the task then.
    pub(super) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        self.wakes = Some(cx.waker().clone());
        Poll::Pending
    }
}
