//! Changes of the members of a cluster of several groups.

#[path = "support/members.rs"]
mod members;
#[macro_use]
mod support;
#[path = "support/served.rs"]
mod served;

use leasehold::{Node, NodeOptions};
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use members::{Kill, Member, STEADY_HOLD, lead};
use served::{exchange, exchange_until, free_address, options, timing};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

on_every_runtime!(
    the_members_of_every_group_change_while_the_cluster_serves,
    a_node_that_joins_with_another_number_of_groups_is_refused,
);

const GROUPS: Option<NonZeroU16> = NonZeroU16::new(4);
const KEYS: usize = 60;
/// The time between two looks, and the number of looks.
const PAUSE: Duration = Duration::from_millis(50);
const LOOKS: usize = 2_400;

/// Starts a cluster of three.
fn found<R: Kill>() -> Vec<Member<R>> {
    members::start::<R>(3, |options| NodeOptions { groups: GROUPS, spreads_leaders: false, ..options })
}

/// Starts a node that waits until it is added. Returns its address for peers too.
fn launch<R: Kill>(id: u64, members: &[Member<R>], groups: Option<NonZeroU16>) -> (Member<R>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = R::start("node", 2).expect("a runtime");
    let peers: BTreeMap<u64, String> =
        members.iter().map(|member| (member.id, member.node.peer_address().to_string())).collect();
    let address = free_address().to_string();
    let options = NodeOptions {
        node: id,
        peers,
        groups,
        peer_listen: address.clone(),
        timing: timing(STEADY_HOLD),
        spreads_leaders: false,
        ..options(folder.path(), "127.0.0.1:0".to_owned())
    };
    let node = runtime.block_on(Node::start(&runtime, options)).expect("the node starts");
    (Member { id, runtime, node, folder }, address)
}

/// Sends a line and returns its reply.
fn ask<R: Kill>(member: &Member<R>, line: &str) -> String {
    let replies = exchange(member.address(), format!("{line}\r\nQUIT\r\n").as_bytes());
    replies.strip_suffix("+OK\r\n").expect("the reply to QUIT").to_owned()
}

/// Sends a change to every member until the leader has made it.
fn change<R: Kill>(members: &[&Member<R>], line: &str) {
    let (mut last, mut is_uncertain) = (String::new(), false);
    for _ in 0..LOOKS {
        for member in members {
            let reply = ask(member, line);
            if reply == "+OK\r\n" {
                return;
            }
            // An earlier attempt has succeeded, and its reply was lost with the leader.
            let is_made = ["is a member already", "is not a member"].iter().any(|text| reply.contains(text));
            if is_uncertain && is_made {
                return;
            }
            is_uncertain |= reply.starts_with("-UNCERTAIN");
            // A node that has just begun to lead has not heard from the others yet.
            let early =
                ["-NOTLEADER", "-TRYAGAIN", "-BUSY", "-CLUSTERDOWN", "-UNCERTAIN", "heard lately", "not answer"];
            assert!(early.iter().any(|text| reply.contains(text)), "{line}: {reply}");
            last = reply;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("{line}: {last}");
}

/// Waits until every one of these nodes knows exactly these voters in every group.
#[track_caller]
fn until_voters<R: Kill>(members: &[&Member<R>], voters: &[u64]) {
    let mut last = String::new();
    for _ in 0..LOOKS {
        let differs = members.iter().flat_map(|member| {
            let handle = member.node.handle();
            handle.groups().into_iter().map(move |group| (member.id, group, handle.to_group(group).expect("a group")))
        });
        let differs = differs.map(|(id, group, handle)| (id, group, handle.members().membership.clone()));
        match differs.into_iter().find(|(.., known)| known.voters != voters || known.members().count() != voters.len())
        {
            None => return,
            Some(known) => last = format!("{known:?}"),
        }
        std::thread::sleep(PAUSE);
    }
    panic!("not {voters:?}: {last}");
}

/// Writes through one node, and reads everything through all of them.
fn check_keys<R: Kill>(members: &[&Member<R>], value: &str) {
    let writes: String = (0..KEYS).map(|key| format!("SET key:{key} {value}\r\n")).collect();
    exchange_until(members[0].address(), format!("{writes}QUIT\r\n").as_bytes(), |replies| {
        replies == "+OK\r\n".repeat(KEYS + 1)
    });
    let reads: String = (0..KEYS).map(|key| format!("GET key:{key}\r\n")).collect();
    let expected = format!("${}\r\n{value}\r\n", value.len()).repeat(KEYS) + "+OK\r\n";
    for member in members {
        exchange_until(member.address(), format!("{reads}QUIT\r\n").as_bytes(), |replies| replies == expected);
    }
}

fn the_members_of_every_group_change_while_the_cluster_serves<R: Kill>() {
    let mut founders = found::<R>();
    founders.sort_by_key(|member| member.id);
    // Node 1 leads group 0 and another one.
    for (group, leader) in (0..).zip([0, 1, 2, 0]) {
        lead(&founders, group, &founders[leader]);
    }
    let [one, two, three] = &founders[..] else { panic!("three nodes") };
    check_keys(&[two, one, three], "founded");

    let (four, address) = launch::<R>(4, &founders, GROUPS);
    change(&[one, two, three], &format!("LEASEHOLD ADD 4 {address}"));
    until_voters(&[one, two, three, &four], &[1, 2, 3, 4]);
    check_keys(&[&four, one, two, three], "added");
    let info = ask(one, "INFO groups");
    assert!(info.contains("member_4:votes_in=4,groups_behind=0\r\n"), "{info}");
    assert!(info.contains(",voters=4,learners=0\r\n"), "{info}");

    change(&[one, two, three], "LEASEHOLD REMOVE 1");
    until_voters(&[two, three, &four], &[2, 3, 4]);
    let removed = one.runtime.block_on(one.node.removed());
    assert!(removed.contains("node 1 was removed from the cluster"), "{removed}");
    one.runtime.block_on(one.node.stop());
    check_keys(&[&four, two, three], "removed");

    two.runtime.kill();
    let (five, address) = launch::<R>(5, &founders[1..], GROUPS);
    change(&[three, &four], &format!("LEASEHOLD REPLACE 2 5 {address}"));
    until_voters(&[three, &four, &five], &[3, 4, 5]);
    check_keys(&[&five, three, &four], "replaced");
    let status = ask(&five, "LEASEHOLD STATUS");
    assert_eq!(status.matches("\"voters\":[3,4,5],\"learners\":[]").count(), 4, "{status}");
    for member in [three, &four, &five] {
        member.runtime.block_on(member.node.stop());
    }
}

fn a_node_that_joins_with_another_number_of_groups_is_refused<R: Kill>() {
    let members = found::<R>();
    let (joining, address) = launch::<R>(4, &members, None);
    let said = "is of a cluster with 1 groups, this node of one with 4: give every node of a cluster the same";
    let is_refused = |reply: &str| reply.contains(said) && reply.contains("the same --cluster and --groups");
    let refused = (0..LOOKS).flat_map(|_| &members).any(|member| {
        std::thread::sleep(PAUSE);
        is_refused(&ask(member, &format!("LEASEHOLD ADD 4 {address}")))
    });
    assert!(refused);
    joining.runtime.block_on(joining.node.stop());
    // With the right number, and an empty folder, it is added.
    let (joining, address) = launch::<R>(4, &members, GROUPS);
    let all: Vec<_> = members.iter().collect();
    change(&all, &format!("LEASEHOLD ADD 4 {address} LEARNER"));
    let handle = joining.node.handle();
    for group in handle.groups().into_iter().filter_map(|group| handle.to_group(group)) {
        joining.runtime.block_on(group.wait_status(|status| status.leader.is_some()));
    }
    exchange_until(members[0].address(), b"INFO groups\r\nQUIT\r\n", |info| {
        info.contains("member_4:votes_in=0,groups_behind=0\r\n")
    });
}
