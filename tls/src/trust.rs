//! Whose certificates are good.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// Authorities, and how far from them a certificate may be. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trust {
    authorities: Arc<Authorities>,
    depth: usize,
}

#[derive(Debug)]
struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Trusts nobody.
impl Default for Trust {
    fn default() -> Trust {
        Trust::new(Vec::new(), 0)
    }
}

impl Trust {
    /// Trusts these. `depth` is how many certificates may stand between that of a server and one
    /// of them: 0 takes only what they have signed themselves (OpenSSL's verify depth).
    pub fn new(certificates: Vec<CertificateDer<'static>>, depth: usize) -> Trust {
        let anchor = |certificate: &CertificateDer<'static>| {
            let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
            Some(anchor.to_owned())
        };
        let anchors = certificates.iter().filter_map(anchor).collect();
        Trust { authorities: Arc::new(Authorities { certificates, anchors }), depth }
    }

    /// The same from PEM texts. What can't be read is not trusted.
    pub fn of_pem<'a>(pems: impl IntoIterator<Item = &'a [u8]>, depth: usize) -> Trust {
        let certificates = pems.into_iter().flat_map(CertificateDer::pem_slice_iter);
        Trust::new(certificates.filter_map(Result::ok).collect(), depth)
    }

    /// The same authorities, with another depth.
    #[must_use]
    pub fn with_depth(&self, depth: usize) -> Trust {
        Trust { depth, ..self.clone() }
    }

    /// How many certificates may stand in between.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.authorities.anchors.is_empty()
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let within_depth = |path: &VerifiedPath<'_>| {
            let depth = path.intermediate_certificates().count();
            match depth <= self.depth {
                true => Ok(()),
                false => Err(webpki::Error::MaximumPathDepthExceeded),
            }
        };
        let certificate = EndEntityCert::try_from(leaf)?;
        let verified = certificate.verify_for_usage(
            ring::default_provider().signature_verification_algorithms.all,
            &self.authorities.anchors,
            between,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&within_depth),
        );
        match verified {
            // OpenSSL takes a certificate that is trusted itself, and many a server shows one that
            // says it is an authority. Its dates were found good before this was said.
            Err(webpki::Error::CaUsedAsEndEntity)
                if self.authorities.certificates.iter().any(|trusted| trusted == leaf) =>
            {
                Ok(())
            }
            verified => verified.map(drop),
        }
    }
}

/// Verifies servers: by whom their certificate is signed, for which name, and that they have its
/// key. Who trusts anybody still sees to the last.
#[derive(Debug)]
pub struct Verifier {
    trust: Option<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Trusts these; none trusts anybody.
    pub fn new(trust: Option<Trust>) -> Verifier {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Verifier { trust, algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(trust) = &self.trust {
            trust.verify(leaf, between, now).map_err(refusal)?;
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// As rustls says it: it has words of its own for what is usual.
fn refusal(error: webpki::Error) -> rustls::Error {
    let error = match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    fn params(name: &str, is_authority: bool) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }

    /// Certificates, each signed by the one before; the first by itself.
    fn line(names: &[&str]) -> Vec<CertificateDer<'static>> {
        let mut line: Vec<CertificateDer<'static>> = Vec::new();
        let mut above: Option<Issuer<'static, KeyPair>> = None;
        for (at, name) in names.iter().enumerate() {
            let params = params(name, at + 1 < names.len() || names.len() == 1);
            let key = KeyPair::generate().unwrap();
            let signed = match &above {
                Some(above) => params.signed_by(&key, above).unwrap(),
                None => params.self_signed(&key).unwrap(),
            };
            line.push(signed.der().clone());
            above = Some(Issuer::new(params, key));
        }
        line
    }

    fn check(trust: &Trust, shown: &[&CertificateDer<'static>], name: &str, expect: &str) {
        let verifier = Verifier::new(Some(trust.clone()));
        let between: Vec<_> = shown[1..].iter().map(|c| (*c).clone()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verified = verifier.verify_server_cert(shown[0], &between, &name, &[], UnixTime::now());
        let outcome = verified.map_or_else(|error| format!("{error:?}"), |_| "fine".to_owned());
        assert!(outcome.contains(expect), "{outcome}, not {expect}");
    }

    #[test]
    fn chains_are_as_long_as_the_depth_allows() {
        let line = line(&["root", "one", "two", "leaf"]);
        let [root, one, two, leaf] = &line[..] else { panic!("four certificates") };
        let trust = Trust::new(vec![root.clone()], 2);
        let shown = [leaf, two, one];
        check(&trust, &shown, "a.test", "fine");
        check(&trust, &shown, "b.test", "NotValidForName");
        check(&trust.with_depth(1), &shown, "a.test", "MaximumPathDepthExceeded");
        check(&trust, &[leaf, two], "a.test", "UnknownIssuer");
        check(&Trust::new(vec![one.clone()], 1), &shown, "a.test", "fine");
        check(&Trust::new(vec![two.clone()], 0), &[leaf], "a.test", "fine");
        check(&Trust::new(Vec::new(), 9), &shown, "a.test", "UnknownIssuer");
    }

    #[test]
    fn what_is_trusted_may_be_shown_itself() {
        let (own, other) = (line(&["own"]), line(&["own"]));
        let trust = Trust::new(own.clone(), 0);
        check(&trust, &[&own[0]], "a.test", "fine");
        check(&trust, &[&own[0]], "b.test", "NotValidForName");
        check(&trust, &[&other[0]], "a.test", "CaUsedAsEndEntity");
    }
}
