//! Peers that stop reading, and peers that announce oversized frames.

use crate::Timed;
use crate::cluster::{CLUSTER, Cluster, timing};
use leasehold_core::NodeId;
use leasehold_node::identity::Registry;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const MIB: usize = 1 << 20;

pub(crate) fn that_stops_reading<R: Timed>() {
    let cluster = Cluster::<R>::started();
    let (leader, followers) = cluster.leader_and_followers();
    let mut client = leader.client();
    assert_eq!(client.ask("SET k 0"), "+OK");
    let term = leader.node.status().term;

    followers[0].proxy.freeze();
    // More than the frozen peer's queue and sockets can buffer.
    let value = vec![b'v'; 2 * MIB];
    for number in 0..48 {
        assert_eq!(client.set("large", &value), "+OK");
        assert_eq!(client.ask("INCR k"), format!(":{}", number + 1));
        assert_eq!(client.ask("GET k"), (number + 1).to_string());
    }
    assert!(leader.counted("frames_dropped_full") > 0, "frames to a full queue are dropped");
    assert_eq!(followers[1].client().ask("GET k"), "48", "the other follower is not delayed");
    assert_eq!(leader.node.status().term, term, "no election took place");
    let (lease, quorum) = (leader.counted("reads_lease"), leader.counted("reads_quorum"));
    assert!(lease > 9 * quorum, "the lease is valid most of the time: {lease} reads by lease, {quorum} by quorum");
}

pub(crate) fn that_is_hostile<R: Timed>() {
    let cluster = Cluster::<R>::started();
    let (leader, followers) = cluster.leader_and_followers();
    let mut client = leader.client();
    assert_eq!(client.ask("SET k 0"), "+OK");
    let term = leader.node.status().term;
    let (victim, pretended) = (&cluster.members, followers[0]);
    let number_of =
        |address| victim.iter().find(|(_, member)| member.node.peer_address() == address).map(|(id, _)| *id);
    let leader_number = number_of(leader.node.peer_address()).expect("it is one of them");
    let pretended_number = number_of(pretended.node.peer_address()).expect("it is one of them");

    for lane in 0..3 {
        let malformed = leader.counted("connections_malformed");
        let hello = stolen_hello(pretended.node.peer_address(), pretended_number, leader_number, lane);
        // Retries if the real peer has just replaced the connection.
        for _ in 0..100 {
            announce_too_much(leader.node.peer_address(), &hello);
            if leader.counted("connections_malformed") > malformed {
                break;
            }
        }
        assert!(leader.counted("connections_malformed") > malformed, "lane {lane}");
    }
    for member in cluster.members.values() {
        assert_eq!(member.client().ask("GET k"), "0");
    }
    assert_eq!(followers[0].client().ask("INCR k"), ":1");
    assert_eq!(leader.node.status().term, term, "no election took place");
}

/// Sends a handshake, then announces a frame of 4 GiB, and waits until the connection is closed.
fn announce_too_much(address: SocketAddr, hello: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
    stream.write_all(hello).expect("it takes a hello");
    let mut prefix = [0; 8];
    stream.read_exact(&mut prefix).expect("it answers");
    assert_eq!(prefix[..4], *b"LSHD");
    // The connection may already be closed or reset, because part of what is sent is never read.
    let _ = stream.write_all(&[255; 64]);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Returns the hello of a node, as it answers anybody, addressed to another node and for another lane. See the
/// transport's handshake for the format. The handshake recognizes mistakes, not attacks.
fn stolen_hello(of: SocketAddr, from: NodeId, to: NodeId, lane: u8) -> Vec<u8> {
    let mut stream = TcpStream::connect(of).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
    stream.write_all(&made_up_hello(to, from)).expect("it takes a hello");
    let [_opening, answer] = [(); 2].map(|()| {
        let mut prefix = [0; 8];
        stream.read_exact(&mut prefix).expect("it answers");
        let mut body = vec![0; usize::from(u16::from_le_bytes([prefix[6], prefix[7]]))];
        stream.read_exact(&mut body).expect("it answers");
        body
    });
    let mut body = answer[2..].to_vec();
    let at = 8 + 8 + 1 + 8 + 8 + 4 + 1 + CLUSTER.len();
    body.truncate(at + 2 + usize::from(u16::from_le_bytes([body[at], body[at + 1]])));
    body[8..16].copy_from_slice(&to.to_le_bytes());
    body[16] = lane;
    message(&body)
}

/// Returns a hello with a folder that no node knows.
fn made_up_hello(from: NodeId, to: NodeId) -> Vec<u8> {
    let timing = timing().timing();
    let mut body = [from.to_le_bytes(), to.to_le_bytes()].concat();
    body.push(0);
    body.extend_from_slice(&timing.hold_nanos.to_le_bytes());
    body.extend_from_slice(&timing.lease_nanos.to_le_bytes());
    body.extend_from_slice(&timing.drift_ppm.to_le_bytes());
    body.push(CLUSTER.len() as u8);
    body.extend_from_slice(CLUSTER.as_bytes());
    let mut folder = Registry::new(from, 1, []);
    folder.begin_run(1);
    let introduction = wincode::serialize(&folder.introduction()).expect("it encodes");
    body.extend_from_slice(&(introduction.len() as u16).to_le_bytes());
    body.extend_from_slice(&introduction);
    message(&body)
}

/// Returns an opening without a secret, and an answer with this hello, the verdict and an empty reason.
fn message(hello: &[u8]) -> Vec<u8> {
    let framed = |body: &[u8]| [b"LSHD\x04\x00", &(body.len() as u16).to_le_bytes()[..], body].concat();
    let opening = [&[4, 0, 4, 0, 0][..], &[7; 32]].concat();
    let answer = [&(hello.len() as u16).to_le_bytes()[..], hello, &[0, 0, 0]].concat();
    [framed(&opening), framed(&answer)].concat()
}
