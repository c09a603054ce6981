//! The node's own account of itself, for `LEASEHOLD STATUS`: what it sees, what is wrong, and what to do about it.

use super::shared::Clients;
use crate::health::{MAX_LAG, lacks_quorum, unheard, voters};
use crate::status::{
    AddressStatus, ClusterStatus, GroupStatus, LeaseStatus, MemberStatus, NodeStatus, Part, RoleStatus, SCHEMA,
    TimingStatus,
};
use leasehold_core::NodeId;
use leasehold_node::identity::{Addresses, Numbers};
use leasehold_node::members::{Aim, Members};
use leasehold_node::{Role, Statistics, Status};
use leasehold_raft::wire::Membership;
use leasehold_runtime::Runtime;
use std::collections::BTreeSet;
use std::time::Duration;

/// The time for which a disk may finish no write without being reported.
const MAX_DISK_SILENCE: Duration = Duration::from_secs(1);

/// Returns the status of a node.
pub(crate) fn describe<R: Runtime>(clients: &Clients<R>) -> NodeStatus {
    let (status, members) = (clients.status(), clients.executor.handle().members());
    let registry = clients.executor.registrar().registry();
    let now = clients.now();
    let uptime = clients.facts.started.zip(now).map(|(from, to)| to.elapsed_since(from).at_most);
    let timing = clients.facts.timing;
    let mut told = NodeStatus {
        schema: SCHEMA,
        node: clients.node(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime: R::NAME.to_owned(),
        uptime_s: uptime.unwrap_or_default().as_secs(),
        cluster: ClusterStatus {
            name: clients.facts.cluster.clone(),
            id: registry.is_founded().then(|| format!("{:016x}", registry.cluster)),
        },
        addresses: addresses(&registry.addresses),
        role: role(status.role),
        term: status.term,
        leader: status.leader,
        lease: lease(clients, status, &members),
        timing: TimingStatus {
            hold_ms: milliseconds(timing.hold()),
            lease_ms: milliseconds(timing.lease()),
            heartbeat_ms: milliseconds(timing.heartbeat()),
            drift_ppm: timing.timing().drift_ppm,
            quorum_reads: clients.facts.quorum_reads,
        },
        commit: status.commit,
        applied: status.applied,
        entry_version: members.entry_version(),
        members_changed: status.members_changed,
        takes_no_part: clients.executor.registrar().takes_no_part().map(|reason| format!("this node {reason}")),
        ..NodeStatus::default()
    };
    told.groups = describe_groups(clients);
    told.members = describe_members(clients, status, &members);
    count(clients, &mut told);
    warn(clients, status, &members, now.is_some(), &mut told);
    told
}

fn role(role: Role) -> RoleStatus {
    match role {
        Role::Leader => RoleStatus::Leader,
        Role::Follower => RoleStatus::Follower,
        Role::PreCandidate | Role::Candidate => RoleStatus::Candidate,
    }
}

/// Returns the status of each group; of none if there is only one.
fn describe_groups<R: Runtime>(clients: &Clients<R>) -> Vec<GroupStatus> {
    let slots = clients.facts.slots;
    let groups = if slots.is_single() { 0..0 } else { slots.groups() };
    let describe = |group| {
        let executor = clients.group(group);
        let (status, members) = (executor.handle().status(), executor.handle().members());
        let numbers = |numbers: BTreeSet<NodeId>| numbers.into_iter().collect();
        let Membership { voters, voters_outgoing, learners, .. } = &members.membership;
        GroupStatus {
            group,
            role: role(status.role),
            term: status.term,
            leader: status.leader,
            lease_valid: executor.handle().gate().lease().remaining(clients.now()).is_some(),
            commit: status.commit,
            applied: status.applied,
            keys: executor.view().len() as u64,
            voters: numbers(voters.iter().chain(voters_outgoing).copied().collect()),
            learners: numbers(learners.iter().copied().collect()),
        }
    };
    groups.map(describe).collect()
}

fn addresses(from: &Addresses) -> AddressStatus {
    AddressStatus { peers: from.peers.clone(), clients: from.clients.clone() }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lease<R: Runtime>(clients: &Clients<R>, status: Status, members: &Members) -> LeaseStatus {
    let left = clients.lease_remaining();
    let sublease = clients.executor.handle().gate().sublease().remaining(clients.now());
    let why_not = || {
        let unheard = unheard(clients.node(), members);
        if status.role != Role::Leader {
            match status.leader {
                Some(leader) => format!("node {leader} leads"),
                None => "there is no leader, as far as this node knows".to_owned(),
            }
        } else if clients.facts.quorum_reads {
            "this node runs with --reads quorum, and asks a quorum for every read".to_owned()
        } else if clients.now().is_none() {
            "this node's clock gives no reading".to_owned()
        } else if lacks_quorum(members, &unheard) {
            format!("no quorum was heard within the hold: {} missing", voters(&unheard))
        } else {
            "this node has just begun to lead, or hands leadership over".to_owned()
        }
    };
    LeaseStatus {
        valid: left.is_some(),
        remaining_ms: left.map_or(0, milliseconds),
        why_not: left.is_none().then(why_not),
        last_lost: clients.health.last_lost(),
        sublease_remaining_ms: sublease.map_or(0, milliseconds),
    }
}

fn describe_members<R: Runtime>(clients: &Clients<R>, status: Status, members: &Members) -> Vec<MemberStatus> {
    let membership = &members.membership;
    let contacts = clients.executor.registrar().registry().contacts();
    let describe = |node: NodeId| {
        let known = members.member(node);
        let (votes, voted) = (membership.voters.contains(&node), membership.voters_outgoing.contains(&node));
        let is_joint = !membership.voters_outgoing.is_empty();
        let share = clients.share(node);
        let part = match (votes, voted, known.aim) {
            (.., Aim::Leaving) => Part::Leaving,
            (true, false, _) if is_joint => Part::Joining,
            (true, ..) => Part::Voter,
            (false, true, _) => Part::Leaving,
            (false, false, Aim::Learner) => Part::Learner,
            (false, false, Aim::Voter | Aim::Replaces(_)) => Part::Joining,
        };
        let replaces = match known.aim {
            Aim::Replaces(old) => Some(old),
            Aim::Voter | Aim::Learner | Aim::Leaving => None,
        };
        let is_self = node == clients.node();
        let leads = status.role == Role::Leader;
        let progress = members.progress.get(&node);
        // What a member announced itself is newer than what is replicated.
        let contact = contacts.get(&node).unwrap_or(&known.contact);
        MemberStatus {
            node,
            part,
            replaces,
            addresses: addresses(&contact.addresses),
            connected: is_self || clients.transport.peer_up(node),
            heard: leads.then(|| is_self || progress.is_some_and(|progress| progress.heard)),
            lag: leads.then(|| progress.map_or(0, |progress| status.commit.saturating_sub(progress.stored))),
            trouble: clients.transport.peer_trouble(node),
            votes_in: share.as_ref().map(|share| share.votes_in),
            groups_behind: share.map(|share| share.behind).unwrap_or_default(),
        }
    };
    let numbers: BTreeSet<NodeId> = membership.members().collect();
    numbers.into_iter().map(describe).collect()
}

/// Adds the counts that matter to an operator.
fn count<R: Runtime>(clients: &Clients<R>, told: &mut NodeStatus) {
    let (counters, Statistics { group, disk, .. }) = (clients.counters(), clients.statistics());
    let local = clients.local_reads();
    let mut add = |name: &str, count: u64| {
        told.counters.insert(name.to_owned(), count);
    };
    add("reads_lease", counters.reads_lease.get());
    add("reads_local", counters.reads_local.get());
    add("reads_quorum", counters.reads_quorum.get());
    add("reads_failed", counters.reads_failed.get());
    add("writes_acknowledged", counters.writes_acknowledged.get());
    add("writes_uncertain", counters.writes_uncertain.get());
    add("writes_failed", counters.writes_failed.get());
    add("subleases_requested", local.requested);
    add("subleases_received", local.received);
    add("subleases_granted", local.granted);
    add("obligations", local.obligations as u64);
    add("writes_delayed_by_readers", local.writes_delayed);
    add("messages_refused", group.replica.messages_refused);
    add("snapshots_sent", group.snapshots_sent);
    add("snapshots_installed", group.snapshots_installed);
    add("stepped_down_without_progress", group.replica.leaderships_given_up);
    add("stepped_down_blocked_by_readers", local.leaderships_blocked);
    add("disk_pending_bytes", disk.pending_bytes as u64);
    add("connected_clients", clients.connected() as u64);
    add("rejected_connections", clients.rejected.get());
    add("keys", clients.keys() as u64);
    add("used_memory", clients.used_bytes());
}

fn warn<R: Runtime>(clients: &Clients<R>, status: Status, members: &Members, has_reading: bool, told: &mut NodeStatus) {
    let mut warnings = Vec::new();
    warn_of_itself(clients, has_reading, &mut warnings);
    warnings.extend(told.takes_no_part.clone());
    if told.takes_no_part.is_none() && status.role == Role::Leader {
        warn_as_leader(clients, members, told, &mut warnings);
        told.advice = advice(members);
    } else if told.takes_no_part.is_none() {
        if status.leader.is_none() && !told.members.is_empty() {
            warnings.push(format!("node {} knows no leader: commands wait for one", told.node));
        }
        for member in told.members.iter().filter(|member| !member.connected) {
            let reason = member.trouble.clone().unwrap_or_else(|| "it has not been reached yet".to_owned());
            warnings.push(format!("node {} is not connected to node {}: {reason}", told.node, member.node));
        }
    }
    if told.takes_no_part.is_none() && !told.members.is_empty() {
        let leaderless =
            told.groups.iter().skip(1).filter(|group| group.leader.is_none()).map(|group| group.group.into());
        let leaderless = Numbers::new(leaderless);
        if !leaderless.is_empty() {
            let node = told.node;
            warnings.push(format!(
                "node {node} knows no leader of these groups: {leaderless}; commands on their keys wait"
            ));
        }
    }
    told.warnings = warnings;
}

fn warn_of_itself<R: Runtime>(clients: &Clients<R>, has_reading: bool, warnings: &mut Vec<String>) {
    let (node, Statistics { disk, .. }) = (clients.node(), clients.statistics());
    if !has_reading {
        warnings.push(format!(
            "the clock of node {node} gives no reading: it holds no lease and does not vote; look at its log"
        ));
    }
    if clients.log_may_be_cut() {
        warnings.push(format!(
            "the end of node {node}'s log may be cut off: it neither votes nor leads until it has caught up with a leader \
             that every other voter follows; see docs/configuration.md, --accept-data-loss, if there is none"
        ));
    }
    if disk.silent_for >= MAX_DISK_SILENCE {
        warnings.push(format!(
            "the disk of node {node} has finished no write for {:.1} s: look at the disk",
            disk.silent_for.as_secs_f64()
        ));
    }
    if clients.space.is_short() {
        warnings.push(format!(
            "the disk of node {node} is almost full, so it refuses writes: free some space, or enlarge the file system \
             (--min-free-space)"
        ));
    }
    let stalled_for = clients.stalled_for();
    if stalled_for >= clients.facts.timing.hold() {
        warnings.push(format!(
            "node {node} leads and has executed nothing for {:.1} s although writes wait: its disk hangs, or its appends do \
             not arrive",
            stalled_for.as_secs_f64()
        ));
    }
    if clients.max_memory().is_some_and(|max| clients.used_bytes() > max) {
        warnings.push(format!(
            "keys and values take more than --max-memory on node {node}, so it refuses writes: delete some, or raise it"
        ));
    }
    if clients.connected() >= clients.limits.max_clients {
        warnings.push(format!(
            "node {node} has as many clients as it takes ({}) and refuses further ones: raise --max-clients",
            clients.limits.max_clients
        ));
    }
}

fn warn_as_leader<R: Runtime>(clients: &Clients<R>, members: &Members, told: &NodeStatus, warnings: &mut Vec<String>) {
    let missing = unheard(clients.node(), members);
    let highest = members.membership.highest();
    for member in told.members.iter().filter(|member| member.heard == Some(false)) {
        let MemberStatus { node, part, trouble, .. } = member;
        let reason = trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        let is_lost = trouble.as_ref().is_some_and(|trouble| trouble.contains("data folder"));
        let then = match part {
            Part::Leaving if !told.groups.is_empty() => "it is being removed".to_owned(),
            Part::Joining => format!("start it, or give it up: leasehold ctl remove {node}"),
            _ if is_lost => {
                format!("replace it by a new node: leasehold ctl replace {node} {} HOST:PORT", highest + 1)
            }
            _ => format!(
                "start it; if its machine or its folder is lost: leasehold ctl replace {node} {} HOST:PORT",
                highest + 1
            ),
        };
        let noun = if member.votes() { "voter" } else { "node" };
        warnings.push(format!("{noun} {node} is not heard{reason}: {then}"));
    }
    if lacks_quorum(members, &missing) {
        warnings.push(format!("{} missing, and without them there is no quorum: nothing is served", voters(&missing)));
    } else if !missing.is_empty() {
        let left = |failed: NodeId| {
            let mut gone = missing.clone();
            gone.push(failed);
            lacks_quorum(members, &gone)
        };
        if members.membership.voters.iter().any(|voter| !missing.contains(voter) && left(*voter)) {
            warnings.push("one more failure stops the cluster".to_owned());
        }
    }
    for member in &told.members {
        let lag = member.lag.unwrap_or(0);
        if member.heard == Some(true) && lag > MAX_LAG {
            let trend = if clients.health.lag_grows(member.node) {
                "and falls further behind: look at its disk and at the network to it"
            } else {
                "and catches up"
            };
            warnings.push(format!("node {} lacks {lag} entries {trend}", member.node));
        }
    }
    let joining = told.members.iter().filter(|member| member.part == Part::Joining && member.groups_behind.is_empty());
    for member in joining.filter(|member| member.heard == Some(true)) {
        if member.lag.is_some_and(|lag| lag <= MAX_LAG) && clients.health.joins_slowly(member.node) {
            warnings.push(format!(
                "node {} has caught up and still does not vote: look at the log of this leader, and hand leadership over: \
                 leasehold ctl transfer ID",
                member.node
            ));
        }
    }
    for member in told.members.iter().filter(|member| clients.health.joins_slowly(member.node)) {
        if let Some(groups) = told.list_behind(member) {
            warnings.push(format!(
                "a change of node {} takes long: {groups} have not made it; a group needs a leader for it, a new voter that \
                 has caught up, and for a removal a quorum of the other voters; if all of that is there: leasehold ctl \
                 transfer 0 ID",
                member.node
            ));
        }
    }
    for member in &told.members {
        let left = clients.share(member.node).map(|share| share.left).unwrap_or_default();
        if !left.is_empty() {
            warnings.push(format!(
                "node {} has left {}, because a replacement of it was given up after it had begun: replace it \
                 (leasehold ctl replace {} {} HOST:PORT), or remove it",
                member.node,
                told.list(&left),
                member.node,
                highest + 1
            ));
        }
    }
    if clients.health.joint_is_stuck() {
        let time = clients.health.joint_for().unwrap_or_default().as_secs();
        warnings.push(format!(
            "a change of the members has been half done for {time} s: it needs a quorum of the old voters and one of the \
             new ones; start those that are missing"
        ));
    }
}

fn advice(members: &Members) -> Vec<String> {
    let leaves = |voter: &&NodeId| members.member(**voter).aim == Aim::Leaving;
    let voters = members.membership.voters.iter().filter(|voter| !leaves(voter)).count();
    let text = match voters {
        1 => "there is a single voter, and so a single copy of the data: add two nodes (leasehold ctl add)".to_owned(),
        2 => "with two voters the cluster stops when either fails: add a third (leasehold ctl add)".to_owned(),
        even if even % 2 == 0 => {
            format!("{even} voters survive no more failures than {}: add one or remove one", even - 1)
        }
        _ => return Vec::new(),
    };
    vec![text]
}
