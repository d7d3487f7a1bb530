//! Where `require` finds modules: our own first, then `lua_package_path` and `lua_package_cpath`,
//! the working directory, and the trees of luarocks.

use mlua::{Lua, Table, Value};

use crate::{Config, bundled, library, state::State};

/// What stands at the end of every path (kong/templates/kong_defaults.lua has `./?.lua;
/// ./?/init.lua;;`; the rest is where luarocks installs).
const PATH: &str = "./?.lua;./?/init.lua;/usr/local/share/lua/5.1/?.lua;\
/usr/local/share/lua/5.1/?/init.lua;/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua";
const CPATH: &str = "./?.so;/usr/local/lib/lua/5.1/?.so;/usr/lib/lua/5.1/?.so";

/// Teaches a state where modules are.
///
/// # Errors
/// If there is no memory.
pub(crate) fn register(state: &State) -> mlua::Result<()> {
    let lua = &state.lua;
    let package: Table = lua.globals().get("package")?;
    let directory = state.config.directory.to_string_lossy();
    let Config { package_path, package_cpath, home, .. } = &*state.config;
    let home = home.as_ref().map(|home| home.to_string_lossy().into_owned());
    let tree = |end: &str| home.as_ref().map(|home| format!("{home}/.luarocks/{end}"));
    let (lua_tree, c_tree) = (tree("share/lua/5.1"), tree("lib/lua/5.1"));
    let own = lua_tree.map(|tree| format!("{PATH};{tree}/?.lua;{tree}/?/init.lua"));
    package.set("path", path(package_path, own.as_deref().unwrap_or(PATH), &directory))?;
    let own = c_tree.map(|tree| format!("{CPATH};{tree}/?.so"));
    package.set("cpath", path(package_cpath, own.as_deref().unwrap_or(CPATH), &directory))?;
    let loaders: Table = package.get("loaders")?;
    // Behind `package.preload`, before the file system: ours can't be hidden by accident.
    let first = lua.create_function(|lua, name: String| search(lua, &name, false))?;
    loaders.raw_insert(2, first)?;
    loaders.raw_push(lua.create_function(|lua, name: String| search(lua, &name, true))?)
}

/// A path setting with the defaults where `;;` stands, and relative parts made absolute: a node
/// changes its directory.
fn path(given: &str, default: &str, directory: &str) -> String {
    let full = match given.trim() {
        "" => default.to_owned(),
        given if given.contains(";;") => given.replacen(";;", &format!(";{default};"), 1),
        given => format!("{given};{default}"),
    };
    let parts = full.split(';').map(str::trim).filter(|part| !part.is_empty());
    let absolute = parts.map(|part| match part.strip_prefix("./") {
        Some(rest) => format!("{}/{rest}", directory.trim_end_matches('/')),
        None => part.to_owned(),
    });
    absolute.collect::<Vec<_>>().join(";")
}

/// The source of a module of our own.
pub(crate) fn source(name: &str) -> Option<&'static str> {
    bundled::find(name).or_else(|| library::find(name))
}

/// A searcher of `package.loaders`: the embedded library, the part that is to be found first or
/// the part that comes last.
fn search(lua: &Lua, name: &str, last: bool) -> mlua::Result<Value> {
    if library::gives_way(name) != last {
        return Ok(Value::Nil);
    }
    match source(name) {
        Some(source) => {
            let chunk = lua.load(source).set_name(format!("@silverback/{name}.lua"));
            Ok(Value::Function(chunk.into_function()?))
        }
        None => {
            let text = format!("\n\tno module '{name}' in Silverback's own library");
            Ok(Value::String(lua.create_string(text)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_with_what_is_given_and_are_absolute() {
        #[track_caller]
        fn check(given: &str, expect: &str) {
            let path = path(given, "./?.lua;/usr/share/?.lua", "/work");
            assert!(path.starts_with(expect), "{path}");
            assert!(!path.contains(";;") && path.contains("/usr/share/?.lua"), "{path}");
        }
        check("", "/work/?.lua;/usr/share/?.lua");
        check("/a/?.lua;;", "/a/?.lua;/work/?.lua;");
        check("./?.lua;./?/init.lua;", "/work/?.lua;/work/?/init.lua;/work/?.lua;");
        check("/a/?.lua", "/a/?.lua;/work/?.lua");
    }
}
