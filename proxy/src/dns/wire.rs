//! Asking name servers: UDP, TCP where the answer does not fit, another server where one fails.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    answer::{Failure, Records, Service},
    files::ResolvConf,
    settings::DnsType,
};

/// How many names may stand for one another in a row.
const ALIASES_MAX: usize = 8;
/// A datagram's largest size.
const DATAGRAM_MAX: usize = 64 * 1024;

/// What a name server says: the records and for how many seconds they are good.
pub(super) type Reply = Result<(Records, u32), Failure>;

/// Asks for the records of a type, following names that stand for other names.
pub(super) async fn ask(conf: &ResolvConf, first: usize, name: &str, kind: DnsType) -> Reply {
    let (mut name, mut least) = (name.to_owned(), u32::MAX);
    for _ in 0..ALIASES_MAX {
        let mut parsed = Name::from_utf8(&name).map_err(|error| {
            Failure::error(format!("dns client error: bad name {name}: {error}"))
        })?;
        parsed.set_fqdn(true);
        match read(&exchange(conf, first, &parsed, kind).await?, &parsed, kind, &mut least)? {
            Read::Records(records) => return Ok((records, least)),
            Read::Alias(other) => name = other,
        }
    }
    Err(Failure::error(format!("dns client error: too many aliases for {name}")))
}

/// What an answer says of a name.
enum Read {
    Records(Records),
    /// Another name that has to be asked for.
    Alias(String),
}

fn read(message: &Message, asked: &Name, kind: DnsType, least: &mut u32) -> Result<Read, Failure> {
    match message.metadata.response_code {
        ResponseCode::NoError => {}
        code => return Err(Failure::of_code(code.low())),
    }
    let mut owner = asked.clone();
    // An answer may hold the aliases in any order.
    for _ in 0..ALIASES_MAX {
        let own = || message.answers.iter().filter(|record| record.name == owner);
        let alias = own().find_map(|record| match &record.data {
            RData::CNAME(alias) => Some((alias.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((alias, ttl)) = alias else { break };
        *least = (*least).min(ttl);
        owner = alias;
    }
    let own = message.answers.iter().filter(|record| record.name == owner);
    let own: Vec<_> = own.filter(|record| record.record_type() == record_type(kind)).collect();
    *least = own.iter().map(|record| record.ttl).fold(*least, u32::min);
    match records(own.iter().map(|record| &record.data)) {
        Some(records) => Ok(Read::Records(records)),
        // The server may know only part of the way.
        None if owner != *asked && !is_complete(message) => Ok(Read::Alias(owner.to_ascii())),
        None => Err(Failure::empty()),
    }
}

/// Whether the server says that there is nothing more: with whom it would have to be (RFC 2308).
fn is_complete(message: &Message) -> bool {
    message.authorities.iter().any(|record| record.record_type() == RecordType::SOA)
}

fn records<'a>(data: impl Iterator<Item = &'a RData>) -> Option<Records> {
    let (mut ips, mut services) = (Vec::new(), Vec::new());
    for data in data {
        match data {
            RData::A(ip) => ips.push(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => ips.push(IpAddr::V6(ip.0)),
            RData::SRV(service) => services.push(service),
            _ => {}
        }
    }
    if !ips.is_empty() {
        return Some(Records::Addresses(ips.into()));
    }
    let lowest = services.iter().map(|service| service.priority).min()?;
    let own = services.into_iter().filter(|service| service.priority == lowest);
    let service = own.map(|service| Service {
        host: service.target.to_ascii().to_lowercase().trim_end_matches('.').into(),
        port: service.port,
        weight: service.weight,
    });
    Some(Records::Services(service.collect()))
}

fn record_type(kind: DnsType) -> RecordType {
    match kind {
        DnsType::Srv => RecordType::SRV,
        DnsType::Aaaa => RecordType::AAAA,
        DnsType::Cname => RecordType::CNAME,
        DnsType::A | DnsType::Last => RecordType::A,
    }
}

/// Asks one server after the other until one answers, beginning with the `first`.
async fn exchange(
    conf: &ResolvConf,
    first: usize,
    name: &Name,
    kind: DnsType,
) -> Result<Message, Failure> {
    let mut last = Failure::silence("dns client error: no name server is configured".to_owned());
    let mut refusal = None;
    for attempt in 0..conf.attempts.max(1) {
        let turn = (first + attempt).checked_rem(conf.servers.len());
        let Some(server) = turn.and_then(|turn| conf.servers.get(turn)) else { break };
        match question(*server, name, kind, conf.timeout).await {
            // Another server may know better what this one could not find out.
            Ok(message) if refuses(&message) && attempt + 1 < conf.servers.len() => {
                refusal = Some(message);
            }
            Ok(message) => return Ok(message),
            Err(text) => last = Failure::silence(text),
        }
    }
    refusal.ok_or(last)
}

fn refuses(message: &Message) -> bool {
    use ResponseCode::{FormErr, NotImp, Refused, ServFail};
    matches!(message.metadata.response_code, ServFail | Refused | NotImp | FormErr)
}

/// Asks one server once. Errors are worded as by lua-resty-dns.
async fn question(
    server: SocketAddr,
    name: &Name,
    kind: DnsType,
    limit: Duration,
) -> Result<Message, String> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), record_type(kind)));
    let bytes = message.to_vec().map_err(|error| format!("failed to write the query: {error}"))?;
    let failed = |over: &str, error: io::Error| {
        format!("failed to receive reply from {over} server {server}: {error}")
    };
    let timed_out = || io::Error::other("timeout");
    let reply = timeout(limit, over_udp(server, &bytes, &message)).await;
    let reply = reply.unwrap_or_else(|_| Err(timed_out())).map_err(|error| failed("UDP", error))?;
    if !reply.metadata.truncation {
        return Ok(reply);
    }
    let reply = timeout(limit, over_tcp(server, &bytes, &message)).await;
    reply.unwrap_or_else(|_| Err(timed_out())).map_err(|error| failed("TCP", error))
}

async fn over_udp(server: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question: harder to guess.
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What answers another question was not meant for us.
        if let Some(reply) = buffer.get(..length).and_then(|bytes| parse(bytes, asked)) {
            return Ok(reply);
        }
    }
}

async fn over_tcp(server: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await?;
    parse(&reply, asked).ok_or_else(|| io::Error::other("bad answer"))
}

/// A message that answers the question.
fn parse(bytes: &[u8], asked: &Message) -> Option<Message> {
    let reply = Message::from_vec(bytes).or_else(|_| head_of(bytes)).ok()?;
    let same = reply.metadata.id == asked.metadata.id
        && reply.metadata.message_type == MessageType::Response
        && (reply.queries == asked.queries || reply.queries.is_empty());
    same.then_some(reply)
}

/// The head of a message whose records were cut off in the middle: enough to see that.
fn head_of(bytes: &[u8]) -> Result<Message, ()> {
    let mut head: [u8; 12] = bytes.get(..12).and_then(|head| head.try_into().ok()).ok_or(())?;
    let truncated = head[2] & 2 != 0;
    head[4..].fill(0);
    if truncated { Message::from_vec(&head).map_err(|_| ()) } else { Err(()) }
}
