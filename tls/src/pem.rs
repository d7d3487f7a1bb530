//! Certificates and keys out of PEM texts.

use std::sync::Arc;

use rustls::{
    SupportedCipherSuite,
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
    let pair = CertifiedKey::from_der(certificates, key, &ring::default_provider());
    Ok(Arc::new(pair.map_err(|error| error.to_string())?))
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
