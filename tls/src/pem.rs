//! Certificates and keys out of PEM texts.

use std::sync::Arc;

use rustls::{
    Error, InconsistentKeys, SupportedCipherSuite,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::Versions;

/// The certificates of a PEM text, in its order; there may be none.
///
/// # Errors
/// If one can't be read.
pub fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("certificate: {error}"))
}

/// A chain, leaf first, and the leaf's key.
///
/// # Errors
/// If either can't be read, or they don't belong together.
pub fn pair(certificates: &str, key: &str) -> Result<Arc<CertifiedKey>, String> {
    let certificates = chain(certificates)?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| format!("key: {e}"))?;
    let key = ring::default_provider().key_provider.load_private_key(key);
    let pair = CertifiedKey::new(certificates, key.map_err(|error| format!("key: {error}"))?);
    match pair.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        // Certificates of version 1, as `openssl x509 -req` makes them, are shown though they
        // can't be read.
        Err(Error::InvalidCertificate(_)) if has_key(&pair) => Ok(Arc::new(pair)),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the key's public part stands in the leaf.
fn has_key(pair: &CertifiedKey) -> bool {
    let (Ok(leaf), Some(key)) = (pair.end_entity_cert(), pair.key.public_key()) else {
        return false;
    };
    !key.is_empty() && leaf.windows(key.len()).any(|part| part == key.as_ref())
}

/// What a server shows: one certificate, or one for each of several kinds of key, of which a
/// client gets the first that it can verify.
#[derive(Debug)]
pub struct Pairs {
    pairs: Vec<Arc<CertifiedKey>>,
    suites: Vec<SupportedCipherSuite>,
}

impl Pairs {
    /// Shows these, where these versions are spoken with the provider's ciphers.
    pub fn new(
        pairs: Vec<Arc<CertifiedKey>>,
        versions: Versions,
        provider: &CryptoProvider,
    ) -> Pairs {
        let spoken = |suite: &&SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls12(_) => versions.tls12,
            SupportedCipherSuite::Tls13(_) => versions.tls13,
        };
        Pairs { pairs, suites: provider.cipher_suites.iter().filter(spoken).copied().collect() }
    }
}

impl ResolvesServerCert for Pairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let offered =
            |suite: &&SupportedCipherSuite| hello.cipher_suites().contains(&suite.suite());
        let common: Vec<_> = self.suites.iter().filter(offered).collect();
        // Ciphers of TLS 1.2 say which kind of key they are for. That a client lists some of
        // TLS 1.3 does not mean that it speaks that.
        let fits_older = |pair: &&Arc<CertifiedKey>| {
            let mut schemes_of = common.iter().filter_map(|suite| match suite {
                SupportedCipherSuite::Tls12(suite) => Some(suite.resolve_sig_schemes(schemes)),
                SupportedCipherSuite::Tls13(_) => None,
            });
            schemes_of.any(|schemes| pair.key.choose_scheme(&schemes).is_some())
        };
        let fits = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(schemes).is_some();
        let found = self.pairs.iter().find(fits_older).or_else(|| self.pairs.iter().find(fits));
        found.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of version 1, until 2126.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBIDCBxwIUUtO1jsxF3xrqXhUVkkfdNyiGThgwCgYIKoZIzj0EAwIwEjEQMA4G
A1UEAwwHdjEudGVzdDAgFw0yNjExMjEyMTM5NDlaGA8yMTI2MTAyODIxMzk0OVow
EjEQMA4GA1UEAwwHdjEudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBZV
XLHnJWrRasCC/O96XlUwW3pwADAhJDXOII94ra1Cr07Wd9FwWNJRWU8sCb5ZtfE5
n0Kf051OH+Q80mOg6icwCgYIKoZIzj0EAwIDSAAwRQIhAIPsptzf4ZKxM1QA/Qun
1vn6EvNbSoB0VsHMwM1cUy2gAiBwbAP4g4TO480hZi/u3uK6JxL0hb5tymNnucBG
MPPoCA==
-----END CERTIFICATE-----";
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVXu6JwMbyfFdIFOc
0Gi52sMSWksjp3b+Zv4/BUsaqbChRANCAAQWVVyx5yVq0WrAgvzvel5VMFt6cAAw
ISQ1ziCPeK2tQq9O1nfRcFjSUVlPLAm+WbXxOZ9Cn9OdTh/kPNJjoOon
-----END PRIVATE KEY-----";

    #[test]
    fn old_certificates_are_shown_with_their_keys_alone() {
        let check = |key: &str, expect: bool| assert_eq!(pair(CERTIFICATE, key).is_ok(), expect);
        check(KEY, true);
        let other = rcgen::KeyPair::generate().expect("a key");
        check(&other.serialize_pem(), false);
    }
}
