//! One connection to a server.

use std::future::poll_fn;

use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::DatabaseError;
use super::settings::{Password, Server, Tls};

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
        let opening = open_with_password(server, io);
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

/// A password that was changed may stand where it was read before.
async fn open_with_password(server: &Server, io: &Handle) -> Result<Connection, DatabaseError> {
    let known = server.password.as_ref().map(Password::known);
    let refused = match open(server, known.as_deref(), io).await {
        Err(error) if error.is_wrong_password() => error,
        opened => return opened,
    };
    let (Some(password), Some(known)) = (&server.password, &known) else { return Err(refused) };
    match password.renew(known, io).await {
        true => open(server, Some(&*password.known()), io).await,
        false => Err(refused),
    }
}

async fn open(
    server: &Server,
    password: Option<&String>,
    io: &Handle,
) -> Result<Connection, DatabaseError> {
    let config = config(server, password);
    let (sender, notifications) = mpsc::unbounded_channel();
    let client = match tls(server)? {
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

fn config(server: &Server, password: Option<&String>) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&server.host)
        .port(server.port)
        .user(&server.user)
        .dbname(&server.database)
        .application_name("silverback")
        .connect_timeout(server.timeout)
        .keepalives_idle(std::time::Duration::from_secs(15))
        .ssl_mode(match (&server.tls, server.insists_on_tls) {
            (Tls::Off, _) => SslMode::Disable,
            (_, true) => SslMode::Require,
            (_, false) => SslMode::Prefer,
        });
    if let Some(password) = password {
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

fn tls(server: &Server) -> Result<Option<ClientConfig>, DatabaseError> {
    let mut client = match &server.tls {
        Tls::Off => return Ok(None),
        Tls::Unverified => silverback_tls::Client::default(),
        Tls::Verified(trust) if trust.is_empty() => {
            let text = "pg_ssl_verify is on, and lua_ssl_trusted_certificate has no authority";
            return Err(DatabaseError::Strange(text.to_owned()));
        }
        Tls::Verified(trust) => {
            silverback_tls::Client { trust: Some(trust.clone()), ..Default::default() }
        }
    };
    client.shown.clone_from(&server.certificate);
    let config = client.config();
    config.map(Some).map_err(|error| DatabaseError::Unreachable(error.to_string()))
}
