//! The keeper of a running node's identity: it meets peers by the rules of [`leasehold_node::identity`], and records
//! them in the data folder on a thread of its own, because that waits for the disk.

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use event_listener::{Event, EventListener};
use leasehold_core::NodeId;
use leasehold_node::identity::{Addresses, Contact, Introduction, Meeting, Refusal, Registry, Roster};
use leasehold_node::ports::{Meet, MeetError};
use leasehold_runtime::{Runtime, ThreadPolicy};
use leasehold_storage::{RegistryFile, Storage};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The interval at which a node logs that its cluster is not founded yet.
const REMINDER_INTERVAL: Duration = Duration::from_secs(10);

/// The reason why a node takes no part in a cluster, or must not. Each text follows "this node".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfounded {
    #[error("waits until its cluster is founded, which needs every founder; not seen so far: {0}")]
    Waits(String),
    #[error(
        "waits until it is added to a cluster: run `leasehold ctl --node ADDR add {node} {address}`, where ADDR is the \
         address of a member for clients"
    )]
    Joins { node: NodeId, address: String },
    #[error("is refused by its cluster: peer {0} {1}")]
    Refused(NodeId, Refusal),
    #[error("is refused by peer {0}, which says that it {1}")]
    RefusedBy(NodeId, String),
}

/// News for the thread that keeps the registry.
enum Arrival {
    /// A peer to be judged, and the channel for the verdict.
    Peer { theirs: Introduction, verdict: Sender<Result<bool, MeetError>> },
    /// This node's own configuration, and the channel that closes once it is recorded.
    Roster { roster: Roster, recorded: Sender<()> },
}

#[derive(Debug)]
struct State {
    registry: Registry,
    /// The node is not founded, and a peer of the founded cluster does not know its folder.
    refused: Option<(NodeId, Refusal)>,
    /// The peers that refuse this node's folder, and the reason of each, as it describes this node.
    refused_by: BTreeMap<NodeId, String>,
    /// The peers that have introduced themselves to this process.
    introduced: BTreeSet<NodeId>,
    /// The reason why this node is certainly not a member any more.
    removed: Option<String>,
}

/// Introduces a node, and keeps its registry durably.
#[derive(Debug)]
pub(crate) struct Registrar {
    state: Arc<Mutex<State>>,
    /// The node belongs to a cluster, which never changes back.
    founded: Arc<AtomicBool>,
    changed: Arc<Event>,
    arrivals: Sender<Arrival>,
}

impl Registrar {
    /// Starts the thread that records peers in the folder of `storage`. The node announces `addresses`, and that it can
    /// apply log entries up to version `entries`. `reset` replaces a newer roster: that of a log whose end was lost, and
    /// whose loss was accepted.
    ///
    /// # Errors
    /// If the system starts no thread, or a roster that is reset cannot be recorded.
    pub(crate) fn start<R: Runtime>(
        runtime: &R,
        storage: &Storage,
        addresses: Addresses,
        entries: u32,
        reset: Option<Roster>,
    ) -> io::Result<Arc<Registrar>> {
        let mut registry = storage.registry().clone();
        if let Some(roster) = reset.filter(|roster| roster.changed < registry.roster.changed) {
            registry.roster = roster;
            storage.registry_file().keep(&registry)?;
        }
        let before = std::mem::replace(&mut registry.addresses, addresses);
        registry.entries = entries;
        if before != Addresses::default() && before != registry.addresses {
            let Addresses { peers, clients } = &registry.addresses;
            tracing::info!(
                "this node has moved from {} to {peers} (for clients: {clients}); its peers learn of it",
                before.peers
            );
        }
        let state = Arc::new(Mutex::new(State {
            registry,
            refused: None,
            refused_by: BTreeMap::new(),
            introduced: BTreeSet::new(),
            removed: None,
        }));
        let changed = Arc::new(Event::new());
        let founded = Arc::new(AtomicBool::new(storage.registry().is_founded()));
        let (arrivals, queue) = async_channel::unbounded();
        let keeper = Keeper {
            state: state.clone(),
            founded: founded.clone(),
            changed: changed.clone(),
            file: storage.registry_file(),
        };
        let keeper = keeper.keep_all(queue);
        runtime.spawn_thread("identity", ThreadPolicy::Normal, keeper)?;
        let registrar = Arc::new(Registrar { state, founded, changed, arrivals });
        if let Some(reason) = registrar.unfounded() {
            tracing::info!("this node {reason}");
            runtime.spawn(remind(runtime.clone(), Arc::downgrade(&registrar)));
        }
        Ok(registrar)
    }

    /// Returns the registry.
    pub(crate) fn registry(&self) -> Registry {
        self.state.lock().registry.clone()
    }

    /// Returns the present description of a member, if something is known of it.
    pub(crate) fn contact(&self, member: NodeId) -> Option<Contact> {
        self.state.lock().registry.contact(member)
    }

    /// Returns a listener that is notified when anything in the registry changes.
    pub(crate) fn listen(&self) -> EventListener {
        self.changed.listen()
    }

    /// Returns true if this peer has introduced itself since this process started.
    pub(crate) fn is_introduced(&self, peer: NodeId) -> bool {
        self.state.lock().introduced.contains(&peer)
    }

    /// Records the members of this node's own configuration.
    pub(crate) async fn update_roster(&self, roster: Roster) {
        let (recorded, done) = async_channel::bounded(1);
        if self.arrivals.send(Arrival::Roster { roster, recorded }).await.is_ok() {
            // Nothing is sent on it.
            let _ = done.recv().await;
        }
    }

    /// Returns the reason why this node is certainly not a member any more, and never will be, if so.
    pub(crate) fn removed(&self) -> Option<String> {
        self.state.lock().removed.clone()
    }

    /// Returns the reason why the node takes no part in a cluster, if so.
    pub(crate) fn unfounded(&self) -> Option<Unfounded> {
        if self.founded.load(Ordering::Relaxed) {
            return None;
        }
        let State { registry, refused, .. } = &*self.state.lock();
        match refused {
            _ if registry.is_founded() => None,
            Some((peer, refusal)) => Some(Unfounded::Refused(*peer, refusal.clone())),
            None if registry.joins() => {
                Some(Unfounded::Joins { node: registry.node, address: registry.addresses.peers.clone() })
            }
            None => Some(Unfounded::Waits(missing(registry))),
        }
    }

    /// Returns the reason why the node finds no leader, as far as it is in its folder: its cluster is not founded, or a
    /// peer refuses the folder. Other peers may still accept it.
    pub(crate) fn takes_no_part(&self) -> Option<Unfounded> {
        let refused_by = || self.state.lock().refused_by.first_key_value().map(|(peer, why)| (*peer, why.clone()));
        self.unfounded().or_else(|| refused_by().map(|(peer, why)| Unfounded::RefusedBy(peer, why)))
    }
}

fn missing(registry: &Registry) -> String {
    let missing = registry.missing();
    if missing.is_empty() { "a node that has founded or joined it".to_owned() } else { missing.to_string() }
}

#[async_trait]
impl Meet for Registrar {
    fn introduction(&self) -> Introduction {
        self.state.lock().registry.introduction()
    }

    async fn meet(&self, theirs: Introduction) -> Result<bool, MeetError> {
        // Most handshakes change nothing, and need not wait for the thread.
        {
            let mut state = self.state.lock();
            let Meeting { registry, verdict } = state.registry.meet(&theirs);
            match &verdict {
                Err(refusal @ Refusal::Unknown { .. }) => state.refused = Some((theirs.node, refusal.clone())),
                Err(refusal) if refusal.is_removal() => {
                    state.removed = Some(format!("peer {} {refusal}", theirs.node));
                    self.changed.notify(usize::MAX);
                }
                _ => {}
            }
            if registry.is_none() {
                if matches!(verdict, Ok(true)) && state.introduced.insert(theirs.node) {
                    self.changed.notify(usize::MAX);
                }
                return Ok(verdict?);
            }
        }
        let stopped = || MeetError::NotRecorded(io::Error::other("this node is stopping"));
        let (verdict, decided) = async_channel::bounded(1);
        self.arrivals.send(Arrival::Peer { theirs, verdict }).await.map_err(|_| stopped())?;
        decided.recv().await.unwrap_or_else(|_| Err(stopped()))
    }

    fn judged_by(&self, peer: NodeId, refused: Option<&str>) {
        let refused_by = &mut self.state.lock().refused_by;
        match refused {
            Some(reason) => drop(refused_by.insert(peer, reason.to_owned())),
            None => drop(refused_by.remove(&peer)),
        }
    }
}

/// The thread that records peers.
struct Keeper {
    state: Arc<Mutex<State>>,
    founded: Arc<AtomicBool>,
    changed: Arc<Event>,
    file: RegistryFile,
}

impl Keeper {
    /// Judges peers one after the other, and answers once the new registry is durable.
    async fn keep_all(self, arrivals: Receiver<Arrival>) {
        while let Ok(arrival) = arrivals.recv().await {
            match arrival {
                // The connection may be gone.
                Arrival::Peer { theirs, verdict } => drop(verdict.try_send(self.keep(&theirs))),
                Arrival::Roster { roster, recorded } => {
                    self.keep_roster(&roster);
                    drop(recorded);
                }
            }
        }
    }

    fn keep_roster(&self, roster: &Roster) {
        let before = self.state.lock().registry.clone();
        let mut next = before.clone();
        // One without this node is not taken over. A peer whose log has it durably tells this node that it was removed.
        next.update_roster(roster);
        if next == before {
            return;
        }
        // It is in the replicated configuration too, so an error loses nothing.
        if let Err(error) = self.file.keep(&next) {
            tracing::warn!("the members are not recorded in the registry of the data folder: {error}");
        }
        self.state.lock().registry = next;
        self.changed.notify(usize::MAX);
    }

    fn keep(&self, theirs: &Introduction) -> Result<bool, MeetError> {
        // Only this thread changes the registry. Others may read the old one until the new one is durable.
        let before = self.state.lock().registry.clone();
        let Meeting { registry, verdict } = before.meet(theirs);
        if let Some(next) = registry {
            self.file.keep(&next).map_err(MeetError::NotRecorded)?;
            if next.is_founded() && !before.is_founded() {
                let verb = if next.cluster == next.incarnation { "founded" } else { "joined" };
                tracing::info!("this node {verb} the cluster {:016x}", next.cluster);
            }
            self.founded.store(next.is_founded(), Ordering::Relaxed);
            let mut state = self.state.lock();
            (state.registry, state.refused) = (next, None);
            if matches!(verdict, Ok(true)) {
                state.introduced.insert(theirs.node);
            }
            self.changed.notify(usize::MAX);
        }
        Ok(verdict?)
    }
}

/// Logs at intervals that the node takes no part in a cluster yet.
async fn remind<R: Runtime>(runtime: R, registrar: Weak<Registrar>) {
    loop {
        runtime.sleep(REMINDER_INTERVAL).await;
        match registrar.upgrade().and_then(|registrar| registrar.unfounded()) {
            Some(reason @ (Unfounded::Waits(_) | Unfounded::Joins { .. })) => tracing::warn!("this node {reason}"),
            Some(reason) => tracing::error!("this node {reason}"),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_runtime_smol::SmolRuntime;
    use leasehold_storage::Identity;

    #[test]
    fn a_founded_node_says_which_peer_refuses_its_folder_until_that_one_accepts_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity { cluster: "a".to_owned(), node: 1, founders: [1].into() };
        let storage = Storage::open(folder.path(), identity).expect("a new folder");
        let runtime = SmolRuntime::start("test", 1).expect("a runtime");
        let registrar = Registrar::start(&runtime, &storage, Addresses::default(), 1, None).expect("a thread");
        assert_eq!(registrar.takes_no_part(), None);
        registrar.judged_by(3, Some("has an older copy"));
        registrar.judged_by(2, None);
        let reason = registrar.takes_no_part().expect("a reason").to_string();
        assert_eq!(reason, "is refused by peer 3, which says that it has an older copy");
        // The other peers may serve it.
        assert_eq!(registrar.unfounded(), None);
        registrar.judged_by(3, None);
        assert_eq!(registrar.takes_no_part(), None);
    }
}
