//! Seeded draws, in streams that do not disturb each other.

/// A stream of draws. Equal seeds and purposes draw alike, whatever other streams draw.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of `seed` for one purpose.
    pub(super) fn new(seed: u64, purpose: u64) -> Dice {
        Dice(mix(mix(seed) ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    /// The next number, any of 64 bits.
    pub(super) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`; 0 if that is 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `least` through `most`.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// A number from `least` through `most`, of which each doubling is about as likely as any other. `least` is not 0.
    pub(super) fn of_any_size(&mut self, least: u64, most: u64) -> u64 {
        let doublings = (most.max(least) / least).ilog2();
        let from = least << self.below(u64::from(doublings) + 1);
        self.between(from, from.saturating_mul(2).min(most.max(from)))
    }

    /// True this often in a million draws. One that is never true draws nothing.
    pub(super) fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// The finalizer of SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
