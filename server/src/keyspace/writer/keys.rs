//! Commands about keys of any type.

use super::{Executed, FIELD_COST, MAX_REPLY_BYTES, Writer};
use crate::keyspace::entry::MAX_ENTRY_KEYS;
use crate::keyspace::key_commands::KeyWrite;
use crate::keyspace::map::Weigh as _;
use crate::keyspace::operation::SetCondition;
use crate::keyspace::reply::Reply;
use crate::keyspace::value::Data;
use bytes::Bytes;

impl Writer<'_> {
    /// Executes `DEL`.
    pub(super) fn delete(&mut self, keys: Vec<Bytes>) -> Reply {
        let mut deleted = 0;
        for key in keys {
            deleted += i64::from(self.remove(&key).is_some());
        }
        Reply::Integer(deleted)
    }

    /// Executes `RENAME` and `COPY`.
    pub(super) fn change_key(&mut self, command: KeyWrite) -> Executed {
        match command {
            KeyWrite::Rename { from, to, only_new } => self.rename(&from, to, only_new),
            KeyWrite::Copy { from, to, replace } => self.copy(&from, to, replace),
        }
    }

    fn rename(&mut self, from: &Bytes, to: Bytes, only_new: bool) -> Executed {
        let Some(value) = self.content().value(from) else {
            return Ok(Reply::Error("ERR no such key".to_owned()));
        };
        let length = value.stored_bytes();
        let renamed = *from != to && !(only_new && self.content().value(&to).is_some());
        let reply = if only_new { Reply::Integer(renamed.into()) } else { Reply::Ok };
        if renamed {
            self.reserve_rewrite(&reply, &to, length)?;
            if let Some(value) = self.take(from) {
                self.put(to, value.data, value.deadline);
            }
        }
        Ok(reply)
    }

    fn copy(&mut self, from: &Bytes, to: Bytes, replace: bool) -> Executed {
        let Some(value) = self.content().value(from).cloned() else { return Ok(Reply::Integer(0)) };
        if !replace && self.content().value(&to).is_some() {
            return Ok(Reply::Integer(0));
        }
        match value.data {
            Data::String(string) => {
                // The next change of either one copies it.
                self.reserve_bytes(string.len())?;
                self.put(to, Data::String(string), value.deadline);
            }
            Data::Hash(hash) => {
                let fields = hash.fields.len();
                let bytes = usize::try_from(hash.fields.weight()).unwrap_or(usize::MAX);
                if fields > MAX_ENTRY_KEYS || bytes > MAX_REPLY_BYTES {
                    return Ok(Reply::Error(format!(
                        "ERR the hash has more than {MAX_ENTRY_KEYS} fields or {MAX_REPLY_BYTES} bytes; copy them in \
                         parts, with HSCAN and HSET"
                    )));
                }
                self.reserve_bytes(bytes.max(fields * FIELD_COST))?;
                self.put_hash_copy(to, &hash.fields, value.deadline);
            }
        }
        Ok(Reply::Integer(1))
    }

    /// Executes `DELEX`.
    pub(super) fn delete_if(&mut self, key: &Bytes, condition: &SetCondition) -> Executed {
        // A key that does not exist is not deleted, even if its value would differ.
        let holds = self.holds(key, condition)?;
        Ok(Reply::Integer(i64::from(holds && self.remove(key).is_some())))
    }
}
