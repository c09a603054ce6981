//! Frames survive their encoding, and no bytes cause harm.

use bytes::Bytes;
use leasehold_node::ports::Lane;
use leasehold_transport_tcp::frame::{Frame, FrameBuffer, LENGTH_BYTES, TooLarge};
use leasehold_transport_tcp::max_payload_bytes;
use quickcheck::QuickCheck;

const LIMIT: usize = max_payload_bytes(Lane::Append);
const MIB: usize = 1 << 20;

fn frame(payload: Vec<u8>) -> Vec<u8> {
    let frame = Frame::new(payload.into(), LIMIT).expect("it is within the limit");
    let bytes = [&frame.length_field()[..], frame.payload()].concat();
    assert_eq!(bytes.len(), frame.size());
    bytes
}

fn receive(buffer: &mut FrameBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = buffer.space();
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        buffer.received(count);
        bytes = &bytes[count..];
    }
}

#[test]
fn payloads_survive_however_the_stream_is_cut() {
    fn property(payloads: Vec<Vec<u8>>, piece: u8) -> bool {
        let bytes: Vec<u8> = payloads.iter().cloned().flat_map(frame).collect();
        let mut buffer = FrameBuffer::new(LIMIT);
        let mut received = Vec::new();
        for piece in bytes.chunks(usize::from(piece) + 1) {
            receive(&mut buffer, piece);
            while let Some(payload) = buffer.next_frame().expect("only frames") {
                received.push(payload.to_vec());
            }
        }
        received == payloads
    }
    QuickCheck::new().quickcheck(property as fn(Vec<Vec<u8>>, u8) -> bool);
}

#[test]
fn a_large_frame_survives_and_the_buffer_shrinks_after_it() {
    let large: Vec<u8> = (0..6 * MIB).map(|byte| byte as u8).collect();
    let mut buffer = FrameBuffer::new(LIMIT);
    receive(&mut buffer, &frame(large.clone()));
    assert!(buffer.next_frame() == Ok(Some(&large)), "the payload changed");
    assert_eq!(buffer.next_frame(), Ok(None));
    assert_eq!(buffer.space().len(), 64 << 10);
    receive(&mut buffer, &frame(b"small".to_vec()));
    assert_eq!(buffer.next_frame(), Ok(Some(&b"small"[..])));
}

#[test]
fn random_bytes_never_panic() {
    fn property(bytes: Vec<u8>) -> bool {
        let mut buffer = FrameBuffer::new(MIB);
        receive(&mut buffer, &bytes);
        while let Ok(Some(payload)) = buffer.next_frame() {
            assert!(payload.len() + LENGTH_BYTES <= bytes.len());
        }
        true
    }
    QuickCheck::new().tests(2000).quickcheck(property as fn(Vec<u8>) -> bool);
}

#[test]
fn rejects_a_length_above_the_limit_at_once() {
    let mut buffer = FrameBuffer::new(MIB);
    receive(&mut buffer, &(MIB as u32).to_le_bytes());
    assert_eq!(buffer.next_frame(), Ok(None));

    let mut buffer = FrameBuffer::new(MIB);
    receive(&mut buffer, &u32::MAX.to_le_bytes());
    assert_eq!(buffer.next_frame(), Err(TooLarge { length: u32::MAX as usize, limit: MIB }));

    assert_eq!(Frame::new(Bytes::from_static(&[0; 100]), 99), Err(TooLarge { length: 100, limit: 99 }));
    assert!(Frame::new(Bytes::from_static(&[0; 100]), 100).is_ok());
}

#[test]
fn memory_follows_the_bytes_received_and_not_the_length_announced() {
    let mut buffer = FrameBuffer::new(LIMIT);
    receive(&mut buffer, &(LIMIT as u32).to_le_bytes());
    let mut received = LENGTH_BYTES;
    while received < 3 * MIB {
        assert_eq!(buffer.next_frame(), Ok(None));
        let space = buffer.space().len();
        assert!(space <= received.max(64 << 10), "{space} bytes allocated when {received} were received");
        buffer.received(space);
        received += space;
    }
}
