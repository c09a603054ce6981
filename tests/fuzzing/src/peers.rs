//! Bytes from a link between nodes: the handshake, frames, and their contents.

use crate::memory::within;
use futures::FutureExt as _;
use futures::io::{AsyncRead, AsyncWrite};
use leasehold_core::{Config, NodeId, Options};
use leasehold_node::chunk;
use leasehold_node::frames;
use leasehold_node::identity::Registry;
use leasehold_node::ports::{Cursor, Lane, MemoryRegistry};
use leasehold_node::wire::{Body, Message};
use leasehold_raft::wire::{Envelope, Local};
use leasehold_tls::Stream;
use leasehold_transport_tcp::frame::{Frame, FrameBuffer, TooLarge};
use leasehold_transport_tcp::handshake::{Accepted, Identity};
use leasehold_transport_tcp::hello::Hello;
use leasehold_transport_tcp::{PeerSecret, Versions, max_payload_bytes};
use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The largest payload.
const LIMIT: usize = max_payload_bytes(Lane::Append);

/// Splits a peer's stream into frames: the same ones however the stream is cut, and each encodes to the same bytes again.
pub fn peer_frames(bytes: &[u8]) {
    // The buffer starts with 64 KiB and doubles.
    let (whole, error) = within((512 << 10) + 4 * bytes.len(), || frames(bytes, bytes.len().max(1)));
    for piece in [1, bytes.len() % 13 + 2] {
        assert_eq!(frames(bytes, piece), (whole.clone(), error));
    }
    let mut encoded = Vec::new();
    for payload in whole {
        let frame = Frame::new(payload.into(), LIMIT).expect("a received payload is within the limit");
        encoded.extend_from_slice(&frame.length_field());
        encoded.extend_from_slice(frame.payload());
    }
    assert!(bytes.starts_with(&encoded), "the frames encode to other bytes");
}

fn frames(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<TooLarge>) {
    let mut buffer = FrameBuffer::new(LIMIT);
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let space = buffer.space();
            let count = piece.len().min(space.len());
            space[..count].copy_from_slice(&piece[..count]);
            buffer.received(count);
            piece = &piece[count..];
            loop {
                match buffer.next_frame() {
                    Ok(Some(payload)) => frames.push(payload.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
    }
    (frames, None)
}

/// Decodes messages between nodes: they encode to the same bytes again, but for frames that this release would divide. A peer
/// that knows no local reads gets them without those.
pub fn peer_messages(bytes: &[u8]) {
    // A list may claim up to eight times the memory that its elements could take, rounded up to 4 KiB, before they are read.
    // There are four lists, one in the other.
    match within((64 << 10) + 192 * bytes.len(), || frames::decode(bytes)) {
        Ok(messages) => {
            let payloads = frames::encode(&messages, frames::VERSION.into());
            assert_eq!(payloads.iter().map(|payload| payload.messages).sum::<usize>(), messages.len());
            let mut payloads =
                payloads.into_iter().map(|payload| payload.bytes.expect("a decoded message has an encoding"));
            let first = payloads.next().expect("there is a message");
            assert!(payloads.next().is_some() || first == bytes);
            let older = frames::encode(&messages, frames::JOINED.into()).into_iter().flat_map(|payload| {
                frames::decode(&payload.bytes.expect("it has an encoding")).expect("it is decoded")
            });
            assert!(older.eq(messages.into_iter().map(without_local_reads)));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
}

fn without_local_reads(message: Message) -> Message {
    let body = match message.body {
        Body::Raft(envelope) => Body::Raft(Envelope { local: Local::default(), ..envelope }),
        body => body,
    };
    Message { body, ..message }
}

/// Parses a chunk of a snapshot, and checks that they encode to the same bytes.
pub fn snapshots(bytes: &[u8]) {
    // A record is at least eight bytes, and takes two slices in a list that doubles.
    if let Some(records) = within(64 * bytes.len() + 4096, || chunk::decode(bytes)) {
        assert_eq!(chunk::read(&records, Cursor::default(), usize::MAX).records, bytes);
    }
}

/// The most bytes that a side of a handshake sends: an opening and a hello.
const LONGEST: usize = 1024 + (32 << 10);

/// Shakes hands with a peer that sends these bytes, as the acceptor and as the dialer, with a secret and without.
pub fn handshakes(bytes: &[u8]) {
    let accepted = within(128 << 10, || accept(bytes, usize::MAX));
    assert_eq!(accept(bytes, 1), accepted, "in single bytes");
    let (heard, answer) = accepted;
    assert!(answer.len() <= LONGEST, "an answer of {} bytes", answer.len());
    if !answer.is_empty() {
        // The dialer can parse the acceptor's answer, whatever the answer is.
        let (heard, _) = dial(1, 2, &answer, usize::MAX);
        assert!(
            !heard.is_err_and(|error| error.starts_with("does not speak") || error.starts_with("sent a malformed"))
        );
    }
    match heard {
        Ok((Accepted { hello, version }, read)) => {
            let from = hello.from();
            assert!(hello.to == 2 && from != 2 && hello.cluster == "fuzz" && read <= LONGEST, "{hello:?}");
            assert_eq!(version, 3, "node 2 speaks no other");
            let Hello { introduction, lane, timing, .. } = hello;
            assert!(node(2).config.accept_peer(timing).is_ok(), "its hold covers our lease");
            let known = [1, 3].contains(&from) && introduction == node(from).registrar.introduction();
            if let Some(lane) = lane.filter(|_| known && timing == node(1).config.timing()) {
                // The known node says the same, but for what a later release adds.
                let mut wire = Wire::of(&answer, usize::MAX);
                let dialed = node(from).dial(&mut Stream::plain(&mut wire), 2, lane).now_or_never();
                dialed.expect("nothing is waited for").expect("it was accepted");
                let hello = &wire.written[OPENING_BYTES + 10..wire.written.len() - 3];
                assert!(bytes.windows(hello.len()).any(|window| window == hello), "it was said so");
            }
        }
        Err(error) => check_text(&error),
    }

    let (heard, said) = within(128 << 10, || dial(2, 1, bytes, usize::MAX));
    assert_eq!(dial(2, 1, bytes, 1), (heard.clone(), said), "in single bytes");
    if let Err(error) = heard {
        check_text(&error);
    }

    // Without the secret no bytes get through, and what they claim has no effect.
    let secure = Identity { secret: Some(PeerSecret::new(b"a secret of the fuzzer")), ..node(2) };
    let mut wire = Wire::of(bytes, usize::MAX);
    let heard = secure.accept(&mut Stream::plain(&mut wire)).now_or_never().expect("nothing is waited for");
    let (claimed, error) = heard.expect_err("it has no proof");
    assert_eq!(claimed, None);
    check_text(&error.to_string());
    let mut wire = Wire::of(bytes, usize::MAX);
    let dialed = secure.dial(&mut Stream::plain(&mut wire), 1, Lane::Urgent).now_or_never();
    check_text(&dialed.expect("nothing is waited for").expect_err("it has no proof").to_string());
}

/// The bytes of an opening.
const OPENING_BYTES: usize = 8 + 5 + 32;

/// Checks text that appears in logs and in `INFO`: it must not forge other lines.
fn check_text(error: &str) {
    assert!(error.len() < LONGEST && !error.contains(char::is_control), "{error:?}");
}

type Heard = Result<(Accepted, usize), String>;

/// Lets node 2 accept a connection with these bytes. Returns the result, the number of bytes read, and the answer.
fn accept(bytes: &[u8], piece: usize) -> (Heard, Vec<u8>) {
    let mut wire = Wire::of(bytes, piece);
    let accepted = node(2).accept(&mut Stream::plain(&mut wire)).now_or_never().expect("nothing is waited for");
    let read = bytes.len() - wire.from.len();
    (accepted.map(|accepted| (accepted, read)).map_err(|(_, error)| error.to_string()), wire.written)
}

/// Lets a node dial a peer that answers with these bytes. Returns the result and what the node sent.
fn dial(from: NodeId, to: NodeId, answer: &[u8], piece: usize) -> (Result<u16, String>, Vec<u8>) {
    let mut wire = Wire::of(answer, piece);
    let dialed = node(from).dial(&mut Stream::plain(&mut wire), to, Lane::Urgent).now_or_never();
    (dialed.expect("nothing is waited for").map_err(|error| error.to_string()), wire.written)
}

fn node(node: NodeId) -> Identity {
    let (hold, heartbeat) = (Duration::from_secs(1), Duration::from_millis(100));
    let config = Config::new(Options::new(hold, 1000).with_heartbeat(heartbeat)).expect("it fits together");
    let registrar = Arc::new(MemoryRegistry::new(Registry::founded(node, 1..=3), node));
    let (versions, draw) = (Versions::new(3, 3), || Ok([9; 32]));
    let groups = NonZeroU16::MIN;
    Identity { node, cluster: "fuzz".to_owned(), groups, config, registrar, versions, secret: None, draw }
}

/// A stream that delivers `from` in pieces, then ends, and records what is written.
struct Wire<'a> {
    from: &'a [u8],
    piece: usize,
    written: Vec<u8>,
}

impl Wire<'_> {
    fn of(from: &[u8], piece: usize) -> Wire<'_> {
        Wire { from, piece, written: Vec::new() }
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = buffer.len().min(self.piece).min(self.from.len());
        let (now, later) = self.from.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.from = later;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(buffer);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
