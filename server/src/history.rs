//! What a node has seen since its start.

use leasehold_core::{NodeId, Term};
use leasehold_node::Status;
use parking_lot::Mutex;

/// The history of one node.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The leader that was seen last, and its term.
    leader: Option<(Term, NodeId)>,
    leader_changes: u64,
}

impl History {
    /// Notes which node leads.
    pub(crate) fn observe(&self, status: &Status) {
        let mut state = self.0.lock();
        if let Some(leader) = status.leader
            && state.leader != Some((status.term, leader))
        {
            state.leader = Some((status.term, leader));
            state.leader_changes += 1;
        }
    }

    /// Returns how often another leader, or the same one in another term, was seen.
    pub(crate) fn leader_changes(&self) -> u64 {
        self.0.lock().leader_changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_new_leader_is_counted() {
        let history = History::default();
        let mut status = Status::default();
        for (term, leader) in [(1, None), (2, Some(1)), (2, Some(1)), (3, None), (4, None), (5, Some(1))] {
            (status.term, status.leader) = (term, leader);
            history.observe(&status);
        }
        assert_eq!(history.leader_changes(), 2);
    }
}
