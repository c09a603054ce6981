//! Settings that have no effect here, and are only kept because programs set and read them.

use std::sync::atomic::{AtomicI64, Ordering};

/// How Redis chooses between representations of a hash: the two names of each setting, and its default.
const SETTINGS: [([&str; 2], i64); 2] = [
    (["hash-max-listpack-entries", "hash-max-ziplist-entries"], 128),
    (["hash-max-listpack-value", "hash-max-ziplist-value"], 64),
];

/// The values.
#[derive(Debug)]
pub(super) struct Kept([AtomicI64; 2]);

impl Default for Kept {
    fn default() -> Kept {
        Kept(SETTINGS.map(|(_, default)| AtomicI64::new(default)))
    }
}

impl Kept {
    /// Returns the place of the setting with this name.
    pub(super) fn find(name: &str) -> Option<usize> {
        SETTINGS.iter().position(|(names, _)| names.contains(&name))
    }

    /// Sets the value of the setting at this place.
    pub(super) fn set(&self, at: usize, value: i64) {
        self.0[at].store(value, Ordering::Relaxed);
    }

    /// Returns every name and its value.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let values = self.0.iter().map(|value| value.load(Ordering::Relaxed));
        SETTINGS.iter().zip(values).flat_map(|((names, _), value)| names.map(|name| (name, value)))
    }
}
