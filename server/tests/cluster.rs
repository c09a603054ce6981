//! Three nodes in one process, with real sockets and real folders, as clients see them.

#[path = "support/members.rs"]
mod members;
#[path = "support/served.rs"]
mod served;
#[macro_use]
mod support;

use leasehold::NodeOptions;
use leasehold_node::ReadMode;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use members::{Kill, Member, SHORT_HOLD};
use served::timing;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

on_every_runtime!(
    a_recorded_run_replays_to_the_identical_trace,
    any_node_executes_any_command_and_reads_see_every_write_before_them,
    a_transaction_is_atomic_on_any_node,
    a_key_dies_on_every_node_although_the_leader_that_set_it_was_killed,
    without_leases_every_read_needs_a_quorum_round,
    a_new_leader_has_every_write_that_the_killed_one_acknowledged,
    without_a_quorum_a_client_gets_an_error_in_time,
    a_client_that_breaks_the_protocol_gets_the_reason_and_harms_no_other,
    a_stopping_node_finishes_its_commands_and_closes_idle_connections,
    long_reads_are_complete_and_keep_their_place_among_other_commands,
    clients_that_never_pause_do_not_delay_others,
);

#[expect(clippy::disallowed_methods, reason = "this measures latencies of clients")]
fn now() -> Instant {
    Instant::now()
}

/// Starts three nodes, waits for a leader, which stays, and returns the nodes, the leader first.
fn cluster<R: Kill>(reads: ReadMode) -> Vec<Member<R>> {
    members::start(3, |options| NodeOptions { reads, ..options })
}

/// The same with a leader that is replaced soon after it was killed.
fn mortal_cluster<R: Kill>(size: u64) -> Vec<Member<R>> {
    members::start(size, |options| NodeOptions { timing: timing(SHORT_HOLD), ..options })
}

fn any_node_executes_any_command_and_reads_see_every_write_before_them<R: Kill>() {
    let members = cluster::<R>(ReadMode::Lease);
    for (number, member) in members.iter().enumerate() {
        let answer = member.exchange(
            format!("SET k {number}\r\nGET k\r\nINCR k\r\nINCR k\r\nMGET k none\r\nPING\r\nQUIT\r\nGET k\r\n")
                .as_bytes(),
        );
        let (one, two) = (number + 1, number + 2);
        assert_eq!(
            answer,
            format!("+OK\r\n$1\r\n{number}\r\n:{one}\r\n:{two}\r\n*2\r\n$1\r\n{two}\r\n$-1\r\n+PONG\r\n+OK\r\n"),
            "node {}",
            number + 1
        );
        for reader in &members {
            assert_eq!(reader.exchange(b"GET k\r\nQUIT\r\n"), format!("$1\r\n{two}\r\n+OK\r\n"));
        }
    }
    let [leader, follower, _] = &members[..] else { panic!("three nodes were started") };
    assert!(leader.node.counters().reads_lease.get() > 0);
    assert_eq!(leader.node.counters().reads_forwarded.get(), 0);
    let acknowledged: Vec<u64> =
        members.iter().map(|member| member.node.counters().writes_acknowledged.get()).collect();
    assert_eq!(acknowledged, [3, 3, 3], "each node counts the writes of its own clients");
    let counters = follower.node.counters();
    assert!(counters.reads_follower.get() > 0, "a follower answers from its own state");
    assert!(counters.reads_lease.get() > 0, "with the leader's lease");
    // A follower whose disk is slow may lag so far behind that the leader executes a read instead.
    assert_eq!(counters.reads_lease.get() + counters.reads_quorum.get(), counters.reads_follower.get());
    let info = follower.exchange(b"INFO lease\r\nQUIT\r\n");
    for field in [
        "role:follower".to_owned(),
        "lease_valid:0".to_owned(),
        "reads_failed:0".to_owned(),
        format!("runtime:{}", R::NAME),
    ] {
        assert!(info.contains(&format!("{field}\r\n")), "{info}");
    }
}

fn a_transaction_is_atomic_on_any_node<R: Kill>() {
    let members = cluster::<R>(ReadMode::Lease);
    for member in &members {
        let answer = member.exchange(
            b"DEL k\r\nMULTI\r\nSET k 1\r\nGET k\r\nINCR k\r\nAPPEND k x\r\nINCR k\r\nEXEC\r\nGET k\r\nQUIT\r\n",
        );
        let (_, transaction) = answer.split_once("\r\n").expect("an answer to DEL");
        let queued = "+QUEUED\r\n".repeat(5);
        assert_eq!(
            transaction,
            format!(
                "+OK\r\n{queued}*5\r\n+OK\r\n$1\r\n1\r\n:2\r\n:2\r\n-ERR value is not an integer or out of \
                 range\r\n$2\r\n2x\r\n+OK\r\n"
            )
        );
        let aborted =
            member.exchange(b"MULTI\r\nSET k aborted\r\nNOSUCH\r\nEXEC\r\nGET k\r\nMULTI\r\nEXEC\r\nQUIT\r\n");
        assert!(aborted.starts_with("+OK\r\n+QUEUED\r\n-ERR unknown command 'NOSUCH'"), "{aborted}");
        assert!(
            aborted.ends_with(
                "\r\n-EXECABORT Transaction discarded because of previous errors.\r\n$2\r\n2x\r\n+OK\r\n*0\r\n+OK\r\n"
            ),
            "{aborted}"
        );
    }
    // A key that another node's client changes stops a transaction, on every node.
    for (at, member) in members.iter().enumerate() {
        let mut client = TcpStream::connect(member.address()).expect("the node listens");
        let mut ask = |request: &str, reply: &str| {
            client.write_all(request.as_bytes()).expect("the request is sent");
            let mut read = vec![0; reply.len()];
            client.read_exact(&mut read).expect("a reply");
            assert_eq!(String::from_utf8_lossy(&read), reply, "{request}");
        };
        for (changed, reply) in [("other", "*1\r\n+OK\r\n"), ("watched", "*-1\r\n")] {
            ask("WATCH watched\r\n", "+OK\r\n");
            let other = &members[(at + 1) % members.len()];
            assert_eq!(other.exchange(format!("SET {changed} 1\r\nQUIT\r\n").as_bytes()), "+OK\r\n+OK\r\n");
            ask("MULTI\r\nSET watched 2\r\nEXEC\r\n", &format!("+OK\r\n+QUEUED\r\n{reply}"));
        }
    }
    // Counters that change together are equal in every read, on every node.
    std::thread::scope(|scope| {
        for member in &members {
            scope.spawn(|| {
                for _ in 0..20 {
                    let answer =
                        member.exchange(b"MULTI\r\nINCR a\r\nINCR b\r\nMGET a b\r\nEXEC\r\nMGET a b\r\nQUIT\r\n");
                    let numbers: Vec<&str> = answer
                        .split("\r\n")
                        .filter_map(|line| {
                            line.strip_prefix(':').or_else(|| line.parse::<u64>().is_ok().then_some(line))
                        })
                        .collect();
                    let [a, b, c, d, e, f] = numbers[..] else { panic!("{answer}") };
                    assert!(a == b && b == c && c == d && e == f, "{answer}");
                }
            });
        }
    });
    assert_eq!(members[0].exchange(b"MGET a b\r\nQUIT\r\n"), "*2\r\n$2\r\n60\r\n$2\r\n60\r\n+OK\r\n");
}

fn a_key_dies_on_every_node_although_the_leader_that_set_it_was_killed<R: Kill>() {
    let mut members = mortal_cluster::<R>(3);
    let set = b"SET k v PX 700\r\nSET l v EX 1000\r\nSET m v\r\nQUIT\r\n";
    members[1].exchange_until(set, |replies| replies == "+OK\r\n".repeat(4));
    let killed = members.remove(0);
    killed.runtime.kill();
    for member in &members {
        // A node without a leader refuses for a while.
        let answer = std::iter::repeat_with(|| member.exchange(b"GET k\r\nQUIT\r\n"));
        let mut answer = answer.skip_while(|answer| answer.contains("TRYAGAIN") || answer.contains("v\r\n"));
        assert_eq!(answer.next().as_deref(), Some("$-1\r\n+OK\r\n"));
        let others = b"MGET k l m\r\nTTL m\r\nTTL k\r\nDBSIZE\r\nQUIT\r\n";
        let others = member.exchange_until(others, |replies| !replies.contains("-TRYAGAIN "));
        assert_eq!(others, "*3\r\n$-1\r\n$1\r\nv\r\n$1\r\nv\r\n:-1\r\n:-2\r\n:2\r\n+OK\r\n");
    }
}

fn without_leases_every_read_needs_a_quorum_round<R: Kill>() {
    let members = cluster::<R>(ReadMode::Quorum);
    for member in &members {
        assert_eq!(member.exchange(b"SET k v\r\nGET k\r\nQUIT\r\n"), "+OK\r\n$1\r\nv\r\n+OK\r\n");
    }
    for member in &members {
        let counters = member.node.counters();
        assert_eq!((counters.reads_lease.get(), counters.reads_quorum.get()), (0, 1));
    }
    // A read that gets an error ends a batch, so each of these waits for a round of its own. Each counts once.
    assert_eq!(members[0].exchange(b"HSET h f v\r\nQUIT\r\n"), ":1\r\n+OK\r\n");
    let replies = members[0].exchange(&[&b"GET h\r\n".repeat(8)[..], b"QUIT\r\n"].concat());
    assert_eq!(replies.matches("-WRONGTYPE ").count(), 8, "{replies}");
    assert_eq!(members[0].node.counters().reads_quorum.get(), 9);
}

fn a_new_leader_has_every_write_that_the_killed_one_acknowledged<R: Kill>() {
    let mut members = mortal_cluster::<R>(3);
    let killed = members.remove(0);
    killed.exchange_until(b"SET k v\r\nQUIT\r\n", |replies| replies == "+OK\r\n+OK\r\n");
    killed.runtime.kill();
    // The node waits until there is a leader. On a slow machine the election may take longer.
    let is_answered = |replies: &str| !replies.starts_with("-TRYAGAIN no leader answered within 5 s");
    let read = |member: &Member<R>| member.exchange_until(b"GET k\r\nQUIT\r\n", is_answered);
    assert_eq!(read(&members[0]), "$1\r\nv\r\n+OK\r\n");
    members[0].exchange_until(b"SETRANGE k 1 w\r\nQUIT\r\n", |replies| replies == ":2\r\n+OK\r\n");
    assert_eq!(read(&members[1]), "$2\r\nvw\r\n+OK\r\n");
}

fn without_a_quorum_a_client_gets_an_error_in_time<R: Kill>() {
    let mut members = mortal_cluster::<R>(3);
    let last = members.pop().expect("three nodes were started");
    for member in members {
        member.runtime.kill();
    }
    // The first write may be forwarded to the killed leader. Its outcome is unknown then. A task of a killed node may
    // just be running, so the node may still answer.
    let is_error = |replies: &str| replies.starts_with("-UNCERTAIN ") || replies.starts_with("-TRYAGAIN ");
    last.exchange_until(b"SET k v\r\nQUIT\r\n", is_error);
    // The replies to earlier commands do not wait for it.
    let mut client = TcpStream::connect(last.address()).expect("the node listens");
    client.write_all(b"PING\r\nSET k v\r\n").expect("the request is sent");
    let mut pong = [0; 7];
    client.read_exact(&mut pong).expect("a reply");
    assert_eq!(&pong, b"+PONG\r\n");
    client.set_nonblocking(true).expect("the socket is one of this process");
    let more = client.peek(&mut pong).map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock), "the write takes seconds to fail");
    let read = last.exchange(b"GET k\r\nQUIT\r\n");
    assert!(read.starts_with("-TRYAGAIN no leader answered within 5 s"), "{read}");
    assert_eq!(last.node.counters().reads_failed.get(), 1);
}

fn a_client_that_breaks_the_protocol_gets_the_reason_and_harms_no_other<R: Kill>() {
    let members = mortal_cluster::<R>(1);
    let node = &members[0];
    for (request, said) in [
        (&b"*1\r\n$-5\r\n"[..], "-ERR Protocol error: invalid bulk length\r\n"),
        (b"PING\r\n*9999999\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
        (b"get 'k\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"*2\r\nGET\r\n", "-ERR Protocol error: expected '$', got 'G'\r\n"),
    ] {
        assert_eq!(node.exchange(request), said);
    }
    let mut half = TcpStream::connect(node.address()).expect("the node listens");
    half.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf").expect("the request is sent");
    half.shutdown(Shutdown::Write).expect("the client ends");
    let mut answer = Vec::new();
    half.read_to_end(&mut answer).expect("the node closes");
    assert_eq!(answer, b"");
    assert_eq!(node.exchange(b"DBSIZE\r\nQUIT\r\n"), ":0\r\n+OK\r\n");
}

fn a_stopping_node_finishes_its_commands_and_closes_idle_connections<R: Kill>() {
    let members = mortal_cluster::<R>(1);
    let member = &members[0];
    let mut idle = TcpStream::connect(member.address()).expect("the node listens");
    idle.write_all(b"SET k v\r\n").expect("the request is sent");
    let mut answer = [0; 5];
    idle.read_exact(&mut answer).expect("the node answers");
    member.runtime.block_on(member.node.stop());
    assert!(member.node.status().stopped);
    assert_eq!(idle.read(&mut answer).expect("the node closed the connection in order"), 0);
    // The task that has the port ends soon.
    while TcpStream::connect(member.address()).is_ok() {
        std::thread::yield_now();
    }
}

fn a_recorded_run_replays_to_the_identical_trace<R: Kill>() {
    let members = cluster::<R>(ReadMode::Lease);
    for member in &members {
        assert_eq!(member.exchange(b"SET k v\r\nGET k\r\nQUIT\r\n"), "+OK\r\n$1\r\nv\r\n+OK\r\n");
    }
    // Each follower has acknowledged a round of the leader.
    let heard = |member: &Member<R>| {
        let members = member.node.handle().members();
        members.progress.values().filter(|progress| progress.heard).count()
    };
    while members.iter().all(|member| heard(member) < 2) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for member in &members {
        member.runtime.block_on(member.node.stop());
    }
    let traces = members.iter().map(|member| {
        let recorded = std::fs::read_to_string(member.folder.path().join("lease.trace")).expect("a recording");
        assert_eq!(leasehold::replay(&recorded).expect("a recording that can be read"), recorded);
        recorded
    });
    let traces: Vec<String> = traces.collect();
    // Without the mark before the event: it tells only whether another event shared the turn.
    assert!(traces[0].contains(" elected term="), "{}", traces[0]);
    assert!(traces[0].contains("lease until"), "{}", traces[0]);
    assert!(traces[1].contains(" frame "), "{}", traces[1]);
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .arg("trace")
        .args(members.iter().map(|member| member.folder.path().join("lease.trace")))
        .arg("--svg")
        .arg(members[0].folder.path().join("picture.svg"))
        .output()
        .expect("the program runs");
    assert!(program.status.success(), "{}", String::from_utf8_lossy(&program.stderr));
    let picture = std::fs::read_to_string(members[0].folder.path().join("picture.svg")).expect("a picture");
    assert_eq!(picture.matches("lease.trace: placed by ").count(), 2, "{picture}");
}

fn long_reads_are_complete_and_keep_their_place_among_other_commands<R: Kill>() {
    const KEYS: usize = 5_000;
    let members = cluster::<R>(ReadMode::Lease);
    let (leader, follower) = (&members[0], &members[1]);
    let command = |name: &str, words: &[String]| {
        let mut request = format!("*{}\r\n${}\r\n{name}\r\n", words.len() + 1, name.len());
        words.iter().for_each(|word| request.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        request
    };
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
    let pairs: Vec<String> = keys.iter().flat_map(|key| [key.clone(), format!("value of {key}")]).collect();
    assert_eq!(leader.exchange((command("MSET", &pairs) + "QUIT\r\n").as_bytes()), "+OK\r\n+OK\r\n");
    let request = [
        &command("MGET", &keys),
        "PING\r\n",
        &command("EXISTS", &keys),
        "KEYS key:*7\r\n",
        "DBSIZE\r\nKEYS none\r\nQUIT\r\n",
    ];
    let values: String = keys.iter().map(|key| format!("${}\r\nvalue of {key}\r\n", key.len() + 9)).collect();
    for member in [leader, follower] {
        // A follower whose disk is slow may lag behind for a while.
        let is_read = |replies: &str| !replies.contains("-TRYAGAIN this node lags behind its leader");
        let replies = member.exchange_until(request.concat().as_bytes(), is_read);
        let rest = replies.strip_prefix(&format!("*{KEYS}\r\n{values}+PONG\r\n:{KEYS}\r\n*500\r\n"));
        let rest = rest.expect("MGET, PING, EXISTS and the header of KEYS");
        let (found, rest) = rest.split_once(&format!(":{KEYS}\r\n")).expect("the reply to DBSIZE");
        let mut found: Vec<&str> = found.split("\r\n").filter(|line| line.starts_with("key:")).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 500);
        assert!(found.iter().all(|key| key.ends_with('7')));
        assert_eq!(rest, "*0\r\n+OK\r\n");
    }
}

fn clients_that_never_pause_do_not_delay_others<R: Kill>() {
    let members = cluster::<R>(ReadMode::Lease);
    let leader = &members[0];
    let term = leader.node.status().term;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // More than there are worker threads.
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(leader.address()).expect("the node listens");
                let mut replies = stream.try_clone().expect("a second handle");
                scope.spawn(move || while replies.read(&mut [0; 1 << 16]).is_ok_and(|length| length > 0) {});
                let requests = b"GET k\r\n".repeat(10_000);
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&requests).expect("the node reads on");
                }
                stream.shutdown(Shutdown::Both).expect("the connection is open");
            });
        }
        let started = now();
        // If a worker thread never left such a client, there would be no reply at all.
        while started.elapsed() < Duration::from_secs(2) {
            assert_eq!(leader.exchange(b"PING\r\nQUIT\r\n"), "+PONG\r\n+OK\r\n");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(leader.node.status().term, term, "the leader stays the leader");
}
