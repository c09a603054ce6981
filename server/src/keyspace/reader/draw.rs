//! Random choices that are the same on every node and in every release.

use crate::keyspace::writer::FIELD_COST;
use siphasher::sip::SipHasher13;

/// The part of an entry's room that a random choice takes: it looks at the places of some hundreds of names.
pub(super) const DRAW_COST: usize = 2 * FIELD_COST;

/// Returns a function that returns random numbers below its argument. The seed decides them.
pub(super) fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
    let hasher = SipHasher13::new_with_keys(seed, 0);
    let mut drawn = 0_u64;
    move |below| {
        drawn += 1;
        let number = hasher.hash(&drawn.to_le_bytes());
        ((u128::from(number) * u128::from(below)) >> u64::BITS) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_numbers_and_they_do_not_change_with_a_release() {
        let first = |seed| {
            let mut draw = draws(seed);
            (0..8).map(|_| draw(100)).collect::<Vec<_>>()
        };
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
        assert_eq!(first(7), [14, 54, 94, 21, 6, 24, 39, 14]);
        assert_eq!(draws(3)(1), 0);
    }
}
