//! A cluster of processes whose members change under load, administered with `leasehold ctl` alone.
//!
//! Clients write and read all the time through the nodes that are said to serve. They check every read for staleness, and
//! at the end every acknowledged write for loss.

use crate::processes::{PATIENCE, Processes, RedisStore, binary, connect, eventually};
use leasehold::demo::load::{Connect, Load, Store};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

/// The clients of the load.
const CLIENTS: usize = 4;
/// The slots over which clients are spread. Several may lead to the same node.
const SLOTS: usize = 12;

/// The reasons why nothing was changed that pass by themselves: a node has just started, or leadership moves.
const EARLY: [&str; 7] = [
    "heard lately",
    "is not transferred",
    "cannot be removed",
    "leads now",
    "did not take over",
    "does not answer",
    "no answer within",
];

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Told {
    /// The command line.
    pub line: String,
    /// Its exit code.
    pub code: Option<i32>,
    /// Its output.
    pub output: String,
    /// Its errors.
    pub errors: String,
}

/// The counts of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Answered reads.
    pub reads: u64,
    /// Acknowledged writes.
    pub writes: u64,
    /// Writes with an unknown outcome.
    pub uncertain: u64,
    /// Reads that returned an old value.
    pub stale: u64,
    /// Acknowledged writes that are missing.
    pub lost: u64,
}

/// A cluster, its clients and its operator.
pub struct Fleet {
    load: Option<Load>,
    /// The ports of the nodes that clients use.
    ports: Arc<Mutex<Vec<u16>>>,
    /// The processes.
    pub cluster: Processes,
}

impl Fleet {
    /// Starts the load on a running cluster.
    pub fn new(cluster: Processes) -> Fleet {
        let ports: Arc<Mutex<Vec<u16>>> = Arc::default();
        let shared = ports.clone();
        let dial: Arc<Connect> = Arc::new(move |slot| {
            let port = {
                let ports = shared.lock();
                ports[slot % ports.len()]
            };
            let store = connect(port, 2).map(RedisStore).map_err(std::io::Error::other)?;
            Ok(Box::new(store) as Box<dyn Store>)
        });
        let mut fleet = Fleet { load: None, ports, cluster };
        let running = fleet.cluster.running();
        fleet.serve(&running);
        fleet.load = Some(Load::start("k".to_owned(), SLOTS, CLIENTS, dial).expect("threads for the clients"));
        fleet
    }

    /// Founds a cluster, and starts the load.
    pub fn found(size: u64, flags: &[&str]) -> Fleet {
        Fleet::new(Processes::start_with(size, flags))
    }

    /// Sets the nodes that clients use from their next connection on.
    pub fn serve(&self, nodes: &[u64]) {
        *self.ports.lock() = nodes.iter().map(|node| self.cluster.recipes[node].client_port).collect();
    }

    /// Starts a node that waits until it is added.
    pub fn launch(&mut self, node: u64) {
        self.cluster.add_recipe(node);
        self.cluster.start_node(node);
    }

    /// Returns the address of a node for other nodes.
    pub fn address(&self, node: u64) -> String {
        format!("127.0.0.1:{}", self.cluster.recipes[&node].peer_port)
    }

    /// Runs `leasehold ctl`, with the addresses of all running nodes.
    pub fn ctl(&self, arguments: &[&str]) -> Told {
        let running = self.cluster.running();
        let nodes: Vec<_> =
            running.iter().map(|node| format!("127.0.0.1:{}", self.cluster.recipes[node].client_port)).collect();
        let output = Command::new(binary())
            .args(["ctl", "--node", &nodes.join(",")])
            .args(arguments)
            .env_remove("RUST_LOG")
            .output()
            .expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Told {
            line: format!("leasehold ctl {}", arguments.join(" ")),
            code: output.status.code(),
            output: text(output.stdout),
            errors: text(output.stderr),
        }
    }

    /// Runs `leasehold ctl`, which must succeed, and returns its output. It is repeated while it is too early for it.
    ///
    /// # Panics
    /// If it fails for another reason, or is early for too long.
    pub fn must(&self, line: &str) -> String {
        let mut last = String::new();
        let made = eventually(PATIENCE, || {
            let told = self.ctl(&line.split(' ').collect::<Vec<_>>());
            last = format!("{}{}", told.output, told.errors);
            let is_early = EARLY.iter().any(|reason| last.contains(reason));
            assert!(told.code == Some(0) || is_early, "{line}: {last}");
            (told.code == Some(0)).then_some(told.output)
        });
        made.unwrap_or_else(|| panic!("{line}: {last}\n{}", self.ctl(&["status"]).output))
    }

    /// Runs `leasehold ctl`, which must fail, and returns its errors.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn must_fail(&self, line: &str) -> String {
        let told = self.ctl(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(told.code, Some(1), "{line}: {}{}", told.output, told.errors);
        told.errors
    }

    /// Starts a node and adds it.
    pub fn add(&mut self, node: u64) {
        self.launch(node);
        self.must(&format!("add {node} {}", self.address(node)));
    }

    /// Returns what `ctl status --json` prints.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ctl(&["status", "--json"]).output).expect("JSON")
    }

    /// Returns the members with their parts, as the leader sees them.
    pub fn members(&self) -> BTreeMap<u64, String> {
        let status = self.status();
        let leader =
            status["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["node"] == status["leader"]));
        let members = leader.and_then(|leader| leader["members"].as_array()).cloned().unwrap_or_default();
        let member = |member: &Value| Some((member["node"].as_u64()?, member["part"].as_str()?.to_owned()));
        members.iter().filter_map(member).collect()
    }

    /// Waits until the members are exactly these voters, and all of them answer.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_voters(&self, voters: &[u64]) {
        let expected: BTreeMap<u64, String> = voters.iter().map(|node| (*node, "voter".to_owned())).collect();
        let reached = eventually(PATIENCE, || (self.members() == expected).then_some(()));
        assert!(reached.is_some(), "the members are not {voters:?}: {}", self.ctl(&["status"]).output);
    }

    /// Waits until the screen of `ctl status` begins with this verdict and contains this text, and returns it.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_status(&self, verdict: &str, text: &str) -> String {
        // Lines are wrapped between words.
        let flat = |screen: &str| screen.split_whitespace().collect::<Vec<_>>().join(" ");
        let screen = || {
            let screen = self.ctl(&["status"]).output;
            (screen.starts_with(verdict) && flat(&screen).contains(text)).then_some(screen)
        };
        eventually(PATIENCE, screen)
            .unwrap_or_else(|| panic!("not {verdict} with {text:?}: {}", self.ctl(&["status"]).output))
    }

    /// Waits until a node has stopped because it was removed, and checks its exit code and its last words.
    ///
    /// # Panics
    /// If it goes on, or ends differently.
    pub fn until_removed(&mut self, node: u64) {
        let mut process = self.cluster.take(node);
        let code = process.wait(PATIENCE).unwrap_or_else(|| panic!("node {node} does not stop")).code();
        let logged = self.cluster.recipes[&node].logged();
        assert_eq!(code, Some(3), "node {node}: {logged}");
        assert!(logged.contains("this node was removed from its cluster, so it stops for good"), "{logged}");
    }

    /// Ends the load, and checks every write and every read.
    ///
    /// # Panics
    /// If a process panicked, or no write or read succeeded.
    pub fn finish(mut self) -> Counts {
        let leader = self.cluster.leader();
        let (tally, keys) = self.load.take().expect("it runs").finish();
        let mut store = RedisStore(self.cluster.connect(leader));
        let lost = eventually(PATIENCE, || keys.count_lost(&mut store).ok()).expect("the leader answers");
        let mut text = String::new();
        tally.violations.iter().for_each(|violation| {
            let _ = writeln!(text, "{violation}");
        });
        let (reads, writes) = (tally.reads.len(), tally.writes.len());
        let counts = Counts { reads, writes, uncertain: tally.uncertain, stale: tally.stale, lost };
        assert!(reads > 0 && writes > 0, "{counts:?}");
        assert!(text.is_empty(), "{counts:?}: {text}");
        counts
    }

    /// Ends the load. No read may have been stale, and no acknowledged write may be missing.
    ///
    /// # Panics
    /// If one was.
    pub fn finish_well(self) {
        let counts = self.finish();
        eprintln!("{counts:?}");
        assert_eq!((counts.stale, counts.lost), (0, 0), "{counts:?}");
    }
}
