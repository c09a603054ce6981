//! The handshake, messages between nodes, and log entries.

use super::golden;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::io::{AsyncRead, AsyncWrite};
use leasehold::keyspace::{
    DeadlineForm, Entry, ExpireCondition, ExpiryWrite, Keyspace, NewExpiry, Outcome, ReadCommand, Reply, SetCommand,
    SetCondition, When, WriteCommand,
};
use leasehold_core::{Config, Options};
use leasehold_node::chunk;
use leasehold_node::frames;
use leasehold_node::identity::Registry;
use leasehold_node::ports::{Cursor, Lane, MemoryRegistry, Record, StateMachine as _};
use leasehold_node::wire::{Body, Message, PeerAnswer, PeerRequest, RequestId, Transfer};
use leasehold_raft::wire;
use leasehold_tls::Stream;
use leasehold_transport_tcp::frame::{Frame, FrameBuffer};
use leasehold_transport_tcp::handshake::{Accepted, HandshakeError, Identity};
use leasehold_transport_tcp::{PeerSecret, Versions};
use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

fn identity(node: u64) -> Identity {
    let config = Config::new(Options::new(Duration::from_millis(1500), 200)).expect("a valid configuration");
    let registrar = Arc::new(MemoryRegistry::new(Registry::founded(node, 1..=2), 0x0102_0304 * node));
    let (versions, draw) = (Versions::new(4, 4), if node == 1 { || Ok([0xd1; 32]) } else { || Ok([0xac; 32]) });
    let groups = NonZeroU16::MIN;
    Identity { node, cluster: "orchard".into(), groups, config, registrar, versions, secret: None, draw }
}

fn with_secret(node: u64) -> Identity {
    Identity { secret: Some(PeerSecret::new(b"correct horse battery staple")), ..identity(node) }
}

type Dialed = Result<u16, HandshakeError>;
type Heard = Result<Accepted, HandshakeError>;

/// Runs the dialer's side on a stream that delivers `answer` and ends. Returns the outcome and what was written.
fn dial(dialer: &Identity, answer: &[u8]) -> (Dialed, Vec<u8>) {
    let mut wire = Wire { from: answer.to_vec(), written: Vec::new() };
    let dialed = dialer.dial(&mut Stream::plain(&mut wire), 2, Lane::Append).now_or_never().expect("nothing waits");
    (dialed, wire.written)
}

fn accept(acceptor: &Identity, heard: &[u8]) -> (Heard, Vec<u8>) {
    let mut wire = Wire { from: heard.to_vec(), written: Vec::new() };
    let accepted = acceptor.accept(&mut Stream::plain(&mut wire)).now_or_never().expect("nothing waits");
    (accepted.map_err(|(_, error)| error), wire.written)
}

/// Exchanges the messages of two nodes one by one. Returns the outcomes and what each side has sent.
fn shake(dialer: &Identity, acceptor: &Identity) -> (Dialed, Heard, [Vec<u8>; 2]) {
    // The nonces are fixed, so each side says the same again when it hears more.
    let (_, opening) = dial(dialer, &[]);
    let (_, answer) = accept(acceptor, &opening);
    let (_, from_dialer) = dial(dialer, &answer);
    let (accepted, from_acceptor) = accept(acceptor, &from_dialer);
    let (dialed, _) = dial(dialer, &from_acceptor);
    (dialed, accepted, [from_dialer, from_acceptor])
}

#[test]
fn the_handshake() {
    for (name, dialer, acceptor) in
        [("handshake", identity(1), identity(2)), ("handshake-secret", with_secret(1), with_secret(2))]
    {
        let (dialed, accepted, [from_dialer, from_acceptor]) = shake(&dialer, &acceptor);
        assert_eq!(dialed.expect("it is accepted"), 4);
        let Accepted { hello, version } = accepted.expect("it is accepted");
        assert_eq!((hello.from(), hello.to, hello.lane, version), (1, 2, Some(Lane::Append), 4));
        assert_eq!((hello.cluster.as_str(), hello.timing), ("orchard", identity(1).config.timing()));
        let from_dialer = golden(&format!("{name}-hello.hex"), &from_dialer);
        let from_acceptor = golden(&format!("{name}-answer.hex"), &from_acceptor);
        accept(&acceptor, &from_dialer).0.expect("the golden bytes are accepted");
        dial(&dialer, &from_acceptor).0.expect("the golden bytes are accepted");
    }

    let stranger = Identity { cluster: "vineyard".into(), ..identity(2) };
    let (dialed, accepted, [_, refusal]) = shake(&identity(1), &stranger);
    assert!(dialed.is_err() && accepted.is_err(), "another cluster");
    golden("handshake-refusal.hex", &refusal);
}

/// A stream that delivers `from`, then ends, and keeps what is written.
struct Wire {
    from: Vec<u8>,
    written: Vec<u8>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = buffer.len().min(self.from.len());
        let later = self.from.split_off(count);
        buffer[..count].copy_from_slice(&self.from);
        self.from = later;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
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
        local: wire::Local::default(),
    };
    check_message("message-append.hex", Body::Raft(envelope));

    let local = wire::Local {
        request: Some(wire::SubleaseRequest { term: 7, number: 0x0102_0304_0506_0708, drift_ppm: 1_000 }),
        grant: Some(wire::SubleaseGrant { term: 7, number: 899, length_nanos: 998_000_000, floor: 52 }),
        returned: Some(898),
        recall: true,
    };
    let envelope = wire::Envelope { round: Some((7, 900)), local, ..wire::Envelope::default() };
    check_message("message-local-reads.hex", Body::Raft(envelope));

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
    let records = chunk::read(&vec![record("\0a", "1"), record("\0b", "")], Cursor::default(), 1000).records;
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

    let several = vec![
        Message { group: 0x0a0b_0c0d, body: Body::Request { id, request: PeerRequest::ReadIndex } },
        Message { group: 1, body: Body::Answer { id, answer: PeerAnswer::Busy } },
    ];
    let payload = frames::encode(&several, 5).remove(0).bytes.expect("it has an encoding");
    assert_eq!(frames::decode(&golden("message-several.hex", &payload)), Ok(several));
}

fn record(key: &'static str, value: &'static str) -> Record {
    Record { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(value.as_bytes()) }
}

#[test]
fn records_of_a_snapshot() {
    // Earlier releases knew records of kind 0 only, and wrote no kind.
    let old = vec![record("\0a", "1"), record("\0b", ""), record("\0longer key", "longer value")];
    let new = vec![record("\u{1}", "time"), record("\u{2}a", "1"), record("\0b", "")];
    for (name, records) in [("snapshot-records.hex", old), ("snapshot-records-of-kinds.hex", new)] {
        let bytes = golden(name, &chunk::read(&records, Cursor::default(), 1000).records);
        assert_eq!(chunk::decode(&bytes), Some(records));
    }
}

#[test]
fn log_entries_of_the_server() {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let set = |condition, get_old, expiry| {
        WriteCommand::Set(SetCommand { key: text("k"), value: text("v"), condition, get_old, expiry })
    };
    let old = [
        set(SetCondition::Exists, true, NewExpiry::None),
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
    // Version 1, which earlier releases wrote, and which is written for them. It never changes.
    let bytes = golden("log-entry-1.hex", &Entry::encode_as(1, &[], true, &old).expect("old commands"));
    let entry = Entry { time: 0, watched: Vec::new(), whole: true, commands: old.to_vec() };
    assert_eq!(Entry::decode(&bytes), Some(entry));

    let expire = |condition| ExpiryWrite::Expire { key: text("k"), when: When::In(-7), condition };
    let get_and_expire = |expiry| WriteCommand::Expiry(ExpiryWrite::GetAndExpire { key: text("k"), expiry });
    let deadline = |form| WriteCommand::Read(ReadCommand::Deadline { key: text("k"), form });
    let new = [
        set(SetCondition::Always, false, NewExpiry::Keep),
        set(SetCondition::Missing, false, NewExpiry::Dies(When::In(300))),
        set(SetCondition::Equals(text("w")), false, NewExpiry::Dies(When::At(300))),
        set(SetCondition::Differs(text("w")), false, NewExpiry::None),
        WriteCommand::DeleteIf { key: text("k"), condition: SetCondition::Equals(text("v")) },
        WriteCommand::Expiry(expire(ExpireCondition::Always)),
        WriteCommand::Expiry(expire(ExpireCondition::Missing)),
        WriteCommand::Expiry(expire(ExpireCondition::Exists)),
        WriteCommand::Expiry(expire(ExpireCondition::Later)),
        WriteCommand::Expiry(expire(ExpireCondition::Earlier)),
        WriteCommand::Expiry(expire(ExpireCondition::ExistsAndEarlier)),
        WriteCommand::Expiry(ExpiryWrite::Persist(text("k"))),
        get_and_expire(NewExpiry::Keep),
        deadline(DeadlineForm::SecondsLeft),
        deadline(DeadlineForm::MillisecondsLeft),
        deadline(DeadlineForm::Seconds),
        deadline(DeadlineForm::Milliseconds),
    ];
    let watched = [(text("k"), 300), (text("none"), 0)];
    let commands = [&old[..], &new[..]].concat();
    let bytes = golden("log-entry.hex", &Entry::encode(&watched, false, &commands));
    let entry = Entry { time: 0, watched: watched.to_vec(), whole: false, commands };
    assert_eq!(Entry::decode(&bytes), Some(entry));

    let replies = vec![
        Reply::Ok,
        Reply::Integer(-300),
        Reply::Value(Some(text("v"))),
        Reply::Value(None),
        Reply::Values(vec![Some(text("v")), None]),
        Reply::Error("ERR no".to_owned()),
    ];
    check_outcome("replies-1.hex", Outcome::Replies(replies.clone()));
    let new = [
        Reply::Status("string".to_owned()),
        Reply::NoValues,
        Reply::Map(vec![(text("f"), text("v"))]),
        Reply::Pairs(vec![(text("f"), text("v"))]),
        Reply::Scanned { cursor: 300, found: vec![text("k")] },
    ];
    check_outcome("replies.hex", Outcome::Replies([&replies[..], &new[..]].concat()));
    check_outcome("conflict.hex", Outcome::Conflict);
}

fn check_outcome(name: &str, outcome: Outcome) {
    let bytes = golden(name, &Keyspace::encode_output(&outcome));
    assert_eq!(Keyspace::decode_output(&bytes), Some(outcome));
}
