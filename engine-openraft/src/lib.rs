//! Leader leases for openraft 0.10, by wrapping its network and its `Raft`.
//!
//! Openraft decides which node leads and which entries are committed. [`leasehold_core`] decides when a leader may answer
//! reads without a quorum round, and when a node may help to elect another leader. Openraft does so in a task of its own,
//! and publishes it late. So the lease stands at both ends of each link:
//!
//! * *Before a request for a vote reaches openraft*, it is refused while this node is held. Otherwise the lease of this node
//!   is suspended until openraft has answered.
//! * *Before a request for a vote leaves*, it is withheld while this node is held. Openraft campaigns when it likes, but
//!   without requests it cannot win, unless it is the only voter: the acknowledgements of a lone voter do not count.
//! * *Before a frame leaves*, the lease learns what others will learn from it: what is committed, and who votes.
//! * *After openraft has accepted a frame*, its round is acknowledged, unless a vote has come between.
//!
//! To add leases to a program:
//!
//! 1. Let the network implement [`TaggedNetwork`] instead of `RaftNetworkV2`. It carries a [`Tag`] with each message.
//! 2. Create a [`Lease`] with [`Lease::new`], which [checks](check) the configuration of openraft, and pass
//!    [`Lease::network`] to `Raft::new`.
//! 3. Let the server pass what peers send to the [`LeasedRaft`] of [`Lease::attach`] instead of `Raft`.
//! 4. Read after [`LeasedRaft::ensure_linearizable`].
//!
//! Every node needs leases, and none may be bypassed: a node that votes without asking its lease makes those of others
//! unsafe. Acknowledgements say how long the node's hold is, and one that does not cover the leader's lease counts for
//! nothing ([`Lease::uncovered_peers`]). Node numbers and log indexes are openraft's: they start where they like.

mod check;
mod lease;
mod network;
mod raft;
mod record;
mod state;
mod tag;

pub use check::{Unsuitable, check};
pub use lease::{Lease, StartError};
pub use leasehold_core::NotATag;
pub use network::{LeasedClient, LeasedFactory, TaggedNetwork, TaggedNetworkFactory};
pub use raft::{Ground, LeasedRaft, NotRead};
pub use record::{FileRecord, Record, Recorded};
pub use tag::Tag;
