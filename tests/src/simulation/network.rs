//! The links between nodes.

use super::setup::LinkSetup;
use super::types::Nanos;
use leasehold_core::NodeId;
use leasehold_node::wire::{Body, Message};
use leasehold_raft::wire::MessageKind;
use leasehold_testing::dice::Dice;

/// The most frames that a cut link keeps.
const KEPT: u32 = 64;

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
    pub message: Message,
}

/// Returns true if a message has a node campaign now.
pub(super) fn is_campaign_now(message: &Message) -> bool {
    match &message.body {
        Body::Raft(envelope) => envelope.messages.iter().any(|message| message.kind == MessageKind::TimeoutNow),
        _ => false,
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
    pub(super) fn send(&mut self, now: Nanos, message: &Message, setup: &LinkSetup, smooth: bool) -> Arrivals {
        if self.cuts > 0 {
            return Arrivals::default();
        }
        let first = self.arrival(now, message, setup, smooth);
        let twice = !smooth && first.is_some() && self.dice.chance(setup.duplicate_ppm);
        let second = if twice { self.arrival(now, message, setup, smooth) } else { None };
        Arrivals { first, second }
    }

    fn arrival(&mut self, now: Nanos, message: &Message, setup: &LinkSetup, smooth: bool) -> Option<Nanos> {
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
            let last = &mut self.last[message.lane() as usize];
            at = at.max(*last);
            *last = at;
        }
        Some(at)
    }
}
