#![doc = include_str!("../README.md")]

mod engine;
mod promise;
mod report;
mod rule;
mod schedules;
pub mod story;
pub mod subject;
mod world;

pub use engine::{Contents, Engine, Output, Start};
pub use report::{Checked, Report, check, check_seeded, check_subject, found};
pub use rule::Rule;
pub use schedules::{SCHEDULES, check_quorum_is_no_lease};
pub use subject::{Answer, Kind, NotExpressible, ReadId};
