//! Random draws that follow from a seed: the one generator of all tests, benchmarks and the simulator.
//!
//! The generator is SplitMix64. Its definition is fixed, so a seed draws the same numbers forever.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use std::time::Duration;

/// A stream of draws. Equal seeds and stream numbers draw the same numbers, whatever other streams draw.
#[derive(Clone, Debug)]
pub struct Dice(SplitMix64);

impl Dice {
    /// Returns stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Dice {
        // Streams start at unrelated points of the generator's one cycle.
        let start = mix(mix(seed) ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut generator = SplitMix64::seed_from_u64(start);
        generator.next_u64();
        Dice(generator)
    }

    /// Returns a stream that depends on this one's past draws only, for another thread or part.
    pub fn split(&mut self) -> Dice {
        Dice(SplitMix64::seed_from_u64(self.any()))
    }

    /// Draws any 64-bit number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws a number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(end)) >> 64) as u64
    }

    /// Draws an index of a collection with `length` elements.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Draws a number from `least` through `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// Draws a number from `least` through `most` such that each doubling is about equally likely. `least` is not 0.
    pub fn of_any_size(&mut self, least: u64, most: u64) -> u64 {
        let doublings = (most.max(least) / least).ilog2();
        let from = least << self.below(u64::from(doublings) + 1);
        self.between(from, from.saturating_mul(2).min(most.max(from)))
    }

    /// Returns true with a probability of `per_million` in a million. With 0 it draws nothing.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// Returns true in one of `cases` draws.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// Draws a fraction of at least 0 and less than 1.
    pub fn fraction(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws a whole number of milliseconds, at least `least` and less than `end`.
    pub fn millis(&mut self, least: u64, end: u64) -> Duration {
        Duration::from_millis(least + self.below(end - least))
    }

    /// Draws one of several items.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Puts items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            items.swap(end - 1, self.index(end));
        }
    }
}

/// Maps a number to a well-mixed one: the first draw of the generator with that seed.
pub fn mix(seed: u64) -> u64 {
    SplitMix64::seed_from_u64(seed).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_numbers_forever() {
        // Recorded seeds of the simulator depend on these numbers.
        let mut dice = Dice::new(1, 2);
        assert_eq!(
            [dice.any(), dice.any(), dice.any()],
            [0x9c48_cc91_6cb8_6cf4, 0xb875_0d2a_c5ec_a8c2, 0x9494_75b5_b93b_1108]
        );
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Dice::new(1, 1).any(), Dice::new(1, 2).any());
        assert_ne!(Dice::new(1, 1).any(), Dice::new(2, 1).any());
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut dice = Dice::new(3, 0);
        for _ in 0..1000 {
            assert!(dice.below(7) < 7);
            assert!((3..=9).contains(&dice.between(3, 9)));
            assert!((5..=5000).contains(&dice.of_any_size(5, 5000)));
            assert!((0.0..1.0).contains(&dice.fraction()));
        }
        assert_eq!(dice.below(0), 0);
        assert!(!dice.chance(0) && dice.chance(1_000_000));
    }

    #[test]
    fn a_shuffle_keeps_all_items() {
        let mut items: Vec<u32> = (0..50).collect();
        Dice::new(4, 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
