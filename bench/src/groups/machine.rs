//! The server's keyspace, which can be made to hang.

use bytes::Bytes;
use leasehold::keyspace::{Keyspace, Outcome, Snapshot};
use leasehold_core::Index;
use leasehold_node::ports::{Change, Preparer, StateMachine, UnknownCommand};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// While it is closed, entries are not applied.
#[derive(Clone, Default)]
pub(super) struct Valve(Arc<(Mutex<bool>, Condvar)>);

impl Valve {
    pub(super) fn set_closed(&self, closed: bool) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *closed {
            closed = self.0.1.wait(closed).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A keyspace behind a valve. One without is the server's own.
pub(super) struct Machine {
    pub(super) keyspace: Keyspace,
    pub(super) valve: Option<Valve>,
}

impl StateMachine for Machine {
    type Output = Outcome;
    type State = Snapshot;

    const NEWEST_VERSION: u32 = Keyspace::NEWEST_VERSION;

    fn version(command: &Bytes) -> u32 {
        Keyspace::version(command)
    }

    fn preparer(&self) -> Preparer {
        self.keyspace.preparer()
    }

    fn apply(&mut self, index: Index, command: &Bytes, changes: &mut Vec<Change>) -> Result<Outcome, UnknownCommand> {
        self.valve.iter().for_each(Valve::pass);
        self.keyspace.apply(index, command, changes)
    }

    fn empty_state(&self) -> Snapshot {
        self.keyspace.empty_state()
    }

    fn state(&self) -> Snapshot {
        self.keyspace.state()
    }

    fn replace(&mut self, state: Snapshot) -> Snapshot {
        self.keyspace.replace(state)
    }

    fn encode_output(outcome: &Outcome) -> Bytes {
        Keyspace::encode_output(outcome)
    }

    fn decode_output(bytes: &[u8]) -> Option<Outcome> {
        Keyspace::decode_output(bytes)
    }
}
