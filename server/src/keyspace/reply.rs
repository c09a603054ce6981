//! The replies to commands.

use super::list::{LIST_ELEMENT_BYTES, in_list};
use super::operation::encoding;
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// The reply to a read or a write. The order of the variants is part of the format in which nodes pass replies on.
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
    /// A word other than `OK`.
    Status(String),
    /// No list.
    NoValues,
    /// Fields and their values. RESP2 has no maps and gets a list.
    Map(Vec<(Bytes, Bytes)>),
    /// Fields and their values, as a list of pairs. RESP2 gets a flat list.
    Pairs(Vec<(Bytes, Bytes)>),
    /// A part of a scan.
    Scanned {
        /// The cursor of the next part; 0 if there is none.
        cursor: u64,
        /// What was found: keys, or fields and their values.
        found: Vec<Bytes>,
    },
}

impl Reply {
    /// Returns about how many bytes of values it carries, the same number on every platform.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Reply::Value(Some(value)) => value.len(),
            Reply::Values(values) => {
                values.iter().map(|value| value.as_ref().map_or(LIST_ELEMENT_BYTES, in_list)).sum()
            }
            Reply::Map(pairs) | Reply::Pairs(pairs) => {
                pairs.iter().map(|(field, value)| in_list(field) + in_list(value)).sum()
            }
            Reply::Scanned { found, .. } => found.iter().map(in_list).sum(),
            Reply::Ok
            | Reply::Integer(_)
            | Reply::Value(None)
            | Reply::Error(_)
            | Reply::Status(_)
            | Reply::NoValues => 0,
        }
    }

    /// Returns the reply to a command that has no room in its entry, of which the replies have at most `max` bytes.
    pub(super) fn too_long(max: usize) -> Reply {
        Reply::Error(format!("{TOO_LONG} {max} bytes; this command was not executed; request less at once"))
    }

    /// Returns whether this is the reply to a command that had no room in its entry. A node of another release may have
    /// made it.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, Reply::Error(error) if error.starts_with(TOO_LONG))
    }

    /// Returns the reply to a command about a type of values on a key that has another type.
    pub(crate) fn wrong_type() -> Reply {
        Reply::Error("WRONGTYPE Operation against a key holding the wrong kind of value".to_owned())
    }
}

/// The beginning of the error of a command that has no room in its entry.
const TOO_LONG: &str = "ERR the replies of a transaction exceed";

/// The outcome of a log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The replies to its commands. There are fewer than commands if the entry stopped early, and none if it is
    /// malformed.
    Replies(Vec<Reply>),
    /// Nothing was executed, because a watched key had changed.
    Conflict,
}

/// The encoding of [`Outcome::Conflict`]. No list begins like this.
const CONFLICT: &[u8] = &[0xff];

impl Outcome {
    /// Encodes the outcome. Replies are encoded as earlier releases do.
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Outcome::Replies(replies) => wincode::config::serialize(replies, encoding())
                .expect("replies within the limits can be encoded")
                .into(),
            Outcome::Conflict => Bytes::from_static(CONFLICT),
        }
    }

    /// Decodes an outcome. Returns `None` for bytes that [`encode`](Self::encode) does not produce.
    pub(super) fn decode(bytes: &[u8]) -> Option<Outcome> {
        if bytes == CONFLICT {
            return Some(Outcome::Conflict);
        }
        wincode::config::deserialize_exact(bytes, encoding()).ok().map(Outcome::Replies)
    }
}

/// Converts a number of things to a reply's number.
pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
