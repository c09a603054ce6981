//! Transports over real loopback sockets.

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_core::{Config, NodeId, Options};
use leasehold_driver::{Body, Frame, Links as _, NotSent, Receive, RequestId, Runtime as _};
use leasehold_raft::wire::{Entry, Envelope, Message, MessageKind, Payload};
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_transport_tcp::{Lane, StartError, Transport, TransportOptions};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Everything that is awaited here happens well within this.
const PATIENCE: Duration = Duration::from_secs(20);

fn run<F: Future>(story: impl FnOnce(TokioRuntime) -> F) -> F::Output {
    let runtime = TokioRuntime::start("test", 2).expect("threads");
    let output = runtime.block_on(story(runtime.clone()));
    runtime.kill();
    output
}

/// Hands on what arrives, after its lane's gate lets it through.
struct Inbox {
    frames: Sender<(NodeId, Frame)>,
    append_gate: Receiver<()>,
}

#[async_trait]
impl Receive for Inbox {
    async fn receive(&self, from: NodeId, frame: Frame) {
        if Lane::of(&frame) == Lane::Append {
            // Open once closed, as channels go.
            let _ = self.append_gate.recv().await;
        }
        let _ = self.frames.send((from, frame)).await;
    }
}

struct Node {
    runtime: TokioRuntime,
    transport: Arc<Transport<TokioRuntime>>,
    frames: Receiver<(NodeId, Frame)>,
    /// Append frames are delivered once this is closed.
    append_gate: Sender<()>,
}

struct Plan {
    node: NodeId,
    cluster: &'static str,
    hold: u64,
    peers: BTreeMap<NodeId, String>,
}

impl Plan {
    async fn start(
        self,
        runtime: &TokioRuntime,
        listener: <TokioRuntime as leasehold_driver::Runtime>::Listener,
    ) -> Node {
        let (hold, heartbeat) = (Duration::from_millis(self.hold), Duration::from_millis(10));
        let config = Config::new(Options { hold, lease: None, drift_ppm: 100, heartbeat }).expect("it fits together");
        let (cluster, peers) = (self.cluster.into(), self.peers);
        let options = TransportOptions { node: self.node, cluster, boot: 100 + self.node, config, peers, listener };
        let (frames, inbox) = async_channel::unbounded();
        let (append_gate, gate) = async_channel::bounded(1);
        let receive = Arc::new(Inbox { frames, append_gate: gate });
        let transport = Transport::start(runtime.clone(), options, receive).expect("sound options");
        Node { runtime: runtime.clone(), transport, frames: inbox, append_gate }
    }
}

impl Node {
    async fn received(&self) -> (NodeId, Frame) {
        let (frame, late) = (pin!(self.frames.recv()), pin!(self.runtime.sleep(PATIENCE)));
        match select(frame, late).await {
            Either::Left((frame, _)) => frame.expect("the inbox lives"),
            Either::Right(_) => panic!("nothing arrived"),
        }
    }

    /// Polls, for what has no event to await.
    async fn until(&self, what: &str, mut happened: impl FnMut(&Transport<TokioRuntime>) -> bool) {
        for _ in 0..PATIENCE.as_millis() / 2 {
            if happened(&self.transport) {
                return;
            }
            self.runtime.sleep(Duration::from_millis(2)).await;
        }
        panic!("waited in vain until {what}");
    }

    /// Sends as soon as the lane is up.
    async fn send(&self, to: NodeId, frame: Frame) {
        self.until("the lane is up", |transport| transport.send(to, frame.clone()).is_ok()).await;
    }

    fn counted(&self, counter: impl Fn(&leasehold_transport_tcp::Counters) -> &AtomicU64) -> u64 {
        counter(self.transport.counters()).load(Ordering::Relaxed)
    }
}

/// A listener and its address.
async fn listen(
    runtime: &TokioRuntime,
    address: &str,
) -> (<TokioRuntime as leasehold_driver::Runtime>::Listener, String) {
    let listener = runtime.listen(address).await.expect("a free port");
    let address = runtime.local_address(&listener).expect("an address").to_string();
    (listener, address)
}

/// Two nodes that know each other, and their addresses; `change` may alter the plan for the second.
async fn pair(runtime: &TokioRuntime, change: impl FnOnce(&mut Plan)) -> ([Node; 2], [String; 2]) {
    let (first, at_first) = listen(runtime, "127.0.0.1:0").await;
    let (second, at_second) = listen(runtime, "127.0.0.1:0").await;
    let plan = |node, peer, address: &String| Plan {
        node,
        cluster: "a",
        hold: 1000,
        peers: BTreeMap::from([(peer, address.clone())]),
    };
    let mut altered = plan(2, 1, &at_first);
    change(&mut altered);
    let nodes = [plan(1, 2, &at_second).start(runtime, first).await, altered.start(runtime, second).await];
    (nodes, [at_first, at_second])
}

fn urgent(round: u64) -> Frame {
    Frame { group: 0, body: Body::Raft(Envelope { round: Some((1, round)), ..Envelope::default() }) }
}

fn append(index: u64, size: usize) -> Frame {
    let entry = Entry { term: 1, index, payload: Payload::Command(vec![1; size].into()) };
    let message = Message {
        kind: MessageKind::Append,
        term: 1,
        log_term: 1,
        index,
        commit: 0,
        commit_term: 0,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        transfer: false,
        priority: 0,
        entries: vec![entry],
        snapshot: None,
    };
    Frame { group: 0, body: Body::Raft(Envelope { messages: vec![message], ..Envelope::default() }) }
}

fn request(sequence: u64, payload: impl Into<Bytes>) -> Frame {
    Frame { group: 0, body: Body::Request { id: RequestId { boot: 5, sequence }, payload: payload.into() } }
}

#[test]
fn two_nodes_exchange_frames_on_every_lane_both_ways() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        two.append_gate.close();
        for frame in [urgent(1), append(1, 6 << 20), request(1, "small"), request(2, vec![3; 20 << 20])] {
            one.send(2, frame.clone()).await;
            assert!(two.received().await == (1, frame), "the frame changed on its way");
        }
        two.send(1, request(9, "back")).await;
        assert_eq!(one.received().await, (2, request(9, "back")));
        assert_eq!(one.transport.send(3, urgent(1)), Err(NotSent), "nobody is node 3");
        assert!(one.transport.peer_up(2) && !one.transport.peer_up(3));
        one.until("the last write is counted", |one| one.counters().sent.load(Ordering::Relaxed) == 4).await;
        assert_eq!(two.counted(|counters| &counters.received), 4);
    });
}

#[test]
fn a_lane_keeps_its_order_through_a_thousand_frames() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        one.send(2, urgent(0)).await;
        for round in 1..1000 {
            one.transport.send(2, urgent(round)).expect("there is room");
        }
        for round in 0..1000 {
            assert_eq!(two.received().await, (1, urgent(round)));
        }
    });
}

#[test]
fn a_node_of_another_cluster_is_refused_with_the_reason_on_both_sides() {
    run(|runtime| async move {
        let ([one, two], [at_one, at_two]) = pair(&runtime, |second| second.cluster = "b").await;
        one.until("the trouble is known", |one| one.peer_trouble(2).is_some()).await;
        two.until("the trouble is known", |two| two.peer_trouble(1).is_some()).await;
        let trouble = |node, address, theirs, ours| {
            format!(
                "peer {node} at {address} belongs to cluster {theirs:?}, this node to {ours:?}: give both the same --cluster"
            )
        };
        assert_eq!(one.transport.peer_trouble(2), Some(trouble(2, at_two, "b", "a")));
        assert_eq!(two.transport.peer_trouble(1), Some(trouble(1, at_one, "a", "b")));
        for lane in [urgent(1), append(1, 1), request(1, "")] {
            assert_eq!(one.transport.send(2, lane), Err(NotSent));
        }
        assert_eq!(one.counted(|counters| &counters.dropped_down), 3);
        assert!(!one.transport.peer_up(2));
    });
}

#[test]
fn a_node_whose_hold_does_not_cover_our_lease_is_refused_in_both_directions() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |second| second.hold = 500).await;
        one.until("the trouble is known", |one| one.peer_trouble(2).is_some()).await;
        two.until("the trouble is known", |two| two.peer_trouble(1).is_some()).await;
        let [ours, theirs] =
            [one.transport.peer_trouble(2), two.transport.peer_trouble(1)].map(Option::unwrap_or_default);
        assert!(ours.contains("promises too little: the peer's hold of 500ms"), "{ours}");
        assert!(theirs.contains("refuses this node, which, it says, promises too little"), "{theirs}");
        assert_eq!(one.transport.send(2, urgent(1)), Err(NotSent));
        assert_eq!(two.transport.send(1, urgent(1)), Err(NotSent));
    });
}

/// Node 2's hello to node 1 as the documentation lays it out, for whoever wants to misbehave after it.
fn hello(lane: u8) -> Vec<u8> {
    let body = [
        &2_u64.to_le_bytes()[..],
        &1_u64.to_le_bytes(),
        &77_u64.to_le_bytes(),
        &[lane],
        &1_000_000_000_u64.to_le_bytes(),
        &900_000_000_u64.to_le_bytes(),
        &100_u32.to_le_bytes(),
        &[1, b'a', 0, 0],
    ]
    .concat();
    [b"LSHD\x01\x00", &(body.len() as u16).to_le_bytes()[..], &body].concat()
}

type Stream = <TokioRuntime as leasehold_driver::Runtime>::Stream;

/// Dials `address` as node 2 would, and reads the welcome.
async fn dial(runtime: &TokioRuntime, address: &str, lane: u8) -> Stream {
    let mut stream = runtime.connect(address).await.expect("a listener");
    stream.write_all(&hello(lane)).await.expect("a hello");
    let mut welcome = vec![0; hello(lane).len()];
    stream.read_exact(&mut welcome).await.expect("a welcome");
    assert!(welcome.ends_with(&[1, b'a', 0, 0]), "no reason to refuse");
    stream
}

async fn assert_closed(runtime: &TokioRuntime, stream: &mut Stream) {
    let mut rest = Vec::new();
    let (read, late) = (pin!(stream.read_to_end(&mut rest)), pin!(runtime.sleep(PATIENCE)));
    // Whether it ends or is reset depends on what was still unread.
    assert!(matches!(select(read, late).await, Either::Left(_)), "still open");
}

#[test]
fn garbage_and_absurd_lengths_close_their_own_connection_only() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        two.send(1, request(1, "before")).await;
        assert_eq!(one.received().await, (2, request(1, "before")));

        let mut stranger = runtime.connect(&at_one).await.expect("a listener");
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("bytes");
        assert_closed(&runtime, &mut stranger).await;
        assert_eq!(one.counted(|counters| &counters.refused), 1);

        let hostile: [&[u8]; 3] = [&u32::MAX.to_le_bytes(), b"\x05\0\0\0\x09\0\0\0\0", b"\x06\0\0\0\0\0\0\0\0\xff"];
        for (done, bytes) in hostile.into_iter().enumerate() {
            let mut stream = dial(&runtime, &at_one, 0).await;
            stream.write_all(bytes).await.expect("bytes");
            assert_closed(&runtime, &mut stream).await;
            assert_eq!(one.counted(|counters| &counters.malformed), done as u64 + 1);
        }
        two.send(1, request(2, "after")).await;
        assert_eq!(one.received().await, (2, request(2, "after")));
    });
}

#[test]
fn a_newer_connection_takes_the_older_ones_place() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        two.transport.stop().await;
        let mut older = dial(&runtime, &at_one, 0).await;
        let mut other_lane = dial(&runtime, &at_one, 2).await;
        let _newer = dial(&runtime, &at_one, 0).await;
        assert_closed(&runtime, &mut older).await;
        // A request without payload: 21 bytes, kind 1.
        other_lane.write_all(&[&[21, 0, 0, 0, 1][..], &[0; 20]].concat()).await.expect("the other lane is open");
        let (from, frame) = one.received().await;
        assert_eq!((from, Lane::of(&frame)), (2, Lane::Command));
    });
}

#[test]
fn silent_strangers_beyond_the_limit_are_closed_at_once() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        two.send(1, request(1, "")).await;
        two.until("node 1 listens on all lanes", |two| two.peer_up(1)).await;
        let mut strangers = Vec::new();
        while one.counted(|counters| &counters.refused) == 0 {
            strangers.push(runtime.connect(&at_one).await.expect("a listener"));
            assert!(strangers.len() <= 200, "nobody is refused");
        }
        two.send(1, request(2, "")).await;
        assert_eq!(one.received().await, (2, request(1, "")));
        assert_eq!(one.received().await, (2, request(2, "")));
    });
}

#[test]
fn a_peer_that_stops_reading_appends_still_gets_urgent_frames() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        // Node 2's gate is shut: it takes the first append and reads no more.
        one.send(2, append(1, 1 << 20)).await;
        let mut index = 1;
        one.until("the append queue is full", |one| {
            while one.send(2, append(index + 1, 1 << 20)).is_ok() {
                index += 1;
            }
            one.counters().dropped_full.load(Ordering::Relaxed) > 20
        })
        .await;
        for round in 1..=100 {
            one.transport.send(2, urgent(round)).expect("the urgent lane is free");
            assert_eq!(two.received().await, (1, urgent(round)));
        }
        one.send(2, request(1, "")).await;
        assert_eq!(two.received().await, (1, request(1, "")), "commands pass as well");
    });
}

#[test]
fn links_come_back_after_the_peer_restarts_and_refuse_meanwhile() {
    run(|runtime| async move {
        let ([one, two], [at_one, at_two]) = pair(&runtime, |_| {}).await;
        one.send(2, request(1, "")).await;
        assert_eq!(two.received().await, (1, request(1, "")));
        one.until("all lanes are up", |one| one.send(2, urgent(0)).is_ok() && one.peer_up(2)).await;

        two.transport.stop().await;
        one.until("the end is noticed", |one| !one.peer_up(2) && one.send(2, request(2, "")).is_err()).await;
        assert_eq!(one.transport.send(2, urgent(1)), Err(NotSent));

        let (listener, _) = listen(&runtime, &at_two).await;
        let plan = Plan { node: 2, cluster: "a", hold: 1000, peers: BTreeMap::from([(1, at_one)]) };
        let two = plan.start(&runtime, listener).await;
        one.send(2, request(3, "again")).await;
        assert_eq!(two.received().await, (1, request(3, "again")));
        assert!(one.counted(|counters| &counters.reconnects) >= 1);
        one.until("the trouble is over", |one| one.peer_trouble(2).is_none()).await;
    });
}

#[test]
fn a_stopped_transport_has_no_sockets_and_sends_nothing() {
    run(|runtime| async move {
        let ([one, _two], [at_one, _]) = pair(&runtime, |_| {}).await;
        one.send(2, urgent(1)).await;
        one.transport.stop().await;
        assert_eq!(one.transport.send(2, urgent(2)), Err(NotSent));
        assert!(!one.transport.peer_up(2));
        assert!(runtime.connect(&at_one).await.is_err(), "nobody listens");
        one.transport.stop().await;
    });
}

#[test]
fn options_that_cannot_work_are_refused() {
    run(|runtime| async move {
        for (node, peer, cluster, error) in [
            (1, 2, "x".repeat(65), StartError::ClusterName { length: 65 }),
            (1, 1, "a".into(), StartError::OwnPeer { node: 1 }),
            (0, 1, "a".into(), StartError::NumberZero),
        ] {
            let (listener, address) = listen(&runtime, "127.0.0.1:0").await;
            let (hold, heartbeat) = (Duration::from_secs(1), Duration::from_millis(10));
            let config = Config::new(Options { hold, lease: None, drift_ppm: 0, heartbeat }).expect("it fits together");
            let peers = BTreeMap::from([(peer, address)]);
            let options = TransportOptions { node, cluster, boot: 1, config, peers, listener };
            let (frames, _) = async_channel::unbounded();
            let receive = Arc::new(Inbox { frames, append_gate: async_channel::bounded(1).1 });
            assert_eq!(Transport::start(runtime.clone(), options, receive).err(), Some(error));
        }
    });
}
