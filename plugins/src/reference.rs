//! `docs/plugins/NAME.md` is made from a plugin's schema and doc comments, and from the example
//! in `docs/plugins/NAME.yml`, which is loaded here. What is asked of it and answered stands in
//! `docs/plugins/NAME.console`; `e2e/tests/it/docs.rs` does so.

use std::{fmt::Write, fs, path::PathBuf, sync::Arc};

use silverback_model::{
    declarative::{self, Format},
    schema::{Field, Flag, Kind, Rule, Schema},
    set::Kinds,
};
use silverback_pdk::{Configuration, Plugin};

use super::{Config, bundled as bundled_with};

fn bundled() -> Vec<Plugin> {
    // With a database, where policies may be `cluster`.
    bundled_with(&Config { cluster: true, ..Config::default() })
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docs", "plugins", name].iter().collect()
}

fn render(plugin: &Plugin, example: &str, console: &str) -> String {
    let Plugin { name, priority, phases, schema, .. } = plugin;
    let mut page = format!("# {name}\n\n{}\n\n", schema.description);
    let _ = writeln!(page, "- Phases: {phases}; priority {priority}");
    let _ = writeln!(page, "- Protocols: {}", protocols(schema));
    let of_consumers = if schema.fields.contains_key("consumer") { "" } else { ", of a consumer" };
    let _ = writeln!(page, "- For all requests, or those of a service, of a route{of_consumers}");
    page.push_str("\n## Configuration\n\n");
    if let Some(config) = schema.fields.get("config").and_then(Field::as_record) {
        fields(&mut page, "", config);
    }
    let _ = write!(page, "\n## Example\n\n```yaml\n{example}```\n\n");
    let _ = write!(
        page,
        "To run it: `KONG_DATABASE=off KONG_DECLARATIVE_CONFIG=docs/plugins/{name}.yml silverback \
         start`, with an upstream on port 9000. Then:\n\n```console\n{console}```\n\nThis page is \
         made from the plugin's source and the example beside it by `SILVERBACK_BLESS=1 cargo test \
         -p silverback-plugins`. The tests run the example.\n"
    );
    page
}

fn protocols(schema: &Schema) -> String {
    let protocols = schema.fields.get("protocols").and_then(|field| field.default.as_ref());
    let names = protocols.and_then(|list| list.as_array()).into_iter().flatten();
    names.filter_map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn fields(page: &mut String, prefix: &str, record: &Schema) {
    for (name, field) in &record.fields {
        let name = format!("{prefix}{name}");
        if let Some(record) = field.as_record() {
            let _ = writeln!(page, "- `{name}`: {}", field.description);
            fields(page, &format!("{name}."), record);
            continue;
        }
        let mut facts = vec![kind(field)];
        facts.extend(field.rules().iter().chain(of_elements(field)).filter_map(rule));
        match &field.default {
            Some(default) => facts.push(format!("default `{default}`")),
            None if field.is(Flag::Required) => facts.push("required".to_owned()),
            None => {}
        }
        let description = field.description.replace('\n', " ");
        let _ = writeln!(page, "- `{name}` ({}): {description}", facts.join("; "));
    }
}

fn kind(field: &Field) -> String {
    let name = |field: &Field| field.kind.name().unwrap_or("any").to_owned();
    match &field.kind {
        Kind::Array(elements) | Kind::Set(elements) => {
            format!("{} of {}", name(field), name(elements))
        }
        _ => name(field),
    }
}

fn of_elements(field: &Field) -> impl Iterator<Item = &Rule> {
    field.elements().into_iter().flat_map(|elements| elements.rules())
}

fn rule(rule: &Rule) -> Option<String> {
    Some(match rule {
        Rule::OneOf(values) => {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("one of {}", values.join(", "))
        }
        Rule::Between(from, to) => format!("from {from} to {to}"),
        Rule::Gt(limit) => format!("more than {limit}"),
        Rule::IsRegex => "regular expressions".to_owned(),
        Rule::Match(_) => "each with a name, a colon and a value".to_owned(),
        _ => return None,
    })
}

/// Loads the example as a node would, and configures its plugins.
fn check(name: &str, example: &str, kinds: &Arc<Kinds>) {
    let loaded = declarative::load(example, Format::Yaml, kinds).map_err(|e| e.describe(name));
    let entities = loaded.unwrap_or_else(|errors| panic!("{name}.yml: {errors:#?}")).entities;
    let mut seen = false;
    for (kind, collection) in entities.iter().filter(|(kind, _)| kind.schema.name == "plugins") {
        for entity in collection.iter() {
            let plugin = bundled().into_iter().find(|p| entity["name"] == p.name).unwrap();
            let configured = (plugin.configure)(&Configuration::of(entity));
            assert!(configured.is_ok(), "{}: {:?}", kind.schema.name, configured.err());
            seen |= plugin.name == name;
        }
    }
    assert!(seen, "{name}.yml does not use {name}");
}

#[test]
fn every_plugin_has_a_page_and_its_example_can_be_loaded() {
    let schemas = bundled().into_iter().map(|plugin| (plugin.name, Arc::new(plugin.schema)));
    let kinds = Arc::new(Kinds::bundled(schemas));
    for plugin in bundled() {
        let name = &plugin.name;
        let example = fs::read_to_string(file(&format!("{name}.yml")))
            .unwrap_or_else(|error| panic!("docs/plugins/{name}.yml, an example: {error}"));
        check(name, &example, &kinds);
        let console = fs::read_to_string(file(&format!("{name}.console")))
            .unwrap_or_else(|error| panic!("docs/plugins/{name}.console, what to ask: {error}"));
        let (path, page) = (file(&format!("{name}.md")), render(&plugin, &example, &console));
        if std::env::var_os("SILVERBACK_BLESS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == page,
            "docs/plugins/{name}.md is stale: SILVERBACK_BLESS=1 cargo test -p silverback-plugins"
        );
    }
}
