//! The links follow the members: this node dials those of the newest roster that it knows, at the addresses that they
//! announced, and tells its replica what it knows of them.

use crate::keyspace::Keyspace;
use crate::registrar::Registrar;
use futures::FutureExt as _;
use futures::future::{Either, select};
use leasehold_core::NodeId;
use leasehold_node::Handle;
use leasehold_node::identity::{Contact, Registry};
use leasehold_runtime::Runtime;
use leasehold_transport_tcp::Transport;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// The time for which a peer is dialed at one address before the next one is tried: longer than a dial may take.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(6);

/// The parts between which this task carries the members.
pub(crate) struct Follow<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) handle: Handle<Keyspace>,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) transport: Arc<Transport<R>>,
    /// The addresses of `--peers`: where to look first, until a peer has announced its own.
    pub(crate) seeds: BTreeMap<NodeId, String>,
    /// Only those addresses are used.
    pub(crate) pinned: bool,
}

/// The addresses at which a peer may be, and the number of those that were tried before the present one.
type Candidates = BTreeMap<NodeId, (Vec<String>, usize)>;

impl<R: Runtime> Follow<R> {
    /// Runs until the node stops.
    pub(crate) async fn run(self) {
        let mut told = BTreeMap::new();
        let mut candidates = Candidates::new();
        let mut next_address = self.runtime.sleep(ADDRESS_TIMEOUT).boxed();
        loop {
            let known = self.registrar.listen();
            let roster = self.handle.members().roster();
            let applied = roster.changed;
            if applied > self.registrar.registry().roster.changed {
                self.registrar.update_roster(roster).await;
            }
            let registry = self.registrar.registry();
            let contacts = registry.contacts();
            self.find_candidates(&mut candidates, &registry, &contacts);
            let present = |(addresses, tried): &(Vec<String>, usize)| addresses[tried % addresses.len()].clone();
            self.transport.set_peers(candidates.iter().map(|(node, tried)| (*node, present(tried))).collect());
            if registry.is_founded() && contacts != told {
                told.clone_from(&contacts);
                self.handle.set_contacts(contacts).await;
            }
            let changed = self.handle.wait_status(|status| status.stopped || status.members_changed != applied);
            match select(&mut next_address, select(known, pin!(changed))).await {
                Either::Left(_) => {
                    // A peer may have moved while this node was away, or announce an address that leads nowhere from here.
                    let down = candidates.iter_mut().filter(|(node, _)| !self.transport.peer_up(**node));
                    down.for_each(|(_, (_, tried))| *tried += 1);
                    next_address = self.runtime.sleep(ADDRESS_TIMEOUT).boxed();
                }
                Either::Right((Either::Right((status, _)), _)) if status.stopped => return,
                Either::Right(_) => {}
            }
        }
    }

    /// Brings the candidates up to date. A peer whose addresses have changed is dialed at the first one again.
    fn find_candidates(&self, candidates: &mut Candidates, registry: &Registry, contacts: &BTreeMap<NodeId, Contact>) {
        let peers: Vec<NodeId> =
            if registry.joins() { self.seeds.keys().copied().collect() } else { registry.members().iter().collect() };
        candidates.retain(|node, _| peers.contains(node));
        for node in peers {
            let listed = registry.roster.members.get(&node);
            let announced = contacts.get(&node).into_iter().chain(listed).map(|contact| &contact.addresses.peers);
            let announced = announced.filter(|address| !address.is_empty() && !self.pinned);
            let seed = self.seeds.get(&node);
            let mut addresses: Vec<String> = match self.registrar.is_introduced(node) {
                true => announced.chain(seed).cloned().collect(),
                false => seed.into_iter().chain(announced).cloned().collect(),
            };
            let mut seen = BTreeSet::new();
            addresses.retain(|address| seen.insert(address.clone()));
            if addresses.is_empty() {
                candidates.remove(&node);
            } else if candidates.get(&node).is_none_or(|(before, _)| *before != addresses) {
                candidates.insert(node, (addresses, 0));
            }
        }
    }
}
