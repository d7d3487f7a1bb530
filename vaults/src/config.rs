//! What a node's settings say about vaults: `vaults` and `vault_KIND_NAME`.

use std::{collections::HashMap, path::PathBuf};

use silverback_model::entities::FileVault;

/// Where container platforms put secrets.
const DIRECTORY: &str = "/run/secrets";

/// A kind of vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Environment variables.
    Env,
    /// Files in a directory.
    File,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 2] = [Kind::Env, Kind::File];

    /// The name, as in `{vault://env/…}` and in a vault's `name`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Env => "env",
            Kind::File => "file",
        }
    }

    fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What the vaults of a node are told.
#[derive(Clone)]
pub struct Config {
    /// The kinds that may be used.
    pub kinds: Vec<Kind>,
    /// The environment, as it was when the node started.
    pub environment: HashMap<String, String>,
    /// `vault_env_prefix`: what the names of variables begin with, for `{vault://env/…}`.
    pub env_prefix: Option<String>,
    /// `vault_file_directory`, absolute: no vault reads a file outside of it.
    pub root: PathBuf,
    /// `vault_file_*`: the rest of what holds for `{vault://file/…}`. A vault with a prefix of its
    /// own has its own.
    pub file: FileVault,
}

impl Config {
    /// Reads the settings: `enabled` is the list `vaults`, `setting` gives a `vault_*` by name.
    ///
    /// # Errors
    /// What is wrong, by the setting's name.
    pub fn read(
        enabled: &[String],
        environment: HashMap<String, String>,
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, (String, String)> {
        let given = |name: &str| setting(name).filter(|text| !text.is_empty());
        let seconds = |name: &str| match given(name) {
            None => Ok(None),
            Some(text) => match text.parse::<u32>() {
                Ok(seconds) if seconds <= SECONDS_MAX => Ok(Some(seconds)),
                _ => Err((
                    name.to_owned(),
                    format!("{name}: '{text}' is no whole number of seconds up to {SECONDS_MAX}"),
                )),
            },
        };
        let flag = |name: &str| match given(name).as_deref() {
            None | Some("off" | "false") => Ok(false),
            Some("on" | "true") => Ok(true),
            Some(text) => Err((name.to_owned(), format!("{name}: '{text}' is neither on nor off"))),
        };
        let root = given("vault_file_directory").unwrap_or(DIRECTORY.to_owned());
        let root = std::path::absolute(&root).map_err(|error| {
            let name = "vault_file_directory";
            (name.to_owned(), format!("{name}: '{root}': {error}"))
        })?;
        Ok(Config {
            kinds: kinds(enabled)?,
            environment,
            env_prefix: given("vault_env_prefix"),
            root,
            file: FileVault {
                directory: None,
                prefix: given("vault_file_prefix"),
                ttl: seconds("vault_file_ttl")?.unwrap_or(FileVault::TTL),
                neg_ttl: seconds("vault_file_neg_ttl")?.unwrap_or(FileVault::NEG_TTL),
                resurrect_ttl: seconds("vault_file_resurrect_ttl")?,
                base64_decode: flag("vault_file_base64_decode")?,
            },
        })
    }

    /// Whether vaults of a kind may be used.
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// Kong's longest time (`DAO_MAX_TTL`).
const SECONDS_MAX: u32 = 100_000_000;

fn kinds(enabled: &[String]) -> Result<Vec<Kind>, (String, String)> {
    let mut kinds = Vec::new();
    for name in enabled {
        match (name.as_str(), Kind::of(name)) {
            ("bundled", _) => kinds.extend(Kind::ALL),
            (_, Some(kind)) => kinds.push(kind),
            ("off", None) => {}
            (name, None) => {
                let text = format!(
                    "vaults: there is no vault '{name}'; there are env and file, bundled for both, \
                     and off for none"
                );
                return Err(("vaults".to_owned(), text));
            }
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(enabled: &[&str], settings: &[(&str, &str)]) -> Result<Config, String> {
        let enabled: Vec<String> = enabled.iter().map(|name| (*name).to_owned()).collect();
        let setting = |wanted: &str| {
            let found = settings.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::read(&enabled, HashMap::new(), setting).map_err(|(_, text)| text)
    }

    #[test]
    fn the_list_says_which_there_are() {
        let check = |enabled: &[&str], expect: &[Kind]| {
            assert_eq!(read(enabled, &[]).map(|config| config.kinds), Ok(expect.to_vec()));
        };
        check(&["bundled"], &[Kind::Env, Kind::File]);
        check(&["file"], &[Kind::File]);
        check(&["off"], &[]);
        check(&[], &[]);
    }

    #[test]
    fn settings_hold_for_the_kind() {
        let given = [
            ("vault_env_prefix", "X_"),
            ("vault_file_directory", "/etc/secrets"),
            ("vault_file_ttl", "5"),
            ("vault_file_resurrect_ttl", "0"),
            ("vault_file_base64_decode", "on"),
        ];
        let config = read(&["bundled"], &given).unwrap_or_else(|text| panic!("{text}"));
        assert_eq!(config.env_prefix.as_deref(), Some("X_"));
        assert_eq!(config.root, PathBuf::from("/etc/secrets"));
        let expect = FileVault {
            ttl: 5,
            neg_ttl: 5,
            resurrect_ttl: Some(0),
            base64_decode: true,
            ..FileVault::default()
        };
        assert_eq!(config.file, expect);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |enabled: &[&str], given: &[(&str, &str)], expect: &str| {
            let text = read(enabled, given).err().unwrap_or_default();
            assert!(text.starts_with(expect), "{text}");
        };
        check(&["hcv"], &[], "vaults: there is no vault 'hcv'; there are env and file");
        check(&["env"], &[("vault_file_ttl", "soon")], "vault_file_ttl: 'soon' is no whole number");
        check(&["env"], &[("vault_file_base64_decode", "1")], "vault_file_base64_decode: '1' is");
    }
}
