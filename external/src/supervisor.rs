//! Supervision: a plugin server is started, watched, started again when it ends, replaced on
//! request and stopped with the gateway. One supervisor per server for the whole process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use silverback_pdk::LogLevel;
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::{
    connection::{Connection, Fault},
    event,
    process::{Process, complain},
    server::{Ends, Generation, Order, Server},
    status::Condition,
    system,
};

/// How often a server that is starting is asked whether it listens.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// When to warn that it does not.
const WARN_AFTER: Duration = Duration::from_secs(10);
/// How long a server's replacement has for coming up.
const REPLACE_WITHIN: Duration = Duration::from_secs(30);
/// How long a server has to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How long a replaced server has for the events that run on it.
const DRAIN: Duration = Duration::from_secs(60);
/// Suspicions this soon after a probe are covered by it.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long closing an instance may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before a server is started again.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(5);
    /// A server that was up this long starts with a clean slate.
    const STEADY: Duration = Duration::from_secs(10);
    /// So many short lives in a row are a crash loop.
    const LOOP: u32 = 5;

    /// Nothing the first time, then twice as long each time.
    fn after(&mut self, up: Option<Duration>) -> Duration {
        if up.is_some_and(|up| up >= Self::STEADY) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            // A server that never came up would not do so any sooner if asked at once.
            1 if up.is_some() => Duration::ZERO,
            n => Self::FIRST.saturating_mul(1 << n.saturating_sub(2).min(10)).min(Self::MOST),
        }
    }

    fn condition(&self) -> Condition {
        if self.failures >= Self::LOOP { Condition::CrashLoop } else { Condition::BackingOff }
    }
}

/// Looks after a server until it is told to stop.
pub(crate) async fn supervise(server: Arc<Server>, ends: Ends) {
    let Ends { orders, closing } = ends;
    let mut closing = std::pin::pin!(close_instances(&server, closing));
    let mut running = std::pin::pin!(run(&server, orders));
    tokio::select! {
        () = &mut running => {}
        () = &mut closing => running.await,
    }
}

async fn run(server: &Arc<Server>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let Some(command) = &server.config.start_cmd else { return external(server, orders).await };
    let mut backoff = Backoff::default();
    loop {
        server.set_condition(Condition::Starting);
        let (error, up) = match life(server, command, &mut orders).await {
            Life::Stopped(done) => return stopped(server, done),
            Life::Ended { error, up } => (error, up),
        };
        let pause = backoff.after(up);
        note_end(server, &error, pause);
        if pause > Duration::ZERO {
            server.set_condition(backoff.condition());
            if let Some(done) = wait(&mut orders, pause).await {
                return stopped(server, done);
            }
        }
        let mut facts = server.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.restarts += 1;
    }
}

/// How a process's life went.
enum Life {
    /// It was told to stop.
    Stopped(Option<oneshot::Sender<()>>),
    /// It ended by itself, or had to be ended.
    Ended { error: String, up: Option<Duration> },
}

fn note_end(server: &Server, error: &str, pause: Duration) {
    let when = if pause.is_zero() { "at once".to_owned() } else { format!("in {pause:?}") };
    complain(server, LogLevel::Crit, &format!("{error}; it is started again {when}"));
    let mut facts = server.facts.lock().unwrap_or_else(PoisonError::into_inner);
    (facts.pid, facts.up_since) = (None, None);
    facts.last_error = Some(error.to_owned());
}

fn stopped(server: &Server, done: Option<oneshot::Sender<()>>) {
    server.set_condition(Condition::Stopped);
    let mut facts = server.facts.lock().unwrap_or_else(PoisonError::into_inner);
    (facts.pid, facts.up_since) = (None, None);
    if let Some(done) = done {
        // Whoever asked may have gone.
        let _ = done.send(());
    }
}

/// Waits before the next start; a reload cuts it short. Gives the order to stop, if it comes.
async fn wait(
    orders: &mut mpsc::UnboundedReceiver<Order>,
    pause: Duration,
) -> Option<Option<oneshot::Sender<()>>> {
    let mut pause = std::pin::pin!(sleep(pause));
    loop {
        tokio::select! {
            () = &mut pause => return None,
            order = orders.recv() => match order {
                None => return Some(None),
                Some(Order::Stop(done)) => return Some(Some(done)),
                Some(Order::Reload(done)) => {
                    let _ = done.send(Ok(()));
                    return None;
                }
                Some(Order::Suspect(..)) => {}
            },
        }
    }
}

/// A server that somebody else runs.
async fn external(server: &Server, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Stop(done) => return stopped(server, Some(done)),
            Order::Reload(done) => {
                let text = "it has no start command: whoever runs it has to reload it";
                let _ = done.send(Err(text.to_owned()));
            }
            Order::Suspect(why, _) => {
                let text =
                    format!("{why}: it may have to be restarted, and is not ours to restart");
                complain(server, LogLevel::Err, &text);
            }
        }
    }
}

/// Starts the process and stays with it to its end.
async fn life(
    server: &Arc<Server>,
    command: &str,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> Life {
    let mut process = match Process::start(server, command) {
        Ok(process) => process,
        Err(error) => {
            return Life::Ended { error: format!("can't start '{command}': {error}"), up: None };
        }
    };
    note_start(server, process.pid);
    let at = loop {
        tokio::select! {
            at = listening(server, process.pid) => break at,
            error = process.ended() => return Life::Ended { error, up: None },
            order = orders.recv() => match order {
                None => return Life::Stopped(None),
                Some(Order::Stop(done)) => {
                    process.stop(STOP_GRACE).await;
                    return Life::Stopped(Some(done));
                }
                Some(Order::Reload(done)) => drop(done.send(Ok(()))),
                Some(Order::Suspect(..)) => {}
            },
        }
    };
    let mut up = Up { server, command, process, since: Instant::now(), probed: None };
    up.announce(at);
    up.watch(orders).await
}

fn note_start(server: &Server, pid: u32) {
    let mut facts = server.facts.lock().unwrap_or_else(PoisonError::into_inner);
    facts.pid = Some(pid);
}

/// Where a server listens, and the pid of who does; 0 where that is not told.
struct Listening {
    path: PathBuf,
    pid: u32,
}

/// Waits until a process of this group listens. That something listens
/// is not enough: it could be the process that is being replaced, or one that an earlier gateway
/// left behind.
async fn listening(server: &Server, group: u32) -> Listening {
    let paths = server.config.socket_paths();
    let began = Instant::now();
    let (mut warned, mut stranger) = (false, None);
    loop {
        for path in &paths {
            if let Ok(stream) = UnixStream::connect(path).await {
                let pid = stream.peer_cred().ok().and_then(|c| c.pid());
                let pid = pid.and_then(|pid| u32::try_from(pid).ok());
                // Across pid namespaces the pid is not told.
                if pid.is_none_or(|pid| pid == 0 || system::in_group(pid, group)) {
                    return Listening { path: path.clone(), pid: pid.unwrap_or(0) };
                }
                stranger = pid.map(|pid| (pid, path.clone()));
            }
        }
        if !warned && began.elapsed() > WARN_AFTER {
            warned = true;
            let text = match &stranger {
                Some((pid, path)) => not_its_own(*pid, path),
                None => not_listening(&paths),
            };
            complain(server, LogLevel::Err, &text);
        }
        sleep(ASK_EVERY).await;
    }
}

/// What to say of a server whose socket belongs to a process that can't be watched with it.
fn not_its_own(pid: u32, path: &Path) -> String {
    format!(
        "it runs, but what listens on {} is process {pid}, which it does not belong to: stop that \
         one if it was left behind; a start command must not put its server into the background \
         (setsid, --daemon) but stay with it",
        path.display()
    )
}

/// What to say of a server that runs and does not listen where it should.
fn not_listening(paths: &[PathBuf]) -> String {
    let looked: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let looked = looked.join(" or ");
    let directory = paths.first().and_then(|path| path.parent());
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|e| e == "sock" || e == "socket");
    let entries = directory.and_then(|d| std::fs::read_dir(d).ok()).into_iter().flatten();
    let found = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_socket);
    let found: Vec<_> = found.map(|path| path.display().to_string()).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    format!(
        "it runs, but does not listen on {looked} after {WARN_AFTER:?}; \
         set pluginserver_NAME_socket to where it listens (sockets there: {found})"
    )
}

/// A server that is up.
struct Up<'a> {
    server: &'a Arc<Server>,
    command: &'a str,
    process: Process,
    since: Instant,
    probed: Option<Instant>,
}

impl Up<'_> {
    /// Lets requests through.
    fn announce(&mut self, at: Listening) {
        self.since = Instant::now();
        let mut facts = self.server.facts.lock().unwrap_or_else(PoisonError::into_inner);
        (facts.pid, facts.up_since) = (Some(self.process.pid), Some(SystemTime::now()));
        drop(facts);
        let text = format!("listens on {}, pid {}", at.path.display(), self.process.pid);
        complain(self.server, LogLevel::Notice, &text);
        self.server.renew(at.path, at.pid);
        self.server.set_condition(Condition::Running);
    }

    async fn watch(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Life {
        loop {
            let order = tokio::select! {
                error = self.process.ended() => return self.end(error),
                order = orders.recv() => order,
            };
            let failed = match order {
                None => return Life::Stopped(None),
                Some(Order::Stop(done)) => {
                    self.server.set_condition(Condition::Stopped);
                    self.process.stop(STOP_GRACE).await;
                    return Life::Stopped(Some(done));
                }
                Some(Order::Suspect(why, patience)) => self.probe(why, patience).await,
                Some(Order::Reload(done)) => self.reload(done).await,
            };
            if let Err(error) = failed {
                self.server.set_condition(Condition::Starting);
                system::kill_group(self.process.pid, libc::SIGKILL);
                self.process.ended().await;
                return self.end(error);
            }
        }
    }

    fn end(&self, error: String) -> Life {
        Life::Ended { error, up: Some(self.since.elapsed()) }
    }

    /// Finds out whether the server still takes events. Python's stops doing so for ever when a
    /// handler raises before its first call: the lock that it held then is never released.
    async fn probe(&mut self, why: &str, patience: Duration) -> Result<(), String> {
        if self.probed.is_some_and(|at| at.elapsed() < PROBE_EVERY) {
            return Ok(());
        }
        let Some(generation) = self.server.current() else { return Ok(()) };
        let probe = async {
            let mut connection = Connection::open(self.server, generation, patience).await?;
            event::probe(self.server, &mut connection).await
        };
        let result = timeout(patience, probe).await;
        self.probed = Some(Instant::now());
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Fault::Timeout(_))) | Err(_) => {
                Err(format!("{why}, and it took no event for {patience:?}: it was killed"))
            }
            // What is wrong with its connections will be seen by its end.
            Ok(Err(_)) => Ok(()),
        }
    }

    /// Starts another process, lets it take over the socket, and ends this one when its events are
    /// through. An error: this one can't be reached any more.
    async fn reload(&mut self, done: oneshot::Sender<Result<(), String>>) -> Result<(), String> {
        let old = self.server.current();
        self.server.set_condition(Condition::Reloading);
        let answer = match self.replacement().await {
            Ok((next, at)) => {
                let process = std::mem::replace(&mut self.process, next);
                self.announce(at);
                tokio::spawn(retire(process, old));
                Ok(())
            }
            Err(error) => {
                self.server.set_condition(Condition::Running);
                complain(self.server, LogLevel::Err, &format!("reload: {error}"));
                Err(error)
            }
        };
        let failed = answer.is_err();
        // Whoever asked may have gone.
        let _ = done.send(answer);
        // One that failed may have taken the socket away before.
        if failed && timeout(ASK_EVERY * 4, listening(self.server, self.process.pid)).await.is_err()
        {
            return Err("a replacement took its socket away and failed".to_owned());
        }
        Ok(())
    }

    async fn replacement(&mut self) -> Result<(Process, Listening), String> {
        let mut next = Process::start(self.server, self.command)
            .map_err(|error| format!("can't start '{}': {error}", self.command))?;
        tokio::select! {
            at = listening(self.server, next.pid) => Ok((next, at)),
            error = next.ended() => Err(error),
            () = sleep(REPLACE_WITHIN) => {
                next.stop(Duration::ZERO).await;
                Err(format!("the replacement did not listen within {REPLACE_WITHIN:?}"))
            }
        }
    }
}

/// Ends a replaced process once no event runs on it.
async fn retire(process: Process, generation: Option<Arc<Generation>>) {
    let began = Instant::now();
    let busy = || generation.as_ref().is_some_and(|g| g.events.load(Ordering::Relaxed) > 0);
    // An event may have taken a connection and not yet counted itself.
    sleep(Duration::from_millis(100)).await;
    while busy() && began.elapsed() < DRAIN {
        sleep(Duration::from_millis(20)).await;
    }
    process.stop(STOP_GRACE).await;
}

/// Closes instances that nobody uses any more, one after the other.
async fn close_instances(
    server: &Server,
    mut closing: mpsc::UnboundedReceiver<(Arc<Generation>, i64)>,
) {
    let mut kept: Option<Connection> = None;
    while let Some((generation, id)) = closing.recv().await {
        // With the process its instances have gone.
        if server.generation() != Some(generation.number) {
            kept = None;
            continue;
        }
        kept = kept.filter(|connection| connection.generation.number == generation.number);
        let close = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(server, generation, CLOSE_TIMEOUT).await?,
            };
            event::close_instance(server, &mut connection, id).await?;
            Ok::<_, Fault>(connection)
        };
        match close.await {
            Ok(connection) => kept = Some(connection),
            Err(Fault::NoInstance(_) | Fault::Closed | Fault::Unsent | Fault::Replaced) => {}
            Err(fault) => {
                complain(server, LogLevel::Warn, &format!("instance {id} was not closed: {fault}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_steady_run_ends_them() {
        let mut backoff = Backoff::default();
        let short = Some(Duration::from_secs(1));
        let pauses: Vec<_> = (0..8).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(backoff.condition(), Condition::CrashLoop);
        assert_eq!(backoff.after(Some(Duration::from_secs(11))), Duration::ZERO);
        assert_eq!(backoff.condition(), Condition::BackingOff);
    }

    #[test]
    fn a_socket_of_others_is_told_from_none() {
        let text = not_its_own(7, Path::new("/p/a.sock"));
        assert!(text.contains("what listens on /p/a.sock is process 7"), "{text}");
        let text = not_listening(&[PathBuf::from("/nonexistent/a.sock")]);
        assert!(text.contains("does not listen on /nonexistent/a.sock"), "{text}");
    }

    #[test]
    fn a_server_that_never_came_up_is_not_tried_again_at_once() {
        assert_eq!(Backoff::default().after(None), Backoff::FIRST);
    }
}
