//! The replicated keys and values.

mod bits;
mod content;
mod deadlines;
mod decimal;
mod entry;
mod expiry;
mod garbage;
mod hash;
mod hash_commands;
mod key_commands;
mod list;
mod map;
mod named_keys;
mod operation;
mod placement;
mod reader;
mod reclaim;
mod record;
mod reply;
mod settled;
mod state;
mod string_commands;
mod value;
mod version1;
mod view;
mod wall;
mod writer;

pub use bits::BitRange;
pub(crate) use content::Content;
pub(crate) use entry::{ENTRY_VERSION, MAX_ENTRY_KEYS};
pub use entry::{Entry, Watched};
pub use expiry::{DeadlineForm, ExpireCondition, ExpiryWrite, NewExpiry, When};
pub(crate) use hash::Hash;
pub use hash_commands::{FieldsRead, FieldsWrite, HashRead, HashWrite};
pub use key_commands::{KeyRead, KeyWrite, ObjectProperty, Scan, TypeFilter};
pub use operation::{ReadCommand, SetCommand, SetCondition, WriteCommand};
pub(crate) use placement::Placement;
pub use reply::{Outcome, Reply};
pub use state::Snapshot;
pub use string_commands::{StringRead, StringWrite};
pub use view::View;
pub(crate) use view::count;
pub use wall::WallClock;

use crate::latency::Timer;
use bytes::Bytes;
use deadlines::Deadlines;
use garbage::Garbage;
use leasehold_core::Index;
use leasehold_node::ports::{self, UnknownCommand};
use map::Seed;
pub(crate) use map::Weigh;
use writer::{Parts, Writer};

/// The state machine: committed entries are applied to it.
#[derive(Debug)]
pub struct Keyspace {
    view: View,
    seed: Seed,
    deadlines: Deadlines,
    garbage: Garbage,
    timer: Option<Timer>,
}

impl Keyspace {
    /// Creates the state machine of a node of this cluster, without keys. While the node leads, the time of entries is
    /// that of `wall`.
    pub fn new(cluster: &str, wall: WallClock) -> Keyspace {
        let seed = Seed::of_cluster(cluster);
        let (view, deadlines, garbage) = (View::new(seed, wall), Deadlines::default(), Garbage::default());
        Keyspace { view, seed, deadlines, garbage, timer: None }
    }

    /// Has a timer measure each entry that is applied.
    pub(crate) fn timed_by(self, timer: Timer) -> Keyspace {
        Keyspace { timer: Some(timer), ..self }
    }

    /// Returns a view for readers.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    fn publish(&self) {
        let Keyspace { view, deadlines, garbage, .. } = self;
        let dead_wait = view.with(|content| content.log_time > 0);
        let first = deadlines.first().map(|first| first.get());
        view.publish(deadlines.len(), first, dead_wait, garbage.used_bytes());
    }
}

impl ports::StateMachine for Keyspace {
    type Output = Outcome;
    type State = Snapshot;

    const NEWEST_VERSION: u32 = ENTRY_VERSION as u32;

    fn version(command: &Bytes) -> u32 {
        Entry::version(command)
    }

    fn preparer(&self) -> ports::Preparer {
        let wall = self.view.wall_clock().clone();
        Box::new(move |command| Entry::stamp(command, wall.now()))
    }

    fn apply(
        &mut self,
        index: Index,
        command: &Bytes,
        changes: &mut Vec<ports::Change>,
    ) -> Result<Outcome, UnknownCommand> {
        let version = Self::version(command);
        if !(1..=Self::NEWEST_VERSION).contains(&version) {
            let reason = format!("its version is {version}, and this release knows version {ENTRY_VERSION}");
            return Err(UnknownCommand { reason });
        }
        // Every release that knows the version decodes the same.
        let Some(entry) = Entry::decode(command) else { return Ok(Outcome::Replies(Vec::new())) };
        // The lock is held for the whole entry, so that readers see all of it or none.
        let Keyspace { view, deadlines, garbage, .. } = self;
        let began = self.timer.as_ref().and_then(Timer::begin);
        let outcome = view.change(|content, reclaimer| {
            let parts = Parts { content, deadlines, garbage, reclaimer };
            let mut writer = Writer::new(parts, index, &entry, version);
            let outcome = writer.run(entry);
            writer.finish(changes);
            outcome
        });
        self.publish();
        if let Some(timer) = &self.timer {
            timer.end(began);
        }
        Ok(outcome)
    }

    fn touches(command: &Bytes, touch: &mut dyn FnMut(&[u8])) -> Option<u64> {
        if !(1..=Self::NEWEST_VERSION).contains(&Self::version(command)) {
            return None;
        }
        // It changes nothing, not even the time.
        let Some(Entry { time, commands, .. }) = Entry::decode(command) else { return Some(0) };
        let mut writes = commands.iter().filter(|command| !matches!(command, WriteCommand::Read(_)));
        let named = writes.all(|command| {
            command.named_keys().all(|key| {
                touch(key);
                true
            })
        });
        named.then_some(time)
    }

    fn empty_state(&self) -> Snapshot {
        Snapshot::empty(self.seed)
    }

    fn state(&self) -> Snapshot {
        self.view.snapshot()
    }

    fn replace(&mut self, mut state: Snapshot) -> Snapshot {
        let former = self.view.change(|content, reclaimer| {
            let (deadlines, garbage) = state.swap(content);
            reclaimer.drop_later((
                std::mem::replace(&mut self.deadlines, deadlines),
                std::mem::replace(&mut self.garbage, garbage),
            ));
            state
        });
        self.publish();
        former
    }

    fn encode_output(outcome: &Outcome) -> Bytes {
        outcome.encode()
    }

    fn decode_output(bytes: &[u8]) -> Option<Outcome> {
        Outcome::decode(bytes)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod expiry_tests;
