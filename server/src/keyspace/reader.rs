//! Executing reads on one state.

mod draw;
mod hashes;
mod keys;
mod strings;

use super::content::Content;
use super::operation::ReadCommand;
use super::reply::Reply;
use super::view::count;
use crate::glob::Pattern;

impl Content {
    /// Executes a read. `now` returns the time in milliseconds since the epoch: the log time for a read in an entry,
    /// otherwise this node's clock. `KEYS` and the reads of many keys take their time.
    pub(crate) fn read(&self, command: &ReadCommand, now: impl Fn() -> u64) -> Reply {
        self.try_read(command, now).unwrap_or_else(|error| error)
    }

    /// As [`read`](Self::read), with the reply as an error if a key has the wrong type.
    fn try_read(&self, command: &ReadCommand, now: impl Fn() -> u64) -> Result<Reply, Reply> {
        Ok(match command {
            ReadCommand::Get(key) => Reply::Value(self.string(key)?.cloned()),
            ReadCommand::Strlen(key) => Reply::Integer(self.string(key)?.map_or(0, |value| count(value.len()))),
            ReadCommand::Exists(keys) => Reply::Integer(self.count_existing(keys)),
            ReadCommand::Mget(keys) => Reply::Values(keys.iter().map(|key| self.string_if_any(key).cloned()).collect()),
            ReadCommand::Size => Reply::Integer(count(self.len())),
            ReadCommand::Keys(pattern) => {
                let pattern = Pattern::new(pattern);
                Reply::Values(self.matching(&pattern).cloned().map(Some).collect())
            }
            ReadCommand::String(command) => self.read_string(command)?,
            ReadCommand::Key(command) => self.read_keys(command),
            ReadCommand::Hash(command) => self.read_hash(command)?,
            ReadCommand::Deadline { key, form } => Reply::Integer(match self.value(key) {
                None => -2,
                Some(value) => value.deadline.map_or(-1, |deadline| form.of(deadline, now().max(self.log_time))),
            }),
        })
    }

    /// Returns the part of an entry's room that a read takes besides its reply.
    pub(crate) fn cost(&self, command: &ReadCommand) -> usize {
        match command {
            ReadCommand::String(command) => self.cost_of_string(command),
            ReadCommand::Hash(command) => self.cost_of_hash(command),
            ReadCommand::Key(command) => command.cost(),
            _ => 0,
        }
    }
}
