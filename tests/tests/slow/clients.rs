//! Clients that are slow, idle, greedy or hostile.

use crate::Timed;
use crate::cluster::{Client, Cluster};

/// The number of idle clients. The test process holds both ends of each connection, so `ulimit -n` must allow about
/// 3,000 files.
const IDLE: u64 = 1000;

pub(crate) fn that_are_slow<R: Timed>() {
    let cluster = Cluster::<R>::started();
    let (leader, followers) = cluster.leader_and_followers();
    let idle: Vec<Client> = (0..IDLE).map(|_| leader.client()).collect();

    // Half a gigabyte of replies that the client never reads.
    let mut greedy = leader.client();
    assert_eq!(greedy.set("large", &vec![b'v'; 512 << 10]), "+OK");
    greedy.send(&b"GET large\r\n".repeat(1000));

    let mut slow = followers[0].client();
    let mut others = [leader.client(), followers[0].client(), followers[1].client()];
    for (number, byte) in (1..).zip(b"SET slow done\r\n") {
        slow.send(&[*byte]);
        for client in &mut others {
            assert_eq!(client.ask(&format!("SET k {number}")), "+OK");
        }
        for client in &mut others {
            assert_eq!(client.ask("GET k"), number.to_string());
        }
    }
    assert_eq!(slow.answer().as_deref(), Some("+OK"));
    assert_eq!(others[0].ask("GET slow"), "done");
    assert!(leader.counted("connected_clients") > IDLE, "all idle clients are still connected");
    assert_eq!(leader.counted("reads_failed"), 0);
    for mut client in idle.into_iter().take(10) {
        assert_eq!(client.ask("PING"), "+PONG");
    }
    assert_eq!(greedy.answer().map(|value| value.len()), Some(512 << 10), "the unread replies are still available");
}

pub(crate) fn that_ask_too_much<R: Timed>() {
    let cluster = Cluster::<R>::started();
    let (leader, _) = cluster.leader_and_followers();
    let mut other = leader.client();
    for (request, said) in [
        (&b"*2\r\n$3\r\nGET\r\n$99999999999\r\n"[..], "-ERR Protocol error: invalid bulk length"),
        (b"*99999999999\r\n", "-ERR Protocol error: invalid multibulk length"),
        (&[b'x'; 1 << 17], "-ERR Protocol error: too big inline request"),
    ] {
        let mut client = leader.client();
        client.send(request);
        assert_eq!(client.answer().as_deref(), Some(said));
        assert_eq!(client.answer(), None, "the connection is closed");
        assert_eq!(other.ask("SET k v"), "+OK");
    }
    // An argument that can be skipped only causes an error reply.
    let mut client = leader.client();
    let refusal = client.set("k", &vec![b'v'; 17 << 20]);
    assert!(refusal.starts_with("-ERR an argument of 17825792 bytes exceeds"), "{refusal}");
    assert_eq!(client.ask("GET k"), "v");
}
