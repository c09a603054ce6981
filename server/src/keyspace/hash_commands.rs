//! The commands about hashes.

use super::key_commands::Scan;
use super::list::in_list;
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// A command that reads a hash. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct HashRead {
    /// The key.
    pub key: Bytes,
    /// What is read.
    pub what: FieldsRead,
}

/// The part of a hash that a command reads.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum FieldsRead {
    /// `HGET`.
    Get(Bytes),
    /// `HMGET`.
    GetMany(Vec<Bytes>),
    /// `HEXISTS`.
    Exists(Bytes),
    /// `HSTRLEN`.
    ValueLength(Bytes),
    /// `HLEN`.
    Length,
    /// `HGETALL`.
    All,
    /// `HKEYS`.
    Names,
    /// `HVALS`.
    Values,
    /// `HRANDFIELD` without a number.
    Random {
        /// The seed of the choice.
        seed: u64,
    },
    /// `HRANDFIELD` with a number.
    RandomMany {
        /// The seed of the choice.
        seed: u64,
        /// The number of fields; if it is negative, a field may be returned several times.
        count: i64,
        /// True if their values are returned too.
        with_values: bool,
    },
    /// `HSCAN`.
    Scan(Scan),
}

/// A command that may change a hash. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct HashWrite {
    /// The key.
    pub key: Bytes,
    /// The change.
    pub change: FieldsWrite,
}

/// A change of a hash.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum FieldsWrite {
    /// `HSET` and `HMSET`.
    Set {
        /// The fields and their values.
        fields: Vec<(Bytes, Bytes)>,
        /// `HSET`: the reply is the number of new fields.
        counted: bool,
    },
    /// `HSETNX`.
    SetNew {
        /// The field.
        field: Bytes,
        /// Its value, if it has none.
        value: Bytes,
    },
    /// `HDEL`.
    Delete(Vec<Bytes>),
    /// `HINCRBY`.
    Add {
        /// The field.
        field: Bytes,
        /// The number to add to its value.
        amount: i64,
    },
    /// `HINCRBYFLOAT`.
    AddDecimal {
        /// The field.
        field: Bytes,
        /// The text of the number to add.
        amount: Bytes,
    },
}

impl HashRead {
    /// Returns the number of keys and fields that it names.
    pub(super) fn keys(&self) -> usize {
        if let FieldsRead::GetMany(fields) = &self.what { fields.len() } else { 1 }
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(super) fn bytes(&self) -> usize {
        let arguments = match &self.what {
            FieldsRead::Get(field) | FieldsRead::Exists(field) | FieldsRead::ValueLength(field) => field.len(),
            FieldsRead::GetMany(fields) => fields.iter().map(in_list).sum(),
            FieldsRead::Scan(scan) => scan.bytes(),
            FieldsRead::Length
            | FieldsRead::All
            | FieldsRead::Names
            | FieldsRead::Values
            | FieldsRead::Random { .. }
            | FieldsRead::RandomMany { .. } => 0,
        };
        self.key.len() + arguments
    }
}

impl HashWrite {
    /// Returns the number of keys and fields that it names.
    pub(super) fn keys(&self) -> usize {
        match &self.change {
            FieldsWrite::Set { fields, .. } => fields.len(),
            FieldsWrite::Delete(fields) => fields.len(),
            FieldsWrite::SetNew { .. } | FieldsWrite::Add { .. } | FieldsWrite::AddDecimal { .. } => 1,
        }
    }

    /// Returns whether it may make the state larger.
    pub(super) fn needs_memory(&self) -> bool {
        !matches!(self.change, FieldsWrite::Delete(_))
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(super) fn bytes(&self) -> usize {
        let arguments = match &self.change {
            FieldsWrite::Set { fields, .. } => {
                fields.iter().map(|(field, value)| in_list(field) + in_list(value)).sum()
            }
            FieldsWrite::SetNew { field, value } => field.len() + value.len(),
            FieldsWrite::Delete(fields) => fields.iter().map(in_list).sum(),
            FieldsWrite::Add { field, .. } => field.len(),
            FieldsWrite::AddDecimal { field, amount } => field.len() + amount.len(),
        };
        self.key.len() + arguments
    }
}
