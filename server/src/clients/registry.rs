//! The connections of a node, as they see each other: for `CLIENT LIST` and `CLIENT KILL`.

use crate::command::{ClientFilter, all};
use bytes::Bytes;
use event_listener::Event;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

/// The user of a connection that has not logged in, and of every connection if the node has no users.
const NO_USER: &str = "(none)";
const DEFAULT_USER: &str = "default";

/// The effect of a command on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Close,
}

/// A connection as others see it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) address: SocketAddr,
    /// When it connected, since the node started.
    connected: Duration,
    /// When it sent its last command, in milliseconds since the node started.
    active_ms: AtomicU64,
    /// The number of its last command in the table of commands, or [`NO_COMMAND`].
    command: AtomicU16,
    /// The number of commands queued in its transaction, or -1.
    queued: AtomicI64,
    /// The bytes of requests that were received and not executed yet.
    received: AtomicU64,
    version: AtomicU16,
    names: Mutex<Names>,
    killed: AtomicBool,
    kill: Event,
}

/// Stands for no command.
pub(super) const NO_COMMAND: u16 = u16::MAX;

/// The names of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) user: String,
    pub(super) name: Bytes,
    pub(super) library: (Bytes, Bytes),
}

impl Names {
    fn new(has_users: bool) -> Names {
        let user = if has_users { NO_USER } else { DEFAULT_USER };
        Names { user: user.to_owned(), ..Names::default() }
    }
}

/// The present activity of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing {
    /// The time since the node started.
    pub(super) now: Duration,
    /// The number of its last command, in the table of commands.
    pub(super) command: u16,
    pub(super) queued: i64,
    pub(super) received: usize,
}

impl Peer {
    /// Publishes what the connection is doing.
    pub(super) fn note(&self, doing: Doing) {
        self.active_ms.store(millis(doing.now), Ordering::Relaxed);
        self.command.store(doing.command, Ordering::Relaxed);
        self.queued.store(doing.queued, Ordering::Relaxed);
        self.received.store(doing.received as u64, Ordering::Relaxed);
    }

    pub(super) fn set_version(&self, version: i64) {
        self.version.store(u16::try_from(version).unwrap_or_default(), Ordering::Relaxed);
    }

    pub(super) fn names(&self) -> Names {
        self.names.lock().clone()
    }

    pub(super) fn set_names(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock());
    }

    /// Forgets the user, the names and the version of the protocol.
    pub(super) fn reset(&self, has_users: bool) {
        *self.names.lock() = Names::new(has_users);
        self.set_version(2);
    }

    /// Ends the connection.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        self.kill.notify(usize::MAX);
    }

    /// Waits until [`kill`](Self::kill) is called.
    pub(super) async fn killed(&self) {
        loop {
            let kill = self.kill.listen();
            if self.killed.load(Ordering::SeqCst) {
                return;
            }
            kill.await;
        }
    }

    /// Returns whether the connection meets every condition. `local` is the address of the node.
    pub(super) fn meets(&self, filter: &ClientFilter, local: SocketAddr) -> bool {
        let is = |wanted: &Option<Bytes>, own: &dyn Fn() -> String| {
            wanted.as_ref().is_none_or(|wanted| wanted[..] == *own().as_bytes())
        };
        !filter.no_connection
            && filter.ids.as_ref().is_none_or(|ids| ids.contains(&self.id))
            && is(&filter.address, &|| self.address.to_string())
            && is(&filter.local_address, &|| local.to_string())
            && is(&filter.user, &|| self.names.lock().user.clone())
    }

    /// Returns the line of `CLIENT LIST`.
    pub(super) fn describe(&self, now: Duration, local: SocketAddr) -> String {
        let command = all().nth(usize::from(self.command.load(Ordering::Relaxed)));
        let names = self.names.lock();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let idle = now.saturating_sub(Duration::from_millis(self.active_ms.load(Ordering::Relaxed)));
        let queued = self.queued.load(Ordering::Relaxed);
        format!(
            "id={} addr={} laddr={local} name={} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 multi={queued} qbuf={} \
             cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}\n",
            self.id,
            self.address,
            text(&names.name),
            now.saturating_sub(self.connected).as_secs(),
            idle.as_secs(),
            if queued < 0 { "N" } else { "x" },
            self.received.load(Ordering::Relaxed),
            command.map_or("NULL", |spec| spec.name),
            names.user,
            self.version.load(Ordering::Relaxed),
            text(&names.library.0),
            text(&names.library.1),
        )
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The connections of a node, by number.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<BTreeMap<u64, Arc<Peer>>>);

impl Registry {
    /// Adds a connection.
    pub(super) fn add(&self, id: u64, address: SocketAddr, now: Duration, has_users: bool) -> Arc<Peer> {
        let peer = Arc::new(Peer {
            id,
            address,
            connected: now,
            active_ms: AtomicU64::new(millis(now)),
            command: AtomicU16::new(NO_COMMAND),
            queued: AtomicI64::new(-1),
            received: AtomicU64::new(0),
            version: AtomicU16::new(2),
            names: Mutex::new(Names::new(has_users)),
            killed: AtomicBool::new(false),
            kill: Event::new(),
        });
        self.0.lock().insert(id, peer.clone());
        peer
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, id: u64) {
        self.0.lock().remove(&id);
    }

    /// Returns the connections, in the order of their numbers.
    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.0.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 6379))
    }

    #[test]
    fn a_line_has_the_fields_that_clients_read() {
        let registry = Registry::default();
        let peer = registry.add(7, SocketAddr::from(([10, 0, 0, 1], 99)), 2 * SECOND, false);
        peer.set_names(|names| names.name = Bytes::from_static(b"me"));
        peer.note(Doing { now: 5 * SECOND, command: 0, queued: 2, received: 17 });
        let line = peer.describe(9 * SECOND, local());
        let expected = "id=7 addr=10.0.0.1:99 laddr=127.0.0.1:6379 name=me age=7 idle=4 flags=x db=0 sub=0 psub=0 ssub=0 \
                        multi=2 qbuf=17 cmd=get user=default redir=-1 resp=2 lib-name= lib-ver=\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_connection_must_meet_every_condition() {
        let registry = Registry::default();
        let peer = registry.add(7, SocketAddr::from(([10, 0, 0, 1], 99)), SECOND, true);
        let meets = |filter: ClientFilter| peer.meets(&filter, local());
        let all = ClientFilter::default;
        assert!(meets(all()));
        assert!(meets(ClientFilter { ids: Some(vec![1, 7]), address: Some("10.0.0.1:99".into()), ..all() }));
        assert!(!meets(ClientFilter { ids: Some(vec![7]), address: Some("10.0.0.1:98".into()), ..all() }));
        assert!(!meets(ClientFilter { ids: Some(vec![8]), ..all() }));
        assert!(!meets(ClientFilter { user: Some("default".into()), ..all() }));
        assert!(!meets(ClientFilter { local_address: Some("127.0.0.1:1".into()), ..all() }));
        assert!(!meets(ClientFilter { no_connection: true, ..all() }));
        registry.remove(7);
        assert!(registry.all().is_empty());
    }
}
