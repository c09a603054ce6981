//! Clients on every node that write and read a few hot keys, and their histories.

use super::session::{Fate, Session};
use crate::linearizability::{Call, History, Limit, OperationId, Violation};
use crate::processes::now;
use leasehold_testing::dice::Dice;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The number of keys in use at a time. It is small, so that reads overlap with writes.
pub(crate) const KEYS: usize = 4;
/// The hash tags of the keys at each place: of four groups, each has the keys of one.
const TAGS: [char; KEYS] = ['b', 'c', 'd', 'a'];
/// The most requests that a client sends at once. With more, a history would be too expensive to check.
const MAX_PIPELINE: u64 = KEYS as u64;
/// The number of clients per node: one that mostly reads and one that mostly writes.
const CLIENTS_PER_NODE: u32 = 2;
/// The maximum number of operations on a key before it is replaced, which keeps histories short enough for an exact
/// check.
const MAX_OPERATIONS_PER_KEY: usize = 400;
/// The maximum number of writes with an unknown outcome, and of deaths, on a key before it is replaced.
const MAX_UNKNOWN_PER_KEY: usize = 12;
/// The time limit for a reply to a client.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause before a client retries a node that could not serve it.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// The place whose values die after some time. The checker takes a lost value for a dead one there.
const MORTAL_SLOT: usize = 0;
/// The share of the sets there, in percent, whose value dies, and the longest time until then in milliseconds.
const SHARE_OF_MORTAL: u64 = 50;
const MAX_LIFE: u64 = 400;
/// The client number of the nemesis itself.
const NEMESIS: u32 = 0;

/// Counts of operations by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Answered operations.
    pub ok: u64,
    /// Operations that were not executed, and reads that were not answered.
    pub failed: u64,
    /// Writes that may or may not have been executed, or may be executed later.
    pub unknown: u64,
}

/// The results of the checker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) keys: u64,
    pub(crate) given_up: u64,
    pub(crate) violations: Vec<String>,
}

/// One key and its history.
struct Key {
    number: u32,
    name: String,
    history: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    history: History,
    unknown: usize,
}

/// An operation in flight.
pub(crate) struct Pending {
    key: Arc<Key>,
    slot: usize,
    id: OperationId,
    call: Call,
}

impl Pending {
    pub(crate) fn key(&self) -> &str {
        &self.key.name
    }

    pub(crate) fn call(&self) -> Call {
        self.call
    }
}

/// The state shared by all clients.
pub(crate) struct Shared {
    started: Instant,
    stop: AtomicBool,
    slots: Vec<RwLock<Arc<Key>>>,
    retired: Mutex<Vec<Arc<Key>>>,
    keys_named: AtomicU32,
    values_written: AtomicU64,
    reads: Mutex<Outcomes>,
    writes: Mutex<Outcomes>,
    read_gap: Gap,
    write_gap: Gap,
}

/// The longest time between two replies, in nanoseconds.
#[derive(Default)]
struct Gap {
    last: AtomicU64,
    longest: AtomicU64,
}

impl Gap {
    fn answered(&self, at: u64) {
        let last = self.last.fetch_max(at, Ordering::Relaxed);
        self.longest.fetch_max(at.saturating_sub(last), Ordering::Relaxed);
    }

    fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn name_key(number: &AtomicU32, slot: usize) -> Arc<Key> {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Arc::new(Key { number, name: format!("{{{}}}key:{number}", TAGS[slot]), history: Mutex::default() })
    }

    fn at(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns a new value, so far from all others that increments do not reach it.
    pub(crate) fn fresh_value(&self) -> u64 {
        (self.values_written.fetch_add(1, Ordering::Relaxed) + 1) * 1_000_000
    }

    fn begin(&self, client: u32, slot: usize, call: Call) -> Pending {
        let key = self.slots[slot].read().clone();
        let id = key.history.lock().history.invoke(client, key.number, call, self.at());
        Pending { key, slot, id, call }
    }

    /// Records that the value which an operation sets may die at any later time. A key that has died must stay dead, on every
    /// node.
    fn begin_death(&self, client: u32, pending: &Pending) -> OperationId {
        let mut recorded = pending.key.history.lock();
        recorded.unknown += 1;
        recorded.history.invoke(client, pending.key.number, Call::Delete, self.at())
    }

    fn end(&self, pending: Pending, fate: Fate) {
        let at = self.at();
        let Pending { key, slot, id, call } = pending;
        let is_read = call == Call::Get;
        let (outcomes, gap) = if is_read { (&self.reads, &self.read_gap) } else { (&self.writes, &self.write_gap) };
        let mut recorded = key.history.lock();
        {
            let mut outcomes = outcomes.lock();
            match fate {
                Fate::Answered(answer) => {
                    recorded.history.succeeded(id, answer, at);
                    outcomes.ok += 1;
                    gap.answered(at);
                }
                // A read without a reply has no effect on the history.
                _ if is_read => {
                    recorded.history.failed(id);
                    outcomes.failed += 1;
                }
                Fate::Refused => {
                    recorded.history.failed(id);
                    outcomes.failed += 1;
                }
                Fate::Unknown | Fate::Lost => {
                    recorded.unknown += 1;
                    outcomes.unknown += 1;
                }
            }
        }
        let spent = recorded.history.len() >= MAX_OPERATIONS_PER_KEY || recorded.unknown >= MAX_UNKNOWN_PER_KEY;
        drop(recorded);
        if spent {
            self.replace(slot, &key);
        }
    }

    /// Replaces this key with a new one, unless another client already did.
    fn replace(&self, slot: usize, key: &Arc<Key>) {
        let mut current = self.slots[slot].write();
        if Arc::ptr_eq(&current, key) {
            let fresh = Self::name_key(&self.keys_named, slot);
            self.retired.lock().push(std::mem::replace(&mut current, fresh));
        }
    }
}

/// The clients.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
    judgement: Judgement,
}

impl Workload {
    /// Starts the clients of the nodes with these ports.
    pub(crate) fn start(ports: &[u16], dice: &mut Dice) -> Workload {
        let keys_named = AtomicU32::new(0);
        let slots = (0..KEYS).map(|slot| RwLock::new(Shared::name_key(&keys_named, slot))).collect();
        let shared = Arc::new(Shared {
            started: now(),
            stop: AtomicBool::new(false),
            slots,
            retired: Mutex::default(),
            keys_named,
            values_written: AtomicU64::new(0),
            reads: Mutex::default(),
            writes: Mutex::default(),
            read_gap: Gap::default(),
            write_gap: Gap::default(),
        });
        let mut clients = Vec::new();
        for &port in ports {
            for share_of_reads in [90, 40].into_iter().take(CLIENTS_PER_NODE as usize) {
                let number = NEMESIS + 1 + clients.len() as u32;
                let client = Client { number, port, share_of_reads, dice: dice.split(), shared: shared.clone() };
                let name = format!("client {number}");
                clients.push(std::thread::Builder::new().name(name).spawn(|| client.run()).expect("a thread"));
            }
        }
        Workload { shared, clients, judgement: Judgement::default() }
    }

    /// Returns the time since the clients started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Returns a new value.
    pub(crate) fn fresh_value(&self) -> u64 {
        self.shared.fresh_value()
    }

    /// Records the start of an operation of the nemesis itself, before its request is sent.
    pub(crate) fn begin(&self, slot: usize, call: Call) -> Pending {
        self.shared.begin(NEMESIS, slot, call)
    }

    /// Records the end of that operation.
    pub(crate) fn end(&self, pending: Pending, fate: Fate) {
        self.shared.end(pending, fate);
    }

    /// Executes and records an operation of the nemesis itself.
    pub(crate) fn ask(&self, session: &mut Session, slot: usize, call: Call) -> Fate {
        let pending = self.begin(slot, call);
        let fate = session.ask(pending.key(), call);
        self.end(pending, fate);
        fate
    }

    /// Checks the keys that are no longer in use.
    pub(crate) fn judge_retired(&mut self) -> &Judgement {
        let (done, in_use) =
            self.shared.retired.lock().drain(..).partition::<Vec<_>, _>(|key| Arc::strong_count(key) == 1);
        self.shared.retired.lock().extend(in_use);
        done.iter().for_each(|key| self.judgement.add(key));
        &self.judgement
    }

    /// Stops the clients. The nemesis itself may go on.
    pub(crate) fn stop_clients(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            if let Err(panic) = client.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Stops the clients, checks every key, and returns the results.
    pub(crate) fn finish(mut self) -> Seen {
        self.stop_clients();
        let shared = self.shared.clone();
        let at = shared.at();
        // A gap that lasts until the end counts too.
        [&shared.read_gap, &shared.write_gap].into_iter().for_each(|gap| gap.answered(at));
        shared.retired.lock().iter().for_each(|key| self.judgement.add(key));
        shared.slots.iter().for_each(|slot| self.judgement.add(&slot.read()));
        Seen {
            judgement: std::mem::take(&mut self.judgement),
            reads: *shared.reads.lock(),
            writes: *shared.writes.lock(),
            longest_without_read: shared.read_gap.longest(),
            longest_without_write: shared.write_gap.longest(),
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// The results of all clients in a run.
pub(crate) struct Seen {
    pub(crate) judgement: Judgement,
    pub(crate) reads: Outcomes,
    pub(crate) writes: Outcomes,
    pub(crate) longest_without_read: Duration,
    pub(crate) longest_without_write: Duration,
}

impl Judgement {
    fn add(&mut self, key: &Key) {
        let recorded = key.history.lock();
        self.keys += u64::from(!recorded.history.is_empty());
        match recorded.history.check(Limit::default()) {
            Ok(()) => {}
            Err(Violation::GaveUp { .. }) => self.given_up += 1,
            Err(violation) => self.violations.push(violation.to_string()),
        }
    }
}

/// A client that always uses the same node.
struct Client {
    number: u32,
    port: u16,
    share_of_reads: u64,
    dice: Dice,
    shared: Arc<Shared>,
}

impl Client {
    fn run(mut self) {
        let mut session = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let Some(open) = session.as_mut() else {
                session = Session::connect(self.port, REPLY_TIMEOUT).ok();
                if session.is_none() {
                    std::thread::sleep(RETRY_INTERVAL);
                }
                continue;
            };
            let length = if self.dice.one_in(3) { 2 + self.dice.below(MAX_PIPELINE - 1) } else { 1 };
            let (mut requests, mut pipeline) = (Vec::new(), Vec::new());
            // Each has a key of its own: a lost connection leaves at most one operation of unknown outcome on each.
            let first = self.dice.below(KEYS as u64);
            for slot in first..first + length {
                let (pending, death, life) = self.begin(slot as usize % KEYS);
                requests.extend(Session::request(pending.key(), pending.call(), life));
                pipeline.push((pending, death));
            }
            let mut fate = open.send_all(&requests).map_or(Fate::Lost, |()| Fate::Unknown);
            for (pending, death) in pipeline {
                // After a reply that is lost there is no other.
                if fate != Fate::Lost {
                    fate = open.receive(pending.call());
                }
                if let Some(death) = death.filter(|_| fate == Fate::Refused) {
                    pending.key.history.lock().history.failed(death);
                }
                self.shared.end(pending, fate);
            }
            match fate {
                // The pause frees processor time for the nodes.
                Fate::Answered(_) => std::thread::sleep(self.dice.millis(0, 3)),
                Fate::Refused | Fate::Unknown => std::thread::sleep(RETRY_INTERVAL),
                Fate::Lost => session = None,
            }
        }
    }

    /// Records the start of an operation, and perhaps of the death of the value that it sets after some time.
    fn begin(&mut self, slot: usize) -> (Pending, Option<OperationId>, Option<Duration>) {
        let call = self.choose();
        let is_mortal = slot == MORTAL_SLOT && matches!(call, Call::Set(_)) && self.dice.below(100) < SHARE_OF_MORTAL;
        let life = is_mortal.then(|| self.dice.millis(1, MAX_LIFE));
        let pending = self.shared.begin(self.number, slot, call);
        let death = life.map(|_| self.shared.begin_death(self.number, &pending));
        (pending, death, life)
    }

    fn choose(&mut self) -> Call {
        if self.dice.below(100) < self.share_of_reads {
            return Call::Get;
        }
        match self.dice.below(10) {
            0 => Call::Delete,
            1..5 => Call::Set(self.shared.fresh_value()),
            _ => Call::Increment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizability::Answer;

    #[test]
    fn reports_a_stale_answer() {
        let mut workload = Workload::start(&[], &mut Dice::new(1, 0));
        let did = |call, answer| workload.end(workload.begin(0, call), Fate::Answered(answer));
        did(Call::Set(1), Answer::Done);
        did(Call::Get, Answer::Value(Some(1)));
        did(Call::Set(2), Answer::Done);
        assert_eq!(workload.judge_retired().keys, 0, "the key is still in use");
        workload.end(workload.begin(0, Call::Get), Fate::Answered(Answer::Value(Some(1))));
        let seen = workload.finish();
        assert_eq!((seen.judgement.keys, seen.judgement.violations.len()), (1, 1));
        assert_eq!((seen.reads.ok, seen.writes.ok), (2, 2));
    }

    #[test]
    fn reports_a_value_that_is_seen_again_after_it_has_died() {
        for (seen, violations) in [([1, 1, 0, 0], 0), ([1, 0, 1, 0], 1)] {
            let workload = Workload::start(&[], &mut Dice::new(1, 0));
            let set = workload.begin(0, Call::Set(1));
            workload.shared.begin_death(NEMESIS, &set);
            workload.end(set, Fate::Answered(Answer::Done));
            for value in seen {
                let found = Answer::Value(Some(value).filter(|value| *value > 0));
                workload.end(workload.begin(0, Call::Get), Fate::Answered(found));
            }
            assert_eq!(workload.finish().judgement.violations.len(), violations, "{seen:?}");
        }
    }

    #[test]
    fn replaces_a_key_with_many_writes_of_unknown_outcome() {
        let mut workload = Workload::start(&[], &mut Dice::new(1, 0));
        let first = workload.begin(0, Call::Get);
        let first_name = first.key().to_owned();
        workload.end(first, Fate::Lost);
        for _ in 0..MAX_UNKNOWN_PER_KEY {
            workload.end(workload.begin(0, Call::Increment), Fate::Unknown);
        }
        let next = workload.begin(0, Call::Get);
        assert_ne!(next.key(), first_name);
        workload.end(next, Fate::Answered(Answer::Value(None)));
        let judged = workload.judge_retired();
        assert_eq!((judged.keys, judged.violations.len()), (1, 0));
    }
}
