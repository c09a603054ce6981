//! What a seed draws before anything happens: the cluster, its timing, and how rough its world is all the time.

use super::clock::Counter;
use super::types::{Clocks, Nanos};
use leasehold_core::{Config, Options as Timing};
use leasehold_testing::dice::Dice;
use std::time::Duration;

/// A microsecond, a millisecond and a second.
pub(super) const MICRO: Nanos = 1_000;
/// A millisecond.
pub(super) const MILLI: Nanos = 1_000_000;
/// A second.
pub(super) const SECOND: Nanos = 1_000_000_000;

/// What is rough all the time. Each can be taken away, to find out what a failure needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Roughness {
    /// Links lose frames.
    Loss,
    /// Links deliver frames twice.
    Duplicates,
    /// Links deliver frames out of order.
    Reordering,
    /// Now and then a frame is held for as long as some holds.
    LateFrames,
    /// Syncs take as long as some heartbeats.
    SlowSyncs,
    /// Clocks go wrong by as much as the drift allows.
    Drift,
    /// Clocks give no reading now and then.
    FlakyReadings,
    /// Reader threads are taken from their processor in the middle of a read.
    SlowReaders,
    /// The loop takes its inputs late and several at a time.
    SlowLoop,
    /// Timers fire late.
    LateTimers,
    /// Logs are compacted after few entries.
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

    /// Its name, as the command line takes it.
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
    /// The counter that may do anything.
    pub wild: Counter,
    /// How often in a million it gives no reading.
    pub flaky_ppm: u32,
}

/// What links do to frames.
#[derive(Clone, Copy, Debug)]
pub struct LinkSetup {
    /// How long a frame takes at least.
    pub latency: Nanos,
    /// And how much longer at most, most of the time.
    pub jitter: Nanos,
    /// How many in a million are lost.
    pub loss_ppm: u32,
    /// How many in a million arrive twice.
    pub duplicate_ppm: u32,
    /// How many in a million are held back, and for how long at most.
    pub late_ppm: u32,
    /// For how long at most.
    pub latest: Nanos,
    /// Whether a lane delivers in order.
    pub ordered: bool,
    /// Whether a frame of a process that has ended, or for one that has ended, still arrives.
    pub outlives_processes: bool,
    /// Whether a sender learns that a link is cut.
    pub cuts_are_noticed: bool,
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct LoadSetup {
    /// How many there are.
    pub clients: usize,
    /// How many keys they share at a time.
    pub keys: u64,
    /// How long one waits between operations, on average.
    pub think: Nanos,
    /// How many in a million operations are writes.
    pub writes_ppm: u32,
    /// How many in a million reads ask for a quorum round though there is a lease.
    pub quorum_ppm: u32,
    /// How long a client waits before it gives up.
    pub patience: Nanos,
}

/// A cluster and its world, as a seed draws them.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The founders are nodes 1 through this.
    pub founders: u64,
    /// And this many more can be made members.
    pub spares: u64,
    /// The timings that processes may be started with; the last is the one at the end. All start with the first.
    pub timings: Vec<Config>,
    /// The clocks' drift.
    pub drift_ppm: u32,
    /// One clock per node.
    pub clocks: Vec<ClockSetup>,
    /// The links.
    pub links: LinkSetup,
    /// The clients.
    pub load: LoadSetup,
    /// How long a sync takes at least, and how much longer at most.
    pub sync: (Nanos, Nanos),
    /// How many in a million steps of a read are interrupted, and for how long at most.
    pub slow_readers: (u32, Nanos),
    /// How long an input waits for the loop at most.
    pub loop_delay: Nanos,
    /// How late a timer fires at most.
    pub timer_delay: Nanos,
    /// Logs longer than this are compacted.
    pub log_entries: usize,
    /// Whether disks are real data folders instead of memory.
    pub real_disks: bool,
    /// How long faults happen.
    pub faults_for: Nanos,
}

impl Setup {
    /// What `seed` draws.
    pub fn draw(seed: u64, clocks: Clocks, calm: &[Roughness]) -> Setup {
        let mut dice = Dice::new(seed, 1);
        let founders = dice.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        let spares = if founders == 7 { 0 } else { dice.pick(&[0, 0, 1, 1, 2]) };
        let hold = dice.of_any_size(500 * MILLI, 20 * SECOND);
        let drift_ppm = dice.pick(&[0, 50, 200, 1_000, 1_000, 20_000, 50_000]);
        let heartbeat = hold / dice.pick(&[4, 6, 10, 10, 10, 20]);
        let timings = timings(&mut dice, hold, heartbeat, drift_ppm);

        // Whether a kind is on, and how rough it is then, follows from a stream of its own.
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
        let up_to = |kind, least, most| rough(kind).map_or(0, |mut dice| dice.of_any_size(least, most));
        Setup {
            founders,
            spares,
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
            log_entries: rough(Roughness::ShortLogs).map_or(100_000, |mut dice| dice.of_any_size(4, 400) as usize),
            real_disks: Dice::new(seed, 3).chance(50_000),
            faults_for: hold * dice.of_any_size(40, 320),
        }
    }

    /// How many nodes there are, members or not.
    pub fn nodes(&self) -> usize {
        (self.founders + self.spares) as usize
    }

    /// The hold that nodes start with.
    pub fn hold(&self) -> Nanos {
        self.timings[0].hold().as_nanos() as Nanos
    }

    /// The longest hold of any timing.
    pub fn longest_hold(&self) -> Nanos {
        let holds = self.timings.iter().map(|timing| timing.hold().as_nanos() as Nanos);
        holds.max().expect("there is a timing")
    }

    /// The heartbeat of every timing.
    pub fn heartbeat(&self) -> Nanos {
        self.timings[0].heartbeat().as_nanos() as Nanos
    }
}

/// A rate error: any, but often as large as it may be.
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

/// What a rolling restart from one timing to another goes through, and both ends. Holds are lengthened before leases are.
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
