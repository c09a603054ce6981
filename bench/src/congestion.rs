//! The lease when everything but the heartbeats is slow, which is why this project exists.
//!
//! A cluster of replicas runs on virtual time. A slow stage delays appends and quorum reads, so that a quorum read
//! takes longer than a lease is valid. Two published designs, a few lines each, are evaluated in the same run:
//!
//! * *caller time*: a reader without a lease takes the time, makes a quorum read, and then holds a lease from the time
//!   it took;
//! * *receive time*: the lease runs from when the leader received the acknowledgements.

use crate::report::{Report, Row};
use leasehold_core::NodeId;
use leasehold_raft::Role;
use leasehold_testing::cluster::{Cluster, timing};
use std::collections::BTreeMap;
use std::time::Duration;

/// The delay of the slow stage: one and a half times the lease.
const STAGE: Duration = Duration::from_millis(1500);
const STEP: Duration = Duration::from_millis(1);

/// A lease whose start is read by the caller, before its quorum read.
#[derive(Default)]
struct CallerTime {
    until: Duration,
    /// Quorum reads in flight: the end of each, and the time that its caller read.
    in_flight: Vec<(Duration, Duration)>,
}

impl CallerTime {
    fn read(&mut self, now: Duration) -> bool {
        let valid = now < self.until;
        if !valid {
            self.in_flight.push((now + STAGE, now));
        }
        valid
    }

    fn advance(&mut self, now: Duration) {
        let lease = timing().lease();
        for (_, taken) in self.in_flight.extract_if(.., |(ends, _)| *ends <= now) {
            self.until = self.until.max(taken + lease);
        }
    }
}

/// A lease that runs from the receipt of the acknowledgements of a majority.
#[derive(Default)]
struct ReceiveTime {
    received: BTreeMap<NodeId, Duration>,
}

impl ReceiveTime {
    /// Of three nodes, the leader and any other are a majority.
    fn is_valid(&self, now: Duration) -> bool {
        self.received.values().any(|at| now < *at + timing().lease())
    }
}

/// All reads, and those answered under a lease, per design.
#[derive(Default, Clone, Copy)]
struct Tally {
    reads: u32,
    ours: u32,
    caller: u32,
    receive: u32,
}

pub(crate) fn run(quick: bool) -> Report {
    let seconds = if quick { 10 } else { 60 };
    let timeline = congested(seconds);
    let total = timeline.iter().fold(Tally::default(), |sum, second| Tally {
        reads: sum.reads + second.reads,
        ours: sum.ours + second.ours,
        caller: sum.caller + second.caller,
        receive: sum.receive + second.receive,
    });
    let share = |part: u32| f64::from(part) / f64::from(total.reads);
    let schedules = if quick { 5 } else { 20 };
    let stale = (0..schedules)
        .map(|at| delayed_response(Duration::from_millis(50 * at)))
        .fold((0, 0, 0), |sum, stale| (sum.0 + stale.0, sum.1 + stale.1, sum.2 + stale.2));
    let row = |name: &str, ours: f64, peer: f64, unit| Row {
        name: name.to_owned(),
        ours: Some(ours),
        peer: Some(peer),
        unit,
        spread: 0.0,
        target: None,
    };
    let plot = |name: &str, of: fn(&Tally) -> u32| {
        let bars: String = timeline.iter().map(|second| bar(of(second), second.reads)).collect();
        format!("  {name:<14}{bars}")
    };
    Report {
        title: format!(
            "{seconds} s of virtual time, a read each millisecond; appends and quorum reads take {} ms, the lease \
             lasts {} ms",
            STAGE.as_millis(),
            timing().lease().as_millis()
        ),
        ours: "leasehold",
        peer: "published",
        rows: vec![
            row("by lease / caller time", share(total.ours), share(total.caller), "share"),
            row("by lease / receive time", share(total.ours), share(total.receive), "share"),
            row("stale reads / caller time", f64::from(stale.0), f64::from(stale.1), "reads"),
            row("stale reads / receive time", f64::from(stale.0), f64::from(stale.2), "reads"),
        ],
        notes: vec![
            format!(
                "Share of reads answered under the lease, second by second:\n{}\n{}\n{}",
                plot("leasehold", |second| second.ours),
                plot("caller time", |second| second.caller),
                plot("receive time", |second| second.receive),
            ),
            format!(
                "Stale reads are counted in {schedules} runs of another schedule: the acknowledgements of one round \
                 wait {} ms in the leader's queue while the leader is isolated and another is elected and acknowledges \
                 a write.",
                STAGE.as_millis()
            ),
        ],
    }
}

fn bar(part: u32, whole: u32) -> char {
    match 8 * part / whole.max(1) {
        0 if part == 0 => '·',
        eighths => char::from_u32(0x2580 + eighths.max(1)).unwrap_or('█'),
    }
}

/// Runs the congested cluster and returns the reads of each second.
fn congested(seconds: u32) -> Vec<Tally> {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let (mut caller, mut receive) = (CallerTime::default(), ReceiveTime::default());
    // Both designs that need acknowledgements have received one when the measurement starts.
    for _ in 0..200 {
        note_acks(&cluster, leader, &mut receive);
        cluster.run(STEP);
    }
    let mut timeline = Vec::new();
    for second in 0..seconds {
        let mut tally = Tally::default();
        for millisecond in 0..1000 {
            if millisecond % 100 == 0 {
                // Writes continue through the slow stage. A full pipeline rejects some, as it should.
                let _ = cluster.propose(leader, "write");
            }
            slow_down(&mut cluster);
            note_acks(&cluster, leader, &mut receive);
            cluster.run(STEP);
            let now = cluster.now;
            caller.advance(now);
            tally.reads += 1;
            tally.ours += u32::from(cluster.permit(leader).is_some());
            tally.caller += u32::from(caller.read(now));
            tally.receive += u32::from(receive.is_valid(now));
        }
        assert_eq!(cluster.leader(), Some(leader), "the leader was lost in second {second}");
        timeline.push(tally);
    }
    timeline
}

/// Puts new appends into the slow stage. Delayed ones arrive between two milliseconds, which tells them from new ones.
fn slow_down(cluster: &mut Cluster) {
    for message in &mut cluster.wire {
        if message.envelope.is_bulk() && message.at.subsec_micros().is_multiple_of(1000) {
            message.at += STAGE + Duration::from_micros(1);
        }
    }
}

/// Notes the acknowledgements that the leader receives in the next step.
fn note_acks(cluster: &Cluster, leader: NodeId, receive: &mut ReceiveTime) {
    let next = cluster.now + STEP;
    for message in cluster.wire.iter().filter(|message| message.to == leader && message.at <= next) {
        if message.envelope.ack.is_some() {
            receive.received.insert(message.from, next);
        }
    }
}

/// Runs the schedule with a delayed response. Returns the stale reads of ours, of caller time and of receive time.
fn delayed_response(after: Duration) -> (u32, u32, u32) {
    let mut cluster = Cluster::founded(3);
    let old = cluster.elect();
    cluster.run(after);
    // Wait until a round's acknowledgements are in flight, and hold them.
    let held = loop {
        let held = cluster.intercept(|message| message.to == old && message.envelope.ack.is_some());
        if !held.is_empty() {
            break held;
        }
        cluster.run(STEP);
    };
    cluster.isolate(old);
    let release_at = cluster.now + STAGE;
    let (mut caller, mut receive) = (CallerTime::default(), ReceiveTime::default());
    // Its caller read the time when the round was sent. Its quorum read ends with these acknowledgements.
    caller.in_flight.push((release_at, cluster.now));
    let mut held = Some(held);
    let mut written = None;
    let (mut ours_stale, mut caller_stale, mut receive_stale) = (0, 0, 0);
    for _ in 0..4000 {
        cluster.run(STEP);
        let now = cluster.now;
        if now >= release_at {
            for message in held.take().into_iter().flatten() {
                receive.received.insert(message.from, now);
                cluster.deliver(message);
            }
        }
        caller.advance(now);
        if let Some(new) = cluster.leader().filter(|new| *new != old) {
            // The new leader acknowledges this write after applying it.
            if written.is_none() && cluster.propose(new, "new value").is_ok() {
                written = Some(new);
            }
        }
        let acknowledged = written.is_some_and(|new| !cluster.applied(new).is_empty());
        if acknowledged {
            let leads = cluster.replica(old).role() == Role::Leader;
            ours_stale += u32::from(cluster.permit(old).is_some());
            caller_stale += u32::from(leads && now < caller.until);
            receive_stale += u32::from(leads && receive.is_valid(now));
        }
    }
    (ours_stale, caller_stale, receive_stale)
}
