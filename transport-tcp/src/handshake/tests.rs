//! Handshakes over pipes.

use super::*;
use crate::hello::MAX_CLUSTER_BYTES;
use futures::FutureExt as _;
use futures::future::join;
use leasehold_core::Options;
use leasehold_node::identity::{
    Addresses, Contact, MAX_ADDRESS_BYTES, MAX_BOOTS, MAX_FOUNDERS, MAX_MEMBERS, Registry, Roster,
};
use leasehold_node::ports::MemoryRegistry;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

fn config(hold: u64) -> Config {
    let (hold, heartbeat) = (Duration::from_millis(hold), Duration::from_millis(10));
    Config::new(Options::new(hold, 100).with_heartbeat(heartbeat)).expect("a valid configuration")
}

fn node(node: NodeId) -> Identity {
    with(Registry::founded(node, 1..=3), 7 * node)
}

fn with(registry: Registry, boot: u64) -> Identity {
    let node = registry.node;
    let registrar = Arc::new(MemoryRegistry::new(registry, boot));
    Identity {
        node,
        cluster: "a".into(),
        groups: NonZeroU16::MIN,
        config: config(1000),
        registrar,
        versions: Versions::new(3, 3),
        secret: None,
        draw: draw_nonce,
    }
}

/// The bytes that one side has sent to the other.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    read: usize,
    closed: bool,
}

/// One end of a pipe.
struct End {
    incoming: Rc<RefCell<Sent>>,
    outgoing: Rc<RefCell<Sent>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.outgoing.borrow_mut().closed = true;
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut sent = self.incoming.borrow_mut();
        let count = buffer.len().min(sent.bytes.len() - sent.read);
        if count == 0 && !sent.closed {
            return Poll::Pending;
        }
        buffer[..count].copy_from_slice(&sent.bytes[sent.read..][..count]);
        sent.read += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outgoing.borrow_mut().bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn pipe() -> [End; 2] {
    let [one, other] = [(); 2].map(|()| Rc::new(RefCell::new(Sent::default())));
    [End { incoming: one.clone(), outgoing: other.clone() }, End { incoming: other, outgoing: one }]
}

/// Polls until the future is complete. Nothing here wakes a task.
fn drive<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    for _ in 0..1000 {
        if let Some(output) = future.as_mut().now_or_never() {
            return output;
        }
    }
    panic!("the handshake waits for bytes that are never sent");
}

type Dialed = Result<u16, HandshakeError>;
type Heard = Result<Accepted, (Option<NodeId>, HandshakeError)>;

/// Runs one handshake. Returns both outcomes, and the bytes that the dialer and the acceptor have sent.
fn shake(dialer: &Identity, expects: NodeId, acceptor: &Identity) -> (Dialed, Heard, [Vec<u8>; 2]) {
    let [near, far] = pipe();
    let sent = [near.outgoing.clone(), far.outgoing.clone()];
    let dial = async { dialer.dial(&mut Stream::plain(near), expects, Lane::Append).await };
    let accept = async { acceptor.accept(&mut Stream::plain(far)).await };
    let (dialed, accepted) = drive(join(dial, accept));
    (dialed, accepted, sent.map(|sent| std::mem::take(&mut sent.borrow_mut().bytes)))
}

/// Runs one handshake. Returns the dialer's error and the acceptor's.
fn connect(dialer: &Identity, expects: NodeId, acceptor: &Identity) -> [Option<String>; 2] {
    let hello = dialer.hello(expects, Some(Lane::Append));
    let (dialed, accepted, _) = shake(dialer, expects, acceptor);
    if let (Ok(version), Ok(accepted)) = (&dialed, &accepted) {
        assert_eq!((&accepted.hello, accepted.version), (&hello, *version));
    }
    [dialed.err().map(|error| error.to_string()), accepted.err().map(|(_, error)| error.to_string())]
}

/// Lets a node accept a connection on which these bytes arrive. Returns the outcome and the answer.
fn accept(node: &Identity, bytes: &[u8]) -> (Heard, Vec<u8>) {
    let [near, far] = pipe();
    near.outgoing.borrow_mut().bytes = bytes.to_vec();
    near.outgoing.borrow_mut().closed = true;
    let heard = drive(node.accept(&mut Stream::plain(far)));
    let answer = near.incoming.borrow().bytes.clone();
    (heard, answer)
}

fn both(dialer: &str, acceptor: &str) -> [Option<String>; 2] {
    [Some(dialer.into()), Some(acceptor.into())]
}

#[test]
fn nodes_of_one_cluster_with_sufficient_holds_accept_each_other() {
    assert_eq!(connect(&node(1), 2, &node(2)), [None, None]);
}

#[test]
fn both_sides_name_each_mistake() {
    let mut other = node(2);
    other.cluster = "b".into();
    assert_eq!(
        connect(&node(1), 2, &other),
        both(
            r#"belongs to cluster "b", this node to "a": give both the same --cluster"#,
            r#"belongs to cluster "a", this node to "b": give both the same --cluster"#
        )
    );
    assert_eq!(
        connect(&node(1), 2, &node(3)),
        both(
            "is node 3, not 2: correct the addresses of this node's peers",
            "dialed node 2, but this is node 3: correct the addresses of its peers"
        )
    );
    let myself = "is this node itself: correct the addresses of its peers";
    assert_eq!(connect(&node(1), 2, &node(1)), both(myself, myself));
    let twin = with(Registry::founded(1, 1..=3), 99);
    let twins = "also has the number 1 of this node: give every node a different number";
    assert_eq!(connect(&node(1), 2, &twin), both(twins, twins));
}

#[test]
fn refuses_a_hold_that_does_not_cover_our_lease_on_either_side() {
    let mut short = node(2);
    short.config = config(500);
    let [long_side, short_side] = connect(&node(1), 2, &short);
    let complaint = long_side.expect("its lease is not covered");
    assert!(complaint.starts_with("has too short a hold: ") && complaint.contains("500ms"), "{complaint}");
    assert_eq!(short_side, None, "our hold covers its lease");

    let [short_side, long_side] = connect(&short, 1, &node(1));
    let complaint = long_side.expect("its lease is not covered");
    assert!(complaint.starts_with("has too short a hold: ") && complaint.contains("500ms"), "{complaint}");
    assert_eq!(short_side, Some(format!("refused the connection: \"node 2 {complaint}\"")));
}

#[test]
fn founders_found_their_cluster_by_shaking_hands_and_the_first_frame_needs_it() {
    let nodes = [1, 2, 3].map(|number| with(Registry::new(number, 10 * number, 1..=3), number));
    let [one, two, three] = &nodes;
    let not_yet = || both("waits until every founder runs", "waits until every founder runs");
    assert_eq!(connect(two, 1, one), not_yet());
    assert_eq!(connect(two, 3, three), not_yet());
    // The last meeting founds the cluster: the acceptor answers as a member, and the dialer joins.
    assert_eq!(connect(three, 1, one), [None, None]);
    assert_eq!(connect(two, 3, three), [None, None]);
    for node in &nodes {
        let Introduction { cluster, founders, .. } = node.registrar.introduction();
        assert_eq!((cluster, founders), (10, BTreeMap::from([(1, 10), (2, 20), (3, 30)])));
    }
}

#[test]
fn a_probe_learns_the_introduction_of_a_node_that_would_refuse_it_and_changes_neither_side() {
    let (empty, one) = (with(Registry::new(3, 99, 1..=3), 1), node(1));
    let before = one.registrar.introduction();
    let [near, far] = pipe();
    let probe = async { one.probe(&mut Stream::plain(near), 3).await };
    let accept = async { empty.accept(&mut Stream::plain(far)).await };
    let (probed, accepted) = drive(join(probe, accept));
    assert_eq!(accepted.expect("a probe needs no meeting").hello.lane, None);
    assert_eq!(probed.expect("it answers"), empty.registrar.introduction());
    assert_eq!((empty.registrar.introduction().cluster, one.registrar.introduction()), (0, before));
    // A meeting would have refused it for good.
    assert_eq!(connect(&with(Registry::founded(3, 1..=3), 1), 1, &one), [None, None]);
}

#[test]
fn both_sides_name_an_empty_folder_and_an_older_copy() {
    let empty = with(Registry::new(3, 99, 1..=3), 1);
    let [theirs, ours] = connect(&empty, 1, &node(1)).map(|error| error.expect("refused"));
    assert!(ours.starts_with("has an empty or foreign data folder"), "{ours}");
    assert!(theirs.starts_with("knows node 3 by another data folder"), "{theirs}");

    let (one, three) = (node(1), with(Registry { starts: 4, ..Registry::founded(3, 1..=3) }, 1));
    assert_eq!(connect(&three, 1, &one), [None, None]);
    let copy = with(Registry { starts: 2, ..Registry::founded(3, 1..=3) }, 2);
    let [theirs, ours] = connect(&copy, 1, &one).map(|error| error.expect("refused"));
    assert!(ours.starts_with("has an older copy of its data folder, which does not know its own start 5"), "{ours}");
    assert_eq!(theirs, format!("refused the connection: \"node 3 {ours}\""));
}

#[test]
fn a_peer_that_cannot_be_recorded_is_refused() {
    struct FullDisk(MemoryRegistry);
    #[async_trait::async_trait]
    impl Meet for FullDisk {
        fn introduction(&self) -> Introduction {
            self.0.introduction()
        }
        async fn meet(&self, _: Introduction) -> Result<bool, MeetError> {
            Err(MeetError::NotRecorded(io::ErrorKind::StorageFull.into()))
        }
    }
    let mut two = node(2);
    two.registrar = Arc::new(FullDisk(MemoryRegistry::new(Registry::founded(2, 1..=3), 2)));
    let [dialer, acceptor] = connect(&node(1), 2, &two).map(|error| error.expect("refused"));
    assert!(acceptor.starts_with("is not admitted because it cannot be recorded"), "{acceptor}");
    assert_eq!(dialer, format!("refused the connection: \"node 1 {acceptor}\""));
}

#[test]
fn distinguishes_other_protocols_from_other_releases() {
    let refuse = |bytes: &[u8]| {
        let (heard, answer) = accept(&node(1), bytes);
        (heard.expect_err("no hello").1, answer)
    };
    let (error, answer) = refuse(b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(error, HandshakeError::NotLeasehold), "{error}");
    assert!(answer.is_empty());
    let (error, answer) = refuse(b"LSHD\x03\x00\x00\x00");
    assert_eq!(error.to_string(), "uses handshake 3, this node handshake 4: run releases of one major version");
    assert!(answer.starts_with(b"LSHD\x04\x00"));
    let (error, _) = refuse(&[b"LSHD\x04\x00\xff\xff".as_slice(), &[0; MAX_MESSAGE_BYTES]].concat());
    assert!(matches!(error, HandshakeError::Malformed), "{error}");
    let (error, _) = refuse(b"LSHD\x04\x00\x02\x00\xff\xff");
    assert!(matches!(error, HandshakeError::Malformed), "{error}");
    // The first bytes of a client's TLS. The answer shows the client that this is no TLS.
    let (error, answer) = refuse(b"\x16\x03\x01\x02\x00\x01\x00");
    assert!(matches!(error, HandshakeError::UnexpectedTls), "{error}");
    assert!(answer.starts_with(b"LSHD\x04\x00"));
}

#[test]
fn rejects_a_hello_cut_or_extended_anywhere() {
    let mut hello = Hello { cluster: "x".repeat(MAX_CLUSTER_BYTES), ..node(1).hello(2, Some(Lane::Request)) };
    hello.introduction.boots = (1..=MAX_BOOTS as u64).collect();
    hello.introduction.founders = (1..=MAX_FOUNDERS as u64).map(|founder| (founder, founder)).collect();
    let address = "x".repeat(MAX_ADDRESS_BYTES);
    let contact = Contact { addresses: Addresses { peers: address.clone(), clients: address }, ..Contact::default() };
    let members = (1..=MAX_MEMBERS as u64).map(|member| (member, contact.clone())).collect();
    hello.introduction.roster = Roster { members, ..Roster::default() };
    let reason = "ß".repeat(MAX_REASON_BYTES / 2);
    let answer = Answer { hello: Some(hello), verdict: Verdict::RefusedFolder, reason: reason.clone() };
    let longer = Answer { reason: format!("{reason}ßß"), ..answer.clone() };
    let body = longer.encode();
    assert!(PREFIX_BYTES + body.len() + PROOF_BYTES <= MAX_MESSAGE_BYTES - 4096, "there is room for later releases");
    assert_eq!(Answer::decode(&body), Some(answer));
    for end in 0..body.len() {
        assert_eq!(Answer::decode(&body[..end]), None, "cut at {end}");
    }
    assert_eq!(Answer::decode(&[&*body, &[0]].concat()), None);
}

#[test]
fn what_a_later_release_adds_to_a_hello_is_ignored() {
    let answer = Answer::accepted(node(1).hello(2, Some(Lane::Urgent)));
    let mut body = answer.encode();
    let length = usize::from(u16::from_le_bytes([body[0], body[1]]));
    body[..2].copy_from_slice(&(length as u16 + 5).to_le_bytes());
    body.splice(2 + length..2 + length, *b"\x01\0new");
    assert_eq!(Answer::decode(&body), Some(answer));
}

#[test]
fn refuses_a_node_of_a_cluster_with_another_number_of_groups() {
    let with_groups = |node: Identity, groups| Identity { groups: NonZeroU16::new(groups).expect("not zero"), ..node };
    let text = |theirs, ours| {
        format!(
            "is of a cluster with {theirs} groups, this node of one with {ours}: give every node of a cluster the same \
             --groups, also one that joins it, and start that one on an empty data folder"
        )
    };
    assert_eq!(connect(&with_groups(node(1), 4), 2, &node(2)), both(&text(1, 4), &text(4, 1)));
    assert_eq!(connect(&node(1), 2, &with_groups(node(2), 4)), both(&text(4, 1), &text(1, 4)));
    let [one, two] = [1, 2].map(|number| with_groups(node(number), 1024));
    let (dialed, accepted, _) = shake(&one, 2, &two);
    assert!(dialed.is_ok() && accepted.is_ok_and(|accepted| accepted.hello.groups == two.groups));
}

fn speaks(node: Identity, min: u16, max: u16) -> Identity {
    Identity { versions: Versions::new(min, max), ..node }
}

#[test]
fn nodes_of_different_minor_releases_use_the_newest_common_version() {
    for (newer, common) in [((3, 4), 3), ((2, 3), 3), ((3, 3), 3)] {
        let (newer, older) = (speaks(node(1), newer.0, newer.1), node(2));
        for (dialer, acceptor) in [(&newer, &older), (&older, &newer)] {
            let (dialed, accepted, _) = shake(dialer, acceptor.node, acceptor);
            assert_eq!((dialed.expect("accepted"), accepted.expect("accepted").version), (common, common));
        }
    }
    let theirs = "speaks versions 4 to 5 of the peer protocol, this node version 3: upgrade the older release first to one \
                  between them";
    let ours = "speaks version 3 of the peer protocol, this node versions 4 to 5: upgrade the older release first to one \
                between them";
    assert_eq!(connect(&speaks(node(1), 4, 5), 2, &node(2)), both(ours, theirs));
    assert_eq!(connect(&node(2), 1, &speaks(node(1), 4, 5)), both(theirs, ours));
}

fn keyed(node: Identity, secret: &[u8]) -> Identity {
    Identity { secret: Some(PeerSecret::new(secret)), ..node }
}

const SECRET: &[u8] = b"a secret of the test";

#[test]
fn nodes_with_one_secret_accept_each_other_and_others_learn_what_to_do() {
    assert_eq!(connect(&keyed(node(1), SECRET), 2, &keyed(node(2), SECRET)), [None, None]);

    let wrong = "does not prove the secret of this node: give all nodes the same --peer-secret-file";
    let (one, two) = (keyed(node(1), SECRET), keyed(node(2), b"another secret of it"));
    assert_eq!(connect(&one, 2, &two), both(wrong, wrong));
    let there = "has no secret, and this node demands one: give all nodes the same --peer-secret-file";
    let here = "proves a secret, and this node has none: give all nodes the same --peer-secret-file";
    assert_eq!(connect(&one, 2, &node(2)), both(there, here));
    assert_eq!(connect(&node(1), 2, &two), both(here, there));
}

#[test]
fn a_node_without_the_secret_learns_nothing_and_changes_nothing() {
    let founder = || with(Registry::new(1, 10, 1..=2), 1);
    let one = keyed(founder(), SECRET);
    let stranger = with(Registry::new(2, 99, 1..=2), 5);
    for stranger in [keyed(stranger.clone(), b"another secret of it"), stranger] {
        let (_, heard, [_, answer]) = shake(&stranger, 1, &one);
        heard.expect_err("it has another secret");
        assert!(!answer.windows(8).any(|bytes| bytes == 10_u64.to_le_bytes()), "its incarnation is secret");
        assert_eq!(one.registrar.introduction(), founder().registrar.introduction(), "nothing was recorded");
        // The same in the other direction: nothing that the stranger answers is acted on.
        let (dialed, ..) = shake(&one, 2, &stranger);
        dialed.expect_err("it has another secret");
        assert_eq!(one.registrar.introduction(), founder().registrar.introduction(), "nothing was recorded");
    }
    // With the secret the same introduction founds the cluster.
    let _ = shake(&one, 2, &keyed(with(Registry::new(2, 99, 1..=2), 5), SECRET));
    assert_eq!(one.registrar.introduction().cluster, 10);
}

#[test]
fn a_recorded_handshake_cannot_be_sent_again_to_either_side() {
    let (one, two) = (keyed(node(1), SECRET), keyed(node(2), SECRET));
    let (dialed, accepted, [from_dialer, from_acceptor]) = shake(&one, 2, &two);
    assert!(dialed.is_ok() && accepted.is_ok());

    let (heard, answer) = accept(&two, &from_dialer);
    assert!(matches!(heard, Err((None, HandshakeError::WrongSecret))), "{heard:?}");
    assert_ne!(answer, from_acceptor, "its nonce is another");
    let [near, far] = pipe();
    far.outgoing.borrow_mut().bytes = from_acceptor;
    let dialed = drive(one.dial(&mut Stream::plain(near), 2, Lane::Append));
    assert!(matches!(dialed, Err(HandshakeError::WrongSecret)), "{dialed:?}");
}

#[test]
fn a_node_that_hears_its_own_messages_refuses_them() {
    let one = keyed(node(1), SECRET);
    // It dials a peer that sends back what it receives.
    let echo = Rc::new(RefCell::new(Sent::default()));
    let end = End { incoming: echo.clone(), outgoing: echo };
    let dialed = drive(one.dial(&mut Stream::plain(end), 2, Lane::Append));
    assert!(matches!(dialed, Err(HandshakeError::WrongSecret)), "{dialed:?}");

    // Two nodes dial the attacker, which passes the messages of each to the other: both are dialers.
    let [near, far] = pipe();
    let two = keyed(node(2), SECRET);
    let dial = |node: Identity, end, to| async move { node.dial(&mut Stream::plain(end), to, Lane::Append).await };
    let (first, second) = drive(join(dial(one, near, 2), dial(two, far, 1)));
    assert!(matches!(first, Err(HandshakeError::WrongSecret)), "{first:?}");
    assert!(matches!(second, Err(HandshakeError::WrongSecret)), "{second:?}");
}

#[test]
fn a_changed_bit_anywhere_in_a_handshake_is_refused() {
    let fixed = |node: Identity, draw| Identity { draw, ..keyed(node, SECRET) };
    let (one, two) = (fixed(node(1), || Ok([1; 32])), fixed(node(2), || Ok([2; 32])));
    let (_, accepted, [from_dialer, from_acceptor]) = shake(&one, 2, &two);
    accepted.expect("an unchanged handshake");
    accept(&two, &from_dialer).0.expect("the nonces are fixed, so the same bytes are good again");
    for position in 0..from_dialer.len() {
        let mut changed = from_dialer.clone();
        changed[position] ^= 1;
        assert!(accept(&two, &changed).0.is_err(), "byte {position} of the dialer's messages");
    }
    for position in 0..from_acceptor.len() {
        let mut changed = from_acceptor.clone();
        changed[position] ^= 1;
        let [near, far] = pipe();
        (far.outgoing.borrow_mut().bytes, far.outgoing.borrow_mut().closed) = (changed, true);
        let dialed = drive(one.dial(&mut Stream::plain(near), 2, Lane::Append));
        assert!(dialed.is_err(), "byte {position} of the acceptor's messages");
    }
}
