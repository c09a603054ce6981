//! Nodes with certificates and secrets, and those that have other ones or none.

use crate::support::*;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_certificates::{Authority, Fault, Files};
use leasehold_node::ports::Lane;
use leasehold_runtime::Runtime as _;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_tls::{MutualTls, TlsFiles};
use leasehold_transport_tcp::{PeerSecret, PeerSecurity, Versions, certificate_name};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

fn secret(secret: &str) -> PeerSecurity {
    let mut security = PeerSecurity::default();
    security.secret = Some(PeerSecret::new(secret.as_bytes()));
    security
}

fn tls(files: &Files, authority: &Authority) -> PeerSecurity {
    let files = TlsFiles::new(&files.certificate, &files.key).with_authority(authority.file());
    let mut security = PeerSecurity::default();
    // A stranger does not check its own files.
    security.tls = Some(Arc::new(MutualTls::open_unchecked(files).expect("files that load")));
    security
}

/// Returns the security of a node with the certificate that it should have.
fn certified(authority: &Authority, node: u64) -> PeerSecurity {
    tls(&authority.certify(&[&certificate_name(node, "a")]), authority)
}

/// Starts nodes 1 to 3, all peers of each other. Node 2 is the stranger.
async fn trio(runtime: &TokioRuntime, security: [PeerSecurity; 3]) -> [Node; 3] {
    let mut listeners = Vec::new();
    let mut addresses = BTreeMap::new();
    for node in 1..=3 {
        let (listener, address) = listen(runtime, "127.0.0.1:0").await;
        addresses.insert(node, address);
        listeners.push(listener);
    }
    let mut nodes = Vec::new();
    for ((node, listener), security) in (1..=3).zip(listeners).zip(security) {
        let mut peers = addresses.clone();
        peers.remove(&node);
        let plan = Plan { security, ..Plan::new(node, peers) };
        nodes.push(plan.start(runtime, listener).await);
    }
    nodes.try_into().unwrap_or_else(|_| panic!("three nodes"))
}

/// Checks that payloads pass between two nodes in both directions, on every lane.
async fn assert_connected(one: &Node, three: &Node) {
    three.append_gate.close();
    one.append_gate.close();
    for lane in Lane::ALL {
        let sent = Sent { lane, payload: vec![7; 300_000].into() };
        one.send(3, sent.clone()).await;
        assert!(three.received().await == (1, sent.clone()), "the payload changed");
        three.send(1, sent.clone()).await;
        assert!(one.received().await == (3, sent), "the payload changed");
    }
}

/// Runs a good pair and a stranger. Checks what the first node and the stranger say about each other, that nothing passes
/// between them, and that the pair is connected afterwards.
fn refused(good: impl Fn(u64) -> PeerSecurity, stranger: PeerSecurity, says: [&str; 2]) {
    run(|runtime| async move {
        let [one, two, three] = trio(&runtime, [good(1), stranger, good(3)]).await;
        for (node, peer, says) in [(&one, 2, says[0]), (&two, 1, says[1])] {
            let said = |trouble: Option<String>| trouble.is_some_and(|trouble| trouble.contains(says));
            node.until(&format!("it says {says:?}"), |transport| said(transport.peer_trouble(peer))).await;
        }
        assert!(send(&one.transport, 2, urgent(1)).is_err() && send(&two.transport, 1, urgent(1)).is_err());
        assert!(!one.transport.peer_up(2) && !two.transport.peer_up(1));
        assert_connected(&one, &three).await;
        assert_eq!(two.counted(|counters| &counters.received), 0);
    });
}

#[test]
fn nodes_with_certificates_with_a_secret_and_with_both_exchange_payloads() {
    let authority = Authority::new();
    let both = |node| {
        let mut security = certified(&authority, node);
        security.secret = secret("a secret of the test").secret;
        security
    };
    let kinds: [&dyn Fn(u64) -> PeerSecurity; 3] =
        [&|node| certified(&authority, node), &|_| secret("a secret of the test"), &both];
    for kind in kinds {
        let security = [1, 2, 3].map(kind);
        run(|runtime| async move {
            let [one, _two, three] = trio(&runtime, security).await;
            assert_connected(&one, &three).await;
            // A node that stops is noticed at once.
            three.transport.stop().await;
            one.until("the end is detected", |one| !one.peer_up(3)).await;
        });
    }
}

#[test]
fn a_wrong_secret_is_refused_on_both_sides() {
    let wrong = "does not prove the secret of this node: give all nodes the same --peer-secret-file";
    refused(|_| secret("a secret of the test"), secret("another secret of it"), [wrong, wrong]);
}

#[test]
fn a_node_without_the_secret_is_refused_on_both_sides() {
    let there = "has no secret, and this node demands one: give all nodes the same --peer-secret-file";
    let here = "proves a secret, and this node has none: give all nodes the same --peer-secret-file";
    refused(|_| secret("a secret of the test"), PeerSecurity::default(), [there, here]);
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let signed = "presents a certificate that the configured authority did not sign";
    refused(|node| certified(&authority, node), certified(&foreign, 2), [signed, signed]);
    // A stranger that trusts the authority, but is not signed by it.
    let files = foreign.certify(&[&certificate_name(2, "a")]);
    let refuses = "refuses this node's certificate, because another authority signed it";
    refused(|node| certified(&authority, node), tls(&files, &authority), [signed, refuses]);
}

#[test]
fn an_expired_certificate_is_refused_on_both_sides() {
    let authority = Authority::new();
    let expired = authority.certify_with(&[&certificate_name(2, "a")], Fault::Expired);
    let says = [
        "presents a certificate that has expired: renew it",
        "refuses this node's certificate, because it has expired: renew it",
    ];
    refused(|node| certified(&authority, node), tls(&expired, &authority), says);
}

#[test]
fn a_certificate_of_another_node_or_cluster_is_refused_on_both_sides() {
    for name in ["node-3.a.leasehold", "node-2.b.leasehold"] {
        let authority = Authority::new();
        let fault = format!("presents a certificate that is not for \"node-2.a.leasehold\" but for {name:?}");
        let refuses = format!("refused the connection: \"node 2 {fault}");
        // Signed before the good nodes are, whose files may have the same name.
        let stranger = tls(&authority.certify(&[name]), &authority);
        refused(|node| certified(&authority, node), stranger, [&fault, &refuses]);
    }
}

#[test]
fn a_node_without_tls_is_refused_on_both_sides() {
    let authority = Authority::new();
    let says = [
        "does not speak TLS: use TLS on both sides or on neither",
        "speaks TLS, and this node does not: give --tls-cert, --tls-key and --tls-ca to all nodes or to none",
    ];
    refused(|node| certified(&authority, node), PeerSecurity::default(), says);
}

#[test]
fn a_probe_needs_the_same_certificates_and_secrets_as_a_link() {
    run(|runtime| async move {
        let (authority, foreign) = (Authority::new(), Authority::new());
        let (first, _) = listen(&runtime, "127.0.0.1:0").await;
        let security = certified(&authority, 1);
        let one = Plan { security, ..Plan::new(1, BTreeMap::new()) }.start(&runtime, first).await;
        for (security, says) in [
            (certified(&authority, 3), None),
            (certified(&authority, 2), Some("is not for \"node-3.a.leasehold\" but for \"node-2.a.leasehold\"")),
            (certified(&foreign, 3), Some("the configured authority did not sign")),
            (PeerSecurity::default(), Some("does not speak TLS")),
        ] {
            let (listener, address) = listen(&runtime, "127.0.0.1:0").await;
            let _three = Plan { security, ..Plan::new(3, BTreeMap::new()) }.start(&runtime, listener).await;
            match (one.transport.probe(3, &address).await, says) {
                (Ok(introduction), None) => assert_eq!(introduction.node, 3),
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (probed, says) => panic!("{probed:?} instead of {says:?}"),
            }
        }
    });
}

#[test]
fn a_reload_changes_the_certificates_of_later_connections() {
    run(|runtime| async move {
        let authority = Authority::new();
        let security = [1, 2, 3].map(|node| certified(&authority, node));
        let of_three = security[2].tls.clone().expect("it has certificates");
        let [one, _two, three] = trio(&runtime, security).await;
        assert_connected(&one, &three).await;
        // The authority is lost, and node 3 gets the files of another one. Its connections remain.
        let foreign = Authority::new();
        let (old, new) = (authority.certify(&["node-3.a.leasehold"]), foreign.certify(&["node-3.a.leasehold"]));
        std::fs::copy(new.certificate, old.certificate).expect("a copy");
        std::fs::copy(new.key, old.key).expect("a copy");
        std::fs::copy(foreign.file(), authority.file()).expect("a copy");
        of_three.reload_unchecked().expect("files that load");
        assert_connected(&one, &three).await;
        // New ones use the new files, in both directions.
        let peers = BTreeMap::from([(1, one.address.clone()), (3, three.address.clone())]);
        for (node, peer) in [(&one, 3), (&three, 1)] {
            node.transport.set_peers(BTreeMap::new());
            node.transport.set_peers(peers.clone());
            node.until("it is refused", |transport| {
                transport.peer_trouble(peer).is_some_and(|trouble| trouble.contains("did not sign"))
            })
            .await;
        }
    });
}

#[test]
fn a_recorded_handshake_is_refused_when_it_is_sent_again() {
    run(|runtime| async move {
        let (proxy, at_proxy) = listen(&runtime, "127.0.0.1:0").await;
        let (first, at_one) = listen(&runtime, "127.0.0.1:0").await;
        let (second, at_two) = listen(&runtime, "127.0.0.1:0").await;
        let recorded = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(record(runtime.clone(), proxy, at_one.clone(), recorded.clone()));
        let plan = |node, peer, address: String| Plan {
            security: secret("a secret of the test"),
            ..Plan::new(node, BTreeMap::from([(peer, address)]))
        };
        let one = plan(1, 2, at_two).start(&runtime, first).await;
        let two = plan(2, 1, at_proxy).start(&runtime, second).await;
        two.send(1, request("recorded")).await;
        assert_eq!(one.received().await, (2, request("recorded")));
        let recordings = recorded.lock().expect("no panic").clone();
        assert!(recordings.iter().any(|bytes| bytes.ends_with(b"recorded")), "the request was recorded");
        for (done, bytes) in recordings.iter().enumerate() {
            let mut stream = runtime.connect(&at_one).await.expect("a listener");
            stream.write_all(bytes).await.expect("bytes");
            assert_closed(&runtime, &mut stream).await;
            one.until("it is refused", |one| {
                one.counters().handshakes_refused.load(Ordering::Relaxed) == done as u64 + 1
            })
            .await;
        }
        two.send(1, request("after")).await;
        assert_eq!(one.received().await, (2, request("after")));
        assert_eq!(two.counted(|counters| &counters.reconnects), 0, "the links were not disturbed");
    });
}

type Recordings = Arc<Mutex<Vec<Vec<u8>>>>;

/// Forwards connections to `to`, and records what their dialers send.
async fn record(
    runtime: TokioRuntime,
    listener: <TokioRuntime as leasehold_runtime::Runtime>::Listener,
    to: String,
    recordings: Recordings,
) {
    while let Ok((near, _)) = runtime.accept(&listener).await {
        let Ok(far) = runtime.connect(&to).await else { continue };
        let number = {
            let mut recordings = recordings.lock().expect("no panic");
            recordings.push(Vec::new());
            recordings.len() - 1
        };
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.split(), far.split());
        let recordings = recordings.clone();
        runtime.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from_near.read(&mut buffer).await {
                recordings.lock().expect("no panic")[number].extend_from_slice(&buffer[..count]);
                if to_far.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        });
        runtime.spawn(async move {
            let _ = futures::io::copy(&mut from_far, &mut to_near).await;
        });
    }
}

#[test]
fn nodes_of_neighboring_releases_exchange_payloads_and_distant_ones_refuse_each_other() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |newer| newer.versions = Versions::new(3, 4)).await;
        one.send(2, request("to the newer")).await;
        assert_eq!(two.received().await, (1, request("to the newer")));
        two.send(1, request("to the older")).await;
        assert_eq!(one.received().await, (2, request("to the older")));
        assert_eq!((one.transport.peer_version(2), two.transport.peer_version(1)), (Some(3), Some(3)));

        let ([one, two], _) = pair(&runtime, |newer| newer.versions = Versions::new(4, 5)).await;
        for (node, peer, says) in [
            (&one, 2, "speaks versions 4 to 5 of the peer protocol, this node version 3: upgrade"),
            (&two, 1, "speaks version 3 of the peer protocol, this node versions 4 to 5: upgrade"),
        ] {
            node.until(says, |node| node.peer_trouble(peer).is_some_and(|trouble| trouble.contains(says))).await;
        }
    });
}
