//! A simulator of whole clusters: the product's node, keyspace and rules of recovery, on virtual time and in one thread.
//! Everything follows from a seed.
//!
//! # What is real
//!
//! [`Node`](leasehold_node::Node) with its groups, replicas, router and reads, exactly as a server runs it; the published lease
//! and the threads that check it; [`Keyspace`](leasehold::keyspace::Keyspace); encoding and decoding of snapshots; and, in some
//! seeds, the data folder ([`Storage`](leasehold_storage::Storage)). The simulator takes the place of the asynchronous
//! shell alone (`turn.rs`): it gives inputs and readings to the node and carries out its outputs.
//!
//! # What a seed decides
//!
//! First a [`Setup`]: sizes, timing, and how rough links, disks, clocks and schedulers are all the time. Then a plan:
//! faults, each with its time. Every kind of either is on or off, and mild or wild, by its own stream of draws, so that taking
//! one away disturbs the others as little as possible; that is what shrinking does (`shrink.rs`).
//!
//! # What is checked
//!
//! * At every election: no cell anywhere grants a read by the lease of an earlier term. At every permit: no later term had
//!   been won when its reading was taken.
//! * At every vote and campaign: the node's hold is over by true time, whatever its clock says, or released. At every message:
//!   what it depends on is on disk, and its sender's cell grants nothing that it may not (`promises.rs`).
//! * At every answer: it is as of an index no older than the newest that any answer had shown before the request was sent.
//!   That is stricter than what clients can see, and needs no luck with keys.
//! * At every entry applied: it is the one that every other node applied there. One leader per term. The disk's rule about
//!   changes of configuration (`docs/protocol.md`).
//! * At every tick that was withheld for a hold: the first one after it begins the campaign. At every quorum read confirmed:
//!   the term is the one that took it, which the node itself asserts.
//! * At the end: the clients' history, by [`linearizability`](crate::linearizability). All nodes hold the same data.
//! * After all faults have healed, within a bound: there is a leader, its lease is valid, reads were answered by it, and no
//!   request waits for ever. Then, in the calm, leadership is handed over, with the old leader's vote and without it, each time
//!   in less than a hold; and a leader that is cut off steps down (`calm.rs`).
//!
//! # What it does not cover
//!
//! Threads: the cell's memory ordering is checked under loom (`core/tests/loom.rs`), not here. Sockets, the encoding of messages
//! and the handshake: two nodes whose timings do not fit exchange nothing, which is all that is left of it. A server's
//! pipelines and transactions. A disk that lies about a sync, or that returns what was never written.

mod calm;
mod checks;
mod client;
mod clients;
mod clock;
mod disk;
mod failure;
mod fault;
mod faults;
mod marks;
mod network;
mod node;
mod outcome;
mod panics;
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
