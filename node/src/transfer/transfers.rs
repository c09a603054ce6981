//! The transfers of a group.

use super::receive::Receiving;
use super::send::Sending;
use crate::stopwatch::Stopwatch;
use crate::wire::RequestId;
use leasehold_core::{Index, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A follower's log, as this leader knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    pub(crate) matched: Index,
    pub(crate) advanced_at: Duration,
}

/// The transfers of a group, with states `S`.
#[derive(Debug)]
pub(crate) struct Transfers<S> {
    /// Drawn at random by this process.
    pub(crate) boot: u64,
    pub(crate) started: u64,
    pub(crate) stopwatch: Stopwatch,
    pub(crate) now: Duration,
    pub(crate) sending: BTreeMap<NodeId, Sending<S>>,
    /// Followers that need a state while enough are being sent. The engine asks again after the next tick.
    pub(crate) refused: Vec<NodeId>,
    /// Followers that need a state, and the index that it must have, while the state machine applies entries.
    pub(crate) deferred: Vec<(NodeId, Index)>,
    pub(crate) receiving: Option<Receiving<S>>,
    /// A state that is complete, while the engine decides about it.
    pub(crate) complete: Option<S>,
    /// While this node leads, the other members.
    pub(crate) followers: BTreeMap<NodeId, Follower>,
}

impl<S> Transfers<S> {
    pub(crate) fn new(boot: u64) -> Transfers<S> {
        Transfers {
            boot,
            started: 0,
            stopwatch: Stopwatch::default(),
            now: Duration::ZERO,
            sending: BTreeMap::new(),
            refused: Vec::new(),
            deferred: Vec::new(),
            receiving: None,
            complete: None,
            followers: BTreeMap::new(),
        }
    }

    pub(crate) fn next_id(&mut self) -> RequestId {
        self.started += 1;
        RequestId { boot: self.boot, sequence: self.started }
    }
}
