//! Rows of results, printed as a table or as JSON.

use serde_json::{Value, json};

/// The results of a benchmark.
pub(crate) struct Report {
    pub(crate) title: String,
    /// The headings of the columns `ours` and `peer`.
    pub(crate) ours: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) rows: Vec<Row>,
    /// Printed below the table.
    pub(crate) notes: Vec<String>,
}

/// One comparison.
pub(crate) struct Row {
    pub(crate) name: String,
    /// `None` if it could not be measured.
    pub(crate) ours: Option<f64>,
    pub(crate) peer: Option<f64>,
    pub(crate) unit: &'static str,
    /// The largest relative distance of a run's ratio, or of its figure without a peer, from the median.
    pub(crate) spread: f64,
    pub(crate) target: Option<Target>,
}

/// A bound on the ratio of ours to the peer's.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// The runs behind a row: each of ours next to the one of the peer's that came just before or after it.
#[derive(Clone, Default)]
pub(crate) struct Runs {
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
}

impl Runs {
    /// Returns the medians of both, with the spread of the ratio.
    pub(crate) fn row(&self, name: impl Into<String>, unit: &'static str, target: Option<Target>) -> Row {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        Row {
            name: name.into(),
            ours: median(&self.ours),
            peer: median(&self.theirs),
            unit,
            spread: spread(if ratios.is_empty() { &self.ours } else { &ratios }),
            target,
        }
    }

    /// The median of ours next to a limit that it must not pass: the limit stands where a peer would.
    pub(crate) fn row_within(&self, name: impl Into<String>, unit: &'static str, limit: f64) -> Row {
        Row {
            name: name.into(),
            ours: median(&self.ours),
            peer: Some(limit),
            unit,
            spread: spread(&self.ours),
            target: Some(Target::AtMost(1.0)),
        }
    }
}

impl Target {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Target::AtLeast(least) => ratio >= least,
            Target::AtMost(most) => ratio <= most,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::AtLeast(least) => write!(out, ">= {least:.2}"),
            Target::AtMost(most) => write!(out, "<= {most:.2}"),
        }
    }
}

impl Row {
    /// A figure with nothing next to it.
    pub(crate) fn alone(name: impl Into<String>, ours: f64, unit: &'static str) -> Row {
        Row { name: name.into(), ours: Some(ours), peer: None, unit, spread: 0.0, target: None }
    }

    fn ratio(&self) -> Option<f64> {
        let peer = self.peer.filter(|peer| *peer != 0.0)?;
        Some(self.ours? / peer)
    }

    fn met(&self) -> Option<bool> {
        Some(self.target?.is_met(self.ratio()?))
    }
}

impl Report {
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", Value::Array(self.rows.iter().map(json_row).collect()));
            return;
        }
        println!("{}\n", self.title);
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        println!(
            "{:<width$} {:>12} {:>12}  {:<9} {:>7} {:>7}  target",
            "", self.ours, self.peer, "unit", "ratio", "spread"
        );
        for row in &self.rows {
            let target = row.target.map_or(String::new(), |target| {
                let verdict = row.met().map_or("no peer", |met| if met { "met" } else { "MISSED" });
                format!("{target} {verdict}")
            });
            println!(
                "{:<width$} {:>12} {:>12}  {:<9} {:>7} {:>6.0}%  {target}",
                row.name,
                row.ours.map_or("-".to_owned(), figure),
                row.peer.map_or("-".to_owned(), figure),
                row.unit,
                row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
                row.spread * 100.0,
            );
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }
}

fn json_row(row: &Row) -> Value {
    json!({
        "name": row.name, "ours": row.ours, "peer": row.peer, "unit": row.unit, "ratio": row.ratio(),
        "spread": row.spread, "target": row.target.map(|target| target.to_string()), "met": row.met(),
    })
}

/// Formats a figure with three or more digits.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Returns the median of some runs, or `None` without runs.
pub(crate) fn median(runs: &[f64]) -> Option<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[odd / 2]),
        even => Some(f64::midpoint(sorted[even / 2 - 1], sorted[even / 2])),
    }
}

/// Returns the largest relative distance of a run from the median.
fn spread(runs: &[f64]) -> f64 {
    let middle = median(runs).unwrap_or(0.0);
    let furthest = runs.iter().map(|run| (run - middle).abs()).fold(0.0, f64::max);
    if middle == 0.0 { 0.0 } else { furthest / middle }
}

#[cfg(test)]
mod tests {
    use super::{Runs, Target, json_row};

    #[test]
    fn a_row_reports_whether_its_target_is_met() {
        let runs = Runs { ours: vec![30.0, 10.0, 20.0], theirs: vec![10.0, 5.0, 10.0] };
        let row = json_row(&runs.row("a / b", "ns", Some(Target::AtMost(1.5))));
        assert_eq!((row["ratio"].as_f64(), row["spread"].as_f64()), (Some(2.0), Some(0.5)));
        assert_eq!(row["met"].as_bool(), Some(false));
        let row = json_row(&runs.row("a / b", "a second", Some(Target::AtLeast(1.5))));
        assert_eq!(row["met"].as_bool(), Some(true));
    }

    #[test]
    fn without_a_peer_no_target_is_met_or_missed() {
        let alone = Runs { ours: vec![30.0], theirs: Vec::new() };
        let row = json_row(&alone.row("a / b", "ns", Some(Target::AtMost(1.5))));
        assert!(row["peer"].is_null() && row["ratio"].is_null() && row["met"].is_null());
    }
}
