//! One redis-server on loopback.

use crate::children::{Folder, Running, free_ports, is_installed};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// A running redis-server; dropping it kills it.
pub(crate) struct Redis {
    pub(crate) port: u16,
    _process: Running,
    _folder: Folder,
}

/// The data that it keeps on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Nothing, which is its fastest mode.
    Nothing,
    /// Every write, synced before it is answered.
    EveryWrite,
}

impl Redis {
    /// Starts a server. Returns `None` if redis-server is not installed.
    pub(crate) fn start(keeps: Keeps) -> Result<Option<Redis>, String> {
        if !is_installed("redis-server") {
            return Ok(None);
        }
        let folder = Folder::new()?;
        let [port] = free_ports()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder.path());
        match keeps {
            Keeps::Nothing => command.args(["--appendonly", "no"]),
            Keeps::EveryWrite => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
        };
        let process = Running::start(&mut command, &folder.path().join("log"))?;
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(Some(Redis { port, _process: process, _folder: folder }));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("redis-server did not listen within 5 s".to_owned())
    }
}

/// The note if it is not installed.
pub(crate) const ABSENT: &str = "redis-server or redis-benchmark is not installed, so rows next to redis have no peer; \
     on Debian: apt-get install redis-server redis-tools";
