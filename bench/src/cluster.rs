//! Three `leasehold serve` processes on loopback, each with its own folder.

use crate::children::{Folder, Running, free_ports, server_binary};
use crate::stopwatch::Stopwatch;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// The most attempts to find a leader, 50 ms apart.
const MAX_ATTEMPTS: usize = 200;

/// The time that nodes have to begin or to end reading locally.
const READERS_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running cluster; dropping it kills it.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    _folder: Folder,
}

/// A node of a cluster.
pub(crate) struct Node {
    process: Running,
    /// The port on which clients reach it.
    pub(crate) port: u16,
}

/// Counters of a cluster: the sums of those of its nodes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Reads answered under a lease, by the leader or at an index that it granted.
    pub(crate) by_lease: u64,
    /// Reads answered by subleases.
    pub(crate) local: u64,
    /// Reads answered after a quorum round, and failed ones.
    pub(crate) otherwise: u64,
    /// Frames that the nodes sent to each other.
    pub(crate) frames: u64,
    /// The highest term of a node.
    pub(crate) term: u64,
}

/// The resources that a process has used so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds of processor time.
    pub(crate) cpu: f64,
    /// Resident memory, in MiB.
    pub(crate) resident: f64,
}

impl Cluster {
    /// Starts three nodes and waits for a leader.
    pub(crate) fn start(flags: &[&str]) -> Result<Cluster, String> {
        let binary = server_binary()?;
        let folder = Folder::new()?;
        let ports: [u16; 6] = free_ports()?;
        let peers: Vec<String> = (0..3).map(|at| format!("{}=127.0.0.1:{}", at + 1, ports[at])).collect();
        let mut nodes = Vec::new();
        for at in 0..3 {
            let mut command = Command::new(&binary);
            command
                .arg("serve")
                .args(["--id", &(at + 1).to_string(), "--peers", &peers.join(",")])
                .args(["--peer-listen", &format!("127.0.0.1:{}", ports[at])])
                .args(["--client-listen", &format!("127.0.0.1:{}", ports[at + 3])])
                .arg("--data-dir")
                .arg(folder.path().join(at.to_string()))
                .args(flags);
            let process = Running::start(&mut command, &folder.path().join(format!("{at}.log")))?;
            nodes.push(Node { process, port: ports[at + 3] });
        }
        let cluster = Cluster { nodes, _folder: folder };
        for _ in 0..MAX_ATTEMPTS {
            if cluster.leader_port().is_ok() {
                return Ok(cluster);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err("three nodes found no leader within 10 s".to_owned())
    }

    /// Spreads the leaders of the groups over the nodes, and waits until it is so.
    pub(crate) fn balance(&self) -> Result<(), String> {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let output = Command::new(server_binary()?)
            .args(["ctl", "balance", "--node", &nodes.join(",")])
            .output()
            .map_err(|error| format!("leasehold ctl balance: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("leasehold ctl balance failed: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Returns the leader.
    pub(crate) fn leader(&self) -> Result<&Node, String> {
        self.nodes.iter().find(|node| node.leads()).ok_or_else(|| "the cluster has no leader".to_owned())
    }

    /// Returns the port on which clients reach the leader.
    pub(crate) fn leader_port(&self) -> Result<u16, String> {
        Ok(self.leader()?.port)
    }

    /// Returns the nodes that do not lead.
    pub(crate) fn followers(&self) -> Result<[&Node; 2], String> {
        let leader = self.leader()?.port;
        let followers: Vec<&Node> = self.nodes.iter().filter(|node| node.port != leader).collect();
        followers.try_into().map_err(|_| "a node is missing".to_owned())
    }

    /// Returns the leader's port and its term.
    pub(crate) fn leadership(&self) -> Result<(u16, u64), String> {
        let leader = self.leader()?;
        Ok((leader.port, leader.info()?.number("term")?))
    }

    /// Makes the first followers answer reads by subleases, and the others not, and waits until it is so.
    pub(crate) fn set_readers(&self, readers: usize) -> Result<(), String> {
        for (at, node) in self.followers()?.iter().enumerate() {
            let switch = if at < readers { "ON" } else { "OFF" };
            let reply = ask(node.port, &format!("LEASEHOLD LOCALREADS {switch}"))?;
            if !reply.starts_with("+OK") {
                return Err(format!("LEASEHOLD LOCALREADS {switch} was refused: {reply}"));
            }
        }
        let watch = Stopwatch::start();
        while watch.elapsed() < READERS_TIMEOUT {
            if self.check_readers(readers).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        self.check_readers(readers)
    }

    /// Checks that so many followers have subleases now. A load that keeps a follower behind costs it its own.
    pub(crate) fn check_readers(&self, readers: usize) -> Result<(), String> {
        let mut valid = 0;
        for node in self.followers()? {
            valid += node.info()?.number("sublease_valid")? as usize;
        }
        let lent = self.leader()?.info()?.number("obligations")? as usize;
        if valid == readers && lent == readers {
            return Ok(());
        }
        Err(format!("{readers} of the followers should have subleases, but {valid} do, and the leader has lent {lent}"))
    }

    /// Returns the counters of the nodes.
    pub(crate) fn counts(&self) -> Result<Counts, String> {
        let mut counts = Counts::default();
        for node in &self.nodes {
            let info = node.info()?;
            counts.by_lease += info.number("reads_lease")?;
            counts.local += info.number("reads_local")?;
            counts.otherwise += info.number("reads_quorum")? + info.number("reads_failed")?;
            counts.frames += info.number("frames_sent")?;
            counts.term = counts.term.max(info.number("term")?);
        }
        Ok(counts)
    }

    /// Returns the processor time of all nodes so far.
    pub(crate) fn processor_seconds(&self) -> Result<f64, String> {
        Ok(self.usage()?.iter().map(|node| node.cpu).sum())
    }

    /// Returns the resources that each node has used so far.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>, String> {
        let usage = self.nodes.iter().map(|node| process_usage(node.process.id()));
        usage.collect::<Option<_>>().ok_or_else(|| "a node ended, or this system has no /proc".to_owned())
    }
}

impl Node {
    /// Kills it.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    fn leads(&self) -> bool {
        self.info().is_ok_and(|info| info.0.contains("role:leader"))
    }

    fn info(&self) -> Result<Info, String> {
        ask(self.port, "INFO lease links").map(Info)
    }
}

/// A reply to `INFO`.
struct Info(String);

impl Info {
    fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
        value.ok_or_else(|| format!("INFO has no {name}: {}", self.0))
    }
}

/// Returns the reply to a command, and to the `QUIT` after it.
fn ask(port: u16, command: &str) -> Result<String, String> {
    let answer = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().map_err(|error: std::io::Error| format!("a node does not answer {command}: {error}"))
}

/// Returns the figures of `/proc`, or `None` on a system without it.
fn process_usage(id: u32) -> Option<Usage> {
    // `/proc/ID/stat` counts processor time in ticks of 10 ms, which is too coarse for short runs.
    let mut nanos = 0_u64;
    fs::metadata(format!("/proc/{id}/task/{id}/schedstat")).ok()?;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        // A thread may end meanwhile.
        if let Ok(schedstat) = fs::read_to_string(thread.ok()?.path().join("schedstat")) {
            nanos += schedstat.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Usage { cpu: nanos as f64 / 1e9, resident: kibibytes / 1024.0 })
}
