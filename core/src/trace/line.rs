//! One line of a trace: an input and its effects.

use crate::cell::Permit;
use crate::config::Config;
use crate::grantor::Grantor;
use crate::holder::{Action, Event, Holder, Read, ReadError};
use crate::ids::{NodeId, Release, TermRound};
use crate::time::{Instant, Reading, Reason};
use core::time::Duration;

/// One input of one node, with its reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The node.
    pub node: NodeId,
    /// The reading, sampled after the input arrived.
    pub now: Reading,
    /// The input.
    pub input: Input,
    /// Says whether the outputs were taken before the next input.
    pub taken: bool,
}

/// An input of a [`Holder`], a [`Grantor`] or a [`LeaseCell`](crate::LeaseCell).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The process starts, for the first time or again.
    Start {
        /// The configuration.
        config: Config,
        /// The longest hold under which this node ever echoed, according to its record.
        longest_hold: Duration,
        /// The time for which the process before it was still held when it stopped in an orderly way, if it did.
        remaining: Option<Duration>,
    },
    /// [`Holder::handle_event`].
    Event(Event),
    /// [`Holder::handle_timeout`].
    Timeout,
    /// [`Holder::read`].
    Read,
    /// [`Holder::quorum_read`].
    QuorumRead,
    /// [`LeaseCell::try_read`](crate::LeaseCell::try_read), by a reader thread.
    Look,
    /// [`Grantor::handle_round`].
    Frame(TermRound),
    /// [`Grantor::may_vote_or_campaign`].
    MayElect(Option<Release>),
}

/// The return value of an input that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Of [`Input::Read`] and [`Input::QuorumRead`].
    Read(Result<Read, ReadError>),
    /// Of [`Input::Look`].
    Permit(Option<Permit>),
    /// Of [`Input::Frame`]: the echo.
    Echo(Option<TermRound>),
    /// Of [`Input::MayElect`].
    MayElect(bool),
}

/// The hold of a grantor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// There is no hold.
    None,
    /// The hold ends at this instant, which may have passed.
    Until(Instant),
    /// A full hold starts with the next reading.
    FromNextReading,
}

/// The effects of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// The return value, if the input has one.
    pub answer: Option<Answer>,
    /// The actions taken after it, in order; no input causes more than three.
    pub actions: [Option<Action>; 3],
    /// The end of the lease, if there is a lease.
    pub lease: Option<Instant>,
    /// The next timeout of the holder, and its reason.
    pub wake: Option<(Instant, Reason)>,
    /// The hold of the grantor.
    pub hold: Hold,
}

impl Effect {
    /// Captures the state of a holder and a grantor right after an input, before any action is taken.
    pub fn seen(answer: Option<Answer>, holder: &Holder, grantor: &Grantor) -> Effect {
        let hold = match grantor.held_until() {
            Some(end) => Hold::Until(end),
            None if grantor.awaits_reading() => Hold::FromNextReading,
            None => Hold::None,
        };
        Effect { answer, actions: [None; 3], lease: holder.lease_until(), wake: holder.poll_timeout(), hold }
    }

    /// Adds an action that was taken after the input.
    ///
    /// # Panics
    /// On the fourth action: no input causes more than three.
    pub fn add(&mut self, action: Action) {
        let free = self.actions.iter_mut().find(|slot| slot.is_none());
        *free.expect("no input causes more than three actions") = Some(action);
    }
}
