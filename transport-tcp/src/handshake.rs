//! The handshake: two nodes check that they belong together before they exchange frames.
//!
//! The dialer sends a [`Hello`]. The acceptor answers with its own and its verdict. Both apply the same rules, so both
//! sides report a mistake. The layout is fixed and little-endian:
//!
//! ```text
//! "LSHD" | u16 version | u16 length of what follows | hello | u8 verdict | u16 length of the reason | reason
//! verdict: 0 accepted, and always by the dialer | 1 refused | 2 refused because of the folder | 3 not founded yet
//! ```
//!
//! The first eight bytes stay the same in every version.
//!
//! Each side records the other durably before it uses the connection ([`Meet`]).

use crate::hello::{Hello, Reader};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use leasehold_core::{Config, NodeId, NotCovered};
use leasehold_node::identity::Introduction;
use leasehold_node::ports::{Lane, Meet, MeetError};
use std::fmt;
use std::io;
use std::sync::Arc;
use tracing::Level;

/// The first bytes on a connection between nodes.
const MAGIC: [u8; 4] = *b"LSHD";
/// The version of the handshake and of the frames.
const VERSION: u16 = 4;
/// The bytes before the hello.
const PREFIX_BYTES: usize = 4 + 2 + 2;
/// The longest message, including its prefix.
const MAX_MESSAGE_BYTES: usize = 24 << 10;
/// The longest reason. A longer one is truncated.
const MAX_REASON_BYTES: usize = 512;

/// The reason why a handshake failed. Each text follows the peer's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    #[error("does not speak Leasehold's peer protocol: check that the address and port are those for peers")]
    NotLeasehold,
    #[error("uses version {theirs} of the peer protocol, this node version {VERSION}: run the same release on both")]
    OtherVersion { theirs: u16 },
    #[error("sent a malformed hello: run the same release on both nodes")]
    Malformed,
    #[error("belongs to cluster {theirs:?}, this node to {ours:?}: give both the same --cluster")]
    OtherCluster { theirs: String, ours: String },
    #[error("is this node itself: correct the addresses of its peers")]
    Myself,
    #[error("also has the number {node} of this node: give every node a different number")]
    SameNumber { node: NodeId },
    #[error("is node {theirs}, not {expected}: correct the addresses of this node's peers")]
    OtherNode { theirs: NodeId, expected: NodeId },
    #[error("dialed node {wanted}, but this is node {ours}: correct the addresses of its peers")]
    DialedOther { wanted: NodeId, ours: NodeId },
    #[error("has too short a hold: {0}")]
    NotCovered(NotCovered),
    #[error(transparent)]
    Identity(#[from] MeetError),
    #[error("waits until every founder runs")]
    NotFounded,
    #[error("refused the connection: \"node {ours} {reason}\"")]
    Refused { ours: NodeId, reason: String, for_its_folder: bool },
    #[error("did not complete the handshake within {seconds} s: check that the address and port are those for peers")]
    Late { seconds: u64 },
    #[error("lost the connection during the handshake: {0}")]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// Returns the level at which it is logged. A folder that must not take part needs an operator.
    pub(crate) fn level(&self) -> Level {
        match self {
            HandshakeError::NotFounded => Level::DEBUG,
            HandshakeError::Identity(_) | HandshakeError::Refused { for_its_folder: true, .. } => Level::ERROR,
            _ => Level::WARN,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            HandshakeError::NotFounded => Verdict::NotFounded,
            HandshakeError::Identity(MeetError::Refused(_)) => Verdict::RefusedFolder,
            _ => Verdict::Refused,
        }
    }
}

/// The acceptor's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
    RefusedFolder,
    NotFounded,
}

impl Verdict {
    const ALL: [Verdict; 4] = [Verdict::Accepted, Verdict::Refused, Verdict::RefusedFolder, Verdict::NotFounded];

    fn from_number(number: u8) -> Option<Verdict> {
        Verdict::ALL.get(usize::from(number)).copied()
    }
}

/// This node, and the keeper that decides which peers it accepts.
#[derive(Clone)]
pub struct Identity {
    pub node: NodeId,
    pub cluster: String,
    pub config: Config,
    pub registrar: Arc<dyn Meet>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Identity {
    fn hello(&self, to: NodeId, lane: Option<Lane>) -> Hello {
        let (cluster, timing) = (self.cluster.clone(), self.config.timing());
        Hello { introduction: self.registrar.introduction(), to, lane, timing, cluster }
    }

    /// Applies the rules that are the same for both sides.
    fn check(&self, hello: &Hello) -> Result<(), HandshakeError> {
        if hello.cluster != self.cluster {
            return Err(HandshakeError::OtherCluster { theirs: hello.cluster.clone(), ours: self.cluster.clone() });
        }
        if hello.from() == self.node {
            let myself = hello.introduction.run() == self.registrar.introduction().run();
            return Err(if myself { HandshakeError::Myself } else { HandshakeError::SameNumber { node: self.node } });
        }
        self.config.accept_peer(hello.timing).map_err(HandshakeError::NotCovered)
    }

    async fn check_dialer(&self, hello: &Hello) -> Result<(), HandshakeError> {
        self.check(hello)?;
        if hello.to != self.node {
            return Err(HandshakeError::DialedOther { wanted: hello.to, ours: self.node });
        }
        // A probe must not change what this node knows of its peers.
        if hello.lane.is_some() { self.meet(hello).await } else { Ok(()) }
    }

    fn check_acceptor(&self, hello: &Hello, expected: NodeId) -> Result<(), HandshakeError> {
        self.check(hello)?;
        if hello.from() != expected {
            return Err(HandshakeError::OtherNode { theirs: hello.from(), expected });
        }
        Ok(())
    }

    /// Records the peer durably, unless its folder must not take part or no cluster is founded yet.
    async fn meet(&self, hello: &Hello) -> Result<(), HandshakeError> {
        match self.registrar.meet(hello.introduction.clone()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(HandshakeError::NotFounded),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the dialer's side. After `Ok` the connection carries frames.
    pub async fn dial<S>(&self, stream: &mut S, to: NodeId, lane: Lane) -> Result<(), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        write(stream, &self.hello(to, Some(lane)), Verdict::Accepted, "").await?;
        let (hello, verdict, reason) = read(stream).await?;
        // This node's own check first: its text is for the reader of this node's log.
        self.check_acceptor(&hello, to)?;
        self.meet(&hello).await?;
        let for_its_folder = match verdict {
            Verdict::Accepted => {
                self.registrar.judged_by(to, None);
                return Ok(());
            }
            Verdict::NotFounded => return Err(HandshakeError::NotFounded),
            Verdict::Refused => false,
            Verdict::RefusedFolder => true,
        };
        // Logs and `INFO` show it in one line: it must not forge further lines.
        let reason = reason.replace(char::is_control, " ");
        if for_its_folder {
            self.registrar.judged_by(to, Some(&reason));
        }
        Err(HandshakeError::Refused { ours: self.node, reason, for_its_folder })
    }

    /// Runs the dialer's side for a connection that carries nothing afterwards. Returns the acceptor's introduction,
    /// whatever its verdict. Neither side records the other.
    pub async fn probe<S>(&self, stream: &mut S, to: NodeId) -> Result<Introduction, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        write(stream, &self.hello(to, None), Verdict::Accepted, "").await?;
        let (hello, ..) = read(stream).await?;
        self.check_acceptor(&hello, to)?;
        Ok(hello.introduction)
    }

    /// Runs the acceptor's side. Returns the dialer's hello, or the error and the number that the dialer gave.
    pub async fn accept<S>(&self, stream: &mut S) -> Result<Hello, (Option<NodeId>, HandshakeError)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (hello, verdict) = match read(stream).await {
            Ok((hello, ..)) => {
                let verdict = self.check_dialer(&hello).await;
                (Some(hello), verdict)
            }
            Err(error) => (None, Err(error)),
        };
        let (from, lane) = hello.as_ref().map_or((0, None), |hello| (hello.from(), hello.lane));
        let answer = match &verdict {
            Ok(()) => write(stream, &self.hello(from, lane), Verdict::Accepted, "").await,
            // A dialer that does not speak the protocol gets no answer.
            Err(HandshakeError::Io(_) | HandshakeError::NotLeasehold) => Ok(()),
            Err(error) => write(stream, &self.hello(from, lane), error.verdict(), &error.to_string()).await,
        };
        let claimed = hello.as_ref().map(Hello::from);
        match (verdict, answer, hello) {
            (Ok(()), Ok(()), Some(hello)) => Ok(hello),
            (Err(error), _, _) => Err((claimed, error)),
            (Ok(()), Err(error), _) => Err((claimed, error.into())),
            (Ok(()), Ok(()), None) => Err((claimed, HandshakeError::Malformed)),
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, hello: &Hello, verdict: Verdict, reason: &str) -> io::Result<()> {
    stream.write_all(&encode(hello, verdict, reason)).await?;
    stream.flush().await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Hello, Verdict, String), HandshakeError> {
    let mut prefix = [0; PREFIX_BYTES];
    // Read the magic alone: another protocol's client may send less than a prefix and wait.
    let (magic, rest) = prefix.split_at_mut(MAGIC.len());
    stream.read_exact(magic).await?;
    if magic != MAGIC {
        return Err(HandshakeError::NotLeasehold);
    }
    stream.read_exact(rest).await?;
    let [.., v0, v1, l0, l1] = prefix;
    let theirs = u16::from_le_bytes([v0, v1]);
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    // Read it for any version: closing a connection with unread bytes resets it, and the answer could be lost.
    let mut rest = vec![0; length.min(MAX_MESSAGE_BYTES - PREFIX_BYTES)];
    stream.read_exact(&mut rest).await?;
    if theirs != VERSION {
        return Err(HandshakeError::OtherVersion { theirs });
    }
    if length != rest.len() {
        return Err(HandshakeError::Malformed);
    }
    decode(&rest).ok_or(HandshakeError::Malformed)
}

fn encode(hello: &Hello, verdict: Verdict, reason: &str) -> Vec<u8> {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    let mut body = Vec::new();
    hello.encode(&mut body);
    body.push(verdict as u8);
    body.extend_from_slice(&u16::try_from(reason.len()).expect("it was truncated above").to_le_bytes());
    body.extend_from_slice(reason.as_bytes());
    let mut message = Vec::with_capacity(PREFIX_BYTES + body.len());
    message.extend_from_slice(&MAGIC);
    message.extend_from_slice(&VERSION.to_le_bytes());
    message.extend_from_slice(&u16::try_from(body.len()).expect("far below the limit").to_le_bytes());
    message.extend_from_slice(&body);
    message
}

fn decode(bytes: &[u8]) -> Option<(Hello, Verdict, String)> {
    let mut bytes = Reader(bytes);
    let hello = Hello::decode(&mut bytes)?;
    let verdict = Verdict::from_number(bytes.u8()?)?;
    let length = usize::from(bytes.u16()?);
    let reason = bytes.text(length)?;
    bytes.0.is_empty().then_some((hello, verdict, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::MAX_CLUSTER_BYTES;
    use futures::FutureExt as _;
    use futures::io::Cursor;
    use leasehold_core::Options;
    use leasehold_node::identity::{
        Addresses, Contact, MAX_ADDRESS_BYTES, MAX_BOOTS, MAX_FOUNDERS, MAX_MEMBERS, Registry, Roster,
    };
    use leasehold_node::ports::MemoryRegistry;
    use std::collections::BTreeMap;
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
        Identity { node, cluster: "a".into(), config: config(1000), registrar }
    }

    /// A stream that yields `from` and keeps the bytes written.
    struct FakeStream {
        from: Cursor<Vec<u8>>,
        written: Vec<u8>,
    }

    impl AsyncRead for FakeStream {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            buffer: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::pin::Pin::new(&mut self.from).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for FakeStream {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            self.written.extend_from_slice(buffer);
            std::task::Poll::Ready(Ok(buffer.len()))
        }
        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn poll_close(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn stream(from: Vec<u8>) -> FakeStream {
        FakeStream { from: Cursor::new(from), written: Vec::new() }
    }

    /// Runs one handshake. Returns the dialer's error and the acceptor's.
    fn connect(dialer: &Identity, expects: NodeId, acceptor: &Identity) -> [Option<String>; 2] {
        let hello = dialer.hello(expects, Some(Lane::Append));
        let mut to_acceptor = stream(encode(&hello, Verdict::Accepted, ""));
        let accepted = acceptor.accept(&mut to_acceptor).now_or_never().expect("every byte is available");
        let mut to_dialer = stream(to_acceptor.written);
        let dialed =
            dialer.dial(&mut to_dialer, expects, Lane::Append).now_or_never().expect("every byte is available");
        if let Ok(accepted) = &accepted {
            assert_eq!(*accepted, hello);
        }
        [dialed.err().map(|error| error.to_string()), accepted.err().map(|(_, error)| error.to_string())]
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
        let empty = with(Registry::new(3, 99, 1..=3), 1);
        let mut to_acceptor = stream(encode(&node(1).hello(3, None), Verdict::Accepted, ""));
        let accepted = empty.accept(&mut to_acceptor).now_or_never().expect("every byte is available");
        assert_eq!(accepted.expect("a probe needs no meeting").lane, None);
        let one = node(1);
        let before = one.registrar.introduction();
        let probed = one.probe(&mut stream(to_acceptor.written), 3).now_or_never().expect("every byte is available");
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
        assert!(
            ours.starts_with("has an older copy of its data folder, which does not know its own start 5"),
            "{ours}"
        );
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
        let accept = |bytes: &[u8]| {
            let mut stream = stream(bytes.to_vec());
            let error =
                node(1).accept(&mut stream).now_or_never().expect("every byte is available").expect_err("no hello").1;
            (error, stream.written)
        };
        let (error, answer) = accept(b"GET / HTTP/1.1\r\n\r\n");
        assert!(matches!(error, HandshakeError::NotLeasehold), "{error}");
        assert!(answer.is_empty());
        let (error, answer) = accept(b"LSHD\x01\x00\x00\x00");
        assert!(matches!(error, HandshakeError::OtherVersion { theirs: 1 }), "{error}");
        assert!(answer.starts_with(b"LSHD\x04\x00"));
        let (error, _) = accept(&[b"LSHD\x04\x00\xff\xff".as_slice(), &[0; MAX_MESSAGE_BYTES]].concat());
        assert!(matches!(error, HandshakeError::Malformed), "{error}");
        let (error, _) = accept(b"LSHD\x04\x00\x02\x00\xff\xff");
        assert!(matches!(error, HandshakeError::Malformed), "{error}");
    }

    #[test]
    fn rejects_a_hello_cut_or_extended_anywhere() {
        let mut hello = Hello { cluster: "x".repeat(MAX_CLUSTER_BYTES), ..node(1).hello(2, Some(Lane::Request)) };
        hello.introduction.boots = (1..=MAX_BOOTS as u64).collect();
        hello.introduction.founders = (1..=MAX_FOUNDERS as u64).map(|founder| (founder, founder)).collect();
        let address = "x".repeat(MAX_ADDRESS_BYTES);
        let contact =
            Contact { addresses: Addresses { peers: address.clone(), clients: address }, ..Contact::default() };
        let members = (1..=MAX_MEMBERS as u64).map(|member| (member, contact.clone())).collect();
        hello.introduction.roster = Roster { members, ..Roster::default() };
        let message = encode(&hello, Verdict::RefusedFolder, &"ß".repeat(MAX_REASON_BYTES));
        assert!(message.len() <= MAX_MESSAGE_BYTES);
        let body = &message[PREFIX_BYTES..];
        assert_eq!(decode(body), Some((hello, Verdict::RefusedFolder, "ß".repeat(MAX_REASON_BYTES / 2))));
        for end in 0..body.len() {
            assert_eq!(decode(&body[..end]), None, "cut at {end}");
        }
        assert_eq!(decode(&[body, &[0]].concat()), None);
    }
}
