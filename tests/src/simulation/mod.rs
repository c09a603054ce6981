//! A simulator of whole clusters: the product's node, keyspace and recovery rules, on virtual time and in one thread. A
//! run is determined by its seed.
//!
//! # Real code
//!
//! [`Node`](leasehold_node::Node) with its groups, replicas, router and reads, exactly as a server runs it; the
//! published lease and the threads that check it; [`Keyspace`](leasehold::keyspace::Keyspace); encoding and decoding of
//! snapshots; and, in some seeds, the data folder ([`Storage`](leasehold_storage::Storage)). The simulator replaces
//! only the asynchronous shell (`turn.rs`): it passes inputs and readings to the node and carries out its outputs.
//!
//! # Seeds
//!
//! A seed draws a [`Setup`] first: sizes, timing, and the permanent roughness of links, disks, clocks and schedulers.
//! Then it draws a plan: faults, each with its time. Each kind of roughness and of fault has its own stream of draws,
//! which decides whether it is on and how severe it is. Removing one kind therefore disturbs the others as little as
//! possible, which shrinking relies on (`shrink.rs`).
//!
//! In a quarter of the seeds, every node hosts two to eight groups. Clients divide their requests among them. A fault of
//! leadership or membership hits one group, and every other fault all of them. In half of these seeds, one group decides
//! on the members of all (`decisions.rs`), by the changes that operators can make.
//!
//! In half of the other seeds with several groups, one more is created on each node while it runs, and removed again. It
//! shares everything with the others, and only its leases are checked (`passing.rs`).
//!
//! In a third of the seeds, some nodes read locally, by subleases.
//!
//! # Checks
//!
//! Each group has its own oracle.
//!
//! * At every election: no cell on any node grants a read under a lease of an earlier term. At every permit: no later
//!   term had been won when its reading was taken.
//! * At every vote and campaign: the node's hold is over in true time, or released, regardless of its own clock. At
//!   every message: the state it depends on is durable, and the sender's cell grants no read that it must not
//!   (`promises.rs`).
//! * At every answer: it reflects an index no older than the newest index that any answer had reflected before the
//!   request was sent. This is stricter than what clients can observe, and does not depend on which keys they use.
//! * At every entry applied: every other node applied the same entry at that index. One leader per term. The disk rule
//!   about configuration changes (`docs/protocol.md`).
//! * At every configuration of the group that decides on the members: each member that is not in it any more was released
//!   by every other group, durably on some node.
//! * At every tick withheld because of a hold: the first tick after the hold starts the campaign. At every quorum read
//!   confirmed: the term is the one that accepted it; the node itself asserts this.
//! * At the end: the clients' history is checked by [`linearizability`](crate::linearizability). All nodes hold the
//!   same data.
//! * After all faults have healed, within a bound: there is a leader, its lease is valid, it answered reads, and no
//!   request is pending. Then, in one group of the calm cluster, leadership is transferred with the old leader's vote and
//!   without it, each time within a hold; and an isolated leader steps down (`calm.rs`).
//!
//! # Not covered
//!
//! Threads: the cell's memory ordering is checked under loom (`core/tests/loom.rs`). Sockets, message encoding and the
//! bytes of the handshake: only its decisions are made, by the product's code, before the first frame between two
//! processes. A server's pipelines and transactions. A disk that lies about a sync, or that returns data that was never written.

mod calm;
mod checks;
mod client;
mod clients;
mod clock;
mod decisions;
mod disk;
mod failure;
mod fault;
mod faults;
mod folders;
mod marks;
mod network;
mod node;
mod outcome;
mod panics;
mod passing;
mod patterns;
mod plan;
mod process;
mod promises;
mod run;
mod setup;
mod shrink;
mod soak;
mod trace;
mod turn;
mod types;
mod walls;
mod world;

pub use failure::FailureKind;
pub use fault::{Fault, Planned};
pub use marks::{MARKS, Mark, Marks};
pub use outcome::{Failure, Operations, Options, Outcome};
pub use run::{plan, run};
pub use setup::{Roughness, Setup};
pub use shrink::{Shrunk, shrink};
pub use soak::{Found, Report, Soak, soak};
pub use trace::tail;
pub use types::{Clocks, Nanos};
