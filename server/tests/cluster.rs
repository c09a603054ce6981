//! Three nodes in one process, over real sockets and real folders, as clients see them.

use leasehold::{Node, NodeOptions};
use leasehold_core::{Config, Options};
use leasehold_node::{ReadMode, Role};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;
use tempfile::TempDir;

macro_rules! on_every_runtime {
    ($($test:ident),* $(,)?) => {
        mod tokio {
            $(#[test] fn $test() { super::$test::<super::TokioRuntime>(); })*
        }
        mod smol {
            $(#[test] fn $test() { super::$test::<super::SmolRuntime>(); })*
        }
    };
}

on_every_runtime!(
    a_recorded_run_replays_to_the_identical_trace,
    any_node_takes_any_command_and_reads_see_every_write_before_them,
    a_transaction_is_one_step_on_any_node_or_no_step,
    without_leases_every_read_takes_a_quorum_round,
    a_new_leader_serves_what_the_killed_one_acknowledged,
    without_a_quorum_a_client_is_told_so_in_time,
    a_client_that_speaks_nonsense_hears_why_and_harms_nobody,
    a_stopping_node_answers_what_it_has_in_hand_and_closes_the_rest,
);

/// A runtime whose tasks can be stopped as if their process was killed.
trait Kill: Runtime {
    /// Stops every task.
    fn kill(&self);
}

impl Kill for TokioRuntime {
    fn kill(&self) {
        TokioRuntime::kill(self);
    }
}

impl Kill for SmolRuntime {
    fn kill(&self) {
        SmolRuntime::kill(self);
    }
}

struct Member<R: Runtime> {
    runtime: R,
    node: Node<R>,
    folder: TempDir,
}

impl<R: Runtime> Member<R> {
    /// Sends bytes on a connection of their own and returns everything that is answered until the node closes it.
    fn exchange(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.node.client_address()).expect("the node listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
        stream.write_all(request).expect("the request is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the node answers and closes");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn timing() -> Config {
    let (hold, heartbeat) = (Duration::from_millis(300), Duration::from_millis(30));
    Config::new(Options::new(hold, 1000).with_heartbeat(heartbeat)).expect("numbers that fit")
}

/// Starts a cluster and waits until one node leads it, which comes first.
fn cluster<R: Runtime>(size: u64, reads: ReadMode) -> Vec<Member<R>> {
    // Ports that were free a moment ago.
    let reserved: Vec<_> = (0..size).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let peers: BTreeMap<u64, String> =
        (1..).zip(&reserved).map(|(id, port)| (id, port.local_addr().expect("a bound port").to_string())).collect();
    drop(reserved);
    let mut members: Vec<_> = peers
        .iter()
        .map(|(id, address)| {
            let folder = tempfile::tempdir().expect("a folder");
            let runtime = R::start("node", 2).expect("a runtime");
            let options = NodeOptions {
                node: *id,
                cluster: "test".to_owned(),
                peers: peers.clone(),
                peer_listen: address.clone(),
                client_listen: "127.0.0.1:0".to_owned(),
                data_dir: folder.path().join("data"),
                timing: timing(),
                reads,
                record: Some(folder.path().join("lease.trace")),
            };
            let node = runtime.block_on(Node::start(&runtime, options)).expect("the node starts");
            Member { runtime, node, folder }
        })
        .collect();
    for member in &members {
        member.runtime.block_on(member.node.handle().wait_status(|status| status.leader != 0));
    }
    members.sort_by_key(|member| member.node.status().role != Role::Leader);
    members
}

fn any_node_takes_any_command_and_reads_see_every_write_before_them<R: Runtime>() {
    let members = cluster::<R>(3, ReadMode::Lease);
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
    assert_eq!(leader.node.counters().writes_acknowledged.get(), 9);
    let counters = follower.node.counters();
    assert!(counters.reads_follower.get() > 0, "a follower answers from its own state");
    assert_eq!(counters.reads_lease.get(), counters.reads_follower.get(), "with the leader's lease");
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

fn a_transaction_is_one_step_on_any_node_or_no_step<R: Runtime>() {
    let members = cluster::<R>(3, ReadMode::Lease);
    for member in &members {
        let answer = member.exchange(
            b"DEL k\r\nMULTI\r\nSET k 1\r\nGET k\r\nINCR k\r\nAPPEND k x\r\nINCR k\r\nEXEC\r\nGET k\r\nQUIT\r\n",
        );
        let (_, transaction) = answer.split_once("\r\n").expect("an answer to DEL");
        let queued = "+QUEUED\r\n".repeat(5);
        assert_eq!(
            transaction,
            format!(
                "+OK\r\n{queued}*5\r\n+OK\r\n$1\r\n1\r\n:2\r\n:2\r\n-ERR value is not an integer or out of range\r\n$2\r\n2x\r\n+OK\r\n"
            )
        );
        let aborted = member.exchange(b"MULTI\r\nSET k aborted\r\nINFO\r\nEXEC\r\nGET k\r\nMULTI\r\nEXEC\r\nQUIT\r\n");
        assert!(aborted.starts_with("+OK\r\n+QUEUED\r\n-ERR a command about the connection"), "{aborted}");
        assert!(
            aborted.ends_with(
                "\r\n-EXECABORT Transaction discarded because of previous errors.\r\n$2\r\n2x\r\n+OK\r\n*0\r\n+OK\r\n"
            ),
            "{aborted}"
        );
    }
    // Two counters that only change together are never seen apart, whoever is asked.
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

fn without_leases_every_read_takes_a_quorum_round<R: Runtime>() {
    let members = cluster::<R>(3, ReadMode::Quorum);
    for member in &members {
        assert_eq!(member.exchange(b"SET k v\r\nGET k\r\nQUIT\r\n"), "+OK\r\n$1\r\nv\r\n+OK\r\n");
    }
    for member in &members {
        let counters = member.node.counters();
        assert_eq!((counters.reads_lease.get(), counters.reads_quorum.get()), (0, 1));
    }
}

fn a_new_leader_serves_what_the_killed_one_acknowledged<R: Kill>() {
    let mut members = cluster::<R>(3, ReadMode::Lease);
    let killed = members.remove(0);
    assert_eq!(killed.exchange(b"SET k v\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    killed.runtime.kill();
    // Asked at once: it waits until there is a leader.
    assert_eq!(members[0].exchange(b"GET k\r\nAPPEND k w\r\nQUIT\r\n"), "$1\r\nv\r\n:2\r\n+OK\r\n");
    assert_eq!(members[1].exchange(b"GET k\r\nQUIT\r\n"), "$2\r\nvw\r\n+OK\r\n");
}

fn without_a_quorum_a_client_is_told_so_in_time<R: Kill>() {
    let mut members = cluster::<R>(3, ReadMode::Lease);
    let last = members.pop().expect("three nodes were started");
    for member in members {
        member.runtime.kill();
    }
    // The first write may still go to a leader that is gone: its fate is unknown, and it is said so.
    let first = last.exchange(b"SET k v\r\nQUIT\r\n");
    assert!(first.starts_with("-UNCERTAIN ") || first.starts_with("-TRYAGAIN "), "{first}");
    let read = last.exchange(b"GET k\r\nQUIT\r\n");
    assert!(read.starts_with("-TRYAGAIN no leader answered within 5 s"), "{read}");
    assert_eq!(last.node.counters().reads_failed.get(), 1);
}

fn a_client_that_speaks_nonsense_hears_why_and_harms_nobody<R: Runtime>() {
    let members = cluster::<R>(1, ReadMode::Lease);
    let node = &members[0];
    for (request, said) in [
        (&b"*1\r\n$-5\r\n"[..], "-ERR Protocol error: invalid bulk length\r\n"),
        (b"PING\r\n*9999999\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
        (b"get 'k\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"*2\r\nGET\r\n", "-ERR Protocol error: expected '$', got 'G'\r\n"),
    ] {
        assert_eq!(node.exchange(request), said);
    }
    let mut half = TcpStream::connect(node.node.client_address()).expect("the node listens");
    half.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf").expect("the request is sent");
    half.shutdown(Shutdown::Write).expect("the client ends");
    let mut answer = Vec::new();
    half.read_to_end(&mut answer).expect("the node closes");
    assert_eq!(answer, b"");
    assert_eq!(node.exchange(b"DBSIZE\r\nQUIT\r\n"), ":0\r\n+OK\r\n");
}

fn a_stopping_node_answers_what_it_has_in_hand_and_closes_the_rest<R: Runtime>() {
    let members = cluster::<R>(1, ReadMode::Lease);
    let member = &members[0];
    let mut idle = TcpStream::connect(member.node.client_address()).expect("the node listens");
    idle.write_all(b"SET k v\r\n").expect("the request is sent");
    let mut answer = [0; 5];
    idle.read_exact(&mut answer).expect("the node answers");
    member.runtime.block_on(member.node.stop());
    assert!(member.node.status().stopped);
    assert_eq!(idle.read(&mut answer).expect("the node closed the connection in order"), 0);
    assert!(TcpStream::connect(member.node.client_address()).is_err());
}

fn a_recorded_run_replays_to_the_identical_trace<R: Runtime>() {
    let members = cluster::<R>(3, ReadMode::Lease);
    for member in &members {
        assert_eq!(member.exchange(b"SET k v\r\nGET k\r\nQUIT\r\n"), "+OK\r\n$1\r\nv\r\n+OK\r\n");
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
    assert!(traces[0].contains("> elected"), "{}", traces[0]);
    assert!(traces[0].contains("lease until"), "{}", traces[0]);
    assert!(traces[1].contains("> frame"), "{}", traces[1]);
}
