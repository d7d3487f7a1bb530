//! The default certificate: made at the first start, kept in the prefix, used again.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::prefix::Prefix;

/// Paths of a certificate and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// The self-signed certificate for listeners without one of their own. `use_for` is "kong" for
/// the proxy, "admin-kong" and "status-kong" for the other listeners: Kong's file names.
pub(crate) fn default_certificate(prefix: &Prefix, use_for: &str) -> Result<CertificateFiles> {
    let name = format!("ssl/{use_for}-default");
    let files = CertificateFiles {
        certificate: prefix.path().join(format!("{name}.crt")),
        key: prefix.path().join(format!("{name}.key")),
    };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let key = KeyPair::generate().context("can't make a key")?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name = subject();
    let certificate = params.self_signed(&key).context("can't sign a certificate")?;
    // The key first: a crash in between leaves no certificate without its key.
    fs::create_dir_all(prefix.path().join("ssl"))?;
    prefix.write(&format!("{name}.key"), key.serialize_pem().as_bytes())?;
    prefix.write(&format!("{name}.crt"), certificate.pem().as_bytes())?;
    Ok(files)
}

fn subject() -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Silverback");
    subject.push(DnType::CommonName, "localhost");
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once() {
        let path = std::env::temp_dir().join(format!("silverback-cert-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let prefix = Prefix::new(path);
        let files = default_certificate(&prefix, "kong").unwrap();
        let first = fs::read(&files.certificate).unwrap();
        assert_eq!(default_certificate(&prefix, "kong").unwrap(), files);
        assert_eq!(fs::read(&files.certificate).unwrap(), first);
        assert!(first.starts_with(b"-----BEGIN CERTIFICATE-----"));
    }
}
