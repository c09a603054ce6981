//! What a node has seen in the last minute, and the last events, for its status page. Both are bounded.

use crate::health::Line;
use crate::latency::Times;
use crate::wall::unix_time;
use leasehold_core::{NodeId, Term};
use leasehold_node::Status;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;

/// The most events that are kept.
const MAX_EVENTS: usize = 64;
/// The least time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// The most samples that are kept: those of a minute.
const MAX_SAMPLES: usize = 61;

/// Counts at one time. Each only grows, unless an operator sets it to zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The time since the node started.
    pub(crate) at: Duration,
    pub(crate) reads: Reads,
    pub(crate) writes: u64,
    /// Reads and writes that failed, and writes with an unknown outcome.
    pub(crate) failed: u64,
    /// The times of clients' reads.
    pub(crate) read_times: Times,
    /// The times of clients' writes.
    pub(crate) write_times: Times,
    /// The times of commits to the disk.
    pub(crate) commit_times: Times,
    /// The times of the entries that were applied.
    pub(crate) apply_times: Times,
}

/// Reads by how they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) lease: u64,
    pub(crate) sublease: u64,
    pub(crate) quorum: u64,
    pub(crate) logged: u64,
}

impl Reads {
    pub(crate) fn total(self) -> u64 {
        self.lease + self.sublease + self.quorum + self.logged
    }
}

impl Sample {
    /// Returns what was counted since `earlier`, with the time between them.
    pub(crate) fn since(&self, earlier: &Sample) -> Sample {
        Sample {
            at: self.at.saturating_sub(earlier.at),
            reads: Reads {
                lease: self.reads.lease.saturating_sub(earlier.reads.lease),
                sublease: self.reads.sublease.saturating_sub(earlier.reads.sublease),
                quorum: self.reads.quorum.saturating_sub(earlier.reads.quorum),
                logged: self.reads.logged.saturating_sub(earlier.reads.logged),
            },
            writes: self.writes.saturating_sub(earlier.writes),
            failed: self.failed.saturating_sub(earlier.failed),
            read_times: self.read_times.since(&earlier.read_times),
            write_times: self.write_times.since(&earlier.write_times),
            commit_times: self.commit_times.since(&earlier.commit_times),
            apply_times: self.apply_times.since(&earlier.apply_times),
        }
    }

    /// Returns a rate of this sample, which [`since`](Self::since) returned.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        if self.at.is_zero() { 0.0 } else { count as f64 / self.at.as_secs_f64() }
    }
}

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The time since the epoch.
    pub(crate) time: Duration,
    pub(crate) line: Line,
}

/// The samples and events of one node.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    samples: VecDeque<Sample>,
    events: VecDeque<Event>,
    /// The leader that was seen last, and its term.
    leader: Option<(Term, NodeId)>,
    has_leader: bool,
    leader_changes: u64,
}

impl History {
    /// Adds an event.
    pub(crate) fn add(&self, line: Line) {
        self.0.lock().add(line);
    }

    /// Notes which node leads.
    pub(crate) fn observe(&self, status: &Status) {
        let mut state = self.0.lock();
        match status.leader {
            Some(leader) if state.leader != Some((status.term, leader)) => {
                state.leader = Some((status.term, leader));
                state.leader_changes += 1;
                state.add(Line::Info(format!("node {leader} leads in term {}", status.term)));
            }
            None if state.has_leader => state.add(Line::Warn(format!("no leader is known in term {}", status.term))),
            _ => {}
        }
        state.has_leader = status.leader.is_some();
    }

    /// Adds a sample, if it is time to. `now` is the time since the node started.
    pub(crate) fn sample(&self, now: Duration, take: impl FnOnce() -> Sample) {
        let mut state = self.0.lock();
        if state.samples.back().is_some_and(|last| now.saturating_sub(last.at) < SAMPLE_INTERVAL) {
            return;
        }
        if state.samples.len() == MAX_SAMPLES {
            state.samples.pop_front();
        }
        state.samples.push_back(Sample { at: now, ..take() });
    }

    /// Returns how often another leader, or the same one in another term, was seen.
    pub(crate) fn leader_changes(&self) -> u64 {
        self.0.lock().leader_changes
    }

    /// Returns the samples, oldest first.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.0.lock().samples.iter().cloned().collect()
    }

    /// Returns the events, newest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().events.iter().rev().cloned().collect()
    }
}

impl State {
    fn add(&mut self, line: Line) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event { time: unix_time(), line });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_samples_and_the_newest_events_are_kept() {
        let history = History::default();
        for second in 0..100 {
            history.add(Line::Info(second.to_string()));
            for tenth in 0..10 {
                let now = Duration::from_millis(second * 1000 + tenth * 100);
                history.sample(now, || Sample { writes: second, ..Sample::default() });
            }
        }
        let (samples, events) = (history.samples(), history.events());
        assert_eq!((samples.len(), events.len()), (MAX_SAMPLES, MAX_EVENTS));
        assert_eq!(events[0].line, Line::Info("99".to_owned()));
        let minute = samples[60].since(&samples[0]);
        assert_eq!((minute.at, minute.writes), (Duration::from_secs(60), 60));
        assert!((minute.per_second(minute.writes) - 1.0).abs() < 1e-9);
        assert!(samples[0].since(&samples[0]).per_second(5).abs() < 1e-9, "no time has passed");
    }

    #[test]
    fn each_new_leader_and_the_loss_of_one_are_events() {
        let history = History::default();
        let mut status = Status::default();
        history.observe(&status);
        for (term, leader) in [(1, None), (2, Some(1)), (2, Some(1)), (3, None), (4, None), (5, Some(1))] {
            (status.term, status.leader) = (term, leader);
            history.observe(&status);
        }
        let events: Vec<_> = history.events().into_iter().map(|event| event.line).collect();
        let (info, warn) = (|text: &str| Line::Info(text.to_owned()), |text: &str| Line::Warn(text.to_owned()));
        let expected =
            [info("node 1 leads in term 5"), warn("no leader is known in term 3"), info("node 1 leads in term 2")];
        assert_eq!(events, expected);
        assert_eq!(history.leader_changes(), 2);
    }
}
