//! The records of the fields of hashes that were deleted. They are removed step by step, because a hash may have
//! millions.

use super::entry::MAX_ENTRY_KEYS;
use super::map::{ENTRY_BYTES, Weigh as _};
use super::reclaim::Reclaimer;
use super::record;
use super::value::StoredHash;
use leasehold_node::ports::Change;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

/// The records that an entry removes at least, as long as there are some. An entry that makes more changes removes twice
/// as many as those, so that clients cannot delete fields faster than their records are removed. Each node does so at its
/// own pace: nothing else depends on them.
const MIN_REMOVED_FIELDS: usize = 1024;
/// The most records that one entry removes.
const MAX_REMOVED_FIELDS: usize = 2 * MAX_ENTRY_KEYS;

/// Hashes that no key has any more.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    hashes: VecDeque<Arc<StoredHash>>,
    /// The place in the first of them.
    cursor: u64,
    /// The memory that they take.
    bytes: u64,
}

impl Garbage {
    /// Adds a hash that was deleted.
    pub(super) fn add(&mut self, hash: Arc<StoredHash>) {
        self.bytes += bytes_of(&hash);
        self.hashes.push_back(hash);
    }

    /// Returns about how many bytes of memory the deleted hashes take. It is 0 only if there are none.
    pub(super) fn used_bytes(&self) -> u64 {
        self.bytes
    }

    /// Drops everything, because all records were deleted.
    pub(super) fn clear(&mut self, reclaimer: &Reclaimer) {
        (self.cursor, self.bytes) = (0, 0);
        reclaimer.drop_later(mem::take(&mut self.hashes));
    }

    /// Appends the changes that remove the next records, in an entry that made this many other changes.
    pub(super) fn remove_some(&mut self, reclaimer: &Reclaimer, made: usize, changes: &mut Vec<Change>) {
        let mut left = (2 * made).clamp(MIN_REMOVED_FIELDS, MAX_REMOVED_FIELDS);
        while left > 0
            && let Some(hash) = self.hashes.front()
        {
            for (field, _, after) in hash.fields.iter_from(self.cursor).take(left) {
                changes.push(record::delete_field(hash.id, field));
                (self.cursor, left) = (after, left - 1);
            }
            if left > 0 {
                self.cursor = 0;
                if let Some(hash) = self.hashes.pop_front() {
                    self.bytes -= bytes_of(&hash);
                    if hash.fields.len() > MIN_REMOVED_FIELDS {
                        reclaimer.drop_later(hash);
                    }
                }
                // A hash without fields is work too.
                left -= 1;
            }
        }
    }
}

fn bytes_of(hash: &StoredHash) -> u64 {
    ENTRY_BYTES as u64 + hash.fields.weight()
}
