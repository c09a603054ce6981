//! Three etcd nodes on loopback, each with its own folder on the same disk as ours.

use crate::children::{Folder, Running, free_ports, is_installed};
use crate::closed_loop::etcd;
use std::process::Command;
use std::time::Duration;

/// The most attempts to find a leader, 100 ms apart.
const MAX_ATTEMPTS: usize = 100;

/// A running cluster; dropping it kills it.
pub(crate) struct Etcd {
    /// The port on which clients reach the leader. Other nodes would forward requests to it.
    pub(crate) leader_port: u16,
    _processes: Vec<Running>,
    _folder: Folder,
}

impl Etcd {
    /// Starts three nodes and waits for a leader. Returns `None` if etcd is not installed.
    pub(crate) fn start() -> Result<Option<Etcd>, String> {
        if !is_installed("etcd") {
            return Ok(None);
        }
        let folder = Folder::new()?;
        let ports: [u16; 6] = free_ports()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let members: Vec<String> = (0..3).map(|at| format!("n{at}={}", url(ports[at]))).collect();
        let mut processes = Vec::new();
        for at in 0..3 {
            let (peer, client) = (url(ports[at]), url(ports[at + 3]));
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("n{at}"), "--logger", "zap", "--log-level", "error"])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--initial-cluster", &members.join(","), "--initial-cluster-state", "new"])
                .arg("--data-dir")
                .arg(folder.path().join(at.to_string()));
            processes.push(Running::start(&mut command, &folder.path().join(format!("{at}.log")))?);
        }
        for _ in 0..MAX_ATTEMPTS {
            for port in &ports[3..] {
                if etcd::leads(*port) {
                    return Ok(Some(Etcd { leader_port: *port, _processes: processes, _folder: folder }));
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("three nodes of etcd found no leader within 10 s".to_owned())
    }
}

/// The note if etcd is not installed.
pub(crate) const ABSENT: &str =
    "etcd is not installed, so rows next to etcd have no peer; on Debian: apt-get install etcd-server";
