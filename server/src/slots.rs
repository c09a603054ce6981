//! The slots of Redis Cluster: every key is in one of 16,384, and each group of this cluster has an equal range of them.

use std::num::NonZeroU16;
use std::ops::{Range, RangeInclusive};

/// The number of slots.
pub(crate) const SLOTS: u16 = 16_384;

/// Returns the slot of a key. Keys with the same part in braces, such as `{user1}.name` and `{user1}.mail`, have the same.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

/// The place of the keys of a command, or of all commands of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// There are no keys.
    #[default]
    Anywhere,
    /// The keys are in one group.
    In {
        /// The slot of the first key.
        slot: u16,
        /// The group.
        group: u16,
    },
    /// The keys are in several groups, which cannot execute a command together.
    Apart,
}

impl Place {
    /// Returns the place of these keys and of others.
    pub(crate) fn and(self, others: Place) -> Place {
        match (self, others) {
            (Place::Anywhere, place) | (place, Place::Anywhere) => place,
            (Place::In { group, .. }, Place::In { group: other, .. }) if group == other => self,
            _ => Place::Apart,
        }
    }
}

/// The most groups of a cluster: the cursor of a scan has room for no more.
pub(crate) const MAX_GROUPS: u16 = 1024;

/// The groups among which the slots are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotTable {
    groups: NonZeroU16,
}

impl SlotTable {
    /// Divides the slots among so many groups.
    pub(crate) fn new(groups: NonZeroU16) -> SlotTable {
        SlotTable { groups }
    }

    /// Returns whether one group has all slots.
    pub(crate) fn is_single(self) -> bool {
        self.groups == NonZeroU16::MIN
    }

    /// Returns the number of groups.
    pub(crate) fn number(self) -> NonZeroU16 {
        self.groups
    }

    /// Returns the numbers of the groups.
    pub(crate) fn groups(self) -> Range<u16> {
        0..self.groups.get()
    }

    /// Returns the group of a key.
    pub(crate) fn group_of_key(self, key: &[u8]) -> u16 {
        if self.is_single() { 0 } else { self.group_of(slot_of(key)) }
    }

    /// Returns the slots of each group.
    pub(crate) fn ranges(self) -> impl Iterator<Item = RangeInclusive<u16>> {
        // Widened, because the product has more bits than a slot.
        let first =
            move |group: u16| (u32::from(group) * u32::from(SLOTS)).div_ceil(u32::from(self.groups.get())) as u16;
        (0..self.groups.get()).map(move |group| first(group)..=first(group + 1) - 1)
    }

    /// Returns the place of keys. What counts is their group and not their slot, so that every command on several keys
    /// works in a cluster of one group.
    pub(crate) fn place_of<'a>(self, keys: impl Iterator<Item = &'a [u8]>) -> Place {
        // The others are in the same group as the first.
        let keys = keys.take(if self.is_single() { 1 } else { usize::MAX });
        let place = keys.map(|key| {
            let slot = slot_of(key);
            Place::In { slot, group: self.group_of(slot) }
        });
        place.fold(Place::Anywhere, Place::and)
    }

    /// Returns the group of a slot.
    pub(crate) fn group_of(self, slot: u16) -> u16 {
        (u32::from(slot) * u32::from(self.groups.get()) / u32::from(SLOTS)) as u16
    }
}

/// Parses a number of groups.
pub(crate) fn parse_groups(text: &str) -> Result<NonZeroU16, String> {
    let groups = text.parse().ok().filter(|groups: &NonZeroU16| groups.get() <= MAX_GROUPS);
    groups.ok_or_else(|| format!("not a number of groups from 1 to {MAX_GROUPS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(groups: u16) -> SlotTable {
        SlotTable::new(NonZeroU16::new(groups).expect("not zero"))
    }

    #[test]
    fn the_ranges_of_groups_have_every_slot_once_and_are_about_equal() {
        for groups in [1, 2, 3, 7, 16, 1000, SLOTS - 1, SLOTS] {
            let table = table(groups);
            let (mut next, mut sizes) = (0, Vec::new());
            for (group, range) in (0..).zip(table.ranges()) {
                assert_eq!(*range.start(), next, "group {group} of {groups}");
                assert!(range.clone().all(|slot| table.group_of(slot) == group), "group {group} of {groups}");
                sizes.push(range.len());
                next = range.end() + 1;
            }
            assert_eq!((next, sizes.len()), (SLOTS, groups.into()));
            assert!(sizes.iter().max().zip(sizes.iter().min()).is_some_and(|(most, least)| most - least <= 1));
        }
    }

    #[test]
    fn keys_are_apart_if_their_groups_differ() {
        let place = |groups, keys: &[&str]| table(groups).place_of(keys.iter().map(|key| key.as_bytes()));
        // Slots 12,182 and 5,061.
        for groups in [2, 16, SLOTS] {
            assert_eq!(place(groups, &["foo", "bar"]), Place::Apart);
            assert_eq!(place(groups, &["{foo}1", "{foo}2"]), place(groups, &["foo"]));
        }
        assert_eq!(place(1, &["foo", "bar"]), Place::In { slot: 12_182, group: 0 });
        assert_eq!(place(2, &["foo"]), Place::In { slot: 12_182, group: 1 });
        assert_eq!(place(2, &[]), Place::Anywhere);
        let (foo, bar) = (place(2, &["foo"]), place(2, &["bar"]));
        assert_eq!((foo.and(Place::Anywhere), Place::Anywhere.and(foo)), (foo, foo));
        assert_eq!((foo.and(bar), Place::Apart.and(foo), foo.and(foo)), (Place::Apart, Place::Apart, foo));
    }

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
