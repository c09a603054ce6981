//! Checks of the parsers, for any bytes: one function for each place where bytes from outside enter.
//!
//! Each function takes any bytes and panics if a guarantee is broken. `cargo fuzz` searches for such bytes (see
//! `fuzz/README.md`); the test `fuzzed` tries the corpora and seeded mutations of them. Every check includes that nothing panics.
//! In a program with the allocator [`Counting`], it includes that memory grows with the bytes received, not with the lengths
//! they claim.

mod clients;
mod disk;
mod memory;
mod peers;
mod replica;
mod source;

pub use clients::{client_commands, client_requests, log_entries, traces};
pub use disk::stored_folders;
pub use memory::Counting;
pub use peers::{handshakes, peer_frames, peer_messages, snapshots};
pub use replica::envelopes;

/// A place where bytes enter.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its function, its corpus and its `cargo fuzz` target.
    pub name: &'static str,
    /// Checks any bytes, and panics if a guarantee is broken.
    pub run: fn(&[u8]),
    /// The duration of one run, in units of the shortest. A bounded number of runs is divided by it.
    pub weight: u32,
}

/// Every place where bytes enter.
pub const TARGETS: [Target; 10] = [
    Target { name: "client_requests", run: client_requests, weight: 1 },
    Target { name: "client_commands", run: client_commands, weight: 2 },
    Target { name: "log_entries", run: log_entries, weight: 1 },
    Target { name: "traces", run: traces, weight: 2 },
    Target { name: "peer_frames", run: peer_frames, weight: 1 },
    Target { name: "peer_messages", run: peer_messages, weight: 1 },
    Target { name: "handshakes", run: handshakes, weight: 1 },
    Target { name: "snapshots", run: snapshots, weight: 1 },
    Target { name: "envelopes", run: envelopes, weight: 4 },
    Target { name: "stored_folders", run: stored_folders, weight: 40 },
];
