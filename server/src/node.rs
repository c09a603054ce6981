//! One server: storage, node, links and clients, wired together.

use crate::client_options::ClientOptions;
use crate::clients::{Clients, Encryption, NodeFacts, Startup, balance};
use crate::counters::Counters;
use crate::descriptors;
use crate::executor::{Executor, Parts};
use crate::expirer::Expirer;
use crate::keyspace::{ENTRY_VERSION, Keyspace, WallClock};
use crate::latency::{TimedDisk, Timer};
use crate::limits::Limits;
use crate::members::Follow;
use crate::monitor;
use crate::recording::Recording;
use crate::registrar::Registrar;
use crate::slots::{MAX_GROUPS, SlotTable};
use crate::space::{self, Space};
use crate::timeout::within;
use crate::users::{Users, UsersError};
use crate::watch::watch;
use async_channel::Receiver;
use futures::future::join_all;
use leasehold_clock::{Clock, ClockError, DisruptionMarker, SystemClock, WatchedClock};
use leasehold_core::{Config, NodeId};
use leasehold_node::identity::{Addresses, Numbers, Run};
use leasehold_node::members::Members;
use leasehold_node::ports::{GroupId, Recovered, StateMachine as _};
use leasehold_node::{GroupOptions, Handle, REQUEST_TIMEOUT, ReadMode, Start, StartGroup, Status, TransferError};
use leasehold_runtime::Runtime;
use leasehold_storage::{Identity, OpenError, Storage, StorageError};
use leasehold_tls::TlsError;
use leasehold_transport_tcp::{PeerSecurity, Transport, TransportOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The time that clients have to receive the replies to pending commands when a node stops: as long as a command may
/// take, and a little more.
const FAREWELL_TIMEOUT: Duration = REQUEST_TIMEOUT.saturating_add(Duration::from_secs(1));

/// The same for a node that was removed: it finds no leader that could answer them.
const REMOVED_FAREWELL_TIMEOUT: Duration = Duration::from_millis(100);

/// The time that another node has for taking leadership over when a node stops, once no reader may be using a sublease.
/// It takes a few milliseconds, or does not happen.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// The options of a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// This node's number, from 1.
    pub node: NodeId,
    /// The cluster's name, the same on all its nodes.
    pub cluster: String,
    /// Nodes with their addresses, `host:port`. If this node is among them, they are the founders of a new cluster;
    /// otherwise this node waits until it is added to the cluster of the others. Once it belongs to a cluster, they only
    /// say where to look for the members first.
    pub peers: BTreeMap<NodeId, String>,
    /// The number of groups among which the keys are divided, at most 1,024: the same on every founder, and on every node
    /// that joins later. It is fixed when the cluster is founded, and recorded in the folder. `None` for the recorded one,
    /// or 1 in a new folder.
    pub groups: Option<NonZeroU16>,
    /// True if this node hands groups over to spread their leaders, while it leads more of them than other nodes.
    pub spreads_leaders: bool,
    /// True if the nodes in `peers` are always dialed at the addresses there, even if they announce others.
    pub pin_peers: bool,
    /// The addresses that this node announces. An empty one is derived: that for peers from this node's own entry in
    /// `peers` or from `peer_listen`, that for clients from `client_listen`.
    pub announce: Addresses,
    /// The address on which this node listens for other nodes; port 0 selects a free one.
    pub peer_listen: String,
    /// The address on which this node listens for clients; port 0 selects a free one.
    pub client_listen: String,
    /// The address on which this node serves its status page and its metrics, if any; port 0 selects a free one. Anyone
    /// who reaches it may read them.
    pub metrics_listen: Option<String>,
    /// The folder for this node's data.
    pub data_dir: PathBuf,
    /// Hold, lease, drift and heartbeat.
    pub timing: Config,
    /// The way in which reads are made linearizable.
    pub reads: ReadMode,
    /// True if this node answers reads from its own state by subleases, while another node leads.
    pub local_reads: bool,
    /// The file for a recording of its lease, if any. With several groups there is one for each, with a dot and the group's
    /// number after this name. Existing files are replaced.
    pub record: Option<PathBuf>,
    /// True if a log whose end may have been cut off is taken for whole.
    pub accept_data_loss: bool,
    /// The limits of clients and memory.
    pub limits: Limits,
    /// How clients are served.
    pub clients: ClientOptions,
    /// The time for which the operator says that this node has not run: it shortens the hold of a restart.
    pub stopped_for: Option<Duration>,
    /// The means by which nodes recognize each other.
    pub peer_security: PeerSecurity,
}

/// The reason why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This machine's clock cannot serve leases.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// This node cannot listen on an address.
    #[error("cannot listen for {whom} on {address}: {source}; {}", advice(source))]
    Listen {
        /// `clients`, `peers` or `metrics`.
        whom: &'static str,
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// There are too many groups.
    #[error("a cluster has at most {MAX_GROUPS} groups, and not {0}; give a lower number")]
    TooManyGroups(NonZeroU16),
    /// The users cannot be read.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The certificate of the client port cannot be used.
    #[error("cannot serve clients with TLS: {0}")]
    ClientTls(#[from] TlsError),
    /// The recording cannot be started.
    #[error("cannot record to {}: {source}; choose a file that can be written", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The thread that records peers cannot be started.
    #[error(
        "cannot keep the node's identity: {0}; raise the limit of this user's processes, or free space on the disk"
    )]
    Thread(#[source] io::Error),
    /// The thread for metrics cannot be started.
    #[error("cannot serve metrics: {0}; raise the limit of this user's processes")]
    Metrics(#[source] io::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data folder cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The links to peers cannot be started.
    #[error(transparent)]
    Transport(#[from] leasehold_transport_tcp::StartError),
    /// The node cannot be started.
    #[error(transparent)]
    Node(#[from] leasehold_node::StartError),
}

/// A running node.
pub struct Node<R: Runtime> {
    clients: Arc<Clients<R>>,
    peer_address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    /// Closes when the recording is complete.
    recorded: Option<Receiver<()>>,
}

impl<R: Runtime> Node<R> {
    /// Starts a node. It takes part in its cluster and serves clients once this returns, even if there is no leader
    /// yet, or if the cluster waits for other founders. Before that it accepts clients and tells them that it is loading.
    /// Reading the data folder blocks the calling thread.
    ///
    /// # Errors
    /// [`StartError`] says what to change. In that case nothing runs.
    pub async fn start(runtime: &R, options: NodeOptions) -> Result<Node<R>, StartError> {
        let NodeOptions {
            node,
            cluster,
            mut peers,
            groups,
            spreads_leaders,
            pin_peers,
            announce,
            peer_listen,
            client_listen,
            metrics_listen,
            data_dir,
            timing,
            reads,
            local_reads,
            record,
            accept_data_loss,
            mut limits,
            clients,
            stopped_for,
            peer_security,
        } = options;
        if let Some(groups) = groups.filter(|groups| groups.get() > MAX_GROUPS) {
            return Err(StartError::TooManyGroups(groups));
        }
        let given: BTreeSet<NodeId> = peers.keys().copied().collect();
        let own = peers.remove(&node);
        let wanted = limits.max_clients;
        limits.max_clients = descriptors::max_clients(wanted, peers.len(), descriptors::limit());
        if limits.max_clients < wanted {
            tracing::warn!(
                max = limits.max_clients,
                "the limit of open files allows fewer clients than {wanted}; raise it (ulimit -n, or LimitNOFILE of \
                 systemd)"
            );
        }
        let users = clients.users.map(Users::read).transpose()?;
        let encryption = Arc::new(Encryption::open(clients.tls)?);
        let clock = open_clock()?;
        let (client_listener, client_address) = listen(runtime, "clients", client_listen).await?;
        let (peer_listener, peer_address) = listen(runtime, "peers", peer_listen).await?;
        let metrics = match metrics_listen {
            Some(address) => Some(listen(runtime, "metrics", address).await?),
            None => None,
        };
        let (metrics_listener, metrics_address) = metrics.unzip();
        let has_users = users.is_some();
        let startup = Startup::new(runtime, client_listener, clock.clone(), &limits, encryption.clone(), has_users);
        let founders = if given.contains(&node) { given.clone() } else { BTreeSet::new() };
        let identity = Identity { cluster: cluster.clone(), node, founders };
        let storage = Storage::open_with_groups(&data_dir, identity, groups)?;
        let removed = storage.removed_groups();
        let groups = storage.group_count();
        let slots = SlotTable::new(groups);
        let (commits, applies) = (Timer::new(clock.clone()), Timer::new(clock.clone()));
        let (mut found, mut holds) = (Vec::new(), Vec::new());
        for group in slots.groups() {
            let keyspace = Keyspace::new(&cluster, WallClock::system()).timed_by(applies.clone());
            let mut recovered = storage.recover_as(group.into(), keyspace.empty_state())?;
            if let Some(stopped_for) = stopped_for {
                holds.push(shorten_hold(&mut recovered, timing.hold(), stopped_for));
            }
            found.push((GroupId::from(group), keyspace, recovered));
        }
        log_holds(stopped_for.unwrap_or_default(), &holds);
        startup.enter("is starting to serve");

        let recording = record.map(|name| Recording::start(runtime, &name, slots)).transpose();
        let recording = recording.map_err(|(path, source)| StartError::Record { path, source })?;

        let Run { boot, starts, .. } = storage.registry().introduction().run();
        let facts = NodeFacts {
            cluster: cluster.clone(),
            client_address,
            data_dir,
            started: clock.now(),
            timing,
            quorum_reads: reads == ReadMode::Quorum,
            slots,
            redirects: clients.redirect,
        };
        let (inbox, mailbox) = leasehold_node::inbox();
        let announced = announced(announce, own, peer_address, client_address);
        let registry = storage.registry();
        if registry.is_founded()
            && !registry.members().iter().filter(|member| *member != node).eq(peers.keys().copied())
        {
            tracing::warn!(
                "--peers names the nodes {}, and the members of the cluster are {}: --peers only says where to look for \
                 them first; members are changed by `leasehold ctl`",
                Numbers::new(given),
                registry.members()
            );
        }
        // A node that joined has no founding state, whatever --peers says now.
        let founders = registry.founders.keys().copied().collect::<Vec<_>>();
        let founders = if founders.contains(&node) { founders } else { Vec::new() };
        // What was lost with the end of the log was perhaps a change of the members.
        let (_, _, first) = &found[0];
        let lost = accept_data_loss && first.log_may_be_cut;
        let reset = lost.then(|| {
            let membership = first.applied.membership.clone();
            Members { membership, ..Members::default() }.roster()
        });
        let registrar = Registrar::start(runtime, &storage, announced, u32::from(ENTRY_VERSION), reset)
            .map_err(StartError::Thread)?;
        let mut links = TransportOptions::new(registrar.clone(), cluster, timing, peer_listener);
        links.peers.clone_from(&peers);
        links.groups = groups;
        links.security = peer_security;
        let transport = Transport::start(runtime.clone(), links, Arc::new(inbox))?;

        let views: Vec<_> = found.iter().map(|(_, keyspace, _)| keyspace.view()).collect();
        let traces: Vec<_> =
            slots.groups().map(|group| recording.as_ref().map(|recording| recording.sink(group))).collect();
        let recorded = recording.map(Recording::written);
        let starting = found.into_iter().zip(traces).map(|((group, machine, recovered), trace)| {
            let mut replica = leasehold_raft::Options::new(node, timing, drawn());
            replica.record = trace.is_some();
            replica.starts = Some(starts);
            let mut options = GroupOptions::new(group, replica, founders.clone());
            (options.reads, options.accept_data_loss) = (reads, accept_data_loss);
            options.local_reads = local_reads;
            StartGroup { options, machine, recovered, trace }
        });
        let mut node_options = leasehold_node::NodeOptions::new(node, boot);
        node_options.deciding_group = (!slots.is_single()).then_some(0);
        let start = Start {
            node: node_options,
            groups: starting.collect(),
            removed,
            disk: TimedDisk { disk: storage, timer: commits.clone() },
            links: transport.clone(),
            clock: clock.clone(),
            mailbox,
        };
        let handles: Vec<_> = leasehold_node::start(runtime, start)?.into_values().collect();
        let handle = handles[0].clone();
        let space = Space::new(&facts.data_dir, limits.min_free_space);
        if let Err(error) = space::watch(runtime, &space, handle.clone()) {
            tracing::warn!("the free space of the disk is not watched: cannot start a thread: {error}");
        }
        let follow = Follow {
            runtime: runtime.clone(),
            handle,
            registrar: registrar.clone(),
            transport: transport.clone(),
            seeds: peers,
            pinned: pin_peers,
        };
        runtime.spawn(follow.run());
        let (redirects, counters) = (facts.redirects, Arc::<Counters>::default());
        let executors = handles.into_iter().zip(views).map(|(handle, view)| {
            let expirer = Expirer { runtime: runtime.clone(), handle: handle.clone(), view: view.clone() };
            runtime.spawn(expirer.run());
            Arc::new(Executor::new(Parts {
                runtime: runtime.clone(),
                node,
                clock: clock.clone(),
                handle,
                view,
                registrar: registrar.clone(),
                redirects,
                counters: counters.clone(),
                groups,
                reads,
                commits: commits.clone(),
                applies: applies.clone(),
            }))
        });
        let executors = executors.collect();
        let clients = Arc::new(Clients::new(executors, transport, facts, limits, users, encryption, space));
        if local_reads {
            clients.warn_of_long_subleases();
        }
        runtime.spawn(watch(runtime.clone(), Arc::downgrade(&clients)));
        if spreads_leaders && !slots.is_single() {
            runtime.spawn(balance(runtime.clone(), Arc::downgrade(&clients)));
        }
        let node = Node { clients, peer_address, metrics_address, recorded };
        if let Some(listener) = metrics_listener
            && let Err(error) = monitor::serve(listener, &node.clients)
        {
            node.stop().await;
            return Err(StartError::Metrics(error));
        }
        startup.serve(node.clients.clone());
        Ok(node)
    }

    /// Returns the address at which it serves clients.
    pub fn client_address(&self) -> SocketAddr {
        self.clients.facts.client_address
    }

    /// Returns the address on which it listens for other nodes.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Returns the address on which it serves its status page and its metrics, if it does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Returns its view of group 0, which keeps the members.
    pub fn status(&self) -> Status {
        self.handle().status()
    }

    /// Returns how much longer its lease of group 0 is valid, or `None` if it has none.
    pub fn lease_left(&self) -> Option<Duration> {
        self.handle().gate().lease().remaining(self.clients.executor.now())
    }

    /// Returns the number of groups that it leads.
    pub fn groups_led(&self) -> usize {
        self.clients.groups_led()
    }

    /// Returns its counters.
    pub fn counters(&self) -> &Counters {
        &self.clients.executor.counters
    }

    /// Returns the handle to group 0, through which those to the others are found.
    pub fn handle(&self) -> &Handle<Keyspace> {
        self.clients.executor.handle()
    }

    /// Waits until this node is certainly not a member of its cluster any more, and returns the reason.
    pub async fn removed(&self) -> String {
        let registrar = self.clients.executor.registrar();
        loop {
            let changed = registrar.listen();
            if let Some(reason) = registrar.removed() {
                return reason;
            }
            changed.await;
        }
    }

    /// Reads the files again that may change while it runs. A file that cannot be used is logged, and what it had before
    /// stays in effect.
    pub fn reload(&self) {
        self.clients.reload();
    }

    /// Waits until the node's task has stopped. Without a call of [`stop`](Self::stop) only a failed disk stops it.
    pub async fn stopped(&self) {
        self.handle().wait_status(|status| status.stopped).await;
    }

    /// Stops it: it hands leadership over, takes no more clients and commands, and waits until pending commands are
    /// answered and everything is on disk.
    pub async fn stop(&self) {
        let runtime = self.clients.executor.runtime();
        let hand_over = self.clients.executors.iter().map(async |executor| {
            let group = executor.handle().group();
            let limit = HAND_OVER_TIMEOUT + self.clients.wait_for_readers();
            match within(runtime, limit, executor.handle().hand_over()).await {
                Some(Ok(to)) => tracing::info!(group, to, "handed leadership over"),
                Some(Err(TransferError::NotLeader)) => {}
                Some(Err(error)) => tracing::info!(group, "leadership is not handed over: {error}"),
                None => tracing::warn!(group, "leadership was not taken over within {limit:?}"),
            }
        });
        join_all(hand_over).await;
        self.clients.close();
        // A client that does not read its replies must not delay the stop.
        let removed = self.clients.executor.registrar().removed().is_some();
        let farewell = if removed { REMOVED_FAREWELL_TIMEOUT } else { FAREWELL_TIMEOUT };
        within(runtime, farewell, self.clients.gone()).await;
        self.handle().stop().await;
        if let Some(recorded) = &self.recorded {
            // Nothing is sent on this channel. It closes when the file is complete.
            let _ = recorded.recv().await;
        }
        self.clients.transport.stop().await;
    }
}

/// Opens the clock of this machine, with the disruption marker of its hypervisor if it has one.
fn open_clock() -> Result<Arc<dyn Clock>, ClockError> {
    let clock = SystemClock::new()?;
    match DisruptionMarker::find() {
        Ok(None) => Ok(Arc::new(clock)),
        Ok(Some(marker)) => Ok(Arc::new(WatchedClock::new(clock, marker))),
        Err(error) => {
            tracing::warn!(
                "cannot read /dev/vmclock0, so a move of this virtual machine is not noticed: {error}; let this user read it"
            );
            Ok(Arc::new(clock))
        }
    }
}

/// Returns the addresses that a node announces, with those that are not given derived.
fn announced(given: Addresses, own: Option<String>, peers: SocketAddr, clients: SocketAddr) -> Addresses {
    let Addresses { peers: mut for_peers, clients: mut for_clients } = given;
    if for_peers.is_empty() {
        for_peers = own.unwrap_or_else(|| peers.to_string());
    }
    if for_clients.is_empty() {
        let host = for_peers.rsplit_once(':').map(|(host, _)| host).filter(|_| clients.ip().is_unspecified());
        for_clients = host.map_or(clients.to_string(), |host| format!("{host}:{}", clients.port()));
    }
    Addresses { peers: for_peers, clients: for_clients }
}

/// Returns what to do about an address that cannot be listened on.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "choose another port, or stop the process that uses this one",
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all of them",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on, or permit the process to use this one",
        // The resolver's errors have no code of the system.
        _ if error.raw_os_error().is_none() => {
            "cannot resolve the host; check its spelling and this machine's resolver, or write an IP address of this machine"
        }
        _ => "check the address, or write another IP address of this machine",
    }
}

/// Shortens the hold of a restart by the time that the node has not run, less a margin for the clocks' errors. Returns the
/// hold and the one before, or `None` if the log may be cut: the record of the last stop may be what was cut off.
fn shorten_hold<S>(
    recovered: &mut Recovered<S>,
    hold: Duration,
    stopped_for: Duration,
) -> Option<(Duration, Duration)> {
    if recovered.log_may_be_cut {
        return None;
    }
    let promised = recovered.orderly_stop.unwrap_or(recovered.longest_hold.max(hold));
    let counted = stopped_for.saturating_sub(stopped_for / 10).saturating_sub(Duration::from_secs(1));
    let remaining = promised.saturating_sub(counted);
    recovered.orderly_stop = Some(remaining);
    Some((remaining, promised))
}

/// Logs the longest hold of any group, and one that was not shortened.
fn log_holds(stopped_for: Duration, holds: &[Option<(Duration, Duration)>]) {
    if holds.contains(&None) {
        tracing::warn!(
            "--stopped-since is ignored, because the end of this node's log may have been cut off: what it promised may \
             be cut off too, so it is held in full"
        );
    }
    if let Some((remaining, promised)) = holds.iter().flatten().max() {
        tracing::warn!(
            "by --stopped-since this node has not run for {} s, so it is held for {} ms instead of {} ms",
            stopped_for.as_secs(),
            remaining.as_millis(),
            promised.as_millis()
        );
    }
}

async fn listen<R: Runtime>(
    runtime: &R,
    whom: &'static str,
    address: String,
) -> Result<(R::Listener, SocketAddr), StartError> {
    let listening = async {
        let listener = runtime.listen(&address).await?;
        let bound = runtime.local_address(&listener)?;
        Ok((listener, bound))
    };
    match listening.await {
        Ok(listening) => Ok(listening),
        Err(source) => Err(StartError::Listen { whom, address, source }),
    }
}

/// Returns a random number: the standard library keys each process's hashers from the system's randomness.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_downtime_does_not_shorten_the_hold_of_a_cut_log() {
        let mut recovered: Recovered = Recovered { log_may_be_cut: true, ..Recovered::default() };
        assert_eq!(shorten_hold(&mut recovered, Duration::from_secs(1), Duration::from_secs(5000)), None);
        assert_eq!(recovered.orderly_stop, None);
    }

    #[test]
    fn a_stated_downtime_shortens_the_hold_by_less_than_itself() {
        let hold = Duration::from_secs(1);
        for (longest, orderly, stopped, remaining) in [
            (3600, None, 0, 3600),
            (3600, None, 1, 3600),
            (3600, None, 1000, 2701),
            (3600, None, 5000, 0),
            (3600, Some(10), 5, 7),
            (0, None, 0, 1),
        ] {
            let mut recovered: Recovered = Recovered {
                longest_hold: Duration::from_secs(longest),
                orderly_stop: orderly.map(Duration::from_secs),
                ..Recovered::default()
            };
            let held = shorten_hold(&mut recovered, hold, Duration::from_secs(stopped));
            assert_eq!(held.map(|(remaining, _)| remaining), recovered.orderly_stop);
            let left = recovered.orderly_stop.expect("stated").as_secs_f64();
            assert!((left - f64::from(remaining)).abs() < 0.6, "{longest} {orderly:?} {stopped}: {left}");
        }
    }
}
