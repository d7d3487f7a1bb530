//! TLS to what plugins talk to: verified against `lua_ssl_trusted_certificate`, or not at all.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The certificates that are trusted; the same for all plugins of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust(Arc<Vec<CertificateDer<'static>>>);

impl Trust {
    /// Certificates, PEM. What can't be read is not trusted: kong.conf has been checked.
    pub(crate) fn of(pems: &[String]) -> Trust {
        let certificates = pems
            .iter()
            .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok));
        Trust(Arc::new(certificates.collect()))
    }

    /// Speaks TLS on a connection; the certificate shown is verified or taken as it is.
    ///
    /// # Errors
    /// Why it fails.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        name: &str,
        verify: bool,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = self.config(verify)?;
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("'{name}' is no name to ask for in TLS"))?;
        let connector = TlsConnector::from(config);
        connector.connect(server, stream).await.map_err(|error| format!("TLS: {error}"))
    }

    fn config(&self, verify: bool) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(self.verifier(verify, &provider)?);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn verifier(&self, verify: bool, provider: &Arc<CryptoProvider>) -> Result<Verifier, String> {
        let algorithms = provider.signature_verification_algorithms;
        if !verify {
            return Ok(Verifier { chains: None, trust: self.clone(), algorithms });
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        if roots.is_empty() {
            return Err("TLS: lua_ssl_trusted_certificate names no certificate".to_owned());
        }
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Verifier { chains: Some(chains), trust: self.clone(), algorithms })
    }
}

/// Verifies chains and, as OpenSSL does, takes a certificate that is trusted itself. Without
/// chains it takes any, if the other side has its key.
#[derive(Debug)]
struct Verifier {
    chains: Option<Arc<WebPkiServerVerifier>>,
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chains) = &self.chains else { return Ok(ServerCertVerified::assertion()) };
        let error = match chains.verify_server_cert(certificate, chain, name, ocsp, now) {
            Ok(fine) => return Ok(fine),
            Err(error) => error,
        };
        // It is said only once the dates have been found good; there is no variant to match.
        let is_authority = format!("{error:?}").contains("CaUsedAsEndEntity");
        if !is_authority || !self.trust.0.iter().any(|known| known == certificate) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
