//! References to vaults: `{vault://NAME/RESOURCE/KEY?CONFIG#VERSION}`.

use std::fmt;

use percent_encoding::percent_decode_str;

/// A vault reference taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretRef {
    /// The vault's prefix, or the name of a kind of vault: "env".
    pub name: String,
    /// What is asked for.
    pub resource: String,
    /// The member, where the secret is an object.
    pub key: Option<String>,
    /// What overrides the vault's configuration.
    pub config: Vec<(String, String)>,
    /// Which version, where the vault has versions.
    pub version: Option<u64>,
}

/// Whether a text is a reference to a vault: `{vault://…}`.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

impl SecretRef {
    /// Takes a reference apart (kong/pdk/vault.lua, `parse_reference`).
    ///
    /// # Errors
    /// Kong's text for what is no reference or lacks a part.
    pub fn parse(reference: &str) -> Result<SecretRef, String> {
        let inner = reference.strip_prefix("{vault://").and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.ok_or_else(|| format!("not a reference [{reference}]"))?;
        let (inner, version) = match inner.split_once('#') {
            Some((inner, version)) => {
                let version = version
                    .parse()
                    .map_err(|_| format!("reference url has invalid version [{reference}]"))?;
                (inner, Some(version))
            }
            None => (inner, None),
        };
        let (inner, query) = inner.split_once('?').unwrap_or((inner, ""));
        let (name, path) = inner
            .split_once('/')
            .ok_or_else(|| format!("reference url is missing path [{reference}]"))?;
        if name.is_empty() {
            return Err(format!("reference url is missing host [{reference}]"));
        }
        if path.is_empty() {
            return Err(format!("reference url has empty path [{reference}]"));
        }
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let key = if path.ends_with('/') || parts.len() < 2 { None } else { parts.pop() };
        if parts.is_empty() {
            return Err(format!("reference url has invalid path [{reference}]"));
        }
        let config = query.split('&').filter(|pair| !pair.is_empty());
        let config = config.map(|pair| pair.split_once('=').unwrap_or((pair, "true")));
        Ok(SecretRef {
            name: name.to_owned(),
            resource: unescape(&parts.join("/")),
            key: key.map(unescape),
            config: config.map(|(name, value)| (unescape(name), unescape(value))).collect(),
            version,
        })
    }
}

impl fmt::Display for SecretRef {
    /// Without what overrides the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{vault://{}/{}", self.name, self.resource)?;
        if let Some(key) = &self.key {
            write!(f, "/{key}")?;
        }
        f.write_str("}")
    }
}

fn unescape(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts with blanks between them, or the text of the error.
    fn check(reference: &str, expect: Result<&str, &str>) {
        let got = SecretRef::parse(reference).map(|parsed| {
            let key = parsed.key.map(|key| format!(" key={key}")).unwrap_or_default();
            let version = parsed.version.map(|n| format!(" version={n}")).unwrap_or_default();
            format!("{} {}{key}{version}", parsed.name, parsed.resource)
        });
        let expect = expect.map(str::to_owned);
        assert_eq!(got, expect.map_err(|text| format!("{text} [{reference}]")));
    }

    #[test]
    fn references_are_taken_apart() {
        check("{vault://env/only}", Ok("env only"));
        check("{vault://env/a/b}", Ok("env a key=b"));
        check("{vault://my-vault/a/b/c?x=1#2}", Ok("my-vault a/b key=c version=2"));
        check("{vault://env/a/b/}", Ok("env a/b"));
        check("{vault://env//a//b}", Ok("env a key=b"));
        check("{vault://env/a%2Fb/c+d}", Ok("env a/b key=c d"));
    }

    #[test]
    fn what_lacks_is_named() {
        check("vault://env/a", Err("not a reference"));
        check("{vault:/env/a}", Err("not a reference"));
        check("{vault://env}", Err("reference url is missing path"));
        check("{vault://env/}", Err("reference url has empty path"));
        check("{vault://env///}", Err("reference url has invalid path"));
        check("{vault:///a}", Err("reference url is missing host"));
        check("{vault://env/a#new}", Err("reference url has invalid version"));
    }

    #[test]
    fn the_query_overrides_the_configuration() {
        let pairs = SecretRef::parse("{vault://env/a?prefix=X_&flag&b=%20}").expect("one").config;
        let expect = [("prefix", "X_"), ("flag", "true"), ("b", " ")];
        assert_eq!(pairs, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
