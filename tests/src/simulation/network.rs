//! The links between nodes.

use super::setup::LinkSetup;
use super::types::Nanos;
use leasehold_core::NodeId;
use leasehold_node::ports::Lane;
use leasehold_node::wire::{Body, Message};
use leasehold_raft::wire::MessageKind;
use leasehold_testing::dice::Dice;
use std::collections::BTreeSet;

/// The maximum number of frames that a cut link keeps.
const MAX_KEPT_FRAMES: u32 = 64;

/// A frame in transit.
#[derive(Clone, Debug)]
pub(super) struct InTransit {
    /// The sending node.
    pub from: NodeId,
    /// The boot of the sending process.
    pub from_boot: u32,
    /// The timing of the sending process.
    pub from_timing: u8,
    /// The receiving node.
    pub to: NodeId,
    /// The boot of the process that was connected when the frame was sent.
    pub to_boot: u32,
    /// Its messages.
    pub messages: Vec<Message>,
}

/// Returns true if a frame contains "campaign now".
pub(super) fn is_campaign_now(messages: &[Message]) -> bool {
    has_any(messages, |message| message.kind == MessageKind::TimeoutNow)
}

/// Returns true if a frame replicates entries.
fn has_entries(messages: &[Message]) -> bool {
    has_any(messages, |message| !message.entries.is_empty())
}

fn has_any(messages: &[Message], of: impl Fn(&leasehold_raft::wire::Message) -> bool) -> bool {
    let mut envelopes = messages.iter().filter_map(|message| match &message.body {
        Body::Raft(envelope) => Some(envelope),
        _ => None,
    });
    envelopes.any(|envelope| envelope.messages.iter().any(&of))
}

/// One direction between two nodes.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The number of faults that cut this link.
    pub cuts: u32,
    /// Until this time, frames are kept instead of delivered.
    pub keeps_until: Nanos,
    kept: u32,
    /// Until this time, appends with entries are lost.
    pub loses_appends_until: Nanos,
    /// The extra latency of frames, and the time at which it ends.
    pub slower: (Nanos, Nanos),
    /// The arrival time of each lane's last frame.
    last: [Nanos; 3],
    dice: Dice,
    /// The boots of the sending and of the receiving processes that have shaken hands.
    pub handshakes: BTreeSet<(u32, u32)>,
}

/// The arrival times of a frame and of its duplicate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    /// The arrival of the frame, if it is not lost.
    pub first: Option<Nanos>,
    /// The arrival of the duplicate, if there is one.
    pub second: Option<Nanos>,
}

impl Link {
    /// Creates a healthy link.
    pub(super) fn new(dice: Dice) -> Link {
        Link {
            cuts: 0,
            keeps_until: 0,
            kept: 0,
            loses_appends_until: 0,
            slower: (0, 0),
            last: [0; 3],
            dice,
            handshakes: BTreeSet::new(),
        }
    }

    /// Ends all faults on this link.
    pub(super) fn mend(&mut self) {
        (self.cuts, self.keeps_until, self.slower) = (0, 0, (0, 0));
        self.loses_appends_until = 0;
    }

    /// Returns the arrival times of a frame sent now.
    pub(super) fn send(
        &mut self,
        now: Nanos,
        lane: Lane,
        messages: &[Message],
        setup: &LinkSetup,
        smooth: bool,
    ) -> Arrivals {
        if self.cuts > 0 || (now < self.loses_appends_until && has_entries(messages)) {
            return Arrivals::default();
        }
        let first = self.arrival(now, lane, setup, smooth);
        let twice = !smooth && first.is_some() && self.dice.chance(setup.duplicate_ppm);
        let second = if twice { self.arrival(now, lane, setup, smooth) } else { None };
        Arrivals { first, second }
    }

    fn arrival(&mut self, now: Nanos, lane: Lane, setup: &LinkSetup, smooth: bool) -> Option<Nanos> {
        let mut from = now;
        if now < self.keeps_until {
            if self.kept >= MAX_KEPT_FRAMES {
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
            let last = &mut self.last[lane as usize];
            at = at.max(*last);
            *last = at;
        }
        Some(at)
    }
}
