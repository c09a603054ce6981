//! The demo, as a user runs it.

use std::net::TcpListener;
use std::process::Command;

#[test]
fn the_demo_survives_its_leader_and_no_thread_of_the_killed_node_panics() {
    drop(survives_its_leader(&[]));
}

#[test]
fn the_demo_survives_its_leader_as_a_redis_cluster() {
    drop(survives_its_leader(&["--redirect"]));
}

#[test]
fn the_demo_survives_its_leader_with_local_reads() {
    let shown = survives_its_leader(&["--local-reads"]);
    assert!(shown.contains("by its subleases"), "{shown}");
}

/// Returns what the demo showed.
fn survives_its_leader(flags: &[&str]) -> String {
    let run = || {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let demo = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["demo", "--seconds", "6", "--base-port", &port.to_string()])
            .args(flags)
            .output()
            .expect("the binary runs");
        // Others may have one of the ports after it.
        (!String::from_utf8_lossy(&demo.stderr).contains("in use")).then_some(demo)
    };
    let demo = (0..10).find_map(|_| run()).expect("nine ports that are free");
    let (shown, logged) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{shown}{logged}");
    assert!(shown.contains("is killed"), "{shown}");
    assert!(!shown.contains("panicked") && !logged.contains("panicked"), "{shown}{logged}");
    shown.into_owned()
}
