//! Between two requests.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use silverback_http1::{Refusal, Scan};
use tokio::{sync::futures::Notified, time::Instant};

use super::{Client, Shared};
use crate::{clock::Clock, config::Limits, http::Connection};

/// How long an idle connection stays when its worker drains. Its next request may be on its way
/// already: it is answered, and told that the connection closes.
const LINGER: Duration = Duration::from_millis(500);

/// What is waited for, and since when.
pub(super) struct Idle {
    scan: Scan,
    clock: Clock,
    /// When waiting ends.
    until: Option<Instant>,
    /// Whether something of a head has come.
    began: bool,
    listens: bool,
    drains: bool,
}

/// What comes next on a connection.
pub(super) enum Next {
    /// The head of a request.
    Head(Bytes),
    /// What can't be one.
    Refused(Refusal),
    /// Nothing.
    End,
}

impl Idle {
    pub(super) fn new(limits: &Limits) -> Idle {
        Idle {
            scan: Scan::within(limits.head_line_size),
            clock: Clock::default(),
            until: None,
            began: false,
            listens: false,
            drains: false,
        }
    }

    /// Ready when the next request's head is there, or nothing more will come.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        told: Pin<&mut Notified<'_>>,
        connection: &Connection,
        client: &Shared,
    ) -> Poll<Next> {
        if !self.listens {
            // Once is enough: it wakes this task, which then sees that the worker drains.
            self.listens = true;
            let _ = told.poll(cx);
        }
        let client = &mut *client.borrow_mut();
        let limits = &connection.worker.config.limits;
        if let Poll::Ready(next) = self.poll_head(cx, client, limits) {
            (self.until, self.began) = (None, false);
            return Poll::Ready(next);
        }
        client.wire.rest();
        // A head that has begun has a time of its own, from its first byte on.
        let began = !client.wire.read.is_empty();
        if began != self.began {
            (self.began, self.until) = (began, None);
        }
        let first = connection.requests.get() == 0;
        let limit = if began || first { limits.header_timeout } else { limits.idle_timeout };
        let mut until = *self.until.get_or_insert_with(|| Instant::now() + limit);
        if connection.worker.is_draining() {
            if !self.drains {
                self.drains = true;
                self.until = Some(until.min(Instant::now() + LINGER));
            }
            until = self.until.unwrap_or(until);
        }
        self.clock.poll(until, cx).map(|()| Next::End)
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        limits: &Limits,
    ) -> Poll<Next> {
        let max = limits.head_size.max(8192);
        loop {
            // Empty lines before a request have always been forgiven (RFC 9112, 2.2).
            while client.wire.read.starts_with(b"\r\n") {
                client.wire.read.advance(2);
                self.scan = Scan::within(limits.head_line_size);
            }
            if !client.wire.read.is_empty() {
                match self.scan.take(&mut client.wire.read, max) {
                    Ok(Some(head)) => return Poll::Ready(Next::Head(head)),
                    Err(refusal) => return Poll::Ready(Next::Refused(refusal)),
                    Ok(None) => {}
                }
                if let Err(refusal) = silverback_http1::begins_well(&client.wire.read) {
                    return Poll::Ready(Next::Refused(refusal));
                }
            }
            match client.wire.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
