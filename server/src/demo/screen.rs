//! The output of the demo: an introduction, a table with a line per second, and a summary.

use super::cluster::{Leadership, Totals};
use super::places::{HOST, Place};
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// The heading is repeated after this many lines.
const PAGE_LINES: u32 = 20;

/// The output stream of the demo. Errors are ignored.
pub(super) struct Screen {
    out: Box<dyn Write>,
    lines: u32,
}

impl Screen {
    /// Writes to standard error if `standard_error` is set, and to standard output otherwise.
    pub(super) fn new(standard_error: bool) -> Screen {
        let out: Box<dyn Write> = if standard_error { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        Screen { out, lines: 0 }
    }

    pub(super) fn line(&mut self, line: impl Display) {
        // The reader may have closed the pipe, but the demo still has to return its exit code.
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }

    pub(super) fn introduce(&mut self, places: &[Place], leader: Place, redirect: bool, term: u64, after: Duration) {
        let other = places.iter().find(|place| place.node != leader.node).unwrap_or(&leader).client_port;
        let port = leader.client_port;
        self.line(format_args!(
            "n{} is the leader in term {term}, after {:.1} s. In another terminal, try",
            leader.node,
            after.as_secs_f64()
        ));
        self.line("");
        self.line(format_args!("    redis-cli -p {port} set greeting hello"));
        if redirect {
            self.line(format_args!(
                "    redis-cli -c -p {other} get greeting    this node sends clients to the leader"
            ));
        } else {
            self.line(format_args!("    redis-cli -p {other} get greeting       any node executes any command"));
        }
        self.line(format_args!("    redis-cli -p {port} info lease"));
        self.line(format_args!("    http://{HOST}:{}/ in a browser, for its status", leader.metrics_port));
        self.line("");
        self.line("redis-cli is in the package redis-tools. Ctrl-C ends the demo.");
        self.line("");
    }

    /// Prints the table's line for one second.
    pub(super) fn status(&mut self, at: Duration, leadership: Leadership, totals: Totals, seconds: f64, note: &str) {
        if self.lines.is_multiple_of(PAGE_LINES) {
            self.line(heading());
        }
        self.lines += 1;
        self.line(row(at, leadership, totals, seconds, note));
    }

    /// Prints an event between two lines of the table.
    pub(super) fn event(&mut self, at: Duration, what: impl Display) {
        self.line(format_args!("{}  {what}", seconds_column(at)));
    }
}

fn seconds_column(at: Duration) -> String {
    format!("{:>5.1} s", at.as_secs_f64())
}

fn heading() -> String {
    format!(
        "{:>7}  {:<6}  {:>4}  {:>10}  {:>9}  {:>8}  {:>8}",
        "time", "leader", "term", "lease left", "reads/s", "writes/s", "by lease"
    )
}

fn row(at: Duration, leadership: Leadership, totals: Totals, seconds: f64, note: &str) -> String {
    let (leader, lease) = match leadership.leader {
        None => ("none".to_owned(), "-".to_owned()),
        Some((node, None)) => (format!("n{node}"), "none".to_owned()),
        Some((node, Some(left))) => (format!("n{node}"), format!("{} ms", left.as_millis())),
    };
    let rate = |count: u64| grouped((count as f64 / seconds.max(0.001)).round() as u64);
    let line = format!(
        "{}  {leader:<6}  {:>4}  {lease:>10}  {:>9}  {:>8}  {:>8}  {note}",
        seconds_column(at),
        leadership.term,
        rate(totals.reads()),
        rate(totals.writes),
        totals.lease_share().map_or("-".to_owned(), percent),
    );
    line.trim_end().to_owned()
}

/// Formats a share as a percentage, rounded down, so that only a full share is 100.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", (share * 10_000.0).floor() / 100.0)
}

/// Formats a number with separated thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_into_eighty_columns() {
        let totals = Totals { reads_lease: 123_456, reads_quorum: 1, writes: 13_717 };
        let lease = Some(Duration::from_micros(873_912));
        let leads = Leadership { leader: Some((2, lease)), term: 12 };
        let waits = Leadership { leader: Some((3, None)), term: 13 };
        let at = Duration::from_millis(3_004);
        assert_eq!(heading(), "   time  leader  term  lease left    reads/s  writes/s  by lease");
        assert_eq!(row(at, leads, totals, 1.0, ""), "  3.0 s  n2        12      873 ms    123,457    13,717   99.99 %");
        assert_eq!(
            row(at, waits, Totals::default(), 1.0, "new leader"),
            "  3.0 s  n3        13        none          0         0         -  new leader"
        );
        assert_eq!(
            row(at, Leadership { leader: None, term: 14 }, Totals::default(), 1.0, ""),
            "  3.0 s  none      14           -          0         0         -"
        );
    }

    #[test]
    fn numbers_are_grouped_and_a_share_is_never_rounded_up() {
        let shown = [0, 999, 1_000, 65_432, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "65,432", "1,234,567"]);
        assert_eq!([1.0, 0.99999, 0.5].map(percent), ["100.00 %", "99.99 %", "50.00 %"]);
    }
}
