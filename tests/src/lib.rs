//! Whole-system tests.

pub mod abstract_raft;
pub mod broken;
pub mod cluster;
pub mod driven;
pub mod exploration;
pub mod journal;
pub mod model;
pub mod processes;
pub mod rules;
pub mod simulated;
pub mod world;
