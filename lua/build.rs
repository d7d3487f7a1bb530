//! Makes the list of the embedded Lua modules of the files under `lib/`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=lib");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("lib");
    let mut modules = Vec::new();
    collect(&root, "", &mut modules)?;
    modules.sort();
    let lines = modules.iter().map(|(name, path)| {
        format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string())
    });
    let text = format!("&[\n{}]\n", lines.collect::<String>());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("library.rs");
    // A new file: copies of a target directory may be links to the old one.
    let _ = fs::remove_file(&out);
    fs::write(out, text)
}

/// The modules of a directory, by the names that `require` knows them by.
fn collect(dir: &Path, prefix: &str, into: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{stem}."), into)?;
        } else if path.extension().is_some_and(|extension| extension == "lua") {
            into.push((format!("{prefix}{stem}"), path));
        }
    }
    Ok(())
}
