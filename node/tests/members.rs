//! Changes of the members: what an operator asks for, and what a leader carries out.

mod support;

use leasehold_core::NodeId;
use leasehold_node::identity::Contact;
use leasehold_node::members::{Aim, ChangeError, MemberChange, Members};
use leasehold_node::{RequestError, TransferError};
use std::collections::BTreeMap;
use support::{Cluster, GROUP, HOLD, SECOND, TICK};

fn contact(node: NodeId, entries: u32) -> Contact {
    Contact { incarnation: 10 * node, entries, ..Contact::default() }
}

fn contacts(nodes: impl IntoIterator<Item = NodeId>, entries: u32) -> BTreeMap<NodeId, Contact> {
    nodes.into_iter().map(|node| (node, contact(node, entries))).collect()
}

fn change(cluster: &mut Cluster, at: NodeId, change: MemberChange) -> Result<(), ChangeError> {
    let now = cluster.reading(at);
    let outcome = cluster.node(at).change_members(now, GROUP, change).map(drop);
    cluster.drain(at);
    outcome
}

fn add(node: NodeId, aim: Aim) -> MemberChange {
    MemberChange::Add { node, contact: contact(node, 2), aim }
}

fn members(cluster: &Cluster, at: NodeId) -> Members {
    cluster.members[&at].node.group(GROUP).expect("the group").members()
}

fn voters(cluster: &Cluster, at: NodeId) -> Vec<NodeId> {
    members(cluster, at).membership.voters
}

/// Returns a cluster of three that node 1 leads, and in which the others were heard.
fn led() -> Cluster {
    let mut cluster = Cluster::led_by(1, 3);
    cluster.run(3 * TICK);
    cluster
}

#[test]
fn a_new_member_votes_once_it_has_caught_up() {
    let mut cluster = led();
    let write = cluster.write(1, "a");
    cluster.settle();
    assert_eq!(cluster.output(write), 1);
    // Its node is not there yet.
    change(&mut cluster, 1, add(4, Aim::Voter)).expect("the leader takes it");
    cluster.run(2 * HOLD);
    let known = members(&cluster, 1);
    assert_eq!((known.membership.voters.as_slice(), known.membership.learners.as_slice()), (&[1, 2, 3][..], &[4][..]));
    assert_eq!(known.member(4).contact, contact(4, 2));
    cluster.join(4);
    cluster.run(2 * HOLD);
    assert_eq!(voters(&cluster, 1), [1, 2, 3, 4]);
    assert_eq!((voters(&cluster, 4), cluster.applied(4)), (vec![1, 2, 3, 4], vec!["a".to_owned()]));
    assert!(cluster.leads(1), "the leader stays");
}

#[test]
fn a_learner_stays_one_until_it_is_promoted() {
    let mut cluster = led();
    change(&mut cluster, 1, add(4, Aim::Learner)).expect("the leader takes it");
    cluster.join(4);
    cluster.run(2 * HOLD);
    assert_eq!(members(&cluster, 1).membership.learners, [4]);
    assert_eq!(change(&mut cluster, 1, MemberChange::Promote { node: 2 }), Err(ChangeError::IsVoter(2)));
    change(&mut cluster, 1, MemberChange::Promote { node: 4 }).expect("the leader takes it");
    cluster.run(HOLD);
    assert_eq!(voters(&cluster, 2), [1, 2, 3, 4]);
}

#[test]
fn a_dead_node_is_replaced_in_one_step_by_any_later_leader() {
    let mut cluster = led();
    cluster.isolate(3);
    change(&mut cluster, 1, add(4, Aim::Replaces(3))).expect("the leader takes it");
    cluster.settle();
    let now = cluster.reading(1);
    cluster.node(1).transfer(now, GROUP, 2).expect("an active voter");
    cluster.drain(1);
    cluster.settle();
    assert!(cluster.leads(2));
    cluster.join(4);
    cluster.run(2 * HOLD);
    assert_eq!((voters(&cluster, 2), voters(&cluster, 4)), (vec![1, 2, 4], vec![1, 2, 4]));
    assert!(members(&cluster, 2).membership.voters_outgoing.is_empty());
    assert_eq!(members(&cluster, 2).member(4).aim, Aim::Voter);
}

#[test]
fn a_leader_hands_over_before_it_is_removed_or_replaced() {
    let mut cluster = led();
    assert_eq!(change(&mut cluster, 1, MemberChange::Remove { node: 1 }), Err(ChangeError::HandingOver(1)));
    cluster.settle();
    let next = [2, 3].into_iter().find(|node| cluster.leads(*node)).expect("a successor");
    assert_eq!(change(&mut cluster, 1, MemberChange::Remove { node: 1 }), Err(ChangeError::NotLeader));
    cluster.run(3 * TICK);
    change(&mut cluster, next, MemberChange::Remove { node: 1 }).expect("the successor takes it");
    cluster.run(HOLD);
    assert_eq!(voters(&cluster, next), [2, 3]);

    change(&mut cluster, next, add(4, Aim::Replaces(next))).expect("the leader takes it");
    cluster.join(4);
    cluster.run(4 * HOLD);
    let last = 5 - next;
    assert_eq!(voters(&cluster, last), [last, 4]);
    assert!(cluster.leads(last));
}

#[test]
fn a_leader_without_a_successor_is_not_removed() {
    let mut cluster = Cluster::led_by(1, 2);
    cluster.run(3 * TICK);
    // It answers, but its log cannot be written.
    cluster.member(2).disk_stalled = true;
    let _ = cluster.write(1, "a");
    cluster.run(3 * TICK);
    let refused = change(&mut cluster, 1, MemberChange::Remove { node: 1 });
    assert!(matches!(refused, Err(ChangeError::HandingOver(1) | ChangeError::NoSuccessor(TransferError::NoSuccessor))));
    assert_eq!(voters(&cluster, 1), [1, 2]);
}

#[test]
fn a_number_that_was_used_before_is_refused() {
    let mut cluster = led();
    for used in [1, 3] {
        let refused = change(&mut cluster, 1, add(used, Aim::Voter));
        assert_eq!(refused, Err(ChangeError::NumberUsed { node: used, highest: 3 }));
    }
    change(&mut cluster, 1, add(7, Aim::Learner)).expect("the leader takes it");
    cluster.settle();
    change(&mut cluster, 1, MemberChange::Remove { node: 7 }).expect("the leader takes it");
    cluster.settle();
    for used in [4, 7] {
        let refused = change(&mut cluster, 1, add(used, Aim::Voter));
        assert_eq!(refused, Err(ChangeError::NumberUsed { node: used, highest: 7 }));
    }
    cluster.restart(2);
    cluster.elect_other_than(3);
    assert_eq!(members(&cluster, 2).roster().highest, 7, "a restart does not forget it");
}

#[test]
fn a_voter_is_removed_only_if_a_quorum_of_the_others_was_heard() {
    let mut cluster = led();
    cluster.isolate(3);
    cluster.run(2 * HOLD);
    let refused = change(&mut cluster, 1, MemberChange::Remove { node: 2 });
    assert!(matches!(refused, Err(ChangeError::NoQuorum { node: 2, up: 1, needed: 2, .. })), "{refused:?}");
    change(&mut cluster, 1, MemberChange::Remove { node: 3 }).expect("node 2 is there");
    cluster.run(3 * TICK);
    assert_eq!(voters(&cluster, 2), [1, 2]);
    change(&mut cluster, 1, MemberChange::Remove { node: 2 }).expect("node 1 is enough");
    cluster.run(3 * TICK);
    assert_eq!(change(&mut cluster, 1, MemberChange::Remove { node: 1 }), Err(ChangeError::LastVoter(1)));
    assert!(matches!(
        change(&mut cluster, 1, MemberChange::Remove { node: 3 }),
        Err(ChangeError::NotMember(3, members)) if members.to_string() == "1"
    ));
}

#[test]
fn one_change_is_made_after_the_other() {
    let mut cluster = led();
    change(&mut cluster, 1, add(4, Aim::Learner)).expect("the leader takes it");
    assert_eq!(change(&mut cluster, 1, add(5, Aim::Learner)), Err(ChangeError::Busy));
    assert_eq!(change(&mut cluster, 2, add(5, Aim::Learner)), Err(ChangeError::NotLeader));
    cluster.settle();
    change(&mut cluster, 1, add(5, Aim::Learner)).expect("the leader takes it");
    cluster.settle();
    assert_eq!(members(&cluster, 3).membership.learners, [4, 5]);
}

#[test]
fn a_leader_records_what_is_known_of_the_members() {
    let mut cluster = led();
    let before = members(&cluster, 1).membership.changed;
    assert!(members(&cluster, 1).roster().is_empty(), "the founders");
    for node in 1..=3 {
        cluster.node(node).set_contacts(&contacts(1..=3, 2));
    }
    cluster.run(3 * TICK);
    let known = members(&cluster, 3).roster();
    assert_eq!((known.members, known.highest), (contacts(1..=3, 2), 3));
    let changed = known.changed;
    assert!(changed > before);
    cluster.run(HOLD);
    assert_eq!(members(&cluster, 1).membership.changed, changed, "nothing new is recorded");
    let mut moved = contacts(1..=3, 2);
    moved.get_mut(&2).expect("node 2").addresses.peers = "elsewhere:1".to_owned();
    cluster.node(1).set_contacts(&moved);
    cluster.run(3 * TICK);
    assert_eq!(members(&cluster, 3).member(2).contact.addresses.peers, "elsewhere:1");
}

#[test]
fn a_newer_version_of_entries_waits_until_every_member_can_apply_it() {
    let mut cluster = led();
    let version = |cluster: &Cluster| cluster.members[&1].node.group(GROUP).expect("the group").entry_version();
    let mut known = contacts(1..=3, 2);
    known.insert(3, contact(3, 1));
    cluster.node(1).set_contacts(&known);
    cluster.run(3 * TICK);
    assert_eq!(version(&cluster), 1);
    let (early, forwarded) = (cluster.write(1, SECOND), cluster.write(2, SECOND));
    cluster.run(20 * HOLD);
    for ticket in [early, forwarded] {
        assert_eq!(cluster.reply(ticket), Some(Err(RequestError::TimedOut)), "node 3 would have to stop");
    }
    // Node 3 has restarted with a newer release.
    cluster.node(1).set_contacts(&contacts(1..=3, 2));
    cluster.run(3 * TICK);
    assert_eq!(version(&cluster), 2);
    let write = cluster.write(2, SECOND);
    cluster.settle();
    assert_eq!(cluster.output(write), 1);
    let older = MemberChange::Add { node: 4, contact: contact(4, 1), aim: Aim::Voter };
    let refused = change(&mut cluster, 1, older);
    assert_eq!(refused, Err(ChangeError::OlderRelease { node: 4, theirs: 1, ours: 2 }));
}

#[test]
fn a_change_is_shown_once_it_is_durable() {
    let mut cluster = Cluster::led_by(1, 1);
    cluster.run(3 * TICK);
    change(&mut cluster, 1, add(4, Aim::Learner)).expect("the leader takes it");
    // The entry is durable, and with it committed and applied. The applied configuration is not on disk.
    assert!(cluster.sync(1));
    let applied = |cluster: &Cluster| cluster.members[&1].node.group(GROUP).expect("the group").applied().clone();
    assert_eq!(applied(&cluster).membership.learners, [4]);
    assert_eq!(members(&cluster, 1).membership.learners, []);
    assert!(cluster.sync(1), "it is written at once");
    assert_eq!(members(&cluster, 1).membership.learners, [4]);
}

#[test]
fn a_leader_that_cannot_be_succeeded_leads_on_while_it_is_to_be_replaced() {
    let mut cluster = led();
    change(&mut cluster, 1, add(4, Aim::Replaces(1))).expect("the leader takes it");
    cluster.join(4);
    // No other node campaigns when it is told to.
    cluster.held = |transit| {
        let leasehold_node::wire::Body::Raft(envelope) = &transit.message.body else { return false };
        envelope.messages.iter().any(|message| message.kind == leasehold_raft::wire::MessageKind::TimeoutNow)
    };
    cluster.run(3 * HOLD);
    let write = cluster.write(1, "a");
    cluster.run(2 * HOLD);
    assert_eq!(cluster.output(write), 1, "it leads on after the first attempt");
    cluster.held = |_| false;
    cluster.run(30 * HOLD);
    assert!(!voters(&cluster, 2).contains(&1), "and tries again");
}

#[test]
fn a_note_that_only_a_newer_release_understands_is_left_alone() {
    use bytes::Bytes;
    use leasehold_raft::wire::{Change, Step, Transition};
    let mut cluster = led();
    let note = Bytes::from_static(b"what a newer release wrote");
    let mut newer = Change::new(Transition::Auto, vec![Step::AddLearner(4)]);
    newer.notes = [(4, note.clone()), (2, note.clone())].into();
    let now = cluster.reading(1);
    cluster.node(1).propose_change(now, GROUP, &newer).expect("the leader takes it");
    cluster.drain(1);
    cluster.join(4);
    cluster.node(1).set_contacts(&contacts(1..=4, 2));
    cluster.run(2 * HOLD);
    let known = members(&cluster, 1).membership;
    assert_eq!(
        (known.learners.as_slice(), known.notes[&4].clone(), known.notes[&2].clone()),
        (&[4][..], note.clone(), note)
    );
    assert_eq!(members(&cluster, 1).member(1).contact, contact(1, 2), "the others are described");
    let refused = change(&mut cluster, 1, MemberChange::Promote { node: 4 });
    assert_eq!(refused, Err(ChangeError::NewerRelease(4)));
}

#[test]
fn an_older_description_does_not_replace_a_newer_one() {
    let mut cluster = led();
    let described = |starts, peers: &str| {
        let mut contact = Contact { starts, ..contact(2, 2) };
        contact.addresses.peers = peers.to_owned();
        BTreeMap::from([(2, contact)])
    };
    cluster.node(1).set_contacts(&described(5, "new:1"));
    cluster.run(3 * TICK);
    cluster.node(1).set_contacts(&described(4, "old:1"));
    cluster.run(3 * TICK);
    assert_eq!(members(&cluster, 1).member(2).contact.addresses.peers, "new:1");
    let changed = members(&cluster, 1).membership.changed;
    cluster.node(1).set_contacts(&described(6, "new:1"));
    cluster.run(3 * TICK);
    assert_eq!(members(&cluster, 1).membership.changed, changed, "another start alone is not recorded");
}

#[test]
fn a_group_that_is_created_later_knows_what_the_node_knows_of_its_members() {
    const NEW: u32 = 9;
    let mut cluster = Cluster::new(3);
    for id in 1..=3 {
        cluster.node(id).set_contacts(&contacts(1..=3, 2));
        cluster.create_group(id, NEW);
    }
    cluster.settle();
    cluster.leap(2 * HOLD);
    cluster.elect_in(1, NEW);
    cluster.run(4 * TICK);
    assert_eq!(cluster.node(1).group(NEW).expect("the group").members().member(3).contact, contact(3, 2));
    assert_eq!(cluster.node(1).status(NEW).expect("the group").entry_version, 2);
}
