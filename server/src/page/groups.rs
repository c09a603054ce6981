//! The groups of a node, if there are several: those that need attention, and those that it leads.

use super::format;
use super::mood::Mood;
use crate::status::{GroupStatus, NodeStatus, RoleStatus};
use maud::{Markup, html};
use std::cmp::Reverse;

/// The most groups that are shown.
const MAX_SHOWN_GROUPS: usize = 32;

/// Returns the state of a group if it matters at this node: it leads the group, or knows no leader of it.
fn state(group: &GroupStatus, quorum_reads: bool) -> Option<(Mood, &'static str)> {
    match (group.role, group.leader) {
        (RoleStatus::Leader, _) if group.lease_valid => Some((Mood::Good, "leads with a valid lease")),
        (RoleStatus::Leader, _) if quorum_reads => Some((Mood::Good, "leads, and asks a quorum for reads")),
        (RoleStatus::Leader, _) => Some((Mood::Degraded, "leads without a lease")),
        (_, None) => Some((Mood::Bad, "knows no leader")),
        (_, Some(_)) => None,
    }
}

/// Returns the groups that matter, the worst first.
fn that_matter(status: &NodeStatus) -> Vec<(Mood, &'static str, &GroupStatus)> {
    let of_interest = |group| state(group, status.timing.quorum_reads).map(|(mood, words)| (mood, words, group));
    let mut groups: Vec<_> = status.groups.iter().filter_map(of_interest).collect();
    groups.sort_by_key(|(mood, _, _)| Reverse(*mood));
    groups
}

/// Returns how well a node with several groups does, and what it does.
pub(super) fn verdict(status: &NodeStatus) -> (Mood, String) {
    let groups = that_matter(status);
    let count = |wanted| groups.iter().filter(|(mood, _, _)| *mood == wanted).count();
    let (leaderless, without_lease, all) = (count(Mood::Bad), count(Mood::Degraded), status.groups.len());
    match (leaderless, without_lease) {
        (0, 0) => (Mood::Good, format!("leads {} of {all} groups", groups.len())),
        (0, number) => (Mood::Degraded, format!("leads {number} of {all} groups without a lease")),
        (number, _) => (Mood::Bad, format!("knows no leader of {number} of {all} groups")),
    }
}

/// Returns the section of the page; nothing if there is one group.
pub(super) fn section(status: &NodeStatus) -> Markup {
    let groups = that_matter(status);
    html! {
        @if let Some(leaders) = status.leaders() {
            section.wide {
                h2 { "Groups that node " (status.node) " leads, or whose leader it does not know" }
                @if !groups.is_empty() {
                    table {
                        tr { th.n { "group" } th { "state" } th.n { "term" } th.n { "to apply" } th.n { "keys" } }
                        @for (mood, words, group) in groups.iter().take(MAX_SHOWN_GROUPS) {
                            tr {
                                td.n { (group.group) }
                                td.state { span.dot.(mood.class()) {} (words) }
                                td.n { (group.term) }
                                td.n { (format::number(group.commit.saturating_sub(group.applied))) }
                                td.n { (format::number(group.keys)) }
                            }
                        }
                    }
                }
                @if groups.len() > MAX_SHOWN_GROUPS { p.note { "And " (groups.len() - MAX_SHOWN_GROUPS) " more." } }
                p.note { "All groups: " (leaders) "." }
            }
        }
    }
}
