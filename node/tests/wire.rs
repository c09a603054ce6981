//! Messages survive their encoding, and no bytes cause harm.

use bytes::Bytes;
use leasehold_node::frames;
use leasehold_node::ports::{Lane, Rejected};
use leasehold_node::wire::{Body, DecodeError, Message, PeerAnswer, PeerRequest, RequestId, Transfer};
use leasehold_raft::wire::{
    Change, Entry, Envelope, Local, Membership, Message as RaftMessage, MessageKind, Payload, Rejoin, Snapshot, Step,
    SubleaseGrant, SubleaseRequest,
};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::time::Duration;

const MIB: usize = 1 << 20;
/// The bytes of version, kind, group and id.
const FIXED: usize = 1 + 1 + 4 + 16;

fn message(entries: Vec<Entry>) -> RaftMessage {
    RaftMessage {
        kind: MessageKind::Append,
        term: 3,
        log_term: 2,
        index: 7,
        commit: 6,
        commit_term: 2,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        transfer: false,
        priority: -1,
        entries,
    }
}

fn entry(payload: Payload) -> Entry {
    Entry { term: 1, index: 2, payload }
}

fn raft(messages: Vec<RaftMessage>) -> Message {
    let (round, release) = (Some((3, 9)), Some((3, 8)));
    let envelope = Envelope { round, release, messages, ..Envelope::default() };
    Message { group: 0, body: Body::Raft(envelope) }
}

fn request(request: PeerRequest) -> Message {
    Message { group: 7, body: Body::Request { id: RequestId { boot: 1, sequence: 2 }, request } }
}

fn answer(answer: PeerAnswer) -> Message {
    Message { group: 7, body: Body::Answer { id: RequestId { boot: 1, sequence: 2 }, answer } }
}

fn transfer(transfer: Transfer) -> Message {
    Message { group: 7, body: Body::Transfer { id: RequestId { boot: 1, sequence: 2 }, transfer } }
}

fn encode(message: &Message) -> Bytes {
    message.encode().expect("it encodes")
}

/// A message of any kind and shape.
#[derive(Clone, Debug)]
struct Any(Message);

impl Arbitrary for Any {
    fn arbitrary(g: &mut Gen) -> Self {
        let payload = Bytes::from(Vec::<u8>::arbitrary(g));
        let id = RequestId { boot: u64::arbitrary(g), sequence: u64::arbitrary(g) };
        let answer = |answer| Body::Answer { id, answer };
        let body = match u8::arbitrary(g) % 12 {
            0 => Body::Request { id, request: PeerRequest::ReadIndex },
            1 => {
                let within = Duration::from_millis(u64::from(u32::arbitrary(g)));
                Body::Request { id, request: PeerRequest::Propose { command: payload, within } }
            }
            2 => answer(PeerAnswer::ReadIndex { index: u64::arbitrary(g), by_lease: bool::arbitrary(g) }),
            3 => answer(PeerAnswer::Applied { index: u64::arbitrary(g), output: payload }),
            4 => answer(PeerAnswer::NotExecuted),
            5 => answer(PeerAnswer::Busy),
            6 => answer(PeerAnswer::Uncertain),
            7 => Body::Transfer { id, transfer: any_transfer(g, payload) },
            _ => {
                let messages = (0..u8::arbitrary(g) % 4).map(|_| any_message(g)).collect();
                let [round, ack, release] = [Option::arbitrary(g), Option::arbitrary(g), Option::arbitrary(g)];
                let (term, index, attempt) = (u64::arbitrary(g), u64::arbitrary(g), u64::arbitrary(g));
                let rejoin = match u8::arbitrary(g) % 6 {
                    0 => Some(Rejoin::Request { term, last: index, attempt }),
                    1 => Some(Rejoin::Admitted { term, attempt, through: index }),
                    2 => Some(Rejoin::Member { attempt }),
                    _ => None,
                };
                let local = any_local(g);
                Body::Raft(Envelope { round, ack, release, rejoin, messages, local })
            }
        };
        Any(Message { group: u32::arbitrary(g), body })
    }
}

/// Returns the part of an envelope that is for local reads: an empty one, mostly.
fn any_local(g: &mut Gen) -> Local {
    let (term, number) = (u64::arbitrary(g), u64::arbitrary(g));
    let request = SubleaseRequest { term, number, drift_ppm: u32::arbitrary(g) };
    let grant = SubleaseGrant { term, number, length_nanos: u64::arbitrary(g), floor: u64::arbitrary(g) };
    match u8::arbitrary(g) % 12 {
        0 => Local { request: Some(request), ..Local::default() },
        1 => Local { grant: Some(grant), ..Local::default() },
        2 => Local { returned: Some(number), ..Local::default() },
        3 => Local { recall: true, ..Local::default() },
        4 => Local { request: Some(request), grant: Some(grant), returned: Some(number), recall: bool::arbitrary(g) },
        _ => Local::default(),
    }
}

fn any_transfer(g: &mut Gen, records: Bytes) -> Transfer {
    let membership = Membership { voters: Vec::arbitrary(g), learners: Vec::arbitrary(g), ..Membership::default() };
    let snapshot = Snapshot { index: u64::arbitrary(g), term: u64::arbitrary(g), membership };
    match u8::arbitrary(g) % 6 {
        0 => Transfer::Offer { term: u64::arbitrary(g), stored: u64::arbitrary(g), sent: u64::arbitrary(g), snapshot },
        1 => Transfer::Chunk { number: u64::arbitrary(g), total: Option::arbitrary(g), records },
        2 => Transfer::Stored { chunks: u64::arbitrary(g) },
        3 => Transfer::Lacking { stored: u64::arbitrary(g), from: u64::arbitrary(g), sent: u64::arbitrary(g) },
        4 => Transfer::Done,
        _ => Transfer::Unknown,
    }
}

fn any_message(g: &mut Gen) -> RaftMessage {
    let entries = (0..u8::arbitrary(g) % 5)
        .map(|_| match bool::arbitrary(g) {
            true => entry(Payload::Command(Vec::arbitrary(g).into())),
            false => entry(Payload::Change(Change {
                steps: vec![Step::AddVoter(u64::arbitrary(g)), Step::Remove(u64::arbitrary(g))],
                ..Change::default()
            })),
        })
        .collect();
    RaftMessage { reject: bool::arbitrary(g), priority: i64::arbitrary(g), ..message(entries) }
}

/// Returns true if the length of this body is known only from where the payload ends.
fn is_open_ended(message: &Message) -> bool {
    let Message { body, .. } = message;
    matches!(
        body,
        Body::Request { request: PeerRequest::Propose { .. }, .. }
            | Body::Answer { answer: PeerAnswer::Applied { .. }, .. }
    )
}

#[test]
fn every_message_survives_its_encoding() {
    fn property(Any(message): Any) -> bool {
        Message::decode(&encode(&message)) == Ok(message)
    }
    QuickCheck::new().tests(1000).quickcheck(property as fn(Any) -> bool);
}

#[test]
fn rejects_messages_cut_or_extended_anywhere() {
    fn property(Any(message): Any) -> bool {
        let bytes = encode(&message);
        let open_ended = is_open_ended(&message);
        let fixed = if open_ended { FIXED } else { bytes.len() };
        (0..fixed).all(|end| Message::decode(&bytes[..end]).is_err())
            && Message::decode(&[&bytes, &[0][..]].concat()).is_ok() == open_ended
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(Any) -> bool);
}

#[test]
fn random_and_damaged_bytes_never_panic() {
    fn random(bytes: Vec<u8>) -> bool {
        let _ = Message::decode(&bytes);
        for kind in 0..=17 {
            let _ = Message::decode(&[&[4, kind, 0, 0, 0, 0], bytes.as_slice()].concat());
        }
        true
    }
    fn damaged(Any(message): Any, position: usize, value: u8) -> bool {
        let mut bytes = encode(&message).to_vec();
        let position = position % bytes.len();
        bytes[position] = value;
        // Every change of a byte is seen, as an error or as another message.
        let unchanged = encode(&message)[position] == value;
        unchanged || Message::decode(&bytes) != Ok(message)
    }
    QuickCheck::new().tests(2000).quickcheck(random as fn(Vec<u8>) -> bool);
    QuickCheck::new().tests(2000).quickcheck(damaged as fn(Any, usize, u8) -> bool);
}

#[test]
fn names_the_unknown_version_or_kind() {
    assert_eq!(Message::decode(&[2, 0, 0, 0, 0, 0]), Err(DecodeError::OtherVersion { version: 2 }));
    assert_eq!(Message::decode(&[4, 17]), Err(DecodeError::UnknownKind { kind: 17 }));
    for bytes in [&[][..], &[4], &[4, 0], &[4, 5, 0, 0, 0]] {
        assert_eq!(Message::decode(bytes), Err(DecodeError::Malformed { length: bytes.len() }));
    }
    assert_eq!(
        Rejected::from(DecodeError::UnknownKind { kind: 9 }).to_string(),
        "sent a message of unknown kind 9: run the same release on all nodes"
    );
}

#[test]
fn the_encoding_of_version_4_does_not_change() {
    let id = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let expected = |kind: u8, rest: &[u8]| [&[4, kind, 7, 0, 0, 0], &id[..], rest].concat();
    let bytes = Bytes::from_static(b"bytes");
    for (message, expected) in [
        (request(PeerRequest::ReadIndex), expected(1, &[])),
        (
            request(PeerRequest::Propose { command: bytes.clone(), within: Duration::from_millis(0x0102) }),
            expected(2, b"\x02\x01\0\0bytes"),
        ),
        (request(PeerRequest::Outcome), expected(15, &[])),
        (answer(PeerAnswer::ReadIndex { index: 9, by_lease: true }), expected(3, &[9, 0, 0, 0, 0, 0, 0, 0, 1])),
        (answer(PeerAnswer::Applied { index: 9, output: bytes }), expected(4, b"\x09\0\0\0\0\0\0\0bytes")),
        (answer(PeerAnswer::NotExecuted), expected(5, &[])),
        (answer(PeerAnswer::Busy), expected(6, &[])),
        (answer(PeerAnswer::Uncertain), expected(7, &[])),
        (transfer(Transfer::Stored { chunks: 9 }), expected(11, &[9, 0, 0, 0, 0, 0, 0, 0])),
        (transfer(Transfer::Done), expected(13, &[])),
        (transfer(Transfer::Unknown), expected(14, &[])),
    ] {
        assert_eq!(encode(&message), expected, "{message:?}");
    }
    let empty = Message { group: 7, body: Body::Raft(Envelope::default()) };
    assert_eq!(encode(&empty)[..], [&[4, 0, 7, 0, 0, 0][..], &[0; 4 + 8]].concat());
    let local = Local { returned: Some(9), recall: true, ..Local::default() };
    let returns = Message { group: 7, body: Body::Raft(Envelope { local, ..Envelope::default() }) };
    let expected = [&[4, 16, 7, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 4 + 8]].concat();
    assert_eq!(encode(&returns)[..], expected);
}

#[test]
fn an_envelope_without_local_reads_has_one_encoding() {
    let nothing = [&[4, 16, 7, 0, 0, 0][..], &[0; 4], &[0; 4 + 8]].concat();
    assert_eq!(Message::decode(&nothing), Err(DecodeError::Malformed { length: nothing.len() }));
}

#[test]
fn rejects_a_flag_that_is_neither_0_nor_1() {
    let mut bytes = encode(&answer(PeerAnswer::ReadIndex { index: 9, by_lease: true })).to_vec();
    bytes[FIXED + 8] = 2;
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Malformed { length: FIXED + 9 }));
}

#[test]
fn a_damaged_chunk_is_refused_wherever_it_is_damaged() {
    let records = Bytes::from_static(b"records");
    for total in [None, Some(5)] {
        let bytes = encode(&transfer(Transfer::Chunk { number: 3, total, records: records.clone() }));
        // The number of the chunk, the checksum, and the records.
        for at in (FIXED..FIXED + 16).chain(bytes.len() - records.len()..bytes.len()) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 4;
            assert_eq!(Message::decode(&damaged), Err(DecodeError::Checksum), "byte {at}");
        }
        assert_eq!(Message::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Checksum));
    }
}

#[test]
fn log_entries_and_client_requests_stay_off_the_urgent_lane() {
    assert_eq!(raft(vec![]).lane(), Lane::Urgent);
    assert_eq!(raft(vec![message(vec![])]).lane(), Lane::Append);
    assert_eq!(request(PeerRequest::ReadIndex).lane(), Lane::Request);
    assert_eq!(answer(PeerAnswer::Busy).lane(), Lane::Request);
    assert_eq!(transfer(Transfer::Chunk { number: 0, total: None, records: Bytes::new() }).lane(), Lane::Append);
    assert_eq!(transfer(Transfer::Done).lane(), Lane::Urgent);
}

#[test]
fn large_commands_and_chunks_fit() {
    let data = Bytes::from(vec![7; 40 * MIB]);
    let transfer = Transfer::Chunk { number: 3, total: None, records: data.clone() };
    let id = RequestId { boot: 1, sequence: 2 };
    let messages = [
        Message { group: 0, body: Body::Transfer { id, transfer } },
        raft(vec![message(vec![entry(Payload::Command(data.slice(..16 * MIB))); 2])]),
        answer(PeerAnswer::Applied { index: 1, output: data }),
    ];
    for message in messages {
        let again = Message::decode(&encode(&message)).expect("it decodes");
        assert!(again == message, "the message changed");
    }
}

#[test]
fn many_small_elements_decode_at_every_size() {
    // Each needs more memory than its encoding: the preallocation limit must allow for it.
    let change = |count| Payload::Change(Change { steps: vec![Step::Remove(1); count], ..Change::default() });
    for count in (0..14).flat_map(|power| [1 << power, (1 << power) + (1 << power) / 3, (2 << power) - 1]) {
        for message in [
            raft(vec![message(vec![]); count]),
            raft(vec![message(vec![entry(Payload::Command(Bytes::new())); count])]),
            raft(vec![message(vec![entry(change(count))])]),
        ] {
            let again = Message::decode(&encode(&message));
            assert!(again.is_ok_and(|again| again == message), "{count} elements");
        }
    }
}

#[test]
fn messages_of_a_turn_share_a_payload_with_newer_peers_only() {
    let messages: Vec<Message> = (0..3).map(|group| Message { group, ..request(PeerRequest::ReadIndex) }).collect();
    let [frame] = frames::encode(&messages, 5).try_into().expect("one payload");
    let frame = frame.bytes.expect("it encodes");
    assert_eq!(frames::decode(&frame), Ok(messages.clone()));
    assert_eq!((frame[0], frame.len()), (frames::JOINED, 1 + 3 * (4 + FIXED - 1)));
    for end in 1..frame.len() {
        // A frame that is cut between two messages of three is a frame of two.
        let expected = if end == 1 + 2 * (4 + FIXED - 1) { Ok(messages[..2].to_vec()) } else { Err(()) };
        assert_eq!(frames::decode(&frame[..end]).map_err(drop), expected, "{end}");
    }

    let payloads = frames::encode(&messages, 4).into_iter().map(|payload| payload.bytes.expect("it encodes"));
    assert_eq!(payloads.collect::<Vec<_>>(), messages.iter().map(encode).collect::<Vec<_>>());
    let single = frames::encode(&messages[..1], 5).remove(0).bytes.expect("it encodes");
    assert_eq!(single, encode(&messages[0]), "a single message is the same in all versions");
    assert_eq!(frames::decode(&single), Ok(messages[..1].to_vec()));
}

#[test]
fn peers_of_an_earlier_version_get_messages_without_local_reads() {
    let local = Local { recall: true, ..Local::default() };
    let with = |local| {
        let envelope = Envelope { ack: Some((3, 4)), local, ..Envelope::default() };
        Message { group: 7, body: Body::Raft(envelope) }
    };
    for (version, arrives) in [(4, Local::default()), (5, Local::default()), (6, local)] {
        let messages = [with(local), with(Local::default())];
        let payloads = frames::encode(&messages, version);
        let decoded = payloads
            .iter()
            .flat_map(|payload| frames::decode(payload.bytes.as_ref().expect("it encodes")).expect("it decodes"));
        assert_eq!(decoded.collect::<Vec<_>>(), [with(arrives), with(Local::default())], "version {version}");
    }
}

#[test]
fn frames_are_bounded_and_large_messages_travel_alone() {
    let large = request(PeerRequest::Propose { command: vec![7; MIB].into(), within: Duration::ZERO });
    let small = request(PeerRequest::ReadIndex);
    let mut messages = vec![small; frames::MAX_MESSAGES + 3];
    messages.insert(1, large);
    let payloads = frames::encode(&messages, 5);
    let counts: Vec<usize> = payloads.iter().map(|payload| payload.messages).collect();
    assert_eq!(counts, [1, 1, frames::MAX_MESSAGES, 2]);
    let decoded = payloads
        .iter()
        .flat_map(|payload| frames::decode(payload.bytes.as_ref().expect("it encodes")).expect("it decodes"));
    assert_eq!(decoded.collect::<Vec<_>>(), messages);

    // A peer that puts more into one is refused before they are handled.
    let one = encode(&messages[0]).slice(1..);
    let message = [&(one.len() as u32).to_le_bytes(), &one[..]].concat();
    for (count, is_valid) in [(0, false), (1, false), (2, true), (frames::MAX_MESSAGES, true), (1025, false)] {
        let frame = [&[frames::JOINED][..], &message.repeat(count)].concat();
        assert_eq!(frames::decode(&frame).is_ok(), is_valid, "{count}");
    }
}

#[test]
fn a_frame_of_any_bytes_is_decoded_or_refused() {
    fn holds(bytes: Vec<u8>, lengths: Vec<u32>) -> bool {
        let mut frame = vec![frames::JOINED];
        for length in lengths {
            frame.extend_from_slice(&length.to_le_bytes());
            frame.extend_from_slice(&bytes);
        }
        frames::decode(&frame).map_or(true, |messages| messages.len() >= 2)
    }
    QuickCheck::new().quickcheck(holds as fn(Vec<u8>, Vec<u32>) -> bool);
}
