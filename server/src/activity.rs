//! The commands of a node's clients: how many, how long they took, and which were slow.
//!
//! The requests of a pipeline that arrive together are executed together. They are counted together too, and each takes an
//! equal share of their time. So a request costs a few additions and no lock.

use crate::command::{Known, Spec, all};
use crate::counters::Counter;
use crate::latency::{Histogram, Times};
use crate::resp::Arguments;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The arguments that the slow log keeps of a command, and the bytes of each, as in Redis.
const MAX_ARGUMENTS: usize = 32;
const MAX_ARGUMENT_BYTES: usize = 128;
/// The runs for which an idle batch keeps memory.
const MAX_KEPT_RUNS: usize = 32;
/// The most entries of the slow log, whatever its setting.
pub(crate) const MAX_SLOWLOG_ENTRIES: usize = 10_000;
/// The shortest time over which the rate of commands is averaged.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// The commands of all clients since the start, or since the counts were set to zero.
#[derive(Debug)]
pub(crate) struct Activity {
    commands: Box<[CommandCount]>,
    families: Vec<(Family, Histogram)>,
    errors: Mutex<BTreeMap<String, u64>>,
    pub(crate) connections: Counter,
    rate: Mutex<Rate>,
    pub(crate) slowlog: Slowlog,
}

#[derive(Debug, Default)]
struct CommandCount {
    calls: AtomicU64,
    nanos: AtomicU64,
    /// The place of its family.
    family: usize,
}

/// Commands whose times are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// The group in which Redis documents them.
    pub(crate) group: &'static str,
    /// `read`, `write` or `other`.
    pub(crate) kind: &'static str,
}

impl Family {
    fn of(spec: &Spec) -> Family {
        let has = |flag| spec.flags.contains(&flag);
        let kind = if has("write") { "write" } else { ["other", "read"][usize::from(has("readonly"))] };
        Family { group: spec.group, kind }
    }
}

#[derive(Debug, Default)]
struct Rate {
    at: Duration,
    commands: u64,
    per_second: u64,
}

/// The requests of one connection that are executed together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Commands that follow each other, by number and count.
    runs: Vec<(u16, u32)>,
    /// The first request, as the slow log keeps it.
    first: Vec<u8>,
    ends: Vec<usize>,
    /// The arguments of the first request.
    arguments: usize,
}

impl Batch {
    /// Adds a request.
    pub(crate) fn add(&mut self, known: Option<Known>, arguments: &Arguments<'_>) {
        let Some(known) = known else { return };
        match self.runs.last_mut() {
            Some((number, count)) if *number == known.number => *count += 1,
            last => {
                if last.is_none() {
                    self.keep(known, arguments);
                }
                self.runs.push((known.number, 1));
            }
        }
    }

    fn keep(&mut self, known: Known, arguments: &Arguments<'_>) {
        // Passwords are not kept.
        let secret = matches!(known.spec.name, "auth" | "hello" | "acl|setuser" | "config|set");
        self.arguments = arguments.len();
        let kept = if arguments.len() > MAX_ARGUMENTS { MAX_ARGUMENTS - 1 } else { arguments.len() };
        for position in 0..kept {
            let argument = if secret && position > 0 { b"(redacted)" } else { arguments.peek(position) };
            self.first.extend_from_slice(&argument[..argument.len().min(MAX_ARGUMENT_BYTES)]);
            if argument.len() > MAX_ARGUMENT_BYTES {
                let more = format!("... ({} more bytes)", argument.len() - MAX_ARGUMENT_BYTES);
                self.first.extend_from_slice(more.as_bytes());
            }
            self.ends.push(self.first.len());
        }
    }

    /// Returns the number of the last command in the table of commands.
    pub(crate) fn last(&self) -> Option<u16> {
        self.runs.last().map(|(number, _)| *number)
    }

    fn count(&self) -> u32 {
        self.runs.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.runs.shrink_to(MAX_KEPT_RUNS);
        self.first.clear();
        self.ends.clear();
    }

    fn describe(&self, count: u32) -> Vec<Vec<u8>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut described: Vec<_> = starts.zip(&self.ends).map(|(from, to)| self.first[from..*to].to_vec()).collect();
        if self.arguments > MAX_ARGUMENTS {
            let more = self.arguments - described.len();
            described.push(format!("... ({more} more arguments)").into_bytes());
        }
        if count > 1 {
            described.push(format!("... (with {} more commands)", count - 1).into_bytes());
        }
        described
    }
}

impl Default for Activity {
    fn default() -> Activity {
        let mut families: Vec<(Family, Histogram)> = Vec::new();
        let mut place = |wanted: Family| {
            let known = families.iter().position(|(family, _)| *family == wanted);
            known.unwrap_or_else(|| {
                families.push((wanted, Histogram::default()));
                families.len() - 1
            })
        };
        let commands = all().map(|spec| CommandCount { family: place(Family::of(spec)), ..CommandCount::default() });
        let commands = commands.collect();
        Activity {
            commands,
            families,
            errors: Mutex::default(),
            connections: Counter::default(),
            rate: Mutex::default(),
            slowlog: Slowlog::default(),
        }
    }
}

impl Activity {
    /// Counts the requests of a batch, which took `elapsed` together, and empties it. `client` describes the connection
    /// for the slow log.
    pub(crate) fn count(&self, batch: &mut Batch, elapsed: Duration, client: impl FnOnce() -> SlowClient) {
        let count = batch.count();
        if count == 0 {
            return;
        }
        let each = elapsed / count;
        for (number, count) in &batch.runs {
            if let Some(command) = self.commands.get(usize::from(*number)) {
                command.calls.fetch_add(u64::from(*count), Ordering::Relaxed);
                command.nanos.fetch_add(nanos(each).saturating_mul(u64::from(*count)), Ordering::Relaxed);
                self.families[command.family].1.add(each, u64::from(*count));
            }
        }
        if self.slowlog.is_slow(each) {
            self.slowlog.add(each, batch.describe(count), client());
        }
        batch.clear();
    }

    /// Counts error replies by their codes.
    pub(crate) fn count_errors(&self, codes: impl Iterator<Item = (String, u64)>) {
        let mut errors = self.errors.lock();
        for (code, count) in codes {
            *errors.entry(code).or_default() += count;
        }
    }

    /// Returns the error replies by their codes.
    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Returns the number of commands that were received.
    pub(crate) fn processed(&self) -> u64 {
        self.commands.iter().map(|command| command.calls.load(Ordering::Relaxed)).sum()
    }

    /// Returns the commands that were received, with their number and the time that they took.
    pub(crate) fn by_command(&self) -> impl Iterator<Item = (&'static str, u64, Duration)> {
        let counted = all().zip(&self.commands).map(|(spec, command)| {
            let nanos = command.nanos.load(Ordering::Relaxed);
            (spec.name, command.calls.load(Ordering::Relaxed), Duration::from_nanos(nanos))
        });
        counted.filter(|(_, calls, _)| *calls > 0)
    }

    /// Returns the times of the commands by family.
    pub(crate) fn by_family(&self) -> impl Iterator<Item = (Family, Times)> {
        self.families.iter().map(|(family, histogram)| (*family, histogram.times()))
    }

    /// Sets the counts to zero.
    pub(crate) fn reset(&self) {
        self.families.iter().for_each(|(_, histogram)| histogram.reset());
        for command in &self.commands {
            command.calls.store(0, Ordering::Relaxed);
            command.nanos.store(0, Ordering::Relaxed);
        }
        self.errors.lock().clear();
        *self.rate.lock() = Rate::default();
    }

    /// Measures the rate of commands, if it is time to. `now` is the time since the node started.
    pub(crate) fn observe(&self, now: Duration) {
        let mut rate = self.rate.lock();
        let elapsed = now.saturating_sub(rate.at);
        if elapsed < RATE_INTERVAL {
            return;
        }
        let commands = self.processed();
        let per_second = u128::from(commands.saturating_sub(rate.commands)) * 1000 / elapsed.as_millis().max(1);
        *rate = Rate { at: now, commands, per_second: u64::try_from(per_second).unwrap_or(u64::MAX) };
    }

    /// Returns the rate of commands that was measured last, per second.
    pub(crate) fn per_second(&self) -> u64 {
        self.rate.lock().per_second
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The connection that sent a slow command.
#[derive(Clone, Debug)]
pub(crate) struct SlowClient {
    pub(crate) address: SocketAddr,
    pub(crate) name: bytes::Bytes,
    /// Seconds since the epoch.
    pub(crate) time: u64,
}

/// A command that was slow.
#[derive(Clone, Debug)]
pub(crate) struct SlowEntry {
    pub(crate) id: u64,
    pub(crate) elapsed: Duration,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) client: SlowClient,
}

/// The newest commands that were slower than the threshold, newest first.
#[derive(Debug)]
pub(crate) struct Slowlog {
    /// In microseconds: negative for never.
    threshold: AtomicI64,
    max_entries: AtomicUsize,
    entries: Mutex<(u64, VecDeque<SlowEntry>)>,
}

impl Default for Slowlog {
    /// The defaults of Redis.
    fn default() -> Slowlog {
        Slowlog { threshold: AtomicI64::new(10_000), max_entries: AtomicUsize::new(128), entries: Mutex::default() }
    }
}

impl Slowlog {
    fn is_slow(&self, elapsed: Duration) -> bool {
        let threshold = self.threshold.load(Ordering::Relaxed);
        u128::try_from(threshold).is_ok_and(|threshold| elapsed.as_micros() >= threshold)
    }

    fn add(&self, elapsed: Duration, arguments: Vec<Vec<u8>>, client: SlowClient) {
        let max = self.max_entries.load(Ordering::Relaxed);
        let mut entries = self.entries.lock();
        let (next, entries) = &mut *entries;
        entries.push_front(SlowEntry { id: *next, elapsed, arguments, client });
        *next += 1;
        entries.truncate(max);
    }

    /// Returns the threshold in microseconds; negative for never.
    pub(crate) fn threshold(&self) -> i64 {
        self.threshold.load(Ordering::Relaxed)
    }

    pub(crate) fn set_threshold(&self, micros: i64) {
        self.threshold.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn max_entries(&self) -> usize {
        self.max_entries.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_entries(&self, entries: usize) {
        self.max_entries.store(entries.min(MAX_SLOWLOG_ENTRIES), Ordering::Relaxed);
    }

    /// Returns the newest entries, at most `count`.
    pub(crate) fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().1.iter().take(count).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    pub(crate) fn clear(&self) {
        drop(mem::take(&mut self.entries.lock().1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::resp::{Request, RequestReader};

    fn batch(lines: &[&str]) -> Batch {
        let mut reader = RequestReader::default();
        lines.iter().for_each(|line| reader.receive(format!("{line}\r\n").as_bytes()));
        let mut batch = Batch::default();
        while let Ok(Some(Request::Command(arguments))) = reader.next() {
            batch.add(Command::recognize(&arguments).0, &arguments);
        }
        batch
    }

    fn client() -> SlowClient {
        SlowClient { address: SocketAddr::from(([127, 0, 0, 1], 1)), name: bytes::Bytes::new(), time: 7 }
    }

    #[test]
    fn the_commands_of_a_batch_share_its_time() {
        let activity = Activity::default();
        let mut batch = batch(&["GET a", "GET b", "SET a 1", "NOSUCH", "GET a"]);
        activity.count(&mut batch, Duration::from_micros(8), client);
        let counted: Vec<_> = activity.by_command().collect();
        assert_eq!(counted, [("get", 3, Duration::from_micros(6)), ("set", 1, Duration::from_micros(2))]);
        assert_eq!(activity.processed(), 4);
        let families = activity.by_family().filter(|(_, times)| times.count() > 0);
        let families: Vec<_> = families.map(|(family, times)| (family.group, family.kind, times.count())).collect();
        assert_eq!(families, [("string", "read", 3), ("string", "write", 1)]);
        activity.count(&mut batch, Duration::from_micros(8), client);
        assert_eq!(activity.processed(), 4, "it is empty");
        activity.reset();
        assert_eq!(activity.by_command().count(), 0);
        assert!(activity.by_family().all(|(_, times)| times.count() == 0));
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let activity = Activity::default();
        activity.observe(Duration::from_secs(1));
        activity.count(&mut batch(&["GET a"; 10]), Duration::ZERO, client);
        activity.observe(Duration::from_millis(1500));
        assert_eq!(activity.per_second(), 0);
        activity.observe(Duration::from_secs(3));
        assert_eq!(activity.per_second(), 5);
    }

    #[test]
    fn the_slow_log_keeps_a_bounded_part_of_the_newest_commands_and_no_passwords() {
        let activity = Activity::default();
        activity.slowlog.set_max_entries(2);
        let long = format!("SET k {}", "v".repeat(130));
        let many = format!("MGET{}", " k".repeat(40));
        for line in ["GET a", "AUTH me secret", &long, &many] {
            activity.count(&mut batch(&[line]), Duration::from_micros(9_999), client);
            assert_eq!(activity.slowlog.len(), 0);
        }
        let slow = |lines: &[&str]| {
            activity.count(&mut batch(lines), Duration::from_millis(10) * lines.len() as u32, client);
            let newest = &activity.slowlog.newest(1)[0];
            newest.arguments.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(slow(&["GET a", "GET b"]), ["GET", "a", "... (with 1 more commands)"]);
        assert_eq!(slow(&["AUTH me secret"]), ["AUTH", "(redacted)", "(redacted)"]);
        assert_eq!(slow(&["ACL SETUSER me >secret"]), ["ACL", "(redacted)", "(redacted)", "(redacted)"]);
        assert_eq!(slow(&[&long])[2], format!("{}... (2 more bytes)", "v".repeat(128)));
        let kept = slow(&[&many]);
        assert_eq!((kept.len(), kept[31].as_str()), (32, "... (10 more arguments)"));
        assert_eq!(activity.slowlog.newest(9).iter().map(|entry| entry.id).collect::<Vec<_>>(), [4, 3]);
        activity.slowlog.set_threshold(-1);
        activity.count(&mut batch(&["GET a"]), Duration::from_secs(1), client);
        assert_eq!(activity.slowlog.len(), 2);
        activity.slowlog.clear();
        assert_eq!(activity.slowlog.len(), 0);
    }
}
