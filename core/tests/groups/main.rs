//! The machines for many groups: one scenario for each rule.
#![cfg(not(loom))]

mod scenarios;
