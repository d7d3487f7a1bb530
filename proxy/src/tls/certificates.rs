//! Which certificate a client is shown, by the server name that it asks for.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use silverback_model::{Entity, entities::Certificate};
use uuid::Uuid;

use crate::{
    Config, Parts,
    snapshot::{CompileError, Snapshot},
    tls,
};

/// All certificates that clients may be shown.
#[derive(Default)]
pub(crate) struct Certificates {
    by_name: HashMap<String, Arc<Shown>>,
    default: Option<Arc<Shown>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
}

/// A certificate, ready for handshakes.
pub(crate) struct Shown {
    pairs: Arc<Pairs>,
    provider: Arc<CryptoProvider>,
    tls12: bool,
    tickets: Option<Arc<dyn ProducesTickets>>,
    /// What was made for each of the terms, when it was first needed.
    configs: [OnceLock<Option<Arc<ServerConfig>>>; 4],
}

/// What a handshake is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Whether the client is asked for a certificate.
    pub(crate) asking: bool,
    /// Whether a stream follows, rather than HTTP.
    pub(crate) stream: bool,
}

impl Certificates {
    pub(crate) fn compile(
        parts: &Parts,
        config: &Config,
        previous: Option<&Snapshot>,
        errors: &mut Vec<CompileError>,
    ) -> Certificates {
        let provider = tls::provider(&config.tls);
        // Kept from snapshot to snapshot: clients resume sessions across a change.
        let tickets = match previous.and_then(|p| p.certificates.tickets.clone()) {
            Some(tickets) => Some(tickets),
            None => rustls::crypto::ring::Ticketer::new().ok(),
        };
        let shown = |pairs: Vec<Arc<CertifiedKey>>| {
            Arc::new(Shown {
                pairs: Arc::new(Pairs(pairs)),
                provider: provider.clone(),
                tls12: config.tls.tls12,
                tickets: tickets.clone(),
                configs: Default::default(),
            })
        };
        let mut by_id: HashMap<Uuid, Arc<Shown>> = HashMap::new();
        for entity in &parts.certificates {
            match read_entity(&provider, entity) {
                Ok(pairs) => drop(by_id.insert(entity.id, shown(pairs))),
                Err(fault) => {
                    let what = format!("certificate {}", entity.id);
                    errors.push(CompileError::Certificate { what, fault });
                }
            }
        }
        let mut defaults = Vec::new();
        for (chain, key) in &config.tls.default_certificates {
            match tls::read_pair(&provider, chain, key) {
                Ok(pair) => defaults.push(pair),
                Err(fault) => {
                    errors.push(CompileError::Certificate { what: "ssl_cert".to_owned(), fault });
                }
            }
        }
        let name = |sni: &Arc<Entity<silverback_model::entities::Sni>>| {
            Some((sni.name.clone(), by_id.get(&sni.certificate.id)?.clone()))
        };
        Certificates {
            by_name: parts.snis.iter().filter_map(name).collect(),
            default: (!defaults.is_empty()).then(|| shown(defaults)),
            tickets,
        }
    }

    /// The certificate for a server name: that of the name, of `*.` and the rest, of the name with
    /// its last label replaced by `*`, of `*`; the node's own where none is there
    /// (kong/runloop/certificate.lua).
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<Shown>> {
        let named = name.and_then(|name| {
            let rest = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
            let first = || self.by_name.get(&format!("{}.*", name.rsplit_once('.')?.0));
            let all = || self.by_name.get("*");
            self.by_name.get(name).or_else(rest).or_else(first).or_else(all)
        });
        named.or(self.default.as_ref())
    }
}

fn read_entity(
    provider: &CryptoProvider,
    entity: &Certificate,
) -> Result<Vec<Arc<CertifiedKey>>, String> {
    let mut pairs = vec![tls::read_pair(provider, &entity.cert, &entity.key)?];
    if let (Some(chain), Some(key)) = (&entity.cert_alt, &entity.key_alt) {
        pairs.push(tls::read_pair(provider, chain, key)?);
    }
    Ok(pairs)
}

impl Shown {
    /// The configuration for a handshake with it.
    pub(crate) fn config(&self, terms: Terms) -> Option<&Arc<ServerConfig>> {
        let cell = self.configs.get(usize::from(terms.asking) + 2 * usize::from(terms.stream))?;
        cell.get_or_init(|| self.build(terms)).as_ref()
    }

    fn build(&self, terms: Terms) -> Option<Arc<ServerConfig>> {
        let Terms { asking, stream } = terms;
        let settings = crate::TlsSettings { tls12: self.tls12, ..Default::default() };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(tls::versions(&settings))
            .ok()?;
        let builder = if asking {
            let algorithms = self.provider.signature_verification_algorithms;
            builder.with_client_cert_verifier(Arc::new(AnyClient { algorithms }))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(self.pairs.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = self.tickets.as_ref().filter(|_| !asking) {
            config.ticketer = tickets.clone();
        }
        if !stream {
            // What is spoken within a stream is for its two ends to agree on.
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Some(Arc::new(config))
    }
}

/// One certificate, or one for each of two kinds of key: the first that the client can verify.
#[derive(Debug)]
struct Pairs(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Pairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits =
            |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).cloned()
    }
}

/// Takes any certificate that the client holds the key of: whom it is good for is for plugins to
/// say.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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
