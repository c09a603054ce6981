//! File descriptors: the journal, the tables and the peers must never lack one because clients took them all.

/// The most connections to the port for metrics at once. Further ones are closed.
pub(crate) const MONITOR_CONNECTIONS: usize = 32;
/// The descriptors that a node needs besides its clients: at most 64 handshakes of peers, the tables and the journals of
/// the disk, what the runtime needs, and the port for metrics.
const RESERVED: usize = 64 + 96 + 32 + MONITOR_CONNECTIONS + 1;
/// The descriptors of one peer: three connections each way, and a new one before an old one is closed.
const RESERVED_PER_PEER: usize = 8;

/// Raises the limit of open files to the highest that the system allows this process.
pub(crate) fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
            tracing::warn!(?current, "cannot raise the limit of open files");
        }
    }
}

/// Returns how many files this process may open, if there is a limit.
pub(crate) fn limit() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    None
}

/// Returns how many files this process has open, where the system tells.
pub(crate) fn open() -> Option<usize> {
    // Without the one that lists them.
    std::fs::read_dir("/proc/self/fd").ok().map(|descriptors| descriptors.count().saturating_sub(1))
}

/// Returns how many clients a node with this many peers may have: `wanted`, or fewer if the limit of open files is low.
/// Under a limit that is too low even for the reserve, clients get a quarter.
pub(crate) fn max_clients(wanted: usize, peers: usize, limit: Option<usize>) -> usize {
    let reserved = RESERVED + RESERVED_PER_PEER * peers;
    limit.map_or(wanted, |limit| wanted.min(limit.saturating_sub(reserved).max(limit / 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_the_disk_and_for_peers() {
        assert_eq!(max_clients(10_000, 2, None), 10_000);
        assert_eq!(max_clients(10_000, 2, Some(1 << 20)), 10_000);
        assert_eq!(max_clients(10_000, 2, Some(1024)), 1024 - 241);
        assert_eq!(max_clients(10, 2, Some(1024)), 10);
        assert_eq!(max_clients(10_000, 2, Some(200)), 50);
    }

    #[test]
    fn the_limit_is_raised_to_the_highest_that_is_allowed() {
        raise_limit();
        #[cfg(unix)]
        {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            assert_eq!(limit.current, limit.maximum);
        }
        assert!(limit().is_none_or(|limit| limit > 0));
        #[cfg(target_os = "linux")]
        assert!(open().is_some_and(|open| open > 0), "the standard streams are open");
    }
}
