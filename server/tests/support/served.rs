//! A cluster of one node in this process, and clients that speak to it.
#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "ports.rs"]
mod ports;

use leasehold::keyspace::Keyspace;
use leasehold::{ClientOptions, Limits, Node, NodeOptions};
use leasehold_core::{Config, Options};
use leasehold_node::ports::StateMachine as _;
use leasehold_node::{ReadMode, Role, Status};
use leasehold_runtime::Runtime;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) use ports::free_address;

pub(crate) struct Served<R: Runtime> {
    pub(crate) node: Node<R>,
    _runtime: R,
    _folder: TempDir,
}

impl<R: Runtime> Served<R> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.node.client_address()
    }
}

/// Returns the timing of nodes that replace a leader which was silent for so many seconds, and no sooner.
pub(crate) fn timing(hold: u64) -> Config {
    let timing = Options::new(Duration::from_secs(hold), 1000).with_heartbeat(Duration::from_millis(100));
    Config::new(timing).expect("a valid configuration")
}

/// Returns the options of a cluster of one node with its data in `folder`.
pub(crate) fn options(folder: &Path, client_listen: String) -> NodeOptions {
    let peer = free_address().to_string();
    NodeOptions {
        node: 1,
        cluster: "test".to_owned(),
        peers: BTreeMap::from([(1, peer.clone())]),
        groups: None,
        spreads_leaders: true,
        pin_peers: false,
        announce: leasehold_node::identity::Addresses::default(),
        peer_listen: peer,
        client_listen,
        data_dir: folder.join("data"),
        timing: timing(1),
        reads: ReadMode::Lease,
        local_reads: false,
        metrics_listen: None,
        record: None,
        accept_data_loss: false,
        clients: ClientOptions::default(),
        stopped_for: None,
        peer_security: leasehold::PeerSecurity::default(),
        limits: Limits::default(),
    }
}

/// Starts a cluster of one node and waits until it leads.
pub(crate) fn serve<R: Runtime>(limits: Limits, clients: ClientOptions) -> Served<R> {
    serve_as(|options| NodeOptions { limits, clients, ..options })
}

/// Waits until the status of every group is accepted, and the group executes every command. A leader learns only after
/// its election which commands the members can execute, and a command that waits for that gives up after a while.
pub(crate) fn await_groups<R: Runtime>(runtime: &R, node: &Node<R>, accept: impl Fn(&Status) -> bool) {
    let handle = node.handle();
    for group in handle.groups().into_iter().filter_map(|group| handle.to_group(group)) {
        let is_ready = |status: &Status| accept(status) && status.entry_version >= Keyspace::NEWEST_VERSION;
        runtime.block_on(group.wait_status(is_ready));
    }
}

/// Starts a cluster of one node with changed options and waits until it leads.
pub(crate) fn serve_as<R: Runtime>(change: impl FnOnce(NodeOptions) -> NodeOptions) -> Served<R> {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = R::start("node", 2).expect("a runtime");
    let options = change(options(folder.path(), "127.0.0.1:0".to_owned()));
    let node = runtime.block_on(Node::start(&runtime, options)).expect("the node starts");
    await_groups(&runtime, &node, |status| status.role == Role::Leader);
    Served { node, _runtime: runtime, _folder: folder }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
    stream
}

/// Sends bytes on a new connection and returns all replies until the node closes it.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).expect("the request is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the node answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes on new connections until the replies are accepted, and returns them. The commands are executed each
/// time.
pub(crate) fn exchange_until(address: SocketAddr, request: &[u8], accept: impl Fn(&str) -> bool) -> String {
    let mut replies = String::new();
    for _ in 0..2_000 {
        replies = exchange(address, request);
        if accept(&replies) {
            return replies;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the replies to {} are not accepted: {replies}", String::from_utf8_lossy(request))
}

pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).as_bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    request
}

/// Returns a number of `INFO`, after sending `login`.
pub(crate) fn info_as(address: SocketAddr, login: &str, field: &str) -> usize {
    let info = exchange(address, format!("{login}INFO\r\nQUIT\r\n").as_bytes());
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {field} in {info}"))
}
