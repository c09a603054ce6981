//! The arguments of the commands that set the deadline of a key.

use super::value::Deadline;
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// A point in time, as a command names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum When {
    /// In so many milliseconds, counted from the log time at which the command is executed.
    In(i64),
    /// At so many milliseconds since the epoch.
    At(i64),
}

/// What a command does to the deadline of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum NewExpiry {
    /// The key lives until it is deleted.
    #[default]
    None,
    /// The key keeps the deadline that it has.
    Keep,
    /// The key dies then.
    Dies(When),
}

/// The condition of `EXPIRE` and its relatives. A key without a deadline counts as one that dies last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum ExpireCondition {
    /// None.
    Always,
    /// `NX`: the key has no deadline.
    Missing,
    /// `XX`: the key has one.
    Exists,
    /// `GT`: the new one is later.
    Later,
    /// `LT`: the new one is earlier.
    Earlier,
    /// `XX LT`.
    ExistsAndEarlier,
}

/// A command that changes when a key dies.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum ExpiryWrite {
    /// `EXPIRE`, `PEXPIRE`, `EXPIREAT` and `PEXPIREAT`.
    Expire {
        /// The key.
        key: Bytes,
        /// The time at which it dies.
        when: When,
        /// The condition.
        condition: ExpireCondition,
    },
    /// `PERSIST`.
    Persist(Bytes),
    /// `GETEX` with an option.
    GetAndExpire {
        /// The key.
        key: Bytes,
        /// What happens to its deadline.
        expiry: NewExpiry,
    },
}

/// The form in which a deadline is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum DeadlineForm {
    /// `TTL`: the seconds that remain.
    SecondsLeft,
    /// `PTTL`: the milliseconds that remain.
    MillisecondsLeft,
    /// `EXPIRETIME`: the seconds since the epoch.
    Seconds,
    /// `PEXPIRETIME`: the milliseconds since the epoch.
    Milliseconds,
}

impl NewExpiry {
    /// Returns true if the key has no deadline afterwards.
    pub(super) fn is_none(self) -> bool {
        self == NewExpiry::None
    }
}

impl When {
    /// Returns the time in milliseconds since the epoch, if the log time is `now`; `None` if it is not after `now`.
    pub(super) fn deadline(self, now: u64) -> Option<Deadline> {
        let at = match self {
            When::In(milliseconds) => now.saturating_add_signed(milliseconds),
            When::At(milliseconds) => u64::try_from(milliseconds).unwrap_or(0),
        };
        Deadline::new(at).filter(|deadline| deadline.get() > now)
    }
}

impl ExpiryWrite {
    /// Returns the key.
    pub(super) fn key(&self) -> &Bytes {
        match self {
            ExpiryWrite::Expire { key, .. } | ExpiryWrite::Persist(key) | ExpiryWrite::GetAndExpire { key, .. } => key,
        }
    }
}

impl DeadlineForm {
    /// Returns the reply for a deadline at the time `now`.
    pub(super) fn of(self, deadline: Deadline, now: u64) -> i64 {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let left = number(deadline.get().saturating_sub(now));
        match self {
            DeadlineForm::SecondsLeft => left.saturating_add(500) / 1000,
            DeadlineForm::MillisecondsLeft => left,
            DeadlineForm::Seconds => number(deadline.get()).saturating_add(500) / 1000,
            DeadlineForm::Milliseconds => number(deadline.get()),
        }
    }
}
