//! The color of a state.

/// The state of a node at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    Good,
    Degraded,
    Bad,
}

impl Mood {
    /// Returns its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Mood::Good => "good",
            Mood::Degraded => "degraded",
            Mood::Bad => "bad",
        }
    }
}
