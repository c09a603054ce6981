//! What the parsers must hold to, whatever bytes come: one function for each place where bytes from outside enter.
//!
//! Each takes any bytes and panics if a promise is broken. `cargo fuzz` searches for such bytes (see `fuzz/README.md`); the
//! test `fuzzed` tries those that were found interesting, and seeded mutations of them. All of them check that nothing
//! panics, and that memory follows the bytes that came and not the lengths they claim, where [`Counting`] is the
//! program's allocator.

mod clients;
mod disk;
mod memory;
mod peers;
mod replica;
mod source;

pub use clients::{client_commands, client_requests, log_entries, traces};
pub use disk::stored_folders;
pub use memory::Counting;
pub use peers::{handshakes, peer_frames, peer_requests, snapshots};
pub use replica::envelopes;

/// A place where bytes enter.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its function, its corpus and its `cargo fuzz` target.
    pub name: &'static str,
    /// Takes any bytes, and panics at a broken promise.
    pub run: fn(&[u8]),
    /// How long one run takes, in units of the shortest: what a bounded number of runs is divided by.
    pub weight: u32,
}

/// Every place where bytes enter.
pub const TARGETS: [Target; 10] = [
    Target { name: "client_requests", run: client_requests, weight: 1 },
    Target { name: "client_commands", run: client_commands, weight: 2 },
    Target { name: "log_entries", run: log_entries, weight: 1 },
    Target { name: "traces", run: traces, weight: 2 },
    Target { name: "peer_frames", run: peer_frames, weight: 1 },
    Target { name: "peer_requests", run: peer_requests, weight: 1 },
    Target { name: "handshakes", run: handshakes, weight: 1 },
    Target { name: "snapshots", run: snapshots, weight: 1 },
    Target { name: "envelopes", run: envelopes, weight: 4 },
    Target { name: "stored_folders", run: stored_folders, weight: 40 },
];
