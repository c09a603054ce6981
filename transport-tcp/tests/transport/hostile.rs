//! Strangers that connect to a node: it stays connected with its peers, and they reconnect.

use crate::support::*;
use futures::future::select;
use futures::io::AsyncWriteExt as _;
use leasehold_certificates::Authority;
use leasehold_node::ports::Lane;
use leasehold_runtime::Runtime as _;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_tls::{MutualTls, TlsFiles};
use leasehold_transport_tcp::{PeerSecret, PeerSecurity, Transport, certificate_name};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Connects from another loopback address, as another machine would.
#[cfg(target_os = "linux")]
fn connect_from(source: [u8; 4], address: &str) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine");
    let address: SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("a listener");
    socket.into()
}

/// Elsewhere a machine has one loopback address.
#[cfg(not(target_os = "linux"))]
fn connect_from(_: [u8; 4], address: &str) -> TcpStream {
    TcpStream::connect(address).expect("a listener")
}

/// Returns how many connections failed or were closed before their handshake was complete.
fn failed_handshakes(transport: &Transport<TokioRuntime>) -> u64 {
    let counters = transport.counters();
    [&counters.handshakes_refused, &counters.handshakes_evicted]
        .map(|counter| counter.load(Ordering::Relaxed))
        .iter()
        .sum()
}

/// Returns how many files a test may open, with room for the others in this process.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize / 2)
}

/// Restarts node 2 and checks that it reconnects in both directions.
async fn assert_reconnects(runtime: &TokioRuntime, one: &Node, two: Node, security: PeerSecurity) -> Node {
    two.transport.stop().await;
    let listener = listen_again(runtime, &two.address).await;
    let plan = Plan { security, ..Plan::new(2, BTreeMap::from([(1, one.address.clone())])) };
    let two = plan.start(runtime, listener).await;
    assert_connected(one, &two).await;
    two
}

/// Checks that payloads pass in both directions. What was queued for a connection that has ended is lost, so it is sent
/// until it arrives.
async fn assert_connected(one: &Node, two: &Node) {
    for (from, to, number) in [(one, two, 2), (two, one, 1)] {
        let text = format!("to node {number} at {}", to.address);
        to.until("it receives", |_| {
            let _ = send(&from.transport, number, request(text.clone()));
            has_received(to, &text)
        })
        .await;
    }
}

/// Checks that payloads pass in both directions, on every lane.
async fn assert_connected_on_every_lane(one: &Node, two: &Node) {
    for (from, to, number) in [(one, two, 2), (two, one, 1)] {
        to.append_gate.close();
        for lane in Lane::ALL {
            let sent = Sent { lane, payload: b"on every lane"[..].into() };
            to.until("it receives", |_| {
                let _ = send(&from.transport, number, sent.clone());
                std::iter::from_fn(|| to.received.try_recv().ok()).any(|(_, received)| received == sent)
            })
            .await;
        }
    }
}

/// Returns true if a request with this text is among what the node has received and nothing has looked at yet.
fn has_received(node: &Node, text: &str) -> bool {
    std::iter::from_fn(|| node.received.try_recv().ok()).any(|(_, sent)| sent == request(text.to_owned()))
}

#[test]
fn ten_thousand_silent_connections_do_not_keep_a_node_from_reconnecting() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        assert_connected_on_every_lane(&one, &two).await;
        let reconnects = two.counted(|counters| &counters.reconnects);
        // From the peer's own address, and then from another one.
        let count = descriptors().min(10_000);
        let mut silent: Vec<TcpStream> =
            (0..count).map(|number| connect_from([127, 0, 0, if number % 2 == 0 { 1 } else { 2 }], &at_one)).collect();
        one.until("all but a few are closed", |one| failed_handshakes(one) as usize >= count - 64).await;
        assert_connected(&one, &two).await;
        assert_eq!(two.counted(|counters| &counters.reconnects), reconnects, "its links were not disturbed");
        let two = assert_reconnects(&runtime, &one, two, PeerSecurity::default()).await;
        // They hold the places again, and more of them come while it connects.
        silent.extend((0..64).map(|_| connect_from([127, 0, 0, 2], &at_one)));
        silent.extend((0..64).map(|_| connect_from([127, 0, 0, 1], &at_one)));
        assert_reconnects(&runtime, &one, two, PeerSecurity::default()).await;
        assert_eq!(one.counted(|counters| &counters.malformed), 0);
    });
}

fn secret() -> PeerSecurity {
    let mut security = PeerSecurity::default();
    security.secret = Some(PeerSecret::new(b"a secret of the test"));
    security
}

fn certified(authority: &Authority, node: u64) -> PeerSecurity {
    let name = certificate_name(node, "a");
    let files = authority.certify(&[&name]);
    let files = TlsFiles::new(files.certificate, files.key).with_authority(authority.file());
    let mut security = PeerSecurity::default();
    security.tls = Some(Arc::new(MutualTls::open(files, name).expect("good files")));
    security
}

/// Returns bytes that look random, and the same in each run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn floods_of_bad_handshakes_disturb_no_link_and_get_few_lines_in_the_log() {
    let log = Log::collect();
    let authority = Authority::new();
    let kinds = [(secret(), secret()), (certified(&authority, 1), certified(&authority, 2))];
    for (kind, security) in kinds.into_iter().enumerate() {
        let source = [127, 0, 7, kind as u8 + 1];
        run(|runtime| async move {
            let (first, at_one) = listen(&runtime, "127.0.0.1:0").await;
            let (second, at_two) = listen(&runtime, "127.0.0.1:0").await;
            let plan =
                |node, peer, address, security| Plan { security, ..Plan::new(node, BTreeMap::from([(peer, address)])) };
            let one = plan(1, 2, at_two, security.0).start(&runtime, first).await;
            let two = plan(2, 1, at_one.clone(), security.1.clone()).start(&runtime, second).await;
            assert_connected_on_every_lane(&one, &two).await;
            let heads: [&[u8]; 5] =
                [b"", b"LSHD", b"LSHD\x04\x00\xff\xff", b"LSHD\x04\x00\x25\x00", b"\x16\x03\x01\x02\x00"];
            for number in 0..1000 {
                use std::io::Write as _;
                let mut stream = connect_from(source, &at_one);
                let head = heads[number % heads.len()];
                // The node may have closed it already.
                let _ = stream.write_all(&[head, &noise(number as u64, 3000)].concat());
            }
            one.until("each has failed", |one| failed_handshakes(one) == 1000).await;
            assert_connected(&one, &two).await;
            assert_eq!(two.counted(|counters| &counters.reconnects), 0, "its links were not disturbed");
            assert_reconnects(&runtime, &one, two, security.1).await;
        });
        if cfg!(target_os = "linux") {
            let from = format!("dialing from 127.0.7.{}", source[3]);
            // There may be some each minute, and a slow machine takes a few.
            assert!((1..20).contains(&log.text().matches(&from).count()), "{}", log.text());
        }
    }
}

#[test]
fn a_client_that_never_reads_is_closed_and_one_that_floods_is_slowed_down() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        assert_connected(&one, &two).await;
        two.transport.stop().await;
        one.until("the end is detected", |one| !one.peer_up(2)).await;
        // The answers to these probes are never read.
        let mut unread = Vec::new();
        for _ in 0..100 {
            let mut stream = runtime.connect(&at_one).await.expect("a listener");
            stream.write_all(&[opening(), hello(255)].concat()).await.expect("a hello");
            unread.push(stream);
        }
        let mut newest = dial(&runtime, &at_one, 2).await;
        for mut stream in unread {
            assert_closed(&runtime, &mut stream).await;
        }
        // The receiver takes nothing on the append lane, so the sender is held up after what the buffers of the system
        // and of one frame hold.
        let mut flood = dial(&runtime, &at_one, 1).await;
        let frame = [&(1_u32 << 20).to_le_bytes()[..], &vec![1; 1 << 20]].concat();
        let mut sent = 0;
        let held_up = async {
            while flood.write_all(&frame).await.is_ok() {
                sent += 1;
                assert!(sent < 64, "64 MiB were taken that nothing waits for");
            }
        };
        let pause = runtime.sleep(Duration::from_millis(500));
        select(pin!(held_up), pin!(pause)).await;
        for text in ["last", "more"] {
            newest.write_all(&[b"\x04\0\0\0", text.as_bytes()].concat()).await.expect("the other lane is open");
            one.until("it receives", |_| has_received(&one, text)).await;
        }
    });
}
