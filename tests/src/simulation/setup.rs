//! The setup of a seed: the cluster, its timing, and its permanent roughness.

use super::clock::Counter;
use super::types::{Clocks, Nanos};
use leasehold_core::{Config, Options as Timing};
use leasehold_testing::dice::Dice;
use std::time::Duration;

/// A microsecond.
pub(super) const MICRO: Nanos = 1_000;
/// A millisecond.
pub(super) const MILLI: Nanos = 1_000_000;
/// A second.
pub(super) const SECOND: Nanos = 1_000_000_000;

/// A permanent kind of roughness. Each can be removed, to find the ones that a failure depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Roughness {
    /// Links lose frames.
    Loss,
    /// Links deliver frames twice.
    Duplicates,
    /// Links deliver frames out of order.
    Reordering,
    /// Some frames are delayed by up to several holds.
    LateFrames,
    /// Syncs take up to half a hold.
    SlowSyncs,
    /// Clock rates are wrong by up to the drift.
    Drift,
    /// Some clock readings fail.
    FlakyReadings,
    /// Reader threads are interrupted during reads.
    SlowReaders,
    /// The node's task handles its inputs late, several at a time.
    SlowLoop,
    /// Timers fire late.
    LateTimers,
    /// Logs are compacted after a few entries.
    ShortLogs,
}

impl Roughness {
    /// Every kind.
    pub const ALL: [Roughness; 11] = [
        Roughness::Loss,
        Roughness::Duplicates,
        Roughness::Reordering,
        Roughness::LateFrames,
        Roughness::SlowSyncs,
        Roughness::Drift,
        Roughness::FlakyReadings,
        Roughness::SlowReaders,
        Roughness::SlowLoop,
        Roughness::LateTimers,
        Roughness::ShortLogs,
    ];

    /// Returns the name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Roughness::Loss => "loss",
            Roughness::Duplicates => "duplicates",
            Roughness::Reordering => "reordering",
            Roughness::LateFrames => "late-frames",
            Roughness::SlowSyncs => "slow-syncs",
            Roughness::Drift => "drift",
            Roughness::FlakyReadings => "flaky-readings",
            Roughness::SlowReaders => "slow-readers",
            Roughness::SlowLoop => "slow-loop",
            Roughness::LateTimers => "late-timers",
            Roughness::ShortLogs => "short-logs",
        }
    }
}

/// One machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockSetup {
    /// Its rate error.
    pub rate_ppm: i64,
    /// The counter without any guarantee.
    pub wild: Counter,
    /// The number of readings per million that fail.
    pub flaky_ppm: u32,
}

/// The behaviour of links.
#[derive(Clone, Copy, Debug)]
pub struct LinkSetup {
    /// The minimum latency of a frame.
    pub latency: Nanos,
    /// The maximum additional latency of most frames.
    pub jitter: Nanos,
    /// The number of frames per million that are lost.
    pub loss_ppm: u32,
    /// The number of frames per million that arrive twice.
    pub duplicate_ppm: u32,
    /// The number of frames per million that are delayed.
    pub late_ppm: u32,
    /// The maximum delay of such a frame.
    pub latest: Nanos,
    /// Each lane delivers its frames in order.
    pub ordered: bool,
    /// Frames sent by, or addressed to, a process that has ended still arrive.
    pub outlives_processes: bool,
    /// Senders learn that a link is cut.
    pub cuts_are_noticed: bool,
}

/// The load from clients.
#[derive(Clone, Copy, Debug)]
pub struct LoadSetup {
    /// The number of clients.
    pub clients: usize,
    /// The number of keys that they share at a time.
    pub keys: u64,
    /// The average time between two operations of a client.
    pub think: Nanos,
    /// The number of operations per million that are writes.
    pub writes_ppm: u32,
    /// The number of reads per million that use a quorum round despite a valid lease.
    pub quorum_ppm: u32,
    /// The time after which a client gives up.
    pub patience: Nanos,
}

/// A cluster and its environment, as drawn from a seed.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The number of founders, which are nodes 1 through this.
    pub founders: u64,
    /// The number of further nodes that can become members.
    pub spares: u64,
    /// The number of groups on each node.
    pub groups: usize,
    /// The first group decides who the members of all groups are. Otherwise each has members of its own.
    pub decides: bool,
    /// The timings that processes may be started with. All start with the first and end with the last.
    pub timings: Vec<Config>,
    /// The clocks' drift.
    pub drift_ppm: u32,
    /// One clock per node.
    pub clocks: Vec<ClockSetup>,
    /// The links.
    pub links: LinkSetup,
    /// The clients.
    pub load: LoadSetup,
    /// The minimum duration of a sync, and the maximum additional duration.
    pub sync: (Nanos, Nanos),
    /// The number of read steps per million that are interrupted, and the maximum duration of an interruption.
    pub slow_readers: (u32, Nanos),
    /// The maximum time that an input waits for the node's task.
    pub loop_delay: Nanos,
    /// The maximum lateness of a timer.
    pub timer_delay: Nanos,
    /// Logs longer than this many entries are compacted.
    pub log_entries: usize,
    /// The number of entries that a log keeps at most for a follower that makes progress.
    pub kept_log_entries: usize,
    /// The largest size of a chunk of a snapshot with more than one record.
    pub chunk_bytes: usize,
    /// The bytes of entries and of their changes that a node applies in a turn.
    pub apply_bytes: usize,
    /// State machines apply on threads of their own.
    pub applies_on_thread: bool,
    /// The nodes that ask for subleases, one bit for each.
    pub local_readers: u32,
    /// Disks are also real data folders.
    pub real_disks: bool,
    /// Disks may lose the end of what they acknowledged, one at a time, and the voters do not change.
    pub cut_logs: bool,
    /// One more group is created while the nodes run, and removed again.
    pub passing_group: bool,
    /// The duration of the faulty part of the run.
    pub faults_for: Nanos,
}

impl Setup {
    /// Draws the setup of `seed`.
    pub fn draw(seed: u64, clocks: Clocks, calm: &[Roughness]) -> Setup {
        // One group is enough to show that a broken clock is found out, and a failing seed is shrunk faster.
        let groups = if clocks == Clocks::Within { groups(seed) } else { 1 };
        let mut dice = Dice::new(seed, 1);
        let founders = dice.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        let spares = if founders == 7 { 0 } else { dice.pick(&[0, 0, 1, 1, 2]) };
        let hold = dice.of_any_size(500 * MILLI, 20 * SECOND);
        let drift_ppm = dice.pick(&[0, 50, 200, 1_000, 1_000, 20_000, 50_000]);
        let heartbeat = hold / dice.pick(&[4, 6, 10, 10, 10, 20]);
        let timings = timings(&mut dice, hold, heartbeat, drift_ppm);

        // Each kind has its own stream of draws, for whether it is on and how severe it is.
        let rough = |kind: Roughness| {
            let mut dice = Dice::new(seed, 100 + kind as u64);
            (dice.chance(450_000) && !calm.contains(&kind)).then_some(dice)
        };
        let per_million = |kind, least, most| rough(kind).map_or(0, |mut dice| dice.of_any_size(least, most) as u32);
        let nodes = founders + spares;
        let drift = rough(Roughness::Drift);
        let flaky_ppm = per_million(Roughness::FlakyReadings, 500, 100_000);
        let mut clock_dice = drift.clone().unwrap_or(Dice::new(seed, 2));
        let clocks = (0..nodes).map(|_| {
            let wild = if clock_dice.chance(750_000) { Counter::Awake } else { Counter::Total };
            let rate_ppm = if drift.is_some() { rate(&mut clock_dice, drift_ppm, clocks) } else { 0 };
            ClockSetup { rate_ppm, wild, flaky_ppm }
        });
        let clocks = clocks.collect();

        let latency = dice.of_any_size(20 * MICRO, heartbeat / 8);
        let links = LinkSetup {
            latency,
            jitter: dice.of_any_size(latency / 4 + 1, latency * 2),
            loss_ppm: per_million(Roughness::Loss, 200, 200_000),
            duplicate_ppm: per_million(Roughness::Duplicates, 500, 200_000),
            late_ppm: per_million(Roughness::LateFrames, 200, 20_000),
            latest: dice.of_any_size(hold / 2, hold * 6),
            ordered: rough(Roughness::Reordering).is_none(),
            outlives_processes: dice.chance(500_000),
            cuts_are_noticed: dice.chance(500_000),
        };
        let think = hold / dice.of_any_size(1, 24);
        let load = LoadSetup {
            clients: dice.between(2, 6) as usize,
            keys: dice.between(1, 4),
            think,
            writes_ppm: dice.of_any_size(60_000, 700_000) as u32,
            quorum_ppm: dice.pick(&[0, 20_000, 20_000, 200_000]),
            patience: dice.of_any_size(SECOND, 12 * SECOND),
        };
        let sync = dice.of_any_size(20 * MICRO, heartbeat / 20);
        let slow_sync = rough(Roughness::SlowSyncs).map_or(sync, |mut dice| dice.of_any_size(heartbeat / 8, hold / 2));
        let log_entries = rough(Roughness::ShortLogs).map_or(100_000, |mut dice| dice.of_any_size(4, 400) as usize);
        let mut transfers = Dice::new(seed, 5);
        let up_to = |kind, least, most| rough(kind).map_or(0, |mut dice| dice.of_any_size(least, most));
        let real_disks = Dice::new(seed, 3).chance(50_000);
        let cut_logs = founders >= 3 && !real_disks && Dice::new(seed, 4).chance(200_000);
        let decides = groups > 1 && Dice::new(seed, 12).chance(500_000);
        Setup {
            founders,
            spares,
            groups,
            decides,
            timings,
            drift_ppm,
            clocks,
            links,
            load,
            sync: (sync, slow_sync),
            slow_readers: (
                per_million(Roughness::SlowReaders, 10_000, 400_000),
                dice.of_any_size(heartbeat / 10, hold * 3),
            ),
            loop_delay: up_to(Roughness::SlowLoop, heartbeat / 50, heartbeat / 4),
            timer_delay: up_to(Roughness::LateTimers, heartbeat / 20, heartbeat / 2),
            log_entries,
            kept_log_entries: log_entries * transfers.of_any_size(1, 32) as usize,
            chunk_bytes: transfers.of_any_size(1, 400) as usize,
            apply_bytes: apply_bytes(seed),
            applies_on_thread: Dice::new(seed, 9).chance(300_000),
            local_readers: local_readers(seed),
            real_disks,
            cut_logs,
            // A disk that loses its end may lose that a group was created or removed. Groups that follow the members of
            // another one are hosted by all of them, and this one is not.
            passing_group: groups > 1 && !decides && !cut_logs && Dice::new(seed, 11).chance(500_000),
            faults_for: hold * dice.of_any_size(40, 320),
        }
    }

    /// Returns the number of groups that a node may host at once.
    pub(super) fn most_groups(&self) -> usize {
        self.groups + usize::from(self.passing_group)
    }

    /// Returns the number of nodes, members or not.
    pub fn nodes(&self) -> usize {
        (self.founders + self.spares) as usize
    }

    /// Returns the hold that nodes start with.
    pub fn hold(&self) -> Nanos {
        self.timings[0].hold().as_nanos() as Nanos
    }

    /// Returns the longest hold of any timing.
    pub fn longest_hold(&self) -> Nanos {
        let holds = self.timings.iter().map(|timing| timing.hold().as_nanos() as Nanos);
        holds.max().expect("there is a timing")
    }

    /// Returns the heartbeat interval, which all timings share.
    pub fn heartbeat(&self) -> Nanos {
        self.timings[0].heartbeat().as_nanos() as Nanos
    }
}

/// Draws the number of groups: several in a quarter of the seeds.
fn groups(seed: u64) -> usize {
    let mut dice = Dice::new(seed, 6);
    if dice.chance(250_000) { dice.between(2, 8) as usize } else { 1 }
}

/// Draws the nodes that read locally: some in a third of the seeds.
fn local_readers(seed: u64) -> u32 {
    let mut dice = Dice::new(seed, 10);
    if dice.chance(333_333) { dice.below(255) as u32 + 1 } else { 0 }
}

/// Draws the bytes of entries that a group applies in a turn: so few in some seeds that it is one entry.
fn apply_bytes(seed: u64) -> usize {
    let mut dice = Dice::new(seed, 8);
    if dice.chance(200_000) { dice.of_any_size(1, 1_000) as usize } else { 256 << 10 }
}

/// Draws a rate error. It is often as large as permitted.
pub(super) fn rate(dice: &mut Dice, drift_ppm: u32, clocks: Clocks) -> i64 {
    let most = i64::from(drift_ppm);
    match clocks {
        Clocks::Within => match dice.below(4) {
            0 => most,
            1 => -most,
            _ => dice.below(2 * drift_ppm as u64 + 1) as i64 - most,
        },
        Clocks::Beyond => dice.pick(&[-600_000, -300_000, -most, 0, most, 300_000, 900_000]),
    }
}

/// Returns the timings of a rolling restart: both ends and the step in between. Holds are lengthened before leases.
fn timings(dice: &mut Dice, hold: Nanos, heartbeat: Nanos, drift_ppm: u32) -> Vec<Config> {
    let timing = |hold: Nanos, lease: Option<Duration>| {
        let longest =
            Timing::new(Duration::from_nanos(hold), drift_ppm).with_heartbeat(Duration::from_nanos(heartbeat));
        let timing = lease.map_or(longest, |lease| longest.with_lease(lease));
        Config::new(timing).expect("a timing that fits together")
    };
    let here = timing(hold, dice.chance(300_000).then(|| Duration::from_nanos(dice.between(hold / 2, hold * 9 / 10))));
    let longer = timing(hold * dice.between(11, 30) / 10, None);
    let between = timing(longer.hold().as_nanos() as Nanos, Some(here.lease()));
    if dice.chance(500_000) { vec![here, between, longer] } else { vec![longer, between, here] }
}
