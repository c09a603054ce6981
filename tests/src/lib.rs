//! Whole-system tests.

pub mod abstract_raft;
pub mod alternatives;
pub mod driven;
pub mod exploration;
pub mod journal;
pub mod linearizability;
pub mod machine;
pub mod model;
pub mod mutations;
pub mod nemesis;
pub mod processes;
pub mod proxy;
pub mod rules;
pub mod simulated;
pub mod simulation;
pub mod world;
