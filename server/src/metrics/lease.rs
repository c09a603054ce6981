//! The lease, the reads, and the clock that the lease rests on.

use super::families::Families;
use crate::clients::{Clients, LocalReadCounts};
use crate::counters::{Counter, Failure, Miss};
use leasehold_core::Instant;
use leasehold_node::{Role, Statistics};
use leasehold_runtime::Runtime;
use std::fmt;
use std::time::Duration;

pub(super) fn encode<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    lease(clients, out)?;
    requests(clients, out)?;
    protocol(clients, out)?;
    clock(clients, out)
}

fn lease<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let (status, now) = (clients.status(), clients.now());
    let lease = clients.executor.handle().gate().lease();
    let (left, until) = (lease.remaining(now), lease.until());
    out.flag("lease_valid", "1 while this node leads and its lease is valid", left.is_some())?;
    out.gauge(
        "lease_remaining_seconds",
        "The time until the lease of this node ends, unless it is renewed; 0 without a lease",
        left.unwrap_or_default().as_secs_f64(),
    )?;
    let sublease = clients.sublease_remaining();
    out.flag(
        "sublease_valid",
        "1 while this node has a sublease of every group that it does not lead; 0 if it leads all",
        sublease.is_some(),
    )?;
    out.gauge(
        "sublease_remaining_seconds",
        "The time until the first of these subleases ends, unless it is renewed; 0 if one is missing",
        sublease.unwrap_or_default().as_secs_f64(),
    )?;
    let age = until.zip(now).map(|(until, now)| since_anchor(until, now, clients.facts.timing.lease()));
    out.gauge(
        "lease_anchor_age_seconds",
        "The time since the newest round that a quorum acknowledged was opened; NaN without a lease",
        age.map_or(f64::NAN, |age| age.as_secs_f64()),
    )?;
    out.gauge(
        "lease_duration_seconds",
        "The time that a lease lasts from its anchor",
        clients.facts.timing.lease().as_secs_f64(),
    )?;
    let missing = status.no_lease.filter(|_| status.role == Role::Leader).map(Miss::from);
    let reasons = Miss::ALL
        .into_iter()
        .filter(|(reason, _)| matches!(reason, Miss::Barrier | Miss::Released | Miss::NoQuorum | Miss::NoAnchor));
    out.gauges(
        "lease_missing",
        "1 for the reason why this leader has no lease",
        "reason",
        reasons.map(|(reason, name)| (name, f64::from(u8::from(missing == Some(reason))))),
    )?;
    out.flag("leader", "1 while this node leads", status.role == Role::Leader)?;
    out.gauge(
        "leader_node",
        "The number of the leader: this node, or one that it is connected to; 0 for none",
        number(clients.reachable_leader(&status)),
    )?;
    out.gauge("term", "The newest term that this node knows", status.term as f64)?;
    out.counter(
        "leader_changes",
        "How often another leader was seen, or the same one in another term",
        clients.history.leader_changes(),
    )
}

/// Returns the time since the anchor of a lease that ends at `until`, which may have passed.
fn since_anchor(until: Instant, now: Instant, lease: Duration) -> Duration {
    let (left, passed) = (until.elapsed_since(now).at_least, now.elapsed_since(until).at_most);
    if left.is_zero() { lease.saturating_add(passed) } else { lease.saturating_sub(left) }
}

fn number(node: Option<u64>) -> f64 {
    node.unwrap_or(0) as f64
}

fn requests<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let counters = clients.counters();
    out.counters(
        "reads",
        "Reads of clients that were answered: by a lease, by a sublease, after a quorum round, or in a log entry",
        "by",
        [
            ("lease", counters.reads_lease.get()),
            ("sublease", counters.reads_local.get()),
            ("quorum", counters.reads_quorum.get()),
            ("log", counters.reads_logged.get()),
        ],
    )?;
    out.counter(
        "follower_reads",
        "Those of the reads that this node answered as a follower, at an index that the leader granted",
        counters.reads_follower.get(),
    )?;
    out.counter(
        "forwarded_reads",
        "Those of the reads for which this node asked the leader",
        counters.reads_forwarded.get(),
    )?;
    out.counters(
        "lease_misses",
        "Reads that this node could not answer at once under its own lease or sublease",
        "reason",
        named(&Miss::ALL, &counters.misses),
    )?;
    out.counters(
        "writes",
        "Writes of clients",
        "outcome",
        [
            ("acknowledged", counters.writes_acknowledged.get()),
            ("uncertain", counters.writes_uncertain.get()),
            ("failed", counters.writes_failed.get()),
        ],
    )?;
    out.counters(
        "failed_reads",
        "Reads that were answered with an error, because they could not be made linearizable",
        "reason",
        named(&Failure::ALL, &counters.read_failures),
    )?;
    out.counters(
        "failed_writes",
        "Writes that were answered with an error and not executed",
        "reason",
        named(&Failure::ALL, &counters.write_failures),
    )
}

/// Returns the counts of reasons with their names.
fn named<'a, T>(names: &'a [(T, &'static str)], counters: &'a [Counter]) -> impl Iterator<Item = (&'static str, u64)> {
    names.iter().zip(counters).map(|((_, name), counter)| (*name, counter.get()))
}

fn protocol<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let Statistics { group, disk, .. } = clients.statistics();
    let (replica, holder) = (group.replica, group.holder);
    out.counter("rounds_opened", "Rounds that this node opened as a leader", holder.rounds_opened)?;
    out.counter("releases", "Releases of all rounds, each to hand leadership over", holder.releases)?;
    local_reads(clients.local_reads(), out)?;
    out.counters(
        "quorum_reads",
        "Reads that waited for a quorum round: confirmed by it, or aborted with the leadership",
        "outcome",
        [("confirmed", group.quorum_reads_confirmed), ("aborted", group.quorum_reads_aborted)],
    )?;
    out.counters(
        "withheld",
        "What was not done because a rule of the lease or of the log forbade it",
        "what",
        [
            ("vote", replica.votes_withheld),
            ("campaign", replica.campaigns_withheld),
            ("transfer", replica.transfers_withheld),
            ("removal", replica.removals_withheld),
            ("append", disk.appends_withheld),
            ("compaction", group.compactions_withheld),
        ],
    )?;
    out.counters(
        "acks_ignored",
        "Acknowledgements of rounds that did not count",
        "reason",
        [
            ("other_term", holder.acks_of_other_terms),
            ("not_voter", holder.acks_of_non_voters),
            ("out_of_order", holder.acks_out_of_order),
        ],
    )?;
    out.gauge(
        "held_seconds",
        "The time for which this node may neither vote nor campaign if its leader is silent; NaN if unknown",
        group.held_for.map_or(f64::NAN, |held| held.as_secs_f64()),
    )?;
    out.counter(
        "leaderships_given_up",
        "Leaderships that this node gave up because nothing was executed for three holds",
        replica.leaderships_given_up,
    )?;
    out.counter(
        "messages_refused",
        "Messages of peers that do not fit the state of this node",
        replica.messages_refused,
    )
}

fn local_reads(local: LocalReadCounts, out: &mut Families<'_>) -> fmt::Result {
    out.counter("subleases_requested", "Subleases that this node asked its leaders for", local.requested)?;
    out.counter("subleases_received", "Subleases that this node got from its leaders", local.received)?;
    out.counter("subleases_granted", "Subleases that this node granted as a leader", local.granted)?;
    out.gauge(
        "obligations",
        "The readers that may be using a sublease of this node, so that its writes wait for them; one for each group",
        local.obligations as f64,
    )?;
    out.counter(
        "writes_delayed_by_readers",
        "How often writes of this node as a leader began to wait only for a reader",
        local.writes_delayed,
    )?;
    out.counter(
        "leaderships_blocked",
        "Leaderships that this node gave up because its writes waited two holds for readers",
        local.leaderships_blocked,
    )
}

fn clock<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let (source, holder) = (clients.executor.clock().source(), clients.statistics().group.holder);
    let (awake, total) = (source.awake.name, source.total.name);
    out.info("clock_info", "The counters that time is read from", &[("awake", awake), ("total", total)])?;
    out.flag("clock_reading", "1 while the clock gives readings", clients.now().is_some())?;
    out.counters(
        "clock_anomalies",
        "Readings that the lease could not use: missing, or earlier than the one before",
        "kind",
        [("missing", holder.missing_readings), ("backward", holder.backward_readings)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_anchor_goes_on_after_the_lease() {
        let (lease, second) = (Duration::from_secs(1), Duration::from_secs(1));
        let anchor = Instant::from_nanos(7_000_000_000, 9_000_000_000);
        for millis in [0, 1, 999, 1000, 1001, 5000] {
            let age = Duration::from_millis(millis);
            assert_eq!(since_anchor(anchor.plus(second), anchor.plus(age), lease), age);
        }
    }
}
