//! Virtual time, and the behaviour of clocks.

/// Virtual nanoseconds.
pub type Nanos = u64;

/// The behaviour of clocks, relative to the protocol's assumptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clocks {
    /// Clocks meet the assumptions, up to their limits.
    #[default]
    Within,
    /// Clocks violate the assumptions, to show that the checks detect the consequences.
    Beyond,
}
