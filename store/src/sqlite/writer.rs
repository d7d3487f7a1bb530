//! The thread that writes: what came together goes to the disk together.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use silverback_model::errors::Fault;
use silverback_model::set::Entities;
use tokio::sync::{Mutex, oneshot};

use super::Tip;
use super::file::{File, OpenError};
use crate::draft::Change;
use crate::feed::Feed;

/// How many changes go to the disk together at the most.
const TOGETHER_MAX: usize = 1000;

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Writer {
    /// None when it is to end.
    orders: Option<Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

/// A change, and what it makes of the entities before it.
struct Write {
    changes: Vec<Change>,
    entities: Entities,
    answer: oneshot::Sender<Result<u64, Fault>>,
}

/// The answer to come: by which version a change is published.
pub(super) type Written = oneshot::Receiver<Result<u64, Fault>>;

impl Writer {
    pub(super) fn start(file: File, feed: Arc<Feed>, tip: Arc<Mutex<Tip>>) -> Writer {
        let (orders, inbox) = mpsc::channel();
        let desk = Desk { file, feed, tip, inbox };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(|| desk.work());
        // Without a thread, every write says that the writer is gone.
        Writer { orders: Some(orders), thread: thread.ok() }
    }

    /// Hands a change over; whoever calls holds the tip, so that changes come in order.
    pub(super) fn send(&self, entities: &Entities, changes: Vec<Change>) -> Result<Written, Fault> {
        let (answer, written) = oneshot::channel();
        let write = Write { changes, entities: entities.clone(), answer };
        let sent = self.orders.as_ref().map(|orders| orders.send(write));
        if matches!(sent, Some(Ok(()))) { Ok(written) } else { Err(super::gone()) }
    }
}

impl Drop for Writer {
    /// Lets the thread finish what it has, and close the file.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told of already.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Desk {
    file: File,
    feed: Arc<Feed>,
    tip: Arc<Mutex<Tip>>,
    inbox: Receiver<Write>,
}

impl Desk {
    fn work(mut self) {
        while let Ok(first) = self.inbox.recv() {
            let mut batch = vec![first];
            batch.extend(self.inbox.try_iter().take(TOGETHER_MAX));
            let changes: Vec<_> = batch.iter().map(|write| &write.changes).collect();
            match self.file.write(&changes) {
                Ok(()) => self.publish(batch),
                Err(error) => self.refuse(batch, &error),
            }
        }
    }

    fn publish(&self, batch: Vec<Write>) {
        let Some(newest) = batch.last().map(|write| write.entities.clone()) else { return };
        let hash = self.feed.state().hash.clone();
        let version = self.feed.publish(Arc::new(newest), hash);
        for write in batch {
            let _ = write.answer.send(Ok(version));
        }
    }

    /// The disk did not take it: nothing of it has happened, nor of what was made of it since.
    fn refuse(&self, mut batch: Vec<Write>, error: &OpenError) {
        let mut tip = self.tip.blocking_lock();
        batch.extend(self.inbox.try_iter());
        *tip = Entities::clone(&self.feed.state().entities);
        drop(tip);
        for write in batch {
            let _ = write.answer.send(Err(Fault::database_error(error.to_string())));
        }
    }
}
