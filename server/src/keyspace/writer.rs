//! Executing the commands of one log entry.

use super::map::Map;
use super::operation::{ReadCommand, Reply, WriteCommand};
use super::reclaim::Reclaimer;
use super::view::count;
use crate::resp::{MAX_BULK, MAX_COMMAND, parse_integer};
use bytes::{Bytes, BytesMut};
use leasehold_node::ports::{Change, Record};
use std::mem;

/// The most bytes of replies to one entry: another node may have to send them, as it sends a command.
pub(super) const MAX_REPLY_BYTES: usize = MAX_COMMAND;

/// Executes commands in order and reports their changes.
pub(super) struct Writer<'a> {
    map: &'a mut Map<Bytes>,
    reclaimer: &'a Reclaimer,
    reply_bytes: usize,
    /// True if the records that the entry found were deleted.
    cleared: bool,
    /// The keys that changed since, as often as they did.
    changed: Vec<Bytes>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(map: &'a mut Map<Bytes>, reclaimer: &'a Reclaimer) -> Writer<'a> {
        Writer { map, reclaimer, reply_bytes: 0, cleared: false, changed: Vec::new() }
    }

    /// Appends the changes of the entry: one for each key, with the value that the entry left behind. So they take
    /// memory in proportion to the entry and to those values, however often a value changed.
    pub(super) fn finish(mut self, changes: &mut Vec<Change>) {
        if self.cleared {
            changes.push(Change::Clear);
        }
        self.changed.sort_unstable();
        self.changed.dedup();
        for key in self.changed {
            match self.map.get(&key) {
                Some(value) => changes.push(Change::Put(Record { value: value.clone(), key })),
                None if self.cleared => {}
                None => changes.push(Change::Delete(key)),
            }
        }
    }

    pub(super) fn execute(&mut self, command: WriteCommand) -> Reply {
        match command {
            WriteCommand::Set { key, value, only_if_exists, get_old } => {
                let old = if only_if_exists.is_some() || get_old { self.map.get(&key).cloned() } else { None };
                let reply = if get_old { Reply::Value(old.clone()) } else { Reply::Ok };
                if !self.reserve(&reply) {
                    return too_long();
                }
                let written = only_if_exists.is_none_or(|exists| exists == old.is_some());
                if written {
                    self.put(key, value);
                }
                if written || get_old { reply } else { Reply::Value(None) }
            }
            WriteCommand::Delete(keys) => {
                let mut deleted = 0;
                for key in keys {
                    if self.map.remove(&key).is_some() {
                        deleted += 1;
                        self.changed.push(key);
                    }
                }
                Reply::Integer(deleted)
            }
            WriteCommand::Add { key, amount } => self.add(key, amount),
            WriteCommand::Append { key, suffix } => self.append(key, suffix),
            WriteCommand::SetAll(pairs) => {
                for (key, value) in pairs {
                    self.put(key, value);
                }
                Reply::Ok
            }
            WriteCommand::Clear => {
                if !self.map.is_empty() {
                    let empty = Map::new(self.map.seed());
                    self.reclaimer.drop_map(mem::replace(self.map, empty));
                    self.cleared = true;
                    self.changed.clear();
                }
                Reply::Ok
            }
            // No node puts this into an entry: it would hold up every node for as long as it takes.
            WriteCommand::Read(ReadCommand::Keys(_)) => {
                Reply::Error("ERR KEYS cannot be part of a log entry".to_owned())
            }
            WriteCommand::Read(command) => {
                let reply = self.map.read(&command);
                if self.reserve(&reply) { reply } else { too_long() }
            }
        }
    }

    /// Reserves room for a reply. Returns whether there is enough; every node gets the same result.
    fn reserve(&mut self, reply: &Reply) -> bool {
        let reply_bytes = self.reply_bytes + reply.bytes();
        let fits = reply_bytes <= MAX_REPLY_BYTES;
        if fits {
            self.reply_bytes = reply_bytes;
        }
        fits
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        self.changed.push(key.clone());
        self.map.insert(key, value);
    }

    fn add(&mut self, key: Bytes, amount: i64) -> Reply {
        let number = match self.map.get(&key) {
            None => 0,
            Some(value) => match parse_integer(value) {
                Some(number) => number,
                None => return Reply::Error("ERR value is not an integer or out of range".to_owned()),
            },
        };
        let Some(sum) = number.checked_add(amount) else {
            return Reply::Error("ERR increment or decrement would overflow".to_owned());
        };
        self.put(key, Bytes::from(sum.to_string()));
        Reply::Integer(sum)
    }

    fn append(&mut self, key: Bytes, suffix: Bytes) -> Reply {
        let old_length = self.map.get(&key).map_or(0, Bytes::len);
        if old_length > 0 && old_length + suffix.len() > MAX_BULK {
            return Reply::Error(format!("ERR string exceeds maximum allowed size ({MAX_BULK} bytes)"));
        }
        // Repeated appends in one entry grow the value in place, because nothing else holds it.
        let value = match self.map.remove(&key).map(Bytes::try_into_mut) {
            None => suffix,
            Some(old) => {
                let mut value = old.unwrap_or_else(|shared| {
                    let mut copy = BytesMut::with_capacity(shared.len() + suffix.len());
                    copy.extend_from_slice(&shared);
                    copy
                });
                value.extend_from_slice(&suffix);
                value.freeze()
            }
        };
        let length = count(value.len());
        self.put(key, value);
        Reply::Integer(length)
    }
}

pub(super) fn too_long() -> Reply {
    Reply::Error(format!(
        "ERR the replies of a transaction exceed {MAX_REPLY_BYTES} bytes; this command was not executed; request less \
         at once"
    ))
}
