//! Which server a request goes to: the address of a service, or one of an upstream's targets.
//!
//! What an upstream is made of and how it does is shared by all workers ([`Balancer`]): an
//! immutable [`Ring`](ring::Ring) of addresses, and numbers that health checks count. A worker has
//! its own turn for each upstream; choosing takes no lock and no memory.

mod address;
mod hash;
mod place;
mod probe;
mod report;
mod ring;
mod rules;
mod shared;
mod tend;
mod turn;
mod vitals;

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
};

use http::{HeaderValue, StatusCode};
use silverback_pdk::{Answer, Exchange, LogLevel, Target as Asked};

use self::address::Address;
pub use self::shared::Balancer;
pub(crate) use self::{
    hash::set_cookie,
    place::{Place, literal},
    probe::Probes,
    shared::Target,
    tend::{Registrar, tend},
    turn::{Chosen, Turn},
};
use crate::{answer, dns::Failure, lifecycle::Work, pool::TlsKey, snapshot::Snapshot};

/// A server that was chosen.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The Host header it gets, unless route or plugin say otherwise.
    pub(crate) host: HeaderValue,
}

/// Where a request goes: fixed for all of its tries.
pub(crate) enum Aim {
    /// One place.
    Place(Rc<Place>),
    /// The targets of an upstream.
    Upstream {
        turn: Rc<Turn>,
        /// What the request hashes to.
        hash: u32,
        /// The addresses that failed it.
        tried: Vec<u32>,
    },
}

/// The places of a snapshot as one worker sees them, filled in as they are needed.
pub(crate) struct Balancers {
    services: Cells<Rc<Place>>,
    upstreams: Cells<Rc<Turn>>,
    tls: RefCell<HashMap<TlsWanted, Rc<TlsKey>>>,
}

/// Cells by number, made piece by piece as they are needed: a snapshot may have many services, and
/// every change makes all of these anew.
struct Cells<T>(Vec<OnceCell<Piece<T>>>);

type Piece<T> = Box<[OnceCell<T>]>;

impl<T> Cells<T> {
    const PIECE: u32 = 64;

    fn new(count: u32) -> Cells<T> {
        Cells((0..count.div_ceil(Self::PIECE)).map(|_| OnceCell::new()).collect())
    }

    fn get(&self, number: u32) -> Option<&OnceCell<T>> {
        let piece = self.0.get((number / Self::PIECE) as usize)?;
        let piece = piece.get_or_init(|| (0..Self::PIECE).map(|_| OnceCell::new()).collect());
        piece.get((number % Self::PIECE) as usize)
    }
}

/// How TLS to a service is asked for: the service, whether a plugin says to verify and to which
/// depth, the Host.
pub(crate) type TlsWanted = (u32, Option<bool>, Option<u16>, HeaderValue);

/// How many keys are kept: with preserve_host, clients choose the Host.
const TLS_KEYS_MAX: usize = 1024;

/// Kong's words for an upstream none of whose targets can be asked.
const NO_PEER: &str = "failure to get a peer from the ring-balancer";

impl Balancers {
    pub(crate) fn of(snapshot: &Snapshot) -> Balancers {
        Balancers {
            services: Cells::new(snapshot.services.end()),
            upstreams: Cells::new(snapshot.upstreams.end()),
            tls: RefCell::default(),
        }
    }

    /// How TLS is settled with a server. Kept for each worker, so that requests don't all count
    /// on one shared configuration.
    pub(crate) fn tls_key(
        &self,
        wanted: TlsWanted,
        make: impl FnOnce() -> Option<TlsKey>,
    ) -> Option<Rc<TlsKey>> {
        let mut known = self.tls.borrow_mut();
        if let Some(key) = known.get(&wanted) {
            return Some(key.clone());
        }
        if known.len() >= TLS_KEYS_MAX {
            known.clear();
        }
        let key = Rc::new(make()?);
        known.insert(wanted, key.clone());
        Some(key)
    }

    fn upstream(&self, snapshot: &Snapshot, upstream: u32) -> Option<Aim> {
        let balancer = snapshot.upstreams.get(upstream)?;
        let cell = self.upstreams.get(upstream)?;
        let turn = cell.get_or_init(|| Rc::new(Turn::of(balancer))).clone();
        Some(Aim::Upstream { turn, hash: 0, tried: Vec::new() })
    }

    fn service(&self, snapshot: &Snapshot, service: u32) -> Option<Aim> {
        let compiled = snapshot.services.get(service)?;
        if let Some(upstream) = compiled.upstream {
            return self.upstream(snapshot, upstream);
        }
        let cell = self.services.get(service)?;
        let new = || Rc::new(Place::new(&compiled.entity.host, compiled.entity.port));
        Some(Aim::Place(cell.get_or_init(new).clone()))
    }
}

/// Where the request goes: where a plugin says, or else its service. What is hashed of it is
/// hashed once, for all tries.
///
/// # Errors
/// 503 where there is no service.
pub(crate) fn aim(work: &mut Work) -> Result<Aim, Box<Answer>> {
    let live = &work.live;
    let exchange = &work.exchange;
    let no_service = || refuse(exchange, "no Service found with those values");
    let route = exchange.matched.as_ref().map(|m| m.route);
    let service = route.and_then(|r| live.snapshot.route(r)?.service).ok_or_else(no_service)?;
    let found = match &exchange.upstream.target {
        None => live.balancers.service(&live.snapshot, service),
        Some(Asked::Address { host, port }) => {
            match live.snapshot.upstream_names.get(host.as_str()) {
                Some(upstream) => live.balancers.upstream(&live.snapshot, *upstream),
                None => Some(Aim::Place(Rc::new(Place::new(host, *port)))),
            }
        }
        Some(Asked::Upstream(name)) => live
            .snapshot
            .upstream_names
            .get(name.as_str())
            .and_then(|upstream| live.balancers.upstream(&live.snapshot, *upstream)),
    };
    let mut aim = found.ok_or_else(no_service)?;
    if let Aim::Upstream { turn, hash, .. } = &mut aim
        && turn.ring().hashes()
    {
        let hashed = hash::hash(exchange, turn.upstream());
        *hash = hashed.hash;
        work.hash_cookie = hashed.cookie;
    }
    Ok(aim)
}

/// The server for the next try. What the last one was chosen for is over.
///
/// # Errors
/// 503 where there is none.
pub(crate) async fn choose(work: &mut Work, aim: &mut Aim) -> Result<Peer, Box<Answer>> {
    work.chosen = None;
    let (turn, hash, tried) = match aim {
        Aim::Place(place) => return peer(work, place).await,
        Aim::Upstream { turn, hash, tried } => (turn, *hash, tried),
    };
    let scheme = work.exchange.upstream.scheme;
    let mut failed: Option<u32> = None;
    loop {
        let chosen = turn.choose(hash, tried).filter(|chosen| failed != Some(chosen.number()));
        let Some(chosen) = chosen else { return Err(refuse(&work.exchange, NO_PEER)) };
        let number = chosen.number();
        tried.push(number);
        let Address { ip, port, shown, .. } = chosen.address();
        let found = match ip {
            Some(ip) => Ok(SocketAddr::new(*ip, *port)),
            // The host of an SRV record, or a name that is not resolved yet.
            None => work.worker.dns.resolve(shown, *port).await,
        };
        match found {
            Ok(address) => {
                let host = chosen.host_header(scheme);
                work.chosen = Some(chosen);
                return Ok(Peer { address, host });
            }
            Err(failure) => note_unresolved(shown, &failure),
        }
        failed = failed.or(Some(number));
    }
}

async fn peer(work: &Work, place: &Place) -> Result<Peer, Box<Answer>> {
    let scheme = work.exchange.upstream.scheme;
    if let Some(ip) = place.ip {
        let address = SocketAddr::new(ip, place.port);
        return Ok(Peer { address, host: place.header(scheme, place.port) });
    }
    match work.worker.dns.resolve(&place.host, place.port).await {
        Ok(address) => Ok(Peer { address, host: place.header(scheme, address.port()) }),
        Err(failure) => {
            note_unresolved(&place.host, &failure);
            Err(unresolved(&work.exchange, &place.host, &failure))
        }
    }
}

/// Kong's answers: 503 where there is no such name, 500 where nobody could say
/// (kong/runloop/balancer/init.lua, `execute`; kong/runloop/handler.lua, `balancer_execute`).
fn unresolved(exchange: &Exchange, name: &str, failure: &Failure) -> Box<Answer> {
    if failure.is_of_name() {
        return refuse(exchange, "name resolution failed");
    }
    let why = &failure.text;
    let text = format!("failed the initial dns/balancer resolve for '{name}' with: {why}");
    answer::error(exchange, StatusCode::INTERNAL_SERVER_ERROR, Some(&text))
}

fn note_unresolved(name: &str, failure: &Failure) {
    let text = format!("DNS resolution of {name} failed: {}", failure.text);
    silverback_pdk::log(LogLevel::Err, "", &text);
}

fn refuse(exchange: &Exchange, text: &str) -> Box<Answer> {
    answer::error(exchange, StatusCode::SERVICE_UNAVAILABLE, Some(text))
}
