//! The replicated keys and values.

#[allow(dead_code, reason = "the commands on hashes will use it")]
mod hash;
#[allow(dead_code, reason = "SCAN and the hashes will use the rest")]
mod map;
mod operation;
mod reclaim;
mod view;
mod writer;

pub(crate) use map::{Map, Seed};
pub(crate) use operation::{ENTRY_VERSION, MAX_ENTRY_KEYS, encoding};
pub use operation::{ReadCommand, Reply, WriteCommand};
pub(crate) use view::count;
pub use view::{Snapshot, View};

use bytes::Bytes;
use leasehold_core::Index;
use leasehold_node::ports::{self, UnknownCommand};
use writer::Writer;

/// The state machine: committed entries are applied to it.
#[derive(Debug)]
pub struct Keyspace {
    view: View,
}

impl Keyspace {
    /// Returns the empty keyspace of the cluster with this name. All nodes of a cluster must give the same: the order of
    /// the keys in a scan depends on it.
    pub fn new(cluster: &str) -> Keyspace {
        Keyspace { view: View::new(Seed::of_cluster(cluster)) }
    }

    /// Returns a view for readers.
    pub fn view(&self) -> View {
        self.view.clone()
    }
}

impl ports::StateMachine for Keyspace {
    /// The replies to the commands of an entry; none if the entry is malformed.
    type Output = Vec<Reply>;
    type State = Snapshot;

    const NEWEST_VERSION: u32 = ENTRY_VERSION as u32;

    fn version(command: &Bytes) -> u32 {
        command.first().copied().unwrap_or_default().into()
    }

    fn apply(
        &mut self,
        _: Index,
        command: &Bytes,
        changes: &mut Vec<ports::Change>,
    ) -> Result<Vec<Reply>, UnknownCommand> {
        let version = Self::version(command);
        if !(1..=Self::NEWEST_VERSION).contains(&version) {
            let reason = format!("its version is {version}, and this release knows version {ENTRY_VERSION}");
            return Err(UnknownCommand { reason });
        }
        // Every release that knows the version decodes the same.
        let Some(commands) = WriteCommand::decode_batch(command) else { return Ok(Vec::new()) };
        // The lock is held for the whole entry, so that readers see all of it or none.
        self.view.change(|map, reclaimer| {
            let mut writer = Writer::new(map, reclaimer);
            let replies = commands.into_iter().map(|command| writer.execute(command)).collect();
            writer.finish(changes);
            Ok(replies)
        })
    }

    fn empty_state(&self) -> Snapshot {
        self.view.empty_snapshot()
    }

    fn state(&self) -> Snapshot {
        self.view.snapshot()
    }

    fn replace(&mut self, mut state: Snapshot) -> Snapshot {
        self.view.change(|map, _| state.swap(map));
        state
    }

    fn encode_output(replies: &Vec<Reply>) -> Bytes {
        wincode::config::serialize(replies, encoding()).expect("replies within the limits can be encoded").into()
    }

    fn decode_output(bytes: &[u8]) -> Option<Vec<Reply>> {
        wincode::config::deserialize_exact(bytes, encoding()).ok()
    }
}

impl ports::State for Snapshot {
    fn insert(&mut self, record: ports::Record) {
        Snapshot::insert(self, record.key, record.value);
    }

    fn records(&self, cursor: u64) -> impl Iterator<Item = (ports::Record, u64)> + '_ {
        let record = |(key, value, after): (&Bytes, &Bytes, u64)| {
            (ports::Record { key: key.clone(), value: value.clone() }, after)
        };
        self.map().iter_from(cursor).map(record)
    }
}

#[cfg(test)]
mod tests;
