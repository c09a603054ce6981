//! The replay of a trace through fresh state machines.

use super::line::{Answer, Effect, Input, Line};
use crate::cell::LeaseCell;
use crate::grantor::Grantor;
use crate::holder::{Holder, Misuse, Read};
use crate::ids::NodeId;
use crate::time::Instant;
use core::fmt;

/// The start of a replayed trace on both counters, far enough from zero for its clocks to go back.
pub const REPLAY_ORIGIN: Instant = Instant::from_nanos(1 << 62, 1 << 62);

/// The holder, grantor and cell of one process, through which a trace is replayed.
#[derive(Debug)]
pub struct Node {
    holder: Holder,
    grantor: Grantor,
    cell: LeaseCell,
}

/// An error of [`Node::replay`]: the line cannot follow the lines before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutOfPlace {
    /// The node has not started.
    NotStarted(NodeId),
    /// The holder rejected the line's event.
    Misuse {
        /// The node.
        node: NodeId,
        /// The reason.
        reason: Misuse,
    },
}

impl Node {
    /// Replays one line. `slot` holds the node that the line names, `None` before its first start.
    ///
    /// # Errors
    /// [`OutOfPlace`] if no correct engine reports the line's input after the lines before it.
    pub fn replay(slot: &mut Option<Node>, line: &Line) -> Result<Effect, OutOfPlace> {
        if let Input::Start { config, longest_hold, remaining } = line.input {
            let grantor = match remaining {
                Some(remaining) => Grantor::after_orderly_stop(config, remaining, line.now),
                None => Grantor::new(config, longest_hold, line.now),
            };
            *slot = Some(Node { holder: Holder::new(line.node, config), grantor, cell: LeaseCell::new() });
        }
        let node = slot.as_mut().ok_or(OutOfPlace::NotStarted(line.node))?;
        node.handle(line).map_err(|reason| OutOfPlace::Misuse { node: line.node, reason })
    }

    fn handle(&mut self, line: &Line) -> Result<Effect, Misuse> {
        let Node { holder, grantor, cell } = self;
        let now = line.now;
        let answer = match line.input {
            Input::Start { .. } => None,
            Input::Event(event) => {
                holder.handle_event(now, event, cell)?;
                None
            }
            Input::Timeout => {
                holder.handle_timeout(now, cell);
                None
            }
            Input::Read => Some(Answer::Read(holder.read(now, cell))),
            Input::QuorumRead => Some(Answer::Read(holder.quorum_read(now, cell).map(Read::Quorum))),
            Input::Look => Some(Answer::Permit(cell.try_read(now))),
            Input::Frame(round) => Some(Answer::Echo(grantor.handle_round(now, round))),
            Input::MayElect(release) => Some(Answer::MayElect(grantor.may_vote_or_campaign(now, release))),
        };
        let mut effect = Effect::seen(answer, holder, grantor);
        if line.taken {
            while let Some(action) = holder.poll_action() {
                effect.add(action);
            }
        }
        Ok(effect)
    }
}

impl fmt::Display for OutOfPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutOfPlace::NotStarted(node) => write!(f, "n{node} has not started; expected its `start` line first"),
            OutOfPlace::Misuse { node, reason } => write!(f, "n{node}: {reason}"),
        }
    }
}

impl core::error::Error for OutOfPlace {}
