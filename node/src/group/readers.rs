//! Local reads: those of this node by its sublease.

use super::{Group, ReadMode};
use crate::ports::StateMachine;
use crate::status::{Ground, ReadGrant};
use leasehold_core::{Index, Reading};

impl<M: StateMachine> Group<M> {
    /// Returns a grant if a sublease is valid at `now`.
    pub(crate) fn read_locally(&self, now: Reading) -> Option<ReadGrant> {
        let index = self.gate.try_read_local(now)?.index;
        Some(ReadGrant { index, ground: Ground::Sublease, as_follower: false })
    }

    /// Has this node ask its leaders for subleases, or return the one that it has and ask for no more.
    pub(crate) fn set_local_reads(&mut self, now: Reading, enabled: bool) {
        let enabled = enabled && self.options.reads == ReadMode::Lease && self.replica.reader().is_some();
        let last = self.replica.compacted() + self.replica.log_size().0 as Index;
        self.tracker.set_enabled(self.gate.touched(), enabled, last);
        self.replica.set_local_reads(now, enabled);
    }
}
