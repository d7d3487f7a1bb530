//! A client's handshake: its hello is read, plugins have their say, a certificate is chosen.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use rustls::{ProtocolVersion, server::Acceptor};
use silverback_pdk::{
    Body, Client, Exchange, LogLevel, Phase, Request, RequestId, Scheme, Session, Tls,
};
use silverback_tls::openssl_name;
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{chain, http::Connection, tls::Terms, worker::Live};

/// Shakes hands. None where it failed: there is nobody to tell.
pub(crate) async fn handshake(
    connection: &Connection,
    stream: TcpStream,
) -> Option<(TlsStream<TcpStream>, Tls)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
    let name = start.client_hello().server_name().map(str::to_owned);
    let live = connection.worker.live();
    let asking = certificate_phase(connection, &live, name.as_deref()).await?;
    let Some(shown) = live.snapshot.certificates.find(name.as_deref()) else {
        let text =
            "no certificate for TLS: set ssl_cert and ssl_cert_key, or make one for the name";
        silverback_pdk::log(LogLevel::Err, "", text);
        return None;
    };
    let terms = Terms { asking, stream: connection.stream };
    let stream = start.into_stream(shown.config(terms)?.clone()).await.ok()?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let client_chain: Vec<_> = chain.iter().map(|c| Bytes::copy_from_slice(c)).collect();
    let verified = if client_chain.is_empty() { "NONE" } else { "FAILED:not verified" };
    let tls = Tls {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: session
            .negotiated_cipher_suite()
            .map(|suite| openssl_name(suite.suite()).to_owned())
            .unwrap_or_default(),
        server_name: name,
        client_chain,
        client_verify: verified.to_owned(),
    };
    Some((stream, tls))
}

/// Runs the certificate phase: whether the client is asked for a certificate, or none where a
/// plugin ends the handshake.
async fn certificate_phase(
    connection: &Connection,
    live: &Rc<Live>,
    name: Option<&str>,
) -> Option<bool> {
    if !live.has_certificate_handlers(connection.stream) {
        return Some(false);
    }
    let hello = Tls { server_name: name.map(str::to_owned), ..Tls::default() };
    let client = Client {
        peer: connection.peer,
        local: connection.local,
        forwarded_ip: connection.peer.ip(),
        forwarded_port: connection.peer.port(),
        trusted: false,
        tls: Some(Rc::new(hello)),
        consumer: None,
        credential: None,
        connection: 1,
        requests: 1,
        consumer_groups: None,
    };
    let mut request = empty_request(Scheme::Https);
    request.host = name.unwrap_or_default().to_owned();
    let mut exchange = Exchange::new(live.clone(), client, request);
    exchange.session = connection.stream.then(Session::default);
    exchange.phase = Phase::Certificate;
    chain::certificate(live, &mut exchange).await.ok()?;
    Some(exchange.handshake.request_certificate)
}

/// What stands for a request where there is none: before it has come, and in a stream.
pub(crate) fn empty_request(scheme: Scheme) -> Request {
    Request {
        id: RequestId::random(),
        method: Method::GET,
        version: Version::HTTP_11,
        scheme,
        target: String::new(),
        query: None,
        host: String::new(),
        headers: HeaderMap::new(),
        body: Body::Empty,
        size: 0,
    }
}
