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
//! Openraft must be configured for it. A configuration that would make leases unsafe or useless is refused, with the reason:
//!
//! ```
//! use leasehold_core::{Config as Timing, Options};
//! use leasehold_openraft::{Unsuitable, check};
//! use std::time::Duration;
//!
//! openraft::declare_raft_types!(
//!     /// Leases need leader ids with one leader in a term.
//!     Types: D = u64, R = u64, NodeId = u64, Node = (),
//!         LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
//! );
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hold = Duration::from_secs(1);
//! let timing = Timing::new(Options::new(hold, 1000).with_heartbeat(hold / 10))?;
//! let mut config = openraft::Config {
//!     heartbeat_interval: 100, // as that of the lease
//!     election_timeout_min: 500,
//!     election_timeout_max: 1000,
//!     enable_pre_vote: Some(true),
//!     enable_leader_restore: Some(false),
//!     quorum_loss_probe_interval: Some(2000), // the hold and the longest election timeout together
//!     ..Default::default()
//! };
//! check::<Types>(1, &config, &timing)?;
//! config.enable_leader_restore = None; // openraft's default
//! assert_eq!(check::<Types>(1, &config, &timing), Err(Unsuitable::LeaderRestore));
//! # Ok(())
//! # }
//! ```
//!
//! `examples/three_nodes.rs` is a cluster in one process: the store, the network and the server of any program with openraft,
//! and the lines that leases add.
//!
//! | to | use |
//! | --- | --- |
//! | answer a read | [`LeasedRaft::ensure_linearizable`], then the state machine; [`Ground`] says on what ground |
//! | answer it without waiting, or not at all | [`Lease::try_read`], once the index that it returns is applied |
//! | keep what a restart must know | [`FileRecord`], on the disk of the log; or a [`Record`] of your own |
//! | find peers whose acknowledgements do not count | [`Lease::uncovered_peers`] |
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
