//! Transports over real loopback sockets.

mod links;
mod security;
mod support;
