//! The keys that have a deadline, by deadline.

use super::content::Content;
use super::value::Deadline;
use bytes::Bytes;
use std::collections::BTreeSet;

/// The keys that have a deadline, in the order in which they die. Keys of the same deadline are ordered by their bytes,
/// so that every node removes the same ones first.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Deadline, Bytes)>);

impl Deadlines {
    /// Returns the deadlines of a state. It takes time in proportion to the state.
    pub(super) fn of(content: &Content) -> Deadlines {
        let deadlines = content.map.iter().filter_map(|(key, value)| Some((value.deadline?, key.clone())));
        Deadlines(deadlines.collect())
    }

    pub(super) fn insert(&mut self, deadline: Deadline, key: Bytes) {
        self.0.insert((deadline, key));
    }

    pub(super) fn remove(&mut self, deadline: Deadline, key: &Bytes) {
        self.0.remove(&(deadline, key.clone()));
    }

    /// Returns the earliest deadline.
    pub(super) fn first(&self) -> Option<Deadline> {
        self.0.first().map(|(deadline, _)| *deadline)
    }

    /// Returns the number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the key that dies first, if it is dead at this log time.
    pub(super) fn first_dead(&self, log_time: u64) -> Option<Bytes> {
        self.0.first().filter(|(deadline, _)| deadline.get() <= log_time).map(|(_, key)| key.clone())
    }
}
