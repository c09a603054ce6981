//! The outputs of a node that were not taken yet.

use crate::events::Output;
use crate::ports::{Lane, StateMachine};
use crate::wire::Message;
use leasehold_core::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// A queue of outputs, and the messages that are gathered for each peer and lane.
pub(crate) struct Outputs<M: StateMachine> {
    queue: VecDeque<Output<M>>,
    frames: BTreeMap<(NodeId, Lane), Vec<Message>>,
}

impl<M: StateMachine> Default for Outputs<M> {
    fn default() -> Self {
        Outputs { queue: VecDeque::new(), frames: BTreeMap::new() }
    }
}

impl<M: StateMachine> Outputs<M> {
    pub(crate) fn push(&mut self, output: Output<M>) {
        self.queue.push_back(output);
    }

    /// Sends a message with the next frame.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.frames.entry((to, message.lane())).or_default().push(message);
    }

    /// Returns the next output, except messages.
    pub(crate) fn pop(&mut self) -> Option<Output<M>> {
        self.queue.pop_front()
    }

    /// Returns the messages for one peer and lane. Call it once nothing is left that could add to them.
    pub(crate) fn pop_frame(&mut self) -> Option<Output<M>> {
        let ((to, lane), messages) = self.frames.pop_first()?;
        Some(Output::Send { to, lane, messages })
    }
}
