//! A simulator of whole clusters: real replicas, the real keyspace and the real rules of recovery, on virtual time and in one
//! thread. Everything follows from a seed.
//!
//! # What is real
//!
//! [`Replica`](leasehold_raft::Replica) with the engine, the holder and the grantor inside it; the lease cell and what
//! reads it; [`Keyspace`](leasehold::keyspace::Keyspace); what the driver keeps on disk
//! ([`Batch`](leasehold_driver::Batch), [`Recovered`](leasehold_driver::Recovered)); and, in some seeds, the data folder itself
//! ([`Storage`](leasehold_storage::Storage)). What is copied here, because the originals are asynchronous, is the loop of
//! `driver/src/drive.rs` (in `drive.rs`) and the order in which `server/src/executor.rs`, `follower.rs` and `peers.rs` do
//! things (in `clients.rs` and `peers.rs`).
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
//! * At every vote and campaign: the node's hold is over by true time, whatever its clock says, or released. At every message: what
//!   it rests on is on disk, and its sender's cell grants nothing that it may not (`promises.rs`).
//! * At every answer: it is as of an index no older than the newest that any answer had shown before it was asked for.
//!   That is stricter than what clients can see, and needs no luck with keys.
//! * At every entry applied: it is the one that everyone else applied there. One leader per term. The disk's rule about
//!   changes of configuration (`docs/protocol.md`).
//! * At every tick that was kept back for a hold: the first one after it begins the campaign. At every quorum read confirmed: the
//!   term is the one that took it.
//! * At the end: what the clients saw, by [`linearizability`](crate::linearizability). All nodes hold the same data.
//! * After all faults have healed, within a bound: there is a leader, its lease is valid, reads were answered by it, and no
//!   request waits for ever. Then, in the calm, leadership is handed over, with the old leader's vote and without it, each time
//!   in less than a hold; and a leader that is cut off steps down (`calm.rs`).
//!
//! # What it does not cover
//!
//! Threads: the cell's memory ordering is checked under loom (`core/tests/loom.rs`), not here. Sockets, frames on the wire
//! and the handshake's bytes: two nodes whose timings do not fit exchange nothing, which is all that is left of it. A server's
//! pipelines and transactions. A disk that lies about a sync, or that returns what was never written.

mod calm;
mod checks;
mod clients;
mod clock;
mod dice;
mod disk;
mod drive;
mod faults;
mod marks;
mod network;
mod node;
mod patterns;
mod peers;
mod plan;
mod promises;
mod setup;
mod shrink;
mod soak;
mod starts;
mod trace;
mod world;

pub use checks::FailureKind;
pub use marks::{MARKS, Mark, Marks};
pub use plan::{Fault, Planned};
pub use setup::{Roughness, Setup};
pub use shrink::{Shrunk, shrink};
pub use soak::{Found, Report, Soak, soak};
pub use trace::tail;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use world::World;

/// Virtual nanoseconds.
pub type Nanos = u64;

/// Whether clocks keep what the protocol assumes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clocks {
    /// They do, at the very edge of it.
    #[default]
    Within,
    /// They do not: to show that what then goes wrong is found.
    Beyond,
}

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What clocks may do.
    pub clocks: Clocks,
    /// Only these of the plan's faults happen, by number; all if not given.
    pub only: Option<Vec<usize>>,
    /// Roughness to take away.
    pub calm: Vec<Roughness>,
    /// Whether to write down what happens.
    pub trace: bool,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule that was broken.
    pub kind: FailureKind,
    /// How.
    pub what: String,
    /// When, in virtual nanoseconds.
    pub at: Nanos,
}

/// How operations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Operations {
    pub lease_reads: u64,
    pub quorum_reads: u64,
    pub follower_reads: u64,
    pub writes: u64,
    /// Surely not executed, and reads that were not answered.
    pub failed: u64,
    /// Writes that nobody knows the fate of.
    pub unknown: u64,
    /// Keys whose history was too hard to judge.
    pub undecided_keys: u64,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How much virtual time passed.
    pub simulated: Nanos,
    /// How many events happened.
    pub events: u64,
    /// How many elections were won.
    pub elections: u64,
    /// Faults that happened, by kind.
    pub faults: [u64; Fault::KINDS],
    /// What was reached.
    pub marks: Marks,
    /// How operations ended.
    pub operations: Operations,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// What happened, if it was written down.
    pub trace: String,
}

/// The plan of a seed.
pub fn plan(seed: u64, options: &Options) -> Vec<Planned> {
    let setup = Setup::draw(seed, options.clocks, &options.calm);
    let mut plan = plan::draw(seed, &setup, options.clocks);
    if let Some(only) = &options.only {
        plan.retain(|planned| only.contains(&planned.number));
    }
    plan
}

/// Runs a seed. A panic in the product is a failure like any other.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let setup = Setup::draw(seed, options.clocks, &options.calm);
    let mut world = World::new(seed, setup, plan(seed, options), options);
    let quiet = soak::Quiet::new();
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    drop(quiet);
    if ended.is_err() {
        let what = soak::last_panic();
        world.failure = Some(Failure { kind: FailureKind::Panic, what, at: world.now });
    }
    Outcome {
        seed,
        simulated: world.now,
        events: world.events,
        elections: world.elections,
        faults: world.faults,
        marks: std::mem::take(&mut world.marks),
        operations: world.operations,
        failure: world.failure.take(),
        trace: world.take_trace(),
    }
}

/// Where data folders are made: in memory if the system has such a place.
fn memory_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
