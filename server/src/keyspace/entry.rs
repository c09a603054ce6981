//! Log entries: commands that are executed together, with what only the leader that proposes them may decide.
//!
//! ```text
//! version 2    u8 2 | u64 time, little-endian | watched keys, whole, commands, as wincode encodes them
//! ```
//!
//! The time has a fixed place, so that the leader can fill it in without decoding the rest.

use super::operation::{WriteCommand, encoding};
use super::version1;
use bytes::Bytes;
use leasehold_core::Index;

/// The first byte of a log entry: the version of its encoding and of its commands. A release that adds a command or
/// changes the effect of one gives the entries that contain it a higher version. It must not propose them before every
/// node of the cluster runs that release, because a node that does not know the version stops.
pub(crate) const ENTRY_VERSION: u8 = 2;

/// The most keys that the commands of one log entry may name, where a command counts at least once. A node applies an
/// entry in one piece, so this bounds how long that may take.
pub(crate) const MAX_ENTRY_KEYS: usize = 16_384;

/// The length of the version and the time.
const HEAD_BYTES: usize = 9;

/// A key, and the index of the entry that changed it last; 0 if it does not exist.
pub type Watched = (Bytes, Index);

/// Commands that are executed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's wall clock when it proposed the entry, in milliseconds since the epoch; 0 in an entry of version 1.
    pub time: u64,
    /// The keys that must not have changed since. If one has, no command is executed.
    pub watched: Vec<Watched>,
    /// True if every command is executed, and one whose reply has no room in the entry is answered with an error. If
    /// false, execution stops before such a command, and there are fewer replies than commands; only the first command is
    /// answered with an error then.
    pub whole: bool,
    /// The commands, in order.
    pub commands: Vec<WriteCommand>,
}

impl Entry {
    /// Encodes commands as an entry of the newest version, without the time.
    pub fn encode(watched: &[Watched], whole: bool, commands: &[WriteCommand]) -> Bytes {
        let mut entry = vec![0; HEAD_BYTES];
        entry[0] = ENTRY_VERSION;
        const FITS: &str = "commands within the limits can be encoded";
        wincode::config::serialize_into(&mut entry, watched, encoding()).expect(FITS);
        wincode::config::serialize_into(&mut entry, &whole, encoding()).expect(FITS);
        wincode::config::serialize_into(&mut entry, commands, encoding()).expect(FITS);
        entry.into()
    }

    /// Encodes commands as an entry that releases apply which know no newer version than `version`. Returns `None` if
    /// there is no such entry.
    pub fn encode_as(version: u32, watched: &[Watched], whole: bool, commands: &[WriteCommand]) -> Option<Bytes> {
        if version >= ENTRY_VERSION.into() {
            return Some(Entry::encode(watched, whole, commands));
        }
        if watched.is_empty() { version1::encode(commands) } else { None }
    }

    /// Decodes an entry of any version that this release knows. The commands do not share its memory. Returns `None` for
    /// bytes that are not such an entry.
    pub fn decode(entry: &[u8]) -> Option<Entry> {
        match entry.split_first()? {
            (&version1::VERSION, commands) => {
                let commands = version1::decode(commands)?;
                Some(Entry { time: 0, watched: Vec::new(), whole: true, commands })
            }
            (&ENTRY_VERSION, rest) => {
                let (time, rest) = rest.split_first_chunk()?;
                let (watched, whole, commands) = wincode::config::deserialize_exact(rest, encoding()).ok()?;
                Some(Entry { time: u64::from_le_bytes(*time), watched, whole, commands })
            }
            _ => None,
        }
    }

    /// Returns the version of an encoded entry; 0 if it has none.
    pub(super) fn version(entry: &[u8]) -> u32 {
        entry.first().copied().unwrap_or_default().into()
    }

    /// Sets the time of an encoded entry, if its version has one.
    pub(super) fn stamp(entry: Bytes, time: u64) -> Bytes {
        if Entry::version(&entry) != u32::from(ENTRY_VERSION) || entry.len() < HEAD_BYTES {
            return entry;
        }
        let mut entry = entry.try_into_mut().unwrap_or_else(|shared| shared[..].into());
        entry[1..HEAD_BYTES].copy_from_slice(&time.to_le_bytes());
        entry.freeze()
    }
}
