//! Transports of a test, over real loopback sockets.

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_core::{Config, NodeId, Options};
use leasehold_node::identity::Registry;
use leasehold_node::ports::{Lane, Links as _, MemoryRegistry, NotSent, Receive, Rejected};
use leasehold_runtime::Runtime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_transport_tcp::{PeerSecurity, Transport, TransportOptions, Versions};
use std::collections::BTreeMap;
use std::io::Write;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// A test fails when it waits for longer than this.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The inbox rejects payloads that start with this byte.
pub(crate) const REJECTED: u8 = 0xff;

pub(crate) fn run<F: Future>(story: impl FnOnce(TokioRuntime) -> F) -> F::Output {
    let runtime = TokioRuntime::start("test", 2).expect("threads");
    let output = runtime.block_on(story(runtime.clone()));
    runtime.kill();
    output
}

/// A received payload, or one to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) lane: Lane,
    pub(crate) payload: Bytes,
}

/// Passes on received payloads, those of the append lane once the gate is open.
pub(crate) struct Inbox {
    pub(crate) received: Sender<(NodeId, Sent)>,
    pub(crate) append_gate: Receiver<()>,
}

#[async_trait]
impl Receive for Inbox {
    async fn receive(&self, from: NodeId, lane: Lane, payload: &[u8]) -> Result<(), Rejected> {
        if let [REJECTED, rest @ ..] = payload {
            return Err(Rejected { reason: format!("sent a bad payload {}", String::from_utf8_lossy(rest)) });
        }
        if lane == Lane::Append {
            // Returns once the channel is closed.
            let _ = self.append_gate.recv().await;
        }
        let _ = self.received.send((from, Sent { lane, payload: Bytes::copy_from_slice(payload) })).await;
        Ok(())
    }
}

pub(crate) struct Node {
    pub(crate) runtime: TokioRuntime,
    pub(crate) address: String,
    pub(crate) transport: Arc<Transport<TokioRuntime>>,
    pub(crate) received: Receiver<(NodeId, Sent)>,
    /// Closing it opens the gate for append payloads.
    pub(crate) append_gate: Sender<()>,
}

/// Returns the identity of a node, which is the same in each of its runs.
pub(crate) fn registrar(node: NodeId, peers: impl Iterator<Item = NodeId>) -> Arc<MemoryRegistry> {
    Arc::new(MemoryRegistry::new(Registry::founded(node, peers.chain([node])), 75 + node))
}

pub(crate) struct Plan {
    pub(crate) node: NodeId,
    pub(crate) cluster: &'static str,
    pub(crate) hold: u64,
    pub(crate) peers: BTreeMap<NodeId, String>,
    pub(crate) security: PeerSecurity,
    pub(crate) versions: Versions,
}

impl Plan {
    pub(crate) fn new(node: NodeId, peers: BTreeMap<NodeId, String>) -> Plan {
        let (security, versions) = (PeerSecurity::default(), Versions::new(3, 3));
        Plan { node, cluster: "a", hold: 1000, peers, security, versions }
    }
}

impl Plan {
    pub(crate) async fn start(self, runtime: &TokioRuntime, listener: <TokioRuntime as Runtime>::Listener) -> Node {
        let (hold, heartbeat) = (Duration::from_millis(self.hold), Duration::from_millis(10));
        let config = Config::new(Options::new(hold, 100).with_heartbeat(heartbeat)).expect("a valid config");
        let registrar = registrar(self.node, self.peers.keys().copied());
        let address = runtime.local_address(&listener).expect("an address").to_string();
        let mut options = TransportOptions::new(registrar, self.cluster, config, listener);
        (options.peers, options.security, options.versions) = (self.peers, self.security, self.versions);
        let (sender, received) = async_channel::unbounded();
        let (append_gate, gate) = async_channel::bounded(1);
        let receive = Arc::new(Inbox { received: sender, append_gate: gate });
        let transport = Transport::start(runtime.clone(), options, receive).expect("valid options");
        Node { address, runtime: runtime.clone(), transport, received, append_gate }
    }
}

impl Node {
    pub(crate) async fn received(&self) -> (NodeId, Sent) {
        let (received, late) = (pin!(self.received.recv()), pin!(self.runtime.sleep(WAIT_TIMEOUT)));
        match select(received, late).await {
            Either::Left((received, _)) => received.expect("the inbox is open"),
            Either::Right(_) => panic!("nothing was received"),
        }
    }

    /// Polls a condition that no event announces.
    pub(crate) async fn until(&self, condition: &str, mut holds: impl FnMut(&Transport<TokioRuntime>) -> bool) {
        for _ in 0..WAIT_TIMEOUT.as_millis() / 2 {
            if holds(&self.transport) {
                return;
            }
            self.runtime.sleep(Duration::from_millis(2)).await;
        }
        panic!("timed out waiting until {condition}");
    }

    /// Sends as soon as the lane is connected.
    pub(crate) async fn send(&self, to: NodeId, sent: Sent) {
        self.until("the lane is connected", |transport| send(transport, to, sent.clone()).is_ok()).await;
    }

    pub(crate) fn counted(&self, counter: impl Fn(&leasehold_transport_tcp::Counters) -> &AtomicU64) -> u64 {
        counter(self.transport.counters()).load(Ordering::Relaxed)
    }
}

pub(crate) fn send(
    transport: &Transport<TokioRuntime>,
    to: NodeId,
    Sent { lane, payload }: Sent,
) -> Result<(), NotSent> {
    transport.send(to, lane, payload)
}

/// Returns a listener and its address.
pub(crate) async fn listen(runtime: &TokioRuntime, address: &str) -> (<TokioRuntime as Runtime>::Listener, String) {
    let listener = runtime.listen(address).await.expect("a free port");
    let address = runtime.local_address(&listener).expect("an address").to_string();
    (listener, address)
}

/// Returns a listener at an address that was in use until now. An outgoing connection may have its port for a moment.
pub(crate) async fn listen_again(runtime: &TokioRuntime, address: &str) -> <TokioRuntime as Runtime>::Listener {
    for _ in 0..WAIT_TIMEOUT.as_millis() / 10 {
        match runtime.listen(address).await {
            Ok(listener) => return listener,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
        runtime.sleep(Duration::from_millis(10)).await;
    }
    panic!("{address} stays in use");
}

/// Starts two nodes that are peers, the second with a changed plan. Returns them and their addresses.
pub(crate) async fn pair(runtime: &TokioRuntime, change: impl FnOnce(&mut Plan)) -> ([Node; 2], [String; 2]) {
    let (first, at_first) = listen(runtime, "127.0.0.1:0").await;
    let (second, at_second) = listen(runtime, "127.0.0.1:0").await;
    let plan = |node, peer, address: &String| Plan::new(node, BTreeMap::from([(peer, address.clone())]));
    let mut altered = plan(2, 1, &at_first);
    change(&mut altered);
    let nodes = [plan(1, 2, &at_second).start(runtime, first).await, altered.start(runtime, second).await];
    (nodes, [at_first, at_second])
}

pub(crate) fn urgent(number: u64) -> Sent {
    Sent { lane: Lane::Urgent, payload: Bytes::copy_from_slice(&number.to_le_bytes()) }
}

pub(crate) fn append(size: usize) -> Sent {
    Sent { lane: Lane::Append, payload: vec![1; size].into() }
}

pub(crate) fn request(payload: impl Into<Bytes>) -> Sent {
    Sent { lane: Lane::Request, payload: payload.into() }
}

/// The end of a hello: the verdict, and an empty reason.
pub(crate) const ACCEPTED: &[u8] = &[0, 0, 0];

pub(crate) fn message(body: &[u8]) -> Vec<u8> {
    [b"LSHD\x04\x00", &(body.len() as u16).to_le_bytes()[..], body].concat()
}

/// Returns an opening without a secret, encoded as documented.
pub(crate) fn opening() -> Vec<u8> {
    message(&[&[3, 0, 3, 0, 0][..], &[7; 32]].concat())
}

/// Returns node 2's hello to node 1, encoded as documented.
pub(crate) fn hello(lane: u8) -> Vec<u8> {
    let mut two = Registry::founded(2, [1, 2]);
    two.begin_run(77);
    let introduction = wincode::serialize(&two.introduction()).expect("it encodes");
    let hello = [
        &2_u64.to_le_bytes()[..],
        &1_u64.to_le_bytes(),
        &[lane],
        &1_000_000_000_u64.to_le_bytes(),
        &900_000_000_u64.to_le_bytes(),
        &100_u32.to_le_bytes(),
        &[1, b'a'],
        &(introduction.len() as u16).to_le_bytes(),
        &introduction,
    ]
    .concat();
    message(&[&(hello.len() as u16).to_le_bytes()[..], &hello, ACCEPTED].concat())
}

pub(crate) type Stream = <TokioRuntime as Runtime>::Stream;

/// Dials `address` as node 2 and completes the handshake.
pub(crate) async fn dial(runtime: &TokioRuntime, address: &str, lane: u8) -> Stream {
    let mut stream = runtime.connect(address).await.expect("a listener");
    stream.write_all(&[opening(), hello(lane)].concat()).await.expect("a hello");
    let mut answer = vec![0; opening().len() + hello(lane).len()];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert!(answer.ends_with(ACCEPTED), "it accepts");
    stream
}

/// Dials `node` as node 2, and sends a payload, until that is received: a connection of node 2 itself may replace this
/// one.
pub(crate) async fn dial_until_received(node: &Node, lane: u8, payload: &[u8]) -> Stream {
    let frame = [&(payload.len() as u32).to_le_bytes(), payload].concat();
    for _ in 0..100 {
        let mut stream = dial(&node.runtime, &node.address, lane).await;
        let _ = stream.write_all(&frame).await;
        let mut byte = [0];
        if let Either::Left((received, _)) = select(pin!(node.received()), pin!(stream.read(&mut byte))).await {
            assert_eq!((received.0, &*received.1.payload), (2, payload));
            return stream;
        }
    }
    panic!("every connection is closed");
}

pub(crate) async fn assert_closed(runtime: &TokioRuntime, stream: &mut Stream) {
    let mut rest = Vec::new();
    let (read, late) = (pin!(stream.read_to_end(&mut rest)), pin!(runtime.sleep(WAIT_TIMEOUT)));
    // It is reset instead if some bytes were still unread.
    assert!(matches!(select(read, late).await, Either::Left(_)), "still open");
}

/// Collects the log lines of this test program.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Returns the log of this process, which is collected from the first call on.
    pub(crate) fn collect() -> Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        let start = || {
            let log = Log::default();
            let writer = log.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        };
        LOG.get_or_init(start).clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}
