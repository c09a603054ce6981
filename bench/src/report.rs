//! Rows, as a table or as JSON.

use serde_json::{Value, json};

/// What a benchmark found.
pub(crate) struct Report {
    pub(crate) title: String,
    /// What the columns `ours` and `peer` hold.
    pub(crate) ours: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) rows: Vec<Row>,
    /// Said below the table.
    pub(crate) notes: Vec<String>,
}

/// One comparison.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    pub(crate) unit: &'static str,
    /// The largest part by which a run's ratio, or without a peer its figure, was off the median.
    pub(crate) spread: f64,
    pub(crate) target: Option<Target>,
}

/// What the ratio of ours to the peer's must be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.peer.filter(|peer| *peer != 0.0).map(|peer| self.ours / peer)
    }

    fn met(&self) -> Option<bool> {
        match (self.target?, self.ratio()?) {
            (Target::AtLeast(least), ratio) => Some(ratio >= least),
        }
    }
}

impl Report {
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", Value::Array(self.rows.iter().map(json_row).collect()));
            return;
        }
        println!("{}\n", self.title);
        println!(
            "{:<34} {:>12} {:>12}  {:<9} {:>7} {:>7}  {:<9}",
            "", self.ours, self.peer, "unit", "ratio", "spread", "target"
        );
        for row in &self.rows {
            let target = match (row.target, row.met()) {
                (None, _) => String::new(),
                (Some(Target::AtLeast(least)), met) => {
                    let verdict = met.map_or("no peer", |met| if met { "met" } else { "MISSED" });
                    format!(">= {least:.2} {verdict}")
                }
            };
            println!(
                "{:<34} {:>12} {:>12}  {:<9} {:>7} {:>6.0}%  {:<9}",
                row.name,
                figure(row.ours),
                row.peer.map_or("-".to_owned(), figure),
                row.unit,
                row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
                row.spread * 100.0,
                target
            );
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }
}

fn json_row(row: &Row) -> Value {
    let target = row.target.map(|target| match target {
        Target::AtLeast(least) => format!(">= {least}"),
    });
    json!({
        "name": row.name, "ours": row.ours, "peer": row.peer, "unit": row.unit, "ratio": row.ratio(),
        "spread": row.spread, "target": target, "met": row.met(),
    })
}

/// A figure with as many digits as anyone wants to read.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The median of some runs.
pub(crate) fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// How far the runs are from their median, as a part of it.
pub(crate) fn spread(runs: &[f64]) -> f64 {
    let middle = median(runs);
    let furthest = runs.iter().map(|run| (run - middle).abs()).fold(0.0, f64::max);
    if middle == 0.0 { 0.0 } else { furthest / middle }
}
