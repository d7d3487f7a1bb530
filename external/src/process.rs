//! Processes of plugin servers: started so that they die with the gateway, stopped with all that
//! they have started.

use std::{
    collections::VecDeque,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use silverback_pdk::{LogLevel, log};
use tokio::process::{Child, Command};

use crate::{
    output::{self, Said},
    server::{Order, Server},
    system,
};

/// How many of the last things said are kept for telling why a process ended.
const LAST_WORDS: usize = 3;
/// How long a server that died from a traceback in a thread has for taking an event.
const AFTER_TRACEBACK: Duration = Duration::from_secs(2);

/// A running plugin server, leader of a process group of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) pid: u32,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

/// A command for `/bin/sh`: in a process group of its own, killed when the gateway dies, with our
/// environment, and nothing to read.
pub(crate) fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    system::die_with_parent(&mut command);
    command
}

impl Process {
    /// Starts a server. What it prints goes to the log.
    ///
    /// # Errors
    /// If there is no shell, or no process can be made.
    pub(crate) fn start(server: &Arc<Server>, command: &str) -> io::Result<Process> {
        // As Kong does: the shell is replaced, so that the process we know is the server.
        let mut child = shell(&format!("exec {command}")).spawn()?;
        let pid = child.id().unwrap_or_default();
        let last_words = Arc::default();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(output::follow(stdout, hand_on(server, pid, &last_words)));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(output::follow(stderr, hand_on(server, pid, &last_words)));
        }
        Ok(Process { child, pid, last_words })
    }

    /// Waits for its end; says how it came, and what it said last.
    pub(crate) async fn ended(&mut self) -> String {
        let how = match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("it can't be waited for: {error}"),
        };
        // The rest of its group would otherwise stay behind.
        system::kill_group(self.pid, libc::SIGKILL);
        // What it said last may still be on its way through the pipe.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        if words.is_empty() { how } else { format!("{how}; it said last: {}", words.join(" | ")) }
    }

    /// Ends it: it is asked to, and killed when it does not within `grace`.
    pub(crate) async fn stop(mut self, grace: Duration) {
        system::kill_group(self.pid, libc::SIGTERM);
        if tokio::time::timeout(grace, self.child.wait()).await.is_err() {
            system::kill_group(self.pid, libc::SIGKILL);
            let _ = self.child.wait().await;
        }
        system::kill_group(self.pid, libc::SIGKILL);
    }
}

/// Logs what a server says under its name and pid, and remembers the last of it.
fn hand_on(
    server: &Arc<Server>,
    pid: u32,
    last_words: &Arc<Mutex<VecDeque<String>>>,
) -> impl FnMut(Said) + Send + 'static {
    let (server, last_words) = (Arc::clone(server), Arc::clone(last_words));
    move |Said { level, text, thread_died }| {
        log(level, "", &format!("[{}:{pid}] {text}", server.config.name));
        if thread_died && server.strict_text {
            let why = "a thread ended in an exception";
            server.order(Order::Suspect(why, AFTER_TRACEBACK));
        }
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(shorten(&text));
    }
}

fn shorten(text: &str) -> String {
    let last = text.lines().last().unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let text = if first == last { first.to_owned() } else { format!("{first} ... {last}") };
    text.chars().take(300).collect()
}

/// How a process ended.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(127), _) => "it ended with exit status 127 (command not found)".to_owned(),
        (Some(126), _) => "it ended with exit status 126 (command can't be run)".to_owned(),
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Says that something has gone wrong with a server.
pub(crate) fn complain(server: &Server, level: LogLevel, text: &str) {
    log(level, "", &format!("plugin server '{}': {text}", server.config.name));
}
