//! The slots of Redis Cluster: every key is in one of 16,384, and each group of this cluster has an equal range of them.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

/// The number of slots.
pub(crate) const SLOTS: u16 = 16_384;

/// Returns the slot of a key. Keys with the same part in braces, such as `{user1}.name` and `{user1}.mail`, have the same.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

/// The groups among which the slots are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotTable {
    groups: NonZeroU16,
}

impl SlotTable {
    /// One group has all slots.
    pub(crate) const SINGLE: SlotTable = SlotTable { groups: NonZeroU16::MIN };

    /// Returns the slots of each group.
    pub(crate) fn ranges(self) -> impl Iterator<Item = RangeInclusive<u16>> {
        // Widened, because the product has more bits than a slot.
        let first =
            move |group: u16| (u32::from(group) * u32::from(SLOTS)).div_ceil(u32::from(self.groups.get())) as u16;
        (0..self.groups.get()).map(move |group| first(group)..=first(group + 1) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As redis-server 7.0.15 answers CLUSTER KEYSLOT.
        for (key, slot) in [
            ("", 0),
            ("foo", 12_182),
            ("123456789", 12_739),
            ("{foo}", 12_182),
            ("a{foo}b{bar}", 12_182),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar", 15_278),
            ("foo}{bar}", 5_061),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }
}
