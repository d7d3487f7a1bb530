//! Modules of Lua that are written in C find LuaJIT's interface in the binary itself.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        for symbols in ["lua_*", "luaL_*", "luaopen_*", "luaJIT_*"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbols}");
        }
    }
}
