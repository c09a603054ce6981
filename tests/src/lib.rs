//! Whole-system tests.

pub mod cluster;
