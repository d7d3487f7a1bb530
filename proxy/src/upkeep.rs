//! What the data plane does beside requests, on a thread of its own: it asks name servers, and
//! targets how they are. Neither waits for configuration that is being compiled, nor does a request
//! wait for either, but for a name that nobody has asked for before.

use std::{rc::Rc, sync::Arc, thread::JoinHandle};

use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local},
};

use crate::{
    Snapshot,
    balancer::{Probes, tend},
    dns::{Ask, DnsSettings, Facts, Resolver},
};

/// The upkeep thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// Where workers ask for names.
    pub(crate) asks: mpsc::UnboundedSender<Ask>,
    /// What resolving them has come to.
    pub(crate) facts: Arc<Facts>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts it. It tends the balancers of a snapshot, and of all that come of it.
    ///
    /// # Errors
    /// If there can be no thread or no runtime.
    pub(crate) fn start(settings: DnsSettings, snapshot: &Snapshot) -> std::io::Result<Upkeep> {
        let (asks, asked) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let facts = Arc::<Facts>::default();
        let counted = facts.clone();
        let balancers = snapshot.registrar.take();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
            let local = LocalSet::new();
            runtime.block_on(local.run_until(async {
                let resolver = Rc::new(Resolver::new(settings, counted));
                spawn_local(answer(asked, resolver.clone()));
                if let Some(mut balancers) = balancers {
                    let probes = Rc::new(Probes::new(resolver.clone()));
                    spawn_local(async move {
                        while let Some(balancer) = balancers.recv().await {
                            tend(&balancer, &resolver, &probes);
                        }
                    });
                }
                // An error is the handle's end.
                let _ = ended.await;
            }));
        })?;
        Ok(Upkeep { asks, facts, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // It may have ended already.
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn answer(mut asked: mpsc::UnboundedReceiver<Ask>, resolver: Rc<Resolver>) {
    while let Some(ask) = asked.recv().await {
        let resolver = resolver.clone();
        spawn_local(async move {
            let answer = resolver.get(&ask.name, ask.scope).await;
            // The request may have gone meanwhile.
            let _ = ask.reply.send(answer);
        });
    }
}
