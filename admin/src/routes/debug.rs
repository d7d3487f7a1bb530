//! `/debug/node/log-level` (`kong/api/routes/debug.lua`).

use http::StatusCode;

use crate::{Answer, Request, Service};

/// What is logged now.
pub(super) fn log_level(service: &Service, _: &Request, _: &[String]) -> Answer {
    Answer::message(StatusCode::OK, &format!("log level: {}", service.facts.log_level))
}

/// Refused without a database, as by Kong.
pub(super) fn set_log_level(_: &Service, _: &Request, _: &[String]) -> Answer {
    let text = "cannot change log level when not using a database";
    Answer::message(StatusCode::METHOD_NOT_ALLOWED, text)
}
