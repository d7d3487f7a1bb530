//! `kong.telemetry`: log entries for OpenTelemetry (`kong/pdk/telemetry.lua`).

use super::{
    Function, Outcome,
    Shape::{Bool, Map, Text},
    Stop, arg, args,
    phases::ANY,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[Function::now(
    "kong.telemetry.log",
    ANY,
    &[
        arg("plugin_name", Text),
        arg("plugin_config", Map),
        arg("message_type", Text),
        arg("message", Text),
        arg("attributes", Map),
    ],
    Bool,
    log,
)
.doc("Sends a log entry to OpenTelemetry; nil, as nothing collects them yet.")];

/// What each argument must be, and whether it may be missing.
const SHAPES: [(&str, &str, &str, bool); 5] = [
    ("plugin_name", "string", "a string", false),
    ("plugin_config", "table", "a table", false),
    ("message_type", "string", "a string", false),
    ("message", "string", "a string", true),
    ("attributes", "table", "a table", true),
];

fn log(_: &mut Exchange, args: &[Value]) -> Outcome {
    for (position, (name, kind, shown, optional)) in SHAPES.into_iter().enumerate() {
        let value = args::get(args, position);
        let missing = matches!(value, Value::Nil | Value::Bool(false));
        if value.type_name() != kind && !(optional && missing) {
            return Err(Stop::Nil(format!("{name} must be {shown}")));
        }
    }
    Err(Stop::Nil(
        "Telemetry logging is disabled: log entry will not be recorded. Ensure the OpenTelemetry \
         plugin is correctly configured to report logs in order to use this feature."
            .to_owned(),
    ))
}
