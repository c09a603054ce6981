//! Checking at run time that the history of each key is linearizable.
//!
//! Each key has one writer, which writes 1, 2, 3, … and starts a write only after it knows the outcome of the previous
//! one. If it never learns the outcome, the key is not written again. A history of such a key is linearizable if and
//! only if each read
//!
//! * returns at least the newest write acknowledged before the read started,
//! * returns at most the newest write attempted before the read ended, and
//! * returns at least as much as every read that ended before it started.
//!
//! So three numbers per key are enough, and the check is exact at the cost of a few atomic operations. A read starts
//! before its request is sent and ends after its reply arrived, so a reported violation does not depend on timing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One key, with the state of its writes and reads.
#[derive(Debug)]
pub struct Key {
    name: String,
    attempted: AtomicU64,
    acknowledged: AtomicU64,
    /// The newest value that a read returned.
    seen: AtomicU64,
}

/// A read that violates linearizability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It returned less than a write acknowledged, or a value read, before it started.
    #[error("stale read of {key}: returned {found}, but {at_least} was acknowledged or read before this read started")]
    Stale {
        /// The key.
        key: String,
        /// The returned value; 0 for none.
        found: u64,
        /// The smallest correct value.
        at_least: u64,
    },
    /// It returned a value that had not been written.
    #[error(
        "impossible read of {key}: returned {found:?}, but nothing beyond {at_most} was written before the read ended"
    )]
    NeverWritten {
        /// The key.
        key: String,
        /// The returned value, as text.
        found: String,
        /// The largest correct value.
        at_most: u64,
    },
}

impl Key {
    /// Creates a key that was never written, and its only writer.
    pub fn new(name: String) -> (Arc<Key>, Writer) {
        let zero = || AtomicU64::new(0);
        let key = Arc::new(Key { name, attempted: zero(), acknowledged: zero(), seen: zero() });
        (key.clone(), Writer(key))
    }

    /// Returns its name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the newest acknowledged write, or 0 if there is none.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Starts a read. Call this before sending the request.
    pub fn begin_read(&self) -> PendingRead<'_> {
        PendingRead { key: self, at_least: self.acknowledged().max(self.seen.load(Ordering::SeqCst)) }
    }
}

/// A started read. Drop it if there is no reply.
#[derive(Debug)]
pub struct PendingRead<'a> {
    key: &'a Key,
    at_least: u64,
}

impl PendingRead<'_> {
    /// Ends the read with its result. Call this after the reply arrived.
    ///
    /// # Errors
    /// [`Violation`] if a linearizable store could not return that.
    pub fn returned(self, value: Option<&[u8]>) -> Result<(), Violation> {
        let PendingRead { key, at_least } = self;
        let at_most = key.attempted.load(Ordering::SeqCst);
        let found = match value {
            None => Some(0),
            Some(text) => {
                std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|number| *number > 0)
            }
        };
        match found.filter(|found| *found <= at_most) {
            None => Err(Violation::NeverWritten {
                key: key.name.clone(),
                found: String::from_utf8_lossy(value.unwrap_or_default()).into_owned(),
                at_most,
            }),
            Some(found) if found < at_least => Err(Violation::Stale { key: key.name.clone(), found, at_least }),
            Some(found) => {
                key.seen.fetch_max(found, Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

/// The permission to write a key, while no write is in flight.
#[derive(Debug)]
pub struct Writer(Arc<Key>);

impl Writer {
    /// Returns the key.
    pub fn key(&self) -> &Arc<Key> {
        &self.0
    }

    /// Starts the next write. Call this before sending the request.
    pub fn attempt(self) -> Attempt {
        let number = self.0.acknowledged() + 1;
        self.0.attempted.store(number, Ordering::SeqCst);
        Attempt { key: self.0, number }
    }
}

/// A write in flight. Drop it if its outcome stays unknown: the key must not be written again, because the write may
/// still take effect.
#[derive(Debug)]
pub struct Attempt {
    key: Arc<Key>,
    number: u64,
}

impl Attempt {
    /// Returns the key.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Returns the value to write.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Ends the write as acknowledged.
    pub fn acknowledged(self) -> Writer {
        self.key.acknowledged.store(self.number, Ordering::SeqCst);
        Writer(self.key)
    }

    /// Ends the write as one that was not executed and never will be.
    pub fn not_executed(self) -> Writer {
        Writer(self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_up_to(number: u64) -> (Arc<Key>, Writer) {
        let (key, mut writer) = Key::new("k".to_owned());
        for _ in 0..number {
            writer = writer.attempt().acknowledged();
        }
        (key, writer)
    }

    fn stale(found: u64, at_least: u64) -> Result<(), Violation> {
        Err(Violation::Stale { key: "k".to_owned(), found, at_least })
    }

    fn never_written(found: &str, at_most: u64) -> Result<(), Violation> {
        Err(Violation::NeverWritten { key: "k".to_owned(), found: found.to_owned(), at_most })
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_write_is_stale() {
        let (key, _writer) = written_up_to(2);
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2));
        assert_eq!(key.begin_read().returned(None), stale(0, 2), "a value that disappeared");
    }

    #[test]
    fn a_read_concurrent_with_a_write_may_return_either_value_but_not_go_back() {
        let (key, writer) = written_up_to(1);
        let attempt = writer.attempt();
        assert_eq!(key.begin_read().returned(Some(b"1")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2), "another read has returned the new value");
        attempt.acknowledged();
    }

    #[test]
    fn reads_that_overlap_may_return_in_any_order() {
        let (key, writer) = written_up_to(1);
        let slow = key.begin_read();
        writer.attempt().acknowledged();
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(slow.returned(Some(b"1")), Ok(()), "it started before the write did");
    }

    #[test]
    fn a_value_that_was_not_written_cannot_be_read() {
        let (key, writer) = written_up_to(1);
        assert_eq!(key.begin_read().returned(Some(b"2")), never_written("2", 1));
        for noise in ["", "0", "-1", "one", "1 "] {
            assert_eq!(key.begin_read().returned(Some(noise.as_bytes())), never_written(noise, 1));
        }
        let early = key.begin_read();
        let _attempt = writer.attempt();
        assert_eq!(early.returned(Some(b"2")), Ok(()), "written before the read ended");
    }

    #[test]
    fn an_uncertain_write_may_take_effect_late_but_not_be_undone() {
        let (key, writer) = written_up_to(1);
        drop(writer.attempt());
        assert_eq!(key.begin_read().returned(Some(b"1")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2));
    }

    #[test]
    fn a_write_that_was_not_executed_is_repeated_with_its_number() {
        let (key, writer) = written_up_to(1);
        let writer = writer.attempt().not_executed();
        assert_eq!(key.acknowledged(), 1);
        let again = writer.attempt();
        assert_eq!(again.number(), 2);
        again.acknowledged();
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2));
    }
}
