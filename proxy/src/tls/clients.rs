//! How upstreams are spoken to with TLS: whom to trust, and what to show when they ask.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
};
use silverback_model::entities::{Protocol, Service, Upstream};
use uuid::Uuid;

use crate::{Config, Parts, balancer::Balancer, snapshot::CompileError, tls};

/// TLS to upstreams. Services that ask for the same share what is made of it.
#[derive(Default, Clone)]
pub(crate) struct ClientConfigs {
    known: HashMap<Wanted, Both>,
}

/// One that verifies, and one that takes anybody.
type Both = (Arc<ClientConfig>, Arc<ClientConfig>);

/// What a service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Wanted {
    /// The PEM texts of the authorities.
    trusted: Vec<String>,
    /// The PEM texts of chain and key to show.
    shown: Option<(String, String)>,
}

/// TLS to the upstreams of a service.
#[derive(Clone, Default)]
pub(crate) struct ServiceTls {
    verifies: bool,
    both: Option<Both>,
}

impl ServiceTls {
    /// The configuration, verifying or not as the service says, or a plugin in its place. None for
    /// streams without TLS.
    pub(crate) fn config(&self, verify: Option<bool>) -> Option<&Arc<ClientConfig>> {
        let (verifying, trusting) = self.both.as_ref()?;
        Some(if verify.unwrap_or(self.verifies) { verifying } else { trusting })
    }
}

/// Makes the configurations of a snapshot's services.
pub(crate) struct Maker<'a> {
    config: &'a Config,
    provider: Arc<CryptoProvider>,
    certificates: HashMap<Uuid, (&'a str, &'a str)>,
    authorities: HashMap<Uuid, &'a str>,
    previous: Option<&'a ClientConfigs>,
    made: ClientConfigs,
    /// What services without TLS have, should a plugin send their requests by TLS.
    unasked: Option<Both>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        parts: &'a Parts,
        config: &'a Config,
        previous: Option<&'a ClientConfigs>,
    ) -> Maker<'a> {
        let pair = |c: &'a Arc<silverback_model::Entity<_>>| {
            let c: &silverback_model::entities::Certificate = c;
            (c.id, (c.cert.as_str(), c.key.as_str()))
        };
        Maker {
            config,
            provider: tls::provider(&config.tls),
            certificates: parts.certificates.iter().map(pair).collect(),
            authorities: parts.ca_certificates.iter().map(|c| (c.id, c.cert.as_str())).collect(),
            previous,
            made: ClientConfigs::default(),
            unasked: None,
        }
    }

    /// TLS for a service. `upstream` is the one that its host names.
    pub(crate) fn service(
        &mut self,
        service: &Service,
        upstream: Option<&Balancer>,
        errors: &mut Vec<CompileError>,
    ) -> ServiceTls {
        let settings = &self.config.tls;
        let verifies = service.tls_verify.unwrap_or(settings.verify_upstream);
        match service.protocol {
            Protocol::Https | Protocol::Grpcs | Protocol::Tls => {}
            // A plugin may choose https all the same (`kong.service.request.set_scheme`).
            Protocol::Http | Protocol::Grpc => {
                return ServiceTls { verifies, both: self.unasked(errors) };
            }
            _ => return ServiceTls::default(),
        }
        let of_service = service.client_certificate.map(|c| c.id);
        let of_upstream = upstream.and_then(|u| u.entity.client_certificate).map(|c| c.id);
        let shown = of_service.or(of_upstream).and_then(|id| self.certificates.get(&id));
        let authority = |id: &Uuid| self.authorities.get(id).map(|pem| (*pem).to_owned());
        let wanted = Wanted {
            trusted: match &service.ca_certificates {
                Some(ids) => ids.iter().filter_map(authority).collect(),
                None => settings.trusted.clone(),
            },
            shown: match shown {
                Some((chain, key)) => Some(((*chain).to_owned(), (*key).to_owned())),
                None => settings.client_certificate.clone(),
            },
        };
        let what = || format!("TLS of service {}", service.id);
        ServiceTls { verifies, both: self.both(wanted, what, errors) }
    }

    /// TLS for asking an upstream's targets how they are; none where they are not asked that way.
    pub(crate) fn probe(
        &mut self,
        upstream: &Upstream,
        errors: &mut Vec<CompileError>,
    ) -> Option<Arc<ClientConfig>> {
        let checks = &upstream.healthchecks.active;
        if !matches!(checks.r#type.as_deref(), Some("https" | "grpcs")) {
            return None;
        }
        let shown = upstream.client_certificate.and_then(|c| self.certificates.get(&c.id));
        let settings = &self.config.tls;
        let wanted = Wanted {
            trusted: settings.trusted.clone(),
            shown: match shown {
                Some((chain, key)) => Some(((*chain).to_owned(), (*key).to_owned())),
                None => settings.client_certificate.clone(),
            },
        };
        let what = || format!("TLS of upstream {}", upstream.name);
        let (verifying, trusting) = self.both(wanted, what, errors)?;
        Some(if checks.https_verify_certificate { verifying } else { trusting })
    }

    /// The configurations of the settings, made once.
    fn unasked(&mut self, errors: &mut Vec<CompileError>) -> Option<Both> {
        if self.unasked.is_none() {
            let settings = &self.config.tls;
            let (trusted, shown) = (settings.trusted.clone(), settings.client_certificate.clone());
            let what = || "TLS to upstreams".to_owned();
            self.unasked = self.both(Wanted { trusted, shown }, what, errors);
        }
        self.unasked.clone()
    }

    /// The configurations that verify and that don't, made once for all who want the same.
    fn both(
        &mut self,
        wanted: Wanted,
        what: impl Fn() -> String,
        errors: &mut Vec<CompileError>,
    ) -> Option<Both> {
        let known = self.made.known.get(&wanted);
        let known = known.or_else(|| self.previous?.known.get(&wanted));
        let both = match known {
            Some(known) => known.clone(),
            None => match self.make(&wanted) {
                Ok(both) => both,
                Err(fault) => {
                    errors.push(CompileError::Certificate { what: what(), fault });
                    return None;
                }
            },
        };
        self.made.known.insert(wanted, both.clone());
        Some(both)
    }

    /// What was made, to be found again by the next snapshot.
    pub(crate) fn finish(self) -> ClientConfigs {
        self.made
    }

    /// What was made, beside what was made before.
    pub(crate) fn finish_beside(self) -> ClientConfigs {
        let mut all = self.previous.cloned().unwrap_or_default();
        all.known.extend(self.made.known);
        all
    }

    fn make(&self, wanted: &Wanted) -> Result<Both, String> {
        let mut roots = RootCertStore::empty();
        for pem in &wanted.trusted {
            roots.add_parsable_certificates(tls::read_chain(pem)?);
        }
        let algorithms = self.provider.signature_verification_algorithms;
        let nobody: Arc<dyn ServerCertVerifier> = Arc::new(Unverified { algorithms, fine: false });
        let verifier = if roots.is_empty() {
            nobody
        } else {
            let trusted = wanted.trusted.iter().filter_map(|pem| tls::read_chain(pem).ok());
            let trusted = trusted.flatten().collect();
            let chains =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                    .build()
                    .map_err(|e| e.to_string())?;
            Arc::new(Trusting { chains, trusted })
        };
        let shown = match &wanted.shown {
            Some((chain, key)) => Some(tls::read_pair(&self.provider, chain, key)?),
            None => None,
        };
        let anybody = Arc::new(Unverified { algorithms, fine: true });
        Ok((self.build(verifier, shown.clone())?, self.build(anybody, shown)?))
    }

    fn build(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(Arc::new(match shown {
            Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
            None => builder.with_no_client_auth(),
        }))
    }
}

/// Verifies chains, and takes a certificate that is trusted itself, as OpenSSL does: many an
/// upstream shows a self-signed one that says it is an authority.
#[derive(Debug)]
struct Trusting {
    chains: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let error = match self.chains.verify_server_cert(cert, chain, name, ocsp, now) {
            Ok(fine) => return Ok(fine),
            Err(error) => error,
        };
        // It is said only once the dates have been found good; there is no variant to match.
        let is_authority = format!("{error:?}").contains("CaUsedAsEndEntity");
        if !is_authority || !self.trusted.iter().any(|known| known == cert) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(cert)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies nothing but that the upstream holds the key of what it shows: takes anybody
/// (`tls_verify` off, the default), or nobody, where there is no authority to trust.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
    fine: bool,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.fine {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
