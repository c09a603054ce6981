//! The replicated keys and values.

mod map;
mod operation;
mod reclaim;
mod view;
mod writer;

pub(crate) use map::Map;
pub(crate) use operation::{MAX_ENTRY_KEYS, encoding};
pub use operation::{ReadCommand, Reply, WriteCommand};
pub(crate) use view::count;
pub use view::{Snapshot, View};

use bytes::Bytes;
use leasehold_core::Index;
use leasehold_node::ports;
use writer::Writer;

/// The state machine: committed entries are applied to it.
#[derive(Debug, Default)]
pub struct Keyspace {
    view: View,
}

/// A log entry that is not a batch of writes of this version. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log entry is not a batch of writes that this version knows; run the same version on every node")]
pub struct UnknownEntry;

type Output = Result<Vec<Reply>, UnknownEntry>;

impl Keyspace {
    /// Returns a view for readers.
    pub fn view(&self) -> View {
        self.view.clone()
    }
}

impl ports::StateMachine for Keyspace {
    type Output = Output;
    type State = Snapshot;

    fn apply(&mut self, _: Index, command: &Bytes, changes: &mut Vec<ports::Change>) -> Output {
        let commands = WriteCommand::decode_batch(command).ok_or(UnknownEntry)?;
        // The lock is held for the whole entry, so that readers see all of it or none.
        self.view.change(|map, reclaimer| {
            let mut writer = Writer::new(map, reclaimer);
            let replies = commands.into_iter().map(|command| writer.execute(command)).collect();
            writer.finish(changes);
            Ok(replies)
        })
    }

    fn state(&self) -> Snapshot {
        self.view.snapshot()
    }

    fn replace(&mut self, mut state: Snapshot) -> Snapshot {
        self.view.change(|map, _| state.swap(map));
        state
    }

    fn encode_output(output: &Output) -> Bytes {
        // An entry has at least one command, so that no replies can stand for an unknown entry.
        let replies = output.as_deref().unwrap_or_default();
        wincode::config::serialize(replies, encoding()).expect("replies within the limits can be encoded").into()
    }

    fn decode_output(bytes: &[u8]) -> Option<Output> {
        let replies: Vec<Reply> = wincode::config::deserialize_exact(bytes, encoding()).ok()?;
        Some(if replies.is_empty() { Err(UnknownEntry) } else { Ok(replies) })
    }
}

impl ports::State for Snapshot {
    fn from_records(records: Vec<ports::Record>) -> Snapshot {
        let mut map = Map::default();
        for ports::Record { key, value } in records {
            map.insert(key, value);
        }
        Snapshot::from_map(map)
    }

    fn records(&self) -> impl Iterator<Item = ports::Record> + '_ {
        let mut records: Vec<_> = self.map().iter().collect();
        records.sort_unstable_by_key(|(key, _)| *key);
        records.into_iter().map(|(key, value)| ports::Record { key: key.clone(), value: value.clone() })
    }
}

#[cfg(test)]
mod tests;
