//! The runbook of `docs/operations.md`, executed step by step on real processes under load. Each step prints its commands
//! and what `leasehold ctl status` says, and checks the result.

use crate::fleet::{Counts, Fleet};
use crate::processes::{PATIENCE, Process, Recipe, binary, connect, eventually, free_port};
use redis::cmd;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// The key whose value follows the cluster through all steps.
const WITNESS: &str = "witness";

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hold of the nodes, in milliseconds.
    pub hold_ms: u64,
    /// The runtime of the nodes.
    pub runtime: String,
    /// The pause after each step, in which clients go on.
    pub pause: Duration,
}

/// Executes the runbook, and returns what the clients counted.
///
/// # Panics
/// If a step fails.
pub fn run(options: &Options) -> Counts {
    let hold = options.hold_ms.to_string();
    let heartbeat = (options.hold_ms / 10).max(1).to_string();
    let flags = ["--runtime", &options.runtime, "--hold-ms", &hold, "--heartbeat-ms", &heartbeat];
    title("Found a cluster of three");
    let fleet = Fleet::found(3, &flags);
    let mut book = Runbook { fleet, pause: options.pause };
    for node in 1..=3 {
        book.show_start(node);
    }
    book.healthy(&[1, 2, 3]);
    book.set("found");

    title("Grow to five: one node that votes, and one that learns first");
    book.launch(4);
    book.ctl(&format!("add 4 {}", book.fleet.address(4)));
    book.launch(5);
    book.ctl(&format!("add 5 {} --learner", book.fleet.address(5)));
    book.ctl("promote 5");
    book.healthy(&[1, 2, 3, 4, 5]);
    book.expect("found");

    title("Replace a node whose machine is lost");
    let lost = book.fleet.cluster.roles().1[0];
    book.kill(lost);
    book.fleet.until_status("DEGRADED", &format!("leasehold ctl replace {lost} 6 HOST:PORT"));
    book.status();
    book.launch(6);
    book.ctl(&format!("replace {lost} 6 {}", book.fleet.address(6)));
    let mut members: Vec<u64> = (1..=6).filter(|node| *node != lost).collect();
    book.healthy(&members);
    book.expect("found");
    book.set("replaced");

    title("Upgrade: restart one node after the other, the leader last");
    let (leader, others) = book.fleet.cluster.roles();
    for node in others.into_iter().chain([leader]) {
        if node == leader {
            let to = members.iter().find(|member| **member != leader).expect("there are others");
            book.ctl(&format!("transfer {to}"));
        }
        book.restart(node);
        book.fleet.until_status("HEALTHY", "");
    }
    book.healthy(&members);
    book.expect("replaced");

    title("Back up, and restore into a new cluster");
    book.back_up_and_restore("replaced");
    book.healthy(&members);

    title("Shrink to three, and remove the leader on the way");
    let (leader, others) = book.fleet.cluster.roles();
    for node in [others[0], leader] {
        members.retain(|member| *member != node);
        book.serve(&members);
        book.ctl(&format!("remove {node}"));
        book.fleet.until_removed(node);
        say(&format!("node {node} has stopped with exit code 3"));
    }
    book.healthy(&members);
    book.expect("replaced");

    title("Lose the quorum, and get it back");
    let stopped = book.fleet.cluster.roles().1;
    stopped.iter().for_each(|node| book.kill(*node));
    book.fleet.until_status("NO LEADER", "of 3 voters 1 answer, and 2 are needed");
    book.status();
    stopped.iter().for_each(|node| book.start(*node));
    book.healthy(&members);
    book.expect("replaced");

    title("Result");
    let counts = book.fleet.finish();
    let Counts { reads, writes, uncertain, stale, lost } = counts;
    println!("reads {reads}, writes {writes}, of unknown outcome {uncertain}, stale reads {stale}, lost writes {lost}");
    counts
}

fn title(text: &str) {
    println!("\n== {text}\n");
}

fn say(text: &str) {
    println!("({text})");
}

struct Runbook {
    fleet: Fleet,
    pause: Duration,
}

impl Runbook {
    /// Prints the command with which a node was started.
    fn show_start(&self, node: u64) {
        let recipe = &self.fleet.cluster.recipes[&node];
        let peers: Vec<_> = recipe.peers.iter().map(|(peer, address)| format!("{peer}={address}")).collect();
        println!(
            "$ leasehold serve --id {node} --peers {} --peer-listen 127.0.0.1:{} --client-listen 127.0.0.1:{} ...",
            peers.join(","),
            recipe.peer_port,
            recipe.client_port
        );
    }

    fn launch(&mut self, node: u64) {
        self.fleet.launch(node);
        self.show_start(node);
    }

    fn start(&mut self, node: u64) {
        self.fleet.cluster.start_node(node);
        self.show_start(node);
    }

    fn kill(&mut self, node: u64) {
        println!("$ kill -9 {} # node {node}", self.fleet.cluster.process(node).id());
        self.fleet.cluster.take(node).kill();
    }

    fn restart(&mut self, node: u64) {
        println!("$ kill {} # node {node}", self.fleet.cluster.process(node).id());
        let status = self.fleet.cluster.take(node).terminate();
        assert!(status.success(), "node {node} ended with {status}");
        self.start(node);
    }

    fn ctl(&self, line: &str) {
        println!("$ leasehold ctl {line}");
        print!("{}", self.fleet.must(line));
    }

    fn status(&self) {
        println!("$ leasehold ctl status");
        print!("{}", self.fleet.ctl(&["status"]).output);
    }

    fn serve(&self, nodes: &[u64]) {
        self.fleet.serve(nodes);
    }

    /// Waits until these voters are the members and all is well, and shows that.
    fn healthy(&self, voters: &[u64]) {
        self.fleet.until_voters(voters);
        self.fleet.until_status("HEALTHY", "");
        self.serve(voters);
        self.status();
        std::thread::sleep(self.pause);
    }

    fn set(&self, value: &str) {
        let node = self.fleet.cluster.leader();
        self.fleet.cluster.repeat(node, cmd("SET").arg(WITNESS).arg(value))
    }

    /// Checks the witness on every node.
    fn expect(&self, value: &str) {
        for node in self.fleet.cluster.running() {
            let found: Option<String> = self.fleet.cluster.repeat(node, cmd("GET").arg(WITNESS));
            assert_eq!(found.as_deref(), Some(value), "on node {node}");
        }
        say("every node returns the value that was written before");
    }

    /// Takes a backup of the cluster, and starts a new one of a single node with it.
    fn back_up_and_restore(&self, value: &str) {
        let recipes = &self.fleet.cluster.recipes;
        let from = format!("127.0.0.1:{}", recipes[&self.fleet.cluster.leader()].client_port);
        let folder = self.fleet.cluster.folder();
        let (file, data_dir) = (folder.join("orchard.backup"), folder.join("restored"));
        let (client_port, peer_port) = (free_port(), free_port());
        let address = format!("127.0.0.1:{peer_port}");
        let path = |path: &std::path::Path| path.display().to_string();
        execute(&["backup", "--from", &from, "--to", &path(&file)]);
        let peers = format!("1={address}");
        let (file, folder_name) = (path(&file), path(&data_dir));
        let flags = ["--id", "1", "--peers", &peers, "--cluster", "restored", "--data-dir", &folder_name];
        execute(&[&["restore", "--from", &file][..], &flags].concat());
        let recipe = Recipe {
            id: 1,
            cluster: "restored".to_owned(),
            peers: BTreeMap::from([(1, address)]),
            client_port,
            peer_port,
            data_dir,
            log: folder.join("restored.log"),
            ..recipes.values().next().expect("a node").clone()
        };
        let process: Process = recipe.start();
        let read = || cmd("GET").arg(WITNESS).query(&mut connect(client_port, 2).ok()?).ok();
        let found: Option<String> = eventually(PATIENCE, read).expect("the new cluster answers");
        assert_eq!(found.as_deref(), Some(value));
        say("the new cluster has the value that was written before the backup");
        process.terminate();
    }
}

/// Runs the binary, which must succeed.
fn execute(arguments: &[&str]) {
    println!("$ leasehold {}", arguments.join(" "));
    let output = Command::new(binary()).args(arguments).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    print!("{text}");
    assert!(output.status.success(), "{arguments:?}: {text}");
}
