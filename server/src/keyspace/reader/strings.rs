//! Reading strings.

use crate::keyspace::bits;
use crate::keyspace::content::Content;
use crate::keyspace::reply::Reply;
use crate::keyspace::string_commands::StringRead;
use crate::keyspace::view::count;
use bytes::Bytes;

impl Content {
    /// Executes a read of a string. The error is the reply, if the key has another type.
    pub(super) fn read_string(&self, command: &StringRead) -> Result<Reply, Reply> {
        let found = self.string(command.key())?;
        let value = found.map(|value| &value[..]).unwrap_or_default();
        Ok(match command {
            StringRead::Part { first, last, .. } => {
                let range = bits::range(*first, *last, value.len());
                // A short part must not keep a long value in memory.
                let shares = 4 * range.len() >= value.len();
                Reply::Value(Some(match found.filter(|_| shares) {
                    Some(value) => value.slice(range),
                    None => Bytes::copy_from_slice(&value[range]),
                }))
            }
            StringRead::Bit { bit, .. } => Reply::Integer(bits::get(value, *bit).into()),
            StringRead::CountBits { part, .. } => Reply::Integer(bits::count(value, *part)),
            StringRead::FindBit { value: false, .. } if found.is_none() => Reply::Integer(0),
            StringRead::FindBit { value: bit, part, .. } => Reply::Integer(bits::find(value, *bit, *part)),
        })
    }

    /// Returns the part of an entry's room that a read of a string takes besides its reply: it may take time in
    /// proportion to the string, and its reply is a number.
    pub(super) fn cost_of_string(&self, command: &StringRead) -> usize {
        match command {
            StringRead::Part { .. } | StringRead::Bit { .. } => 0,
            StringRead::CountBits { key, .. } | StringRead::FindBit { key, .. } => {
                self.string_if_any(key).map_or(0, Bytes::len)
            }
        }
    }
}

impl Reply {
    /// Returns the number of something as a reply.
    pub(super) fn number_of(things: usize) -> Reply {
        Reply::Integer(count(things))
    }
}
