//! The common time axis of recordings. Their clocks began at different times, and no clock value crosses the network; but
//! rounds do.

use crate::moments::Read;
use leasehold_core::trace::{Answer, Input};
use leasehold_core::{Action, Event, NodeId, TermRound};
use std::collections::BTreeMap;

/// The place of a recording on the axis of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// It is the first.
    Reference,
    /// By this many rounds, to within so many nanoseconds.
    Within(usize, i64),
    /// By this many rounds, which contradict each other by so many nanoseconds: the clocks drift.
    Contradicts(usize, i64),
    /// It shares no rounds with the others, so its place is arbitrary.
    Unknown,
}

/// When rounds left, arrived and were acknowledged, by the clock of one recording.
#[derive(Default)]
struct Rounds {
    sent: BTreeMap<TermRound, i64>,
    echoed: BTreeMap<(NodeId, TermRound), i64>,
    acked: BTreeMap<(NodeId, TermRound), i64>,
}

impl Rounds {
    fn of(read: &Read) -> Rounds {
        let mut rounds = Rounds::default();
        for moment in &read.moments {
            let node = moment.line.node;
            for action in moment.effect.actions.iter().flatten() {
                if let Action::SendRound(round) = action {
                    rounds.sent.entry(*round).or_insert(moment.at);
                }
            }
            match (moment.line.input, moment.effect.answer) {
                (Input::Frame(round), Some(Answer::Echo(Some(_)))) => {
                    rounds.echoed.entry((node, round)).or_insert(moment.at);
                }
                (Input::Event(Event::Acked { from, round }), _) => {
                    rounds.acked.entry((from, round)).or_insert(moment.at);
                }
                _ => {}
            }
        }
        rounds
    }

    /// Returns the bounds of the time to add to the clock of `follower`, whose echoes this recording has seen, and the
    /// number of rounds that they rest on.
    fn bounds(&self, follower: &Rounds) -> Option<(i64, i64, usize)> {
        let (mut least, mut most, mut count) = (i64::MIN, i64::MAX, 0);
        for ((node, round), echoed) in &follower.echoed {
            let (Some(sent), Some(acked)) = (self.sent.get(round), self.acked.get(&(*node, *round))) else { continue };
            (least, most) = (least.max(sent.saturating_sub(*echoed)), most.min(acked.saturating_sub(*echoed)));
            count += 1;
        }
        (count > 0).then_some((least, most, count))
    }
}

/// Moves recordings to the clock of the first one, by what they share with recordings that are there already.
pub(crate) fn align(read: &mut [Read]) -> Vec<Alignment> {
    let rounds: Vec<Rounds> = read.iter().map(Rounds::of).collect();
    let mut shifts: Vec<Option<i64>> = vec![None; read.len()];
    let mut alignments = vec![Alignment::Unknown; read.len()];
    if let (Some(shift), Some(alignment)) = (shifts.first_mut(), alignments.first_mut()) {
        (*shift, *alignment) = (Some(0), Alignment::Reference);
    }
    loop {
        let mut best: Option<(usize, i64, Alignment, usize)> = None;
        for (there, shift) in shifts.iter().enumerate().filter_map(|(at, shift)| Some((at, (*shift)?))) {
            for new in (0..read.len()).filter(|new| shifts[*new].is_none()) {
                let led = rounds[there].bounds(&rounds[new]);
                let followed = rounds[new]
                    .bounds(&rounds[there])
                    .map(|(least, most, count)| (most.saturating_neg(), least.saturating_neg(), count));
                let (least, most, count) = match (led, followed) {
                    (Some(a), Some(b)) => (a.0.max(b.0), a.1.min(b.1), a.2 + b.2),
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => continue,
                };
                let middle = ((i128::from(least) + i128::from(most)) / 2) as i64;
                let alignment = match most.saturating_sub(least) {
                    width @ 0.. => Alignment::Within(count, width / 2),
                    width => Alignment::Contradicts(count, width.saturating_neg()),
                };
                if best.is_none_or(|(.., most)| count > most) {
                    best = Some((new, shift.saturating_add(middle), alignment, count));
                }
            }
        }
        let Some((new, shift, alignment, _)) = best else { break };
        (shifts[new], alignments[new]) = (Some(shift), alignment);
    }
    for (read, shift) in read.iter_mut().zip(shifts) {
        for moment in &mut read.moments {
            moment.at = moment.at.saturating_add(shift.unwrap_or(0));
        }
    }
    alignments
}
