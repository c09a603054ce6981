//! Three `leasehold serve` processes on loopback, each with a folder of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long to wait for a leader, in tries of 50 ms.
const TRIES: usize = 200;

/// A running cluster; dropping it kills it.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    _folder: TempDir,
}

struct Node {
    process: Child,
    port: u16,
}

/// What processes have used so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds of processor time, all nodes together.
    pub(crate) cpu: f64,
    /// Mebibytes resident, of the node that has most.
    pub(crate) resident: f64,
}

/// Builds the server as it is released, and says where it is.
pub(crate) fn server_binary() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "--quiet", "-p", "leasehold"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("cannot build the server; see above".to_owned());
    }
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let target =
        here.ancestors().find(|path| path.join("release").is_dir()).ok_or("no target folder above this program")?;
    Ok(target.join("release").join("leasehold"))
}

impl Cluster {
    /// Starts three nodes and waits until one leads with a lease.
    pub(crate) fn start(flags: &[&str]) -> Result<Cluster, String> {
        let binary = server_binary()?;
        let text = |error: std::io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(text)?;
        let reserved: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(text)?;
        let ports: Vec<u16> = reserved
            .iter()
            .map(|port| port.local_addr().map(|address| address.port()))
            .collect::<Result<_, _>>()
            .map_err(text)?;
        drop(reserved);
        let peers: Vec<String> = (0..3).map(|at| format!("{}=127.0.0.1:{}", at + 1, ports[at])).collect();
        let mut nodes = Vec::new();
        for at in 0..3 {
            let log = fs::File::create(folder.path().join(format!("{at}.log"))).map_err(text)?;
            let process = Command::new(&binary)
                .arg("serve")
                .args(["--id", &(at + 1).to_string(), "--peers", &peers.join(",")])
                .args(["--peer-listen", &format!("127.0.0.1:{}", ports[at])])
                .args(["--client-listen", &format!("127.0.0.1:{}", ports[at + 3])])
                .arg("--data-dir")
                .arg(folder.path().join(at.to_string()))
                .args(flags)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .map_err(text)?;
            nodes.push(Node { process, port: ports[at + 3] });
        }
        let cluster = Cluster { nodes, _folder: folder };
        for _ in 0..TRIES {
            if cluster.leader_port().is_some() {
                return Ok(cluster);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("three nodes found no leader within 10 s".to_owned())
    }

    /// Where clients reach the leader.
    pub(crate) fn leader_port(&self) -> Option<u16> {
        self.nodes
            .iter()
            .map(|node| node.port)
            .find(|port| info(*port).is_some_and(|info| info.contains("role:leader")))
    }

    /// What the nodes have used so far.
    pub(crate) fn usage(&self) -> Usage {
        let used = self.nodes.iter().filter_map(|node| process_usage(node.process.id()));
        used.fold(Usage { cpu: 0.0, resident: 0.0 }, |sum, node| Usage {
            cpu: sum.cpu + node.cpu,
            resident: sum.resident.max(node.resident),
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Killed or already gone: both are the end of it.
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
}

fn info(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"INFO lease\r\nQUIT\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// From `/proc`; `None` where there is none.
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
