//! A loop around `RawNode` with an `AttachedLease`, next to `ReadOnlyOption::LeaseBased` of the same engine. Both are leaders
//! of three voters on one thread, driven as the crate's documentation says.

use crate::effort::{Effort, in_turns};
use crate::report::{Row, Runs};
use crate::stopwatch::nanos_each;
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::{Config, Instant, LeaseCell};
use leasehold_raft::{AttachedLease, Options, Stepped, Tag};
use raft::prelude::{Message, MessageType};
use raft::storage::MemStorage;
use raft::{RawNode, ReadOnlyOption, StateRole};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn read(clock: &SystemClock, timing: Config, effort: Effort) -> Result<Row, String> {
    let mut node = Node::leader(clock, timing).map_err(|error| format!("the raft crate: {error}"))?;
    let cell = node.cell.clone();
    let applied = node.raw.raft.raft_log.committed;
    let mut runs = Runs::default();
    let mut number = 0_u64;
    in_turns(
        effort.runs,
        || {
            runs.ours.push(nanos_each(effort.calls(50.0), || {
                let permit = black_box(&cell).try_read(clock.now()).expect("the lease lasts a minute");
                assert!(black_box(permit.index) <= applied, "the index is applied");
            }));
        },
        || {
            runs.theirs.push(nanos_each(effort.calls(250.0), || {
                number += 1;
                node.raw.read_index(number.to_le_bytes().to_vec());
                let mut ready = node.raw.ready();
                let states = ready.take_read_states();
                assert!(states.len() == 1 && black_box(states[0].index) <= applied, "the engine's lease answers it");
                let _nothing_new = node.raw.advance(ready);
            }));
        },
    );
    Ok(runs.row("RawNode loop: AttachedLease / raft LeaseBased", "ns", None))
}

struct Node {
    raw: RawNode<MemStorage>,
    lease: AttachedLease,
    cell: Arc<LeaseCell>,
}

impl Node {
    /// Returns a leader that has committed an entry of its term, with a lease.
    fn leader(clock: &SystemClock, timing: Config) -> Result<Node, Box<dyn std::error::Error>> {
        let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
        let config = raft::Config {
            id: 1,
            election_tick: 10,
            heartbeat_tick: 1,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::LeaseBased,
            ..raft::Config::default()
        };
        let raw = RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!()))?;
        let cell = Arc::new(LeaseCell::new());
        // As if the process had started when the counters did, so that it is not held any more.
        let start = Some(Instant::from_nanos(0, 0));
        let lease = AttachedLease::new(Options::new(1, timing, 1), &raw, Duration::ZERO, start, cell.clone())?;
        let mut node = Node { raw, lease, cell };
        if !node.lease.campaign(clock.now(), &mut node.raw) {
            return Err("this machine started less than a minute ago; try again later".into());
        }
        node.flush(clock)?;
        let term = node.raw.raft.term + 1;
        node.answer(clock, MessageType::MsgRequestPreVoteResponse, term, 0)?;
        node.answer(clock, MessageType::MsgRequestVoteResponse, term, 0)?;
        let last = node.raw.raft.raft_log.last_index();
        node.answer(clock, MessageType::MsgAppendResponse, term, last)?;
        let leads = node.raw.raft.state == StateRole::Leader && node.cell.try_read(clock.now()).is_some();
        if leads { Ok(node) } else { Err("two of three voted, and there is no lease".into()) }
    }

    /// Handles an answer of node 2, which acknowledges the newest round.
    fn answer(&mut self, clock: &SystemClock, kind: MessageType, term: u64, index: u64) -> raft::Result<()> {
        let mut message = Message { from: 2, to: 1, term, index, ..Message::default() };
        message.set_msg_type(kind);
        let ack = self.lease.tag(&Message { from: 1, to: 2, ..Message::default() }).round;
        let tag = Tag { ack, ..Tag::default() };
        if let Stepped::Seen(Err(error)) = self.lease.step(clock.now(), &mut self.raw, 2, tag, Some(message)) {
            return Err(error);
        }
        self.flush(clock)
    }

    /// Processes the output of the node and drops its messages.
    fn flush(&mut self, clock: &SystemClock) -> raft::Result<()> {
        while self.raw.has_ready() {
            let ready = self.raw.ready();
            self.raw.store().wl().append(ready.entries())?;
            if let Some(state) = ready.hs() {
                self.raw.store().wl().set_hardstate(state.clone());
            }
            self.lease.term_is_durable(self.raw.raft.term);
            let _light = self.raw.advance(ready);
            self.raw.advance_apply();
            self.lease.follow(clock.now(), &self.raw);
        }
        Ok(())
    }
}
