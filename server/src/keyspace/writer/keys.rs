//! Commands about keys of any type.

use super::{Executed, Writer};
use crate::keyspace::operation::SetCondition;
use crate::keyspace::reply::Reply;
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

    /// Executes `DELEX`.
    pub(super) fn delete_if(&mut self, key: &Bytes, condition: &SetCondition) -> Executed {
        // A key that does not exist is not deleted, even if its value would differ.
        let holds = self.holds(key, condition)?;
        Ok(Reply::Integer(i64::from(holds && self.remove(key).is_some())))
    }
}
