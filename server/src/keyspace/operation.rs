//! Reads, writes and their replies, and the forms in which writes reach the log and replies other nodes.

use crate::resp::{MAX_ARGUMENTS, MAX_BULK};
use bytes::Bytes;
use wincode::config::{Config, Configuration};
use wincode::{SchemaRead, SchemaWrite};

/// The first byte of a log entry: the version of what follows.
const ENTRY_VERSION: u8 = 1;

/// The most memory that one length in an encoding may ask for before what it counts is seen: the longest request's arguments.
const LARGEST_SEQUENCE: usize = MAX_ARGUMENTS * size_of::<Bytes>();

/// How writes and replies are encoded: integers as short as they are.
pub(crate) fn encoding() -> impl Config {
    Configuration::default().with_varint_encoding().with_preallocation_size_limit::<LARGEST_SEQUENCE>()
}

/// A command that only reads. The order of the variants is the log's format: transactions put reads there.
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

/// A command that may change what is stored. The order of the variants is the log's format.
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
        /// `GET`: answer the old value.
        get_old: bool,
    },
    /// `DEL`.
    Delete(Vec<Bytes>),
    /// `INCR`, `INCRBY`, `DECR` and `DECRBY`.
    Add {
        /// The key.
        key: Bytes,
        /// What to add to its value.
        amount: i64,
    },
    /// `APPEND`.
    Append {
        /// The key.
        key: Bytes,
        /// What to put after its value.
        suffix: Bytes,
    },
    /// `MSET`.
    SetAll(Vec<(Bytes, Bytes)>),
    /// `FLUSHALL`.
    Clear,
    /// A read in a transaction: it sees the writes before it and none after.
    Read(ReadCommand),
}

/// What a read or a write answers.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Reply {
    /// It is done.
    Ok,
    /// A number.
    Integer(i64),
    /// A value, or none.
    Value(Option<Bytes>),
    /// Several of these.
    Values(Vec<Option<Bytes>>),
    /// An error, its code first.
    Error(String),
}

impl WriteCommand {
    /// A log entry that holds these commands.
    pub fn encode_batch(commands: &[WriteCommand]) -> Bytes {
        let mut entry = vec![ENTRY_VERSION];
        let config = encoding();
        wincode::config::serialize_into(&mut entry, commands, config)
            .expect("commands within the limits can be encoded");
        Bytes::from(entry)
    }

    /// The commands in a log entry; each has memory of its own. `None` if it is not one.
    pub fn decode_batch(entry: &[u8]) -> Option<Vec<WriteCommand>> {
        let (version, commands) = entry.split_first()?;
        if *version != ENTRY_VERSION {
            return None;
        }
        wincode::config::deserialize_exact(commands, encoding()).ok()
    }

    /// About how many bytes it takes, in an entry or in its answer, whichever is more.
    pub(crate) fn weight(&self) -> usize {
        // The old value may be as long as any.
        let answer = if matches!(self, WriteCommand::Set { get_old: true, .. }) { MAX_BULK } else { 0 };
        self.bytes() + answer
    }

    /// About how many bytes it takes, in memory or in an entry, whichever is more.
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
    /// About how many bytes of values it carries.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Reply::Value(Some(value)) => value.len(),
            Reply::Values(values) => {
                values.iter().map(|value| value.as_ref().map_or(size_of::<Bytes>(), in_list)).sum()
            }
            Reply::Ok | Reply::Integer(_) | Reply::Value(None) | Reply::Error(_) => 0,
        }
    }
}

/// What one of many takes: even an empty one is not free.
fn in_list(bytes: &Bytes) -> usize {
    bytes.len() + size_of::<Bytes>()
}
