//! A directory of secrets, as container platforms mount them: a file for each, or a directory with
//! a file for each member. Links are followed, and never out of the directory.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Component, Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use silverback_model::{SecretRef, entities::FileVault};

use crate::source;

/// How much a secret may hold, in bytes: as much as Kubernetes lets it.
const SECRET_MAX: u64 = 1 << 20;

/// How often a file is looked for that is replaced at this moment.
const TRIES: usize = 3;

/// Where a secret is, and how long it is remembered. Two references to one place share what is
/// remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    root: PathBuf,
    directory: PathBuf,
    name: String,
    key: Option<String>,
    base64: bool,
    /// After how many seconds it is read again; 0 for never.
    pub(crate) ttl: u32,
    /// The same, where it could not be read.
    pub(crate) neg_ttl: u32,
    /// For how many seconds after its `ttl` a value serves that can't be read any more.
    pub(crate) resurrect_ttl: Option<u32>,
}

/// The directory of a vault: `given` below `root`, where paths begin that are not absolute.
///
/// # Errors
/// If it is not below.
pub fn check_below(root: &Path, given: &str) -> Result<PathBuf, String> {
    let path = root.join(given);
    let plain = |part: Component<'_>| !matches!(part, Component::ParentDir | Component::CurDir);
    if path.components().all(plain) && path.starts_with(root) {
        return Ok(path);
    }
    Err(format!("not inside of {} (vault_file_directory in kong.conf)", root.display()))
}

impl Place {
    /// # Errors
    /// If the vault's directory or the name would lead elsewhere.
    pub(crate) fn new(
        reference: &SecretRef,
        vault: FileVault,
        root: &Path,
    ) -> Result<Place, String> {
        let directory = match &vault.directory {
            None => root.to_owned(),
            Some(given) => check_below(root, given).map_err(|fault| format!("{given}: {fault}"))?,
        };
        let name = format!("{}{}", vault.prefix.unwrap_or_default(), reference.resource);
        for part in name.split('/') {
            check_name(part)?;
        }
        Ok(Place {
            root: root.to_owned(),
            directory,
            name,
            key: reference.key.clone(),
            base64: vault.base64_decode,
            ttl: vault.ttl,
            neg_ttl: vault.neg_ttl,
            resurrect_ttl: vault.resurrect_ttl,
        })
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// Kong's text around the reason, which never has any of the content.
    pub(crate) fn read(&self) -> Result<String, String> {
        let mut tries = 1;
        loop {
            match self.text() {
                Err(Fault::Gone(_)) if tries < TRIES => tries += 1,
                Err(Fault::Gone(why) | Fault::Other(why)) => {
                    return Err(source::no_value(Some(&why)));
                }
                Ok(Text::Whole(text)) => return Ok(text),
                Ok(Text::With(text, key)) => {
                    return source::member(&text, key).map_err(|why| source::no_member(&why));
                }
            }
        }
    }

    fn text(&self) -> Result<Text<'_>, Fault> {
        let root = real(&self.root, || self.root.display().to_string())?;
        let directory = real(&self.directory, || self.directory.display().to_string())?;
        let mut wanted = self.directory.join(&self.name);
        let inside = |path: &Path, wanted: &Path| {
            if path.starts_with(&directory) && path.starts_with(&root) {
                return Ok(());
            }
            let text = format!("{} leads out of {}", wanted.display(), self.directory.display());
            Err(Fault::Other(text))
        };
        let mut path = real(&wanted, || wanted.display().to_string())?;
        inside(&path, &wanted)?;
        let mut member = self.key.as_deref();
        if path.is_dir() {
            let Some(key) = member.take() else {
                let text = format!("{} is a directory: name a file in it", wanted.display());
                return Err(Fault::Other(text));
            };
            check_name(key).map_err(Fault::Other)?;
            wanted.push(key);
            path = real(&wanted, || wanted.display().to_string())?;
            inside(&path, &wanted)?;
        }
        let name = || wanted.display().to_string();
        let text = content(&path, &name)?;
        let text = if self.base64 { decoded(&text, &name)? } else { text };
        Ok(match member {
            None => Text::Whole(text),
            Some(key) => Text::With(text, key),
        })
    }
}

/// What was read.
enum Text<'a> {
    Whole(String),
    /// An object, of which this member is meant.
    With(String, &'a str),
}

/// Why nothing was read.
enum Fault {
    /// It is not there, at least not at this moment.
    Gone(String),
    Other(String),
}

impl Fault {
    fn of(error: &std::io::Error, name: &str) -> Fault {
        match error.kind() {
            ErrorKind::NotFound => Fault::Gone(format!("there is no {name}")),
            kind => Fault::Other(format!("{name}: {kind}")),
        }
    }
}

/// The rule of Kubernetes for the names of files in secrets: neither `.` nor anything that begins
/// with `..`.
fn check_name(name: &str) -> Result<(), String> {
    let wrong =
        name.is_empty() || name == "." || name.starts_with("..") || name.contains(['/', '\0']);
    if wrong { Err(format!("'{}' is no name of a secret", name.escape_default())) } else { Ok(()) }
}

/// A path without links.
fn real(path: &Path, name: impl Fn() -> String) -> Result<PathBuf, Fault> {
    fs::canonicalize(path).map_err(|error| Fault::of(&error, &name()))
}

/// The text of a file, without the line break that editors end it with.
fn content(path: &Path, name: &impl Fn() -> String) -> Result<String, Fault> {
    let fault = |error: std::io::Error| Fault::of(&error, &name());
    let other = |text: &str| Fault::Other(format!("{}: {text}", name()));
    // Opening a pipe would wait for whoever writes it.
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(other("not a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    file.take(SECRET_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(other("more than 1 MiB"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| other("no text in UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// What was encoded as base64, whether or not its lines are broken.
fn decoded(text: &str, name: &impl Fn() -> String) -> Result<String, Fault> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(packed).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Fault::Other(format!("{}: no text in base64", name())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A directory as Docker and Kubernetes mount them, and something outside of it.
    fn mounted() -> TempDir {
        let top = TempDir::new().expect("a directory");
        let root = top.path().join("secrets");
        fs::create_dir_all(root.join("tls/..2026_01")).expect("a directory");
        fs::create_dir_all(root.join("team-a")).expect("a directory");
        let write = |name: &str, content: &[u8]| fs::write(root.join(name), content).expect("file");
        write("token", b"s3cret\n");
        write("lines", b"a\nb\r\n");
        write("db", br#"{"user": "u", "port": 5432, "on": true, "deep": {"x": "y"}, "no": null}"#);
        write("encoded", b"eyJ1c2VyIjog\nInUifQ==\n");
        write("bytes", &[0xff, 0xfe]);
        write("team-a/app_key", b"of a");
        write("tls/..2026_01/tls.key", b"first");
        fs::write(top.path().join("outside"), b"never").expect("a file");
        symlink("..2026_01", root.join("tls/..data")).expect("a link");
        symlink("..data/tls.key", root.join("tls/tls.key")).expect("a link");
        symlink("../outside", root.join("leak")).expect("a link");
        symlink("../..", root.join("tls/up")).expect("a link");
        symlink("token", root.join("same")).expect("a link");
        top
    }

    fn read(top: &TempDir, vault: &FileVault, reference: &str) -> Result<String, String> {
        let reference = SecretRef::parse(reference).expect("a reference");
        let root = top.path().join("secrets");
        let place = Place::new(&reference, vault.clone(), &root);
        let place = place.map_err(|fault| source::no_value(Some(&fault)));
        let read = place.and_then(|place| place.read());
        let here = top.path().display().to_string();
        read.map_err(|fault| fault.replace(&here, "TOP"))
    }

    fn check(vault: &FileVault, reference: &str, expect: Result<&str, &str>) {
        let got = read(&mounted(), vault, reference);
        let refused = |why: &str| source::no_value(Some(why));
        assert_eq!(got, expect.map(str::to_owned).map_err(refused), "{reference}");
    }

    #[test]
    fn a_file_is_a_secret() {
        let vault = FileVault::default();
        check(&vault, "{vault://file/token}", Ok("s3cret"));
        check(&vault, "{vault://file/same}", Ok("s3cret"));
        check(&vault, "{vault://file/lines}", Ok("a\nb"));
        check(&vault, "{vault://file/team-a/app_key}", Ok("of a"));
        check(&vault, "{vault://file/none}", Err("there is no TOP/secrets/none"));
        check(&vault, "{vault://file/bytes}", Err("TOP/secrets/bytes: no text in UTF-8"));
        let directory = "TOP/secrets/tls is a directory: name a file in it";
        check(&vault, "{vault://file/tls}", Err(directory));
    }

    #[test]
    fn a_member_is_a_field_or_a_file() {
        let vault = FileVault::default();
        check(&vault, "{vault://file/db/user}", Ok("u"));
        check(&vault, "{vault://file/db/port}", Ok("5432"));
        check(&vault, "{vault://file/db/on}", Ok("true"));
        check(&vault, "{vault://file/tls/tls.key}", Ok("first"));
        let no_member = |reference: &str, expect: &str| {
            let got = read(&mounted(), &vault, reference).unwrap_err();
            assert_eq!(got, source::no_member(expect));
        };
        let not_json = "unable to json decode value: it is no JSON object";
        no_member("{vault://file/token/x}", not_json);
        no_member("{vault://file/db/none}", "subfield none not found in JSON secret");
        no_member("{vault://file/db/no}", "subfield no not found in JSON secret");
        let table = "unexpected table value in JSON secret for subfield deep";
        no_member("{vault://file/db/deep}", table);
    }

    #[test]
    fn nothing_leads_out() {
        let vault = FileVault::default();
        let outside = "TOP/secrets/leak leads out of TOP/secrets";
        check(&vault, "{vault://file/leak}", Err(outside));
        check(&vault, "{vault://file/tls/up}", Err("TOP/secrets/tls/up leads out of TOP/secrets"));
        check(&vault, "{vault://file/..%2Foutside}", Err("'..' is no name of a secret"));
        check(&vault, "{vault://file/../outside}", Err("'..' is no name of a secret"));
        check(&vault, "{vault://file/tls%2F..%2F..%2Foutside}", Err("'..' is no name of a secret"));
        check(&vault, "{vault://file/tls/..%2F..%2Foutside}", {
            Err("'../../outside' is no name of a secret")
        });
        check(&vault, "{vault://file/%2Fetc%2Fpasswd}", Err("'' is no name of a secret"));
        check(&vault, "{vault://file/token%00}", Err("'token\\u{0}' is no name of a secret"));
    }

    #[test]
    fn a_vault_has_its_own_place() {
        let of = |directory: &str| FileVault {
            directory: Some(directory.to_owned()),
            prefix: Some("app_".to_owned()),
            ..FileVault::default()
        };
        check(&of("team-a"), "{vault://a/key}", Ok("of a"));
        for elsewhere in ["/etc", "../x", "team-a/../.."] {
            let text = format!(
                "{elsewhere}: not inside of TOP/secrets (vault_file_directory in kong.conf)"
            );
            check(&of(elsewhere), "{vault://a/key}", Err(&text));
        }
        let encoded = FileVault { base64_decode: true, ..FileVault::default() };
        check(&encoded, "{vault://file/encoded/user}", Ok("u"));
        check(&encoded, "{vault://file/token}", Err("TOP/secrets/token: no text in base64"));
    }
}
