//! TLS of cosockets, by rustls: `lua_ssl_trusted_certificate` says whom to trust where a plugin
//! asks for it.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::stream::{Fault, Reader, Stream, Writer, split};

/// Whom to trust, settled once for each worker.
pub(super) struct Trust {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
}

/// A client's certificate and key, PEM.
pub(super) struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Client {
    /// Those of a socket's, if it has them.
    ///
    /// # Errors
    /// If they can't be read.
    pub(super) fn of(chain: Option<String>, key: Option<String>) -> Result<Option<Client>, String> {
        let (Some(chain), Some(key)) = (chain, key) else { return Ok(None) };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(|error| format!("bad client certificate: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| format!("bad client pkey: {error}"))?;
        Ok(Some(Client { chain, key }))
    }
}

impl Trust {
    /// Trusts these, PEM each.
    pub(super) fn new(trusted: &[String]) -> Trust {
        let mut roots = RootCertStore::empty();
        for pem in trusted {
            let found = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
            roots.add_parsable_certificates(found);
        }
        let roots = Arc::new(roots);
        let verified = Arc::new(config(&roots, true, None).unwrap_or_else(|_| empty()));
        let unverified = Arc::new(config(&roots, false, None).unwrap_or_else(|_| empty()));
        Trust { verified, unverified, roots }
    }
}

/// What can't fail: nobody is trusted.
fn empty() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn config(
    roots: &Arc<RootCertStore>,
    verify: bool,
    client: Option<Client>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = if verify {
        builder.with_root_certificates(roots.clone())
    } else {
        let nobody = Arc::new(Unverified(provider.signature_verification_algorithms));
        builder.dangerous().with_custom_certificate_verifier(nobody)
    };
    match client {
        Some(client) => builder.with_client_auth_cert(client.chain, client.key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Shakes hands.
///
/// # Errors
/// "timeout", or why the other side is refused or refuses.
pub(super) async fn connect(
    trust: &Trust,
    plain: Box<dyn Stream>,
    name: &str,
    verify: bool,
    client: Option<Client>,
    limit: Duration,
) -> Result<(Reader, Writer), Fault> {
    let config = match client {
        Some(client) => config(&trust.roots, verify, Some(client))
            .map(Arc::new)
            .map_err(|error| Fault::text(&format!("bad client certificate: {error}")))?,
        None if verify => trust.verified.clone(),
        None => trust.unverified.clone(),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).or_else(|_| ServerName::try_from("localhost"));
    let name = name.map_err(|_| Fault::text("bad server name"))?;
    match timeout(limit, TlsConnector::from(config).connect(name, plain)).await {
        Ok(Ok(stream)) => Ok(split(Box::new(stream))),
        Ok(Err(error)) => Err(Fault::text(&refusal(&error))),
        Err(_) => Err(Fault::text("timeout")),
    }
}

/// As OpenSSL would say it, where plugins know the words.
fn refusal(error: &std::io::Error) -> String {
    let text = error.to_string();
    match () {
        () if text.contains("UnknownIssuer") => {
            "20: unable to get local issuer certificate".to_owned()
        }
        () if text.contains("NotValidForName") || text.contains("not valid for name") => {
            "certificate host mismatch".to_owned()
        }
        () if text.contains("Expired") => "10: certificate has expired".to_owned(),
        () => format!("handshake failed: {text}"),
    }
}

/// Takes every certificate: `ssl_verify` is off. Signatures are still checked.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
