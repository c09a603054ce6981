//! The keys that a connection watches.

use crate::keyspace::Watched as Condition;
use bytes::Bytes;

/// The most keys that a connection may watch, and their most bytes.
const MAX_WATCHED: usize = 1024;
const MAX_WATCHED_BYTES: usize = 1 << 20;

/// Watched keys, each with the index of the entry that had changed it last.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) keys: Vec<Condition>,
    bytes: usize,
    /// A `WATCH` has failed. Its client may not have noticed that, so `EXEC` must not execute anything.
    pub(super) failed: bool,
}

impl Watched {
    /// Returns copies of keys that are to be watched. The keys themselves would keep the memory of their whole request.
    ///
    /// # Errors
    /// The reply: there would be too many.
    pub(super) fn copy(&mut self, keys: &[Bytes]) -> Result<Vec<Bytes>, String> {
        self.bytes += keys.iter().map(Bytes::len).sum::<usize>();
        if self.keys.len() + keys.len() > MAX_WATCHED || self.bytes > MAX_WATCHED_BYTES {
            *self = Watched { failed: true, ..Watched::default() };
            return Err(format!(
                "ERR a connection watches at most {MAX_WATCHED} keys of {MAX_WATCHED_BYTES} bytes in all; EXEC will \
                 execute nothing"
            ));
        }
        Ok(keys.iter().map(|key| Bytes::copy_from_slice(key)).collect())
    }

    /// Returns the memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.keys.len() * size_of::<Condition>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_watches_a_bounded_number_of_keys_and_bytes() {
        let mut watched = Watched::default();
        let keys = vec![Bytes::from_static(b"k"); MAX_WATCHED];
        watched.keys = watched.copy(&keys).expect("room").into_iter().map(|key| (key, 1)).collect();
        assert!(!watched.failed && watched.bytes() > MAX_WATCHED);
        assert!(watched.copy(&keys[..1]).is_err());
        assert!(watched.failed && watched.keys.is_empty());
        let mut watched = Watched::default();
        assert!(watched.copy(&[Bytes::from(vec![0; MAX_WATCHED_BYTES])]).is_ok());
        assert!(watched.copy(&keys[..1]).is_err());
    }
}
