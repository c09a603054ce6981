//! Recognises a peer's request that a link delivers twice, so that it is executed once.

use crate::wire::RequestId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The largest number of requesting processes remembered: every peer's present one, and some that restarted.
const MAX_PROCESSES: usize = 64;
/// The largest number of requests remembered of each: four times as many as a node executes for its peers at once.
const MAX_SEQUENCES: usize = 32_768;

/// The requests that peers have sent.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By the requesting process.
    processes: BTreeMap<u64, Sequences>,
    /// The processes, in the order in which they were first heard of.
    order: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Sequences {
    /// Every number below this counts as seen.
    floor: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    /// Returns true if this request has not been seen before, and remembers it.
    pub(crate) fn first_time(&mut self, id: RequestId) -> bool {
        if !self.processes.contains_key(&id.boot) {
            self.order.push_back(id.boot);
            if self.order.len() > MAX_PROCESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.processes.remove(&oldest);
            }
        }
        let seen = self.processes.entry(id.boot).or_default();
        let first = id.sequence >= seen.floor && seen.above.insert(id.sequence);
        if seen.above.len() > MAX_SEQUENCES
            && let Some(lowest) = seen.above.pop_first()
        {
            seen.floor = lowest + 1;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_arrives_twice_is_new_once() {
        let mut seen = Seen::default();
        let id = |boot, sequence| RequestId { boot, sequence };
        assert!(seen.first_time(id(1, 5)));
        assert!(seen.first_time(id(1, 4)), "an earlier one that was overtaken");
        assert!(seen.first_time(id(2, 5)), "another process's");
        assert!(!seen.first_time(id(1, 5)));
        for sequence in 6..100_000 {
            assert!(seen.first_time(id(1, sequence)));
        }
        assert!(!seen.first_time(id(1, 5)), "long ago");
        assert!(!seen.first_time(id(2, 5)));
        assert!(seen.processes[&1].above.len() <= MAX_SEQUENCES);
    }
}
