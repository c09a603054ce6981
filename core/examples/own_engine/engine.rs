//! An engine with leases: elections, a log, and the calls that the lease needs.

use leasehold_core::{Event, Fresh, LeaseCell, Member, NodeId, Reading, TermRound, Voters};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::Sender;

/// A log without content: the term of its last leader, and its length. The greater one is the newer one.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
pub(crate) struct Log {
    pub(crate) term: u64,
    pub(crate) length: u64,
}

/// A message between two nodes.
#[derive(Clone)]
pub(crate) enum Message {
    Frame { round: TermRound, length: u64, commit: u64 },
    Stored { term: u64, length: u64, echo: Option<TermRound> },
    RequestVote { term: u64, log: Log },
    Vote { term: u64 },
}

/// A node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) member: Member<Arc<LeaseCell>>,
    pub(crate) peers: BTreeMap<NodeId, Sender<(NodeId, Message)>>,
    pub(crate) cut: Arc<AtomicBool>,
    /// Reads the clock.
    pub(crate) now: fn() -> Reading,
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) votes: usize,
    pub(crate) log: Log,
    pub(crate) commit: u64,
    pub(crate) silent: u64, // ticks without a frame of a leader
    pub(crate) acknowledged: Arc<AtomicU64>,
}

impl Node {
    /// Handles a message.
    pub(crate) fn handle(&mut self, from: NodeId, message: Message) {
        match message {
            // While this node is held, its engine must not see the request: even a refusal would raise its term.
            Message::RequestVote { .. } if !self.member.may_vote(self.fresh(), None) => {}
            Message::RequestVote { term, log } if term > self.term => {
                self.follow(term);
                if log >= self.log {
                    self.send(from, Message::Vote { term });
                }
            }
            Message::Vote { term } if term == self.term && !self.leads => {
                self.votes += 1;
                if self.votes == 2 {
                    self.lead();
                }
            }
            Message::Frame { round, length, commit } if round.term >= self.term => {
                self.follow(round.term);
                // The leader's log replaces that of an earlier one. Frames of one leader may overtake each other.
                let known = if self.log.term == round.term { self.log.length } else { 0 };
                self.log = Log { term: round.term, length: known.max(length) };
                (self.commit, self.silent) = (self.commit.max(commit), 0);
                // The engine has accepted the leader: the hold begins, and then the echo leaves.
                let echo = self.member.handle_round(self.fresh(), round);
                self.send(from, Message::Stored { term: round.term, length: self.log.length, echo });
            }
            Message::Stored { term, length, echo } if term == self.term && self.leads => {
                if let Some(round) = echo {
                    self.report(Event::Acked { from, round });
                }
                // Stored here and there, that is by two of three.
                if length > self.commit {
                    self.commit = length;
                    self.report(Event::Committed(length));
                    // Only now may the write be acknowledged.
                    self.acknowledged.fetch_max(length, SeqCst);
                }
            }
            _ => {}
        }
    }

    /// Handles a tick.
    pub(crate) fn tick(&mut self) {
        self.member.handle_timeout(self.fresh());
        if self.leads && !self.member.holder().hears_quorum((self.now)()) {
            println!("n{} hears no quorum, and steps down", self.id);
            self.follow(self.term);
        }
        self.silent += 1;
        // A hold has 20 ticks. An election timeout has more, less than twice as many, and another number on each node.
        if self.leads {
            self.log.length += 1;
            self.replicate();
        } else if self.silent > 20 + 6 * self.id && self.member.may_campaign(self.fresh()) {
            self.follow(self.term + 1);
            (self.votes, self.silent) = (1, 0);
            self.peers.keys().for_each(|to| self.send(*to, Message::RequestVote { term: self.term, log: self.log }));
        }
    }

    fn lead(&mut self) {
        self.leads = true;
        // The entry that opens the term is the barrier.
        self.log = Log { term: self.term, length: self.log.length + 1 };
        println!("n{} leads term {}", self.id, self.term);
        let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
        self.report(Event::Elected { term: self.term, voters, barrier: self.log.length, commit: self.commit });
    }

    /// Follows in a term. A leader that steps down reports it before any message of this step leaves.
    fn follow(&mut self, term: u64) {
        if std::mem::take(&mut self.leads) {
            self.report(Event::Deposed);
        }
        self.term = term;
    }

    /// Returns a reading for one input.
    fn fresh(&self) -> Fresh {
        Fresh::new((self.now)())
    }

    fn report(&mut self, event: Event) {
        self.member.handle_event(self.fresh(), event).expect("the engine reports in order");
    }

    /// Sends a frame to each peer. Every frame carries the newest round.
    pub(crate) fn replicate(&mut self) {
        let Some(round) = self.member.frame_round() else { return };
        self.peers
            .keys()
            .for_each(|to| self.send(*to, Message::Frame { round, length: self.log.length, commit: self.commit }));
    }

    fn send(&self, to: NodeId, message: Message) {
        if !self.cut.load(SeqCst) {
            let _ = self.peers[&to].send((self.id, message));
        }
    }
}
