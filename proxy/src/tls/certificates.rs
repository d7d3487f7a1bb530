//! Which certificate a client is shown, by the server name that it asks for.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage, ProducesTickets, StoresServerSessions,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use silverback_model::{
    Entity,
    entities::{Certificate, Sni},
};
use silverback_tls::{Pairs, Versions};
use uuid::Uuid;

use super::sessions::{Kept, Tickets};
use crate::{
    Config, Parts, TlsSettings,
    snapshot::{CompileError, SharedMap, Snapshot},
};

/// All certificates that clients may be shown.
#[derive(Default, Clone)]
pub(crate) struct Certificates {
    by_name: SharedMap<String, Arc<Shown>>,
    by_id: SharedMap<Uuid, Arc<Shown>>,
    default: Option<Arc<Shown>>,
    maker: Option<Maker>,
}

/// Makes certificates ready.
#[derive(Clone)]
struct Maker {
    provider: Arc<CryptoProvider>,
    versions: Versions,
    prefers: bool,
    sessions: Arc<Sessions>,
}

/// How sessions are resumed. It is kept from snapshot to snapshot, and from one run of workers to
/// the next: clients resume theirs across a change or a reload.
struct Sessions {
    /// The settings that it follows: tickets, timeout, cache.
    terms: (bool, Duration, usize),
    tickets: Option<Arc<dyn ProducesTickets>>,
    kept: Arc<dyn StoresServerSessions>,
}

/// A certificate, ready for handshakes.
pub(crate) struct Shown {
    pairs: Arc<Pairs>,
    provider: Arc<CryptoProvider>,
    versions: Versions,
    prefers: bool,
    sessions: Arc<Sessions>,
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
        let maker = previous.and_then(|p| p.certificates.maker.as_ref());
        let sessions = maker.map(|maker| maker.sessions.clone());
        let maker = Maker {
            provider: silverback_tls::provider(config.tls.ciphers.as_ref()),
            versions: config.tls.versions,
            prefers: config.tls.prefer_server_ciphers,
            sessions: sessions.unwrap_or_else(|| Sessions::of(&config.tls)),
        };
        let mut defaults = Vec::new();
        for (chain, key) in &config.tls.default_certificates {
            match silverback_tls::pair(chain, key) {
                Ok(pair) => defaults.push(pair),
                Err(fault) => {
                    errors.push(CompileError::Certificate { what: "ssl_cert".to_owned(), fault });
                }
            }
        }
        let mut certificates = Certificates {
            default: (!defaults.is_empty()).then(|| maker.shown(defaults)),
            maker: Some(maker),
            ..Certificates::default()
        };
        certificates.put(&parts.certificates, errors);
        certificates.name(&parts.snis);
        certificates
    }

    /// Puts certificates in, in the place of those with their ids. Those that can't be used are
    /// not there.
    pub(crate) fn put(
        &mut self,
        entities: &[Arc<Entity<Certificate>>],
        errors: &mut Vec<CompileError>,
    ) {
        let Some(maker) = &self.maker else { return };
        for entity in entities {
            match read_entity(entity) {
                Ok(pairs) => self.by_id.insert(entity.id, maker.shown(pairs)),
                Err(fault) => {
                    self.by_id.remove(&entity.id);
                    let what = format!("certificate {}", entity.id);
                    errors.push(CompileError::Certificate { what, fault });
                }
            }
        }
    }

    /// Takes a certificate out; names that it was shown for have to be told
    /// ([`Certificates::name`]).
    pub(crate) fn remove(&mut self, id: Uuid) {
        self.by_id.remove(&id);
    }

    /// Has certificates shown for server names.
    pub(crate) fn name(&mut self, snis: &[Arc<Entity<Sni>>]) {
        for sni in snis {
            match self.by_id.get(&sni.certificate.id) {
                Some(shown) => self.by_name.insert(sni.name.to_ascii_lowercase(), shown.clone()),
                None => self.unname(&sni.name),
            }
        }
    }

    /// Has none shown for a server name.
    pub(crate) fn unname(&mut self, name: &str) {
        self.by_name.remove(&*name.to_ascii_lowercase());
    }

    /// The certificate for a server name: that of the name, of `*.` and the rest, of the name with
    /// its last label replaced by `*`, of `*`; the node's own where none is there
    /// (kong/runloop/certificate.lua). Names are in small letters, as rustls gives them.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<Shown>> {
        let named = name.and_then(|name| {
            // `*.test` is for no name: what follows the first label has a dot of its own.
            let rest = || {
                let (_, rest) = name.split_once('.').filter(|(_, rest)| rest.contains('.'))?;
                self.by_name.get(&*format!("*.{rest}"))
            };
            let first = || self.by_name.get(&*format!("{}.*", name.rsplit_once('.')?.0));
            let all = || self.by_name.get("*");
            self.by_name.get(name).or_else(rest).or_else(first).or_else(all)
        });
        named.or(self.default.as_ref())
    }
}

impl Maker {
    fn shown(&self, pairs: Vec<Arc<CertifiedKey>>) -> Arc<Shown> {
        Arc::new(Shown {
            pairs: Arc::new(Pairs::new(pairs, self.versions, &self.provider)),
            provider: self.provider.clone(),
            versions: self.versions,
            prefers: self.prefers,
            sessions: self.sessions.clone(),
            configs: Default::default(),
        })
    }
}

/// The pairs of a certificate entity: one, or two with different kinds of keys.
pub(crate) fn read_entity(entity: &Certificate) -> Result<Vec<Arc<CertifiedKey>>, String> {
    let mut pairs = vec![silverback_tls::pair(&entity.cert, &entity.key)?];
    if let (Some(chain), Some(key)) = (&entity.cert_alt, &entity.key_alt) {
        pairs.push(silverback_tls::pair(chain, key)?);
    }
    Ok(pairs)
}

impl Sessions {
    /// Those of this process with the same settings, as long as anyone uses them.
    fn of(settings: &TlsSettings) -> Arc<Sessions> {
        static USED: Mutex<Vec<Weak<Sessions>>> = Mutex::new(Vec::new());
        let TlsSettings { session_tickets, session_timeout, session_cache, .. } = *settings;
        let terms = (session_tickets, session_timeout, session_cache);
        let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|sessions| sessions.strong_count() > 0);
        let mut live = used.iter().filter_map(Weak::upgrade);
        if let Some(sessions) = live.find(|sessions| sessions.terms == terms) {
            return sessions;
        }
        let tickets = || Arc::new(Tickets::new(session_timeout)) as Arc<dyn ProducesTickets>;
        let sessions = Arc::new(Sessions {
            terms,
            tickets: session_tickets.then(tickets),
            kept: Arc::new(Kept::new(session_timeout, session_cache)),
        });
        used.push(Arc::downgrade(&sessions));
        sessions
    }
}

impl Shown {
    /// The configuration for a handshake with it.
    pub(crate) fn config(&self, terms: Terms) -> Option<&Arc<ServerConfig>> {
        let cell = self.configs.get(usize::from(terms.asking) + 2 * usize::from(terms.stream))?;
        cell.get_or_init(|| self.build(terms)).as_ref()
    }

    fn build(&self, terms: Terms) -> Option<Arc<ServerConfig>> {
        let Terms { asking, stream } = terms;
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions.list())
            .ok()?;
        let builder = if asking {
            let algorithms = self.provider.signature_verification_algorithms;
            builder.with_client_cert_verifier(Arc::new(AnyClient { algorithms }))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(self.pairs.clone());
        config.ignore_client_order = self.prefers;
        // Who was asked for a certificate is asked each time: what it was good for may have ended.
        config.session_storage = match asking {
            true => Arc::new(NoServerSessionStorage {}),
            false => self.sessions.kept.clone(),
        };
        if let Some(tickets) = self.sessions.tickets.as_ref().filter(|_| !asking) {
            config.ticketer = tickets.clone();
        }
        if !stream {
            // What is spoken within a stream is for its two ends to agree on.
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Some(Arc::new(config))
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

#[cfg(test)]
impl Shown {
    /// Which certificate it is.
    pub(crate) fn told(&self) -> String {
        format!("{:?}", self.pairs)
    }
}
