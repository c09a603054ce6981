//! Commands about hashes.

use super::{Executed, Failure, Writer};
use crate::keyspace::decimal::Decimal;
use crate::keyspace::hash_commands::{FieldsWrite, HashWrite};
use crate::keyspace::reply::Reply;
use crate::resp::parse_integer;
use bytes::Bytes;

impl Writer<'_> {
    /// Executes a command that changes a hash.
    pub(super) fn change_hash(&mut self, command: HashWrite) -> Executed {
        let HashWrite { key, change } = command;
        match change {
            FieldsWrite::Set { fields, counted } => {
                self.content().hash(&key)?;
                let mut added = 0;
                for (field, value) in fields {
                    added += i64::from(self.put_field(&key, field, value).is_none());
                }
                Ok(if counted { Reply::Integer(added) } else { Reply::Ok })
            }
            FieldsWrite::SetNew { field, value } => {
                let exists = self.field(&key, &field)?.is_some();
                if !exists {
                    self.put_field(&key, field, value);
                }
                Ok(Reply::Integer(i64::from(!exists)))
            }
            FieldsWrite::Delete(fields) => {
                self.content().hash(&key)?;
                let mut deleted = 0;
                for field in fields {
                    deleted += i64::from(self.remove_field(&key, &field).is_some());
                }
                Ok(Reply::Integer(deleted))
            }
            FieldsWrite::Add { field, amount } => {
                let number = match self.field(&key, &field)? {
                    None => 0,
                    Some(value) => parse_integer(value).ok_or_else(|| error("ERR hash value is not an integer"))?,
                };
                let sum =
                    number.checked_add(amount).ok_or_else(|| error("ERR increment or decrement would overflow"))?;
                self.put_field(&key, field, Bytes::from(sum.to_string()));
                Ok(Reply::Integer(sum))
            }
            FieldsWrite::AddDecimal { field, amount } => {
                let amount = Decimal::parse(&amount).ok_or_else(|| error("ERR value is not a valid float"))?;
                if !amount.is_finite() {
                    return Err(error("ERR value is NaN or Infinity").into());
                }
                let number = match self.field(&key, &field)? {
                    None => Decimal::ZERO,
                    Some(value) => Decimal::parse(value).ok_or_else(|| error("ERR hash value is not a float"))?,
                };
                let sum = Bytes::from(number.add(amount).map_err(|failure| error(failure.text()))?);
                self.put_field(&key, field, sum.clone());
                Ok(Reply::Value(Some(sum)))
            }
        }
    }

    fn field(&self, key: &Bytes, field: &Bytes) -> Result<Option<&Bytes>, Failure> {
        Ok(self.content().hash(key)?.and_then(|hash| hash.fields.get(field)))
    }
}

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}
