//! TLS of cosockets, by rustls: `lua_ssl_trusted_certificate` says whom to trust where a plugin
//! asks for it.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, sign::CertifiedKey};
use rustls_pki_types::ServerName;
use silverback_tls::Versions;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::stream::{Any, Fault, Reader, Writer, split};

/// Whom to trust, settled once for each worker: connections resume one another's sessions.
pub(super) struct Trust {
    verified: Settled,
    unverified: Settled,
    terms: silverback_tls::Client,
}

type Settled = Result<Arc<ClientConfig>, rustls::Error>;

/// A client's certificate and key.
pub(super) struct Client(Arc<CertifiedKey>);

impl Client {
    /// Those of a socket's, PEM, if it has them.
    ///
    /// # Errors
    /// If they can't be read.
    pub(super) fn of(chain: Option<String>, key: Option<String>) -> Result<Option<Client>, String> {
        let (Some(chain), Some(key)) = (chain, key) else { return Ok(None) };
        let pair = silverback_tls::pair(&chain, &key);
        pair.map(|pair| Some(Client(pair))).map_err(|e| format!("bad client certificate: {e}"))
    }
}

impl Trust {
    /// Trusts these, and speaks these versions.
    pub(super) fn new(trust: &silverback_tls::Trust, versions: Versions) -> Trust {
        let mut terms = silverback_tls::Client { versions, ..Default::default() };
        let unverified = terms.config().map(Arc::new);
        terms.trust = Some(trust.clone());
        Trust { verified: terms.config().map(Arc::new), unverified, terms }
    }

    fn config(&self, verify: bool, client: Option<Client>) -> Settled {
        match client {
            Some(client) => {
                let trust = self.terms.trust.clone().filter(|_| verify);
                let shown = Some(client.0);
                let own = silverback_tls::Client { trust, shown, ..self.terms.clone() };
                own.config().map(Arc::new)
            }
            None if verify => self.verified.clone(),
            None => self.unverified.clone(),
        }
    }
}

/// Shakes hands.
///
/// # Errors
/// "timeout", or why the other side is refused or refuses.
pub(super) async fn connect(
    trust: &Trust,
    plain: Any,
    name: &str,
    verify: bool,
    client: Option<Client>,
    limit: Duration,
) -> Result<(Reader, Writer), Fault> {
    let config = trust.config(verify, client);
    let config = config.map_err(|error| Fault::text(&format!("handshake failed: {error}")))?;
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
        () if text.contains("certificate expired") => "10: certificate has expired".to_owned(),
        () => format!("handshake failed: {text}"),
    }
}
