//! Counters only grow, so a check of INCR and GET is exact and needs no search.

use super::{Client, Failure, Stop, alone, assert_nothing_was_lost, number, seed};
use leasehold_testing::dice::Dice;
use leasehold_tests::processes::{Processes, eventually, now};
use redis::cmd;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 6;
const COUNTERS: usize = 3;
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// What all clients know about one counter.
#[derive(Default)]
struct Counter {
    /// The largest value in any answer. A command that starts now must not see a smaller one.
    seen: AtomicU64,
    /// The increments that were begun and not refused.
    begun: AtomicU64,
    /// The increments that were acknowledged.
    acknowledged: AtomicU64,
    /// The values that acknowledged increments returned.
    returned: Mutex<BTreeSet<u64>>,
    reads: AtomicU64,
}

impl Counter {
    /// Increments it. Panics if the answer is not possible.
    fn increment(&self, name: &str, client: &mut Client) -> Result<(), Failure> {
        let seen = self.seen.load(Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
        let value: u64 = match client.run(cmd("INCR").arg(name)) {
            Ok(value) => value,
            Err(failure) => {
                if failure == Failure::NotExecuted {
                    self.begun.fetch_sub(1, Ordering::SeqCst);
                }
                return Err(failure);
            }
        };
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.answered(name, value, seen + 1);
        assert!(self.returned.lock().expect("no panic").insert(value), "{name}: two increments returned {value}");
        Ok(())
    }

    /// Reads it. Panics if the answer is not possible.
    fn read(&self, name: &str, client: &mut Client) -> Result<u64, Failure> {
        let least = self.seen.load(Ordering::SeqCst).max(self.acknowledged.load(Ordering::SeqCst));
        let value = client.run::<Option<u64>>(cmd("GET").arg(name))?.unwrap_or(0);
        self.answered(name, value, least);
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(value)
    }

    fn answered(&self, name: &str, value: u64, least: u64) {
        let most = self.begun.load(Ordering::SeqCst);
        assert!((least..=most).contains(&value), "{name} is {value}, and must be from {least} to {most}");
        self.seen.fetch_max(value, Ordering::SeqCst);
    }
}

fn work(mut client: Client, counters: &[Counter], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if !client.connect() {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let place = client.dice.index(COUNTERS);
        let (name, counter) = (name(place), &counters[place]);
        let done = match client.dice.one_in(3) {
            true => counter.increment(&name, &mut client),
            false => counter.read(&name, &mut client).map(drop),
        };
        if done == Err(Failure::NotExecuted) {
            thread::sleep(Duration::from_millis(5));
        }
        // Reads through every node, also after a node was gone.
        if client.dice.one_in(200) {
            client.connection = None;
        }
    }
}

/// Stops a node for a while. Before it continues, reads wait on connections that it accepted before it was stopped: if it
/// led, another node may lead by then.
fn pause(cluster: &Processes, victim: u64, counters: &[Counter], dice: &mut Dice) {
    let mut clients: Vec<Client> = counters.iter().map(|_| Client::of(cluster, victim, dice.split())).collect();
    for client in &mut clients {
        client.connect();
    }
    cluster.process(victim).signal("STOP");
    thread::sleep(dice.millis(2_000, 4_000));
    thread::scope(|scope| {
        for (place, (client, counter)) in clients.iter_mut().zip(counters).enumerate() {
            scope.spawn(move || {
                // The node may have no leader, and then there is nothing to check.
                let _ = counter.read(&name(place), client);
            });
        }
        thread::sleep(Duration::from_millis(50));
        cluster.process(victim).signal("CONT");
    });
}

/// Kills and restarts a node, stops it for a while, or ends it as an operator does. Begins with a leader that is stopped.
fn disturb(cluster: &mut Processes, counters: &[Counter], round: u64, dice: &mut Dice) {
    let nodes = cluster.running();
    let victim = match round == 0 || dice.one_in(2) {
        true => cluster.leader(),
        false => dice.pick(&nodes),
    };
    match if round == 0 { 0 } else { dice.below(4) } {
        0 => pause(cluster, victim, counters, dice),
        1 => {
            cluster.take(victim).terminate();
            cluster.start_node(victim);
        }
        _ => {
            cluster.take(victim).kill();
            thread::sleep(dice.millis(0, 1_500));
            cluster.start_node(victim);
        }
    }
}

fn name(place: usize) -> String {
    format!("counter {place}")
}

fn count(seed: u64, time: Duration) {
    let _alone = alone();
    let mut cluster = Processes::start(3);
    let mut dice = Dice::new(seed, 0);
    let counters: Vec<Counter> = (0..COUNTERS).map(|_| Counter::default()).collect();
    let stop = AtomicBool::new(false);
    let mut faults = 0;
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        for _ in 0..CLIENTS {
            let client = Client::new(&cluster, dice.split());
            let (counters, stop) = (&counters, &stop);
            scope.spawn(move || {
                // The other clients end too if this one panics.
                let stopping = Stop(stop);
                work(client, counters, stop);
                drop(stopping);
            });
        }
        let started = now();
        while started.elapsed() < time && !stop.load(Ordering::Relaxed) {
            thread::sleep(dice.millis(100, 900));
            disturb(&mut cluster, &counters, faults, &mut dice);
            faults += 1;
        }
        drop(stopping);
    });
    for node in cluster.running() {
        let mut client = Client::of(&cluster, node, dice.split());
        for (place, counter) in counters.iter().enumerate() {
            let read = || if client.connect() { counter.read(&name(place), &mut client).ok() } else { None };
            eventually(RECOVERY_TIMEOUT, read).unwrap_or_else(|| panic!("node {node} gives no answer"));
        }
    }
    let sum = |field: fn(&Counter) -> &AtomicU64| -> u64 {
        counters.iter().map(|counter| field(counter).load(Ordering::SeqCst)).sum()
    };
    let (acknowledged, begun) = (sum(|counter| &counter.acknowledged), sum(|counter| &counter.begun));
    println!(
        "seed {seed}: {faults} faults, {} reads, {acknowledged} increments acknowledged, {} uncertain, of which {} executed",
        sum(|counter| &counter.reads),
        begun - acknowledged,
        sum(|counter| &counter.seen) - acknowledged
    );
    assert!(acknowledged > 0 && faults > 0, "nothing was tested");
    assert_nothing_was_lost(&cluster);
}

#[test]
fn counters_never_go_back_and_count_every_acknowledged_increment() {
    count(seed(1), Duration::from_secs(4));
}

#[test]
#[ignore = "takes two minutes or as long as CRASHES_SECONDS says"]
fn counters_count_exactly_under_many_faults() {
    count(seed(u64::from(std::process::id())), Duration::from_secs(number("CRASHES_SECONDS", 120)));
}
