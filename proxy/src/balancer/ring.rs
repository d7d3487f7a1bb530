//! The addresses of an upstream in the order of its algorithm. A ring never changes: where DNS or
//! the configuration do, another takes its place. Choosing takes no lock and no memory.

mod continuum;
mod wheel;

use std::{cell::Cell, sync::atomic::Ordering::Relaxed};

pub(crate) use self::continuum::hash;
use self::continuum::{Continuum, Point};
use super::address::{Address, Latency};

/// The addresses of an upstream, and how one of them is chosen.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) addresses: Box<[Address]>,
    order: Order,
}

/// How one is chosen (`algorithm` of the upstream).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    RoundRobin,
    ConsistentHashing,
    LeastConnections,
    Latency,
}

#[derive(Debug)]
enum Order {
    /// By turns.
    Turns(Box<[u32]>),
    /// By what is hashed.
    Hash(Continuum),
    /// By who has the fewest requests for its weight.
    Least,
    /// By who answers quickest for its weight: for each address the logarithm of that.
    Quickest(Box<[f64]>),
}

impl Ring {
    /// `targets` are the hosts and ports of the upstream's targets, those without weight included;
    /// `slots` is the upstream's.
    pub(crate) fn new(
        algorithm: Algorithm,
        targets: &[(&str, u16)],
        slots: u32,
        addresses: Vec<Address>,
    ) -> Ring {
        let weights = || addresses.iter().map(|address| address.weight);
        let order = match algorithm {
            Algorithm::RoundRobin => Order::Turns(wheel::wheel(&weights().collect::<Vec<_>>())),
            Algorithm::ConsistentHashing => {
                let points = (0..).zip(&addresses).map(|(number, address)| Point {
                    number,
                    target: targets.get(address.target as usize).copied().unwrap_or_default(),
                    ip: &address.shown,
                    port: address.port,
                    weight: address.weight,
                });
                Order::Hash(Continuum::new(points.collect(), slots, targets.len()))
            }
            Algorithm::LeastConnections => Order::Least,
            Algorithm::Latency => {
                slow_start(&addresses);
                Order::Quickest(weights().map(|weight| f64::from(weight).ln()).collect())
            }
        };
        Ring { addresses: addresses.into(), order }
    }

    /// Whether something of the request is hashed.
    pub(crate) fn hashes(&self) -> bool {
        matches!(self.order, Order::Hash(_))
    }

    /// Whether requests under way are counted.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.order, Order::Least)
    }

    /// Whether it is measured how long answers take.
    pub(crate) fn measures(&self) -> bool {
        matches!(self.order, Order::Quickest(_))
    }

    /// The address for a request: its number. `cursor` is where the worker is in its turns, `hash`
    /// what the request hashes to, `tried` those that have failed it: they are left out where the
    /// algorithm allows it.
    pub(crate) fn choose(&self, cursor: &Cell<u32>, hash: u32, tried: &[u32]) -> Option<u32> {
        let fresh = |number: &u32| tried.is_empty() || !tried.contains(number);
        match &self.order {
            Order::Turns(turns) => self.next_turn(turns, cursor, fresh).or_else(|| {
                if tried.is_empty() { None } else { self.next_turn(turns, cursor, |_| true) }
            }),
            Order::Hash(continuum) => {
                let mut last = None;
                continuum.owners_from(continuum.point(hash)).find(|number| {
                    // Neighbours have the same owner more often than not.
                    last.replace(*number) != Some(*number) && self.is_available(*number)
                })
            }
            Order::Least => self
                .least(cursor, fresh)
                .or_else(|| if tried.is_empty() { None } else { self.least(cursor, |_| true) }),
            Order::Quickest(weights) => self.quickest(weights, cursor, fresh),
        }
    }

    #[inline]
    fn is_available(&self, number: u32) -> bool {
        self.addresses.get(number as usize).is_some_and(Address::is_available)
    }

    fn next_turn(
        &self,
        turns: &[u32],
        cursor: &Cell<u32>,
        fresh: impl Fn(&u32) -> bool,
    ) -> Option<u32> {
        let from = (cursor.get() as usize).checked_rem(turns.len())?;
        let around = turns[from..].iter().chain(&turns[..from]);
        let mut passed = 0;
        let found = around.inspect(|_| passed += 1).find(|n| self.is_available(**n) && fresh(n));
        cursor.set(((from + passed) % turns.len()) as u32);
        found.copied()
    }

    /// Those that can be chosen, from another one on each time, so that equals take turns.
    fn candidates(
        &self,
        cursor: &Cell<u32>,
        fresh: impl Fn(&u32) -> bool,
    ) -> impl Iterator<Item = (u32, &Address)> {
        let from = (cursor.get() as usize).checked_rem(self.addresses.len()).unwrap_or(0);
        cursor.set(from as u32 + 1);
        let (before, after) = self.addresses.split_at(from);
        let after = (from as u32..).zip(after);
        let able = |address: &Address| address.weight > 0 && address.is_available();
        after.chain((0..).zip(before)).filter(move |(number, a)| able(a) && fresh(number))
    }

    fn least(&self, cursor: &Cell<u32>, fresh: impl Fn(&u32) -> bool) -> Option<u32> {
        let load = |address: &Address| {
            // One more than there are: of the idle, the heaviest comes first.
            let load = u64::from(address.state.connections.load(Relaxed)) + 1;
            (load, u64::from(address.weight))
        };
        let loads = self.candidates(cursor, fresh).map(|(number, a)| (number, load(a)));
        let smaller = |a: (u64, u64), b: (u64, u64)| a.0 * b.1 < b.0 * a.1;
        let best = loads.reduce(|best, one| if smaller(one.1, best.1) { one } else { best });
        best.map(|(number, _)| number)
    }

    fn quickest(
        &self,
        weights: &[f64],
        cursor: &Cell<u32>,
        fresh: impl Fn(&u32) -> bool,
    ) -> Option<u32> {
        let score = |number: u32, address: &Address| {
            let weight = weights.get(number as usize).copied().unwrap_or_default();
            address.state.latency.score() - weight
        };
        let scores = self.candidates(cursor, fresh).map(|(n, a)| (n, score(n, a)));
        let best = scores.reduce(|best, one| if one.1 < best.1 { one } else { best });
        best.map(|(number, _)| number)
    }
}

/// A new address begins with the mean of the known ones.
fn slow_start(addresses: &[Address]) {
    let of = |address: &'_ Address| -> f64 { address.state.latency.score() };
    let known = addresses.iter().filter(|a| a.is_available() && of(a) > f64::NEG_INFINITY);
    let known: Vec<&Latency> = known.map(|a| &a.state.latency).collect();
    if !known.is_empty() {
        addresses.iter().for_each(|address| address.state.latency.begin_like(&known));
    }
}

#[cfg(test)]
mod tests;
