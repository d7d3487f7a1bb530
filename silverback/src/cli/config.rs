//! `config init|parse`: declarative files.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use silverback_model::declarative::{self, Format};

use super::{Args, CONF, Command, PREFIX};
use crate::{conf::commented_file, node};

pub(super) const COMMAND: Command = Command {
    name: "config",
    operands: "init [FILE] | parse FILE | keys",
    summary: "Write an example declarative file, check one, or print every key of kong.conf.",
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
        ["db_import" | "db_export" | "db-import" | "db-export", ..] => {
            bail!("'config {}' only works with a database", words[0])
        }
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
    let conf = args.node_conf()?;
    let text =
        fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let registry = node::plugins::registry_of(&conf)?;
    let name = file.display().to_string();
    let format = Format::of_file(&name).unwrap_or(Format::Any);
    declarative::load(&text, format, &node::entities::kinds(&conf, &registry))
        .map_err(|errors| anyhow!("Failed parsing:\n{}", errors.describe(&name).join("\n")))?;
    println!("parse successful");
    Ok(())
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
