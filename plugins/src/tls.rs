//! TLS to what plugins talk to: verified against `lua_ssl_trusted_certificate`, or not at all.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use silverback_tls::Client;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The certificates that are trusted; the same for all plugins of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust(pub(crate) silverback_tls::Trust);

impl Trust {
    /// Speaks TLS on a connection; the certificate shown is verified or taken as it is. Without a
    /// name the server is not told for which name it is asked.
    ///
    /// # Errors
    /// Why it fails.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        name: Option<&str>,
        verify: bool,
    ) -> Result<TlsStream<TcpStream>, String> {
        if verify && self.0.is_empty() {
            return Err("TLS: lua_ssl_trusted_certificate names no certificate".to_owned());
        }
        let client = Client { trust: verify.then(|| self.0.clone()), ..Client::default() };
        let config = client.config().map_err(|error| error.to_string())?;
        let server = match name {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| format!("'{name}' is no name to ask for in TLS"))?,
            // Servers are not told addresses (RFC 6066, section 3).
            None => ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])),
        };
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(server, stream).await.map_err(|error| format!("TLS: {error}"))
    }
}
