//! Reads and writes, and their encoding in the log.

use super::expiry::{DeadlineForm, ExpiryWrite, NewExpiry};
use super::hash_commands::{HashRead, HashWrite};
use super::key_commands::{KeyRead, KeyWrite};
use super::list::in_list;
use super::string_commands::{StringRead, StringWrite};
use crate::resp::{MAX_ARGUMENTS, MAX_BULK};
use bytes::Bytes;
use wincode::config::{Config, Configuration};
use wincode::{SchemaRead, SchemaWrite};

/// The most memory that a length in an encoding may reserve before the elements are read: the arguments of the longest
/// request.
const MAX_PREALLOCATED_BYTES: usize = MAX_ARGUMENTS * size_of::<Bytes>();

/// Returns the encoding of writes and replies, with integers of variable length.
pub(crate) fn encoding() -> impl Config {
    Configuration::default().with_varint_encoding().with_preallocation_size_limit::<MAX_PREALLOCATED_BYTES>()
}

/// A command that only reads. The order of the variants is part of the log's format, because entries contain reads.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum ReadCommand {
    /// `GET`.
    Get(Bytes),
    /// `STRLEN`.
    Strlen(Bytes),
    /// `EXISTS`.
    Exists(Vec<Bytes>),
    /// `MGET`.
    Mget(Vec<Bytes>),
    /// `KEYS`.
    Keys(Bytes),
    /// `DBSIZE`.
    Size,
    /// `TTL`, `PTTL`, `EXPIRETIME` and `PEXPIRETIME`.
    Deadline {
        /// The key.
        key: Bytes,
        /// The form of the reply.
        form: DeadlineForm,
    },
    /// A command that reads a string.
    String(StringRead),
    /// A command that reads keys of any type.
    Key(KeyRead),
    /// A command that reads a hash.
    Hash(HashRead),
}

/// A command that may change what is stored. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum WriteCommand {
    /// `SET`.
    Set(SetCommand),
    /// `DEL`.
    Delete(Vec<Bytes>),
    /// `INCR`, `INCRBY`, `DECR` and `DECRBY`.
    Add {
        /// The key.
        key: Bytes,
        /// The number to add to its value.
        amount: i64,
    },
    /// `APPEND`.
    Append {
        /// The key.
        key: Bytes,
        /// The bytes to append to its value.
        suffix: Bytes,
    },
    /// `MSET`.
    SetAll(Vec<(Bytes, Bytes)>),
    /// `FLUSHALL`.
    Clear,
    /// A read together with writes. It sees the writes before it and none after it.
    Read(ReadCommand),
    /// `DELEX` and `DELIFEQ`: deletes a key on a condition.
    DeleteIf {
        /// The key.
        key: Bytes,
        /// The condition.
        condition: SetCondition,
    },
    /// A command that changes when a key dies.
    Expiry(ExpiryWrite),
    /// A command that may change a string.
    String(StringWrite),
    /// A command that may change a key of any type.
    Key(KeyWrite),
    /// A command that may change a hash.
    Hash(HashWrite),
}

/// `SET` and its options.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct SetCommand {
    /// The key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The condition.
    pub condition: SetCondition,
    /// `GET`: the reply is the old value.
    pub get_old: bool,
    /// When the key dies.
    pub expiry: NewExpiry,
}

/// The condition of a write to a string.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum SetCondition {
    /// None.
    #[default]
    Always,
    /// `XX`: the key exists.
    Exists,
    /// `NX`: it does not.
    Missing,
    /// `IFEQ`: its value is this one.
    Equals(Bytes),
    /// `IFNE`: its value is another one, or it does not exist.
    Differs(Bytes),
}

impl SetCommand {
    /// Returns a `SET` without options.
    pub fn new(key: Bytes, value: Bytes) -> SetCommand {
        SetCommand { key, value, condition: SetCondition::Always, get_old: false, expiry: NewExpiry::None }
    }
}

impl SetCondition {
    fn bytes(&self) -> usize {
        match self {
            SetCondition::Always | SetCondition::Exists | SetCondition::Missing => 0,
            SetCondition::Equals(value) | SetCondition::Differs(value) => value.len(),
        }
    }
}

impl ReadCommand {
    /// Returns the number of keys that it names.
    pub(crate) fn keys(&self) -> usize {
        match self {
            ReadCommand::Get(_) | ReadCommand::Strlen(_) | ReadCommand::Deadline { .. } | ReadCommand::String(_) => 1,
            ReadCommand::Key(command) => command.keys(),
            ReadCommand::Hash(command) => command.keys(),
            ReadCommand::Exists(keys) | ReadCommand::Mget(keys) => keys.len(),
            ReadCommand::Keys(_) | ReadCommand::Size => 0,
        }
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            ReadCommand::Get(key)
            | ReadCommand::Strlen(key)
            | ReadCommand::Keys(key)
            | ReadCommand::Deadline { key, .. } => key.len(),
            ReadCommand::Exists(keys) | ReadCommand::Mget(keys) => keys.iter().map(in_list).sum(),
            ReadCommand::Size => 0,
            ReadCommand::String(command) => command.key().len(),
            ReadCommand::Key(command) => command.bytes(),
            ReadCommand::Hash(command) => command.bytes(),
        }
    }
}

impl WriteCommand {
    /// Returns the number of keys that it names.
    pub(crate) fn keys(&self) -> usize {
        match self {
            WriteCommand::Set(_)
            | WriteCommand::Add { .. }
            | WriteCommand::Append { .. }
            | WriteCommand::DeleteIf { .. }
            | WriteCommand::Expiry(_) => 1,
            WriteCommand::Delete(keys) => keys.len(),
            WriteCommand::SetAll(pairs) => pairs.len(),
            WriteCommand::String(command) => command.keys(),
            WriteCommand::Key(_) => 2,
            WriteCommand::Hash(command) => command.keys(),
            WriteCommand::Clear => 0,
            WriteCommand::Read(command) => command.keys(),
        }
    }

    /// Returns whether it may make the state larger.
    pub(crate) fn needs_memory(&self) -> bool {
        match self {
            WriteCommand::Set(_) | WriteCommand::Add { .. } | WriteCommand::Append { .. } | WriteCommand::SetAll(_) => {
                true
            }
            WriteCommand::Delete(_)
            | WriteCommand::Clear
            | WriteCommand::Read(_)
            | WriteCommand::DeleteIf { .. }
            | WriteCommand::Expiry(_) => false,
            WriteCommand::String(command) => command.needs_memory(),
            WriteCommand::Key(command) => matches!(command, KeyWrite::Copy { .. }),
            WriteCommand::Hash(command) => command.needs_memory(),
        }
    }

    /// Returns about how many bytes it takes in an entry, plus the most that its reply may take there.
    pub(crate) fn weight(&self) -> usize {
        // The old value may be as long as any value.
        let returns_value = matches!(
            self,
            WriteCommand::Set(SetCommand { get_old: true, .. })
                | WriteCommand::Expiry(ExpiryWrite::GetAndExpire { .. })
                | WriteCommand::String(StringWrite::GetAndDelete(_))
        );
        self.bytes() + if returns_value { MAX_BULK } else { 0 }
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            WriteCommand::Set(SetCommand { key, value, condition, .. }) => key.len() + value.len() + condition.bytes(),
            WriteCommand::Add { key, .. } => key.len(),
            WriteCommand::Append { key, suffix } => key.len() + suffix.len(),
            WriteCommand::SetAll(pairs) => pairs.iter().map(|(key, value)| in_list(key) + in_list(value)).sum(),
            WriteCommand::Delete(keys) => keys.iter().map(in_list).sum(),
            WriteCommand::Clear => 0,
            WriteCommand::Read(command) => command.bytes(),
            WriteCommand::DeleteIf { key, condition } => key.len() + condition.bytes(),
            WriteCommand::Expiry(command) => command.key().len(),
            WriteCommand::String(command) => command.bytes(),
            WriteCommand::Key(command) => command.bytes(),
            WriteCommand::Hash(command) => command.bytes(),
        }
    }
}
