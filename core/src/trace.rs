//! What the machines were told and what followed, as text: one line per input.
//!
//! ```text
//!        7ms  n1 > ack from=n2 term=3 round=1       < confirmed through=1   lease until 1000ms   wake 100ms heartbeat
//! ```
//!
//! From left to right: the reading that came with the input, relative to the start of the trace; the node; the input; and
//! what it caused. A reading on which both counters agree is one time. `7ms/60007ms` is one on which they do not: first the
//! counter that stops while the machine is suspended. Everything is exact, so the left half of a trace replays to the right.
//!
//! `>` says that the outputs were taken after this input; `+`, that another input came first. Lines that are blank or begin
//! with `#` are for readers. A [`Recorder`] writes lines as a node runs, [`Line::parse`] reads them, a [`Node`] replays them.

mod parse;
mod text;

use crate::{
    Action, Config, Event, Grantor, Holder, Instant, LeaseCell, Misuse, NodeId, Permit, Read, ReadError, Reading,
    Reason, Release, TermRound,
};
use core::fmt;
use core::time::Duration;

pub use parse::Malformed;
pub use text::{Shown, is_prose};

/// Where a replayed trace starts, on both counters: in the middle, so that its clocks can go back.
pub const REPLAY_ORIGIN: Instant = Instant::from_nanos(1 << 62, 1 << 62);

/// One input of one node, and the reading that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The node.
    pub node: NodeId,
    /// Sampled after the input arrived.
    pub now: Reading,
    /// What the node was told or asked.
    pub input: Input,
    /// Whether the outputs were taken before the next input.
    pub taken: bool,
}

/// What a node can be told or asked: all that the [`Holder`], the [`Grantor`] and the [`LeaseCell`] take.
#[expect(clippy::large_enum_variant, reason = "there is no heap to put voters on")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The process starts, for the first time or again.
    Start {
        /// With this configuration.
        config: Config,
        /// The longest hold that this node recorded to have echoed under.
        longest_hold: Duration,
    },
    /// [`Holder::handle_event`].
    Event(Event),
    /// [`Holder::handle_timeout`].
    Timeout,
    /// [`Holder::read`].
    Read,
    /// [`Holder::quorum_read`].
    QuorumRead,
    /// [`LeaseCell::try_read`], by a reader thread.
    Look,
    /// [`Grantor::handle_round`].
    Frame(TermRound),
    /// [`Grantor::may_vote_or_campaign`].
    MayElect(Option<Release>),
}

/// What a node answered to an input that is a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// How the read may be answered.
    Read(Result<Read, ReadError>),
    /// What the cell granted.
    Permit(Option<Permit>),
    /// What the grantor echoes.
    Echo(Option<TermRound>),
    /// Whether the node may help to elect another, or campaign.
    MayElect(bool),
}

/// Whether a grantor is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Nothing holds it, or what did has been lifted.
    None,
    /// Until this, on both counters; it may have passed.
    Until(Instant),
    /// A full hold from its next reading.
    FromNextReading,
}

/// What an input caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// The answer, if the input was a question.
    pub answer: Option<Answer>,
    /// The actions taken after it, in order: no input causes more than three.
    pub actions: [Option<Action>; 3],
    /// When the lease ends, if there is one to end.
    pub lease: Option<Instant>,
    /// When the holder wants to be woken.
    pub wake: Option<(Instant, Reason)>,
    /// Whether the grantor is held.
    pub hold: Hold,
}

impl Effect {
    /// What can be seen of a holder and a grantor right after an input, before any action is taken.
    pub fn seen(answer: Option<Answer>, holder: &Holder, grantor: &Grantor) -> Effect {
        let hold = match grantor.held_until() {
            Some(end) => Hold::Until(end),
            None if grantor.awaits_reading() => Hold::FromNextReading,
            None => Hold::None,
        };
        Effect { answer, actions: [None; 3], lease: holder.lease_until(), wake: holder.poll_timeout(), hold }
    }

    /// Adds an action that was taken.
    ///
    /// # Panics
    /// At a fourth: a holder has no more kinds of action.
    pub fn add(&mut self, action: Action) {
        let free = self.actions.iter_mut().find(|slot| slot.is_none());
        *free.expect("no input causes more than three actions") = Some(action);
    }
}

/// A holder, a grantor and a cell, as one process has them: what a trace is replayed through.
#[derive(Debug)]
pub struct Node {
    holder: Holder,
    grantor: Grantor,
    cell: LeaseCell,
}

/// Reports that a line cannot follow the ones before it.
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
    /// Replays one line: `slot` is the node it names, `None` before its first start.
    ///
    /// # Errors
    /// [`OutOfPlace`], when no correct engine says this to a node that was told the lines before.
    pub fn replay(slot: &mut Option<Node>, line: &Line) -> Result<Effect, OutOfPlace> {
        if let Input::Start { config, longest_hold } = line.input {
            *slot = Some(Node {
                holder: Holder::new(line.node, config),
                grantor: Grantor::new(config, longest_hold, line.now),
                cell: LeaseCell::new(),
            });
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

/// Writes a node's trace as it runs. A line is complete when its outputs have been taken or the next input comes.
#[derive(Clone, Debug)]
pub struct Recorder {
    node: NodeId,
    origin: Reading,
    waiting: Option<(Line, Effect)>,
}

impl Recorder {
    /// The recorder of one node. Times are written relative to `origin`; without one, to the first reading.
    pub fn new(node: NodeId, origin: Reading) -> Recorder {
        Recorder { node, origin, waiting: None }
    }

    /// Notes an input and what could be seen right after it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn input(&mut self, now: Reading, input: Input, effect: Effect, out: &mut impl fmt::Write) -> fmt::Result {
        self.write(false, out)?;
        self.origin = self.origin.or(now);
        self.waiting = Some((Line { node: self.node, now, input, taken: false }, effect));
        Ok(())
    }

    /// Notes an action that was taken. One taken before any input has no line to stand in.
    pub fn action(&mut self, action: Action) {
        if let Some((_, effect)) = &mut self.waiting {
            effect.add(action);
        }
    }

    /// Notes that no action is left to take.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn taken(&mut self, out: &mut impl fmt::Write) -> fmt::Result {
        self.write(true, out)
    }

    fn write(&mut self, taken: bool, out: &mut impl fmt::Write) -> fmt::Result {
        let Some((line, effect)) = self.waiting.take() else { return Ok(()) };
        // Without an origin there was no reading yet, and nothing to measure from it.
        let origin = self.origin.unwrap_or(REPLAY_ORIGIN);
        writeln!(out, "{}", Line { taken, ..line }.shown(&effect, origin))
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
