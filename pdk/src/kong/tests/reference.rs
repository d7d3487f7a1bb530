//! `docs/pdk.md` is made from the table, and so are the messages of typed protocols.

use std::fmt::Write;

use super::super::{Arg, Call, Shape, all};

fn shape(shape: Shape) -> &'static str {
    match shape {
        Shape::None => "nothing",
        Shape::Bool => "boolean",
        Shape::Int => "integer",
        Shape::Number => "number",
        Shape::Text => "text",
        Shape::Binary => "bytes",
        Shape::Any => "any value",
        Shape::List => "list",
        Shape::Map => "map",
        Shape::MultiMap => "map of lists",
        Shape::Captures => "captures",
        Shape::Route => "route",
        Shape::Service => "service",
        Shape::Consumer => "consumer",
        Shape::Credential => "credential",
        Shape::MemoryStats => "memory statistics",
    }
}

fn render() -> String {
    let mut page = String::from(
        "# PDK reference\n\nThe `kong.*` functions that plugins in every language may call. This \
         page is made from the\ntable in `pdk/src/kong/` by its tests; to make it anew run\n\
         `SILVERBACK_BLESS=1 cargo test -p silverback-pdk`.\n",
    );
    let mut group = "";
    for function in all() {
        let module = function.name.rsplit_once('.').map_or("", |(module, _)| module);
        if module != group {
            group = module;
            let _ = write!(page, "\n## {group}\n");
        }
        let arg = |arg: &Arg| format!("{}: {}", arg.name, shape(arg.shape));
        let args: Vec<String> = function.args.iter().map(arg).collect();
        let _ =
            write!(page, "\n### {}({})\n\n{}\n\n", function.name, args.join(", "), function.doc);
        let _ = writeln!(page, "- Result: {}", shape(function.result));
        let phases = match function.phases {
            every if every == crate::PhaseSet::ANY => "all".to_owned(),
            some => some.to_string(),
        };
        let _ = writeln!(page, "- Phases: {phases}");
        if matches!(function.call, Call::Later(_)) {
            page.push_str("- May wait.\n");
        }
    }
    page
}

#[test]
fn the_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pdk.md");
    let page = render();
    if std::env::var_os("SILVERBACK_BLESS").is_some() {
        std::fs::write(path, &page).expect("docs/pdk.md can be written");
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == page, "docs/pdk.md is stale: SILVERBACK_BLESS=1 cargo test -p silverback-pdk");
}

/// What the Go PDK sends and expects (Kong's `pluginsocket.proto`): the fields of the argument's
/// message, the result's message. Where a message is narrower than the table, its host says so.
const TYPED: &[(&str, &str, &str)] = &[
    ("kong.client.", "get_ip get_forwarded_ip", "-> text"),
    ("kong.client.", "get_port get_forwarded_port", "-> integer"),
    ("kong.client.", "get_credential", "-> credential"),
    ("kong.client.", "load_consumer", "text boolean -> consumer"),
    ("kong.client.", "get_consumer", "-> consumer"),
    ("kong.client.", "authenticate", "consumer credential -> nothing"),
    ("kong.client.", "get_protocol", "boolean -> text"),
    ("kong.ctx.shared.", "set", "text any value -> nothing"),
    ("kong.ctx.shared.", "get", "text -> any value"),
    ("kong.ip.", "is_trusted", "text -> boolean"),
    ("kong.log.", "alert crit err warn notice info debug", "list -> nothing"),
    ("kong.log.", "serialize", "-> text"),
    ("kong.nginx.", "get_var", "text -> text"),
    ("kong.nginx.", "get_tls1_version_str get_subsystem", "-> text"),
    ("kong.nginx.", "set_ctx", "text any value -> nothing"),
    ("kong.nginx.", "get_ctx", "text -> any value"),
    ("kong.nginx.", "req_start_time", "-> number"),
    ("kong.node.", "get_id", "-> text"),
    ("kong.request.", "get_scheme get_host get_forwarded_scheme get_forwarded_host", "-> text"),
    ("kong.request.", "get_method get_path get_path_with_query get_raw_query", "-> text"),
    ("kong.request.", "get_port get_forwarded_port", "-> integer"),
    ("kong.request.", "get_http_version", "-> number"),
    ("kong.request.", "get_header", "text -> text"),
    ("kong.request.", "get_query get_headers", "integer -> map of lists"),
    ("kong.request.", "get_uri_captures", "-> captures"),
    ("kong.response.", "get_status", "-> integer"),
    ("kong.response.", "get_source", "-> text"),
    ("kong.response.", "get_header", "text -> text"),
    ("kong.response.", "get_headers", "integer -> map of lists"),
    ("kong.response.", "set_status", "integer -> nothing"),
    ("kong.response.", "set_header add_header", "text any value -> nothing"),
    ("kong.response.", "clear_header", "text -> nothing"),
    ("kong.response.", "set_headers", "map -> nothing"),
    ("kong.router.", "get_route", "-> route"),
    ("kong.router.", "get_service", "-> service"),
    ("kong.service.", "set_upstream", "text -> boolean"),
    ("kong.service.", "set_target", "text integer -> nothing"),
    ("kong.service.request.", "set_scheme set_path set_raw_query set_method", "text -> nothing"),
    ("kong.service.request.", "clear_header set_raw_body", "text -> nothing"),
    ("kong.service.request.", "set_query set_headers", "map -> nothing"),
    ("kong.service.request.", "set_header add_header", "text any value -> nothing"),
    ("kong.service.response.", "get_status", "-> integer"),
    ("kong.service.response.", "get_header", "text -> text"),
    ("kong.service.response.", "get_headers", "integer -> map of lists"),
    ("kong.service.response.", "get_raw_body", "-> bytes"),
];

#[test]
fn shapes_are_those_of_typed_protocols() {
    for (module, names, expect) in TYPED {
        for name in names.split(' ') {
            let name = format!("{module}{name}");
            let function = super::find(&name).unwrap_or_else(|| panic!("no function {name}"));
            let mut parts: Vec<_> = function.args.iter().map(|arg| shape(arg.shape)).collect();
            parts.extend(["->", shape(function.result)]);
            assert_eq!(parts.join(" "), *expect, "{name}");
        }
    }
}
