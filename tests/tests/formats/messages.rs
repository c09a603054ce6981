//! The handshake, messages between nodes, and log entries.

use super::golden;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::io::Cursor;
use leasehold::keyspace::{Keyspace, ReadCommand, Reply, WriteCommand};
use leasehold_core::{Config, Options};
use leasehold_node::chunk;
use leasehold_node::identity::Registry;
use leasehold_node::ports::{Lane, MemoryRegistry, Record, StateMachine as _};
use leasehold_node::wire::{Body, Message, PeerAnswer, PeerRequest, RequestId, Transfer};
use leasehold_raft::wire;
use leasehold_transport_tcp::frame::{Frame, FrameBuffer};
use leasehold_transport_tcp::handshake::Identity;
use std::sync::Arc;
use std::time::Duration;

fn identity(node: u64) -> Identity {
    let config = Config::new(Options::new(Duration::from_millis(1500), 200)).expect("a valid configuration");
    let registrar = Arc::new(MemoryRegistry::new(Registry::founded(node, 1..=2), 0x0102_0304 * node));
    Identity { node, cluster: "orchard".into(), config, registrar }
}

#[test]
fn the_handshake() {
    // The hello comes first in the stream, and the answer follows it.
    let mut stream = Cursor::new(Vec::new());
    identity(1).dial(&mut stream, 2, Lane::Append).now_or_never().expect("nothing waits").expect_err("no answer");
    let hello = golden("handshake-hello.hex", &stream.into_inner());

    let mut stream = Cursor::new(hello.clone());
    let dialer = identity(2).accept(&mut stream).now_or_never().expect("nothing waits").expect("it is accepted");
    assert_eq!((dialer.from(), dialer.to, dialer.lane, dialer.cluster.as_str()), (1, 2, Some(Lane::Append), "orchard"));
    assert_eq!(dialer.timing, identity(1).config.timing());
    let answer = golden("handshake-answer.hex", &stream.into_inner()[hello.len()..]);

    let whole = [vec![0; hello.len()], answer].concat();
    identity(1)
        .dial(&mut Cursor::new(whole), 2, Lane::Append)
        .now_or_never()
        .expect("nothing waits")
        .expect("accepted");

    let mut stream = Cursor::new(hello.clone());
    let mut stranger = identity(2);
    stranger.cluster = "vineyard".into();
    stranger.accept(&mut stream).now_or_never().expect("nothing waits").expect_err("another cluster");
    golden("handshake-refusal.hex", &stream.into_inner()[hello.len()..]);
}

#[test]
fn frames() {
    let frame = Frame::new(Bytes::from_static(b"payload"), 100).expect("below the limit");
    let bytes = golden("frame.hex", &[&frame.length_field(), frame.payload()].concat());
    let mut buffer = FrameBuffer::new(100);
    buffer.space()[..bytes.len()].copy_from_slice(&bytes);
    buffer.received(bytes.len());
    assert_eq!(buffer.next_frame(), Ok(Some(&b"payload"[..])));
}

fn engine_message(kind: wire::MessageKind) -> wire::Message {
    let notes = [(3, Bytes::from_static(b"note"))].into();
    let change = wire::Change { transition: wire::Transition::Explicit, steps: vec![wire::Step::AddVoter(3)], notes };
    wire::Message {
        kind,
        term: 7,
        log_term: 6,
        index: 50,
        commit: 49,
        commit_term: 6,
        request_snapshot: 1,
        reject: true,
        reject_hint: 12,
        transfer: true,
        priority: -2,
        entries: vec![
            wire::Entry { term: 6, index: 51, payload: wire::Payload::Command(Bytes::from_static(b"command")) },
            wire::Entry { term: 7, index: 52, payload: wire::Payload::Change(change) },
        ],
    }
}

fn membership() -> wire::Membership {
    wire::Membership {
        voters: vec![1, 2, 3],
        learners: vec![4],
        voters_outgoing: vec![1, 2],
        learners_next: vec![5],
        auto_leave: true,
        notes: [(4, Bytes::from_static(b"note"))].into(),
        changed: 40,
        highest_before: 9,
    }
}

fn check_message(name: &str, body: Body) {
    let message = Message { group: 0x0a0b_0c0d, body };
    let bytes = golden(name, &message.encode().expect("it has an encoding"));
    assert_eq!(Message::decode(&bytes), Ok(message), "{name}");
}

#[test]
fn messages_between_nodes() {
    let envelope = wire::Envelope {
        round: Some((7, 900)),
        ack: Some((7, 899)),
        release: Some((6, 800)),
        rejoin: Some(wire::Rejoin::Admitted { term: 7, attempt: 0x0102_0304_0506_0708, through: 52 }),
        messages: vec![engine_message(wire::MessageKind::Append)],
    };
    check_message("message-append.hex", Body::Raft(envelope));

    let id = RequestId { boot: 0x1122_3344_5566_7788, sequence: 99 };
    let propose =
        PeerRequest::Propose { command: Bytes::from_static(b"command"), within: Duration::from_millis(1_234) };
    let requests = [("read-index", PeerRequest::ReadIndex), ("propose", propose), ("outcome", PeerRequest::Outcome)];
    for (name, request) in requests {
        check_message(&format!("message-{name}.hex"), Body::Request { id, request });
    }
    let answers = [
        ("index", PeerAnswer::ReadIndex { index: 1234, by_lease: true }),
        ("applied", PeerAnswer::Applied { index: 1234, output: Bytes::from_static(b"output") }),
        ("not-executed", PeerAnswer::NotExecuted),
        ("busy", PeerAnswer::Busy),
        ("uncertain", PeerAnswer::Uncertain),
    ];
    for (name, answer) in answers {
        check_message(&format!("message-{name}.hex"), Body::Answer { id, answer });
    }
    let snapshot = wire::Snapshot { index: 40, term: 6, membership: membership() };
    let records = chunk::read(&vec![record("a", "1"), record("b", "")], 0, 1000).records;
    let transfers = [
        ("offer", Transfer::Offer { term: 7, stored: 2, sent: 5, snapshot }),
        ("chunk", Transfer::Chunk { number: 3, total: None, records: records.clone() }),
        ("last-chunk", Transfer::Chunk { number: 4, total: Some(1234), records }),
        ("stored", Transfer::Stored { chunks: 3 }),
        ("lacking", Transfer::Lacking { stored: 2, from: 4, sent: 5 }),
        ("done", Transfer::Done),
        ("unknown", Transfer::Unknown),
    ];
    for (name, transfer) in transfers {
        check_message(&format!("message-{name}.hex"), Body::Transfer { id, transfer });
    }
}

fn record(key: &'static str, value: &'static str) -> Record {
    Record { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(value.as_bytes()) }
}

#[test]
fn records_of_a_snapshot() {
    let records = vec![record("a", "1"), record("b", ""), record("longer key", "longer value")];
    let bytes = golden("snapshot-records.hex", &chunk::read(&records, 0, 1000).records);
    assert_eq!(chunk::decode(&bytes), Some(records));
}

#[test]
fn log_entries_of_the_server() {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let commands = [
        WriteCommand::Set { key: text("k"), value: text("v"), only_if_exists: Some(true), get_old: true },
        WriteCommand::Delete(vec![text("a"), text("b")]),
        WriteCommand::Add { key: text("n"), amount: -300 },
        WriteCommand::Append { key: text("k"), suffix: text("w") },
        WriteCommand::SetAll(vec![(text("a"), text("1")), (text("b"), text("2"))]),
        WriteCommand::Clear,
        WriteCommand::Read(ReadCommand::Get(text("k"))),
        WriteCommand::Read(ReadCommand::Strlen(text("k"))),
        WriteCommand::Read(ReadCommand::Exists(vec![text("k")])),
        WriteCommand::Read(ReadCommand::Mget(vec![text("k"), text("l")])),
        WriteCommand::Read(ReadCommand::Keys(text("*"))),
        WriteCommand::Read(ReadCommand::Size),
    ];
    let bytes = golden("log-entry.hex", &WriteCommand::encode_batch(&commands));
    assert_eq!(WriteCommand::decode_batch(&bytes), Some(commands.to_vec()));

    let replies = vec![
        Reply::Ok,
        Reply::Integer(-300),
        Reply::Value(Some(text("v"))),
        Reply::Value(None),
        Reply::Values(vec![Some(text("v")), None]),
        Reply::Error("ERR no".to_owned()),
    ];
    let bytes = golden("replies.hex", &Keyspace::encode_output(&replies));
    assert_eq!(Keyspace::decode_output(&bytes), Some(replies));
}
