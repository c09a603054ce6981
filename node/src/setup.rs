//! What a group of a running node is started with.

use crate::group::GroupOptions;
use crate::ports::{Recovered, StateMachine};

/// Receives a group's lease trace, some lines at a time. It must not block. Returns false to end the recording.
pub type TraceSink = Box<dyn FnMut(String) -> bool + Send>;

/// Everything a group is started with.
#[expect(missing_debug_implementations, reason = "it holds trait objects, and is gone once the node runs")]
pub struct StartGroup<M: StateMachine> {
    /// The group's options.
    pub options: GroupOptions,
    /// The state machine. The recovered records are read into it.
    pub machine: M,
    /// The state read from the disk.
    pub recovered: Recovered<M::State>,
    /// Receives the trace, if the replica records one.
    pub trace: Option<TraceSink>,
}
