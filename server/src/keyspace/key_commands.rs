//! The commands about keys of any type.

use super::value::Data;
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// A command that reads keys. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum KeyRead {
    /// `TYPE`.
    Type(Bytes),
    /// `OBJECT` and its subcommand.
    Object {
        /// The key.
        key: Bytes,
        /// The property.
        property: ObjectProperty,
    },
    /// `RANDOMKEY`, with the seed of its choice.
    Random(u64),
    /// `SCAN`.
    Scan {
        /// Where it goes on.
        scan: Scan,
        /// The type of the keys.
        only: Option<TypeFilter>,
    },
}

/// A property that `OBJECT` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum ObjectProperty {
    /// `ENCODING`.
    Encoding,
    /// `REFCOUNT`.
    References,
    /// `IDLETIME`.
    IdleTime,
    /// `FREQ`.
    Frequency,
}

/// A type of values, as `SCAN` selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum TypeFilter {
    /// Strings.
    String,
    /// Hashes.
    Hash,
    /// A type that does not exist here.
    Other,
}

/// One call of a scan.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Scan {
    /// The cursor that the call before it returned; 0 for the first.
    pub cursor: u64,
    /// About how many elements to look at.
    pub count: u64,
    /// The pattern that they match.
    pub pattern: Option<Bytes>,
}

/// A command that may change a key. The order of the variants is part of the log's format.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum KeyWrite {
    /// `RENAME` and `RENAMENX`.
    Rename {
        /// The present name.
        from: Bytes,
        /// The new name.
        to: Bytes,
        /// `RENAMENX`: the new name must not exist.
        only_new: bool,
    },
    /// `COPY`.
    Copy {
        /// The key.
        from: Bytes,
        /// The copy.
        to: Bytes,
        /// True if the copy may exist.
        replace: bool,
    },
}

impl TypeFilter {
    pub(super) fn accepts(self, data: &Data) -> bool {
        match data {
            Data::String(_) => self == TypeFilter::String,
            Data::Hash(_) => self == TypeFilter::Hash,
        }
    }
}

impl Scan {
    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(super) fn bytes(&self) -> usize {
        self.pattern.as_ref().map_or(0, Bytes::len)
    }
}

impl KeyRead {
    /// Returns the number of keys that it names.
    pub(super) fn keys(&self) -> usize {
        usize::from(matches!(self, KeyRead::Type(_) | KeyRead::Object { .. }))
    }

    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(super) fn bytes(&self) -> usize {
        match self {
            KeyRead::Type(key) | KeyRead::Object { key, .. } => key.len(),
            KeyRead::Random(_) => 0,
            KeyRead::Scan { scan, .. } => scan.bytes(),
        }
    }
}

impl KeyWrite {
    /// Returns about how many bytes it takes in memory or in an entry, whichever is more.
    pub(super) fn bytes(&self) -> usize {
        match self {
            KeyWrite::Rename { from, to, .. } | KeyWrite::Copy { from, to, .. } => from.len() + to.len(),
        }
    }
}
