//! The rules by which folders are recognized, without any I/O.

use leasehold_core::NodeId;
use leasehold_node::identity::{Addresses, Contact, Introduction, MAX_BOOTS, Meeting, Refusal, Registry, Roster};
use std::sync::atomic::{AtomicU64, Ordering};

/// A node whose folder is in memory. A folder that is cloned is a copy of it.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    folder: Registry,
}

impl Node {
    fn new(node: NodeId, incarnation: u64, founders: &[NodeId]) -> Node {
        let mut new = Node { folder: Registry::new(node, incarnation, founders.iter().copied()) };
        new.restart();
        new
    }

    fn restart(&mut self) {
        static DRAWN: AtomicU64 = AtomicU64::new(1);
        self.folder.begin_run(DRAWN.fetch_add(1, Ordering::Relaxed));
    }

    fn hello(&self) -> Introduction {
        self.folder.introduction()
    }

    /// Records and admits a peer as a node does: durable first.
    fn meet(&mut self, theirs: &Introduction) -> Result<bool, Refusal> {
        let Meeting { registry, verdict } = self.folder.meet(theirs);
        self.folder = registry.unwrap_or_else(|| self.folder.clone());
        verdict
    }

    fn cluster(&self) -> u64 {
        self.folder.cluster
    }
}

/// Lets `dialer` dial `acceptor`. Returns what each decided.
fn dial(dialer: &mut Node, acceptor: &mut Node) -> [Result<bool, Refusal>; 2] {
    let accepted = acceptor.meet(&dialer.hello());
    [dialer.meet(&acceptor.hello()), accepted]
}

const ADMITTED: [Result<bool, Refusal>; 2] = [Ok(true), Ok(true)];

/// Returns three founders that all have met.
fn founded() -> [Node; 3] {
    let mut nodes = [1, 2, 3].map(|node| Node::new(node, 10 * node, &[1, 2, 3]));
    let [one, two, three] = &mut nodes;
    assert_eq!(dial(two, one), [Ok(false), Ok(false)]);
    assert_eq!(dial(three, one), ADMITTED);
    assert_eq!(dial(two, three), ADMITTED);
    assert_eq!(dial(one, two), ADMITTED);
    nodes
}

#[test]
fn a_single_founder_founds_its_cluster_at_once() {
    assert_eq!(Node::new(4, 9, &[4]).cluster(), 9);
}

#[test]
fn the_lowest_founder_founds_once_it_has_met_all_and_the_others_join() {
    let nodes = founded();
    for node in &nodes {
        assert_eq!(node.cluster(), 10);
        assert_eq!(node.folder.founders, [(1, 10), (2, 20), (3, 30)].into());
    }
}

#[test]
fn founders_found_one_cluster_in_any_order_of_dials_and_restarts() {
    let dials = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    let mut dice = leasehold_testing::dice::Dice::new(1, 1);
    for _ in 0..2_000 {
        let mut nodes = [1, 2, 3].map(|node| Node::new(node, 10 * node, &[1, 2, 3]));
        for _ in 0..dice.between(0, 12) {
            let (from, to) = dice.pick(&dials);
            let (mut dialer, mut acceptor) = (nodes[from].clone(), nodes[to].clone());
            let _ = dial(&mut dialer, &mut acceptor);
            // A crash may lose either side's answer.
            if dice.chance(700_000) {
                nodes[from] = dialer;
            }
            nodes[to] = acceptor;
            if dice.chance(200_000) {
                nodes[dice.index(3)].restart();
            }
        }
        for (from, to) in dials.iter().chain(&dials) {
            let (mut dialer, mut acceptor) = (nodes[*from].clone(), nodes[*to].clone());
            for decision in dial(&mut dialer, &mut acceptor) {
                decision.expect("founders do not refuse each other");
            }
            (nodes[*from], nodes[*to]) = (dialer, acceptor);
        }
        assert!(nodes.iter().all(|node| node.cluster() == 10), "{nodes:?}");
    }
}

#[test]
fn a_wiped_node_is_refused_by_all_and_joins_nothing() {
    for wiped in 0..3 {
        let mut nodes = founded();
        let number = wiped as NodeId + 1;
        nodes[wiped] = Node::new(number, 99, &[1, 2, 3]);
        for other in (0..3).filter(|other| *other != wiped) {
            let (mut empty, mut other) = (nodes[wiped].clone(), nodes[other].clone());
            let before = (empty.clone(), other.clone());
            let [own, theirs] = dial(&mut empty, &mut other);
            assert_eq!(own, Err(Refusal::Unknown { ours: number }));
            assert_eq!(theirs, Err(Refusal::OtherFolder { node: number }));
            assert_eq!((empty, other), before, "a refused peer is not recorded");
        }
    }
}

#[test]
fn two_wiped_founders_do_not_found_a_second_cluster_without_the_third() {
    let [_, _, mut three] = founded();
    let mut one = Node::new(1, 98, &[1, 2, 3]);
    let mut two = Node::new(2, 99, &[1, 2, 3]);
    assert_eq!(dial(&mut two, &mut one), [Ok(false), Ok(false)]);
    assert_eq!(dial(&mut three, &mut one)[1], Err(Refusal::Unknown { ours: 1 }));
    assert_eq!(dial(&mut two, &mut one), [Ok(false), Ok(false)]);
    assert_eq!((one.cluster(), two.cluster(), three.cluster()), (0, 0, 10));
}

#[test]
fn a_founder_wiped_during_the_founding_is_noticed() {
    let mut nodes = [1, 2, 3].map(|node| Node::new(node, 10 * node, &[1, 2, 3]));
    let [one, two, three] = &mut nodes;
    let _ = dial(two, one);
    // Node 3's answer is lost with its folder, but node 1 has founded the cluster with that folder.
    assert_eq!(one.meet(&three.hello()), Ok(true));
    *three = Node::new(3, 99, &[1, 2, 3]);
    assert_eq!(dial(three, one), [Err(Refusal::Unknown { ours: 3 }), Err(Refusal::OtherFolder { node: 3 })]);
    // Node 2 has seen the new folder of node 3, and joins the cluster that was founded with the old one.
    assert_eq!(dial(three, two), [Ok(false), Ok(false)]);
    assert_eq!(dial(two, one), ADMITTED);
    assert_eq!(dial(two, three)[0], Err(Refusal::OtherFolder { node: 3 }));
}

#[test]
fn a_founding_does_not_rest_on_a_folder_that_was_seen_in_an_earlier_run() {
    let [mut one, mut two, mut three] = [1, 2, 3].map(|node| Node::new(node, 10 * node, &[1, 2, 3]));
    let _ = dial(&mut two, &mut one);
    one.restart();
    assert_eq!(dial(&mut three, &mut one), [Ok(false), Ok(false)]);
    assert_eq!(dial(&mut two, &mut one), ADMITTED);
}

#[test]
fn an_older_copy_is_refused_by_peers_that_have_met_a_newer_run() {
    let [mut one, mut two, mut three] = founded();
    let copy = three.clone();
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    assert_eq!(dial(&mut three, &mut one), ADMITTED, "the same run");

    // The copy counts the same start again, in another run.
    let mut again = copy.clone();
    again.restart();
    let refused = |known| Err(Refusal::OlderCopy { node: 3, known });
    assert_eq!(dial(&mut again, &mut one), [Ok(true), refused(2)]);
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    assert_eq!(dial(&mut again, &mut one), [Ok(true), refused(3)]);
    // Node 2 has met only the run that the copy was taken from: it cannot tell.
    assert_eq!(dial(&mut again, &mut two), ADMITTED);
}

#[test]
fn an_older_copy_that_was_started_more_often_is_refused() {
    let [mut one, _, mut three] = founded();
    let mut copy = three.clone();
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    for _ in 1..MAX_BOOTS {
        copy.restart();
        // Node 1 has not refused the copy before.
        assert_eq!(one.clone().meet(&copy.hello()), Err(Refusal::OlderCopy { node: 3, known: 2 }));
    }
}

#[test]
fn an_older_copy_does_not_get_in_by_being_restarted() {
    let [mut one, _, mut three] = founded();
    let mut copy = three.clone();
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    for start in 0..100 {
        copy.restart();
        assert_eq!(one.meet(&copy.hello()), Err(Refusal::OlderCopy { node: 3, known: 2 }), "start {start}");
        let recorded = one.clone();
        assert_eq!(one.meet(&copy.hello()), Err(Refusal::OlderCopy { node: 3, known: 2 }), "start {start}");
        assert_eq!(one, recorded, "a run is recorded once");
    }
    // The process that had the newest folder connects again, and then it is restarted.
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    copy.restart();
    assert_eq!(one.meet(&copy.hello()), Err(Refusal::OlderCopy { node: 3, known: 3 }));
}

#[test]
fn a_late_introduction_of_an_earlier_run_shuts_no_node_out() {
    let [mut one, _, mut three] = founded();
    let late = three.hello();
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    assert_eq!(one.meet(&late), Err(Refusal::OlderCopy { node: 3, known: 2 }));
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
}

#[test]
fn a_node_that_was_restarted_often_is_admitted_by_a_peer_that_was_down() {
    let [mut one, _, mut three] = founded();
    for _ in 0..3 * MAX_BOOTS {
        three.restart();
    }
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
}

#[test]
fn an_older_copy_from_before_the_founding_is_refused() {
    let [mut one, _, mut three] = founded();
    let copy = Node::new(3, 30, &[1, 2, 3]);
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    assert_eq!(one.meet(&copy.hello()), Err(Refusal::OlderCopy { node: 3, known: 2 }));
}

#[test]
fn a_peer_stays_known_after_a_restart() {
    let [mut one, _, mut three] = founded();
    let copy = three.clone();
    three.restart();
    assert_eq!(dial(&mut three, &mut one), ADMITTED);
    one.restart();
    assert!(matches!(one.meet(&copy.hello()), Err(Refusal::OlderCopy { .. })));
}

#[test]
fn nodes_with_other_founders_or_of_another_cluster_refuse_each_other() {
    let [mut one, ..] = founded();
    let mut alone = Node::new(1, 5, &[1]);
    let mut pair = Node::new(2, 6, &[1, 2]);
    let [ours, theirs] = dial(&mut pair, &mut alone).map(|decision| decision.expect_err("refused").to_string());
    assert!(ours.starts_with("has the founders 1, this node 1, 2: found a cluster with the same numbers"), "{ours}");
    assert!(theirs.starts_with("has the founders 1, 2, this node 1: found a cluster with"), "{theirs}");

    let mut others = [1, 2, 3].map(|node| Node::new(node, 11 * node, &[1, 2, 3]));
    let [first, second, third] = &mut others;
    let _ = dial(second, first);
    let _ = dial(third, first);
    assert_eq!(
        dial(third, &mut one).map(Result::unwrap_err),
        [Refusal::OtherCluster { theirs: 10, ours: 11 }, Refusal::OtherCluster { theirs: 11, ours: 10 },]
    );
}

/// Returns a roster of these nodes, each with the incarnation that `founded` gives it.
fn roster(changed: u64, highest: NodeId, members: &[NodeId]) -> Roster {
    let contact = |node: NodeId| Contact { incarnation: 10 * node, ..Contact::default() };
    Roster { changed, highest, members: members.iter().map(|node| (*node, contact(*node))).collect() }
}

#[test]
fn a_node_joins_once_a_member_knows_it_and_its_folder() {
    let [mut one, mut two, _] = founded();
    let mut four = Node::new(4, 40, &[]);
    assert_eq!(dial(&mut four, &mut one), [Ok(false), Ok(false)], "it was not added yet");
    assert_eq!(four.cluster(), 0);
    assert_eq!(dial(&mut four, &mut Node::new(5, 50, &[])), [Ok(false), Ok(false)], "neither knows a cluster");
    one.folder.update_roster(&roster(20, 4, &[1, 2, 3, 4]));
    assert_eq!(dial(&mut four, &mut one), ADMITTED);
    assert_eq!(four.cluster(), one.cluster());
    // Node 2 has not applied the change yet, and learns it from the new member.
    assert_eq!(dial(&mut four, &mut two), ADMITTED);
    assert_eq!(two.folder.members().to_string(), "1, 2, 3, 4");
    assert_eq!(two.folder.contacts()[&4].incarnation, 40);
    four.restart();
    assert_eq!(dial(&mut four, &mut two), ADMITTED);
}

#[test]
fn a_member_whose_folder_was_lost_is_refused_even_by_nodes_that_never_met_it() {
    let [mut one, mut two, _] = founded();
    one.folder.update_roster(&roster(20, 4, &[1, 2, 3, 4]));
    two.folder.update_roster(&roster(20, 4, &[1, 2, 3, 4]));
    let mut wiped = Node::new(4, 99, &[]);
    for other in [&mut one, &mut two] {
        let expected = [Err(Refusal::Unknown { ours: 4 }), Err(Refusal::OtherFolder { node: 4 })];
        assert_eq!(dial(&mut wiped, other), expected);
    }
    let mut founding = Node::new(4, 99, &[1, 2, 3, 4]);
    assert!(dial(&mut founding, &mut one).iter().all(Result::is_err));
    assert_eq!((wiped.cluster(), founding.cluster()), (0, 0));
}

#[test]
fn a_removed_node_is_refused_and_learns_it() {
    let [mut one, mut two, mut three] = founded();
    for node in [&mut one, &mut two] {
        assert!(node.folder.update_roster(&roster(20, 4, &[1, 2, 4])));
    }
    // It was down while it was removed.
    three.restart();
    let [theirs, ours] = dial(&mut three, &mut one);
    assert_eq!(ours, Err(Refusal::Removed { highest: 4 }));
    let theirs = theirs.expect_err("refused");
    assert!(theirs.is_removal(), "{theirs}");
    // What it records does not let it in either.
    assert_eq!(dial(&mut two, &mut three)[0], Err(Refusal::Removed { highest: 4 }));
    assert!(!three.folder.clone().update_roster(&roster(20, 4, &[1, 2, 4])));
    // Nor does a new folder under the old number, or under one that was never a member.
    let mut again = Node::new(3, 99, &[]);
    assert_eq!(
        dial(&mut again, &mut one),
        [Err(Refusal::RemovedOurs { ours: 3, highest: 4 }), Err(Refusal::OtherFolder { node: 3 })]
    );
    let mut gap = Node::new(4, 40, &[]);
    one.folder.update_roster(&roster(30, 9, &[1, 2]));
    assert!(dial(&mut gap, &mut one).iter().all(Result::is_err));
}

#[test]
fn an_older_roster_changes_nothing() {
    let [mut one, mut two, _] = founded();
    assert!(one.folder.update_roster(&roster(20, 4, &[1, 2, 4])));
    let before = one.clone();
    assert!(one.folder.update_roster(&roster(19, 3, &[1, 2, 3])));
    assert!(one.folder.update_roster(&roster(20, 3, &[2, 3])));
    assert_eq!(one, before);
    // A peer with an older one takes over the newer.
    assert_eq!(dial(&mut two, &mut one), ADMITTED);
    assert_eq!(two.folder.members().to_string(), "1, 2, 4");
    assert_eq!(one.folder.members().to_string(), "1, 2, 4");
}

#[test]
fn a_node_that_has_moved_is_dialed_where_it_says() {
    let [mut one, mut two, _] = founded();
    let at = |peers: &str| Addresses { peers: peers.to_owned(), clients: String::new() };
    assert_eq!(one.folder.contacts()[&2].addresses, Addresses::default());
    two.folder.addresses = at("two:1");
    two.restart();
    assert_eq!(dial(&mut two, &mut one), ADMITTED);
    assert_eq!(one.folder.contacts()[&2].addresses, at("two:1"));
    // The configuration may say otherwise for a while.
    one.folder.update_roster(&roster(20, 3, &[1, 2, 3]));
    assert_eq!(one.folder.contacts()[&2].addresses, at("two:1"));
}
