//! The commands about strings beyond `GET`, `SET`, `INCRBY` and `APPEND`.

use super::bits::BitRange;
use super::list::in_list;
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// A command that reads a string. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum StringRead {
    /// `GETRANGE` and `SUBSTR`. Negative numbers count from the end.
    Part {
        /// The key.
        key: Bytes,
        /// The first byte.
        first: i64,
        /// The last byte.
        last: i64,
    },
    /// `GETBIT`.
    Bit {
        /// The key.
        key: Bytes,
        /// The number of the bit.
        bit: u32,
    },
    /// `BITCOUNT`.
    CountBits {
        /// The key.
        key: Bytes,
        /// The part in which bits are counted.
        part: Option<BitRange>,
    },
    /// `BITPOS`.
    FindBit {
        /// The key.
        key: Bytes,
        /// The value of the bit.
        value: bool,
        /// The part in which it is looked for.
        part: BitRange,
    },
}

/// A command that may change a string. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum StringWrite {
    /// `SETNX`.
    SetNew {
        /// The key.
        key: Bytes,
        /// Its value, if it has none.
        value: Bytes,
    },
    /// `MSETNX`.
    SetAllNew(Vec<(Bytes, Bytes)>),
    /// `GETDEL`.
    GetAndDelete(Bytes),
    /// `SETRANGE`.
    SetPart {
        /// The key.
        key: Bytes,
        /// The place of the first byte.
        first: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// `SETBIT`.
    SetBit {
        /// The key.
        key: Bytes,
        /// The number of the bit.
        bit: u32,
        /// Its value.
        value: bool,
    },
    /// `INCRBYFLOAT`.
    AddDecimal {
        /// The key.
        key: Bytes,
        /// The text of the number to add.
        amount: Bytes,
    },
}

impl StringRead {
    /// Returns the key.
    pub(super) fn key(&self) -> &Bytes {
        match self {
            StringRead::Part { key, .. }
            | StringRead::Bit { key, .. }
            | StringRead::CountBits { key, .. }
            | StringRead::FindBit { key, .. } => key,
        }
    }
}

impl StringWrite {
    /// Returns the number of keys that it names.
    pub(super) fn keys(&self) -> usize {
        if let StringWrite::SetAllNew(pairs) = self { pairs.len() } else { 1 }
    }

    /// Returns whether it may make the state larger.
    pub(super) fn needs_memory(&self) -> bool {
        !matches!(self, StringWrite::GetAndDelete(_))
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(super) fn bytes(&self) -> usize {
        match self {
            StringWrite::SetNew { key, value } => key.len() + value.len(),
            StringWrite::SetAllNew(pairs) => pairs.iter().map(|(key, value)| in_list(key) + in_list(value)).sum(),
            StringWrite::GetAndDelete(key) | StringWrite::SetBit { key, .. } => key.len(),
            StringWrite::SetPart { key, bytes, .. } => key.len() + bytes.len(),
            StringWrite::AddDecimal { key, amount } => key.len() + amount.len(),
        }
    }
}
