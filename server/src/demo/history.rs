//! Whether what clients see of a key could come from one copy of it, checked while they look.
//!
//! Each key has one writer, which writes 1, 2, 3, … and never starts a write before it knows the fate of the one before;
//! if it never learns that fate, it gives the key up. Of such a key every history is linearizable in which each read
//!
//! * returns no less than the newest write acknowledged before the read began,
//! * returns no more than the newest write attempted before the read ended, and
//! * returns no less than any other read that ended before it began.
//!
//! So three numbers a key are enough, and the check is exact at the cost of a few atomic operations. A read is taken to
//! begin before its request leaves and to end after its answer came: a violation found is one whatever the timing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One key, and what its writer did and its readers saw.
#[derive(Debug)]
pub struct Key {
    name: String,
    attempted: AtomicU64,
    acknowledged: AtomicU64,
    /// The newest value that a read returned.
    seen: AtomicU64,
}

/// A read that no linearizable store gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It returned less than was acknowledged, or seen by another, before it began.
    #[error("stale read of {key}: returned {found}, but {at_least} was acknowledged or seen before the read began")]
    Stale {
        /// The key.
        key: String,
        /// What was returned; 0 for no value.
        found: u64,
        /// The least that might have been returned.
        at_least: u64,
    },
    /// It returned what nobody had written yet.
    #[error(
        "impossible read of {key}: returned {found:?}, but nothing beyond {at_most} was written before the read ended"
    )]
    NeverWritten {
        /// The key.
        key: String,
        /// What was returned, as text.
        found: String,
        /// The most that might have been returned.
        at_most: u64,
    },
}

impl Key {
    /// A key that no one has written, and its only writer.
    pub fn new(name: String) -> (Arc<Key>, Writer) {
        let zero = || AtomicU64::new(0);
        let key = Arc::new(Key { name, attempted: zero(), acknowledged: zero(), seen: zero() });
        (key.clone(), Writer(key))
    }

    /// Its name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest acknowledged write; 0 if there is none.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Begins a read. Call it before the request leaves.
    pub fn begin_read(&self) -> PendingRead<'_> {
        PendingRead { key: self, at_least: self.acknowledged().max(self.seen.load(Ordering::SeqCst)) }
    }
}

/// A read that has begun. One that is never answered is simply dropped.
#[derive(Debug)]
pub struct PendingRead<'a> {
    key: &'a Key,
    at_least: u64,
}

impl PendingRead<'_> {
    /// Ends the read with what it returned. Call it after the answer came.
    ///
    /// # Errors
    /// [`Violation`] if no linearizable store would have returned that.
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

/// The one who may write a key, while no write of its is on the way.
#[derive(Debug)]
pub struct Writer(Arc<Key>);

impl Writer {
    /// The key.
    pub fn key(&self) -> &Arc<Key> {
        &self.0
    }

    /// Begins the next write. Call it before the request leaves.
    pub fn attempt(self) -> Attempt {
        let number = self.0.acknowledged() + 1;
        self.0.attempted.store(number, Ordering::SeqCst);
        Attempt { key: self.0, number }
    }
}

/// A write on its way. Drop it if its fate stays unknown: nobody may write the key again, for it may yet take effect.
#[derive(Debug)]
pub struct Attempt {
    key: Arc<Key>,
    number: u64,
}

impl Attempt {
    /// The key.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// The value to write.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The write was acknowledged.
    pub fn acknowledged(self) -> Writer {
        self.key.acknowledged.store(self.number, Ordering::SeqCst);
        Writer(self.key)
    }

    /// The write surely was not executed, nor will be.
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
        assert_eq!(key.begin_read().returned(None), stale(0, 2), "a value that vanished");
    }

    #[test]
    fn a_read_beside_a_write_may_return_either_but_not_go_back() {
        let (key, writer) = written_up_to(1);
        let attempt = writer.attempt();
        assert_eq!(key.begin_read().returned(Some(b"1")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2), "another has seen the write already");
        attempt.acknowledged();
    }

    #[test]
    fn reads_that_overlap_may_return_in_any_order() {
        let (key, writer) = written_up_to(1);
        let slow = key.begin_read();
        writer.attempt().acknowledged();
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(slow.returned(Some(b"1")), Ok(()), "it began before the write did");
    }

    #[test]
    fn what_nobody_wrote_cannot_be_read() {
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
    fn a_write_of_unknown_fate_may_appear_late_but_not_go_again() {
        let (key, writer) = written_up_to(1);
        drop(writer.attempt());
        assert_eq!(key.begin_read().returned(Some(b"1")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"2")), Ok(()));
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2));
    }

    #[test]
    fn a_write_that_was_not_executed_is_written_again_under_its_number() {
        let (key, writer) = written_up_to(1);
        let writer = writer.attempt().not_executed();
        assert_eq!(key.acknowledged(), 1);
        let again = writer.attempt();
        assert_eq!(again.number(), 2);
        again.acknowledged();
        assert_eq!(key.begin_read().returned(Some(b"1")), stale(1, 2));
    }
}
