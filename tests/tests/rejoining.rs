//! Nodes whose log was cut: they lost entries that they had acknowledged.

use leasehold_core::{NodeId, Reading};
use leasehold_raft::wire::MessageKind;
use leasehold_raft::{CampaignError, PersistentState};
use leasehold_testing::cluster::Cluster;
use leasehold_tests::processes::{PATIENCE, Processes, eventually, lease_info};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

/// A cluster in which a write was acknowledged by the leader and by a node whose disk then fell back to an earlier state.
struct Cut {
    cluster: Cluster,
    leader: NodeId,
    /// The node with the cut log. It is down.
    cut: NodeId,
    /// A node that never received the write.
    behind: NodeId,
}

impl Cut {
    /// `noticed` is true if the disk knows that its end was cut off.
    fn new(noticed: bool) -> Cut {
        let mut cluster = Cluster::founded(3);
        let leader = cluster.elect();
        let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
        let (cut, behind) = (others[0], others[1]);
        write(&mut cluster, leader, "before");
        let earlier = cluster.nodes[&cut].disk.clone();
        cluster.isolate(behind);
        write(&mut cluster, leader, "acknowledged");
        cluster.kill(cut);
        cluster.nodes.get_mut(&cut).expect("a node").disk = PersistentState { may_be_cut: noticed, ..earlier };
        Cut { cluster, leader, cut, behind }
    }
}

/// Writes, and waits until the leader has applied it.
fn write(cluster: &mut Cluster, leader: NodeId, command: &'static str) {
    cluster.propose(leader, command).expect("the leader takes it");
    cluster.run_until("the write is applied", |cluster| cluster.applied(leader).contains(&command));
}

fn start(cluster: &mut Cluster, id: NodeId) {
    let config = *cluster.replica(cluster.leader().unwrap_or(id)).config();
    cluster.start(id, config);
}

fn restart_alone(cut: &mut Cut) {
    let config = *cut.cluster.replica(cut.behind).config();
    cut.cluster.kill(cut.leader);
    cut.cluster.heal();
    cut.cluster.start(cut.cut, config);
}

#[test]
fn without_its_leader_a_cut_log_elects_none() {
    let mut cut = Cut::new(true);
    restart_alone(&mut cut);
    cut.cluster.run(Duration::from_secs(8));
    assert_eq!(cut.cluster.leader(), None, "neither of the two has the write");
    let refused = cut.cluster.with(cut.cut, |replica, now: Reading| replica.campaign(now));
    assert_eq!(refused, Err(CampaignError::Rejoining));

    let config = *cut.cluster.replica(cut.behind).config();
    cut.cluster.start(cut.leader, config);
    let id = cut.cut;
    cut.cluster.run_until("the node has caught up", |cluster| !cluster.replica(id).log_may_be_cut());
    assert_eq!(cut.cluster.applied(id), ["before", "acknowledged"]);
    assert!(!cut.cluster.nodes[&id].disk.may_be_cut);

    // From now on it votes as before.
    let leader = cut.cluster.leader().expect("it has one");
    cut.cluster.kill(leader);
    let next = cut.cluster.elect();
    assert!(cut.cluster.applied(next).contains(&"acknowledged"));
}

#[test]
fn a_cut_that_goes_unnoticed_loses_the_write() {
    // The danger against which the mark is.
    let mut cut = Cut::new(false);
    restart_alone(&mut cut);
    let leader = cut.cluster.elect();
    assert_eq!(cut.cluster.applied(leader), ["before"]);
}

#[test]
fn a_cut_log_catches_up_with_the_leader_that_counts_what_it_lost() {
    let mut cut = Cut::new(true);
    let Cut { cluster, cut, .. } = &mut cut;
    start(cluster, *cut);
    cluster.run(Duration::from_secs(3));
    // The third node may be in a later term, as far as the leader knows.
    assert!(cluster.replica(*cut).log_may_be_cut());
    cluster.heal();
    cluster.run_until("the node has caught up", |cluster| !cluster.replica(*cut).log_may_be_cut());
    assert_eq!(cluster.applied(*cut), ["before", "acknowledged"]);
}

#[test]
fn a_follower_notices_that_its_log_is_shorter_than_what_it_acknowledged() {
    let mut cut = Cut::new(false);
    let Cut { cluster, cut, .. } = &mut cut;
    cluster.heal();
    start(cluster, *cut);
    cluster.run_until("it notices", |cluster| cluster.replica(*cut).log_may_be_cut());
    assert!(cluster.nodes[cut].disk.may_be_cut);
    cluster.run_until("it has caught up", |cluster| !cluster.replica(*cut).log_may_be_cut());
    assert_eq!(cluster.applied(*cut), ["before", "acknowledged"]);
}

#[test]
fn a_node_asks_to_return_only_once_the_mark_is_durable() {
    let mut cut = Cut::new(false);
    let Cut { cluster, cut, .. } = &mut cut;
    cluster.heal();
    cluster.nodes.get_mut(cut).expect("a node").mark_is_held = true;
    start(cluster, *cut);
    cluster.run_until("it notices", |cluster| cluster.replica(*cut).log_may_be_cut());
    for _ in 0..1_000 {
        cluster.run(Duration::from_millis(1));
        let asks = cluster.wire.iter().any(|sent| sent.from == *cut && sent.envelope.rejoin.is_some());
        assert!(!asks, "a crash now would leave no trace of the cut");
    }
    cluster.with(*cut, |replica, _| replica.handle_cut_recorded());
    cluster.run_until("it has caught up", |cluster| !cluster.replica(*cut).log_may_be_cut());
}

#[test]
fn a_node_with_a_cut_log_acknowledges_no_round_and_no_entry_before_it_is_admitted() {
    let mut cut = Cut::new(true);
    let Cut { cluster, cut, .. } = &mut cut;
    start(cluster, *cut);
    for _ in 0..2_000 {
        cluster.run(Duration::from_millis(1));
        for sent in cluster.wire.iter().filter(|sent| sent.from == *cut) {
            assert_eq!((sent.envelope.ack, sent.envelope.messages.len()), (None, 0), "{:?}", sent.envelope);
        }
    }
    assert!(cluster.replica(*cut).statistics().messages_before_admission > 0);
}

#[test]
fn an_admission_of_an_earlier_process_means_nothing() {
    let mut cut = Cut::new(true);
    let Cut { cluster, cut, behind, .. } = &mut cut;
    start(cluster, *cut);
    cluster.heal();
    cluster.run_until("the leader admits it", |cluster| {
        cluster.wire.iter().any(|sent| sent.to == *cut && sent.envelope.rejoin.is_some())
    });
    // It has lost more, and the admission arrives at its next process.
    let admissions = cluster.intercept(|sent| sent.to == *cut && sent.envelope.rejoin.is_some());
    cluster.isolate(*behind);
    cluster.restart(*cut);
    admissions.into_iter().for_each(|admission| cluster.deliver(admission));
    cluster.run(Duration::from_secs(3));
    assert!(cluster.replica(*cut).log_may_be_cut());
}

#[test]
fn a_leader_admits_only_what_every_other_voter_has_confirmed() {
    let mut cluster = Cluster::founded(5);
    let leader = cluster.elect();
    let others: Vec<NodeId> = (1..=5).filter(|id| *id != leader).collect();
    let (cut, away) = (others[0], others[1]);
    write(&mut cluster, leader, "before");
    cluster.isolate(away);
    cluster.kill(cut);
    cluster.nodes.get_mut(&cut).expect("a node").disk.may_be_cut = true;
    start(&mut cluster, cut);
    cluster.run(Duration::from_secs(3));
    assert!(cluster.replica(cut).log_may_be_cut(), "the node that is away may be a candidate of a later term");
    cluster.heal();
    cluster.run_until("the node has caught up", |cluster| !cluster.replica(cut).log_may_be_cut());
}

#[test]
fn an_admitted_node_does_not_elect_before_it_has_caught_up() {
    let mut cut = Cut::new(true);
    let Cut { cluster, leader, cut, .. } = &mut cut;
    start(cluster, *cut);
    cluster.heal();
    // It is admitted, and gets no entries.
    for _ in 0..3_000 {
        cluster.run(Duration::from_millis(1));
        cluster.intercept(|sent| sent.to == *cut && sent.envelope.is_bulk());
    }
    assert_eq!(cluster.leader(), Some(*leader));
    assert_eq!(cluster.replica(*cut).leader(), Some(*leader), "it follows");
    assert!(cluster.replica(*cut).log_may_be_cut());
    cluster.kill(*leader);
    cluster.run(Duration::from_millis(3_000));
    let refused = cluster.with(*cut, |replica, now: Reading| replica.campaign(now));
    assert_eq!(refused, Err(CampaignError::Rejoining));
}

#[test]
fn an_acknowledgement_of_before_the_cut_is_ignored() {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let cut = if leader == 1 { 2 } else { 1 };
    write(&mut cluster, leader, "before");
    let earlier = cluster.nodes[&cut].disk.clone();
    write(&mut cluster, leader, "later");
    cluster.run(Duration::from_millis(200));
    // The acknowledgement of an entry that is lost below stays on its way.
    let _ = cluster.propose(leader, "last").expect("the leader takes it");
    let acknowledges =
        |message: &leasehold_raft::wire::Message| message.kind == MessageKind::AppendResponse && !message.reject;
    let mut late = Vec::new();
    for _ in 0..20 {
        cluster.run(Duration::from_millis(1));
        late.extend(cluster.intercept(|sent| sent.from == cut && sent.envelope.messages.iter().any(acknowledges)));
    }
    assert!(!late.is_empty());
    cluster.kill(cut);
    cluster.nodes.get_mut(&cut).expect("a node").disk = PersistentState { may_be_cut: true, ..earlier };
    start(&mut cluster, cut);
    cluster.run_until("the leader admits it", |cluster| {
        cluster.wire.iter().any(|sent| sent.to == cut && sent.envelope.rejoin.is_some())
    });
    late.into_iter().for_each(|late| cluster.deliver(late));
    let stored = cluster.replica(leader).followers().find(|(id, _)| *id == cut).map(|(_, stored)| stored);
    assert_eq!(stored, Some(0), "the leader knows of nothing that this process has stored");
    cluster.run_until("the node has caught up", |cluster| !cluster.replica(cut).log_may_be_cut());
    assert_eq!(cluster.applied(cut), ["before", "later", "last"]);
}

#[test]
fn a_heartbeat_of_before_the_request_commits_nothing() {
    let mut cluster = Cluster::founded(3);
    let first = cluster.elect();
    // The first leader has entries that no other node gets, and that a later leader replaces.
    cluster.isolate(first);
    for command in ["lost 1", "lost 2", "lost 3"] {
        cluster.propose(first, command).expect("it still leads");
    }
    cluster.run(Duration::from_millis(100));
    let earlier = cluster.nodes[&first].disk.clone();
    cluster.run_until("another leads", |cluster| cluster.leader() != Some(first) && cluster.leader().is_some());
    let second = cluster.elect();
    assert_ne!(second, first);
    write(&mut cluster, second, "kept 1");
    write(&mut cluster, second, "kept 2");
    cluster.heal();
    cluster.run_until("the first has it", |cluster| cluster.applied(first).contains(&"kept 2"));
    let mut late = Vec::new();
    while late.is_empty() {
        cluster.run(Duration::from_millis(1));
        let commits =
            |message: &leasehold_raft::wire::Message| message.kind == MessageKind::Heartbeat && message.commit > 1;
        late = cluster.intercept(|sent| sent.to == first && sent.envelope.messages.iter().any(commits));
    }
    // Its disk brings the replaced entries back.
    cluster.kill(first);
    let term = cluster.nodes[&first].disk.hard_state.term;
    let hard_state = leasehold_raft::wire::HardState { term, ..earlier.hard_state };
    cluster.nodes.get_mut(&first).expect("a node").disk = PersistentState { may_be_cut: true, hard_state, ..earlier };
    start(&mut cluster, first);
    cluster.run_until("the leader admits it", |cluster| {
        cluster.wire.iter().any(|sent| sent.to == first && sent.envelope.rejoin.is_some())
    });
    let admission = cluster.intercept(|sent| sent.to == first && sent.envelope.rejoin.is_some());
    admission.into_iter().chain(late).for_each(|sent| cluster.deliver(sent));
    cluster.run_until("the node has caught up", |cluster| !cluster.replica(first).log_may_be_cut());
    assert_eq!(cluster.applied(first), ["kept 1", "kept 2"]);
}

/// Cuts every journal in a node's data folder to no length.
fn cut_journals(folder: &Path) {
    let journals = std::fs::read_dir(folder.join("data/fjall")).expect("the data folder");
    for journal in journals.map(|entry| entry.expect("an entry").path()) {
        if journal.extension().is_some_and(|extension| extension == "jnl") {
            OpenOptions::new().write(true).open(&journal).and_then(|file| file.set_len(0)).expect("it can be cut");
        }
    }
}

#[test]
fn no_write_is_lost_with_the_journal_of_one_node() {
    let mut cluster = Processes::start_with(3, &["--hold-ms", "1000", "--heartbeat-ms", "100"]);
    let (leader, followers) = cluster.roles();
    let (cut, behind) = (followers[0], followers[1]);
    cluster.take(behind).kill();
    // Two of three are a majority.
    for number in 0..50 {
        let () = cluster.repeat(leader, redis::cmd("SET").arg(format!("k{number}")).arg(number));
    }
    cluster.take(cut).kill();
    cluster.take(leader).kill();
    cut_journals(&cluster.recipes[&cut].data_dir);
    cluster.start_node(cut);
    cluster.start_node(behind);
    std::thread::sleep(Duration::from_secs(3));
    for id in [cut, behind] {
        assert_eq!(lease_info(&mut cluster.connect(id))["leader_id"], "0", "neither of the two has the writes");
    }
    assert_eq!(lease_info(&mut cluster.connect(cut))["log_may_be_cut"], "1");
    assert!(cluster.recipes[&cut].logged().contains("the end of this node's log may have been cut off"));

    cluster.start_node(leader);
    let whole = || Some(()).filter(|()| lease_info(&mut cluster.connect(cut))["log_may_be_cut"] == "0");
    eventually(PATIENCE, whole).expect("the node catches up");
    // Now the other two may elect a leader, and it has every write.
    cluster.take(leader).kill();
    let next = cluster.leader();
    for number in 0..50 {
        let value: Option<u32> = cluster.repeat(next, redis::cmd("GET").arg(format!("k{number}")));
        assert_eq!(value, Some(number));
    }
}

#[test]
fn an_only_voter_with_a_cut_journal_serves_once_its_operator_accepts_the_loss() {
    let mut cluster = Processes::start(1);
    redis::cmd("SET").arg("k").arg("v").exec(&mut cluster.connect(1)).expect("it leads");
    cluster.take(1).kill();
    cut_journals(&cluster.recipes[&1].data_dir);
    cluster.start_node(1);
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(lease_info(&mut cluster.connect(1))["leader_id"], "0");
    assert!(cluster.recipes[&1].logged().contains("--accept-data-loss"));
    cluster.take(1).kill();
    let recipe = cluster.recipes.get_mut(&1).expect("a recipe");
    recipe.flags.push("--accept-data-loss".to_owned());
    cluster.start_node(1);
    assert_eq!(cluster.leader(), 1);
    // The loss was accepted once and for all.
    cluster.take(1).kill();
    cluster.recipes.get_mut(&1).expect("a recipe").flags.clear();
    cluster.start_node(1);
    assert_eq!(cluster.leader(), 1);
}
