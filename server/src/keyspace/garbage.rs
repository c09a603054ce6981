//! The records of the fields of hashes that were deleted. They are removed step by step, because a hash may have
//! millions.

use super::reclaim::Reclaimer;
use super::record;
use super::value::StoredHash;
use leasehold_node::ports::Change;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

/// The most records that one entry removes. Each node does so at its own pace: nothing else depends on them.
const MAX_REMOVED_FIELDS: usize = 1024;

/// Hashes that no key has any more.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    hashes: VecDeque<Arc<StoredHash>>,
    /// The place in the first of them.
    cursor: u64,
}

impl Garbage {
    /// Adds a hash that was deleted.
    pub(super) fn add(&mut self, hash: Arc<StoredHash>) {
        self.hashes.push_back(hash);
    }

    /// Drops everything, because all records were deleted.
    pub(super) fn clear(&mut self, reclaimer: &Reclaimer) {
        self.cursor = 0;
        reclaimer.drop_later(mem::take(&mut self.hashes));
    }

    /// Appends the changes that remove the next records.
    pub(super) fn remove_some(&mut self, reclaimer: &Reclaimer, changes: &mut Vec<Change>) {
        let mut left = MAX_REMOVED_FIELDS;
        while left > 0
            && let Some(hash) = self.hashes.front()
        {
            for (field, _, after) in hash.fields.iter_from(self.cursor).take(left) {
                changes.push(record::delete_field(hash.id, field));
                (self.cursor, left) = (after, left - 1);
            }
            if left > 0 {
                self.cursor = 0;
                self.hashes
                    .pop_front()
                    .filter(|hash| hash.fields.len() > MAX_REMOVED_FIELDS)
                    .into_iter()
                    .for_each(|hash| reclaimer.drop_later(hash));
                // A hash without fields is work too.
                left -= 1;
            }
        }
    }
}
