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
    /// By who has the fewest requests for its weight; the greatest weight there is.
    Least(u32),
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
            Algorithm::LeastConnections => Order::Least(weights().max().unwrap_or(0)),
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
        matches!(self.order, Order::Least(_))
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
            Order::Least(heaviest) => self.least(*heaviest, cursor, fresh).or_else(|| {
                if tried.is_empty() { None } else { self.least(*heaviest, cursor, |_| true) }
            }),
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

    /// Those that can be chosen, from another one on each time, so that equals take turns. `better`
    /// says whether one is better than the best so far, and whether there can be no better.
    #[inline]
    fn best<T: Copy>(
        &self,
        cursor: &Cell<u32>,
        fresh: impl Fn(&u32) -> bool,
        measure: impl Fn(u32, &Address) -> T,
        better: impl Fn(T, Option<T>) -> (bool, bool),
    ) -> Option<u32> {
        let from = (cursor.get() as usize).checked_rem(self.addresses.len())?;
        cursor.set(from as u32 + 1);
        let (before, after) = self.addresses.split_at(from);
        let mut best = None;
        for (first, part) in [(from as u32, after), (0, before)] {
            for (number, address) in (first..).zip(part) {
                if address.weight == 0 || !address.is_available() || !fresh(&number) {
                    continue;
                }
                let measured = measure(number, address);
                let (is_better, is_best) = better(measured, best.map(|(_, measured)| measured));
                if is_better {
                    best = Some((number, measured));
                }
                if is_best {
                    return Some(number);
                }
            }
        }
        best.map(|(number, _)| number)
    }

    fn least(
        &self,
        heaviest: u32,
        cursor: &Cell<u32>,
        fresh: impl Fn(&u32) -> bool,
    ) -> Option<u32> {
        // One more than there are: of the idle, the heaviest comes first.
        let load = |_, address: &Address| {
            (address.state.connections.load(Relaxed).saturating_add(1), address.weight)
        };
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        let better = |one: (u32, u32), best: Option<(u32, u32)>| {
            let smaller = |best: (u32, u32)| product(one.0, best.1) < product(best.0, one.1);
            (best.is_none_or(smaller), one == (1, heaviest))
        };
        self.best(cursor, fresh, load, better)
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
        let better = |one: f64, best: Option<f64>| {
            (best.is_none_or(|best| one < best), one == f64::NEG_INFINITY)
        };
        self.best(cursor, fresh, score, better)
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
