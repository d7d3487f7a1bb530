//! An upstream as one worker sees it: its own turn, and what it keeps of the ring of now.

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, RandomState},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use arc_swap::{ArcSwap, Cache};
use http::{HeaderValue, StatusCode};
use silverback_model::entities::Upstream;
use silverback_pdk::Scheme;

use super::{
    address::Address,
    place::{HostHeader, host_header},
    ring::Ring,
    shared::Balancer,
    vitals::Sign,
};

/// An upstream as one worker sees it.
pub(crate) struct Turn {
    balancer: Arc<Balancer>,
    rings: RefCell<Cache<Arc<ArcSwap<Ring>>, Arc<Ring>>>,
    held: RefCell<Rc<Held>>,
    cursor: Cell<u32>,
}

/// A ring with what a worker writes for its addresses. Requests count on this, not on the ring,
/// which all workers would count on.
struct Held {
    ring: Arc<Ring>,
    headers: Box<[HostHeader]>,
}

impl Held {
    fn of(ring: &Arc<Ring>) -> Rc<Held> {
        let headers = ring.addresses.iter().map(|_| HostHeader::default()).collect();
        Rc::new(Held { ring: ring.clone(), headers })
    }
}

impl Turn {
    pub(crate) fn of(balancer: &Arc<Balancer>) -> Turn {
        let mut rings = Cache::new(balancer.ring.clone());
        let held = Held::of(rings.load());
        // Workers begin anywhere, lest all begin with the first target.
        #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
        let cursor = RandomState::new().hash_one(0) as u32;
        Turn {
            balancer: balancer.clone(),
            rings: RefCell::new(rings),
            held: RefCell::new(held),
            cursor: Cell::new(cursor),
        }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.balancer.entity
    }

    /// The ring of now.
    pub(crate) fn ring(&self) -> Arc<Ring> {
        self.held().ring.clone()
    }

    fn held(&self) -> Rc<Held> {
        let mut rings = self.rings.borrow_mut();
        let newest = rings.load();
        let mut held = self.held.borrow_mut();
        if !Arc::ptr_eq(newest, &held.ring) {
            *held = Held::of(newest);
        }
        held.clone()
    }

    /// An address for a request; none where none can be asked.
    pub(crate) fn choose(self: &Rc<Turn>, hash: u32, tried: &[u32]) -> Option<Chosen> {
        if !self.balancer.is_healthy() {
            return None;
        }
        let held = self.held();
        let number = held.ring.choose(&self.cursor, hash, tried)?;
        if held.ring.counts() {
            let address = held.ring.addresses.get(number as usize)?;
            address.state.connections.fetch_add(1, Relaxed);
        }
        Some(Chosen { turn: self.clone(), held, number, began: Instant::now(), answered: false })
    }
}

/// An address that serves a request, until this is dropped.
pub(crate) struct Chosen {
    turn: Rc<Turn>,
    held: Rc<Held>,
    number: u32,
    began: Instant,
    answered: bool,
}

impl Chosen {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn address(&self) -> &Address {
        // It was chosen out of these.
        &self.held.ring.addresses[self.number as usize]
    }

    /// The Host header that the address gets: the upstream's `host_header`, or its own.
    pub(crate) fn host_header(&self, scheme: Scheme) -> HeaderValue {
        let address = self.address();
        let host = self.turn.upstream().host_header.as_deref().unwrap_or(&address.host);
        let write = || host_header(host, address.port, scheme);
        self.held.headers.get(self.number as usize).map_or_else(write, |h| h.get(scheme, write))
    }

    /// It has answered: passive checks look at the status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.answered = true;
        let balancer = &self.turn.balancer;
        if let Some(limits) = balancer.rules.passive()
            && let Some(sign) = limits.sign(status.as_u16())
        {
            balancer.count(self.address(), sign, limits.limit(sign));
        }
    }

    /// It could not be asked, or has not answered, and `status` is what that gives.
    ///
    /// Kong counts the last of a request's tries by its status alone, so that without retries
    /// `tcp_failures` would count nothing. Here each try that fails counts.
    pub(crate) fn failed(&self, status: StatusCode) {
        let balancer = &self.turn.balancer;
        let Some(limits) = balancer.rules.passive() else { return };
        let timeout = status == StatusCode::GATEWAY_TIMEOUT;
        let sign = if timeout { Sign::Timeout } else { Sign::TcpFailure };
        balancer.count(self.address(), sign, limits.limit(sign));
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        let ring = &self.held.ring;
        let Some(address) = ring.addresses.get(self.number as usize) else { return };
        if ring.counts() {
            address.state.connections.fetch_sub(1, Relaxed);
        }
        if self.answered && ring.measures() {
            address.state.latency.measure(self.began.elapsed());
        }
    }
}
