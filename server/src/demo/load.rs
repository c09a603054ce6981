//! A closed-loop load: clients on every node, each with one command on its way at a time, nine reads to a write.
//!
//! It knows a store only as [`Store`], so that it drives this server through any client. Whatever is read is checked as
//! [`history`](super::history) describes.

use super::history::{Key, Violation, Writer};
use hdrhistogram::Histogram;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Keys in use at a time.
const KEYS: usize = 300;
/// One operation in so many is a write.
const WRITES: u64 = 10;
/// How long a client waits before it tries the next node.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest time told apart from a longer one, in microseconds.
const LONGEST: u64 = 3_600_000_000;
/// Violations kept to be shown; all are counted.
const SHOWN: usize = 5;

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

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The node says that it was not executed, nor will be.
    NotExecuted,
    /// The node does not know.
    Uncertain,
    /// The connection was lost.
    Disconnected,
}

/// Connects to the node at a position, from 0.
pub type Connect = dyn Fn(usize) -> io::Result<Box<dyn Store>> + Send + Sync;

/// What clients saw.
#[derive(Debug)]
pub struct Tally {
    /// How long each answered read took, in microseconds, from the first attempt on.
    pub reads: Histogram<u64>,
    /// The same of acknowledged writes.
    pub writes: Histogram<u64>,
    /// Writes of unknown fate.
    pub uncertain: u64,
    /// Reads that no linearizable store gives.
    pub stale: u64,
    /// The first few of them.
    pub violations: Vec<Violation>,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new_with_max(LONGEST, 3).expect("these bounds are allowed");
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
        self.violations.truncate(SHOWN);
    }

    fn found(&mut self, violation: Violation) {
        self.stale += 1;
        if self.violations.len() < SHOWN {
            self.violations.push(violation);
        }
    }
}

/// Every key that was ever written.
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

    /// Keys whose names begin with `prefix`, which nobody may have used before, and a writer for each.
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

    /// Puts a new key in the place of one that nobody may write any more.
    fn replace(&self, slot: usize) -> Writer {
        let (key, writer) = Key::new(Self::name(&self.prefix, &self.named));
        let retired = std::mem::replace(&mut *self.current[slot].write(), key);
        self.retired.lock().push(retired);
        writer
    }

    /// How many keys miss their newest acknowledged write, as seen through `store`.
    ///
    /// # Errors
    /// [`Failure`] when a key could not be read.
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
    /// Starts `clients` clients, spread over `nodes` nodes. Each stays with its node until that fails it, and goes on to
    /// the next one then.
    ///
    /// # Errors
    /// When the system gives no more threads.
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
                dice: position as u64,
                tally: Tally::default(),
            };
            let stop = load.stop.clone();
            let name = format!("client {}", position + 1);
            load.clients.push(std::thread::Builder::new().name(name).spawn(move || client.run(&stop))?);
        }
        Ok(load)
    }

    /// Ends the load and waits until every client has its last answer, or none.
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
    /// The keys that it writes: their places, and the right to write them.
    own: Vec<(usize, Writer)>,
    node: usize,
    nodes: usize,
    connect: Arc<Connect>,
    store: Option<Box<dyn Store>>,
    dice: u64,
    tally: Tally,
}

impl Client {
    fn run(mut self, stop: &AtomicBool) -> Tally {
        while !stop.load(Ordering::Relaxed) {
            let started = now();
            let answered = if self.roll(WRITES) == 0 && !self.own.is_empty() {
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

    /// Reads a key, and tries until it is answered.
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
                Err(_) => self.leave(),
            }
        }
        false
    }

    /// Writes one of its own keys, and tries until that is acknowledged or its fate unknown.
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
                    self.leave();
                }
                Err(Failure::Uncertain | Failure::Disconnected) => {
                    drop(attempt);
                    self.tally.uncertain += 1;
                    writer = self.keys.replace(slot);
                    self.leave();
                    break;
                }
            }
        }
        self.own.push((slot, writer));
        acknowledged
    }

    /// Its connection, if there is one to be had.
    fn store(&mut self) -> Option<&mut Box<dyn Store>> {
        if self.store.is_none() {
            match (self.connect)(self.node) {
                Ok(store) => self.store = Some(store),
                Err(_) => self.leave(),
            }
        }
        self.store.as_mut()
    }

    /// Leaves a node that could not help for the next one.
    fn leave(&mut self) {
        self.store = None;
        self.node = (self.node + 1) % self.nodes;
        std::thread::sleep(PAUSE);
    }

    /// The next pseudo-random number below `limit` (splitmix64): which key matters little, but runs should be alike.
    fn roll(&mut self, limit: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures how long a command takes; it decides nothing")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A store in one piece of memory that breaks in a chosen way now and then.
    #[derive(Clone, Default)]
    struct Shelf {
        values: Arc<Mutex<HashMap<String, u64>>>,
        asked: Arc<AtomicUsize>,
        /// Every so many reads returns the value before the newest.
        old_reads: Option<usize>,
        /// Every so many writes is acknowledged and forgotten.
        forgotten_writes: Option<usize>,
        /// Every so many writes happens without a word.
        silent_writes: Option<usize>,
    }

    impl Shelf {
        fn strikes(&self, every: Option<usize>) -> bool {
            every.is_some_and(|every| self.asked.fetch_add(1, Ordering::Relaxed) % every == every - 1)
        }
    }

    impl Store for Shelf {
        fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
            let number = self.values.lock().get(key).copied().unwrap_or(0);
            let number = number - u64::from(number > 0 && self.strikes(self.old_reads));
            Ok((number > 0).then(|| number.to_string().into_bytes()))
        }

        fn set(&mut self, key: &str, number: u64) -> Result<(), Failure> {
            if !self.strikes(self.forgotten_writes) {
                self.values.lock().insert(key.to_owned(), number);
            }
            if self.strikes(self.silent_writes) { Err(Failure::Uncertain) } else { Ok(()) }
        }
    }

    fn drive(shelf: Shelf) -> (Tally, u64) {
        let asked = Arc::new(AtomicUsize::new(0));
        let connect = {
            let (shelf, asked) = (shelf.clone(), asked.clone());
            move |node| {
                asked.fetch_add(1, Ordering::Relaxed);
                // The second of the two nodes is down.
                if node == 1 {
                    Err(io::ErrorKind::ConnectionRefused.into())
                } else {
                    Ok(Box::new(shelf.clone()) as Box<dyn Store>)
                }
            }
        };
        let load = Load::start("k".to_owned(), 2, 3, Arc::new(connect)).expect("threads");
        while asked.load(Ordering::Relaxed) < 3 || shelf.values.lock().values().sum::<u64>() < 3_000 {
            std::thread::yield_now();
        }
        let (tally, keys) = load.finish();
        let lost = keys.count_lost(&mut shelf.clone()).expect("the shelf is there");
        (tally, lost)
    }

    #[test]
    fn a_sound_store_is_found_sound_and_a_node_that_is_down_is_left() {
        let (tally, lost) = drive(Shelf::default());
        assert_eq!((tally.violations, tally.stale, tally.uncertain, lost), (Vec::new(), 0, 0, 0));
        assert!(tally.writes.len() >= 3_000 && tally.reads.len() > tally.writes.len());
    }

    #[test]
    fn a_store_that_returns_old_values_is_found_out() {
        let (tally, lost) = drive(Shelf { old_reads: Some(50), ..Shelf::default() });
        assert!(tally.stale > 0);
        assert!(matches!(tally.violations[0], Violation::Stale { .. }));
        assert!(tally.violations.len() <= SHOWN);
        assert!(lost <= KEYS as u64);
    }

    #[test]
    fn a_store_that_forgets_writes_is_found_out() {
        let (_, lost) = drive(Shelf { forgotten_writes: Some(3), ..Shelf::default() });
        assert!(lost > 0);
    }

    #[test]
    fn a_key_with_a_write_of_unknown_fate_is_given_up_and_still_checked() {
        let (tally, lost) = drive(Shelf { silent_writes: Some(20), ..Shelf::default() });
        assert!(tally.uncertain > 0);
        assert_eq!((tally.violations, lost), (Vec::new(), 0));
    }
}
