//! The reply to `INFO`.

mod fields;
mod redis;

use crate::clients::shared::Clients;
use bytes::Bytes;
use fields::Fields;
use leasehold_core::NodeId;
use leasehold_node::identity::Numbers;
use leasehold_node::{Role, Statistics};
use leasehold_runtime::Runtime;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Returns the requested sections, or all of them if none is requested. The sections about the node's role in the cluster
/// are for administrators; others learn that when they request one.
pub(crate) fn render<R: Runtime>(clients: &Clients<R>, requested: &[Bytes], see_details: bool) -> String {
    let sections: [(&str, Describe<R>); 16] = [
        ("Server", redis::server),
        ("Identity", identity),
        ("Clients", connected_clients),
        ("Memory", redis::memory),
        ("Persistence", persistence),
        ("Stats", redis::stats),
        ("Replication", redis::replication),
        ("CPU", redis::processor),
        ("Commandstats", redis::commands),
        ("Errorstats", redis::errors),
        ("Cluster", redis::cluster),
        ("Lease", lease),
        ("Groups", groups),
        ("Protocol", protocol),
        ("Links", links),
        ("Keyspace", redis::keyspace),
    ];
    let named = |name: &str| requested.iter().any(|section| section.eq_ignore_ascii_case(name.as_bytes()));
    let all = ["all", "everything"].into_iter().any(named);
    let default = requested.is_empty() || named("default");
    let wanted = |name: &str| named(name) || all || (default && name != "Commandstats");
    let mut fields = Fields(String::new());
    for (name, describe) in sections {
        let withheld = DETAILS.contains(&name) && !see_details;
        // One group is what the other sections describe.
        let is_known = name != "Groups" || !clients.facts.slots.is_single();
        let is_shown = is_known && if withheld { named(name) } else { wanted(name) };
        if !is_shown {
            continue;
        }
        fields.0.push_str(if fields.0.is_empty() { "# " } else { "\r\n# " });
        fields.0.push_str(name);
        fields.0.push_str("\r\n");
        if withheld {
            fields.add("withheld", "the role admin is needed");
        } else {
            describe(clients, &mut fields);
        }
    }
    fields.0
}

/// The sections that only administrators see.
const DETAILS: [&str; 5] = ["Identity", "Lease", "Groups", "Protocol", "Links"];

type Describe<R> = fn(&Clients<R>, &mut Fields);

/// The identity of this node's folder, and the reason if it takes no part in a cluster.
fn identity<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let registry = clients.executor.registrar().registry();
    fields.add("cluster_id", format_args!("{:016x}", registry.cluster));
    fields.add("founders", Numbers::new(registry.founders.keys().copied()));
    fields.add("folder_incarnation", format_args!("{:016x}", registry.incarnation));
    fields.add("folder_starts", registry.starts);
    let takes_no_part = clients.executor.registrar().takes_no_part();
    fields.add("takes_part", u8::from(takes_no_part.is_none()));
    if let Some(reason) = takes_no_part {
        fields.add("takes_no_part_because", format_args!("this node {reason}"));
    }
}

fn connected_clients<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    fields.add("connected_clients", clients.connected());
    // No command blocks, and clients keep no caches.
    fields.add("blocked_clients", 0);
    fields.add("tracking_clients", 0);
    fields.add("maxclients", clients.limits.max_clients);
    fields.add("rejected_connections", clients.rejected.get());
    fields.add("maxclients_per_address", clients.limits.max_clients_per_address.unwrap_or(0));
    fields.add("rejected_connections_per_address", clients.rejected_per_address.get());
    fields.add("max_argument_bytes", clients.limits.max_argument);
    fields.add("requests_too_long", clients.too_long.get());
    fields.add("max_pipeline_bytes", clients.limits.max_pipeline);
    fields.add("pipelines_paused", clients.paused.get());
    fields.add("idle_timeout_s", clients.limits.idle_timeout.unwrap_or_default().as_secs());
    fields.add("client_timeout_s", clients.limits.client_timeout.as_secs());
    fields.add("timed_out_connections", clients.timed_out.get());
    fields.add("http_requests", clients.http_requests.get());
    fields.add("strangers_evicted", clients.lobby.evicted.get());
    if clients.encryption.is_used() {
        fields.add("tls_handshakes_failed", clients.encryption.failures.get());
    }
    if let Some(users) = &clients.users {
        fields.add("acl_access_denied_auth", users.failures.get());
        fields.add("acl_access_denied_cmd", users.forbidden.get());
    }
}

fn persistence<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    fields.add("loading", 0);
    fields.add("aof_enabled", 1);
    let (free, reserve) = clients.space.bytes();
    if let Some(free) = free {
        fields.add("disk_free", free);
    }
    fields.add("disk_reserve", reserve);
    fields.add("disk_refuses_writes", u8::from(clients.space.is_short()));
}

/// The names of these fields are part of the public interface.
fn lease<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let status = clients.status();
    let left = clients.lease_remaining();
    let (counters, local) = (clients.counters(), clients.local_reads());
    fields.add("role", role_name(status.role));
    fields.add("node_id", clients.node());
    fields.add("leader_id", status.leader.unwrap_or(0));
    fields.add("term", status.term);
    fields.add("lease_valid", u8::from(left.is_some()));
    fields.add("lease_remaining_us", left.unwrap_or(Duration::ZERO).as_micros());
    fields.add("reads_lease", counters.reads_lease.get());
    fields.add("reads_local", counters.reads_local.get());
    fields.add("reads_quorum", counters.reads_quorum.get());
    fields.add("reads_forwarded", counters.reads_forwarded.get());
    fields.add("reads_follower", counters.reads_follower.get());
    fields.add("reads_failed", counters.reads_failed.get());
    fields.add("reads_logged", counters.reads_logged.get());
    fields.add("writes_acknowledged", counters.writes_acknowledged.get());
    fields.add("writes_uncertain", counters.writes_uncertain.get());
    fields.add("writes_failed", counters.writes_failed.get());
    fields.add("commit_index", status.commit);
    fields.add("exposed_index", status.exposed);
    fields.add("applied_index", status.applied);
    let sublease = clients.sublease_remaining();
    fields.add("sublease_valid", u8::from(sublease.is_some()));
    fields.add("sublease_remaining_us", sublease.unwrap_or(Duration::ZERO).as_micros());
    fields.add("subleases_requested", local.requested);
    fields.add("subleases_received", local.received);
    fields.add("subleases_granted", local.granted);
    fields.add("obligations", local.obligations);
    fields.add("writes_delayed_by_readers", local.writes_delayed);
    fields.add("stepped_down_blocked_by_readers", local.leaderships_blocked);
    fields.add("log_may_be_cut", u8::from(clients.log_may_be_cut()));
    if let Some(reason) = clients.health.last_lost() {
        fields.add("lease_last_lost", reason);
    }
    fields.add("runtime", R::NAME);
}

/// A line for each group, for clusters of several.
fn groups<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let now = clients.now();
    fields.add("groups", clients.executors.len());
    fields.add("groups_led", clients.groups_led());
    for (group, executor) in clients.executors.iter().enumerate() {
        let (status, members) = (executor.handle().status(), executor.handle().members());
        let gate = executor.handle().gate();
        let (lease, sublease) = (gate.lease().remaining(now).is_some(), gate.sublease().remaining(now).is_some());
        let leader = status.leader.unwrap_or(0);
        let line = format_args!(
            "role={},leader={leader},term={},lease={},sublease={},commit={},applied={},keys={},voters={},learners={}",
            role_name(status.role),
            status.term,
            u8::from(lease),
            u8::from(sublease),
            status.commit,
            status.applied,
            executor.view().len(),
            members.membership.voters.len(),
            members.membership.learners.len()
        );
        fields.add(&format!("group_{group}"), line);
    }
    let members: BTreeSet<NodeId> = clients.executor.handle().members().membership.members().collect();
    for (node, share) in members.into_iter().filter_map(|node| Some((node, clients.share(node)?))) {
        let line = format_args!("votes_in={},groups_behind={}", share.votes_in, share.behind.len());
        fields.add(&format!("member_{node}"), line);
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::PreCandidate | Role::Candidate => "candidate",
    }
}

/// Counters of actions that the lease prevented and of inputs that were ignored.
fn protocol<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let Statistics { group, disk, .. } = clients.statistics();
    let (replica, holder) = (group.replica, group.holder);
    fields.add("votes_withheld", replica.votes_withheld);
    fields.add("campaigns_withheld", replica.campaigns_withheld);
    fields.add("transfers_withheld", replica.transfers_withheld);
    fields.add("messages_refused", replica.messages_refused);
    fields.add("stepped_down_without_progress", replica.leaderships_given_up);
    fields.add("progress_stalled_ms", clients.stalled_for().as_millis());
    fields.add("disk_stalled_ms", disk.silent_for.as_millis());
    fields.add("disk_pending_bytes", disk.pending_bytes);
    fields.add("appends_withheld", disk.appends_withheld);
    fields.add("held_ms", group.held_for.map_or(-1, |held| held.as_millis() as i128));
    fields.add("snapshots_sent", group.snapshots_sent);
    fields.add("snapshots_received", group.snapshots_installed);
    fields.add("transfers_resumed", group.transfers_resumed);
    fields.add("rounds_opened", holder.rounds_opened);
    fields.add("releases", holder.releases);
    fields.add("acks_of_other_terms", holder.acks_of_other_terms);
    fields.add("acks_of_strangers", holder.acks_of_non_voters);
    fields.add("acks_out_of_order", holder.acks_out_of_order);
    fields.add("backward_readings", holder.backward_readings);
    fields.add("missing_readings", holder.missing_readings);
}

/// Counters of frames and connections between this node and its peers.
fn links<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let counters = clients.transport.counters();
    let mut add = |name, counter: &AtomicU64| fields.add(name, counter.load(Ordering::Relaxed));
    add("frames_sent", &counters.sent);
    add("frames_received", &counters.received);
    add("connections_malformed", &counters.malformed);
    add("handshakes_refused", &counters.handshakes_refused);
    add("handshakes_evicted", &counters.handshakes_evicted);
    add("reconnects", &counters.reconnects);
    for (name, lanes) in
        [("frames_dropped_full", &counters.dropped_full), ("frames_dropped_down", &counters.dropped_down)]
    {
        fields.add(name, lanes.iter().map(|lane| lane.load(Ordering::Relaxed)).sum::<u64>());
    }
    let members = clients.executor.handle().members();
    let commit = clients.status().commit;
    for peer in clients.transport.peers() {
        fields.add(&format!("peer_{peer}_up"), u8::from(clients.transport.peer_up(peer)));
        // Known to the leader only.
        if let Some(progress) = members.progress.get(&peer) {
            fields.add(&format!("peer_{peer}_lag"), commit.saturating_sub(progress.stored));
        }
        if let Some(version) = clients.transport.peer_version(peer) {
            fields.add(&format!("peer_{peer}_version"), version);
        }
        if let Some(trouble) = clients.transport.peer_trouble(peer) {
            fields.add(&format!("peer_{peer}_trouble"), trouble);
        }
    }
}
