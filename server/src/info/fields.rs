//! The lines of a section.

use std::fmt::{Display, Write as _};

/// The text of the sections so far.
pub(super) struct Fields(pub(super) String);

impl Fields {
    pub(super) fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// Adds a number of bytes, and the same in a form for people.
    pub(super) fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(&format!("{name}_human"), human(bytes));
    }
}

/// Returns a number of bytes in the form of Redis, such as `1.50M`.
fn human(bytes: u64) -> String {
    let units = ["K", "M", "G", "T", "P"];
    let unit = (1..=units.len()).take_while(|power| bytes >= 1 << (10 * power)).last();
    match unit {
        None => format!("{bytes}B"),
        Some(power) => format!("{:.2}{}", bytes as f64 / (1_u64 << (10 * power)) as f64, units[power - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_as_redis_prints_them() {
        for (bytes, printed) in [(0, "0B"), (1023, "1023B"), (1536, "1.50K"), (1 << 20, "1.00M"), (5 << 30, "5.00G")] {
            assert_eq!(human(bytes), printed);
        }
    }
}
