//! What a plugin server says about its plugins: the output of its query command.

use serde::Deserialize;
use serde_json::Value as Json;
use silverback_pdk::{Phase, PhaseSet};

/// The protocol that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// MessagePack-RPC.
    MsgPack,
    /// Framed Protocol Buffers.
    ProtoBuf,
}

impl Protocol {
    /// As dumps name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::MsgPack => "MsgPack:1",
            Protocol::ProtoBuf => "ProtoBuf:1",
        }
    }
}

/// A server's description of itself.
#[derive(Debug)]
pub(crate) struct Dump {
    pub(crate) protocol: Protocol,
    /// Whether text must be UTF-8, so that other text has to go as bytes: Python.
    pub(crate) strict_text: bool,
    pub(crate) plugins: Vec<Info>,
    /// What stood before the JSON: warnings that load errors left there.
    pub(crate) preamble: String,
}

/// One plugin of a server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Info {
    pub(crate) name: String,
    #[serde(default)]
    phases: Vec<String>,
    #[serde(default)]
    version: Option<Json>,
    #[serde(default)]
    priority: Option<f64>,
    #[serde(default)]
    pub(crate) schema: Json,
}

impl Info {
    /// The phases in which it has a handler.
    ///
    /// # Errors
    /// If there is one that the protocols don't know: its handler would never run.
    pub(crate) fn phases(&self) -> Result<PhaseSet, String> {
        const KNOWN: PhaseSet = PhaseSet::of(&[
            Phase::Certificate,
            Phase::Rewrite,
            Phase::Access,
            Phase::Response,
            Phase::Preread,
            Phase::Log,
        ]);
        self.phases.iter().try_fold(PhaseSet::NONE, |set, name| {
            let phase = Phase::from_name(name).filter(|&phase| KNOWN.contains(phase));
            phase.map(|phase| set.with(phase)).ok_or_else(|| {
                format!("plugin '{}': no such phase: '{name}' (only: {KNOWN})", self.name)
            })
        })
    }

    /// Its version, whatever type it was given as.
    pub(crate) fn version(&self) -> String {
        match &self.version {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// Its priority; fractions, which nobody can configure against, are cut off.
    pub(crate) fn priority(&self) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        self.priority.map_or(0, |p| p as i32)
    }
}

/// Reads a query command's output. Lines before the JSON are kept apart: Python and JavaScript
/// servers complain there of plugins that fail to load.
///
/// # Errors
/// The text says what is wrong with it.
pub(crate) fn parse(output: &str) -> Result<Dump, String> {
    if output.trim().is_empty() {
        return Err("it printed nothing".to_owned());
    }
    let mut first = None;
    for (start, _) in output.match_indices(['{', '[']) {
        let line_start = output.get(..start).is_none_or(|b| b.is_empty() || b.ends_with('\n'));
        // A line such as `[09:00:54] text` begins like an array, but is none.
        if !line_start {
            continue;
        }
        let (preamble, json) = output.split_at(start);
        match serde_json::from_str::<Json>(json) {
            Ok(json) => return dump(json, output, preamble.trim()),
            Err(error) => first = first.or(Some((error, json))),
        }
    }
    Err(match first {
        Some((error, _)) => format!("its output is no JSON: {error}; it printed: {}", cut(output)),
        None => format!("its output has no JSON; it printed: {}", cut(output)),
    })
}

/// The start of a text that may be long.
pub(crate) fn cut(text: &str) -> &str {
    let text = text.trim();
    let end = text.char_indices().nth(2000).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

fn dump(json: Json, output: &str, preamble: &str) -> Result<Dump, String> {
    let (protocol, plugins) = match json {
        Json::Object(mut object) => {
            let protocol = match object.get("Protocol").and_then(Json::as_str) {
                Some("ProtoBuf:1") => Protocol::ProtoBuf,
                None | Some("MsgPack:1") => Protocol::MsgPack,
                Some(other) => return Err(format!("it speaks the unknown protocol '{other}'")),
            };
            (protocol, object.remove("Plugins").unwrap_or_default())
        }
        array => (Protocol::MsgPack, array),
    };
    let plugins: Vec<Info> = serde_json::from_value(plugins)
        .map_err(|error| format!("its description of the plugins has a fault: {error}"))?;
    if plugins.is_empty() {
        let preamble = if preamble.is_empty() { "" } else { preamble };
        return Err(format!("it has no plugins {}", cut(preamble)).trim().to_owned());
    }
    // Python's json module alone writes a blank behind colons.
    let strict_text = protocol == Protocol::MsgPack && output.contains("\"Name\": ");
    Ok(Dump { protocol, strict_text, plugins, preamble: preamble.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO: &str = r#"{"Protocol":"ProtoBuf:1","SocketPath":"/usr/local/kong/a.socket",
        "Plugins":[{"Name":"a","Phases":["access","log"],"Version":"0.1","Priority":10,
        "Schema":{"name":"a","fields":[]}}]}"#;

    #[test]
    fn a_dump_names_its_protocol_and_plugins() {
        let dump = parse(GO).expect("a dump");
        assert_eq!(dump.protocol, Protocol::ProtoBuf);
        let [info] = dump.plugins.as_slice() else { panic!("one plugin") };
        assert_eq!(
            (info.name.as_str(), info.version().as_str(), info.priority()),
            ("a", "0.1", 10)
        );
        assert_eq!(info.phases(), Ok(PhaseSet::of(&[Phase::Access, Phase::Log])));
    }

    #[test]
    fn arrays_speak_messagepack_and_all_their_plugins_count() {
        let dump = parse(r#"[{"Name":"a"},{"Name":"b","Version":null,"Phases":["dance"]}]"#);
        let dump = dump.expect("a dump");
        assert_eq!((dump.protocol, dump.plugins.len()), (Protocol::MsgPack, 2));
        assert_eq!(
            dump.plugins.last().map(Info::phases),
            Some(Err("plugin 'b': no such phase: 'dance' (only: certificate, rewrite, access, \
                      response, log, preread)"
                .to_owned()))
        );
        assert!(!dump.strict_text);
        assert!(parse(r#"[{"Name": "a"}]"#).expect("a dump").strict_text);
    }

    #[test]
    fn warnings_before_the_json_are_kept_apart() {
        let output = "WARN - [09:00:54] error loading plugin \"x\": no [y]\n[{\"Name\": \"a\"}]\n";
        let dump = parse(output).expect("a dump");
        assert_eq!(dump.preamble, "WARN - [09:00:54] error loading plugin \"x\": no [y]");
    }

    #[test]
    fn what_is_wrong_is_said() {
        #[track_caller]
        fn check(output: &str, expect: &str) {
            let error = parse(output).expect_err("a fault");
            assert!(error.contains(expect), "{error}");
        }
        check("", "printed nothing");
        check("oops", "it printed: oops");
        check("[{\"Name\":\"a\"", "no JSON: EOF while parsing");
        check("[]", "no plugins");
        check("[{}]", "missing field `Name`");
        check(r#"{"Protocol":"Morse:1"}"#, "unknown protocol 'Morse:1'");
    }
}
