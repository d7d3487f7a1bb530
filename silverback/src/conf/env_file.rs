//! `.kong_env` in the prefix: the settings of the running node, for `stop`, `reload`, `health`.
//!
//! The place and the form are Kong's (kong/cmd/prefix_handler.lua): a kong.conf with every
//! effective value. Vault references are written as references, other secrets as they are, which
//! is why only the owner may read the file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::settings::{Setting, Settings};
use super::value::Value;
use super::{Conf, file, keys};

/// The file's name.
pub(crate) const ENV_FILE: &str = ".kong_env";
/// What text of several lines begins with there.
const ENCODED: &str = "base64:";

const HEAD: &str = "\
# Written by the running node, and by it alone: what is changed here is lost.
# To change settings, edit kong.conf or set KONG_* variables, then reload.

";

impl Conf {
    /// Writes `.kong_env` into `prefix`, in the place of any other, with mode 0600.
    ///
    /// Text of several lines, for which the format has no form, is written in base64.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn write_env_file(&self, prefix: &Path) -> io::Result<()> {
        let path = prefix.join(ENV_FILE);
        let temporary = prefix.join(format!("{ENV_FILE}.{}", std::process::id()));
        let written = write_private(&temporary, &text(&self.settings));
        let renamed = written.and_then(|()| fs::rename(&temporary, path));
        if renamed.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        renamed
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn text(settings: &Settings) -> String {
    let mut text = HEAD.to_owned();
    for (name, setting) in &settings.map {
        let default = keys::find(name).map_or("", |key| key.default);
        let value = line(setting);
        // Unset, where reading would else find the default.
        if !value.is_empty() || !default.is_empty() {
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
    text
}

/// The value in one line.
fn line(setting: &Setting) -> String {
    let text = match setting.reference.as_ref().unwrap_or(&setting.value) {
        Value::List(items) => {
            items.iter().map(|item| in_one_line(item)).collect::<Vec<_>>().join(",")
        }
        value => in_one_line(&value.to_text()),
    };
    // A line that ends with a backslash would go on.
    let end = if text.ends_with('\\') { " #" } else { "" };
    format!("{}{end}", file::escape(&text))
}

/// Text as one line. Certificates and keys may always be given in base64; other text says that it
/// is.
fn in_one_line(text: &str) -> String {
    if !text.contains('\n') {
        return text.to_owned();
    }
    let mark = if text.contains("-----BEGIN") { "" } else { ENCODED };
    format!("{mark}{}", BASE64.encode(text))
}

/// What [`in_one_line`] was given. Only text of this module's own writing begins like that.
pub(super) fn whole_text(line: String) -> String {
    let bytes = line.strip_prefix(ENCODED).and_then(|rest| BASE64.decode(rest).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{LoadArgs, settings::Origin};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn prefix() -> PathBuf {
        let unique = format!("silverback-env-file-{:?}", std::thread::current().id());
        let prefix = std::env::temp_dir().join(unique);
        fs::create_dir_all(&prefix).unwrap();
        prefix
    }

    fn load(prefix: &Path, pairs: &[(&str, &str)]) -> Conf {
        let env = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let args = LoadArgs {
            conf: Some("/dev/null".into()),
            prefix: Some(prefix.to_owned()),
            env,
            ..LoadArgs::default()
        };
        Conf::load(&args).expect("a valid configuration").conf
    }

    /// Origins differ between what was loaded and what is read back.
    fn values(conf: &Conf) -> Vec<(&String, &Value)> {
        conf.settings.map.iter().map(|(name, setting)| (name, &setting.value)).collect()
    }

    #[test]
    fn is_read_back() {
        let prefix = prefix();
        let pem = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap().cert.pem();
        let conf = load(
            &prefix,
            &[
                ("KONG_DATABASE", "off"),
                ("KONG_PG_PASSWORD", "a#b \\"),
                ("KONG_DECLARATIVE_CONFIG_STRING", "_format_version: '3.0'\nservices: # none\n\n"),
                ("KONG_LUA_PACKAGE_PATH", ""),
                ("KONG_PROXY_LISTEN", "0.0.0.0:9000, [::]:9001 ssl"),
                ("KONG_LUA_SSL_TRUSTED_CERTIFICATE", &pem),
                ("KONG_PLUGINSERVER_NAMES", "js"),
                ("KONG_PLUGINSERVER_JS_QUERY_CMD", "q --dump # all"),
                ("KONG_NGINX_HTTP_LUA_SHARED_DICT", "mine 5m"),
                ("KONG_SSL_CIPHER_SUITE", "modern"),
            ],
        );
        conf.write_env_file(&prefix).unwrap();
        let mode = fs::metadata(prefix.join(ENV_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let back = Conf::read_env_file(&prefix).unwrap();
        fs::remove_dir_all(&prefix).unwrap();
        let certificate = "lua_ssl_trusted_certificate";
        for (given, read) in values(&conf).into_iter().zip(values(&back)) {
            if given.0 != certificate {
                assert_eq!(given, read);
            }
        }
        let back = Conf { settings: conf.settings.clone(), ..back };
        assert_eq!(conf, back);
    }

    #[test]
    fn keeps_references() {
        let prefix = prefix();
        let conf = load(
            &prefix,
            &[
                ("KONG_DATABASE", "off"),
                ("KONG_PG_PASSWORD", "{vault://env/secret}"),
                ("SECRET", "hidden"),
            ],
        );
        assert_eq!(conf.settings.text("pg_password"), Some("hidden"));
        assert_eq!(
            conf.settings.origin("pg_password"),
            Some(Origin::Env("KONG_PG_PASSWORD".into()))
        );
        let text = text(&conf.settings);
        fs::remove_dir_all(&prefix).unwrap();
        assert!(text.contains("pg_password = {vault://env/secret}\n"), "{text}");
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn is_read_though_a_file_is_gone() {
        let prefix = prefix();
        let gone = prefix.join("hosts");
        fs::write(&gone, "").unwrap();
        let conf = load(&prefix, &[("KONG_DNS_HOSTSFILE", gone.to_str().unwrap())]);
        conf.write_env_file(&prefix).unwrap();
        fs::remove_file(gone).unwrap();
        let back = Conf::read_env_file(&prefix).unwrap();
        fs::remove_dir_all(&prefix).unwrap();
        assert_eq!(back.admin_listen, conf.admin_listen);
    }

    #[test]
    fn there_is_none() {
        let error = Conf::read_env_file(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.to_string(), "no file at: /nonexistent/.kong_env");
    }
}
