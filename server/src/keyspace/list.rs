//! The room that elements of lists take in an encoded entry or reply.

use bytes::Bytes;

/// The bytes that one element of a list is taken to need besides its content. It decides which commands are executed,
/// so it is the same on every platform.
pub(super) const LIST_ELEMENT_BYTES: usize = 32;

/// Returns the bytes that an element takes.
pub(super) fn in_list(bytes: &Bytes) -> usize {
    bytes.len() + LIST_ELEMENT_BYTES
}
