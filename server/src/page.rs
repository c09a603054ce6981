//! The status page of a node: whether reads are answered by the lease, and if not, why.
//!
//! The server renders it whole, so that it needs no script. The script replaces its content every second.

mod charts;
mod format;
mod groups;
mod mood;

use crate::clients::{Clients, describe};
use crate::health::Line;
use crate::history::{Event, Sample};
use crate::latency::Times;
use crate::status::{MemberStatus, NodeStatus, RoleStatus};
use crate::wall::unix_time;
use leasehold_runtime::Runtime;
use maud::{DOCTYPE, Markup, html};
use mood::Mood;
use std::time::Duration;

/// The style sheet and the script of the page.
pub(crate) const STYLE: &str = include_str!("page/page.css");
pub(crate) const SCRIPT: &str = include_str!("page/page.js");
/// The type of the page.
pub(crate) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// The most events that are shown.
const MAX_SHOWN_EVENTS: usize = 20;

/// What the page shows.
#[derive(Debug, Default)]
struct Shown {
    status: NodeStatus,
    samples: Vec<Sample>,
    events: Vec<Event>,
    /// The time since the epoch.
    now: Duration,
}

/// Returns the page of a node.
pub(crate) fn render<R: Runtime>(clients: &Clients<R>) -> String {
    let (status, history) = (describe(clients), &clients.history);
    Shown { status, samples: history.samples(), events: history.events(), now: unix_time() }.page().into_string()
}

impl Shown {
    /// Returns how well the node does, and what it does.
    fn verdict(&self) -> (Mood, String) {
        let status = &self.status;
        let problems = status.warnings.len();
        let words = match (status.role, status.leader) {
            _ if status.takes_no_part.is_some() => return (Mood::Bad, "takes no part in a cluster".to_owned()),
            _ if !status.groups.is_empty() => match groups::verdict(status) {
                (Mood::Good, words) => words,
                verdict => return verdict,
            },
            (RoleStatus::Leader, _) if status.lease.valid => "leads with a valid lease".to_owned(),
            (RoleStatus::Leader, _) if status.timing.quorum_reads => "leads, and asks a quorum for reads".to_owned(),
            (RoleStatus::Leader, _) => return (Mood::Degraded, "leads without a lease".to_owned()),
            (_, Some(leader)) => format!("follows node {leader}"),
            (_, None) => return (Mood::Bad, "knows no leader".to_owned()),
        };
        match problems {
            0 => (Mood::Good, words),
            1 => (Mood::Degraded, format!("{words}; one thing is wrong")),
            _ => (Mood::Degraded, format!("{words}; {problems} things are wrong")),
        }
    }

    /// Returns what was counted in the last minute.
    fn minute(&self) -> Sample {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.since(first),
            _ => Sample::default(),
        }
    }

    fn page(&self) -> Markup {
        let NodeStatus { node, cluster, version, runtime, uptime_s, term, .. } = &self.status;
        let ((mood, words), minute) = (self.verdict(), self.minute());
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "Node " (node) " " (words) " · " (cluster.name) }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href="/page.css";
                    noscript { meta http-equiv="refresh" content="2"; }
                    script src="/page.js" defer {}
                }
                body {
                    main {
                        header {
                            p.cluster { "Leasehold · cluster " b { (cluster.name) } }
                            h1 { "Node " (node) }
                            p.verdict.(mood.class()) { (words) }
                            p.facts { "term " (term) " · up for " (format::long(Duration::from_secs(*uptime_s))) }
                        }
                        (self.problems())
                        (self.lease())
                        (Self::tiles(&self.status, &minute))
                        (self.reads(&minute))
                        (Self::latencies(&minute))
                        (groups::section(&self.status))
                        (self.members())
                        (self.history())
                        footer {
                            "Leasehold " (version) " on " (runtime) " · " a href="/metrics" { "metrics" }
                            span.live { " · updated every second" }
                            span.stale { "The node does not answer: this is what it said last." }
                        }
                    }
                }
            }
        }
    }

    fn problems(&self) -> Markup {
        let NodeStatus { warnings, advice, .. } = &self.status;
        html! {
            @if !warnings.is_empty() {
                section.wide.problems {
                    h2 { "What is wrong" }
                    ul { @for warning in warnings { li { (warning) } } }
                }
            }
            @if !advice.is_empty() {
                section.wide.advice {
                    h2 { "What could be better" }
                    ul { @for advice in advice { li { (advice) } } }
                }
            }
        }
    }

    fn lease(&self) -> Markup {
        let NodeStatus { lease, timing, role, .. } = &self.status;
        let share = lease.remaining_ms as f64 / timing.lease_ms.max(1) as f64;
        let words = match &lease.why_not {
            None => format!("valid for {} ms more, of {} ms", lease.remaining_ms, timing.lease_ms),
            Some(reason) => format!("none: {reason}"),
        };
        html! {
            section.wide {
                h2 { @if self.status.groups.is_empty() { "Lease" } @else { "Lease of group 0" } }
                (charts::lease(share, &words))
                p.words { (words) }
                p.note {
                    @if lease.valid {
                        "This node answers reads from its own memory. It renews the lease every " (timing.heartbeat_ms)
                        " ms; each renewal needs a quorum."
                    } @else if lease.sublease_remaining_ms > 0 {
                        "This node has a sublease, valid for " (lease.sublease_remaining_ms)
                        " ms more, and answers reads from its own memory. Writes wait for it."
                    } @else if *role == RoleStatus::Follower && self.status.leader.is_some() {
                        "The leader has the lease. This node asks it for an index, and answers reads from its own memory."
                    } @else {
                        "Reads wait for a quorum round, or for a leader."
                    }
                }
                @if let Some(lost) = &lease.last_lost { p.note { "Lost last: " (lost) } }
            }
        }
    }

    fn tiles(status: &NodeStatus, minute: &Sample) -> Markup {
        let counted = |name: &str| status.counters.get(name).copied().unwrap_or(0);
        let tiles = [
            ("reads per second", format::rate(minute.per_second(minute.reads.total()))),
            ("writes per second", format::rate(minute.per_second(minute.writes))),
            ("failed in the last minute", format::number(minute.failed)),
            ("clients", format::number(counted("connected_clients"))),
            ("keys", format::number(counted("keys"))),
            ("keys and values", format::bytes(counted("used_memory"))),
        ];
        html! {
            section.wide.tiles {
                @for (name, value) in tiles {
                    div { b { (value) } span { (name) } }
                }
            }
        }
    }

    fn reads(&self, minute: &Sample) -> Markup {
        html! {
            section {
                h2 { "Reads of this node's clients in the last minute" }
                @if minute.reads.total() == 0 {
                    p.note { "There were none." }
                } @else {
                    (charts::shares(minute.reads))
                    (charts::minute(&self.samples))
                }
            }
        }
    }

    fn latencies(minute: &Sample) -> Markup {
        let rows: [(&str, &Times); 4] = [
            ("reads", &minute.read_times),
            ("writes", &minute.write_times),
            ("commits to the disk", &minute.commit_times),
            ("entries applied", &minute.apply_times),
        ];
        let quantile = |times: &Times, share| times.quantile(share).map_or("–".to_owned(), format::short);
        html! {
            section {
                h2 { "Latencies in the last minute" }
                table {
                    tr { th { "at most" } th.n { "half" } th.n { "99 %" } th.n { "99.9 %" } th.n { "per second" } }
                    @for (name, times) in rows {
                        tr {
                            td { (name) }
                            @for share in [0.5, 0.99, 0.999] { td.n { (quantile(times, share)) } }
                            td.n { (format::rate(minute.per_second(times.count()))) }
                        }
                    }
                }
                p.note { "Reads and writes: from the arrival of their batch until their replies are ready." }
            }
        }
    }

    fn members(&self) -> Markup {
        let NodeStatus { node, leader, members, .. } = &self.status;
        html! {
            section.wide {
                h2 { "Members, as node " (node) " sees them" }
                table {
                    tr { th.n { "node" } th { "part" } th { "state" } th.n { "behind" } th { "clients" } th { "peers" } }
                    @for member in members {
                        @let (mood, state) = state(member, *node, *leader);
                        tr {
                            td.n { (member.node) }
                            td { (member.describe_part(self.status.groups.len())) }
                            td.state { span.dot.(mood.class()) {} (state) }
                            td.n { @match member.lag { Some(lag) => (format::number(lag)), None => "–" } }
                            td { (member.addresses.clients) }
                            td { (member.addresses.peers) }
                        }
                    }
                }
            }
        }
    }

    fn history(&self) -> Markup {
        html! {
            section.wide {
                h2 { "Recent events" }
                @if self.events.is_empty() { p.note { "There were none." } }
                ol.events {
                    @for Event { time, line } in self.events.iter().take(MAX_SHOWN_EVENTS) {
                        @let (mood, text) = match line {
                            Line::Info(text) => (Mood::Good, text),
                            Line::Warn(text) => (Mood::Degraded, text),
                        };
                        li {
                            span.when { (format::long(self.now.saturating_sub(*time))) " ago" }
                            span.dot.(mood.class()) {}
                            span { (text) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the state of a member, as the node `node` sees it.
fn state(member: &MemberStatus, node: u64, leader: Option<u64>) -> (Mood, String) {
    let role = if leader == Some(member.node) { "leads" } else { "follows" };
    let trouble = || member.trouble.clone().unwrap_or_else(|| "not reached yet".to_owned());
    match (member.connected, member.heard) {
        (_, Some(false)) => (Mood::Bad, format!("not heard within the hold; {}", trouble())),
        (false, _) => (Mood::Bad, trouble()),
        _ if leader.is_none() => (Mood::Degraded, "connected".to_owned()),
        _ if member.node == node => (Mood::Good, format!("{role} (this node)")),
        _ => (Mood::Good, role.to_owned()),
    }
}

#[cfg(test)]
mod tests;
