//! Links between nodes that belong together.

use crate::support::*;
use bytes::Bytes;
use futures::io::AsyncWriteExt as _;
use leasehold_core::{Config, Options};
use leasehold_node::identity::Registry;
use leasehold_node::ports::{Lane, MemoryRegistry, NotSent};
use leasehold_runtime::Runtime as _;
use leasehold_transport_tcp::{StartError, Transport, TransportOptions, Versions, max_payload_bytes};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn two_nodes_exchange_payloads_on_every_lane_in_both_directions() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        two.append_gate.close();
        let payloads = [urgent(1), append(6 << 20), request("small"), request(""), request(vec![3; 20 << 20])];
        for sent in payloads {
            one.send(2, sent.clone()).await;
            assert!(two.received().await == (1, sent), "the payload changed");
        }
        two.send(1, request("back")).await;
        assert_eq!(one.received().await, (2, request("back")));
        assert_eq!(send(&one.transport, 3, urgent(1)), Err(NotSent), "there is no node 3");
        assert!(one.transport.peer_up(2) && !one.transport.peer_up(3));
        assert_eq!((one.transport.peer_version(2), one.transport.peer_version(3)), (Some(3), None));
        one.until("the last write is counted", |one| one.counters().sent.load(Ordering::Relaxed) == 5).await;
        assert_eq!(two.counted(|counters| &counters.received), 5);
    });
}

#[test]
fn a_lane_keeps_its_order_through_a_thousand_payloads_small_and_large() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        // One in a hundred is too large to be gathered with others into one write.
        let sizes: Vec<usize> = (0..1000).map(|number| if number % 100 == 50 { 300 << 10 } else { number }).collect();
        one.send(2, request(vec![0; sizes[0]])).await;
        for (number, size) in sizes.iter().enumerate().skip(1) {
            let sent = request(vec![(number % 251) as u8; *size]);
            send(&one.transport, 2, sent).expect("the queue has room");
        }
        for (number, size) in sizes.into_iter().enumerate() {
            assert!(two.received().await == (1, request(vec![(number % 251) as u8; size])), "payload {number} differs");
        }
    });
}

#[test]
fn refuses_a_payload_above_its_lanes_limit() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        let limit = max_payload_bytes(Lane::Urgent);
        let sized = |size| Sent { lane: Lane::Urgent, payload: vec![9; size].into() };
        one.send(2, sized(limit)).await;
        assert!(two.received().await == (1, sized(limit)), "the payload changed");
        let dropped = one.counted(|counters| &counters.dropped_full[Lane::Urgent as usize]);
        assert_eq!(send(&one.transport, 2, sized(limit + 1)), Err(NotSent));
        assert_eq!(one.counted(|counters| &counters.dropped_full[Lane::Urgent as usize]), dropped + 1);
        // A connection that becomes stable clears the trouble.
        one.until("it is reported", |one| {
            send(one, 2, sized(limit + 1)) == Err(NotSent)
                && one
                    .peer_trouble(2)
                    .is_some_and(|trouble| trouble.contains("cannot be sent a frame of 1048577 bytes"))
        })
        .await;
        // The connection is unaffected.
        one.send(2, urgent(1)).await;
        assert_eq!(two.received().await, (1, urgent(1)));
        assert_eq!(one.counted(|counters| &counters.reconnects), 0);
    });
}

#[test]
fn refuses_a_node_of_another_cluster_and_reports_it_on_both_sides() {
    run(|runtime| async move {
        let ([one, two], [at_one, at_two]) = pair(&runtime, |second| second.cluster = "b").await;
        for (node, peer, address, theirs, ours) in [(&one, 2, at_two, "b", "a"), (&two, 1, at_one, "a", "b")] {
            let trouble = format!(
                "peer {peer} at {address} belongs to cluster {theirs:?}, this node to {ours:?}: give both the same --cluster"
            );
            node.until(&trouble, |node| node.peer_trouble(peer).as_ref() == Some(&trouble)).await;
        }
        for sent in [urgent(1), append(1), request("")] {
            let lane = sent.lane as usize;
            assert_eq!(send(&one.transport, 2, sent), Err(NotSent));
            assert_eq!(one.counted(|counters| &counters.dropped_down[lane]), 1);
        }
        assert!(!one.transport.peer_up(2));
    });
}

#[test]
fn a_peer_that_lost_its_folder_is_refused_and_the_error_is_logged_on_both_sides() {
    run(|runtime| async move {
        let ([one, two], [at_one, at_two]) = pair(&runtime, |_| {}).await;
        one.send(2, request("")).await;
        two.send(1, request("")).await;
        two.transport.stop().await;
        let listener = listen_again(&runtime, &at_two).await;
        let config = Config::new(Options::new(Duration::from_secs(1), 100)).expect("a valid config");
        let empty = Arc::new(MemoryRegistry::new(Registry::new(2, 99, [1, 2]), 3));
        let mut options = TransportOptions::new(empty, "a", config, listener);
        options.peers = BTreeMap::from([(1, at_one)]);
        options.versions = Versions::new(3, 3);
        let (sender, _received) = async_channel::unbounded();
        let receive = Arc::new(Inbox { received: sender, append_gate: async_channel::bounded(1).1 });
        let two = Transport::start(runtime.clone(), options, receive).expect("valid options");
        one.until("it is refused", |one| {
            one.peer_trouble(2).is_some_and(|trouble| trouble.contains("has an empty or foreign data folder"))
        })
        .await;
        one.until("it knows why", |_| {
            two.peer_trouble(1).is_some_and(|trouble| trouble.contains("knows node 2 by another data folder"))
        })
        .await;
        assert_eq!(send(&one.transport, 2, urgent(1)), Err(NotSent));
        assert_eq!(send(&two, 1, urgent(1)), Err(NotSent));
    });
}

#[test]
fn refuses_a_node_whose_hold_does_not_cover_our_lease_in_both_directions() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |second| second.hold = 500).await;
        for (node, peer, says) in
            [(&one, 2, "has too short a hold: "), (&two, 1, "refused the connection: \"node 2 has too short a hold: ")]
        {
            node.until(says, |node| node.peer_trouble(peer).is_some_and(|trouble| trouble.contains(says))).await;
        }
        assert_eq!(send(&one.transport, 2, urgent(1)), Err(NotSent));
        assert_eq!(send(&two.transport, 1, urgent(1)), Err(NotSent));
    });
}

#[test]
fn garbage_and_absurd_lengths_close_their_own_connection_only() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        two.send(1, request("before")).await;
        assert_eq!(one.received().await, (2, request("before")));

        let mut unknown = runtime.connect(&at_one).await.expect("a listener");
        unknown.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("bytes");
        assert_closed(&runtime, &mut unknown).await;
        one.until("it is counted", |one| one.counters().handshakes_refused.load(Ordering::Relaxed) == 1).await;

        let hostile: [&[u8]; 3] = [&u32::MAX.to_le_bytes(), b"\x01\0\x10\0", b"\x01\0\0\0\xff"];
        for (done, bytes) in (0..).zip(hostile) {
            // Node 2 dials again, and its connection may replace this one before anything is read from it.
            for _ in 0..100 {
                let mut stream = dial(&runtime, &at_one, 0).await;
                let _ = stream.write_all(bytes).await;
                assert_closed(&runtime, &mut stream).await;
                if one.counted(|counters| &counters.malformed) > done {
                    break;
                }
            }
            assert_eq!(one.counted(|counters| &counters.malformed), done + 1);
        }
        two.send(1, request("after")).await;
        assert_eq!(one.received().await, (2, request("after")));
    });
}

#[test]
fn a_payload_that_is_rejected_again_and_again_closes_its_connection_and_gets_few_lines_in_the_log() {
    const TIMES: u64 = 6;
    let log = Log::collect();
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        for rejected in 1..=TIMES {
            two.send(1, Sent { lane: Lane::Urgent, payload: Bytes::from_static(b"\xffof this test") }).await;
            one.until("it is rejected", |one| one.counters().malformed.load(Ordering::Relaxed) == rejected).await;
            // It may be connected again before this looks.
            two.until("the connection is closed", |two| {
                !two.peer_up(1) || two.counters().reconnects.load(Ordering::Relaxed) >= rejected
            })
            .await;
        }
        two.send(1, urgent(7)).await;
        assert_eq!(one.received().await, (2, urgent(7)));
    });
    let log = log.text();
    let reason = "sent a bad payload of this test; this node closed its connection for the Urgent lane";
    // A connection that lasts for a second is stable: the next trouble is logged again. A slow machine has some.
    assert!((1..TIMES as usize).contains(&log.matches(reason).count()), "{log}");
}

#[test]
fn a_newer_connection_replaces_the_older_one() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        two.transport.stop().await;
        let mut older = dial(&runtime, &at_one, 0).await;
        // It is served before the newer one is.
        older.write_all(b"\x01\0\0\0a").await.expect("it is connected");
        assert_eq!(one.received().await, (2, Sent { lane: Lane::Urgent, payload: Bytes::from_static(b"a") }));
        let mut other_lane = dial(&runtime, &at_one, 2).await;
        let _newer = dial(&runtime, &at_one, 0).await;
        assert_closed(&runtime, &mut older).await;
        other_lane.write_all(b"\x03\0\0\0abc").await.expect("the other lane is open");
        assert_eq!(one.received().await, (2, request("abc")));
    });
}

#[test]
fn a_peer_that_stops_reading_appends_still_gets_urgent_frames() {
    run(|runtime| async move {
        let ([one, two], _) = pair(&runtime, |_| {}).await;
        // Node 2's gate is closed: its append lane delivers one payload and reads no more.
        one.send(2, append(1 << 20)).await;
        one.until("the append queue is full", |one| {
            while send(one, 2, append(1 << 20)).is_ok() {}
            one.counters().dropped_full[Lane::Append as usize].load(Ordering::Relaxed) > 20
        })
        .await;
        for round in 1..=100 {
            one.send(2, urgent(round)).await;
            assert_eq!(two.received().await, (1, urgent(round)));
        }
        one.send(2, request("")).await;
        assert_eq!(two.received().await, (1, request("")), "requests pass as well");
    });
}

#[test]
fn links_reconnect_after_the_peer_restarts_and_refuse_payloads_meanwhile() {
    run(|runtime| async move {
        let ([one, two], [at_one, at_two]) = pair(&runtime, |_| {}).await;
        one.send(2, request("")).await;
        assert_eq!(two.received().await, (1, request("")));
        one.until("all lanes are up", |one| send(one, 2, urgent(0)).is_ok() && one.peer_up(2)).await;

        two.transport.stop().await;
        one.until("the end is detected", |one| !one.peer_up(2) && send(one, 2, request("")).is_err()).await;
        assert_eq!(send(&one.transport, 2, urgent(1)), Err(NotSent));

        let listener = listen_again(&runtime, &at_two).await;
        let plan = Plan::new(2, BTreeMap::from([(1, at_one)]));
        let two = plan.start(&runtime, listener).await;
        one.send(2, request("again")).await;
        assert_eq!(two.received().await, (1, request("again")));
        assert!(one.counted(|counters| &counters.reconnects) >= 1);
        one.until("the trouble is over", |one| one.peer_trouble(2).is_none()).await;
    });
}

#[test]
fn a_peer_that_moves_is_dialed_at_its_new_address() {
    run(|runtime| async move {
        let ([one, two], [at_one, _]) = pair(&runtime, |_| {}).await;
        one.send(2, request("before")).await;
        assert_eq!(two.received().await, (1, request("before")));
        two.transport.stop().await;
        let (listener, moved_to) = listen(&runtime, "127.0.0.1:0").await;
        let plan = Plan::new(2, BTreeMap::from([(1, at_one)]));
        let two = plan.start(&runtime, listener).await;
        one.transport.set_peers(BTreeMap::from([(2, moved_to.clone())]));
        one.send(2, request("after")).await;
        assert_eq!(two.received().await, (1, request("after")));
        one.until("it is connected", |one| one.peer_up(2)).await;
        assert_eq!(one.transport.connected_peers(), 1);
        // The same peers again, and this node itself, which is no peer: nothing is dialed again.
        one.transport.set_peers(BTreeMap::from([(1, moved_to.clone()), (2, moved_to)]));
        assert_eq!(one.transport.peers(), [2]);
        assert!(one.transport.peer_up(2));
        send(&one.transport, 2, request("still")).expect("the link is the same");
        assert_eq!(two.received().await, (1, request("still")));
    });
}

#[test]
fn a_node_that_is_removed_and_added_again_is_cut_off_meanwhile() {
    run(|runtime| async move {
        let ([one, two], [_, at_two]) = pair(&runtime, |_| {}).await;
        one.send(2, request("first")).await;
        assert_eq!(two.received().await, (1, request("first")));
        let mut reaches_one = dial_until_received(&one, 2, b"a").await;

        one.transport.set_peers(BTreeMap::new());
        assert_eq!(send(&one.transport, 2, request("none")), Err(NotSent));
        assert!(one.transport.peers().is_empty() && !one.transport.peer_up(2));
        assert_closed(&runtime, &mut reaches_one).await;

        one.transport.set_peers(BTreeMap::from([(2, at_two)]));
        one.send(2, request("second")).await;
        assert_eq!(two.received().await, (1, request("second")));
    });
}

#[test]
fn a_probe_returns_the_introduction_of_a_node_that_is_no_peer() {
    run(|runtime| async move {
        let ([one, _two], _) = pair(&runtime, |_| {}).await;
        let (listener, at_three) = listen(&runtime, "127.0.0.1:0").await;
        let plan = Plan::new(3, BTreeMap::new());
        let _three = plan.start(&runtime, listener).await;
        let three = one.transport.probe(3, &at_three).await.expect("it answers");
        assert_eq!((three.node, three.incarnation), (3, 3));
        let error = one.transport.probe(4, &at_three).await.expect_err("another node").to_string();
        assert_eq!(error, "is node 3, not 4: correct the addresses of this node's peers");
        assert_eq!(one.transport.peers(), [2]);

        let (listener, elsewhere) = listen(&runtime, "127.0.0.1:0").await;
        drop(listener);
        let error = one.transport.probe(3, &elsewhere).await.expect_err("nothing listens").to_string();
        assert!(error.starts_with("cannot be reached: "), "{error}");
    });
}

#[test]
fn a_stopped_transport_has_no_sockets_and_refuses_payloads() {
    run(|runtime| async move {
        let ([one, _two], [at_one, _]) = pair(&runtime, |_| {}).await;
        one.send(2, urgent(1)).await;
        one.transport.stop().await;
        assert_eq!(send(&one.transport, 2, urgent(2)), Err(NotSent));
        assert!(!one.transport.peer_up(2));
        assert!(runtime.connect(&at_one).await.is_err(), "the listener is closed");
        one.transport.stop().await;
    });
}

#[test]
fn rejects_invalid_options() {
    run(|runtime| async move {
        for (node, peer, cluster, error) in [
            (1, 2, "x".repeat(65), StartError::ClusterName { length: 65 }),
            (1, 1, "a".into(), StartError::OwnPeer { node: 1 }),
            (0, 1, "a".into(), StartError::NumberZero),
        ] {
            let (listener, address) = listen(&runtime, "127.0.0.1:0").await;
            let (hold, heartbeat) = (Duration::from_secs(1), Duration::from_millis(10));
            let config = Config::new(Options::new(hold, 0).with_heartbeat(heartbeat)).expect("a valid config");
            let mut options = TransportOptions::new(registrar(node, [peer].into_iter()), cluster, config, listener);
            options.peers = BTreeMap::from([(peer, address)]);
            let (sender, _) = async_channel::unbounded();
            let receive = Arc::new(Inbox { received: sender, append_gate: async_channel::bounded(1).1 });
            assert_eq!(Transport::start(runtime.clone(), options, receive).err(), Some(error));
        }
    });
}
