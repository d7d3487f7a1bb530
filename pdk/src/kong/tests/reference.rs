//! `docs/pdk.md` is made from the table.

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
