//! Whole nodes over real sockets, and single drivers.

use crate::{HOLD, Timed};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use leasehold::{ClientOptions, Limits, Node, NodeOptions};
use leasehold_core::{Config, NodeId, Options as Timing};
use leasehold_node::ports::Disk;
use leasehold_node::{Handle, ReadMode, Role};
use leasehold_runtime::Runtime;
use leasehold_tests::driven::{List, Plan};
use leasehold_tests::simulated::MemoryDisk;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The time within which everything awaited must happen.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The cluster's name.
pub(crate) const CLUSTER: &str = "slow";

pub(crate) fn timing() -> Config {
    let timing = Timing::new(HOLD, 1000);
    Config::new(timing).expect("it fits together")
}

/// A node, and the proxy in front of it.
pub(crate) struct Member<R: Runtime> {
    pub(crate) node: Node<R>,
    pub(crate) proxy: Proxy,
    _folder: TempDir,
}

impl<R: Runtime> Member<R> {
    pub(crate) fn client(&self) -> Client {
        Client::connected(self.node.client_address())
    }

    /// Returns one of the node's counters.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let info = self.client().ask("INFO everything");
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in {info}"))
    }
}

/// Three nodes that reach each other through proxies.
pub(crate) struct Cluster<R: Timed> {
    pub(crate) members: BTreeMap<NodeId, Member<R>>,
    runtime: R,
}

impl<R: Timed> Cluster<R> {
    pub(crate) fn started() -> Cluster<R> {
        let runtime = R::start("slow", 2).expect("a runtime");
        let members = runtime.block_on(async {
            let mut listeners = BTreeMap::new();
            for id in 1..=3 {
                let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
                let address = runtime.local_address(&listener).expect("an address").to_string();
                listeners.insert(id, (listener, address));
            }
            let peers: BTreeMap<NodeId, String> =
                listeners.iter().map(|(id, (_, address))| (*id, address.clone())).collect();
            let mut members = BTreeMap::new();
            for (id, (listener, _)) in listeners {
                let folder = tempfile::tempdir().expect("a folder");
                // A client may leave its replies unread for as long as a test takes on a slow disk.
                let mut limits = Limits::default();
                limits.client_timeout = Duration::from_secs(3600);
                let options = NodeOptions {
                    node: id,
                    cluster: CLUSTER.to_owned(),
                    peers: peers.clone(),
                    groups: None,
                    spreads_leaders: true,
                    pin_peers: true,
                    announce: leasehold_node::identity::Addresses::default(),
                    peer_listen: "127.0.0.1:0".to_owned(),
                    client_listen: "127.0.0.1:0".to_owned(),
                    data_dir: folder.path().to_path_buf(),
                    timing: timing(),
                    reads: ReadMode::Lease,
                    local_reads: false,
                    metrics_listen: None,
                    record: None,
                    accept_data_loss: false,
                    limits,
                    clients: ClientOptions::default(),
                    stopped_for: None,
                    peer_security: leasehold::PeerSecurity::default(),
                };
                let node = Node::start(&runtime, options).await.expect("the node starts");
                let proxy = Proxy::before(&runtime, listener, node.peer_address());
                members.insert(id, Member { node, proxy, _folder: folder });
            }
            members
        });
        let cluster = Cluster { members, runtime };
        for member in cluster.members.values() {
            let led = member.node.handle().wait_status(|status| status.leader.is_some());
            cluster.runtime.block_on(within(&cluster.runtime, led));
        }
        cluster
    }

    /// Returns the leader and its followers.
    pub(crate) fn leader_and_followers(&self) -> (&Member<R>, Vec<&Member<R>>) {
        let leads = |member: &&Member<R>| member.node.status().role == Role::Leader;
        let (mut leaders, followers): (Vec<_>, Vec<_>) = self.members.values().partition(leads);
        (leaders.pop().expect("one leads"), followers)
    }
}

impl<R: Timed> Drop for Cluster<R> {
    fn drop(&mut self) {
        self.runtime.kill();
    }
}

/// Forwards the connections of peers to a node, until it is frozen.
pub(crate) struct Proxy {
    frozen: Arc<AtomicBool>,
}

impl Proxy {
    fn before<R: Runtime>(runtime: &R, listener: R::Listener, target: SocketAddr) -> Proxy {
        let frozen = Arc::new(AtomicBool::new(false));
        let (accepting, proxy) = (runtime.clone(), Proxy { frozen: frozen.clone() });
        runtime.spawn(async move {
            while let Ok((dialer, _)) = accepting.accept(&listener).await {
                let Ok(node) = accepting.connect(&target.to_string()).await else { continue };
                let ((from_dialer, to_dialer), (from_node, to_node)) = (dialer.split(), node.split());
                accepting.spawn(carry(from_dialer, to_node, frozen.clone()));
                accepting.spawn(carry(from_node, to_dialer, frozen.clone()));
            }
        });
        proxy
    }

    /// Stops forwarding. Connections stay open, and nothing is read from them.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, frozen: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if frozen.load(Ordering::Relaxed) {
            futures::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other end may have closed the connection already.
    let _ = to.close().await;
}

/// A client that waits for each reply.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connected(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the node listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout is set");
        stream.set_nodelay(true).expect("small requests are sent at once");
        Client { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the node takes the request");
    }

    /// Returns the next reply, or `None` at the end of the connection. Strings and errors are returned as text.
    pub(crate) fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the node answers");
        let line = line.strip_suffix("\r\n")?;
        let Some(length) = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) else {
            return Some(line.to_owned());
        };
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).expect("as many bytes as announced");
        text.truncate(length);
        Some(String::from_utf8(text).expect("text"))
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.answer().expect("the connection stays open")
    }

    /// Sets a long value.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) -> String {
        let header = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
        self.send(&[header.as_bytes(), value, b"\r\n"].concat());
        self.answer().expect("the connection stays open")
    }
}

/// Starts drivers without servers on one runtime, each with a disk from `disk`.
pub(crate) fn drivers<R: Timed, D: Disk>(
    runtime: &R,
    size: u64,
    reads: ReadMode,
    disk: impl Fn(NodeId, MemoryDisk) -> D,
) -> BTreeMap<NodeId, (Handle<List>, MemoryDisk)> {
    runtime.block_on(async {
        let mut listeners = BTreeMap::new();
        for id in 1..=size {
            let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
            let address = runtime.local_address(&listener).expect("an address").to_string();
            listeners.insert(id, (listener, address));
        }
        let addresses: BTreeMap<NodeId, String> =
            listeners.iter().map(|(id, (_, address))| (*id, address.clone())).collect();
        let mut handles = BTreeMap::new();
        for (node, (listener, _)) in listeners {
            let (addresses, clock) = (addresses.clone(), runtime.clock());
            let plan = Plan { node, seed: node, addresses, listener, hold: HOLD, reads, clock };
            let memory = MemoryDisk::default();
            let handle = plan.start(runtime, disk(node, memory.clone()), memory.recovered(), |links| links);
            handles.insert(node, (handle, memory));
        }
        for (handle, _) in handles.values() {
            within(runtime, handle.wait_status(|status| status.leader.is_some())).await;
        }
        handles
    })
}

/// Returns the leader of these drivers.
pub(crate) fn leader(handles: &BTreeMap<NodeId, (Handle<List>, MemoryDisk)>) -> &Handle<List> {
    let leads = |handle: &&Handle<List>| handle.status().role == Role::Leader;
    handles.values().map(|(handle, _)| handle).find(leads).expect("one leads")
}

/// Waits for a future.
///
/// # Panics
/// If it takes too long.
pub(crate) async fn within<R: Runtime, F: Future>(runtime: &R, future: F) -> F::Output {
    let (future, late) = (std::pin::pin!(future), std::pin::pin!(runtime.sleep(TIMEOUT)));
    match futures::future::select(future, late).await {
        futures::future::Either::Left((output, _)) => output,
        futures::future::Either::Right(_) => panic!("not done within {TIMEOUT:?}"),
    }
}
