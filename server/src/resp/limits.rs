//! Limits on requests.

/// The longest key, value or other argument, in bytes.
pub const MAX_BULK: usize = 16 << 20;
/// The longest request, as received, in bytes. As a log entry it stays well below the 64 MiB that the storage accepts.
pub const MAX_COMMAND: usize = 48 << 20;
/// The most arguments in one request, including the command's name. Redis has the same limit.
pub const MAX_ARGUMENTS: usize = 1 << 20;
/// The longest request without a `*` header, in bytes.
pub const MAX_INLINE: usize = 64 << 10;
/// The most arguments in one request, and the longest one, in bytes, before a client has logged in. Redis has the same
/// limits.
pub const MAX_ARGUMENTS_BEFORE_LOGIN: usize = 10;
/// See [`MAX_ARGUMENTS_BEFORE_LOGIN`].
pub const MAX_BULK_BEFORE_LOGIN: usize = 16 << 10;
/// The longest request before a client has logged in, in bytes. With its overhead it fits into the memory that each client
/// may use without a share of the memory for all clients.
pub const MAX_COMMAND_BEFORE_LOGIN: usize = 48 << 10;
/// The longest argument that is read and dropped so that the requests after it can be read, in bytes. A longer one
/// closes the connection.
pub const MAX_SKIPPED: usize = 512 << 20;
