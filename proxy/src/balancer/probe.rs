//! Active health checks: targets are asked how they are (lua-resty-healthcheck,
//! `run_single_check`).

use std::{
    fmt::Write,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use rustls::{ClientConfig, pki_types::ServerName};
use silverback_model::entities::ActiveChecks;
use silverback_pdk::LogLevel;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::spawn_local,
    time::{sleep_until, timeout},
};
use tokio_rustls::TlsConnector;

use super::{address::Address, place::literal, shared::Balancer, vitals::Sign};
use crate::dns::{Records, Resolver, Scope};

/// How many targets of all upstreams are asked at one time.
const PROBES_MAX: usize = 1000;
/// How long a line with a status may be.
const STATUS_LINE_MAX: usize = 4096;
/// How long a task sleeps at the most: it ends when its balancer is gone.
const NAP_MAX: Duration = Duration::from_secs(30);

/// What all probes have in common.
pub(crate) struct Probes {
    gate: Semaphore,
    resolver: Rc<Resolver>,
}

impl Probes {
    pub(crate) fn new(resolver: Rc<Resolver>) -> Probes {
        Probes { gate: Semaphore::new(PROBES_MAX), resolver }
    }
}

/// Asks a balancer's targets until it is gone: those that are well and those that are ill each at
/// their interval, the first time when it has gone by once.
pub(super) fn watch(balancer: &Weak<Balancer>, probes: &Rc<Probes>) {
    let Some(strong) = balancer.upgrade() else { return };
    let active = &strong.entity.healthchecks.active;
    for (healthy, interval) in [(true, active.healthy.interval), (false, active.unhealthy.interval)]
    {
        let interval = seconds(interval.unwrap_or(0.0));
        if !interval.is_zero() {
            spawn_local(ask_all(balancer.clone(), probes.clone(), healthy, interval));
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Asks all that are well, or all that are ill, at an interval.
async fn ask_all(balancer: Weak<Balancer>, probes: Rc<Probes>, healthy: bool, interval: Duration) {
    let mut due = Instant::now() + interval;
    loop {
        while due > Instant::now() {
            sleep_until(due.min(Instant::now() + NAP_MAX).into()).await;
            if balancer.strong_count() == 0 {
                return;
            }
        }
        due = Instant::now() + interval;
        let Some(strong) = balancer.upgrade() else { return };
        let ring = strong.ring.load_full();
        let those = ring.addresses.iter();
        let those = those.filter(|a| a.weight > 0 && a.is_available() == healthy);
        let concurrency = strong.entity.healthchecks.active.concurrency.unwrap_or(10);
        let asked = stream::iter(those.map(|address| ask(&strong, address, &probes)));
        asked.buffer_unordered(concurrency.max(1) as usize).for_each(async |()| {}).await;
    }
}

/// Asks an address and counts what comes of it.
async fn ask(balancer: &Balancer, address: &Address, probes: &Probes) {
    let _permit = probes.gate.acquire().await;
    let limits = balancer.rules.active();
    let sign = match probe(balancer, address, &probes.resolver).await {
        Ok(Some(status)) => limits.sign(status),
        Ok(None) => Some(Sign::Success),
        Err(error) => {
            let (name, shown, port) = (&balancer.entity.name, &address.shown, address.port);
            let text = format!("health check of upstream {name}, {shown}:{port}: {error}");
            silverback_pdk::log(LogLevel::Info, "", &text);
            let timed_out = error.kind() == io::ErrorKind::TimedOut;
            Some(if timed_out { Sign::Timeout } else { Sign::TcpFailure })
        }
    };
    if let Some(sign) = sign {
        balancer.count(address, sign, limits.limit(sign));
    }
}

/// Gives the status, 0 for an answer that has none; none where it is enough to connect. gRPC
/// servers don't speak HTTP/1, so that it is enough to connect to them.
async fn probe(
    balancer: &Balancer,
    address: &Address,
    resolver: &Rc<Resolver>,
) -> io::Result<Option<u16>> {
    let checks = &balancer.entity.healthchecks.active;
    let kind = checks.r#type.as_deref().unwrap_or("http");
    let limit = seconds(checks.timeout.unwrap_or(1.0));
    let name = balancer.entity.host_header.as_deref();
    let name = name.unwrap_or_else(|| host_of(balancer, address));
    let ip = match address.ip {
        Some(ip) => ip,
        None => within(limit, resolve(&address.shown, resolver)).await?,
    };
    let place = SocketAddr::new(ip, address.port);
    let mut stream = within(limit, TcpStream::connect(place)).await?;
    if matches!(kind, "https" | "grpcs") {
        let tls = balancer.probe_tls.load_full();
        let tls = tls.ok_or_else(|| io::Error::other("TLS is not configured"))?;
        let name = checks.https_sni.as_deref().unwrap_or(name);
        let mut stream = within(limit, shake_hands(tls, name, stream)).await?;
        return match kind {
            "https" => get(&mut stream, checks, name, limit).await.map(Some),
            _ => Ok(None),
        };
    }
    match kind {
        "http" => get(&mut stream, checks, name, limit).await.map(Some),
        _ => Ok(None),
    }
}

/// The host of the address's target.
fn host_of<'a>(balancer: &'a Balancer, address: &'a Address) -> &'a str {
    let target = balancer.targets.get(address.target as usize);
    target.map_or(&address.host, |target| &target.host)
}

async fn within<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn resolve(name: &str, resolver: &Rc<Resolver>) -> io::Result<std::net::IpAddr> {
    match &resolver.get(name, Scope::Addresses).await.outcome {
        Ok(Records::Addresses(ips)) => {
            ips.first().copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        Ok(Records::Services(_)) => Err(io::ErrorKind::NotFound.into()),
        Err(failure) => Err(io::Error::other(failure.text.clone())),
    }
}

async fn shake_hands(
    tls: Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let bare = match literal(name) {
        Some(ip) => ServerName::from(ip),
        None => {
            let host = name.split(':').next().unwrap_or(name).to_owned();
            ServerName::try_from(host).map_err(io::Error::other)?
        }
    };
    TlsConnector::from(tls).connect(bare, stream).await
}

async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    checks: &ActiveChecks,
    host: &str,
    limit: Duration,
) -> io::Result<u16> {
    within(limit, stream.write_all(request(checks, host).as_bytes())).await?;
    let mut line = Vec::with_capacity(128);
    let read = async {
        while !line.contains(&b'\n') && line.len() < STATUS_LINE_MAX {
            if stream.read_buf(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    within(limit, read).await?;
    Ok(status(&line).unwrap_or(0))
}

fn request(checks: &ActiveChecks, host: &str) -> String {
    let path = checks.http_path.as_deref().unwrap_or("/");
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    let given = |name: &str| checks.headers.keys().any(|key| key.eq_ignore_ascii_case(name));
    if !given("host") {
        let _ = write!(text, "Host: {host}\r\n");
    }
    text.push_str("Connection: close\r\n");
    for (name, values) in &checks.headers {
        for value in values.iter().filter(|value| !value.contains(['\r', '\n'])) {
            // Writing to a string can't fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    text.push_str("\r\n");
    text
}

/// The status of "HTTP/1.1 200 OK".
fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|&b| b == b'\n').next()?).ok()?;
    let mut words = text.strip_prefix("HTTP/")?.split_whitespace();
    let (_version, status) = (words.next()?, words.next()?);
    status.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read() {
        let check = |line: &str, expect| assert_eq!(status(line.as_bytes()), expect, "{line}");
        check("HTTP/1.1 200 OK\r\nX: y", Some(200));
        check("HTTP/1.0 503\r\n", Some(503));
        check("SSH-2.0-x\r\n", None);
        check("HTTP/1.1\r\n", None);
    }

    #[test]
    fn headers_are_sent() {
        let mut checks = ActiveChecks { http_path: Some("/up".to_owned()), ..Default::default() };
        let plain = "GET /up HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        assert_eq!(request(&checks, "a.test"), plain);
        checks.headers.insert("host".to_owned(), vec!["b.test".to_owned()]);
        checks.headers.insert("X-A".to_owned(), vec!["1".to_owned(), "2\r\nX-B: 3".to_owned()]);
        let own = "GET /up HTTP/1.1\r\nConnection: close\r\nhost: b.test\r\nX-A: 1\r\n\r\n";
        assert_eq!(request(&checks, "a.test"), own);
    }
}
