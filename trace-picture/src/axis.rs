//! The horizontal axis. It keeps the order of inputs that have the same time, and shortens long gaps.

use crate::moments::Moment;

/// The widest and the narrowest distance of two inputs at the same time, in pixels.
const MAX_STEP: i64 = 15;
const MIN_STEP: i64 = 2;
/// The width that a picture of many inputs should not exceed by much.
const GOOD_WIDTH: i64 = 12_000;

#[derive(Debug)]
pub(crate) struct Axis {
    /// The place of each input.
    places: Vec<i64>,
    /// Times and their places, in order: of the inputs, and of the ends of spans between them.
    points: Vec<(i64, i64)>,
}

impl Axis {
    /// Returns the axis of these inputs and of these other times, of which the last is the end.
    pub(crate) fn new(moments: &[Moment], mut others: Vec<i64>, left: i64) -> Axis {
        others.sort_unstable();
        others.dedup();
        let step = (GOOD_WIDTH / moments.len().max(1) as i64).clamp(MIN_STEP, MAX_STEP);
        let mut axis = Axis { places: Vec::with_capacity(moments.len()), points: Vec::new() };
        let mut others = others.into_iter().peekable();
        for moment in moments {
            while let Some(other) = others.next_if(|other| *other <= moment.at) {
                axis.add(other, moment.at, step, left);
            }
            let x = axis.add_point(moment.at, step, left);
            axis.places.push(x);
        }
        for other in others {
            axis.add(other, i64::MAX, step, left);
        }
        axis
    }

    /// Adds a time between two inputs. The time of an input needs no other place.
    fn add(&mut self, other: i64, next: i64, step: i64, left: i64) {
        if other < next && self.points.last().is_some_and(|(last, _)| other > *last) {
            self.add_point(other, step, left);
        }
    }

    fn add_point(&mut self, at: i64, step: i64, left: i64) -> i64 {
        let x =
            self.points.last().map_or(left, |(last, x)| x + step + width(at.saturating_sub(*last)) * step / MAX_STEP);
        self.points.push((at, x));
        x
    }

    /// Returns the place of the input with this number.
    pub(crate) fn place(&self, number: usize) -> i64 {
        self.places[number]
    }

    /// Returns the place of a time: that of the first input that has it, or one between two inputs.
    pub(crate) fn place_of(&self, time: i64) -> i64 {
        let next = self.points.partition_point(|(at, _)| *at < time);
        match (next.checked_sub(1).map(|before| self.points[before]), self.points.get(next)) {
            (_, None) => self.end(),
            (None, Some((_, x))) => *x,
            (Some((at, x)), Some((next, to))) => {
                let part =
                    i128::from(to - x) * (i128::from(time) - i128::from(at)) / (i128::from(*next) - i128::from(at));
                x + part as i64
            }
        }
    }

    /// Returns the place of the end.
    pub(crate) fn end(&self) -> i64 {
        self.points.last().map_or(0, |(_, x)| *x)
    }

    /// Returns times and places for labels that are at least so far apart.
    pub(crate) fn labels(&self, apart: i64) -> Vec<(i64, i64)> {
        let mut labels: Vec<(i64, i64)> = Vec::new();
        for (at, x) in &self.points {
            if labels.last().is_none_or(|(last, place)| x - place >= apart && at > last) {
                labels.push((*at, *x));
            }
        }
        labels
    }
}

/// Returns the width of a gap: 9 pixels for each doubling of a millisecond, in whole numbers.
fn width(nanos: i64) -> i64 {
    let micros = nanos.max(0).unsigned_abs() / 1000 + 1000;
    // Between two powers of two it is linear.
    let power = micros.ilog2();
    let fraction = ((u128::from(micros) << 16) >> power) as i64 - (1 << 16);
    let log = (i64::from(power) << 16) + fraction;
    // Of the thousand microseconds that a gap of nothing has.
    const NOTHING: i64 = (9 << 16) + ((1000_i64 << 16) >> 9) - (1 << 16);
    (9 * (log - NOTHING)) >> 16
}

#[cfg(test)]
mod tests {
    use super::width;

    #[test]
    fn longer_gaps_are_wider_by_ever_less() {
        assert_eq!(width(0), 0);
        let widths: Vec<i64> = [1, 10, 100, 1000, 60_000].map(|millis| width(millis * 1_000_000)).into();
        assert!(widths.is_sorted() && widths[0] >= 8 && widths[4] < 160, "{widths:?}");
        assert!(width(i64::MAX) < 600);
    }
}
