//! Clusters of several groups: where commands are executed, and what is refused.

#[path = "support/members.rs"]
mod members;
#[macro_use]
mod support;
#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits, Node, NodeOptions};
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use members::{Kill, Member, SHORT_HOLD, STEADY_HOLD, lead};
use served::{connect, exchange, exchange_until, options, serve_as, timing};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

on_every_runtime!(
    commands_about_keys_of_several_groups_are_divided_or_refused,
    a_scan_returns_the_keys_of_every_group,
    a_pipeline_is_answered_in_order,
    long_replies_are_not_kept_until_a_pipeline_ends,
    a_folder_keeps_its_groups,
    the_lease_of_each_group_is_recorded_in_a_file_of_its_own,
    every_node_executes_commands_in_every_group,
    clients_are_sent_to_the_leader_of_a_group,
    leaders_are_spread_over_the_nodes,
    an_operator_spreads_the_leaders_of_nodes_that_keep_them,
    a_group_without_a_quorum_stops_its_own_keys_only,
    reads_behind_a_refused_write_are_executed,
);

const GROUPS: Option<NonZeroU16> = NonZeroU16::new(4);

/// Sends lines, ends the connection with `QUIT`, and returns the replies.
fn ask(address: SocketAddr, lines: &str) -> String {
    let replies = exchange(address, format!("{lines}\r\nQUIT\r\n").as_bytes());
    replies.strip_suffix("+OK\r\n").expect("the reply to QUIT").to_owned()
}

/// Sends lines until the replies are accepted.
fn ask_until(address: SocketAddr, lines: &str, accept: impl Fn(&str) -> bool) -> String {
    let without_end = |replies: &str| replies.strip_suffix("+OK\r\n").expect("the reply to QUIT").to_owned();
    let accept = |replies: &str| accept(&without_end(replies));
    without_end(&exchange_until(address, format!("{lines}\r\nQUIT\r\n").as_bytes(), accept))
}

/// Sends lines that may be repeated until the node does not lag behind a leader, which it does while its disk is slow.
fn ask_in_step(address: SocketAddr, lines: &str) -> String {
    ask_until(address, lines, |replies| !replies.contains("-TRYAGAIN this node lags behind its leader"))
}

/// One key in each group: their slots are 3,300, 7,365, 11,298 and 15,495.
const SET: &str = "SET b 0\r\nSET c 1\r\nSET d 2\r\nSET a 3";

/// Returns the reply of a list of values.
fn values(values: &[&str]) -> String {
    let encode = |value: &&str| match *value {
        "-" => "$-1\r\n".to_owned(),
        value => format!("${}\r\n{value}\r\n", value.len()),
    };
    format!("*{}\r\n{}", values.len(), values.iter().map(encode).collect::<String>())
}

fn commands_about_keys_of_several_groups_are_divided_or_refused<R: Runtime>() {
    let node = serve_as::<R>(|options| NodeOptions { groups: GROUPS, ..options });
    const APART: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let of_transaction = |name| {
        format!("-ERR {name} concerns every group, and a transaction only one; send it before MULTI or after EXEC\r\n")
    };
    let long: String = (0..100).map(|key| format!(" {key}")).collect();
    for (lines, replies) in [
        (SET, "+OK\r\n".repeat(4)),
        ("MGET a none b c d a", values(&["3", "-", "0", "1", "2", "3"])),
        ("EXISTS a a none b\r\nTOUCH c d", ":3\r\n:2\r\n".to_owned()),
        (&*format!("MGET{long} a b"), values(&[&vec!["-"; 100][..], &["3", "0"]].concat())),
        (&*format!("EXISTS{long} a b"), ":2\r\n".to_owned()),
        ("DBSIZE", ":4\r\n".to_owned()),
        ("MSET a 1 b 2\r\nMSETNX x 1 y 2\r\nRENAME a b\r\nCOPY a b", APART.repeat(4)),
        ("MSET {a}1 x {a}2 y\r\nRENAME {a}1 {a}3\r\nMGET {a}3 {a}2", format!("+OK\r\n+OK\r\n{}", values(&["x", "y"]))),
        (
            "MULTI\r\nSET a 5\r\nSET {a}2 z\r\nGET a\r\nEXEC",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n$1\r\n5\r\n".to_owned(),
        ),
        ("MULTI\r\nSET a 6\r\nSET b 6\r\nEXEC\r\nGET a", format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n{APART}$1\r\n5\r\n")),
        ("MULTI\r\nDEL a b\r\nEXEC", format!("+OK\r\n{APART}{ABORTED}")),
        ("MULTI\r\nDBSIZE\r\nEXEC", format!("+OK\r\n{}{ABORTED}", of_transaction("DBSIZE"))),
        ("MULTI\r\nFLUSHALL\r\nEXEC", format!("+OK\r\n{}{ABORTED}", of_transaction("FLUSHALL"))),
        ("MULTI\r\nSCAN 0\r\nEXEC", format!("+OK\r\n{}{ABORTED}", of_transaction("SCAN"))),
        ("MULTI\r\nPING\r\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n".to_owned()),
        ("WATCH a b\r\nMULTI\r\nEXEC", format!("{APART}+OK\r\n{ABORTED}")),
        ("WATCH a {a}2\r\nMULTI\r\nSET a 7\r\nEXEC", "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n".to_owned()),
        ("WATCH a\r\nSET a 8\r\nMULTI\r\nSET a 9\r\nEXEC", "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n".to_owned()),
        ("WATCH a\r\nMULTI\r\nSET b 9\r\nEXEC", format!("+OK\r\n+OK\r\n+QUEUED\r\n{APART}")),
        (
            "MULTI\r\nMEMORY USAGE none\r\nEXEC\r\nOBJECT ENCODING b",
            "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n$3\r\nint\r\n".to_owned(),
        ),
        (
            "CLUSTER COUNTKEYSINSLOT 15495\r\nCLUSTER COUNTKEYSINSLOT 3300\r\nCLUSTER COUNTKEYSINSLOT 3301",
            ":3\r\n:1\r\n:0\r\n".to_owned(),
        ),
        ("DEL a none b {a}2 {a}3\r\nDBSIZE", ":4\r\n:2\r\n".to_owned()),
        ("UNLINK c\r\nRANDOMKEY\r\nKEYS *", format!(":1\r\n$1\r\nd\r\n{}", values(&["d"]))),
        ("FLUSHALL\r\nDBSIZE\r\nRANDOMKEY\r\nKEYS *", "+OK\r\n:0\r\n$-1\r\n*0\r\n".to_owned()),
        ("LEASEHOLD TRANSFER 3 1", "+OK\r\n".to_owned()),
        ("LEASEHOLD TRANSFER 1", "-ERR name the group before the node; the groups are 0 to 3\r\n".to_owned()),
        ("LEASEHOLD TRANSFER 4 1", "-ERR there is no group 4; the groups are 0 to 3\r\n".to_owned()),
    ] {
        assert_eq!(ask(node.address(), lines), replies, "{lines}");
    }
    let refused = ask(node.address(), "LEASEHOLD REMOVE 1");
    assert!(refused.starts_with("-ERR node 1 is the only voter; add another node"), "{refused}");
    let info = ask(node.address(), "INFO groups");
    assert!(info.contains("# Groups\r\ngroups:4\r\ngroups_led:4\r\ngroup_0:role=leader,leader=1,term="), "{info}");
    let status = ask(node.address(), "LEASEHOLD STATUS");
    assert!(status.contains("\"groups\":[{\"group\":0,\"role\":\"leader\",\"term\":"), "{status}");
}

fn a_scan_returns_the_keys_of_every_group<R: Runtime>() {
    let node = serve_as::<R>(|options| NodeOptions { groups: GROUPS, ..options });
    let keys: BTreeSet<String> = (0..500).map(|number| format!("key:{number}")).collect();
    let lines: Vec<_> = keys.iter().map(|key| format!("SET {key} v")).collect();
    assert_eq!(ask(node.address(), &lines.join("\r\n")), "+OK\r\n".repeat(500));
    assert_eq!(ask(node.address(), "DBSIZE"), ":500\r\n");
    for options in ["COUNT 1", "", "COUNT 60 MATCH key:*", "COUNT 1000 TYPE string"] {
        let (mut found, mut cursor, mut calls) = (BTreeSet::new(), "0".to_owned(), 0);
        loop {
            let reply = ask(node.address(), &format!("SCAN {cursor} {options}"));
            let mut texts = reply.lines().filter(|line| !line.starts_with(['$', '*'])).map(str::to_owned);
            cursor = texts.next().expect("a cursor");
            found.extend(texts);
            calls += 1;
            if cursor == "0" {
                break;
            }
            assert!(calls < 10_000, "the scan ends");
        }
        assert_eq!(found, keys, "{options}");
        assert!(calls < 1_000 && (calls > 1 || options.contains("1000")), "{calls} calls with {options:?}");
    }
    let all = ask(node.address(), "KEYS key:*");
    let found: BTreeSet<_> = all.lines().filter(|line| line.starts_with("key:")).map(str::to_owned).collect();
    assert!(all.starts_with("*500\r\n") && found == keys);
    let random = ask(node.address(), "RANDOMKEY");
    assert!(random.lines().nth(1).is_some_and(|key| keys.contains(key)), "{random}");
}

fn a_pipeline_is_answered_in_order<R: Runtime>() {
    let node = serve_as::<R>(|options| NodeOptions { groups: GROUPS, ..options });
    let (mut lines, mut replies) = (Vec::new(), String::new());
    for number in 0..300 {
        let key = format!("key:{}", number % 60);
        lines.push(format!("INCR {key}\r\nGET {key}\r\nAPPEND log:{number} x\r\nINCRBY {key} 0"));
        let count = number / 60 + 1;
        replies += &format!(":{count}\r\n$1\r\n{count}\r\n:1\r\n:{count}\r\n");
        if number % 50 == 49 {
            lines.push(format!("MGET {key} none\r\nPING\r\nSET {key} {count}\r\nGETSET {key} {count}"));
            replies += &format!("{}+PONG\r\n+OK\r\n$1\r\n{count}\r\n", values(&[&count.to_string(), "-"]));
        }
    }
    lines.push("INCR log:1\r\nGET log:1\r\nGET log:2\r\nDEL log:1 log:2 log:3\r\nGET log:3".to_owned());
    replies += "-ERR value is not an integer or out of range\r\n$1\r\nx\r\n$1\r\nx\r\n:3\r\n$-1\r\n";
    assert_eq!(ask(node.address(), &lines.join("\r\n")), replies);
}

fn long_replies_are_not_kept_until_a_pipeline_ends<R: Runtime>() {
    let node = serve_as::<R>(|options| NodeOptions { groups: GROUPS, ..options });
    // No value is long before the pipeline, whose replies do not fit into the buffers of a connection.
    for (key, repeated) in [("a", "GETRANGE a 0 3999999\r\n"), ("b", "GET b\r\nSET z{b} 1\r\n")] {
        let lines = format!("SETRANGE {key} 16777215 x\r\n{}GET {key}\r\nQUIT\r\n", repeated.repeat(300));
        let mut stream = connect(node.address());
        stream.write_all(lines.as_bytes()).expect("the pipeline is sent");
        let mut first = [0; 14];
        stream.read_exact(&mut first).expect("the first replies");
        assert_eq!(&first[..12], b":16777216\r\n$");
        // The reads at the end are executed once the client has taken the replies before them.
        assert_eq!(ask(node.address(), &format!("SET {key} short")), "+OK\r\n");
        let (mut part, mut last, mut total) = (vec![0; 1 << 20], Vec::new(), 0);
        loop {
            let length = stream.read(&mut part).expect("more replies");
            if length == 0 {
                break;
            }
            total += length;
            last.extend_from_slice(&part[..length]);
            last.drain(..last.len().saturating_sub(16));
        }
        assert_eq!(String::from_utf8_lossy(&last), "$5\r\nshort\r\n+OK\r\n");
        assert!(total < 200 << 20, "{total} bytes of old values");
    }
}

fn a_folder_keeps_its_groups<R: Runtime>() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |runtime: &R, change: &dyn Fn(NodeOptions) -> NodeOptions| {
        let options = change(options(folder.path(), "127.0.0.1:0".to_owned()));
        runtime.block_on(Node::start(runtime, options))
    };
    let runtime = R::start("node", 2).expect("a runtime");
    let many = start(&runtime, &|options| NodeOptions { groups: NonZeroU16::new(1025), ..options });
    assert!(many.is_err_and(|error| error.to_string().starts_with("a cluster has at most 1024 groups, and not 1025")));

    let node = start(&runtime, &|options| NodeOptions { groups: GROUPS, ..options }).expect("it founds a cluster");
    assert_eq!(ask(node.client_address(), SET), "+OK\r\n".repeat(4));
    runtime.block_on(node.stop());
    drop(node);
    let recorded = |options| NodeOptions { record: Some(folder.path().join("missing/trace")), ..options };
    let refused = start(&runtime, &recorded).err().expect("it is refused").to_string();
    assert!(refused.starts_with("cannot record to ") && refused.contains("trace.0: "), "{refused}");
    let other = start(&runtime, &|options| NodeOptions { groups: NonZeroU16::new(2), ..options });
    let refused = other.err().expect("it is refused").to_string();
    assert!(
        refused.contains("is of a cluster whose number of groups is 4, not 2; omit the number or give 4"),
        "{refused}"
    );
    let node = start(&runtime, &|options| options).expect("it starts again");
    assert_eq!(
        ask(node.client_address(), "MGET a b c d\r\nDBSIZE"),
        format!("{}:4\r\n", values(&["3", "0", "1", "2"]))
    );
    assert_eq!(node.handle().groups(), [0, 1, 2, 3]);
    runtime.block_on(node.stop());
}

fn the_lease_of_each_group_is_recorded_in_a_file_of_its_own<R: Runtime>() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = |group: u16| folder.path().join(format!("trace.{group}"));
    let runtime = R::start("node", 2).expect("a runtime");
    let record = Some(folder.path().join("trace"));
    let options = NodeOptions { groups: GROUPS, record, ..options(folder.path(), "127.0.0.1:0".to_owned()) };
    let node = runtime.block_on(Node::start(&runtime, options)).expect("it founds a cluster");
    // Each group has a leader.
    assert_eq!(ask_in_step(node.client_address(), SET), "+OK\r\n".repeat(4));
    runtime.block_on(node.stop());
    for group in 0..4 {
        let recorded = std::fs::read_to_string(trace(group)).expect("a recording");
        assert!(recorded.starts_with(&format!("# The lease of group {group} of one node.")), "{recorded}");
        assert!(recorded.contains("lease until"), "{recorded}");
        assert_eq!(leasehold::replay(&recorded).expect("a recording that can be read"), recorded);
    }
    assert!(!trace(4).exists() && !folder.path().join("trace").exists());
}

fn start<R: Kill>(redirect: bool, hold: u64, spreads_leaders: bool) -> Vec<Member<R>> {
    let mut clients = ClientOptions::default();
    clients.redirect = redirect;
    members::start::<R>(3, |options| NodeOptions {
        clients: clients.clone(),
        groups: GROUPS,
        spreads_leaders,
        record: None,
        timing: timing(hold),
        ..options
    })
}

fn cluster<R: Kill>(redirect: bool) -> Vec<Member<R>> {
    let members = start::<R>(redirect, STEADY_HOLD, false);
    // Each of the first groups has a leader of its own.
    for (group, leader) in (0..).zip([&members[0], &members[1], &members[2], &members[0]]) {
        lead(&members, group, leader);
    }
    members
}

fn every_node_executes_commands_in_every_group<R: Kill>() {
    let members = cluster::<R>(false);
    for (at, member) in members.iter().enumerate() {
        let address = member.address();
        let lines = "MGET a b c d\r\nDEL a b c d\r\nEXISTS a b c d";
        assert_eq!(
            ask_in_step(address, &format!("{SET}\r\n{lines}")),
            format!("{}{}:4\r\n:0\r\n", "+OK\r\n".repeat(4), values(&["3", "0", "1", "2"]))
        );
        let lines: Vec<_> = (0..200).map(|key| format!("SET {at}:{key} {key}\r\nGET {at}:{key}")).collect();
        let replies = ask_in_step(address, &lines.join("\r\n"));
        let expected = (0..200).map(|key| format!("+OK\r\n${}\r\n{key}\r\n", key.to_string().len()));
        assert_eq!(replies, expected.collect::<String>());
    }
    for member in &members {
        assert_eq!(ask_in_step(member.address(), "DBSIZE"), ":600\r\n");
    }
    assert_eq!(ask_in_step(members[2].address(), "FLUSHALL\r\nDBSIZE"), "+OK\r\n:0\r\n");
    // A node that stops hands over every group that it leads, and the others serve all keys.
    members[0].runtime.block_on(members[0].node.stop());
    let reply = "+OK\r\n".repeat(4) + &values(&["3", "0", "1", "2"]);
    ask_until(members[1].address(), &format!("{SET}\r\nMGET a b c d"), |replies| replies == reply);
}

fn clients_are_sent_to_the_leader_of_a_group<R: Kill>() {
    let members = cluster::<R>(true);
    let addresses: Vec<_> = members.iter().map(|member| member.address()).collect();
    let moved = |slot, leader: usize| format!("-MOVED {slot} {}\r\n", addresses[leader]);
    let gets = "GET b\r\nGET c\r\nGET d\r\nGET a";
    for (at, address) in addresses.iter().enumerate() {
        let places = [(3300, 0), (7365, 1), (11298, 2), (15495, 0)];
        let expected: String = places
            .iter()
            .map(|(slot, leader)| if *leader == at { "$-1\r\n".to_owned() } else { moved(*slot, *leader) })
            .collect();
        // A node that has just met a leader may not be connected to it yet.
        ask_until(*address, gets, |replies| replies == expected);
        let here: String = places.iter().map(|_| "$-1\r\n").collect();
        assert_eq!(ask_in_step(*address, &format!("READONLY\r\n{gets}")), format!("+OK\r\n{here}"));
    }
    assert_eq!(ask(addresses[0], "SET b 0\r\nSET a 3\r\nDBSIZE"), "+OK\r\n+OK\r\n:2\r\n");
    assert_eq!(
        ask_in_step(addresses[1], "SET c 1\r\nDBSIZE\r\nMGET a b c"),
        format!("+OK\r\n:1\r\n{}", values(&["3", "0", "1"]))
    );
    assert_eq!(ask(addresses[1], "MULTI\r\nSET a 1\r\nEXEC").lines().nth(1), moved(15495, 0).lines().next());
    let range = |first: u16, last: u16, leader: usize| {
        let number = &members[leader];
        let name = ask(number.address(), "CLUSTER MYID");
        let port = addresses[leader].port();
        format!("*3\r\n:{first}\r\n:{last}\r\n*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n{name}*0\r\n")
    };
    let ranges = [range(0, 4095, 0), range(4096, 8191, 1), range(8192, 12287, 2), range(12288, 16383, 0)];
    for address in &addresses {
        assert_eq!(ask(*address, "CLUSTER SLOTS"), format!("*4\r\n{}", ranges.concat()));
        assert!(ask(*address, "CLUSTER SHARDS").starts_with("*3\r\n*4\r\n$5\r\nslots\r\n"));
        let info = ask(*address, "CLUSTER INFO");
        for field in ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_size:3"] {
            assert!(info.contains(&format!("{field}\r\n")), "{field} in {info}");
        }
    }
    // The last group moves to another node, and its keys with it.
    lead(&members, 3, &members[1]);
    ask_until(addresses[0], "GET a", |reply| reply == moved(15495, 1));
    ask_until(addresses[1], "GET a", |reply| reply == "$1\r\n3\r\n");
    ask_until(addresses[2], "CLUSTER SLOTS", |reply| reply.ends_with(&range(12288, 16383, 1)));
}

fn leaders_are_spread_over_the_nodes<R: Kill>() {
    let members = start::<R>(false, SHORT_HOLD, true);
    let shares = || {
        let led = |member: &Member<R>| {
            let handle = member.node.handle();
            let groups = handle.groups().into_iter().filter_map(|group| handle.to_group(group));
            groups.filter(|group| group.status().role == Role::Leader).count()
        };
        let mut shares: Vec<_> = members.iter().map(led).collect();
        shares.sort_unstable();
        shares
    };
    // One node gets them all. The others take some only once nothing has changed for seconds.
    let to = members[1].id;
    for attempt in 0.. {
        for group in 0..4 {
            for member in &members {
                ask(member.address(), &format!("LEASEHOLD TRANSFER {group} {to}"));
            }
        }
        if shares() == [0, 0, 4] {
            break;
        }
        assert!(attempt < 500, "the nodes lead {:?} groups", shares());
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..6_000 {
        if shares() == [1, 1, 2] {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the nodes lead {:?} groups", shares());
}

fn an_operator_spreads_the_leaders_of_nodes_that_keep_them<R: Kill>() {
    let members = start::<R>(false, 3, false);
    for group in 0..4 {
        lead(&members, group, &members[1]);
    }
    let addresses: Vec<_> = members.iter().map(|member| member.node.client_address().to_string()).collect();
    let balance = || {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_leasehold"));
        let output =
            program.args(["ctl", "balance", "--node", &addresses.join(",")]).output().expect("the program runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let said = balance();
    assert!(said.contains(" leads 2") && said.ends_with("(2 leaders moved)\n"), "{said}");
    let said = balance();
    assert!(said.ends_with("(no leader had to move)\n"), "{said}");
}

fn a_group_without_a_quorum_stops_its_own_keys_only<R: Kill>() {
    let members = cluster::<R>(false);
    let addresses: Vec<_> = members.iter().map(|member| member.address()).collect();
    let leader = addresses[0];
    assert_eq!(ask(leader, SET), "+OK\r\n".repeat(4));
    // The leader of the last group keeps its lease for a while, and serves reads.
    for member in &members[1..] {
        let group = member.node.handle().to_group(3).expect("the group");
        assert!(member.runtime.block_on(group.remove_group()));
    }
    let of_group_3 = |reply: &str| reply.starts_with('-') && reply.ends_with(" (group 3)\r\n");
    ask_until(leader, "MGET a b", of_group_3);
    std::thread::scope(|scope| {
        // Each waits for a leader of the last group.
        let waiting = ["DBSIZE", "KEYS *", "RANDOMKEY", "EXISTS a b c d", "LEASEHOLD.BACKUP"]
            .map(|line| scope.spawn(move || (line, ask(leader, line))));
        let pipeline = scope.spawn(move || ask(leader, "INCR b\r\nINCR a\r\nINCR c\r\nGET b"));
        for (at, address) in addresses.iter().enumerate() {
            let lines = format!("SET d {at}\r\nMGET b c d\r\nDEL {{b}}none {{c}}none");
            let replies = ask_in_step(*address, &lines);
            assert!(replies.starts_with("+OK\r\n*3\r\n") && replies.ends_with(":0\r\n"), "{replies}");
        }
        for waiting in waiting {
            let (line, reply) = waiting.join().expect("a reply");
            assert!(of_group_3(&reply), "{line}: {reply}");
        }
        let replies = pipeline.join().expect("replies");
        let lines: Vec<_> = replies.lines().collect();
        let [":1", failed, ":2", "$1", "1"] = lines[..] else { panic!("{replies}") };
        assert!(failed.starts_with("-UNCERTAIN ") || failed.starts_with("-TRYAGAIN "), "{failed}");
    });
    // The part of a write that was executed stays so, and the reply does not hide it.
    let deleted = ask(addresses[1], "DEL a b\r\nEXISTS b");
    assert!(deleted.starts_with("-UNCERTAIN the ") && deleted.ends_with("\r\n:0\r\n"), "{deleted}");
}

fn reads_behind_a_refused_write_are_executed<R: Kill>() {
    const FULL: u64 = 2;
    let members = members::start::<R>(3, |options| {
        let mut limits = Limits::default();
        limits.min_free_space = (options.node == FULL).then_some(u64::MAX);
        NodeOptions { groups: GROUPS, spreads_leaders: false, limits, ..options }
    });
    let is_full = |member: &&Member<R>| member.id == FULL;
    let full = members.iter().find(is_full).expect("a node whose disk is full");
    let other = members.iter().find(|member| !is_full(member)).expect("another node");
    for (group, leader) in (0..).zip([other, other, other, full]) {
        lead(&members, group, leader);
    }
    let pipeline = "SET b 1\r\nGET a\r\nSET a 1\r\nGET b\r\nGET a\r\nSET b 2";
    ask_until(other.node.client_address(), pipeline, |replies| {
        replies.starts_with("+OK\r\n-BUSY ") || replies.starts_with("+OK\r\n$-1\r\n-BUSY ")
    });
    let replies = ask(other.node.client_address(), pipeline);
    assert!(replies.ends_with("\r\n$1\r\n1\r\n$-1\r\n+OK\r\n"), "{replies}");
}
