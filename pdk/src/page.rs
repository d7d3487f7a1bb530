//! What `docs/plugins/` says of a plugin: made of its schema, whatever language it is written in.

use std::fmt::Write;

use silverback_model::schema::{Field, Flag, Kind, Rule, Schema};

use crate::Plugin;

/// A bundled plugin's page: what its schema says of it, its example, and what to ask of that.
/// `package` is the crate whose tests make it.
pub fn page(plugin: &Plugin, example: &str, console: &str, package: &str) -> String {
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
         -p {package}`. The tests run the example.\n"
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
