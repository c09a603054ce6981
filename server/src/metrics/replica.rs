//! The log, the disk, the members and the links between them.

use super::families::Families;
use crate::clients::Clients;
use crate::executor::Executor;
use leasehold_node::ports::Lane;
use leasehold_node::{Role, Statistics};
use leasehold_runtime::Runtime;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The state of each group. The other families about a lease and a log are those of group 0.
fn groups<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let now = clients.now();
    let gauges = |value: &dyn Fn(&Executor<R>) -> f64| -> Vec<_> {
        let groups = clients.executors.iter().enumerate();
        groups.map(|(group, executor)| (group.to_string(), value(executor))).collect()
    };
    let flag = |value| f64::from(u8::from(value));
    let status = |executor: &Executor<R>| executor.handle().status();
    let mut add = |name, help, values| out.gauges(name, help, "group", values);
    add(
        "group_leader",
        "1 while this node leads the group",
        gauges(&|group| flag(status(group).role == Role::Leader)),
    )?;
    add(
        "group_leader_node",
        "The number of the group's leader: this node, or one that it is connected to; 0 for none",
        gauges(&|group| clients.reachable_leader(&status(group)).map_or(0.0, |leader| leader as f64)),
    )?;
    add(
        "group_lease_valid",
        "1 while this node leads the group and its lease is valid",
        gauges(&|group| flag(group.handle().gate().lease().remaining(now).is_some())),
    )?;
    add("group_term", "The newest term of the group that this node knows", gauges(&|group| status(group).term as f64))?;
    add(
        "group_commit_index",
        "The highest index of the group that is known to be committed",
        gauges(&|group| status(group).commit as f64),
    )?;
    add(
        "group_applied_index",
        "The highest index of the group that is applied",
        gauges(&|group| status(group).applied as f64),
    )?;
    add("group_keys", "The keys of the group", gauges(&|group| group.view().len() as f64))
}

pub(super) fn encode<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    log(clients, out)?;
    groups(clients, out)?;
    disk(clients, out)?;
    members(clients, out)?;
    links(clients, out)
}

fn log<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let (status, Statistics { group, router, .. }) = (clients.status(), clients.statistics());
    out.gauge("commit_index", "The highest index that is known to be committed", status.commit as f64)?;
    out.gauge(
        "exposed_index",
        "The highest index whose effect anyone may see: on a leader, every reader that may be using a sublease has it",
        status.exposed as f64,
    )?;
    out.gauge("applied_index", "The highest index that is applied", status.applied as f64)?;
    out.flag(
        "log_may_be_cut",
        "1 while the log may lack entries that this node acknowledged",
        clients.log_may_be_cut(),
    )?;
    out.gauge(
        "stalled_seconds",
        "The time for which this leader has applied nothing although entries are pending",
        clients.stalled_for().as_secs_f64(),
    )?;
    out.histogram("apply_duration_seconds", "The time to apply one log entry", &clients.executor.timers().1.times())?;
    out.counter(
        "writes_displaced",
        "Writes whose place in the log was taken by an entry of another leader",
        group.writes_displaced,
    )?;
    out.counters(
        "snapshots",
        "Whole states that were sent to followers, or that replaced the state of this node",
        "direction",
        [("sent", group.snapshots_sent), ("installed", group.snapshots_installed)],
    )?;
    out.counter(
        "snapshot_transfers_resumed",
        "Transfers of a state that went on after pieces were lost",
        group.transfers_resumed,
    )?;
    out.counter("writes_forwarded", "Writes sent to another node, which leads", router.writes_forwarded)?;
    out.counter(
        "read_indexes_asked",
        "Requests for a read index to the leader, each for all reads that waited",
        router.read_indexes_asked,
    )?;
    out.counter("reads_awaited_apply", "Reads that waited for an index to be applied", router.reads_awaited_apply)?;
    out.counters(
        "requests_dropped",
        "Requests that this node gave up",
        "reason",
        [
            ("timed_out", router.requests_timed_out),
            ("client_left", router.requests_abandoned),
            ("repeated", router.requests_repeated),
            ("queue_full", router.requests_refused),
        ],
    )
}

fn disk<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let disk = clients.statistics().disk;
    out.histogram(
        "disk_commit_duration_seconds",
        "The time to write and sync the batches that were queued together",
        &clients.executor.timers().0.times(),
    )?;
    out.gauge("disk_pending_bytes", "The writes that are not durable yet", disk.pending_bytes as f64)?;
    out.gauge(
        "disk_silent_seconds",
        "The time for which the disk has had a write to do and has finished none",
        disk.silent_for.as_secs_f64(),
    )?;
    let (free, reserve) = clients.space.bytes();
    out.gauge(
        "disk_free_bytes",
        "The free space on the disk of the data folder; NaN if unknown",
        free.map_or(f64::NAN, |free| free as f64),
    )?;
    out.gauge("disk_reserve_bytes", "Writes are refused while less than this is free", reserve as f64)?;
    out.flag("disk_full", "1 while writes are refused because the disk is almost full", clients.space.is_short())
}

fn members<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let (status, members) = (clients.status(), clients.executor.handle().members());
    let membership = &members.membership;
    out.gauges(
        "members",
        "The members of the cluster",
        "part",
        [("voter", membership.voters.len() as f64), ("learner", membership.learners.len() as f64)],
    )?;
    out.flag(
        "members_changing",
        "1 while a change of the members is half done",
        !membership.voters_outgoing.is_empty(),
    )?;
    let peers = clients.transport.peers();
    out.gauges(
        "peer_up",
        "1 while this node is connected to that one",
        "peer",
        peers.iter().map(|peer| (peer.to_string(), f64::from(u8::from(clients.transport.peer_up(*peer))))),
    )?;
    let leads = status.role == Role::Leader;
    let progress = || members.progress.iter().filter(|(node, _)| leads && **node != clients.node());
    out.gauges(
        "peer_heard",
        "1 while that node has acknowledged something within the last hold; on the leader only",
        "peer",
        progress().map(|(peer, progress)| (peer.to_string(), f64::from(u8::from(progress.heard)))),
    )?;
    out.gauges(
        "peer_lag_entries",
        "The committed entries that that node has not stored yet; on the leader only",
        "peer",
        progress().map(|(peer, progress)| (peer.to_string(), status.commit.saturating_sub(progress.stored) as f64)),
    )
}

fn links<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let counters = clients.transport.counters();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let by_lane =
        |lanes: &[AtomicU64; Lane::ALL.len()]| Lane::ALL.map(|lane| (name(lane), count(&lanes[lane as usize])));
    out.counters(
        "frames",
        "Frames between nodes",
        "direction",
        [("sent", count(&counters.sent)), ("received", count(&counters.received))],
    )?;
    out.counters(
        "frames_dropped_full",
        "Frames that were not sent because their queue was full",
        "lane",
        by_lane(&counters.dropped_full),
    )?;
    out.counters(
        "frames_dropped_disconnected",
        "Frames that were not sent because there was no connection, or it broke",
        "lane",
        by_lane(&counters.dropped_down),
    )?;
    out.counters(
        "connections_refused",
        "Connections of nodes that were refused or closed",
        "reason",
        [
            ("handshake", count(&counters.handshakes_refused)),
            ("too_many", count(&counters.handshakes_evicted)),
            ("malformed", count(&counters.malformed)),
        ],
    )?;
    out.counter("reconnects", "Connections to other nodes that were established again", count(&counters.reconnects))
}

fn name(lane: Lane) -> &'static str {
    match lane {
        Lane::Urgent => "urgent",
        Lane::Append => "append",
        Lane::Request => "request",
    }
}
