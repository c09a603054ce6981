//! The values of keys.

use super::hash::Hash;
use super::map::Weigh;
use bytes::Bytes;
use leasehold_core::Index;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The log time at which a key dies, in milliseconds since the epoch.
pub(crate) type Deadline = NonZeroU64;

/// The value of a key, with what the log knows about it.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) data: Data,
    pub(crate) deadline: Option<Deadline>,
    /// The index of the entry that changed it last; 0 if that happened before the first entry of version 2.
    pub(crate) changed: Index,
}

/// The data of a key, by its type. Cloning it copies nothing.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    String(Bytes),
    Hash(Arc<StoredHash>),
}

/// The number of a hash: the entry that made it, and its place among those that this entry made. It names the records of
/// the hash's fields, so that they do not depend on the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HashId(pub(crate) Index, pub(crate) u32);

/// A hash and the name of its records.
#[derive(Clone, Debug)]
pub(crate) struct StoredHash {
    pub(crate) id: HashId,
    pub(crate) fields: Hash,
}

impl Value {
    /// Returns true unless the key is dead at this log time.
    pub(crate) fn is_live(&self, log_time: u64) -> bool {
        self.deadline.is_none_or(|deadline| deadline.get() > log_time)
    }

    /// Returns how many bytes of the data are in the record of the key. The fields of a hash have records of their own.
    pub(super) fn stored_bytes(&self) -> usize {
        match &self.data {
            Data::String(value) => value.len(),
            Data::Hash(_) => 0,
        }
    }

    /// Returns the index that a condition on the key compares. A key that exists never has index 0.
    pub(super) fn version(&self) -> Index {
        self.changed.max(1)
    }
}

impl Data {
    /// Returns the name of the type, as `TYPE` answers it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Data::String(_) => "string",
            Data::Hash(_) => "hash",
        }
    }
}

impl Weigh for Value {
    fn weight(&self) -> u64 {
        match &self.data {
            Data::String(value) => value.len() as u64,
            Data::Hash(hash) => hash.fields.weight(),
        }
    }
}
