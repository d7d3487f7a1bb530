//! The listeners of `admin_listen` and `status_listen`.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use rustls::ServerConfig;
use silverback_admin::server::Scope;
use silverback_proxy as proxy;
use silverback_tls::Pairs;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{
    conf::{Conf, Listener},
    node::settings,
    prefix::Prefix,
};

/// How long a client may take nothing of its answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// The listeners of an API.
pub(super) fn listeners(conf: &Conf, scope: Scope) -> &[Listener] {
    match scope {
        Scope::Admin => &conf.admin_listen,
        Scope::Status => &conf.status_listen,
    }
}

/// Opens one, with its TLS if it has any.
///
/// # Errors
/// If the address can't be bound, a certificate can't be read, or a flag is not to be had.
pub(super) fn open(
    conf: &Conf,
    prefix: &Prefix,
    scope: Scope,
    listener: &Listener,
) -> Result<(TcpListener, Option<TlsAcceptor>)> {
    let key = if scope == Scope::Admin { "admin_listen" } else { "status_listen" };
    if listener.proxy_protocol {
        bail!("{key}: proxy_protocol is for listeners of the proxy");
    }
    let own = settings::listener(key, listener)?;
    let tls = if listener.ssl { Some(acceptor(conf, prefix, scope)?) } else { None };
    let socket = proxy::open_listener(&own, own.address, SEND_TIMEOUT)
        .with_context(|| format!("{key}: can't listen on {}", own.address))?;
    if scope == Scope::Admin && !own.address.ip().is_loopback() {
        warn(&own.address.to_string(), listener.ssl);
    }
    Ok((TcpListener::from_std(socket)?, tls))
}

/// Whoever reaches the Admin API owns the gateway.
fn warn(address: &str, tls: bool) {
    let plain = if tls { "" } else { ", and others can read what is sent to it" };
    let text = format!(
        "admin_listen: the Admin API is open to other machines at {address}; it has no \
         authentication of its own{plain}. Who reaches it controls the gateway"
    );
    silverback_pdk::log(silverback_pdk::LogLevel::Warn, "", &text);
}

fn acceptor(conf: &Conf, prefix: &Prefix, scope: Scope) -> Result<TlsAcceptor> {
    let (pairs, use_for) = match scope {
        Scope::Admin => (&conf.admin_certificates, "admin-kong"),
        Scope::Status => (&conf.status_certificates, "status-kong"),
    };
    let pairs = settings::certificates(pairs, prefix, use_for)?;
    let pairs =
        pairs.iter().map(|(chain, key)| silverback_tls::pair(chain, key)).collect::<Result<_, _>>();
    let pairs = pairs.map_err(|fault| anyhow!("{use_for}: {fault}"))?;
    let provider = silverback_tls::provider(conf.tls.ciphers.as_ref());
    let pairs = Pairs::new(pairs, conf.tls.versions, &provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&conf.tls.versions.list())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(pairs));
    config.ignore_client_order = conf.tls.prefer_server_ciphers;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
