//! The versions that nodes speak.

use std::fmt;

/// The version of the handshake's layout. Nodes with another one refuse each other.
pub(crate) const HANDSHAKE_VERSION: u16 = 4;

/// The versions of frames and messages that a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub(crate) min: u16,
    pub(crate) max: u16,
}

impl Versions {
    /// Returns the versions from `min` to `max`.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(min: u16, max: u16) -> Versions {
        assert!(min <= max, "a node speaks at least one version");
        Versions { min, max }
    }

    /// Returns the versions from `min` to `max`, if there is one.
    pub(crate) fn checked(min: u16, max: u16) -> Option<Versions> {
        (min <= max).then_some(Versions { min, max })
    }

    /// Returns the newest version that both speak.
    pub(crate) fn common(self, other: Versions) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { min, max } = self;
        if min == max { write!(f, "version {min}") } else { write!(f, "versions {min} to {max}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_use_the_newest_version_that_both_speak() {
        let versions = Versions::new;
        for (ours, theirs, common) in [
            (versions(3, 3), versions(3, 3), Some(3)),
            (versions(3, 4), versions(3, 3), Some(3)),
            (versions(3, 4), versions(4, 9), Some(4)),
            (versions(2, 5), versions(3, 4), Some(4)),
            (versions(4, 5), versions(3, 3), None),
        ] {
            assert_eq!((ours.common(theirs), theirs.common(ours)), (common, common), "{ours} with {theirs}");
        }
    }
}
