//! `docs/plugins/NAME.md` is made from a plugin's schema and doc comments, and from the example
//! in `docs/plugins/NAME.yml`, which is loaded here. What is asked of it and answered stands in
//! `docs/plugins/NAME.console`; `e2e/tests/it/docs.rs` does so.

use std::{fs, path::PathBuf, sync::Arc};

use silverback_model::{
    declarative::{self, Format},
    set::Kinds,
};
use silverback_pdk::{Configuration, Plugin, page};

use super::{Config, bundled as bundled_with};

fn bundled() -> Vec<Plugin> {
    // With a database, where policies may be `cluster`.
    bundled_with(&Config { cluster: true, ..Config::default() })
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docs", "plugins", name].iter().collect()
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
        let (path, text) =
            (file(&format!("{name}.md")), page(&plugin, &example, &console, "silverback-plugins"));
        if std::env::var_os("SILVERBACK_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text,
            "docs/plugins/{name}.md is stale: SILVERBACK_BLESS=1 cargo test -p silverback-plugins"
        );
    }
}
