//! The links follow the members: this node dials those of the newest roster that it knows, at the addresses that they
//! announced, and tells its replica what it knows of them.

use crate::keyspace::Keyspace;
use crate::registrar::Registrar;
use futures::future::{Either, select};
use leasehold_core::NodeId;
use leasehold_node::Handle;
use leasehold_node::identity::{Contact, Registry};
use leasehold_runtime::Runtime;
use leasehold_transport_tcp::Transport;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

/// The parts between which this task carries the members.
pub(crate) struct Follow<R: Runtime> {
    pub(crate) handle: Handle<Keyspace>,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) transport: Arc<Transport<R>>,
    /// The addresses of `--peers`: where to look until a peer has announced its own.
    pub(crate) seeds: BTreeMap<NodeId, String>,
    /// Those addresses are used even then.
    pub(crate) pinned: bool,
}

impl<R: Runtime> Follow<R> {
    /// Runs until the node stops.
    pub(crate) async fn run(self) {
        let mut told = BTreeMap::new();
        loop {
            let known = self.registrar.listen();
            let roster = self.handle.members().roster();
            let applied = roster.changed;
            if applied > self.registrar.registry().roster.changed {
                self.registrar.update_roster(roster).await;
            }
            let registry = self.registrar.registry();
            let contacts = registry.contacts();
            self.transport.set_peers(self.addresses(&registry, &contacts));
            if registry.is_founded() && contacts != told {
                told.clone_from(&contacts);
                self.handle.set_contacts(contacts).await;
            }
            let changed = self.handle.wait_status(|status| status.stopped || status.members_changed != applied);
            if let Either::Right((status, _)) = select(known, pin!(changed)).await
                && status.stopped
            {
                return;
            }
        }
    }

    /// Returns the nodes to dial, each with its address.
    fn addresses(&self, registry: &Registry, contacts: &BTreeMap<NodeId, Contact>) -> BTreeMap<NodeId, String> {
        if registry.joins() {
            return self.seeds.clone();
        }
        let address = |node: NodeId| {
            let seed = self.seeds.get(&node).filter(|_| self.pinned || !self.registrar.is_introduced(node));
            let announced = contacts.get(&node).map(|contact| &contact.addresses.peers);
            let address = seed.or(announced.filter(|announced| !announced.is_empty()));
            Some((node, address.or(self.seeds.get(&node))?.clone()))
        };
        registry.members().iter().filter_map(address).collect()
    }
}
