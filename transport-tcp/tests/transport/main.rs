//! Transports over real loopback sockets.

mod hostile;
mod links;
mod security;
mod support;
