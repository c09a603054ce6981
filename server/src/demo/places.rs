//! The ports and data folders of the demo's nodes.

use leasehold_core::NodeId;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// The address of every node.
pub(super) const HOST: &str = "127.0.0.1";
/// The default port of the first node for clients.
const BASE_PORT: u16 = 7001;
/// The difference between a node's port for peers and its port for clients.
const PEER_PORT_OFFSET: u16 = 100;
/// The difference between a node's port for metrics and its port for clients.
const METRICS_PORT_OFFSET: u16 = 200;
/// The highest default port of the first node, so that all ports exist.
const MAX_BASE_PORT: u16 = u16::MAX - METRICS_PORT_OFFSET - 100;

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) client_port: u16,
    pub(super) peer_port: u16,
    pub(super) metrics_port: u16,
}

/// The reason why ports or folders cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("--base-port {0} leaves no room for the nodes' ports; choose one from 1 to {MAX_BASE_PORT}")]
    OutOfRange(u16),
    #[error("port {port} of {HOST} cannot be used: {source}; choose another --base-port, or omit it to use free ports")]
    Taken { port: u16, source: io::Error },
    #[error("no free port was found on {HOST}: {0}")]
    NoFreePort(io::Error),
    #[error("cannot make a temporary folder: {0}; name a folder with --data-dir")]
    NoTemporaryFolder(io::Error),
    #[error(
        "{folder} contains the data of a demo with another number of nodes; use that number with --nodes, or another \
         folder"
    )]
    OtherDemo { folder: PathBuf },
}

/// Chooses ports for nodes 1 to `nodes`: from `base` on for clients, [`PEER_PORT_OFFSET`] higher for peers, and
/// [`METRICS_PORT_OFFSET`] higher for metrics. Without a requested base, replaces a port in use by a free one.
pub(super) fn choose_ports(nodes: u16, base: Option<u16>) -> Result<Vec<Place>, PlaceError> {
    let first = base.unwrap_or(BASE_PORT);
    if first == 0 || first > MAX_BASE_PORT {
        return Err(PlaceError::OutOfRange(first));
    }
    // All stay bound until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut choose = |port: u16| {
        let listener = match TcpListener::bind((HOST, port)) {
            Ok(listener) => listener,
            Err(source) if base.is_some() => return Err(PlaceError::Taken { port, source }),
            Err(_) => TcpListener::bind((HOST, 0)).map_err(PlaceError::NoFreePort)?,
        };
        let port = listener.local_addr().map_err(PlaceError::NoFreePort)?.port();
        held.push(listener);
        Ok(port)
    };
    let place = |number: u16| {
        Ok(Place {
            node: NodeId::from(number) + 1,
            client_port: choose(first + number)?,
            peer_port: choose(first + PEER_PORT_OFFSET + number)?,
            metrics_port: choose(first + METRICS_PORT_OFFSET + number)?,
        })
    };
    (0..nodes).map(place).collect()
}

/// Returns the data folder of a node.
pub(super) fn data_dir(folder: &Path, node: NodeId) -> PathBuf {
    folder.join(format!("n{node}"))
}

/// The folder that contains the nodes' data folders.
pub(super) enum Folder {
    Kept(PathBuf),
    /// Removed when dropped.
    Temporary(tempfile::TempDir),
}

impl Folder {
    pub(super) fn choose(nodes: u16, requested: Option<PathBuf>) -> Result<Folder, PlaceError> {
        let Some(folder) = requested else {
            let made = tempfile::Builder::new().prefix("leasehold-demo-").tempdir();
            return made.map(Folder::Temporary).map_err(PlaceError::NoTemporaryFolder);
        };
        // The stored configuration names the voters. With fewer nodes there may be no quorum, and others would be no
        // voters.
        let has = |node: u16| data_dir(&folder, NodeId::from(node)).exists();
        if has(nodes + 1) || (has(1) && !has(nodes)) {
            return Err(PlaceError::OtherDemo { folder });
        }
        Ok(Folder::Kept(folder))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Folder::Kept(path) => path,
            Folder::Temporary(folder) => folder.path(),
        }
    }

    /// Describes what happens to it at the end.
    pub(super) fn fate(&self) -> &'static str {
        match self {
            Folder::Kept(_) => "kept",
            Folder::Temporary(_) => "removed at the end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_replaced_unless_it_was_requested() {
        let holder = TcpListener::bind((HOST, 0)).expect("a free port");
        let taken = holder.local_addr().expect("it has an address").port().min(MAX_BASE_PORT);
        assert!(matches!(choose_ports(1, Some(taken)), Err(PlaceError::Taken { port, .. }) if port == taken));
        let _default = TcpListener::bind((HOST, BASE_PORT));
        let places = choose_ports(3, None).expect("free ports");
        assert_ne!(places[0].client_port, BASE_PORT);
        let mut ports: Vec<_> =
            places.iter().flat_map(|place| [place.client_port, place.peer_port, place.metrics_port]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
    }

    #[test]
    fn a_base_port_without_room_is_refused() {
        for base in [0, u16::MAX, u16::MAX - PEER_PORT_OFFSET, MAX_BASE_PORT + 1] {
            assert!(matches!(choose_ports(3, Some(base)), Err(PlaceError::OutOfRange(_))));
        }
    }

    #[test]
    fn the_folder_of_a_demo_with_another_number_of_nodes_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for node in 1..=3 {
            std::fs::create_dir(data_dir(folder.path(), node)).expect("it is writable");
        }
        let choose = |nodes| Folder::choose(nodes, Some(folder.path().to_owned()));
        assert!(choose(3).is_ok());
        for nodes in [1, 2, 4, 5] {
            assert!(matches!(choose(nodes), Err(PlaceError::OtherDemo { .. })));
        }
    }
}
