//! The Redis protocol, both ways: requests in, replies out.

mod reply;
mod request;

pub use reply::{ReplyBuffer, Version};
pub use request::{Arguments, ProtocolError, Request, RequestReader};

/// The longest key, value or other argument.
pub const MAX_BULK: usize = 16 << 20;
/// The longest request, as received. As a log entry it stays well below the 64 MiB that the storage keeps of one.
pub const MAX_COMMAND: usize = 48 << 20;
/// The most arguments in one request, the command's name included; Redis has the same limit.
pub const MAX_ARGUMENTS: usize = 1 << 20;
/// The longest request without a `*` header.
pub const MAX_INLINE: usize = 64 << 10;
/// The longest argument that is read and dropped for the sake of what follows it. Beyond this the connection is closed.
pub const MAX_SKIPPED: usize = 512 << 20;

/// An integer as Redis reads one: no sign but `-`, no leading zero, no space.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => digits.len() <= 19,
        _ => false,
    };
    // What `parse` still refuses are other characters and numbers out of range.
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}
