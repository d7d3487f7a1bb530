//! An upstream with its targets, as all workers see them: the ring of now, and its health.

use std::{
    borrow::Cow,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;
use silverback_model::{
    Entity,
    entities::{Target as TargetEntity, Upstream},
};
use silverback_pdk::LogLevel;

use super::{
    address::{Address, State},
    place::literal,
    ring::{Algorithm, Ring},
    rules::Rules,
    vitals::Sign,
};

/// An upstream with its targets. It lives as long as neither changes; what is known of addresses
/// outlives it.
pub struct Balancer {
    pub(crate) entity: Arc<Entity<Upstream>>,
    pub(crate) targets: Box<[Target]>,
    /// The ring of now; workers keep it until it is replaced.
    pub(crate) ring: Arc<ArcSwap<Ring>>,
    /// Whether enough of it is available (`healthchecks.threshold`).
    healthy: AtomicBool,
    pub(crate) rules: Rules,
    /// How targets are asked with TLS; none where they are not.
    pub(crate) probe_tls: ArcSwapOption<ClientConfig>,
    /// Where the addresses of each target come from: a type of record, or what went wrong.
    sources: Mutex<Vec<Cow<'static, str>>>,
    /// Rings are replaced, and the health of the whole is told, one after the other.
    changing: Mutex<()>,
}

/// A target as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// A name or an address, IPv6 in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) weight: u16,
}

/// What an address is known by from one ring to the next: its target, and itself.
type Key<'a> = (&'a str, u16, &'a str, u16);

impl Balancer {
    /// Balances an upstream. What `before`, which balanced it until now, knows of addresses that
    /// stay is kept.
    pub(crate) fn new(
        entity: Arc<Entity<Upstream>>,
        targets: Vec<Target>,
        before: Option<&Balancer>,
    ) -> Balancer {
        let rules = Rules::of(&entity.healthchecks);
        let balancer = Balancer {
            rules,
            ring: Arc::new(ArcSwap::from_pointee(Ring::new(
                Algorithm::LeastConnections,
                &[],
                0,
                Vec::new(),
            ))),
            healthy: AtomicBool::new(false),
            sources: Mutex::new(targets.iter().map(source).collect()),
            probe_tls: ArcSwapOption::empty(),
            changing: Mutex::new(()),
            targets: targets.into(),
            entity,
        };
        let ring = before.map(|before| before.ring.load_full());
        let addresses = balancer.addresses_like(before.zip(ring.as_deref()));
        balancer.put(addresses, before.zip(ring.as_deref()));
        balancer
    }

    /// Whether this is what a configuration asks for.
    pub(crate) fn is_for(&self, entity: &Arc<Entity<Upstream>>, targets: &[Target]) -> bool {
        (Arc::ptr_eq(&self.entity, entity) || self.entity.record() == entity.record())
            && *self.targets == *targets
    }

    /// What targets stand for as far as `before` knew it. Other names stand for themselves until
    /// they are resolved: workers resolve them then.
    fn addresses_like(&self, before: Option<(&Balancer, &Ring)>) -> Vec<Address> {
        let mut known: HashMap<(&str, u16), Vec<&Address>> = HashMap::new();
        if let Some((balancer, ring)) = before {
            for address in &ring.addresses {
                let Some(target) = balancer.targets.get(address.target as usize) else { continue };
                known.entry((&target.host, target.port)).or_default().push(address);
            }
        }
        let mut addresses = Vec::new();
        for (number, target) in (0..).zip(&self.targets) {
            let weight = target.weight.into();
            match known.get(&(&*target.host, target.port)) {
                Some(same) => addresses.extend(same.iter().map(|address| Address {
                    target: number,
                    weight,
                    ..(*address).clone()
                })),
                None => {
                    let (host, port) = (&target.host, target.port);
                    addresses.push(Address::new(number, host, host, port, weight));
                }
            }
        }
        addresses
    }

    /// Where the addresses of a target come from, in Kong's words.
    pub(crate) fn source(&self, target: u32) -> Cow<'static, str> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(target as usize).cloned().unwrap_or_default()
    }

    fn key<'a>(&'a self, address: &'a Address) -> Key<'a> {
        let target = self.targets.get(address.target as usize);
        let (host, port) = target.map_or(("", 0), |target| (&*target.host, target.port));
        (host, port, &address.shown, address.port)
    }

    /// Puts other addresses in the place of those that a target stands for now, unless they are
    /// the same. `source` is where they come from, in Kong's words.
    pub(crate) fn resolved(&self, target: u32, addresses: Vec<Address>, source: &str) {
        let _one_at_a_time = self.lock();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = sources.get_mut(target as usize).filter(|own| **own != source) {
            *own = Cow::Owned(source.to_owned());
        }
        let ring = self.ring.load_full();
        let own = ring.addresses.iter().filter(|address| address.target == target);
        let known = |a: &Address| (a.shown.clone(), a.port, a.weight, a.host.clone());
        if own.map(known).eq(addresses.iter().map(known)) {
            return;
        }
        let others = ring.addresses.iter().filter(|address| address.target != target).cloned();
        let mut all: Vec<Address> = others.chain(addresses).collect();
        all.sort_by_key(|address| address.target);
        self.put(all, Some((self, &ring)));
    }

    /// Takes over what another balancer of the same upstream knows of addresses that are here, too.
    pub(crate) fn adopt(&self, other: &Balancer) {
        let _one_at_a_time = self.lock();
        let ring = other.ring.load_full();
        let known = Some((other, &*ring));
        self.put(self.addresses_like(known), known);
    }

    /// Whether a target is a name.
    pub(crate) fn has_names(&self) -> bool {
        self.targets.iter().any(Target::is_name)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a ring of these in the place of the one of now; what `before` knows of them is kept.
    fn put(&self, mut addresses: Vec<Address>, before: Option<(&Balancer, &Ring)>) {
        if let Some((balancer, ring)) = before {
            let known: HashMap<Key<'_>, &Arc<State>> =
                ring.addresses.iter().map(|known| (balancer.key(known), &known.state)).collect();
            for address in &mut addresses {
                let state = known.get(&self.key(address)).copied();
                // Where nothing is checked any more, nothing stays marked.
                let keeps = |state: &&Arc<State>| self.rules.is_on() || state.vitals.is_available();
                address.state = state.filter(keeps).cloned().unwrap_or_default();
            }
        }
        let targets: Vec<_> = self.targets.iter().map(|t| (&*t.host, t.port)).collect();
        let slots = self.entity.slots.unwrap_or(10_000);
        let ring = Ring::new(self.algorithm(), &targets, slots, addresses);
        self.healthy.store(self.is_enough(&ring), Relaxed);
        self.ring.store(Arc::new(ring));
    }

    fn algorithm(&self) -> Algorithm {
        match self.entity.algorithm.as_deref() {
            Some("consistent-hashing") => Algorithm::ConsistentHashing,
            Some("least-connections") => Algorithm::LeastConnections,
            Some("latency") => Algorithm::Latency,
            _ => Algorithm::RoundRobin,
        }
    }

    /// Whether it gets requests at all.
    #[inline]
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    /// More than the threshold of the weight has to be available
    /// (kong/runloop/balancer/balancers.lua, `updateStatus`).
    fn is_enough(&self, ring: &Ring) -> bool {
        let weight = |of: &dyn Fn(&Address) -> bool| -> u64 {
            ring.addresses.iter().filter(|a| of(a)).map(|a| u64::from(a.weight)).sum()
        };
        let (total, available) = (weight(&|_| true), weight(&Address::is_available));
        let threshold = self.entity.healthchecks.threshold.unwrap_or(0.0);
        total > 0 && available as f64 / total as f64 * 100.0 > threshold
    }

    /// Counts what was seen of an address, in traffic or by asking it.
    pub(crate) fn count(&self, address: &Address, sign: Sign, limit: u8) {
        if let Some(available) = address.state.vitals.count(sign, limit) {
            self.turned(address, available, &format!("{sign:?} × {limit}"));
        }
    }

    /// Says how an address is, whatever was counted.
    pub(crate) fn set(&self, address: &Address, healthy: bool) {
        if address.state.vitals.set(healthy) {
            self.turned(address, healthy, "by the Admin API");
        }
    }

    fn turned(&self, address: &Address, available: bool, why: &str) {
        let _one_at_a_time = self.lock();
        let enough = self.is_enough(&self.ring.load());
        let was = self.healthy.swap(enough, Relaxed);
        let (name, shown, port) = (&self.entity.name, &address.shown, address.port);
        let word = |healthy| if healthy { "healthy" } else { "unhealthy" };
        let text = format!("upstream {name}: {shown}:{port} is {} ({why})", word(available));
        silverback_pdk::log(LogLevel::Warn, "", &text);
        if was != enough {
            let text = format!("upstream {name} is {}", word(enough));
            silverback_pdk::log(LogLevel::Warn, "", &text);
        }
    }
}

impl Target {
    /// Whether it is a name, which stands for whatever DNS says.
    pub(crate) fn is_name(&self) -> bool {
        literal(&self.host).is_none()
    }

    /// Reads a target entity; none where it is no target.
    pub(crate) fn of(entity: &TargetEntity) -> Option<Target> {
        let (host, port) = TargetEntity::place(&entity.target)?;
        Some(Target { host, port, weight: entity.weight.unwrap_or(100) })
    }
}

/// Where an address of a target comes from before a name server was asked.
fn source(target: &Target) -> Cow<'static, str> {
    Cow::Borrowed(match literal(&target.host) {
        Some(IpAddr::V4(_)) => "A",
        Some(IpAddr::V6(_)) => "AAAA",
        None => "unknown",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use silverback_model::Record;

    use super::*;

    fn balancer(hosts: &[&str], threshold: f64, before: Option<&Balancer>) -> Balancer {
        let fields = json!({
            "id": "00000000-0000-4000-8000-000000000001",
            "name": "a.up",
            "healthchecks": {
                "threshold": threshold,
                "passive": {"unhealthy": {"tcp_failures": 1}, "healthy": {"successes": 0}},
            },
        });
        let fields: Record = serde_json::from_value(fields).expect("fields");
        let entity = Arc::new(Entity::new(Arc::new(fields)).expect("an upstream"));
        let target = |host: &&str| Target { host: (*host).to_owned(), port: 80, weight: 100 };
        Balancer::new(entity, hosts.iter().map(target).collect(), before)
    }

    fn fail(balancer: &Balancer, number: usize) {
        balancer.count(&balancer.ring.load().addresses[number], Sign::TcpFailure, 1);
    }

    #[test]
    fn more_than_the_threshold_has_to_be_there() {
        let check = |threshold, expect: &str| {
            let balancer =
                balancer(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], threshold, None);
            let mut seen = String::new();
            for number in 0..4 {
                seen.push(if balancer.is_healthy() { '+' } else { '-' });
                fail(&balancer, number);
            }
            seen.push(if balancer.is_healthy() { '+' } else { '-' });
            assert_eq!(seen, expect);
        };
        check(0.0, "++++-");
        check(25.0, "+++--");
        check(50.0, "++---");
        check(100.0, "-----");
    }

    #[test]
    fn what_is_known_survives_edits() {
        let first = balancer(&["10.0.0.1", "10.0.0.2"], 0.0, None);
        fail(&first, 1);
        let second = balancer(&["10.0.0.2", "10.0.0.3"], 0.0, Some(&first));
        let up: Vec<bool> =
            second.ring.load().addresses.iter().map(Address::is_available).collect();
        assert_eq!(up, [false, true]);
        // Both count on: a request that began before the edit reports to the first.
        first.set(&first.ring.load().addresses[1], true);
        assert!(second.ring.load().addresses[0].is_available());
    }
}
