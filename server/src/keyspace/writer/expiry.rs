//! Commands about the time at which keys die.

use super::{Executed, Writer};
use crate::keyspace::expiry::{ExpireCondition, ExpiryWrite, NewExpiry, When};
use crate::keyspace::reply::Reply;
use crate::keyspace::value::{Deadline, Value};
use bytes::Bytes;

impl Writer<'_> {
    /// Executes a command that changes when a key dies.
    pub(super) fn change_expiry(&mut self, command: ExpiryWrite) -> Executed {
        match command {
            ExpiryWrite::Expire { key, when, condition } => {
                let Some(value) = self.content().value(&key) else { return Ok(Reply::Integer(0)) };
                let (present, deadline) = (value.deadline, when.deadline(self.now()));
                let permitted = permits(condition, present, deadline);
                let reply = Reply::Integer(i64::from(permitted));
                if permitted {
                    let length = if deadline.is_some() { value.stored_bytes() } else { 0 };
                    self.reserve_rewrite(&reply, &key, length)?;
                    self.set_or_remove(&key, deadline);
                }
                Ok(reply)
            }
            ExpiryWrite::Persist(key) => {
                let found = self.content().value(&key).filter(|value| value.deadline.is_some());
                let Some(length) = found.map(Value::stored_bytes) else { return Ok(Reply::Integer(0)) };
                let reply = Reply::Integer(1);
                self.reserve_rewrite(&reply, &key, length)?;
                self.set_deadline(&key, None);
                Ok(reply)
            }
            ExpiryWrite::GetAndExpire { key, expiry } => {
                let Some(value) = self.content().string(&key)?.cloned() else { return Ok(Reply::Value(None)) };
                let length = if expiry == NewExpiry::Keep { 0 } else { value.len() };
                let reply = Reply::Value(Some(value));
                self.reserve_rewrite(&reply, &key, length)?;
                self.get_and_expire(&key, expiry);
                Ok(reply)
            }
        }
    }

    fn get_and_expire(&mut self, key: &Bytes, expiry: NewExpiry) {
        match expiry {
            NewExpiry::Keep => {}
            NewExpiry::None if self.content().value(key).is_none_or(|value| value.deadline.is_none()) => {}
            NewExpiry::None => self.set_deadline(key, None),
            NewExpiry::Dies(when) => self.expire(key, when),
        }
    }

    fn expire(&mut self, key: &Bytes, when: When) {
        let deadline = when.deadline(self.now());
        self.set_or_remove(key, deadline);
    }

    /// Sets the deadline of a key, or removes it if the deadline has passed.
    fn set_or_remove(&mut self, key: &Bytes, deadline: Option<Deadline>) {
        match deadline {
            None => drop(self.remove(key)),
            deadline => self.set_deadline(key, deadline),
        }
    }
}

/// Returns whether a condition permits a new deadline, which is `None` if it has passed.
fn permits(condition: ExpireCondition, present: Option<Deadline>, new: Option<Deadline>) -> bool {
    // The present deadline is after the log time.
    let is_later = present.is_some_and(|present| new.is_some_and(|new| new > present));
    let is_earlier = present.is_none_or(|present| new.is_none_or(|new| new < present));
    match condition {
        ExpireCondition::Always => true,
        ExpireCondition::Missing => present.is_none(),
        ExpireCondition::Exists => present.is_some(),
        ExpireCondition::Later => is_later,
        ExpireCondition::Earlier => is_earlier,
        ExpireCondition::ExistsAndEarlier => present.is_some() && is_earlier,
    }
}
