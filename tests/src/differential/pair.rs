//! The two servers.

use super::reply::{Reply, parse};
use super::stream::{Request, Stream, multibulk};
use leasehold::{ClientOptions, Limits, Node, NodeOptions};
use leasehold_core::{Config, Options};
use leasehold_node::{ReadMode, Role};
use leasehold_runtime::Runtime as _;
use leasehold_runtime_tokio::TokioRuntime;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The version of redis-server that replies are compared with, as `redis-server --version` prints it.
const VERSION: &str = "v=7.0.15";
/// The time for which a reply is waited for.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The same for a stream that may end in the middle of a request.
const RAW_TIMEOUT: Duration = Duration::from_millis(800);
/// The same while the reference has sent more than the tested server, whose disk may be slow.
const SLOW_TIMEOUT: Duration = Duration::from_secs(10);
/// The reply that marks the end of a stream.
const MARK: &[u8] = b"<the end of the stream>";
/// The pause between two pieces of a stream.
const CUT_PAUSE: Duration = Duration::from_micros(300);

/// The reason why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum Absent {
    /// It is not installed.
    #[error("redis-server is not installed; on Debian: apt-get install redis-server")]
    Missing,
    /// It is another version, whose replies differ.
    #[error("redis-server is another version than 7.0.15: {0}")]
    Version(String),
}

/// The replies of a server to a stream, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replies {
    pub(super) replies: Vec<Reply>,
    pub(super) end: End,
}

/// The end of the replies to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it was answered.
    Complete,
    /// The server closed the connection.
    Closed,
    /// Nothing more came in time.
    Silence,
    /// It sent something that is not a reply.
    Malformed,
}

/// redis-server and a node, each with a connection for what is not compared.
#[derive(Debug)]
pub struct Pair {
    reference: Server,
    tested: Server,
    _redis: Redis,
    _node: Tested,
}

#[derive(Debug)]
struct Redis {
    process: Child,
    _folder: TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Tested {
    _node: Node<TokioRuntime>,
    _runtime: TokioRuntime,
    _folder: TempDir,
}

impl std::fmt::Debug for Tested {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tested").finish_non_exhaustive()
    }
}

impl Pair {
    /// Starts both.
    ///
    /// # Errors
    /// [`Absent`], if there is no suitable redis-server.
    ///
    /// # Panics
    /// If one of them does not start.
    pub fn start() -> Result<Pair, Absent> {
        let version = Command::new("redis-server").arg("--version").output().map_err(|_| Absent::Missing)?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        if !version.contains(VERSION) {
            return Err(Absent::Version(version.trim().to_owned()));
        }
        let (redis, reference) = start_redis();
        let (node, tested) = start_node();
        let connect = |address| Server { address, control: connect(address).expect("it listens") };
        Ok(Pair { reference: connect(reference), tested: connect(tested), _redis: redis, _node: node })
    }

    /// Empties both, sends them the stream, and returns the replies of the reference and of the tested server.
    pub(super) fn send(&mut self, stream: &Stream) -> io::Result<(Replies, Replies)> {
        let flush = [b"FLUSHALL".to_vec()];
        self.reference.ask(&flush)?;
        self.tested.ask(&flush)?;
        let pieces = stream.pieces();
        let reference = self.reference.start(&pieces)?;
        let tested = self.tested.start(&pieces)?;
        let reference = finish(reference, |_| if stream.is_raw() { RAW_TIMEOUT } else { TIMEOUT })?;
        let tested = finish(tested, |replies| match reference.end {
            _ if !stream.is_raw() => TIMEOUT,
            End::Silence if replies >= reference.replies.len() => RAW_TIMEOUT,
            _ => SLOW_TIMEOUT,
        })?;
        Ok((reference, tested))
    }

    /// Asks both servers one thing, and returns the replies of the reference and of the tested server.
    pub(super) fn ask(&mut self, words: &[Vec<u8>]) -> io::Result<(Reply, Reply)> {
        Ok((self.reference.ask(words)?, self.tested.ask(words)?))
    }

    /// Asks the tested server.
    pub(super) fn ask_tested(&mut self, words: &[Vec<u8>]) -> io::Result<Reply> {
        self.tested.ask(words)
    }

    /// Asks the reference.
    pub(super) fn ask_reference(&mut self, words: &[Vec<u8>]) -> io::Result<Reply> {
        self.reference.ask(words)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn start_redis() -> (Redis, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        // Both have the same limit on a value.
        .args(["--proto-max-bulk-len", "16mb", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let redis = Redis { process, _folder: folder };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..2_400 {
        if TcpStream::connect(address).is_ok() {
            return (redis, address);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("redis-server did not listen within a minute");
}

fn start_node() -> (Tested, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = TokioRuntime::start("node", 1).expect("a runtime");
    let peer = format!("127.0.0.1:{}", free_port());
    let timing = Options::new(Duration::from_millis(1000), 1000).with_heartbeat(Duration::from_millis(100));
    let options = NodeOptions {
        node: 1,
        cluster: "differential".to_owned(),
        peers: BTreeMap::from([(1, peer.clone())]),
        groups: None,
        spreads_leaders: true,
        pin_peers: false,
        announce: leasehold_node::identity::Addresses::default(),
        peer_listen: peer,
        client_listen: "127.0.0.1:0".to_owned(),
        data_dir: folder.path().join("data"),
        timing: Config::new(timing).expect("a valid configuration"),
        reads: ReadMode::Lease,
        local_reads: false,
        metrics_listen: None,
        record: None,
        accept_data_loss: false,
        clients: ClientOptions::default(),
        stopped_for: None,
        peer_security: leasehold::PeerSecurity::default(),
        limits: Limits::default(),
    };
    let node = runtime.block_on(Node::start(&runtime, options)).expect("the node starts");
    runtime.block_on(node.handle().wait_status(|status| status.role == Role::Leader));
    let address = node.client_address();
    (Tested { _node: node, _runtime: runtime, _folder: folder }, address)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    control: TcpStream,
}

impl Server {
    fn ask(&mut self, words: &[Vec<u8>]) -> io::Result<Reply> {
        self.control.write_all(&multibulk(words))?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some((reply, _)) = parse(&received).map_err(|_| io::Error::from(ErrorKind::InvalidData))? {
                return Ok(reply);
            }
            match self.control.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => received.extend(&buffer[..length]),
            }
        }
    }

    /// Sends a stream on a new connection, and then what marks its end.
    fn start(&self, pieces: &[Vec<u8>]) -> io::Result<TcpStream> {
        let mut stream = connect(self.address)?;
        // A server may close early. Its replies until then are still compared.
        let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                std::thread::sleep(CUT_PAUSE);
            }
            if !send(piece) {
                break;
            }
        }
        // The stream may have left a transaction open.
        let end = [Request::new(vec![b"DISCARD".to_vec()]), Request::new(vec![b"ECHO".to_vec(), MARK.to_vec()])];
        send(&end.iter().flat_map(|request| multibulk(&request.words)).collect::<Vec<_>>());
        Ok(stream)
    }
}

/// Receives replies, and waits for the next one for as long as `patience` says after so many.
fn finish(mut stream: TcpStream, patience: impl Fn(usize) -> Duration) -> io::Result<Replies> {
    let (mut received, mut at, mut replies) = (Vec::new(), 0, Vec::new());
    let mut buffer = vec![0; 64 << 10];
    let end = 'end: loop {
        stream.set_read_timeout(Some(patience(replies.len())))?;
        match stream.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(length) => received.extend(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break End::Silence,
            Err(_) => break End::Closed,
        }
        loop {
            match parse(&received[at..]) {
                Err(_) => break 'end End::Malformed,
                Ok(None) => break,
                Ok(Some((Reply::Bytes(b'$', Some(bytes)), _))) if bytes == MARK => break 'end End::Complete,
                Ok(Some((reply, length))) => {
                    replies.push(reply);
                    at += length;
                }
            }
        }
    };
    Ok(Replies { replies, end })
}
