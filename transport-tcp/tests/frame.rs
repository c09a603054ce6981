//! Frames survive the way to bytes and back, and no bytes do harm.

use bytes::Bytes;
use leasehold_driver::{Body, Frame, RequestId};
use leasehold_raft::wire::{Change, Entry, Envelope, Membership, Message, MessageKind, Payload, Snapshot, Step};
use leasehold_transport_tcp::Lane;
use leasehold_transport_tcp::frame::{FrameBuffer, FrameError, LENGTH_BYTES, decode, encode, encoded_len};
use quickcheck::{Arbitrary, Gen, QuickCheck};

const LIMIT: usize = Lane::Append.frame_limit();
const MIB: usize = 1 << 20;

fn message(entries: Vec<Entry>, snapshot: Option<Snapshot>) -> Message {
    Message {
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
        snapshot,
    }
}

fn entry(payload: Payload) -> Entry {
    Entry { term: 1, index: 2, payload }
}

fn raft(messages: Vec<Message>) -> Frame {
    let envelope = Envelope { round: Some((3, 9)), ack: None, release: Some((3, 8)), messages };
    Frame { group: 0, body: Body::Raft(envelope) }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(frame, LIMIT, &mut bytes).expect("it fits");
    assert_eq!(bytes.len(), encoded_len(frame).expect("it fits"));
    bytes
}

/// A frame of any kind and shape.
#[derive(Clone, Debug)]
struct Any(Frame);

impl Arbitrary for Any {
    fn arbitrary(g: &mut Gen) -> Self {
        let payload = Bytes::from(Vec::<u8>::arbitrary(g));
        let id = RequestId { boot: u64::arbitrary(g), sequence: u64::arbitrary(g) };
        let body = match u8::arbitrary(g) % 4 {
            0 => Body::Request { id, payload },
            1 => Body::Answer { id, payload },
            _ => {
                let messages = (0..u8::arbitrary(g) % 4).map(|_| any_message(g)).collect();
                let [round, ack, release] = [Option::arbitrary(g), Option::arbitrary(g), Option::arbitrary(g)];
                Body::Raft(Envelope { round, ack, release, messages })
            }
        };
        Any(Frame { group: u32::arbitrary(g), body })
    }
}

fn any_message(g: &mut Gen) -> Message {
    let entries = (0..u8::arbitrary(g) % 5)
        .map(|_| match bool::arbitrary(g) {
            true => entry(Payload::Command(Vec::arbitrary(g).into())),
            false => entry(Payload::Change(Change {
                steps: vec![Step::AddVoter(u64::arbitrary(g)), Step::Remove(u64::arbitrary(g))],
                ..Change::default()
            })),
        })
        .collect();
    let membership = Membership { voters: Vec::arbitrary(g), learners: Vec::arbitrary(g), ..Membership::default() };
    let snapshot = bool::arbitrary(g).then(|| Snapshot {
        index: u64::arbitrary(g),
        term: u64::arbitrary(g),
        membership,
        data: Vec::arbitrary(g).into(),
    });
    Message { reject: bool::arbitrary(g), priority: i64::arbitrary(g), ..message(entries, snapshot) }
}

#[test]
fn every_frame_comes_back_as_it_went_however_it_is_cut() {
    fn property(frames: Vec<Any>, piece: u8) -> bool {
        let mut bytes = Vec::new();
        for Any(frame) in &frames {
            encode(frame, LIMIT, &mut bytes).expect("it fits");
        }
        let mut buffer = FrameBuffer::new(LIMIT);
        let mut came = Vec::new();
        for piece in bytes.chunks(usize::from(piece) + 1) {
            let mut piece = piece;
            while !piece.is_empty() {
                let space = buffer.space();
                let count = piece.len().min(space.len());
                space[..count].copy_from_slice(&piece[..count]);
                buffer.received(count);
                piece = &piece[count..];
            }
            while let Some(frame) = buffer.next_frame().expect("only frames") {
                came.push(frame);
            }
        }
        came.iter().eq(frames.iter().map(|Any(frame)| frame))
    }
    QuickCheck::new().quickcheck(property as fn(Vec<Any>, u8) -> bool);
}

#[test]
fn an_envelope_cut_or_extended_anywhere_is_an_error() {
    fn property(Any(frame): Any) -> bool {
        let bytes = bytes_of(&frame);
        let whole = &bytes[LENGTH_BYTES..];
        // The length field alone says where a payload ends, so a cut payload is another payload.
        let fixed = if matches!(frame.body, Body::Raft(_)) { whole.len() } else { 21 };
        (0..fixed).all(|end| decode(&whole[..end]).is_err())
            && decode(whole).is_ok_and(|again| again == frame)
            && (fixed < whole.len() || fixed == 21 || decode(&[whole, &[0]].concat()).is_err())
    }
    QuickCheck::new().quickcheck(property as fn(Any) -> bool);
}

#[test]
fn random_and_damaged_bytes_never_panic() {
    fn random(bytes: Vec<u8>) -> bool {
        let _ = decode(&bytes);
        let _ = decode(&[&[0, 0, 0, 0, 0], bytes.as_slice()].concat());
        let mut buffer = FrameBuffer::new(LIMIT);
        buffer.space()[..bytes.len()].copy_from_slice(&bytes);
        buffer.received(bytes.len());
        while let Ok(Some(_)) = buffer.next_frame() {}
        true
    }
    fn damaged(Any(frame): Any, place: usize, value: u8) -> bool {
        let mut bytes = bytes_of(&frame);
        let place = place % bytes.len();
        bytes[place] = value;
        let _ = decode(&bytes[LENGTH_BYTES..]);
        true
    }
    QuickCheck::new().tests(2000).quickcheck(random as fn(Vec<u8>) -> bool);
    QuickCheck::new().tests(2000).quickcheck(damaged as fn(Any, usize, u8) -> bool);
}

#[test]
fn an_unknown_kind_is_named() {
    assert!(matches!(decode(&[9, 0, 0, 0, 0]), Err(FrameError::UnknownKind { kind: 9 })));
    assert!(matches!(decode(&[0, 0, 0]), Err(FrameError::Short { length: 3 })));
}

#[test]
fn an_inner_length_that_the_frame_cannot_hold_is_refused_before_memory_is_taken() {
    let frame = raft(vec![message(vec![entry(Payload::Command(Bytes::from_static(b"command")))], None)]);
    let bytes = bytes_of(&frame);
    let body = &bytes[LENGTH_BYTES..];
    let prealloc = |bytes: &[u8]| match decode(bytes) {
        Err(FrameError::Envelope(wincode::ReadError::PreallocationSizeLimit { limit, .. })) => limit,
        other => panic!("{other:?}"),
    };
    // Kind and group, then round (tag and two numbers), no ack, release (likewise), and the number of messages.
    let messages = 5 + 17 + 1 + 17;
    let payload = body.len() - 1 - 7 - 8;
    for place in [messages, payload] {
        for claimed in [u64::MAX, 1 << 40, 1 << 20] {
            let mut hostile = body.to_vec();
            hostile[place..place + 8].copy_from_slice(&claimed.to_le_bytes());
            assert!(prealloc(&hostile) <= 32 * body.len(), "the limit follows the frame's size");
        }
    }
}

#[test]
fn a_length_above_the_limit_is_refused_at_once_and_one_below_takes_no_memory_yet() {
    let mut buffer = FrameBuffer::new(MIB);
    buffer.space()[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    buffer.received(4);
    assert!(matches!(buffer.next_frame(), Err(FrameError::TooLarge { limit: MIB, .. })));

    let mut buffer = FrameBuffer::new(LIMIT);
    buffer.space()[..4].copy_from_slice(&(LIMIT as u32).to_le_bytes());
    buffer.received(4);
    let mut arrived = 4;
    while arrived < 3 * MIB {
        assert!(matches!(buffer.next_frame(), Ok(None)));
        let space = buffer.space().len();
        assert!(space <= arrived.max(64 << 10), "{space} bytes taken when {arrived} had arrived");
        buffer.received(space);
        arrived += space;
    }

    let request = Frame {
        group: 0,
        body: Body::Request { id: RequestId { boot: 1, sequence: 2 }, payload: vec![0; 100].into() },
    };
    let mut out = b"before".to_vec();
    assert!(matches!(encode(&request, 99, &mut out), Err(FrameError::TooLarge { length: 121, limit: 99 })));
    assert_eq!(out, b"before");
}

#[test]
fn large_values_and_snapshots_fit() {
    let data = Bytes::from(vec![7; 40 * MIB]);
    let snapshot = Snapshot { index: 1, term: 1, membership: Membership::default(), data: data.clone() };
    let frames = [
        raft(vec![message(vec![], Some(snapshot))]),
        raft(vec![message(vec![entry(Payload::Command(data.slice(..16 * MIB))); 2], None)]),
        Frame { group: 0, body: Body::Answer { id: RequestId { boot: 1, sequence: 2 }, payload: data } },
    ];
    for frame in frames {
        let again = decode(&bytes_of(&frame)[LENGTH_BYTES..]).expect("it decodes");
        assert!(again == frame, "the frame changed on its way");
    }
}

#[test]
fn many_small_elements_decode_at_every_size() {
    // Each costs more memory than encoding: the preallocation limit must allow for it.
    let change = |count| Payload::Change(Change { steps: vec![Step::Remove(1); count], ..Change::default() });
    for count in (0..14).flat_map(|power| [1 << power, (1 << power) + (1 << power) / 3, (2 << power) - 1]) {
        for frame in [
            raft(vec![message(vec![], None); count]),
            raft(vec![message(vec![entry(Payload::Command(Bytes::new())); count], None)]),
            raft(vec![message(vec![entry(change(count))], None)]),
        ] {
            let again = decode(&bytes_of(&frame)[LENGTH_BYTES..]);
            assert!(again.is_ok_and(|again| again == frame), "{count} elements");
        }
    }
}
