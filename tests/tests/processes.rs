//! Clusters of three real processes under restarts, `kill -9` and bad input, tested with a real Redis client.

use leasehold::demo::load::{Connect, Load, Store};
use leasehold_tests::processes::{
    PATIENCE, Processes, Recipe, RedisStore, STEADY, binary, connect, eventually, free_port, lease_info, now,
};
use redis::{Connection, RedisError, Value, cmd};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const LARGEST_VALUE: usize = 16 << 20;

/// Runs a command given as its words.
fn run(connection: &mut Connection, line: &str) -> Result<Value, RedisError> {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(connection)
}

fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::BulkString(text.as_ref().to_vec())
}

fn error_of(outcome: Result<Value, RedisError>) -> String {
    match outcome {
        // The client removes the code from the message.
        Err(error) => format!("{} {}", error.code().unwrap_or("-"), error.detail().unwrap_or_default()),
        Ok(value) => panic!("expected an error, got {value:?}"),
    }
}

#[test]
fn every_command_works_through_every_node_in_both_protocols() {
    let cluster = Processes::start_with(3, &STEADY);
    let array = |values: Vec<Value>| Value::Array(values);
    for (id, protocol) in [(1, 2), (1, 3), (2, 2), (2, 3), (3, 2), (3, 3)] {
        let mut client = connect(cluster.recipes[&id].client_port, protocol).expect("the node accepts clients");
        for (line, expected) in [
            ("FLUSHALL", Value::Okay),
            ("PING", Value::SimpleString("PONG".to_owned())),
            ("PING hello", bulk("hello")),
            ("ECHO hello", bulk("hello")),
            ("SELECT 0", Value::Okay),
            ("DBSIZE", Value::Int(0)),
            ("GET k", Value::Nil),
            ("SET k v", Value::Okay),
            ("GET k", bulk("v")),
            ("SET k w NX", Value::Nil),
            ("SET k w XX GET", bulk("v")),
            ("SET other w XX", Value::Nil),
            ("APPEND k xyz", Value::Int(4)),
            ("STRLEN k", Value::Int(4)),
            ("STRLEN none", Value::Int(0)),
            ("INCR n", Value::Int(1)),
            ("INCRBY n 41", Value::Int(42)),
            ("DECR n", Value::Int(41)),
            ("DECRBY n 42", Value::Int(-1)),
            ("MSET a 1 b 2", Value::Okay),
            ("MGET a none b", array(vec![bulk("1"), Value::Nil, bulk("2")])),
            ("EXISTS a b none a", Value::Int(3)),
            ("KEYS [ac]", array(vec![bulk("a")])),
            ("DBSIZE", Value::Int(4)),
            ("DEL a b none", Value::Int(2)),
            ("EXISTS a", Value::Int(0)),
            ("CLIENT SETNAME tester", Value::Okay),
            ("CLIENT GETNAME", bulk("tester")),
        ] {
            assert_eq!(run(&mut client, line), Ok(expected), "{line:?} through node {id} in RESP{protocol}");
        }
        let hello: Vec<(String, Value)> = cmd("HELLO").arg(protocol).query(&mut client).expect("HELLO is answered");
        assert!(hello.contains(&("proto".to_owned(), Value::Int(i64::from(protocol)))), "{hello:?}");
        let setting: Vec<(String, String)> =
            cmd("CONFIG").arg("GET").arg("maxmem*").query(&mut client).expect("settings");
        assert!(setting.contains(&("maxmemory".to_owned(), "0".to_owned())), "{setting:?}");
        let count: i64 = cmd("COMMAND").arg("COUNT").query(&mut client).expect("a count");
        let commands: Vec<Value> = cmd("COMMAND").query(&mut client).expect("the commands");
        assert_eq!(commands.len() as i64, count);
        let info: String = cmd("INFO").query(&mut client).expect("INFO is answered");
        for section in ["# Server", "# Clients", "# Replication", "# Lease", "# Keyspace"] {
            assert!(info.contains(section), "{info}");
        }
        assert_eq!(run(&mut client, "QUIT"), Ok(Value::Okay));
    }
}

#[test]
fn pipelines_read_their_own_writes_and_data_is_binary_safe() {
    let cluster = Processes::start_with(3, &STEADY);
    let all_bytes: Vec<u8> = (0..=255).collect();
    for id in cluster.running() {
        let mut client = cluster.connect(id);
        for round in 0..50_i64 {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SET").arg("k").arg(round).ignore();
            pipeline.cmd("GET").arg("k");
            pipeline.cmd("INCRBY").arg("k").arg(1000).ignore();
            pipeline.cmd("SET").arg(&all_bytes).arg(round).ignore();
            pipeline.cmd("MGET").arg("k").arg(&all_bytes);
            let (alone, together): (i64, (i64, i64)) = pipeline.query(&mut client).expect("a pipeline is answered");
            assert_eq!((alone, together), (round, (round + 1000, round)), "node {id}");
        }
        let mut pipeline = redis::pipe();
        (0..5_000).for_each(|number| {
            pipeline.cmd("SET").arg(format!("{id}:{number}")).arg(number).ignore();
        });
        (0..5_000).for_each(|number| {
            pipeline.cmd("GET").arg(format!("{id}:{number}"));
        });
        let values: Vec<i64> = pipeline.query(&mut client).expect("a long pipeline is answered");
        assert_eq!(values, (0..5_000).collect::<Vec<i64>>());
    }
    // A client of another node reads each value immediately after the write.
    let (mut writer, mut reader) = (cluster.connect(1), cluster.connect(2));
    for round in 0..100_u8 {
        cmd("SET").arg(&all_bytes).arg(&[0, round, 255]).exec(&mut writer).expect("the write is acknowledged");
        let seen: Vec<u8> = cmd("GET").arg(&all_bytes).query(&mut reader).expect("the read is answered");
        assert_eq!(seen, [0, round, 255]);
    }
}

#[test]
fn accepts_values_up_to_sixteen_mebibytes() {
    let mut cluster = Processes::start_with(3, &STEADY);
    let (leader, followers) = cluster.roles();
    let value = |length: usize| (0..length).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    for writer in [leader, followers[0]] {
        for length in [1 << 20, LARGEST_VALUE] {
            let value = value(length);
            cmd("SET").arg("large").arg(&value).exec(&mut cluster.connect(writer)).expect("the write is acknowledged");
            for reader in [leader, followers[1]] {
                let read: Vec<u8> =
                    cmd("GET").arg("large").query(&mut cluster.connect(reader)).expect("the read is answered");
                assert!(read == value, "{length} bytes written through {writer} and read through {reader} differ");
            }
        }
        let mut client = cluster.connect(writer);
        let refusal = error_of(cmd("SET").arg("large").arg(value(LARGEST_VALUE + 1)).query(&mut client));
        assert!(refusal.contains("16777217 bytes exceeds 16777216 bytes"), "{refusal}");
        let refusal = error_of(cmd("APPEND").arg("large").arg("x").query(&mut client));
        assert!(refusal.contains("exceeds maximum allowed size"), "{refusal}");
        assert_eq!(
            run(&mut client, "STRLEN large"),
            Ok(Value::Int(LARGEST_VALUE as i64)),
            "the connection is still usable"
        );
    }
    assert!(cluster.all_run());
}

#[test]
fn info_lease_reports_the_leader_and_read_counters() {
    let cluster = Processes::start_with(3, &STEADY);
    let (leader, followers) = cluster.roles();
    for id in [leader, followers[0]] {
        let mut client = cluster.connect(id);
        assert_eq!(run(&mut client, "SET k v"), Ok(Value::Okay));
        for _ in 0..10 {
            assert_eq!(run(&mut client, "GET k"), Ok(bulk("v")));
        }
    }
    let number = |info: &std::collections::BTreeMap<String, String>, field: &str| -> u64 {
        info[field].parse().unwrap_or_else(|_| panic!("{field}:{} is not a number", info[field]))
    };
    let lead = lease_info(&mut cluster.connect(leader));
    assert_eq!(
        (lead["role"].as_str(), lead["lease_valid"].as_str(), lead["runtime"].as_str()),
        ("leader", "1", "tokio")
    );
    assert!((1..4_000_000).contains(&number(&lead, "lease_remaining_us")));
    assert!(number(&lead, "reads_lease") >= 10);
    let follow = lease_info(&mut cluster.connect(followers[0]));
    assert_eq!((follow["role"].as_str(), follow["lease_valid"].as_str()), ("follower", "0"));
    assert_eq!(number(&follow, "lease_remaining_us"), 0);
    assert!(number(&follow, "reads_forwarded") >= 10);
    for (id, info) in [(leader, &lead), (followers[0], &follow)] {
        assert_eq!(number(info, "writes_acknowledged"), 1, "the write of its own client");
        assert_eq!((number(info, "node_id"), number(info, "leader_id")), (id, leader));
        assert_eq!(number(info, "term"), number(&lead, "term"));
        assert_eq!((number(info, "reads_quorum"), number(info, "reads_failed")), (0, 0));
        assert!(number(info, "commit_index") >= 2 && number(info, "applied_index") >= 2);
    }
}

/// Runs writers and readers on every node while `kills` leaders are killed and restarted from disk. A leader is killed
/// half a `pause` after the previous restart, and restarted half a `pause` later.
fn survives_killed_leaders(flags: &[&str], kills: u32, pause: Duration) {
    let mut cluster = Processes::start_with(3, flags);
    let ports: Vec<u16> = cluster.recipes.values().map(|recipe| recipe.client_port).collect();
    let connect: Arc<Connect> = {
        let store = move |node: usize| connect(ports[node], 2).map(RedisStore);
        Arc::new(move |node| Ok(Box::new(store(node).map_err(std::io::Error::other)?) as Box<dyn Store>))
    };
    let load = Load::start("k".to_owned(), 3, 6, connect).expect("threads for the clients");
    for _ in 0..kills {
        std::thread::sleep(pause / 2);
        let leader = cluster.leader();
        cluster.take(leader).kill();
        std::thread::sleep(pause / 2);
        cluster.start_node(leader);
    }
    cluster.leader();
    std::thread::sleep(pause / 2);
    let (tally, keys) = load.finish();
    assert_eq!((tally.violations, tally.stale), (Vec::new(), 0));
    assert!(
        tally.reads.len() > 100 && tally.writes.len() > 10,
        "{} reads, {} writes",
        tally.reads.len(),
        tally.writes.len()
    );
    for id in cluster.running() {
        let lost = eventually(PATIENCE, || keys.count_lost(&mut RedisStore(cluster.connect(id))).ok());
        assert_eq!(lost, Some(0), "acknowledged writes missing, as seen through node {id}");
    }
    assert!(cluster.all_run());
}

#[test]
fn killed_leaders_cause_no_lost_writes_and_no_stale_reads() {
    survives_killed_leaders(&[], 3, Duration::from_secs(3));
}

// The following tests take a minute and a half per runtime: cargo test -p leasehold-tests --test processes -- --ignored
// soak

#[test]
#[ignore = "takes a minute and a half"]
fn soak_killing_leaders_on_tokio() {
    survives_killed_leaders(&["--runtime", "tokio"], 20, Duration::from_secs(4));
}

#[test]
#[ignore = "takes a minute and a half"]
fn soak_killing_leaders_on_smol() {
    survives_killed_leaders(&["--runtime", "smol"], 20, Duration::from_secs(4));
}

#[test]
fn refuses_bad_commands_and_closes_only_connections_with_invalid_bytes() {
    let mut cluster = Processes::start_with(3, &STEADY);
    for id in cluster.running() {
        let mut client = cluster.connect(id);
        assert_eq!(run(&mut client, "SET text abc"), Ok(Value::Okay));
        for (line, said) in [
            ("NOSUCH a", "unknown command 'NOSUCH'"),
            ("GET", "wrong number of arguments for 'get' command"),
            ("SET k", "wrong number of arguments for 'set' command"),
            ("INCR text", "value is not an integer or out of range"),
            ("INCRBY text 1.5", "value is not an integer or out of range"),
            ("SELECT 1", "DB index is out of range"),
            ("SET k v EX 0", "invalid expire time in 'set' command"),
            ("CONFIG SET nosuch x", "Unknown option or number of arguments for CONFIG SET"),
        ] {
            let error = error_of(run(&mut client, line));
            assert!(error.starts_with("ERR ") && error.contains(said), "{line:?}: {error}");
        }
        let port = cluster.recipes[&id].client_port;
        for (garbage, said) in [
            (&b"*2\r\n$3\r\nGET\r\n:5\r\n"[..], "-ERR Protocol error: expected '$', got ':'"),
            (b"*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length"),
            (b"\x00\x01\x02\xff\r\n", "-ERR unknown command"),
        ] {
            let answer = exchange(port, garbage);
            assert!(answer.starts_with(said), "{answer:?}");
        }
        assert_eq!(exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "", "an HTTP request");
        // A peer port survives arbitrary bytes from an unknown client.
        exchange(cluster.recipes[&id].peer_port, &[0xff; 4096]);
        exchange(cluster.recipes[&id].peer_port, b"PING\r\n");
        assert_eq!(run(&mut client, "GET text"), Ok(bulk("abc")));
    }
    assert!(cluster.all_run());
}

/// Sends bytes, closes the sending half of the connection, and returns the reply.
fn exchange(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
    stream.write_all(bytes).expect("the bytes are sent");
    // The node may have closed the connection already.
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn refuses_a_node_of_another_cluster_with_a_reason() {
    let mut cluster = Processes::start_with(3, &STEADY);
    let (leader, followers) = cluster.roles();
    let term = lease_info(&mut cluster.connect(leader))["term"].clone();
    cluster.take(followers[0]).kill();
    // It takes the place of a node that is down, whose number and address the others know.
    let mut stranger = cluster.recipes[&followers[0]].clone();
    stranger.cluster = "another".to_owned();
    stranger.data_dir = cluster.folder().join("another");
    stranger.log = cluster.folder().join("another.log");
    let _stranger = stranger.start();
    let said = eventually(PATIENCE, || {
        let logged = stranger.logged();
        logged.contains("give both the same --cluster").then_some(logged)
    });
    assert!(said.is_some(), "the refused node logs no reason: {}", stranger.logged());
    assert!(run(&mut connect(stranger.client_port, 2).expect("it accepts clients"), "SET k stranger").is_err());
    for id in cluster.running() {
        let mut client = cluster.connect(id);
        assert_eq!(run(&mut client, "INCR k"), Ok(Value::Int(if id == cluster.running()[0] { 1 } else { 2 })));
    }
    let info = lease_info(&mut cluster.connect(leader));
    assert_eq!((info["role"].as_str(), &info["term"]), ("leader", &term), "the cluster was not disturbed");
}

/// Returns the one-line error with which a node exits.
fn refusal(recipe: &Recipe, code: i32) -> String {
    let (status, said) = recipe.run();
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors[..] else { panic!("expected one error:\n{said}") };
    assert_eq!(said.lines().last(), Some(error), "the error comes last");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(status, Some(code), "{said}");
    error.to_owned()
}

#[test]
fn a_failed_start_prints_a_one_line_error() {
    let cluster = Processes::prepare(1, &[]);
    let good = &cluster.recipes[&1];
    let fresh = |name: &str| Recipe {
        data_dir: cluster.folder().join(name),
        log: cluster.folder().join(format!("{name}.log")),
        client_port: free_port(),
        peer_port: free_port(),
        ..good.clone()
    };
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("it has an address").port();
    for (recipe, whom) in [
        (Recipe { client_port: taken, ..fresh("client-port") }, "clients"),
        (Recipe { peer_port: taken, ..fresh("peer-port") }, "peers"),
    ] {
        let error = refusal(&recipe, 1);
        assert!(error.contains(&format!("cannot listen for {whom} on 127.0.0.1:{taken}")), "{error}");
        assert!(error.ends_with("choose another port, or stop the process that uses this one"), "{error}");
    }

    let foreign = fresh("foreign");
    std::fs::create_dir(&foreign.data_dir).expect("a folder");
    std::fs::write(foreign.data_dir.join("diary.txt"), "dear diary").expect("a file");
    let error = refusal(&foreign, 1);
    assert!(error.contains("diary.txt"), "{error}");

    let no_folder = fresh("no-folder");
    std::fs::write(&no_folder.data_dir, "a file").expect("a file");
    let error = refusal(&no_folder, 1);
    assert!(error.contains("cannot use the data folder") && error.contains("writable"), "{error}");

    let owner = fresh("owned");
    let process = owner.start();
    let second = Recipe { data_dir: owner.data_dir.clone(), ..fresh("second") };
    let error = refusal(&second, 1);
    assert!(error.contains("in use") && error.contains(&*owner.data_dir.to_string_lossy()), "{error}");
    assert!(process.terminate().success());
    let peers = [(1, owner.peers[&1].clone()), (2, "127.0.0.1:9".to_owned())].into();
    let other = Recipe { id: 2, peers, data_dir: owner.data_dir.clone(), ..fresh("other") };
    let error = refusal(&other, 1);
    assert!(error.contains("node 1") && error.contains("node 2"), "{error}");
    let renamed = Recipe { cluster: "renamed".to_owned(), data_dir: owner.data_dir.clone(), ..fresh("renamed") };
    let error = refusal(&renamed, 1);
    assert!(error.contains("\"renamed\"") || error.contains("renamed"), "{error}");

    for (flags, id, said) in [
        (&["--hold-ms", "0"][..], 1, "hold"),
        (&["--drift-ppm", "1000000"], 1, "drift"),
        (&["--heartbeat-ms", "0"], 1, "heartbeat"),
    ] {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let error = refusal(&Recipe { id, flags, ..fresh(&format!("flags-{said}")) }, 2);
        assert!(error.contains(said), "{error}");
    }
    let bare = Command::new(binary()).arg("serve").stdout(Stdio::null()).output().expect("the binary runs");
    assert_eq!(bare.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("--id"), "the missing flags are named");
}

#[test]
fn data_survives_an_orderly_shutdown() {
    let mut cluster = Processes::start_with(3, &STEADY);
    let mut client = cluster.connect(cluster.running()[0]);
    for number in 0..100 {
        assert_eq!(run(&mut client, &format!("SET k{number} {number}")), Ok(Value::Okay));
    }
    for id in cluster.running() {
        let status = cluster.take(id).terminate();
        assert_eq!(status.code(), Some(0), "node {id}: {}", cluster.recipes[&id].logged());
    }
    for id in [1, 2, 3] {
        cluster.start_node(id);
    }
    cluster.leader();
    for id in cluster.running() {
        let mut client = cluster.connect(id);
        for number in 0..100 {
            assert_eq!(run(&mut client, &format!("GET k{number}")), Ok(bulk(number.to_string())));
        }
    }
}

#[test]
fn a_leader_that_is_stopped_hands_over_and_no_command_fails() {
    let mut cluster = Processes::start_with(3, &STEADY);
    let (leader, followers) = cluster.roles();
    // The leader chooses a node that it has heard for a hold.
    std::thread::sleep(Duration::from_secs(6));
    let mut at_leader = cluster.connect(leader);
    let mut at_follower = cluster.connect(followers[0]);
    let refused = std::thread::spawn(move || {
        let mut answered = now();
        for number in 0.. {
            match run(&mut at_leader, &format!("SET a {number}")) {
                Ok(reply) => assert_eq!(reply, Value::Okay),
                outcome => return (error_of(outcome), answered.elapsed()),
            }
            answered = now();
        }
        unreachable!("the numbers do not end")
    });
    let running = Arc::new(());
    let watch = Arc::downgrade(&running);
    let written = std::thread::spawn(move || {
        let mut number = 0;
        while watch.upgrade().is_some() || number < 10 {
            assert_eq!(run(&mut at_follower, &format!("SET b {number}")), Ok(Value::Okay));
            assert_eq!(run(&mut at_follower, "GET b"), Ok(bulk(number.to_string())));
            number += 1;
        }
    });
    let status = cluster.take(leader).terminate();
    assert_eq!(status.code(), Some(0), "{}", cluster.recipes[&leader].logged());
    assert!(cluster.recipes[&leader].logged().contains("handed leadership over"));
    let (refused, after) = refused.join().expect("no panic");
    // The node refuses commands for a tenth of a second. A client that the machine did not run for as long sees the end.
    let starved = refused.starts_with("- ") && after >= Duration::from_millis(100);
    assert!(refused.starts_with("TRYAGAIN ") || starved, "{refused} after {after:?}");
    // It was not held when it stopped, so it may be elected at once.
    cluster.start_node(leader);
    drop(running);
    written.join().expect("every write through another node succeeded");
}

#[test]
fn requests_time_out_without_a_majority_and_succeed_again_with_one() {
    let mut cluster = Processes::start(3);
    for id in 1..=3 {
        cluster.take(id).terminate();
    }
    cluster.start_node(1);
    let started = now();
    let mut client = cluster.connect(1);
    let error = error_of(run(&mut client, "SET k v"));
    assert!(error.starts_with("TRYAGAIN "), "{error}");
    let took = started.elapsed();
    assert!(took > Duration::from_secs(4), "it took {took:?}");
    assert_eq!(run(&mut client, "PING"), Ok(Value::SimpleString("PONG".to_owned())));
    let info = lease_info(&mut client);
    assert_eq!((info["leader_id"].as_str(), info["lease_valid"].as_str()), ("0", "0"));
    cluster.start_node(2);
    cluster.leader();
    assert_eq!(run(&mut client, "SET k v NX"), Ok(Value::Okay), "the refused write was not executed");
    assert_eq!(run(&mut client, "GET k"), Ok(bulk("v")));
}
