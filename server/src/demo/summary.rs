//! The result of a load.

use super::cluster::{Share, Totals};
use super::load::Tally;
use super::screen::{Screen, grouped, percent};
use hdrhistogram::Histogram;
use leasehold_core::NodeId;
use serde_json::{Value, json};
use std::time::Duration;

/// The killed leader and its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failover {
    pub(super) killed: NodeId,
    /// The new leader, and the time from the kill until it first held a valid lease.
    pub(super) successor: Option<(NodeId, Duration)>,
}

/// All results.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) nodes: u16,
    pub(super) runtime: &'static str,
    pub(super) clients: usize,
    pub(super) lasted: Duration,
    pub(super) tally: Tally,
    pub(super) totals: Totals,
    /// The part of each node.
    pub(super) shares: Vec<Share>,
    pub(super) failover: Option<Failover>,
    pub(super) lost_writes: u64,
}

impl Summary {
    /// Returns whether the cluster kept its guarantees, and executed both reads and writes.
    pub(super) fn is_sound(&self) -> bool {
        self.tally.stale == 0 && self.lost_writes == 0 && !self.tally.reads.is_empty() && !self.tally.writes.is_empty()
    }

    /// Returns the results as one JSON object. `leaderless_ms` is null if no leader was killed.
    pub(super) fn json(&self) -> Value {
        let Tally { reads, writes, uncertain, stale, .. } = &self.tally;
        let leaderless = self.failover.and_then(|failover| failover.successor).map(|(_, after)| millis(after));
        json!({
            "nodes": self.nodes,
            "runtime": self.runtime,
            "clients": self.clients,
            "seconds": millis(self.lasted) / 1e3,
            "reads": reads.len(),
            "writes": writes.len(),
            "uncertain_writes": uncertain,
            "stale_reads": stale,
            "lost_writes": self.lost_writes,
            "lease_share": self.totals.lease_share(),
            "leaderless_ms": leaderless,
            "by_node": self.shares.iter().map(share).collect::<Vec<_>>(),
            "read_p50_us": reads.value_at_quantile(0.5),
            "read_p99_us": reads.value_at_quantile(0.99),
            "read_max_us": reads.max(),
            "write_p50_us": writes.value_at_quantile(0.5),
            "write_p99_us": writes.value_at_quantile(0.99),
            "write_max_us": writes.max(),
        })
    }

    /// Prints the results as a table.
    pub(super) fn show(&self, screen: &mut Screen) {
        let Tally { reads, writes, uncertain, stale, violations } = &self.tally;
        let seconds = self.lasted.as_secs_f64();
        screen.line("");
        screen.line(format_args!(
            "{:.1} s of load from {} clients on {} nodes, on {}",
            seconds, self.clients, self.nodes, self.runtime
        ));
        screen.line("");
        screen.line(format_args!(
            "{:<12}  {:>11}  {:>9}  {:>11}  {:>11}  {:>11}",
            "", "count", "per s", "p50", "p99", "max"
        ));
        for (name, histogram) in [("reads", reads), ("writes", writes)] {
            screen.line(latencies(name, histogram, seconds));
        }
        screen.line("");
        let share = self.totals.lease_share().map_or("-".to_owned(), percent);
        screen.line(fact("lease share", &share, "of reads answered under a lease, the others after a quorum round"));
        match self.failover {
            None => {}
            Some(Failover { killed, successor: Some((node, after)) }) => screen.line(fact(
                "leaderless",
                &format!("{} ms", grouped(after.as_millis() as u64)),
                &format!("from the kill of n{killed} until n{node} held a valid lease"),
            )),
            Some(Failover { killed, successor: None }) => {
                screen.line(fact("leaderless", "to the end", &format!("after the kill of n{killed}")));
            }
        }
        let checked = format!("of {} checked", grouped(reads.len()));
        screen.line(fact("stale reads", &grouped(*stale), &checked));
        let checked = format!("of {} acknowledged", grouped(writes.len()));
        screen.line(fact("lost writes", &grouped(self.lost_writes), &checked));
        screen.line(fact("uncertain", &grouped(*uncertain), "writes whose node was lost before it replied"));
        let has_groups = self.shares.iter().map(|share| share.groups).sum::<usize>() > 1;
        let reads_locally = self.shares.iter().any(|share| share.local > 0);
        for Share { node, groups, reads, local, writes } in self.shares.iter().filter(|_| has_groups || reads_locally) {
            let local = if reads_locally { format!(" ({} by its subleases)", grouped(*local)) } else { String::new() };
            let (name, reads, writes) = (format!("n{node}"), grouped(*reads), grouped(*writes));
            screen.line(if has_groups {
                let taken = format!("groups led; {reads} reads{local} and {writes} writes of its clients");
                fact(&name, &groups.to_string(), &taken)
            } else {
                fact(&name, &reads, &format!("reads of its clients{local}, and {writes} writes"))
            });
        }
        for violation in violations {
            screen.line(violation);
        }
        screen.line("");
    }
}

fn share(Share { node, groups, reads, local, writes }: &Share) -> Value {
    json!({ "node": node, "groups_led": groups, "reads": reads, "reads_local": local, "writes": writes })
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn latencies(name: &str, histogram: &Histogram<u64>, seconds: f64) -> String {
    let shown = |micros: u64| format!("{:.3} ms", micros as f64 / 1e3);
    format!(
        "{name:<12}  {:>11}  {:>9}  {:>11}  {:>11}  {:>11}",
        grouped(histogram.len()),
        grouped((histogram.len() as f64 / seconds.max(0.001)).round() as u64),
        shown(histogram.value_at_quantile(0.5)),
        shown(histogram.value_at_quantile(0.99)),
        shown(histogram.max()),
    )
}

fn fact(name: &str, value: &str, meaning: &str) -> String {
    format!("{name:<12}  {value:>11}  {meaning}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let mut tally = Tally::default();
        tally.reads.record(100).expect("it fits");
        tally.writes.record(2_000).expect("it fits");
        Summary {
            nodes: 3,
            runtime: "tokio",
            clients: 12,
            lasted: Duration::from_secs(10),
            tally,
            totals: Totals { reads_lease: 99, reads_quorum: 1, writes: 1 },
            shares: vec![Share { node: 1, groups: 2, reads: 100, local: 7, writes: 1 }],
            failover: Some(Failover { killed: 1, successor: Some((2, Duration::from_micros(1_234_567))) }),
            lost_writes: 0,
        }
    }

    #[test]
    fn a_stale_read_a_lost_write_or_no_work_is_a_failure() {
        assert!(summary().is_sound());
        let mut stale = summary();
        stale.tally.stale = 1;
        let lost = Summary { lost_writes: 1, ..summary() };
        let idle = Summary { tally: Tally::default(), ..summary() };
        assert!(![stale, lost, idle].iter().any(Summary::is_sound));
    }

    #[test]
    fn the_json_object_has_its_documented_fields() {
        let json = summary().json();
        for (field, value) in [
            ("reads", json!(1)),
            ("writes", json!(1)),
            ("stale_reads", json!(0)),
            ("lost_writes", json!(0)),
            ("lease_share", json!(0.99)),
            ("leaderless_ms", json!(1234.6)),
            ("by_node", json!([{ "node": 1, "groups_led": 2, "reads": 100, "reads_local": 7, "writes": 1 }])),
            ("read_p50_us", json!(100)),
            ("read_p99_us", json!(100)),
            ("write_p50_us", json!(2000)),
            ("write_p99_us", json!(2000)),
            ("nodes", json!(3)),
            ("runtime", json!("tokio")),
        ] {
            assert_eq!(json[field], value, "{field}");
        }
    }
}
