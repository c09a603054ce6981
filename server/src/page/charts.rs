//! Pictures of reads and of the lease, as SVG that a style sheet colors.

use super::format;
use crate::history::{Reads, Sample};
use maud::{Markup, html};

/// The columns of the chart of the last minute.
const COLUMNS: usize = 60;
/// The size of the chart, in its own units.
const CHART_WIDTH: usize = COLUMNS * 10;
const CHART_HEIGHT: f64 = 120.0;

/// A kind of reads: its class in the style sheet, the words for it, and the number of such reads.
type Kind = (&'static str, &'static str, fn(Reads) -> u64);

const KINDS: [Kind; 4] = [
    ("lease", "by the lease", |reads| reads.lease),
    ("sublease", "by a sublease", |reads| reads.sublease),
    ("quorum", "after a quorum round", |reads| reads.quorum),
    ("log", "in a log entry", |reads| reads.logged),
];

/// Returns a bar that is filled up to a share of its length.
pub(super) fn lease(share: f64, words: &str) -> Markup {
    let width = format!("{:.1}%", share.clamp(0.0, 1.0) * 100.0);
    html! {
        svg.bar role="img" aria-label=(words) {
            rect.track width="100%" height="100%" rx="7" {}
            rect.lease width=(width) height="100%" rx="7" {}
        }
    }
}

/// Returns a bar with the shares of the kinds of reads.
pub(super) fn shares(reads: Reads) -> Markup {
    let total = reads.total().max(1) as f64;
    let mut from = 0.0;
    let parts = KINDS.map(|(class, words, count)| {
        let width = count(reads) as f64 * 100.0 / total;
        from += width;
        (class, words, format!("{:.3}%", from - width), format!("{width:.3}%"), count(reads))
    });
    let words: Vec<_> = parts
        .iter()
        .map(|(_, words, _, _, count)| format!("{} {words}", format::share(*count, reads.total())))
        .collect();
    html! {
        svg.bar.shares role="img" aria-label=(words.join(", ")) {
            rect.track width="100%" height="100%" {}
            @for (class, _, x, width, _) in &parts {
                rect class=(class) x=(x) width=(width) height="100%" {}
            }
        }
        ul.legend {
            @for (class, words, _, _, count) in &parts {
                li { span.key.(class) {} b { (format::share(*count, reads.total())) } " " (words) }
            }
        }
    }
}

/// Returns a chart of the reads of each second, newest on the right.
pub(super) fn minute(samples: &[Sample]) -> Markup {
    let seconds: Vec<Sample> = samples.windows(2).map(|pair| pair[1].since(&pair[0])).collect();
    let seconds = &seconds[seconds.len().saturating_sub(COLUMNS)..];
    let highest = seconds.iter().map(|second| second.per_second(second.reads.total())).fold(1.0, f64::max);
    let first = COLUMNS - seconds.len();
    html! {
        figure {
            svg.chart viewBox={ "0 0 " (CHART_WIDTH) " " (CHART_HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ "reads in each of the last 60 seconds, at most " (format::rate(highest)) " per second" } {
                @for (at, second) in seconds.iter().enumerate() {
                    (column((first + at) * 10, second, highest))
                }
                line.axis x1="0" x2=(CHART_WIDTH) y1=(CHART_HEIGHT) y2=(CHART_HEIGHT) {}
            }
            figcaption {
                span { "a minute ago" }
                span { "highest: " (format::rate(highest)) " per second" }
                span { "now" }
            }
        }
    }
}

fn column(x: usize, second: &Sample, highest: f64) -> Markup {
    let mut top = CHART_HEIGHT;
    let parts = KINDS.map(|(class, _, count)| {
        let height = second.per_second(count(second.reads)) * CHART_HEIGHT / highest;
        top -= height;
        (class, format!("{top:.2}"), format!("{height:.2}"), height > 0.0)
    });
    html! {
        g {
            title {
                (format::rate(second.per_second(second.reads.total()))) " reads per second, "
                (format::share(second.reads.lease, second.reads.total())) " by the lease"
            }
            @for (class, y, height, _) in parts.iter().filter(|(.., is_seen)| *is_seen) {
                rect class=(class) x=(x + 1) y=(y) width="8" height=(height) {}
            }
        }
    }
}
