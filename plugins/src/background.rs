//! What plugins do beside requests, on a thread of its own: sending logs, keeping counters in
//! step. No request ever waits for it.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use silverback_pdk::LogLevel;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, LocalSet},
    time::timeout,
};

type Task = Box<dyn FnOnce(End) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Word that the node is about to end.
#[derive(Clone)]
pub(crate) struct End(watch::Receiver<bool>);

impl End {
    /// Whether it has come.
    pub(crate) fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it comes.
    pub(crate) async fn wait(&mut self) {
        // Without a sender it has come as well.
        let _ = self.0.wait_for(|end| *end).await;
    }
}

/// The thread, once something has been given to it.
struct Background {
    tasks: mpsc::UnboundedSender<Task>,
    end: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

static BACKGROUND: Mutex<Option<Background>> = Mutex::new(None);

/// Gives the thread something to do, for as long as the node runs. Called where configurations
/// are loaded.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
    task: impl FnOnce(End) -> F + Send + 'static,
) {
    let mut background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
    let task: Task = Box::new(move |end| Box::pin(task(end)));
    let running = background.get_or_insert_with(start);
    if let Err(mpsc::error::SendError(task)) = running.tasks.send(task) {
        // The thread has ended, with its node: another has begun in this process.
        let new = start();
        let _ = new.tasks.send(task);
        *background = Some(new);
    }
}

/// Lets everything be sent that waits to be, for no longer than this, and ends the thread.
pub fn finish(longest: Duration) {
    let background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Background { tasks, end, ended }) = background else { return };
    drop(tasks);
    end.send_replace(true);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return;
    };
    if runtime.block_on(async { timeout(longest, ended).await }).is_err() {
        let text = "logs and counters could not all be sent in time; what was left is lost";
        silverback_pdk::log(LogLevel::Err, "", text);
    }
}

fn start() -> Background {
    let (tasks, to_do) = mpsc::unbounded_channel();
    let (end, word) = watch::channel(false);
    let (done, ended) = oneshot::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(LocalSet::new().run_until(work(to_do, End(word)))),
            Err(error) => {
                let text = format!("logs and counters are not sent: {error}");
                silverback_pdk::log(LogLevel::Crit, "", &text);
            }
        }
        let _ = done.send(());
    };
    if let Err(error) = thread::Builder::new().name("plugins".to_owned()).spawn(run) {
        let text = format!("logs and counters are not sent: {error}");
        silverback_pdk::log(LogLevel::Crit, "", &text);
    }
    Background { tasks, end, ended }
}

/// Runs tasks until the node ends and they have.
async fn work(mut to_do: mpsc::UnboundedReceiver<Task>, end: End) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            task = to_do.recv() => match task {
                Some(task) => drop(running.spawn_local(task(end.clone()))),
                None => break,
            },
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}
