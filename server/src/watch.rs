//! A task that watches its node, and logs what an operator should know.

use crate::clients::Clients;
use crate::health::{Line, Observation};
use crate::history::{Reads, Sample};
use crate::latency::Times;
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

/// The shortest interval of the observations.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Watches a node until it stops.
pub(crate) async fn watch<R: Runtime>(runtime: R, clients: Weak<Clients<R>>) {
    let mut interval = MIN_INTERVAL;
    let mut before = None;
    loop {
        let Some(clients) = clients.upgrade() else { return };
        interval = interval.max(clients.facts.timing.heartbeat());
        let (status, statistics) = (clients.status(), clients.statistics());
        let (now, members) = (clients.now(), clients.executor.handle().members());
        let behind = if status.role == Role::Leader { clients.members_behind() } else { BTreeSet::new() };
        let elapsed = now.zip(before).map(|(now, before)| now.elapsed_since(before).at_most);
        before = now.or(before);
        let elapsed = elapsed.unwrap_or(interval);
        for executor in &clients.executors {
            let has_leader = clients.reachable_leader(&executor.handle().status()).is_some();
            executor.leaderless.observe(has_leader, elapsed);
        }
        let observation = Observation {
            elapsed,
            node: clients.node(),
            status,
            members: &members,
            behind: &behind,
            leased: clients.facts.quorum_reads || clients.lease_remaining().is_some(),
            has_reading: now.is_some(),
            uncertain: clients.counters().writes_uncertain.get(),
            refused: statistics.group.replica.messages_refused,
            given_up: statistics.group.replica.leaderships_given_up,
        };
        clients.activity.observe(clients.uptime());
        clients.history.observe(&status);
        clients.history.sample(clients.uptime(), || sample(&clients));
        for line in clients.health.observe(&observation) {
            match &line {
                Line::Info(line) => tracing::info!("{line}"),
                Line::Warn(line) => tracing::warn!("{line}"),
            }
            clients.history.add(line);
        }
        if status.stopped {
            return;
        }
        drop(clients);
        runtime.sleep(interval).await;
    }
}

/// Returns what a node has counted.
fn sample<R: Runtime>(clients: &Clients<R>) -> Sample {
    let (counters, (commits, applies)) = (clients.counters(), clients.executor.timers());
    let times_of = |kind: &str| {
        let mut times = Times::default();
        clients.activity.by_family().filter(|(family, _)| family.kind == kind).for_each(|(_, more)| times.add(&more));
        times
    };
    Sample {
        at: Duration::ZERO,
        reads: Reads {
            lease: counters.reads_lease.get(),
            sublease: counters.reads_local.get(),
            quorum: counters.reads_quorum.get(),
            logged: counters.reads_logged.get(),
        },
        writes: counters.writes_acknowledged.get(),
        failed: counters.reads_failed.get() + counters.writes_failed.get() + counters.writes_uncertain.get(),
        read_times: times_of("read"),
        write_times: times_of("write"),
        commit_times: commits.times(),
        apply_times: applies.times(),
    }
}
