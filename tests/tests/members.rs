//! Real processes whose members change under load, with `leasehold ctl`.

use leasehold_tests::churn;
use leasehold_tests::fleet::Fleet;
use leasehold_tests::processes::{PATIENCE, Processes, STEADY, binary, eventually};
use leasehold_tests::proxy::{Pace, Passage, Proxy};
use redis::cmd;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Elections within seconds, and a leader that a slow disk does not cost its office.
const FAST: [&str; 4] = ["--hold-ms", "1000", "--heartbeat-ms", "100"];

fn set(fleet: &Fleet, node: u64, key: &str, value: &str) {
    fleet.cluster.repeat(node, cmd("SET").arg(key).arg(value))
}

fn get(fleet: &Fleet, node: u64, key: &str) -> Option<String> {
    fleet.cluster.repeat(node, cmd("GET").arg(key))
}

/// Grows a cluster from one node, shrinks it to another one, and grows it again.
fn grows_and_shrinks(runtime: &str, size: u64) {
    let flags = [&FAST[..], &["--runtime", runtime]].concat();
    let mut fleet = Fleet::found(1, &flags);
    let founder = fleet.ctl(&["status"]);
    assert_eq!(founder.code, Some(0), "{founder:?}");
    assert!(founder.output.starts_with("HEALTHY: node 1 leads, and is the only member."), "{founder:?}");
    set(&fleet, 1, "k", "before");
    (2..=size).for_each(|node| fleet.add(node));
    let all: Vec<u64> = (1..=size).collect();
    fleet.until_voters(&all);
    fleet.serve(&all);
    fleet.must(&format!("transfer {size}"));
    // Down to the last one that was added. The leader is never the one that is removed here.
    for node in 1..size {
        let left: Vec<u64> = (node + 1..=size).collect();
        fleet.serve(&left);
        fleet.must(&format!("remove {node}"));
        fleet.until_removed(node);
        fleet.until_voters(&left);
    }
    assert_eq!(get(&fleet, size, "k").as_deref(), Some("before"));
    let more = [size + 1, size + 2];
    more.into_iter().for_each(|node| fleet.add(node));
    fleet.until_voters(&[size, size + 1, size + 2]);
    fleet.until_status("HEALTHY", "");
    assert_eq!(get(&fleet, size + 2, "k").as_deref(), Some("before"));
    fleet.finish_well();
}

#[test]
fn a_cluster_grows_to_five_and_shrinks_to_one_and_grows_again_on_tokio() {
    grows_and_shrinks("tokio", 5);
}

#[test]
fn a_cluster_grows_to_three_and_shrinks_to_one_and_grows_again_on_smol() {
    grows_and_shrinks("smol", 3);
}

#[test]
fn a_leader_that_is_removed_hands_over_and_stops_and_so_does_a_node_that_was_down_meanwhile() {
    let mut fleet = Fleet::found(5, &FAST);
    let (leader, others) = fleet.cluster.roles();
    fleet.serve(&others[1..]);
    let said = fleet.must(&format!("remove {leader}"));
    assert!(said.contains(&format!("node {leader} is removed")), "{said}");
    fleet.until_removed(leader);
    let down = others[0];
    fleet.cluster.take(down).kill();
    fleet.must(&format!("remove {down}"));
    fleet.until_voters(&others[1..]);
    // It learns from its peers that it is not a member any more, and starting it again is of no use.
    for _ in 0..2 {
        fleet.cluster.start_node(down);
        fleet.until_removed(down);
    }
    fleet.finish_well();
}

#[test]
fn a_dead_node_and_a_wiped_one_are_replaced_by_one_command_each() {
    let mut fleet = Fleet::found(3, &FAST);
    let (leader, others) = fleet.cluster.roles();
    let (dead, wiped) = (others[0], others[1]);
    fleet.serve(&[leader, wiped]);
    fleet.cluster.take(dead).kill();
    fleet.until_status("DEGRADED", "one more failure stops the cluster");
    fleet.until_status("DEGRADED", &format!("leasehold ctl replace {dead} 4 HOST:PORT"));
    fleet.launch(4);
    fleet.must(&format!("replace {dead} 4 {}", fleet.address(4)));
    fleet.until_voters(&[leader.min(wiped), leader.max(wiped), 4]);
    fleet.until_status("HEALTHY", "");

    // A voter that starts on an empty folder is refused, and the screen says what to do.
    fleet.serve(&[leader, 4]);
    fleet.cluster.take(wiped).kill();
    fs::remove_dir_all(&fleet.cluster.recipes[&wiped].data_dir).expect("the folder is removed");
    fleet.cluster.start_node(wiped);
    fleet.until_status("DEGRADED", &format!("voter {wiped} is not heard"));
    fleet.until_status("DEGRADED", "knows node");
    fleet.launch(5);
    fleet.must(&format!("replace {wiped} 5 {}", fleet.address(5)));
    fleet.until_voters(&[leader, 4, 5]);
    fleet.cluster.take(wiped).kill();

    // Neither number is ever used again.
    let address = fleet.address(5);
    let used = fleet.must_fail(&format!("add {dead} {address}"));
    assert!(used.contains(&format!("{dead} is not above 5, the highest number that was ever used")), "{used}");
    let member = fleet.must_fail(&format!("add 5 {address}"));
    assert!(member.contains("node 5 is a member already"), "{member}");
    // And a node of this cluster cannot be added under another number.
    let other = fleet.must_fail(&format!("add 6 {address}"));
    assert!(other.contains("is node 5, not 6"), "{other}");
    let nothing = fleet.must_fail("add 6 127.0.0.1:1");
    assert!(nothing.contains("cannot be reached") && nothing.contains("start it there with --id 6"), "{nothing}");
    fleet.finish_well();
}

#[test]
fn the_only_voter_is_replaced_while_it_leads() {
    let mut fleet = Fleet::found(1, &FAST);
    set(&fleet, 1, "k", "v");
    fleet.launch(2);
    fleet.must(&format!("replace 1 2 {}", fleet.address(2)));
    fleet.serve(&[2]);
    fleet.until_removed(1);
    fleet.until_status("HEALTHY: node 2 leads, and is the only member", "");
    assert_eq!(get(&fleet, 2, "k").as_deref(), Some("v"));
    fleet.finish_well();
}

#[test]
fn a_learner_follows_without_a_vote_until_it_is_promoted() {
    let mut fleet = Fleet::found(1, &FAST);
    fleet.launch(2);
    fleet.must(&format!("add 2 {} --learner", fleet.address(2)));
    assert_eq!(fleet.members()[&2], "learner");
    set(&fleet, 1, "k", "v");
    assert_eq!(get(&fleet, 2, "k").as_deref(), Some("v"));
    let learner = fleet.must_fail("transfer 2");
    assert!(learner.contains("leadership is not transferred to node 2"), "{learner}");
    // It counts in no quorum.
    fleet.cluster.take(2).kill();
    set(&fleet, 1, "k", "w");
    fleet.cluster.start_node(2);
    assert_eq!(get(&fleet, 2, "k").as_deref(), Some("w"));
    assert_eq!(fleet.members()[&2], "learner", "it stays one");
    fleet.must("promote 2");
    fleet.until_voters(&[1, 2]);
    let again = fleet.must_fail("promote 2");
    assert!(again.contains("node 2 is a voter already"), "{again}");
    fleet.must("transfer 2");
    fleet.until_status("HEALTHY: node 2 leads", "");
    fleet.finish_well();
}

#[test]
fn a_node_that_moves_to_another_address_is_followed_by_its_peers() {
    let mut fleet = Fleet::found(3, &FAST);
    let (leader, others) = fleet.cluster.roles();
    let moved = others[0];
    fleet.serve(&[leader, others[1]]);
    fleet.until_status("HEALTHY", "");
    fleet.cluster.take(moved).terminate();
    let recipe = fleet.cluster.recipes.get_mut(&moved).expect("its recipe");
    let from = format!("127.0.0.1:{}", recipe.peer_port);
    (recipe.peer_port, recipe.client_port) =
        (leasehold_tests::processes::free_port(), leasehold_tests::processes::free_port());
    let to = format!("127.0.0.1:{}", recipe.peer_port);
    recipe.peers.insert(moved, to.clone());
    fleet.cluster.start_node(moved);
    fleet.until_status("HEALTHY", "");
    let screen = eventually(PATIENCE, || {
        Some(fleet.ctl(&["members"]).output).filter(|screen| screen.contains(&to) && !screen.contains(&from))
    });
    assert!(screen.is_some(), "{}", fleet.ctl(&["members"]).output);
    // The others know it after a restart, although their flags name the old address.
    fleet.serve(&[moved]);
    for node in [leader, others[1]] {
        fleet.cluster.take(node).terminate();
        fleet.cluster.start_node(node);
        fleet.until_status("HEALTHY", "");
    }
    fleet.serve(&[leader]);
    set(&fleet, moved, "k", "v");
    assert_eq!(get(&fleet, leader, "k").as_deref(), Some("v"));
    fleet.finish_well();
}

#[test]
fn a_removal_that_would_lose_the_quorum_is_refused() {
    let mut fleet = Fleet::found(3, &FAST);
    let (leader, others) = fleet.cluster.roles();
    fleet.serve(&[leader]);
    // A new leader has not heard anyone yet.
    fleet.until_status("HEALTHY", "");
    fleet.cluster.take(others[0]).kill();
    fleet.until_status("DEGRADED", &format!("voter {} is not heard", others[0]));
    for node in [others[1], leader] {
        let refused = fleet.must_fail(&format!("remove {node}"));
        assert!(refused.contains("only 1 were heard lately, and 2 are needed"), "{refused}");
    }
    // The dead one can go, and then nothing but the last voter.
    fleet.must(&format!("remove {}", others[0]));
    fleet.must(&format!("remove {}", others[1]));
    fleet.until_removed(others[1]);
    let last = fleet.must_fail(&format!("remove {leader}"));
    assert!(last.contains("is the only voter; add another node before you remove it"), "{last}");
    let none = fleet.must_fail("remove 9");
    assert!(none.contains(&format!("node 9 is not a member; the members are {leader}")), "{none}");
    fleet.finish_well();
}

/// Replaces node 2 of two voters by node 3, and cuts `cut` off while the configuration is joint: one half has no quorum
/// then. Nothing may be acknowledged that one half does not know, and the change ends when the links are back.
fn joint_without(cut: u64) {
    let flags = ["--hold-ms", "3000", "--heartbeat-ms", "100", "--pin-peers"];
    let mut cluster = Processes::prepare(2, &flags);
    cluster.add_recipe(3);
    let listens = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let addresses = cluster.recipes.iter().map(|(id, recipe)| (*id, listens(recipe.peer_port))).collect();
    let proxy = Proxy::between(&addresses).expect("sockets and threads for the links");
    for (from, to) in proxy.pairs().into_iter().filter(|(_, to)| *to != 3) {
        let recipe = cluster.recipes.get_mut(&from).expect("a node of this cluster");
        recipe.peers.insert(to, proxy.address(from, to).to_string());
    }
    [1, 2, 3].into_iter().for_each(|node| cluster.start_node(node));
    cluster.leader();
    // Founded by two. From now on they dial the third one through its links.
    for node in [1, 2] {
        let address = proxy.address(node, 3).to_string();
        cluster.recipes.get_mut(&node).expect("its recipe").peers.insert(3, address);
        cluster.take(node).terminate();
        cluster.start_node(node);
    }
    let mut fleet = Fleet::new(cluster);
    fleet.serve(&[1]);
    fleet.until_status("HEALTHY", "");
    fleet.must("transfer 1");
    // All that nodes say is late: the configuration is still joint when a half is cut off, and so few writes are made
    // that the new node catches up.
    let pace = Pace { delay: Duration::from_millis(700), jitter: Duration::ZERO, bytes_per_second: 100 << 20 };
    let links = |node: u64| proxy.pairs().into_iter().filter(move |(from, to)| *from == node || *to == node);
    [2, 3].into_iter().flat_map(links).for_each(|(from, to)| proxy.set(from, to, Passage::Slow(pace)));
    fleet.must(&format!("replace 2 3 {} --no-wait", proxy.address(1, 3)));
    // It is asked directly, because a slow machine may not run `leasehold ctl` while the configuration is joint.
    let mut leader = fleet.cluster.connect(1);
    let joint = eventually(PATIENCE, || {
        let status: String = cmd("LEASEHOLD").arg("STATUS").query(&mut leader).expect("a status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let members = status["members"].as_array()?;
        members.iter().any(|member| member["node"] == 2 && member["part"] == "leaving").then_some(())
    });
    assert!(joint.is_some(), "the configuration is not joint: {}", fleet.ctl(&["status"]).output);
    links(cut).for_each(|(from, to)| proxy.set(from, to, Passage::Cut));
    fleet.until_status("NO LEADER", "leaves");
    let mut client = fleet.cluster.connect(1);
    client.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
    cmd("SET").arg("half").arg("known").exec(&mut client).expect_err("no quorum");
    proxy.heal();
    fleet.until_removed(2);
    fleet.until_voters(&[1, 3]);
    fleet.until_status("HEALTHY", "");
    fleet.serve(&[1, 3]);
    set(&fleet, 3, "k", "v");
    assert_eq!(get(&fleet, 1, "k").as_deref(), Some("v"));
    fleet.finish_well();
}

#[test]
fn a_joint_configuration_whose_new_half_is_cut_off_waits_and_loses_nothing() {
    joint_without(3);
}

#[test]
fn a_joint_configuration_whose_old_half_is_cut_off_waits_and_loses_nothing() {
    joint_without(2);
}

#[test]
fn members_that_change_at_random_while_nodes_fail_lose_no_write() {
    let options = churn::Options { steps: 12, seed: 3, hold_ms: 1000, runtime: "smol".to_owned(), groups: 1 };
    let counts = churn::run(&options);
    assert_eq!((counts.stale, counts.lost), (0, 0), "{counts:?}");
}

#[test]
fn members_of_several_groups_that_change_at_random_while_nodes_fail_lose_no_write() {
    let options = churn::Options { steps: 12, seed: 5, hold_ms: 1000, runtime: "tokio".to_owned(), groups: 4 };
    let counts = churn::run(&options);
    assert_eq!((counts.stale, counts.lost), (0, 0), "{counts:?}");
}

/// Returns the fields of a section of `INFO`.
fn info(fleet: &Fleet, node: u64, section: &str) -> String {
    cmd("INFO").arg(section).query(&mut fleet.cluster.connect(node)).expect("the node answers INFO")
}

#[test]
fn a_leader_without_a_quorum_says_why_it_lost_its_lease_in_its_log_and_to_operators() {
    let fleet = Fleet::found(3, &STEADY);
    fleet.until_status("HEALTHY", "");
    let (leader, others) = fleet.cluster.roles();
    let lags = info(&fleet, leader, "links");
    for other in &others {
        assert!(lags.contains(&format!("peer_{other}_lag:")), "{lags}");
        assert!(!info(&fleet, *other, "links").contains("_lag:"), "only a leader knows");
        fleet.cluster.process(*other).signal("STOP");
    }
    let (one, other) = (others[0].min(others[1]), others[0].max(others[1]));
    let reason = format!("voters {one}, {other} did not answer");
    let told = eventually(PATIENCE, || Some(info(&fleet, leader, "lease")).filter(|info| info.contains(&reason)));
    assert!(told.is_some(), "{}", info(&fleet, leader, "lease"));
    fleet.until_status("NO LEADER", "of 3 voters 1 answer, and 2 are needed");
    // The engine's own lines say which node and which term. It says that it steps down, later than the lease ends.
    let line = format!("raft: node {leader}, term ");
    let said = eventually(PATIENCE, || fleet.cluster.recipes[&leader].logged().contains(&line).then_some(()));
    assert!(said.is_some(), "{}", fleet.cluster.recipes[&leader].logged());
    others.iter().for_each(|other| fleet.cluster.process(*other).signal("CONT"));
    fleet.until_status("HEALTHY", "");
    let logged = fleet.cluster.recipes[&leader].logged();
    let lines: Vec<_> = logged.lines().filter(|line| line.contains(&reason)).collect();
    // Without the limit there is one in every heartbeat interval.
    assert!((1..=5).contains(&lines.len()) && lines.iter().all(|line| line.contains("WARN")), "{lines:?}");
    // They do not say where it was built.
    assert!(!logged.contains("raft.rs"), "{logged}");
    fleet.finish_well();
}

#[test]
fn administration_through_the_clients_port_is_checked_and_listed() {
    let fleet = Fleet::found(1, &FAST);
    let mut client = fleet.cluster.connect(1);
    let mut ask = |line: &str| -> Result<redis::Value, String> {
        let mut words = line.split(' ');
        let mut command = cmd(words.next().expect("a word"));
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut client).map_err(|error| error.to_string())
    };
    let listed = ask("COMMAND INFO leasehold").expect("listed");
    assert!(format!("{listed:?}").contains("admin"), "{listed:?}");
    assert!(format!("{:?}", ask("LEASEHOLD HELP")).contains("LEASEHOLD REPLACE old new host:port"));
    for (line, said) in [
        ("LEASEHOLD", "wrong number of arguments"),
        ("LEASEHOLD NOSUCH", "LEASEHOLD HELP lists the subcommands"),
        ("LEASEHOLD ADD 2 nowhere", "not of the form HOST:PORT"),
        ("LEASEHOLD REPLACE 7 8 127.0.0.1:1", "node 7 is not a member; the members are 1"),
        ("LEASEHOLD LOGLEVEL a=b=c", "write for example info"),
        ("LEASEHOLD ADD 1 2 3 4 5", "too long"),
    ] {
        let error = ask(line).expect_err(line);
        assert!(error.contains(said), "{line}: {error}");
    }
    ask("MULTI").expect("a transaction");
    assert!(ask("LEASEHOLD STATUS").expect_err("in a transaction").contains("not allowed inside a transaction"));
    ask("DISCARD").expect("discarded");
    ask("LEASEHOLD LOGLEVEL debug").expect("changed");
    ask("LEASEHOLD TRANSFER 1").expect("it leads already");
    let logged = eventually(PATIENCE, || fleet.cluster.recipes[&1].logged().contains("DEBUG").then_some(()));
    assert!(logged.is_some(), "the new level is in effect");
    fleet.finish_well();
}

#[test]
fn status_has_an_exit_code_for_each_verdict_and_says_where_no_node_answers() {
    let mut fleet = Fleet::found(2, &STEADY);
    fleet.until_status("HEALTHY", "with two voters the cluster stops when either fails");
    assert_eq!(fleet.ctl(&["status"]).code, Some(0));
    let status = fleet.status();
    assert_eq!((status["verdict"].as_str(), status["nodes"][0]["schema"].as_u64()), (Some("healthy"), Some(1)));
    let members = fleet.ctl(&["members", "--json"]).output;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&members).expect("JSON")[1]["node"].as_u64(), Some(2));
    fleet.cluster.take(2).kill();
    fleet.until_status("NO LEADER", "of 2 voters 1 answer, and 2 are needed: start 2");
    assert_eq!(fleet.ctl(&["status"]).code, Some(2));
    let waits = fleet.ctl(&["remove", "2", "--timeout-s", "1"]);
    assert!(waits.code == Some(1) && waits.errors.contains("not accepted within 1 s"), "{waits:?}");
    fleet.cluster.start_node(2);
    fleet.until_status("HEALTHY", "");
    fleet.finish_well();
}

#[test]
fn only_an_administrator_sees_the_status_and_changes_members() {
    let mut cluster = Processes::prepare(1, &FAST);
    let hash = |password: &str| {
        let mut child = Command::new(binary())
            .args(["hash-password", "--sha256"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        child.stdin.take().expect("a pipe").write_all(password.as_bytes()).expect("written");
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text").trim().to_owned()
    };
    let (admin, other) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let users = cluster.folder().join("users");
    fs::write(&users, format!("ops {} admin\napp {} read-write\n", hash(admin), hash(other))).expect("written");
    let recipe = cluster.recipes.get_mut(&1).expect("its recipe");
    recipe.flags.extend(["--users".to_owned(), users.display().to_string()]);
    let address = format!("127.0.0.1:{}", recipe.client_port);
    cluster.start_node(1);
    let ctl = |user: Option<(&str, &str)>| {
        let mut command = Command::new(binary());
        command.args(["ctl", "--node", &address]);
        if let Some((user, password)) = user {
            let file = cluster.folder().join(user);
            fs::write(&file, format!("{password}\n")).expect("written");
            command.args(["--user", user, "--password-file"]).arg(file);
        }
        let output = command.arg("status").output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let healthy = eventually(PATIENCE, || {
        let (code, screen) = ctl(Some(("ops", admin)));
        (code == Some(0) && screen.starts_with("HEALTHY: node 1 leads")).then_some(())
    });
    assert!(healthy.is_some(), "{:?}", ctl(Some(("ops", admin))));
    for (user, said) in [(Some(("app", other)), "NOPERM"), (Some(("ops", other)), "WRONGPASS"), (None, "NOAUTH")] {
        let (code, screen) = ctl(user);
        assert!(code == Some(2) && screen.contains(said), "{user:?}: {screen}");
    }
}
