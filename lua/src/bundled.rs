//! The bundled plugins that are written in Lua, since Lua is what they are about, and the sandbox
//! that their code runs in.

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

/// The source of a module.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let found = MODULES.iter().find(|(known, _)| *known == name);
    found.map(|(_, source)| *source)
}
