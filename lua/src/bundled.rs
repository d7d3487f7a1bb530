//! The bundled plugins that are written in Lua, since Lua is what they are about, and the sandbox
//! that their code runs in.

use silverback_model::schema::{Field, Schema};

/// The bundled plugins of this host.
pub const BUNDLED: [&str; 2] = ["post-function", "pre-function"];

/// Their modules.
static MODULES: &[(&str, &str)] = &[
    ("kong.plugins.post-function.handler", "return require('silverback.functions').handler(-1000)"),
    (
        "kong.plugins.post-function.schema",
        "return require('silverback.functions').schema('post-function')",
    ),
    (
        "kong.plugins.pre-function.handler",
        "return require('silverback.functions').handler(1000000)",
    ),
    (
        "kong.plugins.pre-function.schema",
        "return require('silverback.functions').schema('pre-function')",
    ),
    ("kong.tools.kong-lua-sandbox", "return require('kong.tools.sandbox').kong"),
    ("kong.tools.sandbox", include_str!("bundled/sandbox.lua")),
    ("kong.tools.sandbox.kong", "return require('kong.tools.sandbox').kong"),
    ("silverback.functions", include_str!("bundled/functions.lua")),
];

/// What the phases of their configurations mean; schemas as JSON do not show it.
const PHASES: [(&str, &str); 6] = [
    ("certificate", "Lua that runs in TLS handshakes, before the certificate is chosen."),
    ("rewrite", "Lua that runs before routing. Only instances for all requests are asked."),
    ("access", "Lua that runs before the upstream is asked."),
    ("header_filter", "Lua that runs when the head of the answer is known."),
    ("body_filter", "Lua that runs for each piece of the answer's body."),
    ("log", "Lua that runs when everything has been sent."),
];

/// Says for people what a schema of theirs means.
pub(crate) fn describe(schema: &mut Schema) {
    let when = match schema.name.as_str() {
        "pre-function" => "before those of all other plugins",
        "post-function" => "after those of all other plugins",
        _ => return,
    };
    schema.description = format!(
        "Runs Lua that stands in the configuration, {when}. A piece of code that returns a\n\
         function runs once, and what it returns runs for each request. `untrusted_lua` says what\n\
         the code may do. The pieces of a phase run one after another, until one answers."
    );
    let Some(config) = schema.fields.get_mut("config").and_then(Field::as_record_mut) else {
        return;
    };
    for (name, text) in PHASES {
        if let Some(field) = config.fields.get_mut(name) {
            text.clone_into(&mut field.description);
        }
    }
}

/// The source of a module.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let found = MODULES.iter().find(|(known, _)| *known == name);
    found.map(|(_, source)| *source)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, sync::Arc};

    use silverback_model::{
        declarative::{self, Format},
        set::Kinds,
    };
    use silverback_pdk::{Configuration, page};

    use super::*;

    fn file(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "..", "docs", "plugins", name].iter().collect()
    }

    /// As those of the plugins in Rust (`plugins/src/reference.rs`).
    #[test]
    fn both_have_a_page_and_their_examples_can_be_loaded() {
        let host =
            crate::load(crate::Config::default(), &BUNDLED).unwrap_or_else(|e| panic!("{e:?}"));
        let schemas = host.plugins.iter().map(|p| (p.name.clone(), Arc::new(p.schema.clone())));
        let kinds = Arc::new(Kinds::bundled(schemas));
        for plugin in &host.plugins {
            let name = &plugin.name;
            let example = fs::read_to_string(file(&format!("{name}.yml"))).unwrap();
            let loaded = declarative::load(&example, Format::Yaml, &kinds);
            let entities = loaded.map_err(|e| e.describe(name)).unwrap().entities;
            let own = entities.of("plugins").iter().find(|own| own["name"] == *name).unwrap();
            let configured = (plugin.configure)(&Configuration::of(own));
            assert!(configured.is_ok(), "{name}: {:?}", configured.err());
            let console = fs::read_to_string(file(&format!("{name}.console"))).unwrap();
            let path = file(&format!("{name}.md"));
            let text = page(plugin, &example, &console, "silverback-lua");
            if std::env::var_os("SILVERBACK_BLESS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            assert!(
                fs::read_to_string(&path).unwrap_or_default() == text,
                "docs/plugins/{name}.md is stale: SILVERBACK_BLESS=1 cargo test -p silverback-lua"
            );
        }
    }
}
