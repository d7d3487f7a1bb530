//! How upstreams are spoken to with TLS: whom to trust, and what to show when they ask.

use std::{collections::HashMap, sync::Arc};

use rustls::ClientConfig;
use silverback_model::{
    Entity,
    entities::{Certificate, Protocol, Service, Upstream},
    schema::references::may_refer,
    set::Entities,
};
use silverback_tls::{Client, Trust};
use uuid::Uuid;

use crate::{
    Config, Parts,
    balancer::Balancer,
    snapshot::{CompileError, Secrets},
};

/// TLS to upstreams. Services that ask for the same share what is made of it.
#[derive(Default, Clone)]
pub(crate) struct ClientConfigs {
    known: HashMap<Wanted, Arc<Made>>,
}

/// What a service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Wanted {
    /// The PEM texts of the authorities; none are the node's.
    trusted: Option<Vec<String>>,
    depth: Option<usize>,
    /// The PEM texts of chain and key to show; none are the node's.
    shown: Option<(String, String)>,
}

/// What was made for it.
struct Made {
    terms: Client,
    verifying: Arc<ClientConfig>,
    /// Takes anybody.
    trusting: Arc<ClientConfig>,
}

/// TLS to the upstreams of a service, should it be spoken: a plugin may say so, too.
#[derive(Clone, Default)]
pub(crate) struct ServiceTls {
    verifies: bool,
    made: Option<Arc<Made>>,
}

impl ServiceTls {
    /// The configuration, verifying or not, and to which depth, as the service says, or a plugin
    /// in its place. None where it could not be made.
    pub(crate) fn config(
        &self,
        verify: Option<bool>,
        depth: Option<u16>,
    ) -> Option<Arc<ClientConfig>> {
        let made = self.made.as_ref()?;
        match depth {
            _ if !verify.unwrap_or(self.verifies) => Some(made.trusting.clone()),
            None => Some(made.verifying.clone()),
            Some(depth) => {
                let trust = made.terms.trust.as_ref()?.with_depth(depth.into());
                let terms = Client { trust: Some(trust), ..made.terms.clone() };
                terms.config().ok().map(Arc::new)
            }
        }
    }
}

/// Where the certificates are that services and upstreams name.
pub(crate) enum Materials<'a> {
    /// In lists.
    Listed {
        /// The PEM texts of chain and key.
        certificates: HashMap<Uuid, (&'a str, &'a str)>,
        /// The PEM texts.
        authorities: HashMap<Uuid, &'a str>,
    },
    /// In a set, where they are looked up, and those with secrets beside it.
    In(&'a Entities, &'a Secrets),
}

impl<'a> Materials<'a> {
    pub(crate) fn of(parts: &'a Parts) -> Materials<'a> {
        let pair = |c: &'a Arc<Entity<Certificate>>| (c.id, (c.cert.as_str(), c.key.as_str()));
        Materials::Listed {
            certificates: parts.certificates.iter().map(pair).collect(),
            authorities: parts.ca_certificates.iter().map(|c| (c.id, c.cert.as_str())).collect(),
        }
    }

    fn certificate(&self, id: Uuid) -> Option<(&'a str, &'a str)> {
        match self {
            Materials::Listed { certificates, .. } => certificates.get(&id).copied(),
            Materials::In(entities, secrets) => {
                if let Some(known) = secrets.certificate(id) {
                    return Some((&known.cert, &known.key));
                }
                let record = entities.of("certificates").get(&id.to_string())?;
                if may_refer(record) {
                    return None;
                }
                Some((record.get("cert")?.as_str()?, record.get("key")?.as_str()?))
            }
        }
    }

    fn authority(&self, id: Uuid) -> Option<&'a str> {
        match self {
            Materials::Listed { authorities, .. } => authorities.get(&id).copied(),
            Materials::In(entities, _) => {
                entities.of("ca_certificates").get(&id.to_string())?.get("cert")?.as_str()
            }
        }
    }
}

/// Makes the configurations of a snapshot's services.
pub(crate) struct Maker<'a> {
    config: &'a Config,
    materials: Materials<'a>,
    previous: Option<&'a ClientConfigs>,
    made: ClientConfigs,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        materials: Materials<'a>,
        config: &'a Config,
        previous: Option<&'a ClientConfigs>,
    ) -> Maker<'a> {
        Maker { config, materials, previous, made: ClientConfigs::default() }
    }

    /// TLS for a service. `upstream` is the one that its host names.
    pub(crate) fn service(
        &mut self,
        service: &Service,
        upstream: Option<&Balancer>,
        errors: &mut Vec<CompileError>,
    ) -> ServiceTls {
        let speaks_tls =
            matches!(service.protocol, Protocol::Https | Protocol::Grpcs | Protocol::Tls);
        let of_service = service.client_certificate.map(|c| c.id).filter(|_| speaks_tls);
        let of_upstream = upstream.and_then(|u| u.entity.client_certificate).map(|c| c.id);
        let authority = |id: &Uuid| self.materials.authority(*id).map(str::to_owned);
        let trusted = service.ca_certificates.as_ref().filter(|_| speaks_tls);
        let wanted = Wanted {
            trusted: trusted.map(|ids| ids.iter().filter_map(authority).collect()),
            depth: service.tls_verify_depth.map(usize::from),
            shown: self.shown(of_service.or(of_upstream)),
        };
        let verifies = service.tls_verify.unwrap_or(self.config.tls.upstream.verify);
        let what = || format!("TLS of service {}", service.id);
        ServiceTls { verifies, made: self.made(wanted, what, errors) }
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
        let shown = self.shown(upstream.client_certificate.map(|c| c.id));
        let what = || format!("TLS of upstream {}", upstream.name);
        let made = self.made(Wanted { shown, ..Wanted::default() }, what, errors)?;
        let verifies = checks.https_verify_certificate;
        Some(if verifies { made.verifying.clone() } else { made.trusting.clone() })
    }

    fn shown(&self, certificate: Option<Uuid>) -> Option<(String, String)> {
        let (chain, key) = self.materials.certificate(certificate?)?;
        Some((chain.to_owned(), key.to_owned()))
    }

    /// The configurations that verify and that don't, made once for all who want the same.
    fn made(
        &mut self,
        wanted: Wanted,
        what: impl Fn() -> String,
        errors: &mut Vec<CompileError>,
    ) -> Option<Arc<Made>> {
        let known = self.made.known.get(&wanted);
        if let Some(known) = known.or_else(|| self.previous?.known.get(&wanted)) {
            let known = known.clone();
            self.made.known.insert(wanted, known.clone());
            return Some(known);
        }
        match self.make(&wanted) {
            Ok(made) => {
                let made = Arc::new(made);
                self.made.known.insert(wanted, made.clone());
                Some(made)
            }
            Err(fault) => {
                errors.push(CompileError::Certificate { what: what(), fault });
                None
            }
        }
    }

    /// What was made, to be found again by the next snapshot.
    pub(crate) fn finish(self) -> ClientConfigs {
        self.made
    }

    /// What was made, beside what was made before; none if there is nothing new.
    pub(crate) fn finish_beside(self) -> Option<ClientConfigs> {
        let known = |wanted| self.previous.is_some_and(|p| p.known.contains_key(wanted));
        if self.made.known.keys().all(known) {
            return None;
        }
        let mut all = self.previous.cloned().unwrap_or_default();
        all.known.extend(self.made.known);
        Some(all)
    }

    fn make(&self, wanted: &Wanted) -> Result<Made, String> {
        let settings = &self.config.tls.upstream;
        let trust = match &wanted.trusted {
            Some(pems) => Trust::of_pem(pems.iter().map(String::as_bytes), settings.trust.depth()),
            None => settings.trust.clone(),
        };
        let trust = trust.with_depth(wanted.depth.unwrap_or(trust.depth()));
        let shown = wanted.shown.as_ref().or(settings.client_certificate.as_ref());
        let shown = shown.map(|(chain, key)| silverback_tls::pair(chain, key)).transpose()?;
        let terms = Client {
            trust: Some(trust),
            shown,
            versions: settings.versions,
            ciphers: settings.ciphers.clone(),
        };
        let anybody = Client { trust: None, ..terms.clone() };
        let config = |client: &Client| client.config().map(Arc::new).map_err(|e| e.to_string());
        Ok(Made { verifying: config(&terms)?, trusting: config(&anybody)?, terms })
    }
}
