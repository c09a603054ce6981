//! The Redis protocol: requests in, replies out.

mod integer;
mod limits;
mod reply;
mod request;

pub use integer::parse_integer;
pub use limits::{
    MAX_ARGUMENTS, MAX_ARGUMENTS_BEFORE_LOGIN, MAX_BULK, MAX_BULK_BEFORE_LOGIN, MAX_COMMAND, MAX_COMMAND_BEFORE_LOGIN,
    MAX_INLINE, MAX_SKIPPED,
};
pub use reply::{ReplyBuffer, Version};
pub use request::{Arguments, ProtocolError, Request, RequestReader};
