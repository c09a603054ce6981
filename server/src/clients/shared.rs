//! The part of a node that its connections share. Sessions reach the replicated state through it and through nothing
//! else.

use super::addresses::Addresses;
use super::encryption::Encryption;
use super::kept::Kept;
use super::keys::KeysThread;
use super::lobby::Lobby;
use super::registry::Registry;
use super::runs::Mix;
use crate::activity::Activity;
use crate::counters::{Counter, Counters};
use crate::executor::Executor;
use crate::health::Health;
use crate::history::History;
use crate::keyspace::{View, WriteCommand};
use crate::limits::Limits;
use crate::shares::Share;
use crate::slots::SlotTable;
use crate::space::Space;
use crate::users::Users;
use event_listener::{Event, EventListener};
use leasehold_core::{Config, NodeId, Reading};
use leasehold_node::{Budget, Role, Statistics, Status};
use leasehold_runtime::Runtime;
use leasehold_transport_tcp::Transport;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The replies to a client that is refused.
const TOO_MANY_CLIENTS: &str = "ERR max number of clients reached";
const TOO_MANY_FROM_ADDRESS: &str = "ERR max number of clients from this address reached";

/// The reply to a write that needs memory while there is none.
const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// The reply to a write while the disk is almost full.
const NO_SPACE: &str = "BUSY the disk of this node is almost full; nothing was executed; free space on it, or send the \
                        command to another node if this one does not lead";

/// The longest time for which a command about the cluster, or a stop, waits for readers: a supervisor kills a process
/// that takes long to stop.
const MAX_READER_WAIT: Duration = Duration::from_secs(10);

/// The memory that all clients share. Long replies have their own, so that a client that waits for memory for its reply
/// never waits for one that waits for memory for its request.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) input: Arc<Budget>,
    pub(crate) output: Arc<Budget>,
}

/// Facts about a node that never change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub(crate) cluster: String,
    pub(crate) client_address: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) started: Reading,
    pub(crate) timing: Config,
    /// Every read asks a quorum.
    pub(crate) quorum_reads: bool,
    pub(crate) slots: SlotTable,
    /// Clients are sent to the node that leads.
    pub(crate) redirects: bool,
}

/// The counts of local reads, added up over all groups.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LocalReadCounts {
    pub(crate) requested: u64,
    pub(crate) received: u64,
    pub(crate) granted: u64,
    /// The readers that may be using a sublease of this node, for each group.
    pub(crate) obligations: usize,
    pub(crate) writes_delayed: u64,
    pub(crate) leaderships_blocked: u64,
}

/// The state that every connection of a node shares.
pub(crate) struct Clients<R: Runtime> {
    /// The executor of group 0, which also keeps the members.
    pub(crate) executor: Arc<Executor<R>>,
    /// The executors of all groups, in the order of their numbers.
    pub(crate) executors: Box<[Arc<Executor<R>>]>,
    pub(crate) transport: Arc<Transport<R>>,
    pub(crate) facts: NodeFacts,
    pub(crate) limits: Limits,
    /// The users who may log in, if clients have to.
    pub(crate) users: Option<Users>,
    pub(crate) encryption: Arc<Encryption>,
    pub(crate) memory: Memory,
    pub(crate) space: Arc<Space>,
    pub(crate) health: Health,
    pub(crate) history: History,
    pub(crate) activity: Activity,
    /// Forty hexadecimal digits that are different for each start.
    pub(crate) run_id: String,
    pub(super) registry: Registry,
    pub(super) kept: Kept,
    /// The bytes of keys and values beyond which writes are refused, or 0. `CONFIG SET` changes it.
    max_memory: AtomicU64,
    log_level: Mutex<&'static str>,
    pub(super) keys_thread: KeysThread,
    /// Held while a change of the members is made.
    pub(super) changing: futures::lock::Mutex<()>,
    /// Shared with the backups that are being taken.
    pub(super) backups: Arc<()>,
    /// Connections refused because there were too many.
    pub(crate) rejected: Counter,
    /// Connections refused because there were too many from their address.
    pub(crate) rejected_per_address: Counter,
    /// Requests refused because they were too long.
    pub(crate) too_long: Counter,
    /// The times that no more was read from a client, because of the limit of its pipeline or because there was no memory.
    pub(crate) paused: Counter,
    /// The times that a client waited for memory for its request.
    pub(crate) waited_for_memory: Counter,
    /// Connections closed because the client was too slow or idle.
    pub(crate) timed_out: Counter,
    pub(crate) http_requests: Counter,
    /// True since a client was refused, until there is room again.
    full: AtomicBool,
    connected: AtomicUsize,
    addresses: Addresses,
    pub(crate) lobby: Lobby,
    next_id: AtomicU64,
    closing: AtomicBool,
    close: Event,
    disconnected: Event,
}

impl<R: Runtime> Clients<R> {
    pub(crate) fn new(
        executors: Box<[Arc<Executor<R>>]>,
        transport: Arc<Transport<R>>,
        facts: NodeFacts,
        limits: Limits,
        users: Option<Users>,
        encryption: Arc<Encryption>,
        space: Arc<Space>,
    ) -> Self {
        let max_memory = limits.max_memory.unwrap_or(0);
        Self {
            executor: executors[0].clone(),
            executors,
            transport,
            facts,
            memory: Memory { input: Budget::new(limits.client_memory), output: Budget::new(limits.client_memory) },
            addresses: Addresses::default(),
            lobby: Lobby::new(limits.max_clients),
            limits,
            users,
            encryption,
            space,
            health: Health::default(),
            history: History::default(),
            activity: Activity::default(),
            run_id: (0..40).filter_map(|_| char::from_digit(fastrand::u32(..16), 16)).collect(),
            registry: Registry::default(),
            kept: Kept::default(),
            max_memory: AtomicU64::new(max_memory),
            log_level: Mutex::new("notice"),
            rejected: Counter::default(),
            rejected_per_address: Counter::default(),
            too_long: Counter::default(),
            paused: Counter::default(),
            waited_for_memory: Counter::default(),
            timed_out: Counter::default(),
            http_requests: Counter::default(),
            full: AtomicBool::new(false),
            keys_thread: KeysThread::default(),
            changing: futures::lock::Mutex::new(()),
            backups: Arc::default(),
            connected: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            close: Event::new(),
            disconnected: Event::new(),
        }
    }

    pub(crate) fn runtime(&self) -> &R {
        self.executor.runtime()
    }

    pub(crate) fn node(&self) -> NodeId {
        self.executor.node()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.executor.counters
    }

    /// Returns the executor of a group.
    pub(crate) fn group(&self, group: u16) -> &Arc<Executor<R>> {
        &self.executors[usize::from(group)]
    }

    /// Returns this node's view of group 0.
    pub(crate) fn status(&self) -> Status {
        self.executor.handle().status()
    }

    /// Returns the first group that this node leads, if there is one.
    pub(crate) fn led(&self) -> Option<&Arc<Executor<R>>> {
        self.executors.iter().find(|executor| executor.handle().status().role == Role::Leader)
    }

    /// Returns the number of groups that this node leads.
    pub(crate) fn groups_led(&self) -> usize {
        self.executors.iter().filter(|executor| executor.handle().status().role == Role::Leader).count()
    }

    /// Returns the part of a member in all groups, if there are several.
    pub(crate) fn share(&self, node: NodeId) -> Option<Share> {
        let members: Vec<_> = self.executors.iter().map(|executor| executor.handle().members()).collect();
        (!self.facts.slots.is_single()).then(|| Share::new(node, members.iter().map(|members| &**members)))
    }

    /// Returns the members whose part some group has not taken over yet.
    pub(crate) fn members_behind(&self) -> BTreeSet<NodeId> {
        if self.facts.slots.is_single() {
            return BTreeSet::new();
        }
        let members: Vec<_> = self.executors.iter().map(|executor| executor.handle().members()).collect();
        let all = members.iter().flat_map(|members| members.membership.members()).collect::<BTreeSet<_>>();
        let is_behind = |node: &NodeId| !Share::new(*node, members.iter().map(|members| &**members)).behind.is_empty();
        all.into_iter().filter(is_behind).collect()
    }

    /// Returns whether the log of a group may lack entries that this node acknowledged.
    pub(crate) fn log_may_be_cut(&self) -> bool {
        self.executors.iter().any(|executor| executor.handle().status().log_may_be_cut)
    }

    /// Returns the longest time for which this node has led a group without applying anything although entries are pending.
    pub(crate) fn stalled_for(&self) -> Duration {
        let times = self.executors.iter().map(|executor| executor.handle().statistics().group.stalled_for);
        times.max().unwrap_or_default()
    }

    /// Returns how long a change of leadership or of voters may wait before it begins, because readers may be using
    /// subleases. A failed one keeps its sublease for a lease at most.
    pub(crate) fn wait_for_readers(&self) -> Duration {
        let waits = self.executors.iter().any(|executor| executor.handle().statistics().group.obligations > 0);
        if waits { self.facts.timing.lease().min(MAX_READER_WAIT) } else { Duration::ZERO }
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.executor.handle().statistics()
    }

    /// Returns the host and the port at which clients reach a node, if this node knows.
    pub(crate) fn client_address(&self, node: NodeId) -> Option<(String, u16)> {
        host_and_port(&self.executor.registrar().contact(node)?.addresses.clients)
    }

    /// Returns how much longer this node's lease is valid, or `None` if it has none.
    pub(crate) fn lease_remaining(&self) -> Option<Duration> {
        self.executor.handle().gate().lease().remaining(self.now())
    }

    /// Returns how much longer this node has a sublease of every group that it does not lead; `None` if it lacks one, or
    /// leads all groups.
    pub(crate) fn sublease_remaining(&self) -> Option<Duration> {
        let now = self.now();
        let others = self.executors.iter().map(|executor| executor.handle());
        let others = others.filter(|handle| handle.status().role != Role::Leader);
        let left = others.map(|handle| handle.gate().sublease().remaining(now).unwrap_or_default());
        left.min().filter(|left| !left.is_zero())
    }

    /// Returns what was counted of local reads, added up over the groups.
    pub(crate) fn local_reads(&self) -> LocalReadCounts {
        self.executors.iter().map(|executor| executor.handle().statistics().group).fold(
            LocalReadCounts::default(),
            |sum, group| LocalReadCounts {
                requested: sum.requested + group.subleases_requested,
                received: sum.received + group.subleases_received,
                granted: sum.granted + group.subleases_granted,
                obligations: sum.obligations + group.obligations,
                writes_delayed: sum.writes_delayed + group.writes_delayed_by_readers,
                leaderships_blocked: sum.leaderships_blocked + group.replica.leaderships_blocked,
            },
        )
    }

    /// Returns the time since the node started.
    pub(crate) fn uptime(&self) -> Duration {
        let elapsed = self.facts.started.zip(self.now()).map(|(from, to)| to.elapsed_since(from).at_most);
        elapsed.unwrap_or_default()
    }

    /// Returns the bytes of keys and values beyond which writes are refused, if there is a limit.
    pub(crate) fn max_memory(&self) -> Option<u64> {
        Some(self.max_memory.load(Ordering::Relaxed)).filter(|max| *max > 0)
    }

    /// Sets the limit; 0 is none.
    pub(super) fn set_max_memory(&self, bytes: u64) {
        self.max_memory.store(bytes, Ordering::Relaxed);
    }

    /// Returns the level that was set by `CONFIG SET`.
    pub(super) fn log_level(&self) -> &'static str {
        *self.log_level.lock()
    }

    pub(super) fn set_log_level(&self, level: &'static str) {
        *self.log_level.lock() = level;
    }

    /// Returns a clock reading. It serves requests that arrived before it.
    pub(crate) fn now(&self) -> Reading {
        self.executor.now()
    }

    /// Returns the keys and values of each group of this node.
    pub(crate) fn views(&self) -> impl Iterator<Item = &View> {
        self.executors.iter().map(|executor| executor.view())
    }

    /// Returns the number of keys.
    pub(crate) fn keys(&self) -> usize {
        self.views().map(View::len).sum()
    }

    /// Returns about how many bytes of memory the keys and values take.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.views().map(View::used_bytes).sum()
    }

    /// Returns the bytes of writes that wait for their outcome.
    pub(crate) fn pending_write_bytes(&self) -> usize {
        self.executors.iter().map(|executor| executor.pending_write_bytes()).sum()
    }

    /// Returns the commands that may be in a log entry together. Earlier releases execute every command of an entry.
    pub(super) fn mix(&self) -> Mix {
        if self.executor.can_stop_early() { Mix::WritesAndReads } else { Mix::Writes }
    }

    /// Returns the error that a write gets now without being executed, if any.
    pub(super) fn refusal(&self, command: &WriteCommand) -> Option<&'static str> {
        // A transaction needs the log even if it only reads.
        if self.space.is_short() {
            return Some(NO_SPACE);
        }
        (command.needs_memory() && self.is_out_of_memory()).then_some(OUT_OF_MEMORY)
    }

    /// Returns whether some writes are refused now.
    pub(super) fn is_short(&self) -> bool {
        self.space.is_short() || self.is_out_of_memory()
    }

    fn is_out_of_memory(&self) -> bool {
        self.max_memory().is_some_and(|max| self.used_bytes() > max)
    }

    /// Returns the error that a transaction gets now without being executed, if any.
    pub(super) fn refusal_of_any(&self, commands: &[WriteCommand]) -> Option<&'static str> {
        commands.iter().find_map(|command| self.refusal(command))
    }

    /// Returns whether the client that was counted last may stay. Logs when there begin to be too many.
    fn may_connect(&self) -> bool {
        let (connected, max) = (self.connected(), self.limits.max_clients);
        if connected > max {
            self.rejected.add(1);
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    max,
                    "refusing further clients; close connections that are not needed, set --timeout-s, or raise \
                     --max-clients and the limit of open files"
                );
            }
        } else if connected < max - max / 8 {
            self.full.store(false, Ordering::Relaxed);
        }
        connected <= max
    }

    /// Counts a connection that ended with an error. Logs the first one that was too slow.
    pub(super) fn note_ended(&self, address: SocketAddr, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::OutOfMemory) {
            if self.timed_out.get() == 0 && self.limits.idle_timeout.is_none() {
                tracing::warn!(
                    %address,
                    "closed a client's connection: {error}; further ones are only counted, in INFO clients"
                );
            }
            self.timed_out.add(1);
        }
        tracing::debug!(%address, "a client's connection ended: {error}");
    }

    /// Counts a command that was refused because its client lacks the right.
    pub(super) fn note_refused(&self, has_logged_in: bool) {
        if let Some(users) = &self.users
            && has_logged_in
        {
            users.forbidden.add(1);
        }
    }

    /// Reads the certificate and the users again. Connections of users who have no rights any more are closed.
    pub(crate) fn reload(&self) {
        self.encryption.reload();
        let Some(users) = &self.users else { return };
        match users.reload() {
            Ok(count) => tracing::info!(users = count, "the users were read again"),
            Err(error) => tracing::error!("the users stay as they were: {error}"),
        }
        self.close.notify(usize::MAX);
    }

    /// Logs the first HTTP request.
    pub(super) fn note_http(&self, address: SocketAddr) {
        if self.http_requests.get() == 0 {
            log_http(address);
        }
        self.http_requests.add(1);
    }

    /// Returns whether clients that connect have to show first who they are.
    pub(super) fn are_strangers(&self) -> bool {
        self.users.is_some() || self.encryption.is_used()
    }

    /// Returns the number of connected clients.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Stops accepting, and closes each connection after the batch of commands that it executes.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.close.notify(usize::MAX);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Returns a listener that fires on [`close`](Self::close). Create it before calling
    /// [`is_closing`](Self::is_closing), so that no call of `close` is missed.
    pub(crate) fn listen_for_close(&self) -> EventListener {
        self.close.listen()
    }

    /// Waits until no client is connected.
    pub(crate) async fn gone(&self) {
        loop {
            let disconnected = self.disconnected.listen();
            if self.connected() == 0 {
                return;
            }
            disconnected.await;
        }
    }
}

/// Returns the parts of an address; an IPv6 host without its brackets, as Redis prints it.
pub(super) fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host).to_owned(), port.parse().ok()?))
}

/// Logs that a client sent an HTTP request.
pub(super) fn log_http(address: SocketAddr) {
    tracing::warn!(
        %address,
        "closed a connection that sent an HTTP request, perhaps an attack through a web browser; further ones are not \
         logged"
    );
}

/// Counts one client as connected until it is dropped.
pub(super) struct ConnectionGuard<R: Runtime> {
    pub(super) clients: Arc<Clients<R>>,
    pub(super) id: u64,
    address: IpAddr,
    /// The connections from its address, this one included, if there is a limit.
    from_address: usize,
}

impl<R: Runtime> ConnectionGuard<R> {
    pub(super) fn new(clients: Arc<Clients<R>>, address: IpAddr) -> Self {
        clients.connected.fetch_add(1, Ordering::Relaxed);
        let id = clients.next_id.fetch_add(1, Ordering::Relaxed);
        let limited = clients.limits.max_clients_per_address.is_some();
        let from_address = if limited { clients.addresses.enter(address) } else { 0 };
        Self { clients, id, address, from_address }
    }

    /// Returns the reason why the client may not stay, if so.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if !self.clients.may_connect() {
            return Some(TOO_MANY_CLIENTS);
        }
        let max = self.clients.limits.max_clients_per_address.filter(|max| self.from_address > *max)?;
        let rejected = &self.clients.rejected_per_address;
        rejected.add(1);
        // Not each one: anyone can cause as many as they want.
        if rejected.get().is_power_of_two() {
            let (refused, address) = (rejected.get(), self.address);
            tracing::warn!(refused, %address, "refusing a client, because {max} are connected from its address");
        }
        Some(TOO_MANY_FROM_ADDRESS)
    }
}

impl<R: Runtime> Drop for ConnectionGuard<R> {
    fn drop(&mut self) {
        if self.from_address > 0 {
            self.clients.addresses.leave(self.address);
        }
        self.clients.connected.fetch_sub(1, Ordering::SeqCst);
        self.clients.disconnected.notify(usize::MAX);
    }
}
