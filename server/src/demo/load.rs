//! A closed-loop load: clients on every node, each with one command in flight, nine reads per write.
//!
//! It reaches the store only through [`Store`], so it works with any client. Every read is checked as
//! [`history`](super::history) describes.

use super::history::{Key, Violation, Writer};
use fastrand::Rng;
use hdrhistogram::Histogram;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Keys in use at a time.
const KEYS: usize = 300;
/// One of this many operations is a write.
const OPERATIONS_PER_WRITE: u64 = 10;
/// The time that a client waits before it tries the next node.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// The longest latency that is recorded exactly, in microseconds.
const MAX_LATENCY: u64 = 3_600_000_000;
/// The most violations kept for the output. All are counted.
const MAX_VIOLATIONS: usize = 5;

/// A connection to one node of the store.
pub trait Store: Send {
    /// Reads a key.
    ///
    /// # Errors
    /// [`Failure`].
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Writes a number to a key, as decimal text.
    ///
    /// # Errors
    /// [`Failure`].
    fn set(&mut self, key: &str, number: u64) -> Result<(), Failure>;
}

/// The reason why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command was not executed and never will be.
    NotExecuted,
    /// The command may or may not be executed.
    Uncertain,
    /// The connection was lost.
    Disconnected,
}

/// A function that connects to the node at a position, from 0.
pub type Connect = dyn Fn(usize) -> io::Result<Box<dyn Store>> + Send + Sync;

/// The observations of the clients.
#[derive(Debug)]
pub struct Tally {
    /// The latency of each answered read, in microseconds, from its first attempt.
    pub reads: Histogram<u64>,
    /// The latency of each acknowledged write.
    pub writes: Histogram<u64>,
    /// Writes with an unknown outcome.
    pub uncertain: u64,
    /// Reads that violate linearizability.
    pub stale: u64,
    /// The first few of them.
    pub violations: Vec<Violation>,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new_with_max(MAX_LATENCY, 3).expect("these bounds are allowed");
        Tally { reads: histogram(), writes: histogram(), uncertain: 0, stale: 0, violations: Vec::new() }
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        for (sum, part) in [(&mut self.reads, &other.reads), (&mut self.writes, &other.writes)] {
            sum.add(part).expect("both histograms have the same bounds");
        }
        self.uncertain += other.uncertain;
        self.stale += other.stale;
        self.violations.extend(other.violations);
        self.violations.truncate(MAX_VIOLATIONS);
    }

    fn found(&mut self, violation: Violation) {
        self.stale += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }
}

/// All keys, including those that are no longer written.
#[derive(Debug)]
pub struct Keys {
    prefix: String,
    current: Vec<RwLock<Arc<Key>>>,
    retired: Mutex<Vec<Arc<Key>>>,
    named: AtomicUsize,
}

impl Keys {
    fn name(prefix: &str, named: &AtomicUsize) -> String {
        format!("{prefix}:{}", named.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates keys whose names start with `prefix`, which must be new, and a writer for each.
    fn new(prefix: String) -> (Keys, Vec<Writer>) {
        let named = AtomicUsize::new(0);
        let (current, writers) = (0..KEYS)
            .map(|_| {
                let (key, writer) = Key::new(Self::name(&prefix, &named));
                (RwLock::new(key), writer)
            })
            .unzip();
        (Keys { prefix, current, retired: Mutex::default(), named }, writers)
    }

    /// Replaces a key that must not be written any more.
    fn replace(&self, slot: usize) -> Writer {
        let (key, writer) = Key::new(Self::name(&self.prefix, &self.named));
        let retired = std::mem::replace(&mut *self.current[slot].write(), key);
        self.retired.lock().push(retired);
        writer
    }

    /// Returns the number of keys whose newest acknowledged write `store` does not return.
    ///
    /// # Errors
    /// [`Failure`] if a key could not be read.
    pub fn count_lost(&self, store: &mut dyn Store) -> Result<u64, Failure> {
        let mut keys = self.retired.lock().clone();
        keys.extend(self.current.iter().map(|key| key.read().clone()));
        let mut lost = 0;
        for key in keys {
            let value = store.get(key.name())?;
            let number = value.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()).unwrap_or(0);
            lost += u64::from(number < key.acknowledged());
        }
        Ok(lost)
    }
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    keys: Arc<Keys>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts `clients` clients, distributed over `nodes` nodes. Each uses its node until a command fails there, and
    /// then the next one.
    ///
    /// # Errors If the system provides no more threads.
    pub fn start(prefix: String, nodes: usize, clients: usize, connect: Arc<Connect>) -> io::Result<Load> {
        let (keys, writers) = Keys::new(prefix);
        let mut load = Load { stop: Arc::default(), keys: Arc::new(keys), clients: Vec::with_capacity(clients) };
        let mut writers: Vec<_> = writers.into_iter().enumerate().map(Some).collect();
        for position in 0..clients {
            let own = writers.iter_mut().skip(position).step_by(clients).filter_map(Option::take).collect();
            let client = Client {
                keys: load.keys.clone(),
                own,
                node: position % nodes,
                nodes,
                connect: connect.clone(),
                store: None,
                dice: Rng::with_seed(position as u64),
                tally: Tally::default(),
            };
            let stop = load.stop.clone();
            let name = format!("client {}", position + 1);
            load.clients.push(std::thread::Builder::new().name(name).spawn(move || client.run(&stop))?);
        }
        Ok(load)
    }

    /// Ends the load and waits until the last command of every client has succeeded or failed.
    pub fn finish(mut self) -> (Tally, Arc<Keys>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in self.clients.drain(..) {
            match client.join() {
                Ok(part) => tally.add(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (tally, self.keys.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One client.
struct Client {
    keys: Arc<Keys>,
    /// The keys that it writes: their positions and writers.
    own: Vec<(usize, Writer)>,
    node: usize,
    nodes: usize,
    connect: Arc<Connect>,
    store: Option<Box<dyn Store>>,
    dice: Rng,
    tally: Tally,
}

impl Client {
    fn run(mut self, stop: &AtomicBool) -> Tally {
        while !stop.load(Ordering::Relaxed) {
            let started = now();
            let answered = if self.roll(OPERATIONS_PER_WRITE) == 0 && !self.own.is_empty() {
                self.write(stop).then_some(&mut self.tally.writes)
            } else {
                self.read(stop).then_some(&mut self.tally.reads)
            };
            if let Some(histogram) = answered {
                let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                histogram.saturating_record(micros.max(1));
            }
        }
        self.tally
    }

    /// Reads a key, and retries until it is answered.
    fn read(&mut self, stop: &AtomicBool) -> bool {
        let slot = self.roll(KEYS as u64) as usize;
        let key = self.keys.current[slot].read().clone();
        while !stop.load(Ordering::Relaxed) {
            let Some(store) = self.store() else { continue };
            let pending = key.begin_read();
            match store.get(key.name()) {
                Ok(value) => {
                    if let Err(violation) = pending.returned(value.as_deref()) {
                        self.tally.found(violation);
                    }
                    return true;
                }
                Err(_) => self.next_node(),
            }
        }
        false
    }

    /// Writes one of its own keys, and retries until it is acknowledged or its outcome is unknown.
    fn write(&mut self, stop: &AtomicBool) -> bool {
        let position = self.roll(self.own.len() as u64) as usize;
        let (slot, mut writer) = self.own.swap_remove(position);
        let mut acknowledged = false;
        while !stop.load(Ordering::Relaxed) {
            let Some(store) = self.store() else { continue };
            let attempt = writer.attempt();
            let outcome = store.set(attempt.key().name(), attempt.number());
            match outcome {
                Ok(()) => {
                    acknowledged = true;
                    writer = attempt.acknowledged();
                    break;
                }
                Err(Failure::NotExecuted) => {
                    writer = attempt.not_executed();
                    self.next_node();
                }
                Err(Failure::Uncertain | Failure::Disconnected) => {
                    drop(attempt);
                    self.tally.uncertain += 1;
                    writer = self.keys.replace(slot);
                    self.next_node();
                    break;
                }
            }
        }
        self.own.push((slot, writer));
        acknowledged
    }

    /// Returns its connection, if the node can be reached.
    fn store(&mut self) -> Option<&mut Box<dyn Store>> {
        if self.store.is_none() {
            match (self.connect)(self.node) {
                Ok(store) => self.store = Some(store),
                Err(_) => self.next_node(),
            }
        }
        self.store.as_mut()
    }

    /// Goes on to the next node.
    fn next_node(&mut self) {
        self.store = None;
        self.node = (self.node + 1) % self.nodes;
        std::thread::sleep(RETRY_INTERVAL);
    }

    /// Returns the next pseudo-random number below `limit`. Runs are similar to each other.
    fn roll(&mut self, limit: u64) -> u64 {
        self.dice.u64(..limit)
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures latencies; nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A store in memory with faults of a chosen kind.
    #[derive(Clone, Default)]
    struct FaultyStore {
        values: Arc<Mutex<HashMap<String, u64>>>,
        commands: Arc<AtomicUsize>,
        /// One of this many reads returns the value before the newest.
        old_reads: Option<usize>,
        /// One of this many writes is acknowledged and lost.
        forgotten_writes: Option<usize>,
        /// One of this many writes is executed without a reply.
        silent_writes: Option<usize>,
    }

    impl FaultyStore {
        fn fails(&self, every: Option<usize>) -> bool {
            every.is_some_and(|every| self.commands.fetch_add(1, Ordering::Relaxed) % every == every - 1)
        }
    }

    impl Store for FaultyStore {
        fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
            let number = self.values.lock().get(key).copied().unwrap_or(0);
            let number = number - u64::from(number > 0 && self.fails(self.old_reads));
            Ok((number > 0).then(|| number.to_string().into_bytes()))
        }

        fn set(&mut self, key: &str, number: u64) -> Result<(), Failure> {
            if !self.fails(self.forgotten_writes) {
                self.values.lock().insert(key.to_owned(), number);
            }
            if self.fails(self.silent_writes) { Err(Failure::Uncertain) } else { Ok(()) }
        }
    }

    fn drive(store_model: FaultyStore) -> (Tally, u64) {
        let connections = Arc::new(AtomicUsize::new(0));
        let connect = {
            let (store_model, connections) = (store_model.clone(), connections.clone());
            move |node| {
                connections.fetch_add(1, Ordering::Relaxed);
                // The second of the two nodes is down.
                if node == 1 {
                    Err(io::ErrorKind::ConnectionRefused.into())
                } else {
                    Ok(Box::new(store_model.clone()) as Box<dyn Store>)
                }
            }
        };
        let load = Load::start("k".to_owned(), 2, 3, Arc::new(connect)).expect("threads");
        while connections.load(Ordering::Relaxed) < 3 || store_model.values.lock().values().sum::<u64>() < 3_000 {
            std::thread::yield_now();
        }
        let (tally, keys) = load.finish();
        let lost = keys.count_lost(&mut store_model.clone()).expect("the store is reachable");
        (tally, lost)
    }

    #[test]
    fn a_correct_store_has_no_violations_and_an_unreachable_node_is_skipped() {
        let (tally, lost) = drive(FaultyStore::default());
        assert_eq!((tally.violations, tally.stale, tally.uncertain, lost), (Vec::new(), 0, 0, 0));
        assert!(tally.writes.len() >= 3_000 && tally.reads.len() > tally.writes.len());
    }

    #[test]
    fn a_store_that_returns_old_values_is_detected() {
        let (tally, lost) = drive(FaultyStore { old_reads: Some(50), ..FaultyStore::default() });
        assert!(tally.stale > 0);
        assert!(matches!(tally.violations[0], Violation::Stale { .. }));
        assert!(tally.violations.len() <= MAX_VIOLATIONS);
        assert!(lost <= KEYS as u64);
    }

    #[test]
    fn a_store_that_loses_writes_is_detected() {
        let (_, lost) = drive(FaultyStore { forgotten_writes: Some(3), ..FaultyStore::default() });
        assert!(lost > 0);
    }

    #[test]
    fn a_key_with_an_uncertain_write_is_replaced_and_still_checked() {
        let (tally, lost) = drive(FaultyStore { silent_writes: Some(20), ..FaultyStore::default() });
        assert!(tally.uncertain > 0);
        assert_eq!((tally.violations, lost), (Vec::new(), 0));
    }
}
