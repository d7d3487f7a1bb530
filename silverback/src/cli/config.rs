//! `config init|parse|db_import|db_export`: declarative files.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use silverback_model::{
    declarative::{self, Format, Loaded},
    set::{Entities, Kinds},
};

use silverback_pdk::Registry;

use super::{Args, CONF, Command, PREFIX};
use crate::{
    conf::{Conf, Database, commented_file},
    node,
    prefix::Prefix,
};

pub(super) const COMMAND: Command = Command {
    name: "config",
    operands: "init [FILE] | parse FILE | db_import FILE | db_export [FILE] | keys",
    summary: "Write an example declarative file, check one, put one into the database or the \
              database into one, or print every key of kong.conf.",
    flags: &[CONF, PREFIX],
    run,
};

fn run(args: &Args) -> Result<()> {
    let words: Vec<&str> = args.operands().iter().map(String::as_str).collect();
    match words[..] {
        ["init"] => init(Path::new("kong.yml")),
        ["init", file] => init(Path::new(file)),
        ["keys"] => {
            print!("{}", commented_file());
            Ok(())
        }
        ["parse", file] => parse(args, Path::new(file)),
        ["parse"] => bail!("expected a declarative configuration file; see `config --help`"),
        ["db_import" | "db-import", file] => import(args, Path::new(file)),
        ["db_import" | "db-import"] => {
            bail!("expected a declarative configuration file; see `config --help`")
        }
        ["db_export" | "db-export"] => export(args, Path::new("kong.yml")),
        ["db_export" | "db-export", file] => export(args, Path::new(file)),
        _ => bail!("unknown command '{}'; see `config --help`", words.join(" ")),
    }
}

fn init(file: &Path) -> Result<()> {
    if file.exists() {
        bail!("{} already exists; it is not overwritten", file.display());
    }
    fs::write(file, EXAMPLE).with_context(|| format!("can't write {}", file.display()))
}

fn parse(args: &Args, file: &Path) -> Result<()> {
    load(&args.node_conf()?, file)?;
    println!("parse successful");
    Ok(())
}

/// Puts the entities of a file into the database, in the place of those with their ids.
fn import(args: &Args, file: &Path) -> Result<()> {
    let conf = args.node_conf()?;
    if conf.database == Database::Off {
        bail!(
            "'config db_import' only works with a database. When using a declarative config file \
             without a database, name it by 'declarative_config' in kong.conf"
        );
    }
    let (registry, kinds, loaded) = load(&conf, file)?;
    println!("parse successful, beginning import");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let prefix = Prefix::new(conf.prefix.clone());
        let store = node::entities::open(&conf, &prefix, &kinds, &registry, None).await?;
        store.import(&loaded.entities).await.map_err(|fault| anyhow!("Failed importing: {fault}"))
    })?;
    println!("import successful");
    Ok(())
}

/// Writes the entities of the database into a file that loads as them.
fn export(args: &Args, file: &Path) -> Result<()> {
    let conf = args.node_conf()?;
    if conf.database == Database::Off {
        bail!("'config db_export' only works with a database.");
    }
    let entities = stored(&conf)?;
    let text = declarative::to_yaml(&declarative::export(&entities));
    // Secrets are in it.
    let mut options = fs::OpenOptions::new();
    let new = options.write(true).create_new(true).mode(0o600).open(file);
    let mut new = new.with_context(|| match file.exists() {
        true => format!("{} already exists. Will not overwrite it", file.display()),
        false => format!("can't write {}", file.display()),
    })?;
    new.write_all(text.as_bytes()).with_context(|| format!("can't write {}", file.display()))
}

/// All entities of the database; none without one.
pub(super) fn stored(conf: &Conf) -> Result<Arc<Entities>> {
    let registry = node::plugins::registry_of(conf)?;
    let kinds = node::entities::kinds(conf, &registry);
    Ok(Arc::new(match &conf.database {
        Database::Off => Entities::empty(kinds),
        Database::Postgres => all_of_postgres(conf, &kinds, &registry)?,
        // Read beside the node that has it open.
        Database::Sqlite(file) => silverback_store::sqlite::read(file, &kinds)?,
    }))
}

/// All entities of a PostgreSQL database.
fn all_of_postgres(conf: &Conf, kinds: &Arc<Kinds>, registry: &Registry) -> Result<Entities> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let prefix = Prefix::new(conf.prefix.clone());
        let store = node::entities::open(conf, &prefix, kinds, registry, None).await?;
        let mut entities = Entities::empty(Arc::clone(kinds));
        for kind in kinds.iter().filter(|kind| kind.schema.db_export) {
            let name = &kind.schema.name;
            let put = |record| drop(entities.put(name, record));
            let read = store.each(name, put).await;
            read.map_err(|fault| anyhow!("Failed exporting '{name}': {fault}"))?;
        }
        Ok(entities)
    })
}

/// Reads and checks a file.
pub(super) fn load(conf: &Conf, file: &Path) -> Result<(Registry, Arc<Kinds>, Loaded)> {
    let text =
        fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    parsed(conf, &text, &file.display().to_string())
}

/// Checks the text of a file of this name.
pub(super) fn parsed(
    conf: &Conf,
    text: &str,
    name: &str,
) -> Result<(Registry, Arc<Kinds>, Loaded)> {
    let registry = node::plugins::registry_of(conf)?;
    let kinds = node::entities::kinds(conf, &registry);
    let format = Format::of_file(name).unwrap_or(Format::Any);
    let loaded = declarative::load(text, format, &kinds)
        .map_err(|errors| anyhow!("Failed parsing:\n{}", errors.describe(name).join("\n")))?;
    Ok((registry, kinds, loaded))
}

const EXAMPLE: &str = r#"# A declarative configuration: what the gateway serves, in one file.
# Load it with `declarative_config = FILE` in kong.conf or KONG_DECLARATIVE_CONFIG=FILE,
# or send it to a running node: curl -F config=@kong.yml http://localhost:8001/config

_format_version: "3.0"

# Names are resolved and values are prepared (passwords hashed) while the file is read.
_transform: true

services:
- name: example
  url: http://127.0.0.1:9000
  routes:
  - name: example
    paths: [/example]
  plugins:
  # Every request gets an id that the upstream and the client both see.
  - name: correlation-id
    config:
      header_name: X-Correlation-Id
      echo_downstream: true

consumers:
- username: somebody
  keyauth_credentials:
  - key: change-me
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_written_once() {
        let file = std::env::temp_dir().join(format!("silverback-init-{}", std::process::id()));
        let _ = fs::remove_file(&file);
        init(&file).unwrap();
        assert!(init(&file).unwrap_err().to_string().ends_with("it is not overwritten"));
    }
}
