//! The replicated keys and values.

mod operation;

pub(crate) use operation::encoding;
pub use operation::{ReadCommand, Reply, WriteCommand};

use crate::glob;
use crate::resp::{MAX_BULK, MAX_COMMAND, parse_integer};
use bytes::Bytes;
use leasehold_core::Index;
use leasehold_node::ports::{Change, Record, State, StateMachine};
use parking_lot::{RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::sync::Arc;

/// The most bytes that one entry answers with: another node may have to send them, as it sends a command.
const MOST_ANSWERED: usize = MAX_COMMAND;

type Map = HashMap<Bytes, Bytes>;

/// The state machine: what the driver applies committed entries to.
#[derive(Debug, Default)]
pub struct Keyspace {
    view: View,
}

/// The same keys and values, to read from any task.
#[derive(Clone, Debug, Default)]
pub struct View {
    map: Arc<RwLock<Map>>,
}

/// An entry of the log that is no batch of writes this version knows. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log entry is not a batch of writes that this version knows; run the same version on every node")]
pub struct UnknownEntry;

impl Keyspace {
    /// A view that readers keep.
    pub fn view(&self) -> View {
        self.view.clone()
    }
}

impl View {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.map.read().len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Executes reads on one state, and appends a reply for each.
    pub fn read(&self, commands: &[ReadCommand], replies: &mut Vec<Reply>) {
        let mut map = self.map.read();
        for command in commands {
            replies.push(match command {
                ReadCommand::Keys(pattern) => {
                    let keys: Vec<Bytes> = map.keys().cloned().collect();
                    // Matching is slow; writers need not wait for it. The state may move on meanwhile, as it may after any read.
                    RwLockReadGuard::unlocked(&mut map, || matching(pattern, keys))
                }
                other => read(&map, other),
            });
        }
    }
}

fn read(map: &Map, command: &ReadCommand) -> Reply {
    let value = |key: &Bytes| map.get(key).cloned();
    match command {
        ReadCommand::Get(key) => Reply::Value(value(key)),
        ReadCommand::Strlen(key) => Reply::Integer(map.get(key).map_or(0, |value| count(value.len()))),
        ReadCommand::Exists(keys) => Reply::Integer(count(keys.iter().filter(|key| map.contains_key(*key)).count())),
        ReadCommand::Mget(keys) => Reply::Values(keys.iter().map(value).collect()),
        ReadCommand::Size => Reply::Integer(count(map.len())),
        ReadCommand::Keys(pattern) => matching(pattern, map.keys().cloned()),
    }
}

fn matching(pattern: &[u8], keys: impl IntoIterator<Item = Bytes>) -> Reply {
    Reply::Values(keys.into_iter().filter(|key| glob::matches(pattern, key)).map(Some).collect())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl StateMachine for Keyspace {
    type Output = Result<Vec<Reply>, UnknownEntry>;
    type State = Map2;

    fn apply(&mut self, _: Index, entry: &Bytes, changes: &mut Vec<Change>) -> Self::Output {
        let commands = WriteCommand::decode_batch(entry).ok_or(UnknownEntry)?;
        // One lock for the whole entry: readers see all of it or nothing.
        let mut map = self.view.map.write();
        let mut writer = Writer { map: &mut map, changes, answered: 0 };
        Ok(commands.into_iter().map(|command| writer.execute(command)).collect())
    }

    fn state(&self) -> Map2 {
        Map2(self.view.map.read().clone())
    }

    fn replace(&mut self, state: Map2) -> Map2 {
        Map2(std::mem::replace(&mut *self.view.map.write(), state.0))
    }

    fn encode_output(output: &Self::Output) -> Bytes {
        wincode::config::serialize(output.as_ref().unwrap(), encoding()).expect("fits").into()
    }

    fn decode_output(bytes: &[u8]) -> Option<Self::Output> {
        wincode::config::deserialize_exact(bytes, encoding()).ok().map(Ok)
    }
}

/// temp
#[derive(Debug)]
pub struct Map2(Map);
impl State for Map2 {
    fn from_records(records: Vec<Record>) -> Map2 {
        Map2(records.into_iter().map(|record| (record.key, record.value)).collect())
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let mut r: Vec<_> =
            self.0.iter().map(|(key, value)| Record { key: key.clone(), value: value.clone() }).collect();
        r.sort_by(|a, b| a.key.cmp(&b.key));
        r.into_iter()
    }
}

struct Writer<'a> {
    map: &'a mut Map,
    changes: &'a mut Vec<Change>,
    /// How many bytes of values are answered so far.
    answered: usize,
}

impl Writer<'_> {
    fn execute(&mut self, command: WriteCommand) -> Reply {
        match command {
            WriteCommand::Set { key, value, only_if_exists, get_old } => {
                let old = if only_if_exists.is_some() || get_old { self.map.get(&key).cloned() } else { None };
                let answer = if get_old { Reply::Value(old.clone()) } else { Reply::Ok };
                if !self.answers(&answer) {
                    return unanswerable();
                }
                let written = only_if_exists.is_none_or(|exists| exists == old.is_some());
                if written {
                    self.put(key, value);
                }
                if written || get_old { answer } else { Reply::Value(None) }
            }
            WriteCommand::Delete(keys) => {
                let existed = keys.into_iter().filter(|key| {
                    let existed = self.map.remove(key).is_some();
                    if existed {
                        self.changes.push(Change::Delete(key.clone()));
                    }
                    existed
                });
                Reply::Integer(count(existed.count()))
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
                    self.map.clear();
                    self.changes.push(Change::Clear);
                }
                Reply::Ok
            }
            WriteCommand::Read(command) => {
                let reply = read(self.map, &command);
                if self.answers(&reply) { reply } else { unanswerable() }
            }
        }
    }

    /// Whether there is room for this reply, which is then taken. Every node comes to the same answer.
    fn answers(&mut self, reply: &Reply) -> bool {
        let answered = self.answered + reply.bytes();
        let fits = answered <= MOST_ANSWERED;
        if fits {
            self.answered = answered;
        }
        fits
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        self.changes.push(Change::Put(Record { key: key.clone(), value: value.clone() }));
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
        let value = match self.map.get(&key) {
            None => suffix,
            Some(old) if old.len() + suffix.len() > MAX_BULK => {
                return Reply::Error(format!("ERR string exceeds maximum allowed size ({MAX_BULK} bytes)"));
            }
            Some(old) => Bytes::from([&old[..], &suffix[..]].concat()),
        };
        let length = count(value.len());
        self.put(key, value);
        Reply::Integer(length)
    }
}

fn unanswerable() -> Reply {
    Reply::Error(format!(
        "ERR the replies of a transaction exceed {MOST_ANSWERED} bytes; this command was not executed; ask for less at once"
    ))
}

#[cfg(test)]
mod tests;
