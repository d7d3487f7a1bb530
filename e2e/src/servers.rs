//! The real plugin servers with the tests' plugins, as parts of a gateway's configuration.

use crate::gateway::Builder;
use crate::setup;

/// How a Python plugin server runs its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonMode {
    /// A thread for each connection.
    Threads,
    /// Green threads (`-g`).
    Gevent,
    /// Processes (`-m`).
    Processes,
}

/// Adds a Go plugin that is its own server, e.g. `go-hello`.
pub fn go(builder: Builder, plugin: &str) -> Builder {
    let path = setup::go_plugin(plugin).display().to_string();
    let prefix = builder.prefix().display().to_string();
    let socket = format!("{prefix}/{plugin}.socket");
    let start = format!("{path} -kong-prefix {prefix}");
    builder.plugin_server(plugin, &socket, &start, &format!("{path} -dump"))
}

/// Adds go-pluginserver with the shared objects `key-checker` and `legacy-hello`, as server `go`.
pub fn go_legacy(builder: Builder) -> Builder {
    let exe = setup::env("go/legacy/go-pluginserver").display().to_string();
    let plugins = setup::env("go/legacy/plugins").display().to_string();
    let prefix = builder.prefix().display().to_string();
    let start = format!("{exe} -kong-prefix {prefix} -plugins-directory {plugins}");
    let query = format!("{exe} -plugins-directory {plugins} -dump-all-plugins");
    builder.plugin_server("go", &format!("{prefix}/go_pluginserver.sock"), &start, &query)
}

/// Adds the JavaScript server with `js-hello`, `ts-hello`, `own-modules` and `js-fault`.
pub fn js(builder: Builder) -> Builder {
    let exe = setup::js_server().display().to_string();
    let plugins = setup::env("js/plugins").display().to_string();
    let prefix = builder.prefix().display().to_string();
    let start = format!("{exe} -p {prefix} -d {plugins}");
    let query = format!("{exe} -d {plugins} --dump-all-plugins");
    builder.plugin_server("js", &format!("{prefix}/js_pluginserver.sock"), &start, &query)
}

/// Adds the Python server with `py-hello`, `py-second` and `py-fault`.
pub fn python(builder: Builder, mode: PythonMode) -> Builder {
    let flag = match mode {
        PythonMode::Threads => "",
        PythonMode::Gevent => " -g",
        PythonMode::Processes => " -m",
    };
    python_directory(builder, "python", "e2e/plugins/py", flag)
}

/// Adds a Python server of its own for the plugin `py-plain`, which wants `--no-lua-style`.
pub fn python_plain(builder: Builder) -> Builder {
    python_directory(builder, "python-plain", "e2e/plugins/py-no-lua-style", " --no-lua-style")
}

/// Adds the Python plugin `py-embedded`, which is its own server.
pub fn python_embedded(builder: Builder) -> Builder {
    let python = setup::env("python/bin/python").display().to_string();
    let script = setup::root().join("e2e/plugins/py-embedded/py-embedded.py");
    let prefix = builder.prefix().display().to_string();
    let start = format!("{python} {} -p {prefix}", script.display());
    let query = format!("{python} {} --dump", script.display());
    builder.plugin_server("py-embedded", &format!("{prefix}/py-embedded.sock"), &start, &query)
}

/// Lets Lua plugins be found among the tests' own.
pub fn lua(builder: Builder) -> Builder {
    let path = setup::root().join("e2e/plugins/lua/?.lua");
    builder.set("lua_package_path", &format!("{};;", path.display()))
}

/// Enables plugins beside the bundled ones.
pub fn enable(builder: Builder, plugins: &[&str]) -> Builder {
    builder.set("plugins", &format!("bundled,{}", plugins.join(",")))
}

fn python_directory(builder: Builder, name: &str, directory: &str, flag: &str) -> Builder {
    let exe = setup::python_server().display().to_string();
    let plugins = setup::root().join(directory).display().to_string();
    let prefix = builder.prefix().display().to_string();
    let socket = format!("{name}.sock");
    let start = format!("{exe} -p {prefix} -d {plugins} --socket-name {socket}{flag}");
    let query = format!("{exe} -d {plugins} --dump-all-plugins");
    builder.plugin_server(name, &format!("{prefix}/{socket}"), &start, &query)
}
