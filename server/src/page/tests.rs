//! What the page shows of some states.

use super::*;
use crate::history::Reads;
use crate::status::{AddressStatus, GroupStatus, LeaseStatus, TimingStatus};

fn member(node: u64, heard: Option<bool>) -> MemberStatus {
    let addresses = AddressStatus { peers: format!("10.0.0.{node}:7101"), clients: format!("10.0.0.{node}:6379") };
    MemberStatus { node, connected: heard != Some(false), heard, lag: Some(1234), addresses, ..MemberStatus::default() }
}

fn leader() -> Shown {
    let status = NodeStatus {
        node: 1,
        role: RoleStatus::Leader,
        leader: Some(1),
        lease: LeaseStatus { valid: true, remaining_ms: 499, ..LeaseStatus::default() },
        timing: TimingStatus { lease_ms: 998, heartbeat_ms: 100, ..TimingStatus::default() },
        members: vec![member(1, Some(true)), member(2, Some(true))],
        ..NodeStatus::default()
    };
    let sample = |second, lease, quorum| Sample {
        at: Duration::from_secs(second),
        reads: Reads { lease, quorum, ..Reads::default() },
        ..Sample::default()
    };
    let samples = vec![sample(0, 0, 0), sample(1, 3000, 0), sample(2, 3750, 250)];
    let event = |second, line| Event { time: Duration::from_secs(second), line };
    let events = vec![
        event(990, Line::Warn("no leader is known in term 3".to_owned())),
        event(700, Line::Info("node 2 leads in term 2".to_owned())),
    ];
    Shown { status, samples, events, now: Duration::from_secs(1000) }
}

#[test]
fn a_leader_shows_its_lease_and_how_reads_are_answered() {
    let page = leader().page().into_string();
    for shown in [
        "<title>Node 1 leads with a valid lease",
        "valid for 499 ms more, of 998 ms",
        r#"<rect class="lease" width="50.0%""#,
        "<b>93.75 %</b> by the lease",
        "<b>6.25 %</b> after a quorum round",
        "<b>2,000</b><span>reads per second",
        "highest: 3,000 per second",
        "<td class=\"n\">1,234</td>",
        "<span class=\"when\">10 s ago</span><span class=\"dot degraded\"></span><span>no leader is known in term 3",
        "5 min ago",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("What is wrong"));
}

#[test]
fn the_verdict_is_the_worst_that_is_known() {
    let verdict = |change: &dyn Fn(&mut NodeStatus)| {
        let mut shown = leader();
        change(&mut shown.status);
        let (mood, words) = shown.verdict();
        assert!(shown.page().into_string().contains(&format!("<p class=\"verdict {}\">{words}", mood.class())));
        (mood, words)
    };
    let follow = |status: &mut NodeStatus| (status.role, status.leader) = (RoleStatus::Follower, Some(2));
    for (change, mood, words) in [
        (&follow as &dyn Fn(&mut NodeStatus), Mood::Good, "follows node 2"),
        (&|status| status.lease.valid = false, Mood::Degraded, "leads without a lease"),
        (
            &|status| status.warnings.push("x".to_owned()),
            Mood::Degraded,
            "leads with a valid lease; one thing is wrong",
        ),
        (&|status| (status.role, status.leader) = (RoleStatus::Candidate, None), Mood::Bad, "knows no leader"),
        (&|status| status.takes_no_part = Some("x".to_owned()), Mood::Bad, "takes no part in a cluster"),
    ] {
        assert_eq!(verdict(change), (mood, words.to_owned()));
    }
}

#[test]
fn names_and_troubles_cannot_change_the_page() {
    let mut shown = leader();
    let forged = "<script src=//evil></script>\"'&";
    shown.status.cluster.name = forged.to_owned();
    shown.status.lease.last_lost = Some(forged.to_owned());
    shown.status.warnings.push(forged.to_owned());
    shown.status.members[1].trouble = Some(forged.to_owned());
    shown.status.members[1].heard = Some(false);
    shown.status.members[1].addresses.clients = forged.to_owned();
    shown.events[0].line = Line::Warn(forged.to_owned());
    let page = shown.page().into_string();
    assert!(!page.contains("<script src=//evil>"), "{page}");
    assert_eq!(page.matches("&lt;script src=//evil&gt;&lt;/script&gt;&quot;").count(), 7);
}

#[test]
fn a_node_that_has_just_started_has_a_page() {
    let page = Shown::default().page().into_string();
    assert!(page.contains("knows no leader") && page.contains("There were none."), "{page}");
    assert!(!page.contains("NaN") && !page.contains("inf%"), "{page}");
}

#[test]
fn a_node_with_groups_shows_those_that_matter_the_worst_first() {
    let mut shown = leader();
    let group = |group, leader: Option<u64>| {
        let role = if leader == Some(1) { RoleStatus::Leader } else { RoleStatus::Follower };
        GroupStatus { group, role, leader, lease_valid: role == RoleStatus::Leader, term: 7, ..GroupStatus::default() }
    };
    shown.status.groups = (0..100).map(|number| group(number, Some(1 + u64::from(number % 2)))).collect();
    let page = shown.page().into_string();
    assert_eq!(page.matches("leads with a valid lease").count(), 32, "{page}");
    for part in ["leads 50 of 100 groups", "And 18 more.", "100: node 1 leads 50, node 2 leads 50.", "Lease of group 0"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    shown.status.groups[98].lease_valid = false;
    assert_eq!(shown.verdict(), (Mood::Degraded, "leads 1 of 100 groups without a lease".to_owned()));
    shown.status.groups[99].leader = None;
    assert_eq!(shown.verdict(), (Mood::Bad, "knows no leader of 1 of 100 groups".to_owned()));
    let page = shown.page().into_string();
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}: {page}"));
    assert!(place("></span>knows no leader") < place("></span>leads without a lease"));
    assert!(place("></span>leads without a lease") < place("></span>leads with a valid lease"));
    assert!(page.contains("node 2 leads 49, 1 without a leader."), "{page}");
}
