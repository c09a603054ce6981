//! Clients that are not written in Rust. Tests with one that is not installed are skipped.

use leasehold_tests::processes::{PATIENCE, Processes, eventually};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns the folder of the clients' programs.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis_cluster"))
}

/// Returns true if a program runs and succeeds.
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a client's program, which increments the key `n` until it has done so 100 times after the leader was killed. It
/// prints a line once it has begun, and one with the acknowledged increments at its end.
fn goes_on_after_the_leader_dies(program: &str, script: &str, flags: &[&str]) {
    let mut cluster = Processes::start_with(3, flags);
    let (leader, followers) = cluster.roles();
    let ports = cluster.recipes.values().map(|recipe| recipe.client_port.to_string());
    let mut client = Command::new(program)
        .arg(folder().join(script))
        .arg(cluster.recipes[&leader].client_port.to_string())
        .args(ports)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(client.stdout.take().expect("standard output is piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    assert_eq!(line(), "begun");
    cluster.take(leader).kill();
    let ended = line();
    assert!(client.wait().expect("it ends").success(), "{ended}");
    let acknowledged: u64 = ended.parse().unwrap_or_else(|_| panic!("not a number: {ended}"));
    // The key is in group 0, whose leader this is.
    let mut connection = cluster.connect(cluster.leader());
    let counted: u64 = redis::cmd("GET").arg("n").query(&mut connection).expect("the leader answers");
    // It may repeat some whose connection was lost, although they were executed.
    assert!((acknowledged..=acknowledged + 20).contains(&counted), "{counted} of {acknowledged} acknowledged");
    assert_eq!(cluster.running(), followers);
}

#[test]
fn redis_py_goes_on_after_the_leader_dies() {
    if !succeeds("python3", &["-c", "from redis.cluster import RedisCluster"]) {
        return println!("skipped: python3 has no redis-py (pip install redis)");
    }
    for flags in [&["--redirect"][..], &[], &["--redirect", "--groups", "4"]] {
        goes_on_after_the_leader_dies("python3", "client.py", flags);
    }
}

#[test]
fn ioredis_goes_on_after_the_leader_dies() {
    if !succeeds("node", &["-e", "require('ioredis').Cluster"]) {
        return println!("skipped: node has no ioredis (npm install ioredis, and its folder in NODE_PATH)");
    }
    for flags in [&["--redirect"][..], &[], &["--redirect", "--groups", "4"]] {
        goes_on_after_the_leader_dies("node", "client.js", flags);
    }
}

#[test]
fn redis_cli_follows_redirections_and_finds_the_cluster_complete() {
    if !succeeds("redis-cli", &["--version"]) {
        return println!("skipped: redis-cli is not installed; on Debian: apt-get install redis-tools");
    }
    let mut cluster = Processes::start_with(3, &["--redirect"]);
    let cli = |port: u16, words: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ports = |cluster: &Processes| -> Vec<u16> {
        cluster.running().iter().map(|id| cluster.recipes[id].client_port).collect()
    };
    for (number, port) in (0..).zip(ports(&cluster)) {
        let value = format!("v{number}");
        assert_eq!(cli(port, &["-c", "set", "foo", &value]), "OK\n");
        assert_eq!(cli(port, &["-c", "get", "foo"]), format!("{value}\n"));
    }
    let any = ports(&cluster)[0];
    let complete = eventually(PATIENCE, || {
        let checked = cli(any, &["--cluster", "check", &format!("127.0.0.1:{any}")]);
        let says = |text: &str| checked.contains(text).then_some(());
        says("All nodes agree about slots configuration").and(says("All 16384 slots covered"))
    });
    complete.expect("the nodes agree once they are connected");
    let leader = cluster.leader();
    cluster.take(leader).kill();
    for port in ports(&cluster) {
        // Its node waits for the new leader, or names it.
        let got = eventually(PATIENCE, || (cli(port, &["-c", "get", "foo"]) == "v2\n").then_some(()));
        got.expect("the value");
    }
}
