//! Which server a request goes to: the address of a service, or one of an upstream's targets.
//!
//! A worker keeps its own turn for each upstream, so that none of it is shared. Algorithms beside
//! round-robin will stand beside [`RoundRobin`].

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use http::{HeaderValue, StatusCode};
use silverback_pdk::{Answer, Exchange, Scheme, Target};

use crate::{
    answer, forward,
    lifecycle::Work,
    pool::TlsKey,
    snapshot::{CompiledUpstream, Snapshot},
};

/// A host and a port, as far as they are known before the name is resolved.
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    ip: Option<IpAddr>,
    /// `host:port`, for either scheme.
    header: [OnceCell<HeaderValue>; 2],
}

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
    Upstream(Rc<RoundRobin>),
}

/// The places of a snapshot as one worker sees them, filled in as they are needed.
pub(crate) struct Balancers {
    services: Vec<OnceCell<Rc<Place>>>,
    upstreams: Vec<OnceCell<Rc<RoundRobin>>>,
    tls: RefCell<HashMap<TlsWanted, Rc<TlsKey>>>,
}

/// How TLS to a service is asked for: the service, whether a plugin says to verify, the Host.
pub(crate) type TlsWanted = (u32, Option<bool>, HeaderValue);

/// How many keys are kept: with preserve_host, clients choose the Host.
const TLS_KEYS_MAX: usize = 1024;

impl Balancers {
    pub(crate) fn of(snapshot: &Snapshot) -> Balancers {
        Balancers {
            services: snapshot.services.iter().map(|_| OnceCell::new()).collect(),
            upstreams: snapshot.upstreams.iter().map(|_| OnceCell::new()).collect(),
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
        let compiled = snapshot.upstreams.get(upstream as usize)?;
        let cell = self.upstreams.get(upstream as usize)?;
        Some(Aim::Upstream(cell.get_or_init(|| Rc::new(RoundRobin::of(compiled))).clone()))
    }

    fn service(&self, snapshot: &Snapshot, service: u32) -> Option<Aim> {
        let compiled = snapshot.services.get(service as usize)?;
        if let Some(upstream) = compiled.upstream {
            return self.upstream(snapshot, upstream);
        }
        let cell = self.services.get(service as usize)?;
        let new = || Rc::new(Place::new(&compiled.entity.host, compiled.entity.port));
        Some(Aim::Place(cell.get_or_init(new).clone()))
    }
}

/// Where the request goes: where a plugin says, or else its service.
///
/// # Errors
/// 503 where there is no service.
pub(crate) fn aim(work: &Work) -> Result<Aim, Box<Answer>> {
    let live = &work.live;
    let exchange = &work.exchange;
    let no_service = || refuse(exchange, "no Service found with those values");
    let route = exchange.matched.as_ref().map(|m| m.route);
    let service = route.and_then(|r| live.snapshot.route(r)?.service).ok_or_else(no_service)?;
    let found = match &exchange.upstream.target {
        None => live.balancers.service(&live.snapshot, service),
        Some(Target::Address { host, port }) => {
            match live.snapshot.upstream_names.get(host.as_str()) {
                Some(upstream) => live.balancers.upstream(&live.snapshot, *upstream),
                None => Some(Aim::Place(Rc::new(Place::new(host, *port)))),
            }
        }
        Some(Target::Upstream(name)) => live
            .snapshot
            .upstream_names
            .get(name.as_str())
            .and_then(|upstream| live.balancers.upstream(&live.snapshot, *upstream)),
    };
    found.ok_or_else(no_service)
}

/// The server for the next try.
///
/// # Errors
/// 503 where there is none.
pub(crate) async fn choose(work: &Work, aim: &Aim) -> Result<Peer, Box<Answer>> {
    let scheme = work.exchange.upstream.scheme;
    let no_peer = || refuse(&work.exchange, "failure to get a peer from the ring-balancer");
    let (place, header) = match aim {
        Aim::Place(place) => (&**place, None),
        Aim::Upstream(ring) => {
            let place = ring.next().ok_or_else(no_peer)?;
            (place, ring.host_header.as_ref())
        }
    };
    let ip = match place.ip {
        Some(ip) => Some(ip),
        None => work.worker.dns.resolve(&place.host).await,
    };
    let Some(ip) = ip else {
        let text = format!("the name {} has no address", place.host);
        silverback_pdk::log(silverback_pdk::LogLevel::Err, "", &text);
        return Err(refuse(&work.exchange, "name resolution failed"));
    };
    let host = match header {
        Some(host) => host_header(host, place.port, scheme),
        None => place.header(scheme),
    };
    Ok(Peer { address: SocketAddr::new(ip, place.port), host })
}

fn refuse(exchange: &Exchange, text: &str) -> Box<Answer> {
    answer::error(exchange, StatusCode::SERVICE_UNAVAILABLE, Some(text))
}

impl Place {
    pub(crate) fn new(host: &str, port: u16) -> Place {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        Place { host: host.to_owned(), port, ip: bare.parse().ok(), header: Default::default() }
    }

    fn header(&self, scheme: Scheme) -> HeaderValue {
        let [http, https] = &self.header;
        let cell = match scheme {
            Scheme::Http => http,
            Scheme::Https => https,
        };
        let write = || match self.ip {
            Some(IpAddr::V6(ip)) => host_header(&format!("[{ip}]"), self.port, scheme),
            _ => host_header(&self.host, self.port, scheme),
        };
        cell.get_or_init(write).clone()
    }
}

/// The port is left out where the scheme says it (kong/runloop/balancer/init.lua,
/// `set_host_header`).
fn host_header(host: &str, port: u16, scheme: Scheme) -> HeaderValue {
    if port == scheme.default_port() {
        forward::value(host.as_bytes())
    } else {
        forward::value(format!("{host}:{port}").as_bytes())
    }
}

/// Targets by turns, each as often as its weight says, evenly spread: nginx's smooth weighted
/// round-robin.
pub(crate) struct RoundRobin {
    places: Vec<Place>,
    turns: RefCell<Vec<Turn>>,
    /// The upstream's `host_header`.
    host_header: Option<String>,
}

struct Turn {
    weight: i64,
    current: i64,
}

impl RoundRobin {
    fn of(upstream: &CompiledUpstream) -> RoundRobin {
        let turn = |weight: u16| Turn { weight: weight.into(), current: 0 };
        RoundRobin {
            places: upstream.targets.iter().map(|t| Place::new(&t.host, t.port)).collect(),
            turns: RefCell::new(upstream.targets.iter().map(|t| turn(t.weight)).collect()),
            host_header: upstream.entity.host_header.clone(),
        }
    }

    fn next(&self) -> Option<&Place> {
        let mut turns = self.turns.borrow_mut();
        let total: i64 = turns.iter().map(|turn| turn.weight).sum();
        for turn in turns.iter_mut() {
            turn.current += turn.weight;
        }
        // Of equals the first: max_by_key would take the last.
        let (at, turn) = turns
            .iter_mut()
            .enumerate()
            .reduce(|best, one| if one.1.current > best.1.current { one } else { best })?;
        turn.current -= total;
        self.places.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_turns_by_weight() {
        let turn = |weight| Turn { weight, current: 0 };
        let ring = RoundRobin {
            places: vec![Place::new("a", 1), Place::new("b", 1)],
            turns: RefCell::new(vec![turn(3), turn(1)]),
            host_header: None,
        };
        let order: String = (0..8).filter_map(|_| Some(ring.next()?.host.as_str())).collect();
        assert_eq!(order, "aabaaaba");
    }

    #[test]
    fn the_port_goes_without_saying() {
        let check = |host: &str, port, scheme, expect: &str| {
            assert_eq!(Place::new(host, port).header(scheme), expect);
        };
        check("a.test", 80, Scheme::Http, "a.test");
        check("a.test", 80, Scheme::Https, "a.test:80");
        check("a.test", 443, Scheme::Https, "a.test");
        check("::1", 9800, Scheme::Http, "[::1]:9800");
    }
}
