//! The options of a replica, and the engine's configuration that follows from them.

use leasehold_core::{Config, Index, NodeId, Term};
use std::time::Duration;

/// The maximum size of the entries in one append.
const MAX_APPEND_BYTES: u64 = 1 << 20;
/// The maximum number of appends in flight to one follower.
const MAX_APPENDS_IN_FLIGHT: usize = 256;
/// The maximum size of the proposals that wait to be committed. Further proposals are refused.
const MAX_UNCOMMITTED_BYTES: u64 = 256 << 20;
/// The maximum size of the entries handed out for applying at once.
const MAX_APPLY_BYTES: u64 = 16 << 20;

/// The maximum number of ticks in a hold.
const MAX_TICKS_PER_HOLD: u32 = 64;

/// The options of one replica.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The id of this node; not 0.
    pub id: NodeId,
    /// Hold, lease, drift and heartbeat.
    pub config: Config,
    /// The seed of the election timeouts: equal seeds draw equal timeouts.
    pub seed: u64,
    /// A number that no other process of this node has, unless by chance: the seed, unless it is set otherwise.
    pub process: u64,
    /// True if the inputs of the holder and the grantor are recorded for
    /// [`Replica::take_trace`](crate::Replica::take_trace). Off by default.
    pub record: bool,
    /// The time for which the replica is held from its first reading, if that is known: the process before this one recorded
    /// it when it stopped in an orderly way, or this process has run for a part of its restart hold. A record must be
    /// removed durably before the first input.
    pub remaining_hold: Option<Duration>,
    /// The durable count of this node's starts, which is higher than that of every earlier process. It numbers requests for
    /// subleases: see [`Replica::set_local_reads`](crate::Replica::set_local_reads). `None` if the node is never to ask for
    /// any.
    pub starts: Option<u64>,
    /// True if this node grants subleases while it leads, as it does by default. Reads by a sublease rest on the clocks of
    /// both nodes, and writes wait for the readers.
    pub lends: bool,
}

impl Options {
    /// Returns options with recording off.
    pub fn new(id: NodeId, config: Config, seed: u64) -> Options {
        Options { id, config, seed, process: seed, record: false, remaining_hold: None, starts: None, lends: true }
    }

    /// Returns the length of an engine tick: half a heartbeat. It is not much shorter than a hold, because timers are a
    /// millisecond or two late, and an election timeout must not grow to many holds.
    pub(crate) fn tick(&self) -> Duration {
        (self.config.heartbeat() / 2).max(self.config.hold() / MAX_TICKS_PER_HOLD)
    }

    /// Returns the configuration of an engine that starts with everything through `applied` applied.
    pub(crate) fn engine_config(&self, applied: Index) -> raft::Config {
        let ticks = self.config.hold().as_nanos() / self.tick().as_nanos().max(1);
        let election_tick = usize::try_from(ticks).unwrap_or(usize::MAX / 4);
        raft::Config {
            id: self.id,
            // No longer than the hold: the engine itself refuses votes for this long, and must not refuse them longer.
            election_tick,
            heartbeat_tick: 2,
            min_election_tick: election_tick,
            max_election_tick: 2 * election_tick + 2,
            applied,
            check_quorum: true,
            pre_vote: true,
            // The engine's lease reads consult no clock. The replica uses none of its reads: all go through the holder.
            read_only_option: raft::ReadOnlyOption::Safe,
            max_size_per_msg: MAX_APPEND_BYTES,
            max_inflight_msgs: MAX_APPENDS_IN_FLIGHT,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_APPLY_BYTES,
            batch_append: true,
            // The replica broadcasts the commit index itself: see `Replica::broadcast_commit`.
            skip_bcast_commit: true,
            ..Default::default()
        }
    }

    /// Returns a number that follows from the seed, this node, the term and the campaigns of this process.
    pub(crate) fn random(&self, term: Term, campaigns: u64) -> u64 {
        mix(self.seed ^ mix(term) ^ mix(campaigns.wrapping_mul(3)) ^ mix(self.id << 20))
    }
}

/// Returns a well-mixed number from a counter (the finalizer of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
