//! syslog: a message for each request to the system's log (`kong/plugins/syslog/`).

use std::{
    cell::RefCell,
    io::Write,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, LogLevel, Plugin};
use tokio::net::UnixDatagram;

use super::{CustomFields, Logger};
use crate::{
    native::native_made,
    queue::{QueueSettings, Sink},
};

/// Where the system's log listens (syslog(3)).
const SOCKET: &str = "/dev/log";
/// How long what stands before the document is, at the most.
const HEAD_ROOM: usize = 32;
/// The facilities, each at its number (syslog.h); none are those of numbers that have no name.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
/// The severities, each at its number.
const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

pub(super) fn plugin() -> Plugin {
    plugin_to(SOCKET)
}

fn plugin_to(socket: &'static str) -> Plugin {
    native_made(4, move |settings: Syslog, configuration| {
        let queue = QueueSettings::batches(1000);
        let sink = Messages(socket.into());
        let fields = &settings.custom_fields_by_lua;
        let logger = Logger::new("syslog", configuration, fields, queue, sink)?;
        let severity = |name: &str| SEVERITIES.iter().position(|known| *known == name);
        let facility = FACILITIES.iter().position(|known| *known == settings.facility);
        Ok(Log {
            least: severity(&settings.log_level).unwrap_or(6),
            by_status: [
                severity(&settings.successful_severity).unwrap_or(6),
                severity(&settings.client_errors_severity).unwrap_or(6),
                severity(&settings.server_errors_severity).unwrap_or(6),
            ],
            facility: facility.unwrap_or(1),
            logger,
        })
    })
    .log(Log::log)
    .build()
}

/// Sends what is to be told of each request to the system's log.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "syslog", protocols)]
struct Syslog {
    /// How urgent a message has to be.
    #[field(
        required,
        default = "info",
        one_of("debug", "info", "notice", "warning", "err", "crit", "alert", "emerg")
    )]
    log_level: String,
    /// How urgent requests are that were answered with less than 400.
    #[field(
        required,
        default = "info",
        one_of("debug", "info", "notice", "warning", "err", "crit", "alert", "emerg")
    )]
    successful_severity: String,
    /// How urgent requests are that were answered with 400 to 499.
    #[field(
        required,
        default = "info",
        one_of("debug", "info", "notice", "warning", "err", "crit", "alert", "emerg")
    )]
    client_errors_severity: String,
    /// How urgent requests are that were answered with 500 or more.
    #[field(
        required,
        default = "info",
        one_of("debug", "info", "notice", "warning", "err", "crit", "alert", "emerg")
    )]
    server_errors_severity: String,
    /// Fields of the message that expressions of Lua make, by their dotted names.
    #[field(keys(len_min = 1), values(len_min = 1, custom = super::check_code))]
    custom_fields_by_lua: CustomFields,
    /// Which part of the system speaks.
    #[field(
        required,
        default = "user",
        one_of(
            "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog",
            "user", "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
            "local7"
        )
    )]
    facility: String,
}

/// An instance.
struct Log {
    least: usize,
    by_status: [usize; 3],
    facility: usize,
    logger: Logger,
}

impl Log {
    fn log(&self, exchange: &mut Exchange) -> Flow {
        let [good, client, server] = self.by_status;
        let severity = match exchange.response.status.as_u16() {
            500.. => server,
            400.. => client,
            _ => good,
        };
        if severity > self.least {
            return Flow::Next;
        }
        let Some(document) = self.logger.document(exchange) else { return Flow::Next };
        let priority = self.facility * 8 + severity;
        let mut message = Vec::with_capacity(document.len() + HEAD_ROOM);
        // Memory takes all that is written.
        let _ = write!(message, "<{priority}>{} kong: ", now());
        message.extend_from_slice(&document);
        self.logger.queue.push(message.into());
        Flow::Next
    }
}

/// The time as messages tell it. A second has one text, which takes a microsecond to make.
fn now() -> String {
    thread_local! {
        static LAST: RefCell<(u64, String)> = RefCell::default();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != since {
            *second = since;
            *text = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        }
        text.clone()
    })
}

struct Messages(PathBuf);

/// Whether the system refuses a message for its length.
fn is_too_long(error: &std::io::Error) -> bool {
    const EMSGSIZE: i32 = 90;
    error.raw_os_error() == Some(EMSGSIZE)
}

impl Sink for Messages {
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let complain = |error: std::io::Error| format!("{}: {error}", self.0.display());
            let socket = UnixDatagram::unbound().map_err(complain)?;
            socket.connect(&self.0).map_err(complain)?;
            for (at, entry) in batch.iter().enumerate() {
                let lost = match socket.send(entry).await {
                    Ok(_) => continue,
                    // The other messages are not to wait for one that is too long.
                    Err(error) if is_too_long(&error) => (1, error),
                    // Nothing was sent yet: all of it can be tried again, and nothing comes twice.
                    Err(error) if at == 0 => return Err(complain(error)),
                    Err(error) => (batch.len() - at, error),
                };
                let text = format!("{} messages are lost: {}", lost.0, complain(lost.1));
                silverback_pdk::log(LogLevel::Err, "syslog", &text);
                if lost.0 > 1 {
                    break;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram as Receiver;

    use futures_util::FutureExt;
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::testing::Case;

    #[test]
    fn messages_have_their_priority() {
        let path = std::env::temp_dir().join(format!("sb-syslog-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let receiver = Receiver::bind(&path).unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let plugin = plugin_to(path.display().to_string().leak());
        let check = |status: u16, expect: &str| {
            let config = json!({"facility": "local3", "log_level": "notice",
                                "client_errors_severity": "warning",
                                "server_errors_severity": "crit"});
            let (phases, mut exchange) = Case::new(&config).start(&plugin);
            exchange.response.status = StatusCode::from_u16(status).unwrap();
            phases.log.unwrap().run(&mut exchange).now_or_never().unwrap();
            let mut buffer = [0; 65_536];
            let length = receiver.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(text.starts_with(expect), "{text}");
            let (_, document) = text.split_once(" kong: ").unwrap();
            let document: serde_json::Value = serde_json::from_str(document).unwrap();
            assert_eq!(document["response"]["status"], status);
        };
        check(404, "<156>");
        check(503, "<154>");
        // One that is too long keeps no other back, and nothing comes twice.
        let sink = Messages(path.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let batch = [Bytes::from_static(b"first"), vec![b'x'; 10 << 20].into(), "last".into()];
        runtime.block_on(sink.send(&batch)).unwrap();
        let next = || {
            let mut buffer = [0; 100];
            let length = receiver.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!([next(), next()], ["first", "last"]);
        let _ = std::fs::remove_file(&path);
    }
}
