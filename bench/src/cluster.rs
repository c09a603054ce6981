//! Three `leasehold serve` processes on loopback, each with its own folder.

use crate::children::{Folder, Running, free_ports, server_binary};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// The most attempts to find a leader, 50 ms apart.
const MAX_ATTEMPTS: usize = 200;

/// A running cluster; dropping it kills it.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    _folder: Folder,
}

struct Node {
    process: Running,
    port: u16,
}

/// The lease counters of a cluster.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reads {
    /// Reads answered under a lease.
    pub(crate) by_lease: u64,
    /// Reads answered after a quorum round, and failed ones.
    pub(crate) otherwise: u64,
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
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("three nodes found no leader within 10 s".to_owned())
    }

    /// Returns the port on which clients reach the leader.
    pub(crate) fn leader_port(&self) -> Result<u16, String> {
        self.nodes
            .iter()
            .map(|node| node.port)
            .find(|port| info(*port).is_some_and(|info| info.contains("role:leader")))
            .ok_or_else(|| "the cluster has no leader".to_owned())
    }

    /// Returns the sum of the nodes' lease counters.
    pub(crate) fn reads(&self) -> Result<Reads, String> {
        let mut reads = Reads::default();
        for node in &self.nodes {
            let info = info(node.port).ok_or("a node does not answer INFO")?;
            let field = |name: &str| -> Result<u64, String> {
                let value =
                    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
                value.ok_or_else(|| format!("INFO lease has no {name}: {info}"))
            };
            reads.by_lease += field("reads_lease")?;
            reads.otherwise += field("reads_quorum")? + field("reads_failed")?;
            reads.term = reads.term.max(field("term")?);
        }
        Ok(reads)
    }

    /// Returns what each node has used so far.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        self.nodes.iter().filter_map(|node| process_usage(node.process.id())).collect()
    }
}

fn info(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"INFO lease\r\nQUIT\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Returns the figures of `/proc`, or `None` on a system without it.
fn process_usage(id: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold spaces; user and system time are fields 14 and 15, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Usage { cpu: ticks / 100.0, resident: kibibytes / 1024.0 })
}
