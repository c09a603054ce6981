//! The memory of a node stays in proportion to the values that it keeps.

use bytes::Bytes;
use futures::FutureExt as _;
use leasehold_core::{Config, Index, Instant, Options as Timing, Reading};
use leasehold_node::ports::{
    Change, Cursor, InvalidRecord, Lane, Receive as _, Record, Recovered, State, StateMachine, UnknownCommand,
};
use leasehold_node::wire::{Body, Message, PeerRequest, RequestId};
use leasehold_node::{GroupOptions, GroupStart, Input, Node, NodeOptions, Output, Request, Role, frames, inbox};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(50);
const VALUE_BYTES: usize = 1 << 20;

/// Keeps one large value, which each command changes.
#[derive(Default)]
struct Large;

impl StateMachine for Large {
    type Output = ();
    type State = Empty;

    const NEWEST_VERSION: u32 = 1;

    fn version(_: &Bytes) -> u32 {
        1
    }

    fn apply(&mut self, index: Index, _: &Bytes, changes: &mut Vec<Change>) -> Result<(), UnknownCommand> {
        let value = Bytes::from(vec![index as u8; VALUE_BYTES]);
        changes.push(Change::Put(Record { key: Bytes::from_static(b"k"), value }));
        Ok(())
    }

    fn empty_state(&self) -> Empty {
        Empty
    }

    fn state(&self) -> Empty {
        Empty
    }

    fn replace(&mut self, state: Empty) -> Empty {
        state
    }

    fn encode_output((): &()) -> Bytes {
        Bytes::new()
    }

    fn decode_output(_: &[u8]) -> Option<()> {
        Some(())
    }
}

#[derive(Debug, Default)]
struct Empty;

impl State for Empty {
    fn insert(&mut self, _: Record) -> Result<(), InvalidRecord> {
        Ok(())
    }

    fn records(&self, _: Cursor) -> impl Iterator<Item = (Record, Cursor)> + '_ {
        std::iter::empty()
    }
}

/// Takes every output. Returns the number of the last commit, and the bytes of values in all of them.
fn drain(node: &mut Node<Large>) -> (Option<u64>, usize) {
    let (mut last, mut bytes) = (None, 0);
    while let Some(output) = node.poll_output() {
        if let Output::Commit { number, batches } = output {
            last = Some(number);
            for change in batches.iter().flat_map(|batch| &batch.changes) {
                if let Change::Put(record) = change {
                    bytes += record.value.len();
                }
            }
        }
    }
    (last, bytes)
}

#[test]
fn entries_that_change_one_large_value_hold_few_copies_of_it() {
    let config = Config::new(Timing::new(20 * TICK, 1000).with_heartbeat(2 * TICK)).expect("it fits together");
    let mut now = Duration::from_secs(100);
    let at = |now: Duration| -> Reading { Some(Instant::from_nanos(now.as_nanos() as u64, now.as_nanos() as u64)) };
    let group = GroupOptions::new(0, leasehold_raft::Options::new(1, config, 7), vec![1]);
    let mut options = NodeOptions::new(1, 1);
    // All are applied in one turn.
    options.max_apply_bytes = usize::MAX;
    let mut node = Node::new(options);
    node.add_group(at(now), GroupStart::new(group, Recovered::default()), Large).expect("a new group");
    while node.status(0).expect("the group").role != Role::Leader {
        now += TICK;
        node.handle_timeout(at(now));
        while let (Some(number), _) = drain(&mut node) {
            node.handle(at(now), Input::Committed { number });
        }
    }
    for ticket in 0..100 {
        let request = Request::Write(Bytes::from_static(b"c"));
        node.handle(at(now), Input::Request { ticket, group: 0, request });
    }
    let (mut number, mut bytes) = drain(&mut node);
    now += TICK;
    while let Some(durable) = number {
        node.handle(at(now), Input::Committed { number: durable });
        node.handle_timeout(at(now));
        let (next, more) = drain(&mut node);
        (number, bytes) = (next, bytes + more);
    }
    assert!(node.status(0).expect("the group").applied > 100);
    assert!((VALUE_BYTES..16 * VALUE_BYTES).contains(&bytes), "{bytes} bytes for one value of {VALUE_BYTES}");
}

#[test]
fn links_wait_with_large_messages_while_others_wait_for_the_node_but_not_with_urgent_ones() {
    let (inbox, mailbox) = inbox::<Large>();
    let request = PeerRequest::Propose { command: vec![0; 80 << 20].into(), within: TICK };
    let body = Body::Request { id: RequestId { boot: 1, sequence: 1 }, request };
    let large = Message { group: 0, body }.encode().expect("it has an encoding");
    let urgent = Message { group: 0, body: Body::Raft(Default::default()) }.encode().expect("it has an encoding");
    assert_eq!(inbox.receive(2, Lane::Request, &large).now_or_never(), Some(Ok(())));
    assert_eq!(inbox.receive(2, Lane::Request, &large).now_or_never(), None);
    assert_eq!(inbox.receive(2, Lane::Urgent, &urgent).now_or_never(), Some(Ok(())));
    drop(mailbox);
}

#[test]
fn messages_that_wait_for_the_node_count_with_the_memory_that_they_take() {
    let read = Body::Request { id: RequestId { boot: 1, sequence: 1 }, request: PeerRequest::ReadIndex };
    let round = Body::Raft(Default::default());
    for (lane, body, max) in [(Lane::Request, read, 128 << 20), (Lane::Urgent, round, 16 << 20)] {
        let (inbox, mailbox) = inbox::<Large>();
        let messages = vec![Message { group: 0, body }; 1_024];
        let memory = size_of::<Message>() * messages.len();
        let payloads = frames::encode(&messages, frames::VERSION.into());
        assert_eq!(payloads.len(), 1);
        let payload = payloads[0].bytes.as_ref().expect("it has an encoding");
        let mut taken = 0;
        while inbox.receive(2, lane, payload).now_or_never() == Some(Ok(())) {
            taken += 1;
        }
        assert!(taken > 10 && taken * memory <= max, "{taken} frames of {memory} bytes");
        drop(mailbox);
    }
}
