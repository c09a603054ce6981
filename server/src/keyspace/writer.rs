//! Executing the commands of one log entry.
//!
//! This file has what the commands of all types share. A group of commands has a file of its own, as methods of
//! [`Writer`]. It changes the state only by the methods below, which keep the deadlines and report the changes of
//! records, and reads it by the methods of [`Content`], to which a dead key is not visible.

mod expiry;
mod hashes;
mod keys;
mod strings;
#[cfg(test)]
mod tests;

use super::content::Content;
use super::deadlines::Deadlines;
use super::entry::{Entry, MAX_ENTRY_KEYS};
use super::garbage::Garbage;
use super::hash::Hash;
use super::map::Map;
use super::operation::{ReadCommand, WriteCommand};
use super::reclaim::Reclaimer;
use super::record::{self, Kind};
use super::reply::{Outcome, Reply};
use super::value::{Data, Deadline, HashId, StoredHash, Value};
use crate::resp::MAX_COMMAND;
use bytes::Bytes;
use leasehold_core::Index;
use leasehold_node::ports::Change;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

/// The most bytes of replies to one entry: another node may have to send them, as it sends a command.
pub(super) const MAX_REPLY_BYTES: usize = MAX_COMMAND;

/// The part of [`MAX_REPLY_BYTES`] that a field takes which a command on a whole hash returns or copies, so that one entry
/// does not do this to more than [`MAX_ENTRY_KEYS`] fields.
pub(super) const FIELD_COST: usize = MAX_REPLY_BYTES / MAX_ENTRY_KEYS;

/// The most dead keys that one entry removes. Every node removes the same ones.
const MAX_REMOVED_KEYS: usize = 1024;

/// The state that entries change.
pub(super) struct Parts<'a> {
    pub(super) content: &'a mut Content,
    pub(super) deadlines: &'a mut Deadlines,
    pub(super) garbage: &'a mut Garbage,
    pub(super) reclaimer: &'a Reclaimer,
}

/// Executes commands in order and reports their changes.
pub(super) struct Writer<'a> {
    parts: Parts<'a>,
    /// The index of the entry; 0 before the first entry of version 2, when no record has one.
    index: Index,
    reply_bytes: usize,
    /// The version of the entry.
    version: u32,
    /// The keys whose string is stored again although no command contains it, with the room that was reserved for it.
    rewritten: BTreeMap<Bytes, usize>,
    /// The log time that the record of the time has; `None` if there is no such record yet.
    stored_time: Option<u64>,
    /// True if the records that the entry found were deleted.
    cleared: bool,
    /// The keys that changed since, as often as they did, with the kind of record that each had before.
    changed: Vec<(Bytes, Option<Kind>)>,
    /// The hashes whose fields changed, by their numbers, with their keys and fields.
    changed_fields: BTreeMap<HashId, (Bytes, Vec<Bytes>)>,
    /// The number of hashes that the entry made.
    hashes: u32,
}

/// The reason why a command was not executed.
pub(super) enum Failure {
    /// The reply. The command changed nothing.
    Reply(Reply),
    /// The reply has no room in the entry. The command changed nothing.
    NoRoom,
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Failure {
        Failure::Reply(reply)
    }
}

/// The reply to a command.
pub(super) type Executed = Result<Reply, Failure>;

impl<'a> Writer<'a> {
    /// Starts to execute an entry.
    pub(super) fn new(parts: Parts<'a>, index: Index, entry: &Entry, version: u32) -> Writer<'a> {
        let content = &mut *parts.content;
        // From the first entry of version 2 on, all nodes know the records with an index, whatever the later entries are.
        let is_first = version >= 2 && !content.has_versions;
        content.has_versions |= is_first;
        let index = if content.has_versions { index } else { 0 };
        let stored_time = (content.has_versions && !is_first).then_some(content.log_time);
        content.log_time = content.log_time.max(entry.time);
        Writer {
            parts,
            index,
            reply_bytes: 0,
            version,
            rewritten: BTreeMap::new(),
            stored_time,
            cleared: false,
            changed: Vec::new(),
            changed_fields: BTreeMap::new(),
            hashes: 0,
        }
    }

    /// Executes an entry.
    pub(super) fn run(&mut self, entry: Entry) -> Outcome {
        let Entry { watched, whole, commands, .. } = entry;
        if watched.iter().any(|(key, version)| self.content().version(key) != *version) {
            return Outcome::Conflict;
        }
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            match self.execute(command) {
                Ok(reply) | Err(Failure::Reply(reply)) => replies.push(reply),
                // The first command has the whole room, so it would have no more in an entry of its own.
                Err(Failure::NoRoom) if whole || replies.is_empty() => replies.push(Reply::too_long(MAX_REPLY_BYTES)),
                Err(Failure::NoRoom) => break,
            }
        }
        Outcome::Replies(replies)
    }

    /// Removes some dead keys, and appends the changes of the entry: one for each record, with the value that the entry
    /// left behind. So they take memory in proportion to the entry and to those values, however often a value changed.
    pub(super) fn finish(mut self, changes: &mut Vec<Change>) {
        let before = changes.len();
        self.remove_dead();
        // While dead keys are left, a later entry with an earlier time would bring them back.
        let log_time = if self.parts.deadlines.first_dead(self.now()).is_some() { self.now() } else { 0 };
        self.parts.content.log_time = log_time;
        if self.cleared {
            changes.push(Change::Clear);
        }
        if self.content().has_versions && (self.cleared || self.stored_time != Some(log_time)) {
            changes.push(Change::Put(record::encode_time(log_time)));
        }
        self.finish_fields(changes);
        self.finish_keys(changes);
        let made = changes.len() - before;
        self.parts.garbage.remove_some(self.parts.reclaimer, made, changes);
    }

    fn finish_keys(&mut self, changes: &mut Vec<Change>) {
        let mut changed = mem::take(&mut self.changed);
        // Stable, so that the first of a key has the kind of record that the entry found.
        changed.sort_by(|(one, _), (other, _)| one.cmp(other));
        changed.dedup_by(|later, first| later.0 == first.0);
        for (key, before) in changed {
            let value = self.parts.content.map.get(&key);
            if let Some(before) = before.filter(|before| value.is_none_or(|value| Kind::of(value) != *before)) {
                changes.push(before.delete(&key));
            }
            changes.extend(value.map(|value| Change::Put(record::encode(&key, value))));
        }
    }

    fn finish_fields(&mut self, changes: &mut Vec<Change>) {
        for (id, (key, mut fields)) in mem::take(&mut self.changed_fields) {
            fields.sort_unstable();
            fields.dedup();
            let hash = match self.parts.content.map.get(&key).map(|value| &value.data) {
                Some(Data::Hash(hash)) if hash.id == id => Some(hash),
                // The hash is gone, and its other fields are removed with the garbage.
                _ => None,
            };
            changes.extend(fields.into_iter().map(|field| match hash.and_then(|hash| hash.fields.get(&field)) {
                Some(value) => Change::Put(record::encode_field(id, &field, value.clone())),
                None => record::delete_field(id, &field),
            }));
        }
    }

    /// Executes one command.
    fn execute(&mut self, command: WriteCommand) -> Executed {
        match command {
            WriteCommand::Set(command) => self.set_string(command),
            WriteCommand::Delete(keys) => Ok(self.delete(keys)),
            WriteCommand::Add { key, amount } => self.add(key, amount),
            WriteCommand::Append { key, suffix } => self.append(key, suffix),
            WriteCommand::SetAll(pairs) => Ok(self.set_all(pairs)),
            WriteCommand::Clear => Ok(self.clear()),
            // No node puts this into an entry: it would hold up every node for as long as it takes.
            WriteCommand::Read(ReadCommand::Keys(_)) => {
                Ok(Reply::Error("ERR KEYS cannot be part of a log entry".to_owned()))
            }
            WriteCommand::Read(command) => {
                self.reserve_bytes(self.content().cost(&command))?;
                let now = self.now();
                let reply = self.content().read(&command, || now);
                self.reserve(&reply)?;
                Ok(reply)
            }
            WriteCommand::DeleteIf { key, condition } => self.delete_if(&key, &condition),
            WriteCommand::Expiry(command) => self.change_expiry(command),
            WriteCommand::String(command) => self.change_string_by(command),
            WriteCommand::Key(command) => self.change_key(command),
            WriteCommand::Hash(command) => self.change_hash(command),
        }
    }

    /// Returns the state with the changes so far.
    fn content(&self) -> &Content {
        self.parts.content
    }

    /// Returns the log time.
    fn now(&self) -> u64 {
        self.parts.content.log_time
    }

    /// Reserves room for a reply, before the command changes anything. Every node gets the same result.
    fn reserve(&mut self, reply: &Reply) -> Result<(), Failure> {
        self.reserve_bytes(reply.bytes())
    }

    /// Reserves room for bytes that a command returns, or makes without having contained them. So an entry takes time
    /// and memory in proportion to its length and this room.
    fn reserve_bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        let reply_bytes = self.reply_bytes.saturating_add(bytes);
        if reply_bytes > MAX_REPLY_BYTES {
            return Err(Failure::NoRoom);
        }
        self.reply_bytes = reply_bytes;
        Ok(())
    }

    /// Reserves room for a reply, and for the string of a key that will be `length` bytes long: the record of a key has
    /// all of it, however little of it a command changes. It is written once for all commands of an entry.
    fn reserve_rewrite(&mut self, reply: &Reply, key: &Bytes, length: usize) -> Result<(), Failure> {
        if self.version < 2 {
            // Earlier releases did not.
            return self.reserve(reply);
        }
        let reserved = self.rewritten.get(key).copied().unwrap_or(0);
        self.reserve_bytes(reply.bytes().saturating_add(length.saturating_sub(reserved)))?;
        self.rewritten.insert(key.clone(), length.max(reserved));
        Ok(())
    }

    /// Sets a key to a string without a deadline.
    fn set(&mut self, key: Bytes, value: Bytes) {
        self.put(key, Data::String(value), None);
    }

    /// Replaces the data and the deadline of a key. A hash whose number is that of another key takes its fields along.
    fn put(&mut self, key: Bytes, data: Data, deadline: Option<Deadline>) {
        if let Data::Hash(hash) = &data
            && let Some((owner, _)) = self.changed_fields.get_mut(&hash.id)
        {
            owner.clone_from(&key);
        }
        let kept = match &data {
            Data::Hash(hash) => Some(hash.id),
            Data::String(_) => None,
        };
        let former = self.parts.content.map.insert(key.clone(), Value { data, deadline, changed: self.index });
        if let Some(deadline) = deadline {
            self.parts.deadlines.insert(deadline, key.clone());
        }
        self.note(key, former.as_ref(), deadline);
        self.discard(former, kept);
    }

    /// Changes the string of a key in its place and keeps its deadline. Returns the length of the new one. The key must
    /// have a string. `change` may grow a string in place, if nothing else holds it.
    fn change_string(&mut self, key: Bytes, change: impl FnOnce(Bytes) -> Bytes) -> usize {
        let Some(kind) = self.parts.content.map.get(&key).map(Kind::of) else { return 0 };
        let index = self.index;
        let length = self.parts.content.map.change(&key, |value| {
            value.changed = index;
            match &mut value.data {
                Data::String(string) => {
                    *string = change(mem::take(string));
                    string.len()
                }
                Data::Hash(_) => 0,
            }
        });
        self.changed.push((key, Some(kind)));
        length.unwrap_or(0)
    }

    /// Sets the value of a field. Returns the value before. The key has a hash or does not exist.
    fn put_field(&mut self, key: &Bytes, field: Bytes, value: Bytes) -> Option<Bytes> {
        if self.content().value(key).is_none() {
            let id = self.new_hash_id();
            let fields = Hash::new(self.content().map.seed());
            self.put(key.clone(), Data::Hash(Arc::new(StoredHash { id, fields })), None);
        }
        self.change_field(key, field.clone(), |fields| fields.insert(field, value))
    }

    /// Sets a key to a copy of a hash, with records of its own.
    fn put_hash_copy(&mut self, key: Bytes, fields: &Hash, deadline: Option<Deadline>) {
        let id = self.new_hash_id();
        let names = fields.iter().map(|(name, _)| name.clone()).collect();
        self.put(key.clone(), Data::Hash(Arc::new(StoredHash { id, fields: fields.clone() })), deadline);
        self.changed_fields.insert(id, (key, names));
    }

    fn new_hash_id(&mut self) -> HashId {
        let id = HashId(self.index, self.hashes);
        self.hashes += 1;
        id
    }

    /// Removes a field, and the key with the last one. Returns the value of the field. The key has a hash or does not
    /// exist.
    fn remove_field(&mut self, key: &Bytes, field: &Bytes) -> Option<Bytes> {
        // A miss changes nothing.
        self.content().hash(key).ok().flatten()?.fields.get(field)?;
        let removed = self.change_field(key, field.clone(), |fields| fields.remove(field));
        if matches!(self.content().hash(key), Ok(Some(hash)) if hash.fields.is_empty()) {
            self.remove(key);
        }
        removed
    }

    fn change_field<T>(&mut self, key: &Bytes, field: Bytes, change: impl FnOnce(&mut Hash) -> Option<T>) -> Option<T> {
        let index = self.index;
        let mut id = None;
        let outcome = self.parts.content.map.change(key, |value| {
            let kind = Kind::of(value);
            value.changed = index;
            match &mut value.data {
                Data::Hash(hash) => {
                    id = Some((hash.id, kind));
                    change(&mut Arc::make_mut(hash).fields)
                }
                Data::String(_) => None,
            }
        });
        if let Some((id, kind)) = id {
            self.changed_fields.entry(id).or_insert_with(|| (key.clone(), Vec::new())).1.push(field);
            self.changed.push((key.clone(), Some(kind)));
        }
        outcome.flatten()
    }

    /// Sets the deadline of a key that exists.
    fn set_deadline(&mut self, key: &Bytes, deadline: Option<Deadline>) {
        let Some(former) = self.parts.content.map.get(key).cloned() else { return };
        let index = self.index;
        self.parts.content.map.change(key, |value| (value.deadline, value.changed) = (deadline, index));
        if let Some(deadline) = deadline {
            self.parts.deadlines.insert(deadline, key.clone());
        }
        self.note(key.clone(), Some(&former), deadline);
    }

    /// Removes a key, dead or not. Returns its value if it was not dead.
    fn remove(&mut self, key: &Bytes) -> Option<Value> {
        let former = self.take(key)?;
        let live = former.is_live(self.now()).then(|| former.clone());
        self.discard(Some(former), None);
        live
    }

    /// Removes a key for a caller that puts its value under another key, which takes over the records of a hash's fields.
    fn take(&mut self, key: &Bytes) -> Option<Value> {
        let former = self.parts.content.map.remove(key)?;
        self.note(key.clone(), Some(&former), None);
        Some(former)
    }

    /// Removes every key, and everything that was changed before.
    fn clear(&mut self) -> Reply {
        let Parts { content, deadlines, garbage, reclaimer } = &mut self.parts;
        if !content.map.is_empty() {
            let empty = Map::new(content.map.seed());
            reclaimer.drop_map(mem::replace(&mut content.map, empty));
            reclaimer.drop_later(mem::take(*deadlines));
            garbage.clear(reclaimer);
            self.cleared = true;
            self.changed.clear();
            self.changed_fields.clear();
        }
        Reply::Ok
    }

    /// Notes that a key has changed, and removes its former deadline unless it is the present one.
    fn note(&mut self, key: Bytes, former: Option<&Value>, deadline: Option<Deadline>) {
        let outdated = former.and_then(|value| value.deadline).filter(|former| Some(*former) != deadline);
        if let Some(outdated) = outdated {
            self.parts.deadlines.remove(outdated, &key);
        }
        self.changed.push((key, former.map(Kind::of)));
    }

    /// Leaves the fields of a former hash for later entries to remove, unless the hash with this number lives on.
    fn discard(&mut self, former: Option<Value>, kept: Option<HashId>) {
        if let Some(Value { data: Data::Hash(hash), .. }) = former
            && Some(hash.id) != kept
        {
            self.parts.garbage.add(hash);
        }
    }

    fn remove_dead(&mut self) {
        for _ in 0..MAX_REMOVED_KEYS {
            let Some(key) = self.parts.deadlines.first_dead(self.now()) else { break };
            self.remove(&key);
        }
    }
}
