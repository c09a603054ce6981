//! The screen of `leasehold ctl status`: the verdict, the lease, the members, and each fault with its remedy.

use super::survey::{Picture, Survey, Verdict};
use crate::status::{MemberStatus, NodeStatus, RoleStatus};
use leasehold_core::NodeId;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The columns of the text under a bullet.
const COLUMNS: usize = 110;

/// Returns the whole screen.
pub(super) fn status(survey: &Survey) -> String {
    let picture = survey.picture();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", headline(&picture));
    if let Some(leader) = picture.leader {
        let _ = writeln!(text, "\nLease    {}\nCluster  {}", lease(leader), cluster(leader));
    } else if let Some(node) = survey.nodes.values().next() {
        let _ = writeln!(text, "\nCluster  {}", cluster(node));
    }
    if let Some(groups) = picture.leader.or(survey.nodes.values().next()).and_then(NodeStatus::leaders) {
        let _ = writeln!(text, "Groups   {groups}");
    }
    if !picture.members.is_empty() {
        let _ = writeln!(text, "\n{}", members(survey, &picture));
    }
    for (title, lines) in [("What is wrong", &picture.problems), ("To consider", &picture.advice)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}");
            lines.iter().for_each(|line| text.push_str(&bullet(line)));
        }
    }
    text
}

/// Returns the same for programs.
pub(super) fn json(survey: &Survey) -> Value {
    let picture = survey.picture();
    let problems = json!({
        "verdict": picture.verdict,
        "leader": picture.leader.map(|leader| leader.node),
        "problems": picture.problems,
        "advice": picture.advice,
        "nodes": survey.nodes.values().collect::<Vec<_>>(),
        "unreachable": survey.failures,
    });
    problems
}

fn headline(picture: &Picture<'_>) -> String {
    let count = picture.members.len();
    let members = if count == 1 { "its only member".to_owned() } else { format!("all {count} members") };
    let things = match picture.problems.len() {
        1 => "1 thing is wrong".to_owned(),
        number => format!("{number} things are wrong"),
    };
    match (picture.verdict, picture.leader) {
        (Verdict::Healthy, Some(leader)) => format!("HEALTHY: node {} leads, and {members} answer.", leader.node)
            .replace("its only member answer", "is the only member"),
        (_, Some(leader)) => format!("DEGRADED: node {} leads and serves, but {things}.", leader.node),
        (Verdict::Unreachable, None) => "UNREACHABLE: no node answers at the given addresses.".to_owned(),
        (_, None) => "NO LEADER: nothing is served until most voters run and reach each other.".to_owned(),
    }
}

fn lease(leader: &NodeStatus) -> String {
    let timing = &leader.timing;
    let mut text = if leader.lease.valid {
        format!(
            "valid for {} ms more, of at most {} ms; reads need no other node",
            leader.lease.remaining_ms, timing.lease_ms
        )
    } else {
        format!("none: {}", leader.lease.why_not.as_deref().unwrap_or("unknown"))
    };
    let _ = write!(text, " (term {}, hold {} ms, drift {} ppm)", leader.term, timing.hold_ms, timing.drift_ppm);
    if let Some(lost) = &leader.lease.last_lost {
        let _ = write!(text, "\n         lost last: {lost}");
    }
    text
}

fn cluster(node: &NodeStatus) -> String {
    let name = &node.cluster.name;
    match &node.cluster.id {
        Some(id) => format!("{name}, id {id}, release {}, {} entries committed", node.version, node.commit),
        None => format!("{name}, not founded yet"),
    }
}

/// Returns the table of the members.
pub(super) fn members(survey: &Survey, picture: &Picture<'_>) -> String {
    let mut rows = vec![["NODE", "PART", "STATE", "BEHIND", "UP FOR", "CLIENTS", "PEERS"].map(str::to_owned)];
    let groups = survey.nodes.values().map(|node| node.groups.len()).max().unwrap_or(0);
    for member in picture.members {
        let told = survey.nodes.get(&member.node);
        rows.push([
            member.node.to_string(),
            member.describe_part(groups),
            state(member, told, picture.leader.map(|leader| leader.node)),
            member.lag.map_or("?".to_owned(), |lag| lag.to_string()),
            told.map_or("?".to_owned(), |told| duration(told.uptime_s)),
            or_unknown(&member.addresses.clients),
            or_unknown(&member.addresses.peers),
        ]);
    }
    table(&rows)
}

/// Returns rows of text as a table.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("  {}", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn or_unknown(address: &str) -> String {
    if address.is_empty() { "?".to_owned() } else { address.to_owned() }
}

fn state(member: &MemberStatus, told: Option<&NodeStatus>, leader: Option<NodeId>) -> String {
    let role = match told {
        None => "no answer",
        Some(told) if told.takes_no_part.is_some() => "takes no part",
        Some(told) => match told.role {
            RoleStatus::Leader if leader == Some(told.node) => "leads",
            RoleStatus::Leader => "leads, without lease",
            RoleStatus::Follower if told.leader.is_none() => "knows no leader",
            RoleStatus::Follower => "follows",
            RoleStatus::Candidate => "campaigns",
        },
    };
    let unheard = if member.heard == Some(false) { ", not heard" } else { "" };
    format!("{role}{unheard}")
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns a text as an item of a list, in lines that are not too long.
fn bullet(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), "  *".to_owned());
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS && line.trim() != "*" {
            lines.push_str(&line);
            lines.push('\n');
            line = "   ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_wrapped_between_words() {
        let text = "word ".repeat(60);
        let wrapped = bullet(text.trim());
        assert!(wrapped.lines().count() == 3 && wrapped.lines().all(|line| line.len() <= COLUMNS), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().filter(|word| *word == "word").count(), 60);
        assert_eq!(bullet("short"), "  * short\n");
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_says_most() {
        for (seconds, shown) in [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")] {
            assert_eq!(duration(seconds), shown);
        }
    }
}
