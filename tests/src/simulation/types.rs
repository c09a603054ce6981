//! Virtual time, and what clocks may do.

/// Virtual nanoseconds.
pub type Nanos = u64;

/// Whether clocks keep what the protocol assumes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clocks {
    /// They do, at the very edge of it.
    #[default]
    Within,
    /// They do not: to show that what then goes wrong is found.
    Beyond,
}
