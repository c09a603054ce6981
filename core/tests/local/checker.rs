//! The guarantee: who reads now sees everything that anyone has been shown before.

use crate::node::{Log, Node};
use leasehold_core::{Index, Instant};

/// The entries that were exposed anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Checker {
    exposed: Log,
}

impl Checker {
    /// Returns the highest index that was exposed.
    pub(crate) fn exposed(&self) -> Index {
        self.exposed.len() as Index
    }

    /// Notes what a node shows.
    ///
    /// # Errors
    /// It shows another entry than what was exposed at that index.
    pub(crate) fn note(&mut self, node: &Node) -> Result<(), String> {
        let shown = node.log.get(..node.exposed as usize).unwrap_or(&node.log);
        let both = shown.len().min(self.exposed.len());
        if shown[..both] != self.exposed[..both] {
            return Err(format!("node {} shows {shown:?}, and {:?} was exposed", node.id, self.exposed));
        }
        if shown.len() > both {
            self.exposed = shown.to_vec();
        }
        Ok(())
    }

    /// Judges a read that a node answers on its own at this instant. Returns `false` if it answers none.
    ///
    /// # Errors
    /// The read is stale.
    pub(crate) fn judge(&self, node: &Node, now: Instant) -> Result<bool, String> {
        let Some((_, index)) = node.local().filter(|(until, _)| until.is_surely_after(now)) else { return Ok(false) };
        let seen = node.log.get(..index as usize).unwrap_or(&node.log);
        if !seen.starts_with(&self.exposed) {
            return Err(format!(
                "node {} reads {seen:?} in term {}, and {:?} was exposed before",
                node.id, node.term, self.exposed
            ));
        }
        Ok(true)
    }
}
