//! Clients of Redis Cluster and a cluster of real processes, through the death of a leader.

mod other_clients;

use leasehold_tests::processes::{PATIENCE, Processes, STEADY, eventually};
use redis::cluster::{ClusterClientBuilder, ClusterConnection};
use redis::{Connection, RedisError, Value, cmd};

/// A key and its slot.
const KEY: &str = "foo";
const SLOT: u16 = 12_182;

/// Runs a command given as its words.
fn run(connection: &mut Connection, line: &str) -> Result<Value, RedisError> {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(connection)
}

fn error_of(outcome: Result<Value, RedisError>) -> String {
    match outcome {
        // The client removes the code from the message.
        Err(error) => format!("{} {}", error.code().unwrap_or("-"), error.detail().unwrap_or_default()),
        Ok(value) => panic!("expected an error, got {value:?}"),
    }
}

fn text(value: &str) -> Value {
    Value::BulkString(value.as_bytes().to_vec())
}

/// Starts three nodes with these flags, whose leader stays.
fn steady(flags: &[&str]) -> Processes {
    Processes::start_with(3, &[&STEADY[..], flags].concat())
}

/// Returns the lines of `CLUSTER NODES` by the ports of their nodes, without what differs from node to node.
fn lines(cluster: &Processes, id: u64) -> Vec<(u16, String)> {
    let lines: String = cmd("CLUSTER").arg("NODES").query(&mut cluster.connect(id)).expect("the nodes");
    let line = |line: &str| {
        let port = line.split([':', '@']).nth(1).expect("a port").parse().expect("a port");
        (port, line.replace("myself,", ""))
    };
    lines.lines().map(line).collect()
}

#[test]
fn a_node_that_does_not_lead_redirects_commands_about_keys() {
    let cluster = steady(&["--redirect"]);
    let (leader, followers) = cluster.roles();
    let port_of = |id: u64| cluster.recipes[&id].client_port;
    let moved = format!("MOVED {SLOT} 127.0.0.1:{}", port_of(leader));
    let mut at_leader = cluster.connect(leader);
    for follower in followers {
        let mut client = cluster.connect(follower);
        let redirected = || eventually(PATIENCE, || run(&mut cluster.connect(follower), "GET foo").err());
        redirected().expect("it knows the leader and is connected to it");
        for line in ["SET foo 1", "GET foo", "MGET foo bar", "DEL foo", "SET foo 1 NOSUCH", "MEMORY USAGE foo"] {
            assert_eq!(error_of(run(&mut client, line)), moved, "{line}");
        }
        assert_eq!(run(&mut client, "PING"), Ok(Value::SimpleString("PONG".to_owned())));
        assert!(error_of(run(&mut client, "SET foo")).contains("wrong number of arguments"));
        // Nothing was executed.
        assert_eq!(run(&mut client, "DBSIZE"), Ok(Value::Int(0)));

        assert_eq!(run(&mut client, "READONLY"), Ok(Value::Okay));
        for number in 0..20 {
            assert_eq!(run(&mut at_leader, &format!("SET foo {number}")), Ok(Value::Okay));
            assert_eq!(run(&mut client, "GET foo"), Ok(text(&number.to_string())), "reads see every write before them");
        }
        assert_eq!(error_of(run(&mut client, "SET foo 1")), moved);
        assert_eq!(run(&mut client, "MULTI"), Ok(Value::Okay));
        assert_eq!(run(&mut client, "GET foo"), Ok(Value::SimpleString("QUEUED".to_owned())));
        assert_eq!(run(&mut client, "EXEC"), Ok(Value::Array(vec![text("19")])));
        assert_eq!(run(&mut client, "READWRITE"), Ok(Value::Okay));
        assert_eq!(error_of(run(&mut client, "GET foo")), moved);

        assert_eq!(run(&mut client, "MULTI"), Ok(Value::Okay));
        assert_eq!(error_of(run(&mut client, "SET foo 1")), moved);
        assert!(error_of(run(&mut client, "EXEC")).starts_with("EXECABORT"));
        // A client that sends all of it in one pipeline must not lose the condition.
        assert_eq!(error_of(run(&mut client, "WATCH foo")), moved);
        assert_eq!(run(&mut client, "MULTI"), Ok(Value::Okay));
        assert!(error_of(run(&mut client, "EXEC")).starts_with("EXECABORT"));
        assert_eq!(run(&mut at_leader, "FLUSHALL"), Ok(Value::Okay));
    }
}

#[test]
fn a_transaction_whose_leader_has_changed_is_not_executed() {
    let cluster = steady(&["--redirect"]);
    let (leader, followers) = cluster.roles();
    let mut client = cluster.connect(leader);
    for line in ["MULTI", "SET foo 1"] {
        run(&mut client, line).expect("it is queued");
    }
    let transfer = format!("LEASEHOLD TRANSFER {}", followers[0]);
    // A node that has just started may not take over yet.
    eventually(PATIENCE, || {
        let told = run(&mut cluster.connect(leader), &transfer);
        (told.is_ok() || cluster.leader() == followers[0]).then_some(())
    })
    .expect("it takes over");
    let moved = format!("MOVED {SLOT} 127.0.0.1:{}", cluster.recipes[&followers[0]].client_port);
    // The former leader learns of the new one with its first message.
    eventually(PATIENCE, || (cluster.leader() == followers[0]).then_some(())).expect("the other node leads");
    eventually(PATIENCE, || run(&mut cluster.connect(leader), "GET foo").err()).expect("the new leader is known");
    assert_eq!(error_of(run(&mut client, "EXEC")), moved);
    assert!(error_of(run(&mut client, "EXEC")).contains("EXEC without MULTI"));
    assert_eq!(run(&mut client, "DBSIZE"), Ok(Value::Int(0)));
}

#[test]
fn every_node_describes_the_same_nodes_and_offers_itself_only_while_a_leader_may_be_elected() {
    let mut cluster = steady(&["--redirect"]);
    let (leader, followers) = cluster.roles();
    let port_of = |cluster: &Processes, id: u64| cluster.recipes[&id].client_port;
    // The links to the others may not be up yet.
    let agreed = eventually(PATIENCE, || {
        let seen = lines(&cluster, leader);
        let all_up = seen.iter().all(|(_, line)| line.contains(" connected"));
        (all_up && followers.iter().all(|id| lines(&cluster, *id) == seen)).then_some(seen)
    });
    let agreed = agreed.expect("all nodes are connected and agree");
    for (id, (port, line)) in (1..).zip(&agreed) {
        assert_eq!(*port, port_of(&cluster, id), "in the order of the numbers: {agreed:?}");
        assert!(line.starts_with(&format!("{id:08x}")), "{line}");
        assert_eq!(line.ends_with(" connected 0-16383"), id == leader, "{line}");
    }

    cluster.take(leader).kill();
    let new = cluster.leader();
    let dead = format!("127.0.0.1:{}@", port_of(&cluster, leader));
    let last = *followers.iter().find(|id| **id != new).expect("a follower");
    let seen = eventually(PATIENCE, || {
        let seen = lines(&cluster, last).into_iter().map(|(_, line)| line);
        let seen: Vec<_> = seen.filter(|line| line.contains(&dead) || line.ends_with("0-16383")).collect();
        (seen.len() == 2 && seen.iter().any(|line| line.contains(" slave,fail? "))).then_some(seen)
    });
    seen.expect("the dead node has no slots");

    cluster.take(new).kill();
    let mut client = cluster.connect(last);
    let mut has_master = || match run(&mut client, "CLUSTER SLOTS") {
        Ok(_) => true,
        outcome => !error_of(outcome).starts_with("CLUSTERDOWN this node has no leader"),
    };
    eventually(PATIENCE, || (!has_master()).then_some(())).expect("it names no master any more");
    let mut client = cluster.connect(last);
    let info: String = cmd("CLUSTER").arg("INFO").query(&mut client).expect("a reply");
    assert!(info.contains("cluster_state:fail\r\n") && info.contains("cluster_slots_ok:0\r\n"), "{info}");
    assert!(error_of(run(&mut client, "SET foo 1")).starts_with("CLUSTERDOWN no leader answered"));
}

#[test]
fn without_the_flag_cluster_clients_work_and_no_command_is_redirected() {
    let cluster = steady(&[]);
    let (leader, followers) = cluster.roles();
    let mut client = connect_to(&cluster, &followers);
    cmd("SET").arg(KEY).arg(1).exec(&mut client).expect("it is executed");
    let counted: String = cmd("INFO").arg("commandstats").query(&mut cluster.connect(leader)).expect("the counts");
    assert!(counted.contains("cmdstat_set:calls=1,"), "the client goes to the leader: {counted}");
    for id in followers {
        let mut client = cluster.connect(id);
        run(&mut client, "INCR foo").expect("any node executes it");
        assert_eq!(run(&mut client, "INFO cluster"), Ok(text("# Cluster\r\ncluster_enabled:0\r\n")));
    }
    assert_eq!(run(&mut cluster.connect(leader), "GET foo"), Ok(text("3")));
}

/// Connects a client that knows these nodes only.
fn connect_to(cluster: &Processes, ids: &[u64]) -> ClusterConnection {
    let nodes = ids.iter().map(|id| format!("redis://127.0.0.1:{}/", cluster.recipes[id].client_port));
    let client = ClusterClientBuilder::new(nodes).response_timeout(PATIENCE).build().expect("a client");
    client.get_connection().expect("the nodes answer")
}

#[test]
fn a_client_goes_on_after_the_leader_dies() {
    let mut cluster = Processes::start_with(3, &["--redirect"]);
    let (leader, followers) = cluster.roles();
    let mut client = connect_to(&cluster, &followers);
    let mut acknowledged = 0;
    let mut add = |client: &mut ClusterConnection| -> Option<u64> {
        let count = cmd("INCR").arg(KEY).query(client).ok()?;
        assert!(count > acknowledged, "{count} after {acknowledged}");
        acknowledged = count;
        Some(count)
    };
    for _ in 0..50 {
        add(&mut client).expect("a leader serves");
    }
    cluster.take(leader).kill();
    let after = eventually(PATIENCE, || {
        let count = add(&mut client);
        if count.is_none() {
            // This client repeats a command on a dead node only. The nodes that live do not send it there.
            client = connect_to(&cluster, &followers);
        }
        count
    });
    assert!(after >= Some(51), "no acknowledged write is lost: {after:?}");
    for _ in 0..50 {
        eventually(PATIENCE, || add(&mut client)).expect("the new leader serves");
    }
}
