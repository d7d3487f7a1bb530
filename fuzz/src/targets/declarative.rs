//! Declarative files, YAML and JSON: any text is one or is refused with a reason; what was loaded
//! is exported as a file that loads as the same entities.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use silverback_model::{
    declarative::{Format, export, load, to_yaml},
    schema::{Field, Schema},
    set::Kinds,
};

pub(crate) const WORDS: &[&str] = &[
    "_format_version: \"3.0\"\n",
    "_format_version: \"1.1\"\n",
    "_transform: false\n",
    "services:\n",
    "- name: a\n",
    "  url: http://a.test\n",
    "  routes:\n",
    "routes:\n",
    "  - paths: [/a]\n",
    "upstreams:\n",
    "targets:\n",
    "consumers:\n",
    "- username: a\n",
    "plugins:\n",
    "- name: plain\n",
    "  config: {key: x}\n",
    "  service: a\n",
    "certificates:\n",
    "tags: [a, b]\n",
    "id: 00000000-0000-4000-8000-000000000001\n",
    "{\"_format_version\": \"3.0\"}",
    "{\"services\": [{\"name\": \"a\", \"host\": \"b\"}]}",
    "&a",
    "*a",
    "<<: ",
    "!!str ",
    "null",
    "~",
    "|\n",
    "[",
    "]",
    "{",
    "}",
    "\t",
    "1e999",
    "-0",
];

static KINDS: LazyLock<Arc<Kinds>> = LazyLock::new(|| {
    let config = Schema::default().with_field("key", Field::string());
    let plain = Schema::plugin("plain", Field::record(config));
    Arc::new(Kinds::bundled([("plain".to_owned(), Arc::new(plain))]))
});

pub(crate) fn feed(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let loaded = match load(text, Format::Any, &KINDS) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(!errors.describe("kong.yml").is_empty(), "refused without a reason");
            let _ = errors.flattened(&KINDS);
            return false;
        }
    };
    assert!(serde_json::to_value(&loaded).is_ok_and(|answer| answer.is_object()));
    let file = export(&loaded.entities);
    for text in [to_yaml(&file), file.to_string()] {
        let again = load(&text, Format::Any, &KINDS)
            .unwrap_or_else(|errors| panic!("{}\n{text}", errors.describe("kong.yml").join("\n")));
        assert_eq!(lasting(export(&again.entities)), lasting(file.clone()));
    }
    true
}

/// What is exported but for the times of changes: loading is one.
fn lasting(mut file: Value) -> Value {
    let lists = file.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut);
    for entity in lists.flatten().filter_map(Value::as_object_mut) {
        entity.remove("updated_at");
    }
    file
}
