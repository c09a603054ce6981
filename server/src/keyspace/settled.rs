//! Reads that this node may answer although it has received entries that it has not applied.

use super::operation::ReadCommand;
use super::view::View;
use bytes::Bytes;

/// The most keys of a command that are looked at one by one: writers wait meanwhile, and a read of many keys is likely
/// to meet one that is being written.
const MAX_KEYS: usize = 256;

impl View {
    /// Returns how many of the first reads no entry may change that was received and is not applied. `may_contain`
    /// returns true if such an entry may change a key, and `time` is the latest time of these entries: keys that die by
    /// it change too.
    ///
    /// The loads of what the node publishes must not change places here: an entry that touches a key, and is applied
    /// between two of them, may have given the key a deadline that a later entry passes.
    pub fn settled(
        &self,
        reads: &[ReadCommand],
        may_contain: impl Fn(&[u8]) -> bool,
        time: impl FnOnce() -> u64,
    ) -> usize {
        let untouched = first(reads, &|key| !may_contain(key));
        let time = time();
        if self.first_deadline().is_none_or(|first| first > time) {
            return untouched;
        }
        self.with(|content| {
            let lives = |key: &[u8]| content.value(key).is_none_or(|value| value.is_live(time));
            first(&reads[..untouched], &lives)
        })
    }
}

/// Returns how many of the first reads name keys, all of which meet a condition.
fn first(reads: &[ReadCommand], holds: &dyn Fn(&[u8]) -> bool) -> usize {
    reads.iter().take_while(|read| read.named_keys().all(holds)).count()
}

impl ReadCommand {
    /// Returns a read that needs the same permission as another command that reads these keys: one of all keys if there
    /// are very many, or none.
    pub(crate) fn of_keys(keys: &[Bytes]) -> ReadCommand {
        if (1..=MAX_KEYS).contains(&keys.len()) { ReadCommand::Exists(keys.to_vec()) } else { ReadCommand::Size }
    }
}
