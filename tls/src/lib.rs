//! What TLS has in common wherever it is spoken: whom to trust, what to show, which versions and
//! ciphers. Pure: no socket, no file.
//!
//! The proxy, the Admin API, the database, the plugins and Lua's sockets all verify servers by
//! [`Verifier`] and read certificates and keys by [`chain`] and [`pair`].

mod ciphers;
mod pem;
mod trust;

use std::sync::Arc;

use rustls::{
    ClientConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    sign::{CertifiedKey, SingleCertAndKey},
};

pub use self::{
    ciphers::{Choice, openssl_name},
    pem::{Pairs, chain, pair},
    trust::{Trust, Verifier},
};

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Versions {
        Versions { tls12: true, tls13: true }
    }
}

impl Versions {
    /// As rustls wants them, the newest first.
    pub fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        let newest = self.tls13.then_some(&rustls::version::TLS13);
        let older = self.tls12.then_some(&rustls::version::TLS12);
        newest.into_iter().chain(older).collect()
    }
}

/// How a server is spoken to.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Whose certificates are good; none takes any server's.
    pub trust: Option<Trust>,
    /// What is shown to a server that asks who is there.
    pub shown: Option<Arc<CertifiedKey>>,
    /// The versions offered.
    pub versions: Versions,
    /// The ciphers offered; none is all.
    pub ciphers: Option<Choice>,
}

impl Client {
    /// The configuration for rustls.
    ///
    /// # Errors
    /// If no cipher is left for the versions.
    pub fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = provider(self.ciphers.as_ref());
        let verifier = Arc::new(Verifier::new(self.trust.clone()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions.list())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(match &self.shown {
            Some(pair) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.clone())))
            }
            None => config.with_no_client_auth(),
        })
    }
}

/// Algorithms, with the ciphers of a choice in its order; without one, all.
pub fn provider(ciphers: Option<&Choice>) -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    if let Some(choice) = ciphers {
        let is_newest = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some();
        provider.cipher_suites.retain(is_newest);
        provider.cipher_suites.extend(choice.suites());
    }
    Arc::new(provider)
}
