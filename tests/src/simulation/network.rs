//! The links between nodes.

use super::Nanos;
use super::dice::Dice;
use super::node::Ask;
use super::setup::LinkSetup;
use leasehold::keyspace::Reply;
use leasehold_core::{Index, NodeId};
use leasehold_raft::wire::{Envelope, MessageKind};

/// The most frames that a cut link keeps.
const KEPT: u32 = 64;

/// What a frame says.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// From replica to replica.
    Raft(Envelope),
    /// A request, by its number.
    Request(u64, Ask),
    /// The answer to one.
    Answer(u64, Told),
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// From this index on, and whether the lease says so.
    ReadIndex { index: Index, by_lease: bool },
    /// What the command answered, and where in the log it stands.
    Reply { reply: Reply, index: Index },
    /// It was not executed, and will not be.
    NotExecuted,
    /// Nobody knows.
    Uncertain,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct InTransit {
    /// Who sent it, and which of that node's processes.
    pub from: NodeId,
    /// The sender's boot.
    pub from_boot: u32,
    /// The timing that the sender had told.
    pub from_timing: u8,
    /// Who receives it.
    pub to: NodeId,
    /// And which of that node's processes was connected.
    pub to_boot: u32,
    /// What it says.
    pub body: Body,
}

impl Body {
    fn lane(&self) -> usize {
        match self {
            Body::Raft(envelope) if envelope.is_bulk() => 1,
            Body::Raft(_) => 0,
            Body::Request(..) | Body::Answer(..) => 2,
        }
    }

    /// Whether it has a node campaign now.
    pub(super) fn is_campaign_now(&self) -> bool {
        match self {
            Body::Raft(envelope) => envelope.messages.iter().any(|message| message.kind == MessageKind::TimeoutNow),
            _ => false,
        }
    }
}

/// One direction between two nodes.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// How many faults cut it.
    pub cuts: u32,
    /// Until when frames are kept instead of delivered.
    pub keeps_until: Nanos,
    kept: u32,
    /// How much longer frames take, and until when.
    pub slower: (Nanos, Nanos),
    /// When the last frame of each lane arrives.
    last: [Nanos; 3],
    dice: Dice,
}

/// When copies of a frame arrive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    /// The frame.
    pub first: Option<Nanos>,
    /// Its copy.
    pub second: Option<Nanos>,
}

impl Link {
    /// A link that works.
    pub(super) fn new(dice: Dice) -> Link {
        Link { cuts: 0, keeps_until: 0, kept: 0, slower: (0, 0), last: [0; 3], dice }
    }

    /// A link that works again.
    pub(super) fn mend(&mut self) {
        (self.cuts, self.keeps_until, self.slower) = (0, 0, (0, 0));
    }

    /// When a frame sent now arrives, if it does.
    pub(super) fn send(&mut self, now: Nanos, body: &Body, setup: &LinkSetup, smooth: bool) -> Arrivals {
        if self.cuts > 0 {
            return Arrivals::default();
        }
        let first = self.arrival(now, body, setup, smooth);
        let twice = !smooth && first.is_some() && self.dice.chance(setup.duplicate_ppm);
        let second = if twice { self.arrival(now, body, setup, smooth) } else { None };
        Arrivals { first, second }
    }

    fn arrival(&mut self, now: Nanos, body: &Body, setup: &LinkSetup, smooth: bool) -> Option<Nanos> {
        let mut from = now;
        if now < self.keeps_until {
            if self.kept >= KEPT {
                return None;
            }
            self.kept += 1;
            from = self.keeps_until;
        } else {
            self.kept = 0;
        }
        let mut at = from + setup.latency + self.dice.below(setup.jitter);
        if now < self.slower.1 {
            at += self.slower.0;
        }
        if !smooth {
            if self.dice.chance(setup.loss_ppm) {
                return None;
            }
            if self.dice.chance(setup.late_ppm) {
                return Some(at + self.dice.below(setup.latest));
            }
        }
        if setup.ordered {
            let last = &mut self.last[body.lane()];
            at = at.max(*last);
            *last = at;
        }
        Some(at)
    }
}
