//! Nodes that are killed at random moments, all at once among them, keep every acknowledged write.

use super::{Client, Failure, Stop, alone, assert_nothing_was_lost, number, seed};
use leasehold_testing::dice::Dice;
use leasehold_tests::processes::{Processes, Recipe, eventually};
use redis::cmd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const WRITERS: usize = 4;
const KEYS: usize = 16;
/// The time limit for a read from a cluster that was just started.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The numbers written to one key: the last acknowledged one, and the last one.
#[derive(Default)]
struct Written {
    acknowledged: AtomicU64,
    begun: AtomicU64,
}

fn key(writer: usize, key: usize) -> String {
    format!("{writer}:{key}")
}

/// Writes increasing numbers to the keys of one writer.
fn write(mut client: Client, writer: usize, keys: &[Written], stop: &AtomicBool) {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        if !client.connect() {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        next += 1;
        let place = client.dice.index(KEYS);
        keys[place].begun.store(next, Ordering::SeqCst);
        match client.run::<()>(cmd("SET").arg(key(writer, place)).arg(next)) {
            Ok(()) => keys[place].acknowledged.store(next, Ordering::SeqCst),
            Err(Failure::NotExecuted) => thread::sleep(Duration::from_millis(5)),
            Err(Failure::Uncertain) => {}
        }
    }
}

/// Reads every key from every running node.
fn verify(cluster: &Processes, written: &[Vec<Written>], when: &str) {
    for node in cluster.running() {
        for (writer, keys) in written.iter().enumerate() {
            let acknowledged: Vec<u64> = keys.iter().map(|key| key.acknowledged.load(Ordering::SeqCst)).collect();
            let names: Vec<String> = (0..KEYS).map(|place| key(writer, place)).collect();
            let read = || cmd("MGET").arg(&names).query::<Vec<Option<u64>>>(&mut cluster.connect(node)).ok();
            let found =
                eventually(RECOVERY_TIMEOUT, read).unwrap_or_else(|| panic!("{when}: node {node} gives no answer"));
            for (place, found) in found.into_iter().enumerate() {
                let (least, most) = (acknowledged[place], keys[place].begun.load(Ordering::SeqCst));
                assert!(
                    (least..=most).contains(&found.unwrap_or(0)),
                    "{when}: node {node} has {found:?} for key {}; {least} was acknowledged, and {most} is the last written",
                    names[place]
                );
            }
        }
    }
}

/// Starts a node and kills it before it serves clients, or soon after that.
fn interrupt_start(recipe: &Recipe, dice: &mut Dice) {
    let mut child = recipe.command().spawn().expect("the binary runs");
    thread::sleep(dice.millis(0, 150));
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

fn kill_repeatedly(seed: u64, kills: u64) {
    let _alone = alone();
    let mut cluster = Processes::start(3);
    let mut dice = Dice::new(seed, 0);
    let written: Vec<Vec<Written>> = (0..WRITERS).map(|_| (0..KEYS).map(|_| Written::default()).collect()).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also stops the writers if this thread panics.
        let stopping = Stop(&stop);
        for (writer, keys) in written.iter().enumerate() {
            let client = Client::new(&cluster, dice.split());
            let stop = &stop;
            scope.spawn(move || write(client, writer, keys, stop));
        }
        let (mut killed, mut round) = (0, 0);
        while killed < kills {
            thread::sleep(dice.millis(0, 500));
            let count = match round % 4 {
                1 => 3,
                _ => 1 + dice.index(2),
            };
            let mut victims: Vec<u64> = cluster.running();
            dice.shuffle(&mut victims);
            victims.truncate(count);
            let processes: Vec<_> = victims.iter().map(|id| cluster.take(*id)).collect();
            // All of them are signaled before the first is waited for.
            processes.iter().for_each(|process| process.signal("KILL"));
            drop(processes);
            killed += count as u64;
            if dice.one_in(3) {
                interrupt_start(&cluster.recipes[&victims[0]], &mut dice);
                killed += 1;
            }
            victims.iter().for_each(|id| cluster.start_node(*id));
            if round % 4 == 1 {
                verify(&cluster, &written, &format!("seed {seed}, after {killed} kills"));
            }
            round += 1;
        }
        drop(stopping);
        verify(&cluster, &written, &format!("seed {seed}, at the end"));
        let acknowledged: Vec<u64> = written
            .iter()
            .map(|keys| keys.iter().map(|key| key.acknowledged.load(Ordering::SeqCst)).max().unwrap_or(0))
            .collect();
        println!("{killed} kills in {round} rounds, writers reached {acknowledged:?}");
        assert!(acknowledged.iter().all(|acknowledged| *acknowledged > 0), "a writer wrote nothing");
    });
    assert_nothing_was_lost(&cluster);
}

#[test]
fn five_kills_lose_no_acknowledged_write() {
    kill_repeatedly(seed(1), 5);
}

#[test]
#[ignore = "takes some minutes"]
fn two_hundred_kills_lose_no_acknowledged_write() {
    kill_repeatedly(seed(u64::from(std::process::id())), number("CRASHES_KILLS", 200));
}
