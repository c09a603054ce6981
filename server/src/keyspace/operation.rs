//! Reads, writes and their replies, and their encodings in the log and between nodes.

use crate::resp::{MAX_ARGUMENTS, MAX_BULK};
use bytes::Bytes;
use wincode::config::{Config, Configuration};
use wincode::{SchemaRead, SchemaWrite};

/// The first byte of a log entry: the version of its encoding and of its commands. A release that adds a command or
/// changes the effect of one gives the entries that contain it a higher version. It must not propose them before every
/// node of the cluster runs that release, because a node that does not know the version stops.
pub(crate) const ENTRY_VERSION: u8 = 1;

/// The most keys that the commands of one log entry may name, where a command counts at least once. A node applies an
/// entry in one piece, so this bounds how long that may take.
pub(crate) const MAX_ENTRY_KEYS: usize = 16_384;

/// The most memory that a length in an encoding may reserve before the elements are read: the arguments of the longest
/// request.
const MAX_PREALLOCATED_BYTES: usize = MAX_ARGUMENTS * size_of::<Bytes>();

/// The bytes that one element of a list is taken to need besides its content. It decides which commands are executed,
/// so it is the same on every platform.
const LIST_ELEMENT_BYTES: usize = 32;

/// Returns the encoding of writes and replies, with integers of variable length.
pub(crate) fn encoding() -> impl Config {
    Configuration::default().with_varint_encoding().with_preallocation_size_limit::<MAX_PREALLOCATED_BYTES>()
}

/// A command that only reads. The order of the variants is part of the log's format, because transactions contain
/// reads.
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
}

/// A command that may change what is stored. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum WriteCommand {
    /// `SET`.
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// `XX` is `true`, `NX` is `false`.
        only_if_exists: Option<bool>,
        /// `GET`: the reply is the old value.
        get_old: bool,
    },
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
    /// A read in a transaction. It sees the writes before it and none after it.
    Read(ReadCommand),
}

/// The reply to a read or a write.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Reply {
    /// Success without a value.
    Ok,
    /// A number.
    Integer(i64),
    /// A value, or none.
    Value(Option<Bytes>),
    /// Several values, each of which may be missing.
    Values(Vec<Option<Bytes>>),
    /// An error, its code first.
    Error(String),
}

impl ReadCommand {
    /// Returns the number of keys that it names.
    pub(crate) fn keys(&self) -> usize {
        match self {
            ReadCommand::Get(_) | ReadCommand::Strlen(_) => 1,
            ReadCommand::Exists(keys) | ReadCommand::Mget(keys) => keys.len(),
            ReadCommand::Keys(_) | ReadCommand::Size => 0,
        }
    }
}

impl WriteCommand {
    /// Encodes commands as a log entry.
    pub fn encode_batch(commands: &[WriteCommand]) -> Bytes {
        let mut entry = vec![ENTRY_VERSION];
        let config = encoding();
        wincode::config::serialize_into(&mut entry, commands, config)
            .expect("commands within the limits can be encoded");
        Bytes::from(entry)
    }

    /// Decodes a log entry. The commands do not share its memory. Returns `None` for bytes that are not an entry of
    /// this version.
    pub fn decode_batch(entry: &[u8]) -> Option<Vec<WriteCommand>> {
        let (version, commands) = entry.split_first()?;
        if *version != ENTRY_VERSION {
            return None;
        }
        wincode::config::deserialize_exact(commands, encoding()).ok()
    }

    /// Returns the number of keys that it names.
    pub(crate) fn keys(&self) -> usize {
        match self {
            WriteCommand::Set { .. } | WriteCommand::Add { .. } | WriteCommand::Append { .. } => 1,
            WriteCommand::Delete(keys) => keys.len(),
            WriteCommand::SetAll(pairs) => pairs.len(),
            WriteCommand::Clear => 0,
            WriteCommand::Read(command) => command.keys(),
        }
    }

    /// Returns whether it may make the state larger.
    pub(crate) fn needs_memory(&self) -> bool {
        match self {
            WriteCommand::Set { .. }
            | WriteCommand::Add { .. }
            | WriteCommand::Append { .. }
            | WriteCommand::SetAll(_) => true,
            WriteCommand::Delete(_) | WriteCommand::Clear | WriteCommand::Read(_) => false,
        }
    }

    /// Returns about how many bytes it takes in an entry, plus the most that its reply may take there.
    pub(crate) fn weight(&self) -> usize {
        // The old value may be as long as any value.
        let reply = if matches!(self, WriteCommand::Set { get_old: true, .. }) { MAX_BULK } else { 0 };
        self.bytes() + reply
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            WriteCommand::Set { key, value, .. } => key.len() + value.len(),
            WriteCommand::Add { key, .. } => key.len(),
            WriteCommand::Append { key, suffix } => key.len() + suffix.len(),
            WriteCommand::SetAll(pairs) => pairs.iter().map(|(key, value)| in_list(key) + in_list(value)).sum(),
            WriteCommand::Delete(keys) | WriteCommand::Read(ReadCommand::Exists(keys) | ReadCommand::Mget(keys)) => {
                keys.iter().map(in_list).sum()
            }
            WriteCommand::Read(ReadCommand::Get(key) | ReadCommand::Strlen(key) | ReadCommand::Keys(key)) => key.len(),
            WriteCommand::Clear | WriteCommand::Read(ReadCommand::Size) => 0,
        }
    }
}

impl Reply {
    /// Returns about how many bytes of values it carries, the same number on every platform.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Reply::Value(Some(value)) => value.len(),
            Reply::Values(values) => {
                values.iter().map(|value| value.as_ref().map_or(LIST_ELEMENT_BYTES, in_list)).sum()
            }
            Reply::Ok | Reply::Integer(_) | Reply::Value(None) | Reply::Error(_) => 0,
        }
    }
}

fn in_list(bytes: &Bytes) -> usize {
    bytes.len() + LIST_ELEMENT_BYTES
}
