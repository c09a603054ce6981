//! The `raft` crate's own `LeaseBased` reads: a leader of three voters on one thread, with no other clients, driven as
//! the crate's documentation says: `read_index`, then `has_ready`, `ready` and `advance`.

use super::local::reads_a_second;
use crate::effort::{Effort, in_turns, leased};
use crate::report::{Row, Runs, Target};
use crate::stopwatch::nanos_each;
use leasehold_clock::{Clock, SystemClock};
use raft::prelude::{Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, ReadOnlyOption, StateRole};
use std::hint::black_box;

pub(super) fn lease_based(clock: &SystemClock, effort: Effort) -> Result<Row, String> {
    let mut node = leader().map_err(|error| format!("the raft crate: {error}"))?;
    let cell = leased(clock.now());
    let mut runs = Runs::default();
    let (ours, theirs) = (effort.calls(50.0), effort.calls(250.0));
    in_turns(
        effort.runs,
        || runs.ours.push(reads_a_second(&cell, clock, ours)),
        || {
            let mut read_number = 0;
            runs.theirs.push(1e3 / nanos_each(theirs, || read(&mut node, &mut read_number)));
        },
    );
    Ok(runs.row("try_read, fresh sample / raft LeaseBased", "M/s", Some(Target::AtLeast(4.0))))
}

/// Executes a read. The engine needs a context for each, here its number.
fn read(node: &mut RawNode<MemStorage>, number: &mut u64) {
    *number += 1;
    node.read_index(number.to_le_bytes().to_vec());
    assert!(node.has_ready(), "a read has a result");
    let mut ready = node.ready();
    let states = ready.take_read_states();
    assert_eq!(states.len(), 1, "the lease answers it");
    black_box(states);
    let _nothing_new = node.advance(ready);
}

/// Returns a leader of three that has committed an entry of its term.
fn leader() -> raft::Result<RawNode<MemStorage>> {
    let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
    let config = Config {
        id: 1,
        election_tick: 10,
        heartbeat_tick: 1,
        check_quorum: true,
        read_only_option: ReadOnlyOption::LeaseBased,
        ..Config::default()
    };
    let mut node = RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!()))?;
    node.campaign()?;
    drain_ready(&mut node)?;
    step(&mut node, MessageType::MsgRequestVoteResponse, 0)?;
    drain_ready(&mut node)?;
    assert_eq!(node.raft.state, StateRole::Leader, "two of three voted for it");
    let last = node.raft.raft_log.last_index();
    step(&mut node, MessageType::MsgAppendResponse, last)?;
    drain_ready(&mut node)?;
    Ok(node)
}

/// Steps a response from node 2.
fn step(node: &mut RawNode<MemStorage>, kind: MessageType, index: u64) -> raft::Result<()> {
    let mut message = Message { from: 2, to: 1, term: node.raft.term, index, ..Message::default() };
    message.set_msg_type(kind);
    node.step(message)
}

/// Processes the output of the node and drops its messages.
fn drain_ready(node: &mut RawNode<MemStorage>) -> raft::Result<()> {
    let store = node.store().clone();
    while node.has_ready() {
        let ready = node.ready();
        store.wl().append(ready.entries())?;
        if let Some(state) = ready.hs() {
            store.wl().set_hardstate(state.clone());
        }
        let _light = node.advance(ready);
        node.advance_apply();
    }
    Ok(())
}
