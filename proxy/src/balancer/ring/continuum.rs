//! Kong's ring for consistent hashing (kong/runloop/balancer/consistent_hashing.lua): which keys go
//! to which address has to be the same on both, so that a cluster can be mixed.

use twox_hash::XxHash32;

/// Points of a ring whose size is not usable.
const POINTS_DEFAULT: u32 = 1000;
/// Points for each target, where all have the same weight.
const POINTS_OF_TARGET: f64 = 160.0;

/// The ring: for each point the address that owns it.
#[derive(Debug)]
pub(super) struct Continuum {
    owners: Box<[u32]>,
}

/// An address as the ring needs to know it.
pub(super) struct Point<'a> {
    /// Its number.
    pub(super) number: u32,
    /// The host of its target, and that target's port.
    pub(super) target: (&'a str, u16),
    /// The address itself.
    pub(super) ip: &'a str,
    pub(super) port: u16,
    pub(super) weight: u32,
}

const NOBODY: u32 = u32::MAX;

impl Continuum {
    /// `slots` is the upstream's; `targets` is how many it has, those without weight included.
    pub(super) fn new(mut points: Vec<Point<'_>>, slots: u32, targets: usize) -> Continuum {
        let size = if slots >= POINTS_DEFAULT { slots } else { POINTS_DEFAULT };
        let mut owners = vec![NOBODY; size as usize];
        points.sort_by_cached_key(|p| (p.target.0.to_owned(), p.target.1, p.place()));
        let total: u64 = points.iter().map(|p| u64::from(p.weight)).sum();
        let mut free = owners.len();
        for point in points.iter().filter(|p| p.weight > 0) {
            let share = f64::from(point.weight) / total as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let wanted = (share * targets as f64 * POINTS_OF_TARGET).floor().max(1.0) as u32;
            point.take(&mut owners, wanted.min(size), &mut free);
        }
        spread(&mut owners);
        Continuum { owners: owners.into() }
    }

    /// The point that a key's hash falls on.
    pub(super) fn point(&self, hash: u32) -> usize {
        hash as usize % self.owners.len()
    }

    /// The owners of the points from this one downwards, once around.
    pub(super) fn owners_from(&self, point: usize) -> impl Iterator<Item = u32> {
        let (below, above) = self.owners.split_at((point + 1).min(self.owners.len()));
        below.iter().rev().chain(above.iter().rev()).copied().filter(|owner| *owner != NOBODY)
    }
}

impl Point<'_> {
    fn place(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    /// Takes points; one that is taken already moves the trouble to the next number.
    fn take(&self, owners: &mut [u32], mut wanted: u32, free: &mut usize) {
        let size = owners.len() as u32;
        let mut number = 1;
        while number <= wanted && number <= size && *free > 0 {
            // Two colons, as Kong writes it.
            let name = format!("{}::{} {number}", self.ip, self.port);
            let owner = &mut owners[(hash(name.as_bytes()) % size) as usize];
            if *owner == NOBODY {
                *owner = self.number;
                *free -= 1;
            } else {
                wanted += 1;
            }
            number += 1;
        }
    }
}

/// Free points go to whoever owns the next below, around the ring.
fn spread(owners: &mut [u32]) {
    let Some(mut last) = owners.iter().rev().copied().find(|owner| *owner != NOBODY) else {
        return;
    };
    for owner in owners {
        if *owner == NOBODY {
            *owner = last;
        }
        last = *owner;
    }
}

/// What a key is turned into before it falls on a point.
pub(crate) fn hash(key: &[u8]) -> u32 {
    XxHash32::oneshot(0, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ports: &[u16]) -> Continuum {
        let point = |(number, port): (u32, &u16)| Point {
            number,
            target: ("127.0.0.1", *port),
            ip: "127.0.0.1",
            port: *port,
            weight: 100,
        };
        Continuum::new((0..).zip(ports).map(point).collect(), 10_000, ports.len())
    }

    fn owner(ring: &Continuum, key: &str) -> Option<u32> {
        ring.owners_from(ring.point(hash(key.as_bytes()))).next()
    }

    /// As Kong's conformance recordings have it (balancing/hash_header).
    #[test]
    fn keys_go_where_kong_sends_them() {
        let ring = ring(&[9800, 9801, 9802]);
        let check = |key, expect| assert_eq!(owner(&ring, key), Some(expect), "{key:?}");
        check("alpha", 2);
        check("beta", 1);
        check("gamma", 1);
        check("delta", 2);
        check("", 1);
    }

    #[test]
    fn an_empty_ring_has_no_owners() {
        assert_eq!(owner(&ring(&[]), "a"), None);
    }

    /// The keys that one of 20 targets had, a twentieth of all, move when it goes; so do about as
    /// many again, since the shares of the others grow. Kong's ring does the same.
    #[test]
    fn most_keys_stay_when_a_target_goes() {
        let ports: Vec<u16> = (9000..9020).collect();
        let (all, fewer) = (ring(&ports), ring(&ports[..19]));
        let keys = (0..10_000).map(|key| key.to_string());
        let moved = keys.filter(|key| owner(&all, key) != owner(&fewer, key)).count();
        assert!((400..1500).contains(&moved), "{moved}");
    }

    #[test]
    fn each_target_has_its_share() {
        let ports: Vec<u16> = (9000..9020).collect();
        let ring = ring(&ports);
        let mut counts = [0_u32; 20];
        for key in 0..100_000 {
            counts[owner(&ring, &key.to_string()).unwrap_or_default() as usize] += 1;
        }
        assert!(counts.iter().all(|count| (3000..7500).contains(count)), "{counts:?}");
    }
}
