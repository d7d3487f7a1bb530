//! Opening a connection: TCP, TLS, authentication, the database.

use redis::{AsyncConnectionConfig, RedisConnectionInfo, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::RedisSettings;
use crate::tls::Trust;

/// A connection, and the task that reads and writes for it: when that has ended, the connection
/// has as well.
pub(super) type Opened = (MultiplexedConnection, JoinHandle<()>);

/// Opens a connection within the configured time.
pub(super) async fn open(settings: &RedisSettings, trust: &Trust) -> Result<Opened, String> {
    let limit = settings.timeout();
    match timeout(limit, connect(settings, trust)).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("no connection within {} ms", limit.as_millis())),
    }
}

async fn connect(settings: &RedisSettings, trust: &Trust) -> Result<Opened, String> {
    let address = (settings.host(), settings.port.unwrap_or(6379));
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    if settings.ssl != Some(true) {
        return greet(settings, stream).await;
    }
    let name = settings.server_name.as_deref().unwrap_or(settings.host());
    let stream = trust.connect(stream, Some(name), settings.ssl_verify == Some(true)).await?;
    greet(settings, stream).await
}

/// As in Kong nobody authenticates without a password.
async fn greet(
    settings: &RedisSettings,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Opened, String> {
    let mut info = RedisConnectionInfo::default()
        .set_db(settings.database.unwrap_or(0))
        .set_skip_set_lib_name();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(password) = given(&settings.password) {
        info = info.set_password(password);
        if let Some(username) = given(&settings.username) {
            info = info.set_username(username);
        }
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(settings.timeout()));
    let opening = MultiplexedConnection::new_with_config(&info, stream, config);
    let (connection, driver) = opening.await.map_err(|error| error.to_string())?;
    Ok((connection, tokio::spawn(driver)))
}
