//! What each algorithm makes of weights, failures and retries.

use std::{cell::Cell, time::Duration};

use super::*;
use crate::balancer::vitals::Sign;

fn ring(algorithm: Algorithm, weights: &[u32]) -> Ring {
    let hosts: Vec<String> =
        (0..weights.len()).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
    let targets: Vec<_> = hosts.iter().map(|host| (host.as_str(), 80)).collect();
    let address = |((number, host), weight): ((u32, &String), &u32)| {
        Address::new(number, host, host, 80, *weight)
    };
    let addresses = (0..).zip(&hosts).zip(weights).map(address).collect();
    Ring::new(algorithm, &targets, 10_000, addresses)
}

impl Ring {
    fn fail(&self, number: u32) {
        self.addresses[number as usize].state.vitals.count(Sign::TcpFailure, 1);
    }

    /// How often each is chosen, with other hashes each time.
    fn counts_of(&self, requests: u32) -> Vec<u32> {
        let cursor = Cell::new(0);
        let mut counts = vec![0; self.addresses.len()];
        for request in 0..requests {
            let hash = hash(request.to_string().as_bytes());
            counts[self.choose(&cursor, hash, &[]).expect("an address") as usize] += 1;
        }
        counts
    }
}

const ALL: [Algorithm; 4] = [
    Algorithm::RoundRobin,
    Algorithm::ConsistentHashing,
    Algorithm::LeastConnections,
    Algorithm::Latency,
];

#[test]
fn turns_are_taken_by_weight() {
    let check = |weights: &[u32], requests, expect: &[u32]| {
        assert_eq!(ring(Algorithm::RoundRobin, weights).counts_of(requests), expect);
    };
    check(&[100, 100], 10, &[5, 5]);
    check(&[300, 0, 100], 400, &[300, 0, 100]);
    check(&[7, 11, 13], 31, &[7, 11, 13]);
}

/// Generated weights: after any number of requests nobody is further from its share than one
/// request for each other address.
#[test]
fn turns_stay_close_to_their_shares() {
    let mut seed = 42_u32;
    let mut random = |below: u32| {
        seed = hash(&seed.to_le_bytes());
        seed % below
    };
    for _ in 0..200 {
        let weights: Vec<u32> = (0..=random(12)).map(|_| 1 + random(200)).collect();
        let total: u32 = weights.iter().sum();
        let requests = 1 + random(3000);
        let counts = ring(Algorithm::RoundRobin, &weights).counts_of(requests);
        for (count, weight) in counts.iter().zip(&weights) {
            let share = f64::from(requests) * f64::from(*weight) / f64::from(total);
            let off = (f64::from(*count) - share).abs();
            assert!(off <= 1.0 + weights.len() as f64 / 2.0, "{weights:?} {counts:?} {share}");
        }
    }
}

#[test]
fn who_fails_gets_nothing() {
    for algorithm in ALL {
        let ring = ring(algorithm, &[100, 100, 100, 0]);
        ring.fail(1);
        let counts = ring.counts_of(300);
        assert_eq!((counts[1], counts[3]), (0, 0), "{algorithm:?}");
        assert!(counts[0] > 0 && counts[2] > 0, "{algorithm:?} {counts:?}");
        (0..3).for_each(|number| ring.fail(number));
        assert_eq!(ring.choose(&Cell::new(7), 7, &[]), None, "{algorithm:?}");
    }
}

#[test]
fn another_try_goes_elsewhere() {
    for algorithm in ALL {
        let ring = ring(algorithm, &[1000, 1]);
        let cursor = Cell::new(0);
        let first = ring.choose(&cursor, 99, &[]).expect("an address");
        let second = ring.choose(&cursor, 99, &[first]);
        // What is hashed stays where it is until the address is marked.
        let expect = if ring.hashes() { first } else { 1 - first };
        assert_eq!(second, Some(expect), "{algorithm:?}");
        let third = ring.choose(&cursor, 99, &[0, 1]);
        assert_eq!(third.is_some(), algorithm != Algorithm::Latency, "{algorithm:?}");
    }
}

#[test]
fn nobody_is_chosen_where_there_is_nobody() {
    for algorithm in ALL {
        assert_eq!(ring(algorithm, &[]).choose(&Cell::new(3), 1, &[]), None, "{algorithm:?}");
        assert_eq!(ring(algorithm, &[0]).choose(&Cell::new(3), 1, &[]), None, "{algorithm:?}");
    }
}

#[test]
fn the_least_busy_is_chosen() {
    let ring = ring(Algorithm::LeastConnections, &[100, 300]);
    let cursor = Cell::new(0);
    let take = || {
        let number = ring.choose(&cursor, 0, &[]).expect("an address");
        ring.addresses[number as usize].state.connections.fetch_add(1, Relaxed);
        number
    };
    let taken: Vec<u32> = (0..8).map(|_| take()).collect();
    assert_eq!(taken.iter().filter(|number| **number == 1).count(), 6, "{taken:?}");
    assert_eq!(taken[0], 1);
}

#[test]
fn the_quickest_is_chosen() {
    let ring = ring(Algorithm::Latency, &[100, 100, 300]);
    for (address, took) in ring.addresses.iter().zip([20, 50, 90]) {
        address.state.latency.measure(Duration::from_millis(took));
    }
    let cursor = Cell::new(0);
    assert_eq!(ring.choose(&cursor, 0, &[]), Some(0));
    // 90 ms for three times the weight count as 30.
    assert_eq!(ring.choose(&cursor, 0, &[0]), Some(2));
    assert_eq!(ring.choose(&cursor, 0, &[0, 2]), Some(1));
}

/// Prints nanoseconds for each choice: `cargo test --release -p silverback-proxy -- --ignored
/// --nocapture nanoseconds`.
#[test]
#[ignore = "a measurement"]
fn nanoseconds_for_each_choice() {
    for targets in [10, 1000] {
        for algorithm in ALL {
            let ring = ring(algorithm, &vec![100; targets]);
            for address in &ring.addresses {
                address.state.latency.measure(Duration::from_millis(5));
                // All are busy: nobody is the best before the others were looked at.
                address.state.connections.store(3, Relaxed);
            }
            let cursor = Cell::new(0);
            let began = std::time::Instant::now();
            let choices = 1_000_000_u32;
            for choice in 0..choices {
                let chosen = ring.choose(&cursor, choice.wrapping_mul(2_654_435_761), &[]);
                std::hint::black_box(chosen);
            }
            let each = began.elapsed().as_nanos() / u128::from(choices);
            println!("{algorithm:?}, {targets} targets: {each} ns");
        }
    }
}
