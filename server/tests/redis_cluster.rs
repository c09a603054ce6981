//! The commands of Redis Cluster, and nodes that redirect clients to the leader.

#[path = "support/members.rs"]
mod members;
#[macro_use]
mod support;
#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits, NodeOptions};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use members::{Kill, Member, SHORT_HOLD, STEADY_HOLD, lead};
use served::{Served, connect, exchange, serve, timing};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;

on_every_runtime!(
    the_keys_of_a_slot_are_counted_and_returned,
    a_node_describes_itself_as_the_master_of_all_slots,
    a_node_that_redirects_says_so_and_executes_every_command_while_it_leads,
    a_node_that_does_not_lead_sends_commands_about_keys_to_the_leader,
    without_a_leader_a_node_names_no_master_and_clients_look_for_another_node,
);

fn node<R: Runtime>() -> Served<R> {
    serve(Limits::default(), ClientOptions::default())
}

/// Sends lines, ends the connection with `QUIT`, and returns the replies.
fn ask<R: Runtime>(node: &Served<R>, lines: &str) -> String {
    let replies = exchange(node.address(), format!("{lines}\r\nQUIT\r\n").as_bytes());
    replies.strip_suffix("+OK\r\n").expect("the reply to QUIT").to_owned()
}

fn the_keys_of_a_slot_are_counted_and_returned<R: Runtime>() {
    let node = node::<R>();
    assert_eq!(ask(&node, "MSET {foo}1 a {foo}2 b foo c bar d dead e\r\nPEXPIRE dead -1"), "+OK\r\n:1\r\n");
    for (line, reply) in [
        ("KEYSLOT foo", ":12182\r\n"),
        ("KEYSLOT x{foo}y", ":12182\r\n"),
        ("COUNTKEYSINSLOT 12182", ":3\r\n"),
        ("COUNTKEYSINSLOT 0", ":0\r\n"),
        ("GETKEYSINSLOT 12182 0", "*0\r\n"),
        ("GETKEYSINSLOT 5061 9", "*1\r\n$3\r\nbar\r\n"),
        ("COUNTKEYSINSLOT 16384", "-ERR Invalid slot\r\n"),
        ("COUNTKEYSINSLOT x", "-ERR value is not an integer or out of range\r\n"),
        ("GETKEYSINSLOT -1 1", "-ERR Invalid slot or number of keys\r\n"),
        ("GETKEYSINSLOT 1 -1", "-ERR Invalid slot or number of keys\r\n"),
        ("KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command\r\n"),
        ("NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP.\r\n"),
        ("FAILOVER", "-ERR nodes and slots are not changed by this command; use `leasehold ctl`\r\n"),
    ] {
        assert_eq!(ask(&node, &format!("CLUSTER {line}")), reply, "{line}");
    }
    let two = ask(&node, "CLUSTER GETKEYSINSLOT 12182 2");
    assert!(two.starts_with("*2\r\n") && two.matches("foo").count() == 2, "{two}");
    let aborted = ask(&node, "MULTI\r\nCLUSTER KEYSLOT foo\r\nCLUSTER COUNTKEYSINSLOT 1\r\nEXEC");
    assert!(aborted.contains("+QUEUED\r\n-ERR COUNTKEYSINSLOT takes too long"), "{aborted}");
    assert!(aborted.ends_with("-EXECABORT Transaction discarded because of previous errors.\r\n"), "{aborted}");
}

fn a_node_describes_itself_as_the_master_of_all_slots<R: Runtime>() {
    let node = node::<R>();
    assert_eq!(ask(&node, "READONLY\r\nREADWRITE\r\nASKING"), "+OK\r\n+OK\r\n+OK\r\n");
    let port = node.address().port();
    let name = ask(&node, "CLUSTER MYID");
    let name = name.strip_prefix("$40\r\n").and_then(|name| name.strip_suffix("\r\n")).expect("40 digits");
    assert!(name.starts_with("00000001") && name.bytes().all(|digit| digit.is_ascii_hexdigit()), "{name}");
    let slots = |metadata: &str| {
        format!("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{name}\r\n{metadata}0\r\n")
    };
    assert_eq!(ask(&node, "CLUSTER SLOTS"), slots("*"));
    assert!(ask(&node, "HELLO 3\r\nCLUSTER SLOTS").ends_with(&slots("%")), "metadata is a map in RESP3");
    let shards = ask(&node, "CLUSTER SHARDS");
    assert!(
        shards.starts_with(&format!(
            "*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*14\r\n$2\r\nid\r\n$40\r\n{name}\r\n\
             $4\r\nport\r\n:{port}\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n$4\r\nrole\r\n\
             $6\r\nmaster\r\n$18\r\nreplication-offset\r\n:"
        )),
        "{shards}"
    );
    assert!(shards.ends_with("\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"), "{shards}");
    let nodes = ask(&node, "CLUSTER NODES");
    let line = nodes.lines().nth(1).expect("a line for the node");
    let fields: Vec<_> = line.split(' ').collect();
    let [own, address, "myself,master", "-", "0", "0", _, "connected", "0-16383"] = fields[..] else {
        panic!("{line}")
    };
    assert_eq!(own, name);
    assert!(address.starts_with(&format!("127.0.0.1:{port}@")), "{address}");
    let info = ask(&node, "CLUSTER INFO");
    for field in ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:1", "cluster_size:1"] {
        assert!(info.contains(&format!("{field}\r\n")), "{field} in {info}");
    }
}

fn a_node_that_redirects_says_so_and_executes_every_command_while_it_leads<R: Runtime>() {
    let mut options = ClientOptions::default();
    options.redirect = true;
    for (node, enabled, mode) in [(node::<R>(), 0, "standalone"), (serve(Limits::default(), options), 1, "cluster")] {
        assert!(ask(&node, "INFO cluster").contains(&format!("cluster_enabled:{enabled}\r\n")));
        assert!(ask(&node, "INFO server").contains(&format!("redis_mode:{mode}\r\n")));
        let hello = ask(&node, "HELLO 2");
        assert!(hello.contains(&format!("$4\r\nmode\r\n${}\r\n{mode}\r\n", mode.len())), "{hello}");
        // The keys are in several slots of the same group.
        let replies =
            ask(&node, "WATCH foo bar\r\nMULTI\r\nMSET foo 1 bar 2\r\nRENAME foo baz\r\nEXEC\r\nMGET bar baz");
        assert_eq!(replies, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    }
}

/// The end of an aborted transaction.
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

fn cluster<R: Kill>(hold: u64) -> Vec<Member<R>> {
    let mut clients = ClientOptions::default();
    clients.redirect = true;
    members::start(3, |options| NodeOptions { clients: clients.clone(), timing: timing(hold), ..options })
}

/// Sends a line to a node until the reply is accepted, and returns it.
fn ask_until<R: Kill>(member: &Member<R>, line: &str, accept: impl Fn(&str) -> bool) -> String {
    member.exchange_until(format!("{line}\r\nQUIT\r\n").as_bytes(), accept)
}

/// Returns the start of a reply to `CLUSTER SLOTS` in which a node is the master.
fn led_by(master: SocketAddr) -> String {
    format!("*1\r\n*5\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:{}\r\n", master.port())
}

fn a_node_that_does_not_lead_sends_commands_about_keys_to_the_leader<R: Kill>() {
    let members = cluster::<R>(STEADY_HOLD);
    let (leader, follower) = (&members[0], &members[1]);
    let master = leader.address();
    for member in &members {
        // A node that has just met the leader may not be connected to it yet.
        ask_until(member, "CLUSTER SLOTS", |reply| reply.starts_with(&led_by(master)));
    }
    assert_eq!(leader.exchange(b"SET foo v\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    let moved = format!("-MOVED 12182 {master}\r\n");
    for (lines, replies) in [
        ("SET foo 1\r\nGET foo", format!("{moved}{moved}")),
        ("READONLY\r\nGET foo\r\nSET foo 1", format!("+OK\r\n$1\r\nv\r\n{moved}")),
        ("READONLY\r\nREADWRITE\r\nGET foo", format!("+OK\r\n+OK\r\n{moved}")),
        ("MULTI\r\nSET foo 1\r\nEXEC", format!("+OK\r\n{moved}{ABORTED}")),
        ("WATCH foo\r\nMULTI\r\nEXEC", format!("{moved}+OK\r\n{ABORTED}")),
        ("DBSIZE\r\nFLUSHALL\r\nDBSIZE", ":1\r\n+OK\r\n:0\r\n".to_owned()),
    ] {
        assert_eq!(
            follower.exchange(format!("{lines}\r\nQUIT\r\n").as_bytes()),
            format!("{replies}+OK\r\n"),
            "{lines}"
        );
    }
    // Another node leads when a transaction that was queued at this one is executed.
    let mut client = BufReader::new(connect(master));
    let mut ask = |request: &str, replies: usize| {
        client.get_mut().write_all(request.as_bytes()).expect("the request is sent");
        let mut read = String::new();
        for _ in 0..replies {
            client.read_line(&mut read).expect("a reply");
        }
        read
    };
    assert_eq!(ask("MULTI\r\nSET foo 1\r\n", 2), "+OK\r\n+QUEUED\r\n");
    lead(&members, 0, follower);
    ask_until(leader, "CLUSTER SLOTS", |reply| reply.starts_with(&led_by(follower.address())));
    assert_eq!(ask("EXEC\r\n", 1), format!("-MOVED 12182 {}\r\n", follower.address()));
}

fn without_a_leader_a_node_names_no_master_and_clients_look_for_another_node<R: Kill>() {
    let mut members = cluster::<R>(SHORT_HOLD);
    let killed = members.remove(0);
    killed.runtime.kill();
    let killed = killed.address();
    for member in &members {
        let master = |reply: &str| reply.starts_with("*1\r\n") && !reply.contains(&format!(":{}\r\n", killed.port()));
        ask_until(member, "CLUSTER SLOTS", master);
    }
    let last = members.pop().expect("three nodes were started");
    members[0].runtime.kill();
    // It may have been elected just before, and have a lease for a moment.
    ask_until(&last, "GET foo", |reply| reply.starts_with("-CLUSTERDOWN no leader answered within 5 s"));
    for line in ["CLUSTER SLOTS", "CLUSTER SHARDS"] {
        ask_until(&last, line, |reply| reply.starts_with("-CLUSTERDOWN "));
    }
}
