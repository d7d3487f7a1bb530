//! One connection to a server.

use std::future::poll_fn;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::DatabaseError;
use super::settings::{Server, Tls};

/// A connection whose traffic runs on the store's thread.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// What is told by NOTIFY; closed when the connection is.
    pub(crate) notifications: mpsc::UnboundedReceiver<Notification>,
    /// The schema that its tables are in.
    pub(crate) schema: String,
}

impl Connection {
    /// Connects and chooses schema and time zone, within the server's timeout.
    pub(crate) async fn open(server: &Server, io: &Handle) -> Result<Connection, DatabaseError> {
        let opening = open(server, io);
        match tokio::time::timeout(server.timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(DatabaseError::Unreachable(format!(
                "connecting to {}:{} took longer than {} ms",
                server.host,
                server.port,
                server.timeout.as_millis()
            ))),
        }
    }
}

async fn open(server: &Server, io: &Handle) -> Result<Connection, DatabaseError> {
    let config = config(server);
    let (sender, notifications) = mpsc::unbounded_channel();
    let client = match tls(&server.tls)? {
        None => {
            let (client, connection) = config.connect(NoTls).await?;
            drive(connection, sender, io);
            client
        }
        Some(tls) => {
            let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
            drive(connection, sender, io);
            client
        }
    };
    let mut connection = Connection { client, notifications, schema: server.schema.clone() };
    let mut begin = String::from("SET TIME ZONE 'UTC'; SET client_min_messages = warning;");
    if !server.schema.is_empty() {
        begin += &format!("SET search_path = {};", identifier(&server.schema));
    }
    connection.client.batch_execute(&begin).await?;
    if server.schema.is_empty() {
        let row = connection.client.query_typed("SELECT current_schema()::text", &[]).await?;
        let schema: Option<String> = row.first().and_then(|row| row.get(0));
        connection.schema = schema.unwrap_or_else(|| "public".to_owned());
    }
    Ok(connection)
}

fn config(server: &Server) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&server.host)
        .port(server.port)
        .user(&server.user)
        .dbname(&server.database)
        .application_name("silverback")
        .connect_timeout(server.timeout)
        .keepalives_idle(std::time::Duration::from_secs(15))
        .ssl_mode(if matches!(server.tls, Tls::Off) { SslMode::Disable } else { SslMode::Require });
    if let Some(password) = &server.password {
        config.password(password);
    }
    config
}

/// Carries the traffic of a connection until it ends.
fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    sender: mpsc::UnboundedSender<Notification>,
    io: &Handle,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    io.spawn(async move {
        // An error is told to whoever waits for an answer.
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification);
            }
        }
    });
}

/// A name as SQL writes it.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn tls(tls: &Tls) -> Result<Option<ClientConfig>, DatabaseError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| DatabaseError::Unreachable(error.to_string()))
    };
    Ok(match tls {
        Tls::Off => None,
        Tls::Verified(trusted) => {
            let verifier = Arc::new(Trusted::new(trusted, &provider)?);
            let builder = builder()?.dangerous().with_custom_certificate_verifier(verifier);
            Some(builder.with_no_client_auth())
        }
        Tls::Unverified => {
            let anyone = Arc::new(Anyone(Arc::clone(&provider)));
            let builder = builder()?.dangerous().with_custom_certificate_verifier(anyone);
            Some(builder.with_no_client_auth())
        }
    })
}

/// Takes certificates of trusted authorities, and those that are trusted themselves, which may say
/// that they are an authority: that is how PostgreSQL's own documentation makes them.
#[derive(Debug)]
struct Trusted {
    trusted: Arc<[CertificateDer<'static>]>,
    of_authorities: Arc<WebPkiServerVerifier>,
}

impl Trusted {
    fn new(
        trusted: &Arc<[CertificateDer<'static>]>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Trusted, DatabaseError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
        let of_authorities = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let none = |error| {
            let text = "pg_ssl_verify is on, and lua_ssl_trusted_certificate has no authority";
            DatabaseError::Strange(format!("{text}: {error}"))
        };
        let of_authorities = of_authorities.map_err(none)?;
        Ok(Trusted { trusted: Arc::clone(trusted), of_authorities })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.of_authorities.verify_server_cert(own, others, name, ocsp_response, now);
        match &verified {
            // Its time was looked at before this is said.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.to_string().contains("CaUsedAsEndEntity")
                    && self.trusted.iter().any(|trusted| trusted == own) =>
            {
                verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_authorities.supported_verify_schemes()
    }
}

/// Takes any certificate (`pg_ssl_verify = off`), if the server has the key to it.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
