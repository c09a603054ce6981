//! The inputs of recordings, in the order of a picture.

use crate::recording::{Recording, Step};
use leasehold_core::trace::{Effect, Line, REPLAY_ORIGIN};
use leasehold_core::{Instant, NodeId};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The least difference of the counters' steps that is a fault: a rate that is adjusted, and the time between reading the
/// two counters, make smaller ones.
const MIN_DIFFERENCE_NANOS: u128 = 10_000_000;

/// Something that is wrong with a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockFault {
    Missing,
    WentBack,
    /// The counters advanced by steps that differ by so many nanoseconds.
    Differs(i64),
}

/// An input at a time of the picture.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Nanoseconds since the beginning. They never go back within a recording.
    pub(crate) at: i64,
    pub(crate) line: Line,
    pub(crate) effect: Effect,
    pub(crate) fault: Option<ClockFault>,
}

/// A recording that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) moments: Vec<Moment>,
    /// Comments, each with the number of inputs before it.
    pub(crate) captions: Vec<(usize, String)>,
}

/// What a picture shows.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) moments: Vec<Moment>,
    pub(crate) captions: Vec<(usize, String)>,
}

/// Returns nanoseconds since the origin, by the counter that advanced most.
fn since_origin(at: Instant) -> i64 {
    let awake = at.awake_nanos() as i128 - i128::from(REPLAY_ORIGIN.awake_nanos());
    let total = at.total_nanos() as i128 - i128::from(REPLAY_ORIGIN.total_nanos());
    i64::try_from(awake.max(total)).unwrap_or(i64::MAX)
}

/// Returns how far the counter of all time is ahead of that of time awake.
fn ahead(at: Instant) -> i128 {
    let awake = i128::from(at.awake_nanos()) - i128::from(REPLAY_ORIGIN.awake_nanos());
    i128::from(at.total_nanos()) - i128::from(REPLAY_ORIGIN.total_nanos()) - awake
}

/// The clock of a node, as its readings show it.
struct Clock {
    last: Instant,
    /// The latest reading so far.
    peak: Instant,
    /// The distance by which it went back.
    behind: i64,
}

impl Clock {
    fn new(now: Instant) -> Clock {
        Clock { last: now, peak: now, behind: 0 }
    }

    /// Returns the time of the picture at a reading, which came after the time `before`.
    fn read(&mut self, now: Instant, before: Option<i64>) -> (i64, Option<ClockFault>) {
        let last = std::mem::replace(&mut self.last, now);
        if now.is_before_on_either_counter(last) {
            self.behind = before.unwrap_or_default().saturating_sub(since_origin(now));
            return (before.unwrap_or_default(), Some(ClockFault::WentBack));
        }
        if !now.is_before_on_either_counter(self.peak) {
            (self.peak, self.behind) = (now, 0);
        }
        let differs = (ahead(now) - ahead(last)).unsigned_abs();
        let fault =
            (differs >= MIN_DIFFERENCE_NANOS).then(|| ClockFault::Differs(i64::try_from(differs).unwrap_or(i64::MAX)));
        (since_origin(now).saturating_add(self.behind), fault)
    }
}

pub(crate) fn read(recording: &Recording) -> Read {
    let (mut moments, mut captions) = (Vec::<Moment>::new(), Vec::new());
    let mut clocks: BTreeMap<NodeId, Clock> = BTreeMap::new();
    for step in &recording.steps {
        match step {
            Step::Prose(prose) => {
                let caption = prose.trim_start_matches(['#', ' ']).trim_end();
                if !caption.is_empty() {
                    captions.push((moments.len(), caption.to_owned()));
                }
            }
            Step::Input(input) => {
                let (line, effect) = &**input;
                // It happened no earlier than the line before it.
                let before = moments.last().map(|moment| moment.at);
                let (at, fault) = match line.now {
                    None => (before.unwrap_or(0), Some(ClockFault::Missing)),
                    Some(now) => clocks.entry(line.node).or_insert_with(|| Clock::new(now)).read(now, before),
                };
                let at = before.map_or(at, |before| at.max(before));
                moments.push(Moment { at, line: *line, effect: *effect, fault });
            }
        }
    }
    Read { moments, captions }
}

/// Puts aligned recordings into one order, and keeps what is in the window.
pub(crate) fn merge(read: Vec<Read>, window: &RangeInclusive<i64>) -> Story {
    // Only one recording can have captions that belong between its inputs.
    let alone = read.len() == 1;
    let mut captions = Vec::new();
    let mut moments = Vec::new();
    for Read { moments: own, captions: told } in read {
        if alone {
            let before = own.iter().take_while(|moment| moment.at < *window.start()).count();
            captions = told.into_iter().map(|(at, caption)| (at.saturating_sub(before), caption)).collect();
        }
        moments.extend(own);
    }
    moments.retain(|moment| window.contains(&moment.at));
    // Stable, so that the inputs of a recording keep their order.
    moments.sort_by_key(|moment| moment.at);
    let count = moments.len();
    captions.retain(|(at, _)| *at <= count);
    Story { moments, captions }
}

impl Moment {
    /// Returns the time at which this instant of the node's clock comes, if the clock goes on as it did.
    pub(crate) fn time_of(&self, end: Instant, later: bool) -> i64 {
        let Some(now) = self.line.now else { return self.at.max(since_origin(end)) };
        let left = |end: u64, now: u64| i128::from(end) - i128::from(now);
        let awake = left(end.awake_nanos(), now.awake_nanos());
        let total = left(end.total_nanos(), now.total_nanos());
        let left = if later { awake.max(total) } else { awake.min(total) };
        i64::try_from(i128::from(self.at) + left).unwrap_or(i64::MAX)
    }
}
