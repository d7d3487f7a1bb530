//! The order of turns: each address as often as its weight says, spread as evenly as can be.
//!
//! Kong shuffles its wheel (kong/runloop/balancer/round_robin.lua); over a whole turn both give
//! each address the same share, and this one does over any part of a turn as well as can be.

/// Entries of a wheel at most. Weights that need more are rounded to fit.
const SIZE_MAX: u64 = 1 << 18;

/// Which address has its turn when: numbers of addresses, each as often as its weight asks, the
/// weights divided by what they have in common. Weights of 0 have no turn.
pub(super) fn wheel(weights: &[u32]) -> Box<[u32]> {
    let common = weights.iter().fold(0, |a, b| greatest_common_divisor(a, *b)).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / common)).sum();
    let points = |weight: u32| match u64::from(weight / common) {
        points if total <= SIZE_MAX || points == 0 => points,
        points => (points * SIZE_MAX / total).max(1),
    };
    let mut turns = Vec::new();
    for (address, weight) in (0_u32..).zip(weights) {
        let points = points(*weight);
        // The middle of each of the address's equal parts of the turn.
        turns.extend((0..points).map(|turn| (((2 * turn + 1) << 32) / (2 * points), address)));
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, address)| address).collect()
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weights: &[u32], expect: &[u32]) {
        assert_eq!(&*wheel(weights), expect, "{weights:?}");
    }

    #[test]
    fn turns_are_spread_evenly() {
        check(&[], &[]);
        check(&[0, 0], &[]);
        check(&[100, 100], &[0, 1]);
        check(&[300, 100], &[0, 0, 1, 0]);
        check(&[1, 0, 2], &[2, 0, 2]);
        check(&[5, 1, 1], &[0, 0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn large_weights_are_rounded() {
        let wheel = wheel(&[65_535, 65_534, 65_533, 65_531, 65_521, 1]);
        assert!(wheel.len() as u64 <= SIZE_MAX + 6);
        let share = |address| wheel.iter().filter(|a| **a == address).count();
        assert_eq!(share(5), 1);
        let (most, least) = (share(0), share(4));
        assert!(most >= least && most - least < 32, "{most} {least}");
    }
}
