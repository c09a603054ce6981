//! The work of a leader for an acknowledgement: counting it, and publishing the lease that a quorum grants.

use crate::allocation;
use crate::effort::Effort;
use crate::report::{Row, Runs, median};
use crate::stopwatch::Stopwatch;
use leasehold_core::{Config, Event, Holder, Instant, LeaseCell, NodeId, Options, Reading, TermRound, Voters};
use std::hint::black_box;
use std::time::Duration;

const TERM: u64 = 1;
/// Leaders acknowledged in one measurement. Many make the cost of the stopwatch small; few stay in the first-level
/// cache.
const LEADERS: usize = 8;

/// The voters of a cluster, and the limit for an acknowledgement there, in nanoseconds.
const LIMITS: [(u64, f64); 3] = [(3, 10.0), (5, 15.0), (7, 20.0)];

pub(super) fn acks(effort: Effort) -> Result<Vec<Row>, String> {
    LIMITS
        .iter()
        .map(|(voters, limit)| {
            let runs = (0..effort.runs).map(|_| nanos_per_ack(*voters, effort)).collect::<Result<_, _>>()?;
            let runs = Runs { ours: runs, theirs: Vec::new() };
            Ok(runs.row_within(format!("ack of a round, {voters} voters / limit"), "ns", *limit))
        })
        .collect()
}

/// A leader with a lease that waits for the acknowledgements of a round, as it does ten times a second.
pub(super) struct Waiting {
    pub(super) holder: Holder,
    pub(super) cell: LeaseCell,
    pub(super) round: TermRound,
    pub(super) now: Reading,
    pub(super) voters: u64,
}

impl Waiting {
    pub(super) fn of(voters: u64) -> Result<Waiting, String> {
        let options = Options::new(Duration::from_secs(1), 1000);
        let config = Config::new(options).map_err(|error| error.to_string())?;
        let ids: Vec<NodeId> = (1..=voters).collect();
        let all = Voters::simple(&ids).map_err(|error| error.to_string())?;
        let mut waiting = Waiting {
            holder: Holder::new(1, config),
            cell: LeaseCell::new(),
            round: TermRound { term: TERM, round: 1 },
            now: at(1000),
            voters,
        };
        let elected = Event::Elected { term: TERM, voters: all, barrier: 1, commit: 1 };
        waiting.holder.handle_event(at(1000), elected, &waiting.cell).expect("the node leads");
        while waiting.holder.poll_action().is_some() {}
        // Fill its history of rounds.
        for round in 2..100 {
            waiting.acknowledge();
            while waiting.holder.poll_action().is_some() {}
            waiting.now = at(1000 + 100 * round);
            waiting.round.round = round;
            waiting.holder.handle_timeout(waiting.now, &waiting.cell);
            while waiting.holder.poll_action().is_some() {}
        }
        Ok(waiting)
    }

    fn acknowledge(&mut self) {
        acknowledge(&mut self.holder, self.voters, self.round, self.now, &self.cell);
    }
}

/// Acknowledges the round from every follower.
#[inline]
pub(super) fn acknowledge(holder: &mut Holder, voters: u64, round: TermRound, now: Reading, cell: &LeaseCell) {
    for from in 2..=voters {
        holder.handle_event(black_box(now), black_box(Event::Acked { from, round }), cell).expect("the node leads");
    }
}

fn nanos_per_ack(voters: u64, effort: Effort) -> Result<f64, String> {
    let waiting = Waiting::of(voters)?;
    let mut leaders: Vec<Holder> = (0..LEADERS).map(|_| waiting.holder.clone()).collect();
    let acks = (voters - 1) as f64 * LEADERS as f64;
    // Cloning the leaders for the next turn is not counted, but takes longer than what is counted.
    let turns = effort.calls(acks * 20.0 + 2000.0);
    let (mut counted, mut stopwatch) = (Vec::with_capacity(turns as usize), Vec::with_capacity(turns as usize));
    for _ in 0..turns {
        leaders.iter_mut().for_each(|leader| leader.clone_from(black_box(&waiting.holder)));
        let before = allocation::count();
        let watch = Stopwatch::start();
        for leader in &mut leaders {
            acknowledge(leader, voters, waiting.round, waiting.now, &waiting.cell);
        }
        counted.push(watch.nanos());
        assert_eq!(allocation::count(), before, "an acknowledgement allocates nothing");
        stopwatch.push(Stopwatch::start().nanos());
    }
    assert!(
        leaders.iter().all(|leader| leader.quorum_round() == Some(waiting.round.round)),
        "the acknowledgements confirmed the round"
    );
    let middle = |runs: &[f64]| median(runs).ok_or("no turns");
    Ok((middle(&counted)? - middle(&stopwatch)?) / acks)
}

fn at(millis: u64) -> Reading {
    Some(Instant::from_nanos(millis * 1_000_000, millis * 1_000_000))
}
