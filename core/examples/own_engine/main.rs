//! Leases for an engine of one's own: three nodes on threads, connected by channels. The leader is cut off, its lease ends,
//! and another node leads. `cargo run -p leasehold-core --example own_engine`
//!
//! `engine.rs` is the engine. It is as small as one can be that elects and commits: its log has no content, and a leader
//! appends at each tick. This file has what is around it: a clock, threads, links and the record of the hold.

mod engine;

use engine::{Log, Message, Node};
use leasehold_core::{Action, Config, Fresh, Instant, LeaseCell, Member, NodeId, Options, Reading};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::{fs, path::Path, thread, time::Duration};

const HOLD: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(25);

/// Reads a clock. A product uses `leasehold-clock`: this one may be slewed, and does not count suspends.
#[allow(clippy::disallowed_methods)]
fn now() -> Reading {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    let nanos = START.elapsed().as_nanos() as u64 + 1_000_000_000;
    Some(Instant::from_nanos(nanos, nanos))
}

/// The loop of a node's thread.
fn run(mut node: Node, inbox: Receiver<(NodeId, Message)>) {
    let mut due = now().expect("this clock does not fail");
    while let Some(reading) = now() {
        match inbox.recv_timeout(reading.time_until(due)) {
            Ok((from, message)) if !node.cut.load(SeqCst) => node.handle(from, message),
            Err(RecvTimeoutError::Timeout) => {
                due = reading.plus(TICK);
                node.tick();
            }
            _ => {}
        }
        // After every input. An engine with quorum reads answers those that an action confirms.
        while let Some(action) = node.member.poll_action() {
            if let Action::SendRound(_) = action {
                node.replicate();
            }
        }
    }
}

/// Returns the longest hold of the record, and makes the present one durable before any echo is sent.
fn longest_hold(record: &Path) -> Duration {
    let recorded = fs::read_to_string(record).ok().and_then(|millis| millis.parse().ok());
    let recorded = recorded.map_or(Duration::ZERO, Duration::from_millis);
    let written = fs::write(record, recorded.max(HOLD).as_millis().to_string());
    written.and_then(|()| fs::File::open(record)?.sync_all()).expect("the record is durable");
    recorded
}

fn main() {
    let folder = std::env::temp_dir().join(format!("own-engine-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let config = Config::new(Options::new(HOLD, 1000).with_heartbeat(HOLD / 10)).expect("the hold covers the lease");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let channels = [1, 2, 3].map(|id| (id, channel()));
    let (links, inboxes): (Vec<_>, Vec<_>) = channels.into_iter().map(|(id, (to, at))| ((id, to), at)).unzip();
    let mut readers = BTreeMap::new();
    for (inbox, (id, _)) in inboxes.into_iter().zip(&links) {
        let (id, cut, acknowledged) = (*id, Arc::new(AtomicBool::new(false)), acknowledged.clone());
        let longest = longest_hold(&folder.join(format!("hold-{id}")));
        let member = Member::new(id, config, longest, Fresh::new(now()), Arc::new(LeaseCell::new()));
        readers.insert(id, (member.cell().clone(), cut.clone(), 0));
        let peers = links.iter().filter(|(peer, _)| *peer != id).cloned().collect();
        let (term, leads, votes, log, commit, silent) = (0, false, 0, Log::default(), 0, 0);
        let node = Node { id, member, peers, cut, now, term, leads, votes, log, commit, silent, acknowledged };
        thread::spawn(|| run(node, inbox));
    }
    for step in 0..4000 {
        thread::sleep(Duration::from_millis(1));
        for (id, (cell, cut, reads)) in &mut readers {
            let before = acknowledged.load(SeqCst); // a linearizable read sees at least this
            let Some(permit) = cell.try_read(now()) else { continue };
            assert!(permit.index >= before, "n{id} read {}, but {before} was acknowledged", permit.index);
            *reads += 1;
            if step == 2000 {
                println!("n{id} is cut off");
                cut.store(true, SeqCst);
            }
        }
    }
    for (id, (.., reads)) in &readers {
        println!("n{id} answered {reads} reads by its lease, none of them stale");
    }
    fs::remove_dir_all(folder).expect("the folder is there");
    assert!(readers.values().filter(|(.., reads)| *reads > 0).count() > 1, "the lease moved to another node");
}
