//! What the operator says about a plugin server.

use std::{path::PathBuf, time::Duration};

/// One plugin server: `pluginserver_NAME_*` in kong.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name, for logs and status.
    pub name: String,
    /// Its Unix socket. Where nothing listens there, the same name with the other of the endings
    /// `.sock` and `.socket` is tried: PDKs differ in what they make.
    pub socket: PathBuf,
    /// Starts it, for `/bin/sh`. None: somebody else does, and the gateway only connects.
    pub start_cmd: Option<String>,
    /// Prints what plugins it has, for `/bin/sh`.
    pub query_cmd: String,
    /// How long to wait for each of its answers.
    pub timeout: Duration,
    /// Whether a request goes on without a plugin that could not do its work.
    pub fail_open: bool,
    /// The most connections from each worker: events beyond wait for one, up to [`Self::queue`].
    pub connections: u32,
    /// The most events per worker that wait for a connection; any more are refused with 503.
    pub queue: u32,
    /// How long a request waits for a server that is starting.
    pub start_timeout: Duration,
    /// Where request bodies that are larger than the buffer are kept while a server that speaks
    /// `ProtoBuf:1` reads them. None: it gets an error instead.
    pub body_directory: Option<PathBuf>,
}

impl Config {
    /// Kong's defaults, and ours where Kong has none.
    pub fn new(
        name: impl Into<String>,
        socket: impl Into<PathBuf>,
        query_cmd: impl Into<String>,
    ) -> Config {
        Config {
            name: name.into(),
            socket: socket.into(),
            start_cmd: None,
            query_cmd: query_cmd.into(),
            timeout: Duration::from_secs(60),
            fail_open: false,
            connections: 256,
            queue: 1024,
            start_timeout: Duration::from_secs(10),
            body_directory: None,
        }
    }

    /// The paths at which its socket may be, the configured one first.
    pub fn socket_paths(&self) -> Vec<PathBuf> {
        let other = match self.socket.extension().and_then(|e| e.to_str()) {
            Some("sock") => Some("socket"),
            Some("socket") => Some("sock"),
            _ => None,
        };
        let other = other.map(|ending| self.socket.with_extension(ending));
        std::iter::once(self.socket.clone()).chain(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_endings_are_tried() {
        #[track_caller]
        fn check(socket: &str, expect: &[&str]) {
            let expect: Vec<_> = expect.iter().map(PathBuf::from).collect();
            assert_eq!(Config::new("x", socket, "q").socket_paths(), expect);
        }
        check("/p/a.sock", &["/p/a.sock", "/p/a.socket"]);
        check("/p/a.socket", &["/p/a.socket", "/p/a.sock"]);
        check("/p/a", &["/p/a"]);
    }
}
