//! The thread that carries the traffic of all connections: neither a busy control plane nor a
//! worker that goes away holds an answer up.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Stops the thread when it is dropped; its connections are closed then.
#[derive(Debug)]
pub(crate) struct Io {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Io {
    pub(crate) fn start() -> io::Result<Io> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("postgres".to_owned()).spawn(move || {
            // An error is the sender's end, which is what is waited for.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Io { handle, _stop: stop })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
