//! Reads, writes and their replies, and the forms in which writes reach the log and replies other nodes.

use crate::resp::MAX_ARGUMENTS;
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

/// A command that only reads.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        match self {
            WriteCommand::Set { key, value, get_old, .. } => {
                // The old value may be as long as any.
                key.len() + value.len() + if *get_old { crate::resp::MAX_BULK } else { 0 }
            }
            WriteCommand::Delete(keys) => keys.iter().map(Bytes::len).sum(),
            WriteCommand::Add { key, .. } => key.len(),
            WriteCommand::Append { key, suffix } => key.len() + suffix.len(),
            WriteCommand::SetAll(pairs) => pairs.iter().map(|(key, value)| key.len() + value.len()).sum(),
            WriteCommand::Clear => 0,
        }
    }
}
