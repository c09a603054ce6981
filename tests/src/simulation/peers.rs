//! What nodes ask each other for their clients: read indexes (`server/src/follower.rs`) and writes (`server/src/peers.rs`).

use super::Nanos;
use super::clients::{Asker, By};
use super::marks::Mark;
use super::network::{Body, Told};
use super::node::{Ask, Fate, Input};
use super::setup::SECOND;
use super::world::{Event, World};
use leasehold_core::{Index, NodeId};

/// How long a follower waits for a read index, and a forwarded write when its leader was deposed.
const ANSWER: Nanos = SECOND;

impl World {
    /// One request for every read that waits.
    pub(super) fn ask_for_read_index(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.read_indexes.asked.is_some() || process.read_indexes.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut process.read_indexes.waiting);
        let leader = process.status.leader;
        if leader == 0 || leader == node as NodeId + 1 {
            return waiting.into_iter().for_each(|reference| self.retry(reference));
        }
        let request = process.next_request();
        process.read_indexes.asked = Some((request, leader, waiting));
        let boot = self.nodes[node].boot;
        self.at(self.now + ANSWER, Event::AnswerIsLate { node: node as u8, boot, request });
        self.send_frame(node, leader, Body::Request(request, Ask::ReadIndex));
    }

    /// No answer to a request for a read index came in time.
    pub(super) fn answer_is_late(&mut self, node: usize, request: u64) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.read_indexes.asked.as_ref().is_some_and(|(asked, ..)| *asked == request) {
            self.read_index_came(node, Err(()));
        }
    }

    fn read_index_came(&mut self, node: usize, granted: Result<(Index, By), ()>) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some((_, _, waiting)) = process.read_indexes.asked.take() else { return };
        for reference in waiting {
            match granted {
                Ok((index, by)) => {
                    if let Some(operation) = self.operation(reference) {
                        operation.granted = Some((by, true));
                        self.wait_applied(reference, index);
                    }
                }
                Err(()) => self.retry(reference),
            }
        }
        self.ask_for_read_index(node);
    }

    /// A process sees another leader than before: what it asked the old one may never be answered.
    pub(super) fn leader_is_news(&mut self, node: usize) {
        let (now, boot) = (self.now, self.nodes[node].boot);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let leader = process.status.leader;
        let asked_another = process.read_indexes.asked.as_ref().is_some_and(|(_, asked, _)| *asked != leader);
        if leader != 0 {
            let hopeless: Vec<u64> = process
                .forwarded
                .iter()
                .filter(|(_, (_, asked))| *asked != leader)
                .map(|(request, _)| *request)
                .collect();
            for request in hopeless {
                self.at(now + ANSWER, Event::AnswerIsHopeless { node: node as u8, boot, request });
            }
        }
        if asked_another {
            self.read_index_came(node, Err(()));
        }
    }

    /// A forwarded write has waited long enough for a leader that was deposed.
    pub(super) fn answer_is_hopeless(&mut self, node: usize, request: u64) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if let Some((reference, _)) = process.forwarded.remove(&request) {
            self.write_told(reference, Err(Fate::Uncertain));
        }
    }

    /// A peer answers.
    pub(super) fn answered(&mut self, node: usize, request: u64, told: Told) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.read_indexes.asked.as_ref().is_some_and(|(asked, ..)| *asked == request) {
            let granted = match told {
                Told::ReadIndex { index, by_lease } => Ok((index, if by_lease { By::Lease } else { By::Quorum })),
                _ => Err(()),
            };
            return self.read_index_came(node, granted);
        }
        if let Some((reference, _)) = process.forwarded.remove(&request) {
            let outcome = match told {
                Told::Reply { reply, index } => Ok((reply, index)),
                Told::NotExecuted => Err(Fate::NotExecuted),
                Told::Uncertain | Told::ReadIndex { .. } => Err(Fate::Uncertain),
            };
            self.write_told(reference, outcome);
        }
    }

    /// A peer asks.
    pub(super) fn requested(&mut self, node: usize, peer: NodeId, peer_boot: u32, request: u64, ask: Ask) {
        let now = self.now;
        let readers_run = self.nodes[node].readers_run(now);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if !readers_run {
            return process.requests.push((peer, peer_boot, request, ask));
        }
        let asker = Asker::Peer { node: peer, boot: peer_boot, request };
        match ask {
            Ask::ReadIndex => {
                // The reading is taken now: after the request arrived.
                let sample = self.nodes[node].clock.read(now);
                let process = self.nodes[node].process.as_mut().expect("it was there");
                match process.cell.try_read(sample) {
                    Some(permit) => {
                        self.check_permit(node, permit, self.elected);
                        self.read_granted(asker, node, Ok((permit.index, By::Lease)));
                    }
                    None => self.give(node, Input::Read { asker, by_quorum: false }),
                }
            }
            Ask::Entry(entry) => {
                let seen = process.seen.entry((peer, peer_boot)).or_default();
                if seen.contains(&request) {
                    self.marks.reach(Mark::RequestRepeated);
                } else {
                    seen.push(request);
                    self.give(node, Input::Write { command: entry, asker });
                }
            }
        }
    }
}
