//! Real processes whose data folders are removed, replaced by an older copy, or given other founders.

use leasehold_tests::processes::{PATIENCE, Processes, eventually};
use redis::{RedisError, cmd};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Elections within seconds, and a leader that a slow disk does not cost its office.
const FAST: [&str; 4] = ["--hold-ms", "1000", "--heartbeat-ms", "100"];

fn set(cluster: &Processes, node: u64, key: &str, value: &str) {
    cluster.repeat(node, cmd("SET").arg(key).arg(value))
}

fn get(cluster: &Processes, node: u64, key: &str) -> Result<Option<String>, RedisError> {
    cmd("GET").arg(key).query(&mut cluster.connect(node))
}

fn info(cluster: &Processes, node: u64, section: &str) -> BTreeMap<String, String> {
    let text: String = cmd("INFO").arg(section).query(&mut cluster.connect(node)).expect("the node answers INFO");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Waits until the field of a node's `INFO` contains `text`.
fn until_info(cluster: &Processes, node: u64, section: &str, field: &str, text: &str) {
    let shown = || info(cluster, node, section).get(field).filter(|value| value.contains(text)).cloned();
    eventually(PATIENCE, shown)
        .unwrap_or_else(|| panic!("{field} of node {node} does not show {text:?}: {:?}", info(cluster, node, section)));
}

/// Waits until the value can be read through a node. Any other value is stale.
fn until_read(cluster: &Processes, node: u64, key: &str, value: &str) {
    let found = eventually(PATIENCE, || get(cluster, node, key).ok()).expect("there is a leader");
    assert_eq!(found.as_deref(), Some(value), "{key} on node {node}");
}

/// Waits until all nodes of a cluster are connected to each other.
fn until_connected(cluster: &Processes) {
    for node in cluster.running() {
        for peer in cluster.running().into_iter().filter(|peer| *peer != node) {
            until_info(cluster, node, "links", &format!("peer_{peer}_up"), "1");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Returns the errors that a node logged.
fn errors(cluster: &Processes, node: u64) -> Vec<String> {
    let logged = cluster.recipes[&node].logged();
    logged.lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect()
}

#[test]
fn a_voter_whose_folder_was_removed_takes_no_part_and_no_write_is_lost() {
    let mut cluster = Processes::start_with(3, &FAST);
    until_connected(&cluster);
    let (leader, others) = cluster.roles();
    let (down, wiped) = (others[0], others[1]);
    cluster.take(down).kill();
    set(&cluster, leader, "k", "acknowledged");

    cluster.take(wiped).kill();
    fs::remove_dir_all(&cluster.recipes[&wiped].data_dir).expect("the folder is removed");
    cluster.take(leader).kill();
    cluster.start_node(down);
    cluster.start_node(wiped);

    // Both are told, and neither elects the other.
    until_info(&cluster, wiped, "identity", "takes_no_part_because", "is refused by its cluster");
    until_info(&cluster, down, "links", &format!("peer_{wiped}_trouble"), "has an empty or foreign data folder");
    let refused = get(&cluster, wiped, "k").expect_err("it takes no part");
    assert!(refused.to_string().contains("is refused by its cluster"), "{refused}");
    let error = get(&cluster, down, "k").expect_err("one voter of three is no quorum");
    assert_eq!(error.code(), Some("TRYAGAIN"), "{error}");

    cluster.start_node(leader);
    until_read(&cluster, down, "k", "acknowledged");
    let own = format!("knows node {wiped} by another data folder");
    let theirs = format!("start it with node {wiped}'s own folder");
    for (node, text) in [(wiped, own), (down, theirs)] {
        let of_them = errors(&cluster, node).into_iter().filter(|line| line.contains(&text)).count();
        // Once for the connections that it dials, once for those it accepts, and perhaps once for those it accepted while it
        // had no peers yet, for each peer. Without the limit there is one for every attempt.
        assert!((1..=6).contains(&of_them), "node {node} logged {text:?} {of_them} times");
    }
}

#[test]
fn an_older_copy_of_a_folder_takes_no_part_and_no_write_is_lost() {
    let mut cluster = Processes::start_with(3, &FAST);
    let (leader, others) = cluster.roles();
    let (restored, behind) = (others[0], others[1]);
    set(&cluster, leader, "k", "old");
    cluster.take(restored).terminate();
    let (folder, aside) = (cluster.recipes[&restored].data_dir.clone(), cluster.folder().join("aside"));
    copy(&folder, &aside);
    cluster.start_node(restored);
    until_connected(&cluster);
    cluster.take(behind).kill();
    set(&cluster, cluster.leader(), "k", "acknowledged");

    cluster.take(restored).terminate();
    fs::rename(&folder, cluster.folder().join("newest")).expect("put aside");
    copy(&aside, &folder);
    cluster.take(leader).kill();
    cluster.start_node(restored);
    cluster.start_node(behind);

    until_info(&cluster, behind, "links", &format!("peer_{restored}_trouble"), "has an older copy of its data folder");
    let told = "refused the connection: \"node";
    until_info(&cluster, restored, "links", &format!("peer_{behind}_trouble"), told);
    let reason = format!("is refused by peer {behind}, which says that it has an older copy");
    until_info(&cluster, restored, "identity", "takes_no_part_because", &reason);
    let refused = get(&cluster, restored, "k").expect_err("it finds no leader");
    assert!(refused.to_string().contains(&reason), "{refused}");
    let error = get(&cluster, behind, "k").expect_err("one voter of three is no quorum");
    assert_eq!(error.code(), Some("TRYAGAIN"), "{error}");
    assert!(errors(&cluster, restored).iter().any(|line| line.contains("older copy")), "it is told");

    // With its newest folder it is welcome.
    cluster.take(restored).terminate();
    fs::remove_dir_all(&folder).expect("removed");
    fs::rename(cluster.folder().join("newest"), &folder).expect("put back");
    cluster.start_node(restored);
    until_read(&cluster, behind, "k", "acknowledged");
    until_info(&cluster, restored, "identity", "takes_part", "1");
}

#[test]
fn a_peer_that_cannot_be_recorded_is_not_admitted() {
    let mut cluster = Processes::start_with(3, &FAST);
    until_connected(&cluster);
    // The registry is written under this name first. It may be there now, until the last peer is recorded.
    let in_the_way = cluster.recipes[&1].data_dir.join("data/registry.new");
    eventually(PATIENCE, || fs::create_dir(&in_the_way).ok()).expect("the registry is written");
    cluster.take(2).kill();
    cluster.start_node(2);
    until_info(&cluster, 1, "links", "peer_2_trouble", "is not admitted because it cannot be recorded");
    assert_eq!(info(&cluster, 1, "links")["peer_2_up"], "0");
    fs::remove_dir(in_the_way).expect("removed");
    until_info(&cluster, 1, "links", "peer_2_up", "1");
}

#[test]
fn other_numbers_in_peers_change_no_cluster_that_is_founded() {
    let mut cluster = Processes::prepare(3, &FAST);
    let all = cluster.recipes[&1].peers.clone();
    let recipe = cluster.recipes.get_mut(&1).expect("node 1");
    recipe.peers.retain(|node, _| *node == 1);
    cluster.start_node(1);
    cluster.leader();
    set(&cluster, 1, "k", "acknowledged");
    cluster.take(1).terminate();

    let alone = std::mem::replace(&mut cluster.recipes.get_mut(&1).expect("node 1").peers, all);
    cluster.start_node(1);
    let logged = cluster.recipes[&1].logged();
    assert!(logged.contains("--peers names the nodes 1, 2, 3, and the members of the cluster are 1"), "{logged}");

    // Other nodes do not found a cluster with it, or join it, and an address may change.
    cluster.start_node(2);
    cluster.start_node(3);
    until_info(&cluster, 2, "identity", "takes_no_part_because", "not seen so far: 1");
    until_read(&cluster, 1, "k", "acknowledged");
    cluster.take(1).terminate();
    cluster.recipes.get_mut(&1).expect("node 1").peers = alone;
    cluster.recipes.get_mut(&1).expect("node 1").peers.insert(1, "localhost:1".to_owned());
    cluster.start_node(1);
    until_read(&cluster, 1, "k", "acknowledged");
}

#[test]
fn a_founding_that_is_interrupted_anywhere_goes_on() {
    let mut cluster = Processes::prepare(3, &FAST);
    cluster.start_node(3);
    cluster.start_node(2);
    until_info(&cluster, 2, "identity", "takes_no_part_because", "not seen so far: 1");
    cluster.take(2).kill();
    cluster.start_node(1);
    until_info(&cluster, 1, "identity", "takes_no_part_because", "not seen so far: 2");
    cluster.take(3).kill();
    cluster.start_node(2);
    // Node 1 has seen node 3 as well, and founds the cluster or has founded it. Nodes 2 and 3 are killed around it.
    cluster.take(2).kill();
    cluster.take(1).kill();
    (1..=3).for_each(|node| cluster.start_node(node));
    cluster.leader();
    set(&cluster, 2, "k", "acknowledged");
    let ids: Vec<_> =
        cluster.running().iter().map(|node| info(&cluster, *node, "identity")["cluster_id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.chars().any(|digit| digit != '0')), "{ids:?}");
    // The founding is durable: a quorum is enough from now on.
    for node in [1, 2] {
        cluster.take(node).kill();
        cluster.start_node(node);
    }
    cluster.take(3).kill();
    until_read(&cluster, 1, "k", "acknowledged");
}
