//! Commands about strings.

use super::{Executed, Failure, Writer};
use crate::keyspace::expiry::NewExpiry;
use crate::keyspace::operation::{SetCommand, SetCondition};
use crate::keyspace::reply::Reply;
use crate::keyspace::value::Data;
use crate::keyspace::view::count;
use crate::resp::{MAX_BULK, parse_integer};
use bytes::{Bytes, BytesMut};

impl Writer<'_> {
    /// Executes `SET`.
    pub(super) fn set_string(&mut self, command: SetCommand) -> Executed {
        let SetCommand { key, value, condition, get_old, expiry } = command;
        let (holds, old) = if get_old {
            let old = self.content().string(&key)?.cloned();
            (self.holds(&key, &condition)?, old)
        } else {
            (self.holds(&key, &condition)?, None)
        };
        let reply = if get_old { Reply::Value(old) } else { Reply::Ok };
        self.reserve(&reply)?;
        if !holds {
            return Ok(if get_old { reply } else { Reply::Value(None) });
        }
        match expiry {
            NewExpiry::None => self.set(key, value),
            NewExpiry::Keep => {
                let deadline = self.content().value(&key).and_then(|value| value.deadline);
                self.put(key, Data::String(value), deadline);
            }
            NewExpiry::Dies(when) => match when.deadline(self.now()) {
                None => drop(self.remove(&key)),
                deadline => self.put(key, Data::String(value), deadline),
            },
        }
        Ok(reply)
    }

    /// Returns true if a condition on the string of a key holds.
    pub(super) fn holds(&self, key: &Bytes, condition: &SetCondition) -> Result<bool, Failure> {
        Ok(match condition {
            SetCondition::Always => true,
            SetCondition::Exists => self.content().value(key).is_some(),
            SetCondition::Missing => self.content().value(key).is_none(),
            SetCondition::Equals(value) => self.content().string(key)? == Some(value),
            SetCondition::Differs(value) => self.content().string(key)? != Some(value),
        })
    }

    /// Executes `MSET`.
    pub(super) fn set_all(&mut self, pairs: Vec<(Bytes, Bytes)>) -> Reply {
        for (key, value) in pairs {
            self.set(key, value);
        }
        Reply::Ok
    }

    /// Executes `INCRBY`.
    pub(super) fn add(&mut self, key: Bytes, amount: i64) -> Executed {
        let old = self.content().string(&key)?;
        let number = match old {
            None => 0,
            Some(value) => parse_integer(value)
                .ok_or_else(|| Reply::Error("ERR value is not an integer or out of range".to_owned()))?,
        };
        let exists = old.is_some();
        let sum = number
            .checked_add(amount)
            .ok_or_else(|| Reply::Error("ERR increment or decrement would overflow".to_owned()))?;
        let value = Bytes::from(sum.to_string());
        if exists {
            self.change_string(key, |_| value);
        } else {
            self.set(key, value);
        }
        Ok(Reply::Integer(sum))
    }

    /// Executes `APPEND`.
    pub(super) fn append(&mut self, key: Bytes, suffix: Bytes) -> Executed {
        let Some(old) = self.content().string(&key)? else {
            let length = count(suffix.len());
            self.set(key, suffix);
            return Ok(Reply::Integer(length));
        };
        if !old.is_empty() && old.len() + suffix.len() > MAX_BULK {
            return Ok(Reply::Error(format!("ERR string exceeds maximum allowed size ({MAX_BULK} bytes)")));
        }
        // Repeated appends in one entry grow the value in place, because nothing else holds it.
        let length = self.change_string(key, |old| {
            let mut value = old.try_into_mut().unwrap_or_else(|shared| {
                let mut copy = BytesMut::with_capacity(shared.len() + suffix.len());
                copy.extend_from_slice(&shared);
                copy
            });
            value.extend_from_slice(&suffix);
            value.freeze()
        });
        Ok(Reply::Integer(count(length)))
    }
}
