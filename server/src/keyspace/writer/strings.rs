//! Commands about strings.

use super::{Executed, Failure, Writer};
use crate::keyspace::bits;
use crate::keyspace::decimal::Decimal;
use crate::keyspace::expiry::NewExpiry;
use crate::keyspace::operation::{SetCommand, SetCondition};
use crate::keyspace::reply::Reply;
use crate::keyspace::string_commands::StringWrite;
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

    /// Executes a command about a string that has no method of its own.
    pub(super) fn change_string_by(&mut self, command: StringWrite) -> Executed {
        match command {
            StringWrite::SetNew { key, value } => {
                let is_new = self.content().value(&key).is_none();
                if is_new {
                    self.set(key, value);
                }
                Ok(Reply::Integer(is_new.into()))
            }
            StringWrite::SetAllNew(pairs) => {
                let are_new = pairs.iter().all(|(key, _)| self.content().value(key).is_none());
                if are_new {
                    self.set_all(pairs);
                }
                Ok(Reply::Integer(are_new.into()))
            }
            StringWrite::GetAndDelete(key) => {
                let reply = Reply::Value(self.content().string(&key)?.cloned());
                self.reserve(&reply)?;
                self.remove(&key);
                Ok(reply)
            }
            StringWrite::SetPart { key, first, bytes } => self.set_part(key, first as usize, &bytes),
            StringWrite::SetBit { key, bit, value } => self.set_bit(key, bit, value),
            StringWrite::AddDecimal { key, amount } => self.add_decimal(key, &amount),
        }
    }

    fn set_part(&mut self, key: Bytes, first: usize, bytes: &Bytes) -> Executed {
        let length = self.content().string(&key)?.map_or(0, Bytes::len);
        if bytes.is_empty() {
            return Ok(Reply::Integer(count(length)));
        }
        let end = first.saturating_add(bytes.len());
        if end > MAX_BULK {
            return Ok(too_long_string());
        }
        let longest = end.max(length);
        self.reserve_rewrite(&Reply::Integer(count(longest)), &key, longest)?;
        let length = self.change_or_set(key, end, |value| value[first..end].copy_from_slice(bytes));
        Ok(Reply::Integer(count(length)))
    }

    fn set_bit(&mut self, key: Bytes, bit: u32, value: bool) -> Executed {
        let (byte, former) = ((bit / 8) as usize, self.content().string(&key)?);
        if byte >= MAX_BULK {
            return Ok(too_long_string());
        }
        let length = former.map_or(0, Bytes::len);
        let reply = Reply::Integer(former.map_or(0, |value| bits::get(value, bit)).into());
        self.reserve_rewrite(&reply, &key, length.max(byte + 1))?;
        self.change_or_set(key, byte + 1, |bytes| bits::set(&mut bytes[byte], bit, value));
        Ok(reply)
    }

    /// Changes the string of a key in its place, after zeros were appended up to `length`. The key has a string or does
    /// not exist. Returns the length of the new string.
    fn change_or_set(&mut self, key: Bytes, length: usize, change: impl FnOnce(&mut [u8])) -> usize {
        if self.content().value(&key).is_some() {
            return self.change_string(key, |old| {
                let mut value = unshared(old, length);
                change(&mut value);
                value.freeze()
            });
        }
        let mut value = BytesMut::zeroed(length);
        change(&mut value);
        self.set(key, value.freeze());
        length
    }

    fn add_decimal(&mut self, key: Bytes, amount: &Bytes) -> Executed {
        let parsed =
            |text| Decimal::parse(text).ok_or_else(|| Reply::Error("ERR value is not a valid float".to_owned()));
        let old = self.content().string(&key)?;
        let exists = old.is_some();
        let number = old.map_or(Ok(Decimal::ZERO), |old| parsed(old))?;
        let sum = number.add(parsed(amount)?).map_err(|error| Reply::Error(error.text().to_owned()))?;
        let sum = Bytes::from(sum);
        let value = sum.clone();
        if exists {
            self.change_string(key, |_| value);
        } else {
            self.set(key, value);
        }
        Ok(Reply::Value(Some(sum)))
    }

    /// Executes `APPEND`.
    pub(super) fn append(&mut self, key: Bytes, suffix: Bytes) -> Executed {
        let Some(old) = self.content().string(&key)? else {
            let length = count(suffix.len());
            self.set(key, suffix);
            return Ok(Reply::Integer(length));
        };
        if !old.is_empty() && old.len() + suffix.len() > MAX_BULK {
            return Ok(too_long_string());
        }
        let (length, sum) = (old.len(), count(old.len() + suffix.len()));
        self.reserve_rewrite(&Reply::Integer(sum), &key, length)?;
        // Repeated appends in one entry grow the value in place, because nothing else holds it.
        let length = self.change_string(key, |old| {
            let length = old.len();
            let mut value = unshared(old, length);
            value.extend_from_slice(&suffix);
            value.freeze()
        });
        Ok(Reply::Integer(count(length)))
    }
}

/// Returns a string to change, with zeros appended up to `length`. It is in its place, if nothing else holds it.
fn unshared(old: Bytes, length: usize) -> BytesMut {
    let length = length.max(old.len());
    let mut value = old.try_into_mut().unwrap_or_else(|shared| {
        let mut copy = BytesMut::with_capacity(length);
        copy.extend_from_slice(&shared);
        copy
    });
    value.resize(length, 0);
    value
}

fn too_long_string() -> Reply {
    Reply::Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)".to_owned())
}
