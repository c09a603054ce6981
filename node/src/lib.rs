//! A node: replicated groups and request routing as a synchronous state machine, and the task that runs it.

pub mod ports;
pub mod wire;
