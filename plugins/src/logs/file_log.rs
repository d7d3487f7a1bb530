//! file-log: a line for each request in a file (`kong/plugins/file-log/`).

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::Plugin;

use super::{CustomFields, Logger, lines};
use crate::{
    native::native_made,
    queue::{QueueSettings, Sink},
};

pub(super) fn plugin() -> Plugin {
    native_made(9, |settings: FileLog, configuration| {
        let sink = LogFile(Arc::new(Open {
            path: settings.path,
            reopen: settings.reopen,
            file: Mutex::default(),
        }));
        let queue = QueueSettings::batches(1000);
        Logger::new("file-log", configuration, &settings.custom_fields_by_lua, queue, sink)
    })
    .log(Logger::log)
    .build()
}

/// Writes what is to be told of each request into a file, a line of JSON each.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "file-log", protocols)]
struct FileLog {
    /// The file, which is made where it is not there yet.
    #[field(
        required,
        match = "^[^%s*&%%\\`][^*&%%\\`]*[^%s*&%%\\`]$",
        err = "not a valid filename"
    )]
    path: String,
    /// Whether the file is opened anew each time, for those who move it away.
    #[field(required, default = false)]
    reopen: bool,
    /// Fields of the line that expressions of Lua make, by their dotted names.
    #[field(keys(len_min = 1), values(len_min = 1, custom = super::check_code))]
    custom_fields_by_lua: CustomFields,
}

/// A file that is written to at its end.
struct LogFile(Arc<Open>);

struct Open {
    path: String,
    reopen: bool,
    file: Mutex<Option<File>>,
}

impl Sink for LogFile {
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>> {
        let (open, lines) = (Arc::clone(&self.0), lines(batch));
        Box::pin(async move {
            // Disks may be slow, pipes may be full: others don't wait for that.
            let written = tokio::task::spawn_blocking(move || open.write(&lines)).await;
            written.map_err(|error| error.to_string())?
        })
    }
}

impl Open {
    fn write(&self, lines: &[u8]) -> Result<(), String> {
        let complain = |error: std::io::Error| format!("{}: {error}", self.path);
        let not_open = |error| format!("failed to open the file: {}", complain(error));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.reopen {
            *file = None;
        }
        let open = match &mut *file {
            Some(open) => open,
            None => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o644);
                file.insert(options.open(&self.path).map_err(not_open)?)
            }
        };
        let written = open.write_all(lines).map_err(complain);
        if written.is_err() {
            *file = None;
        }
        written
    }
}
