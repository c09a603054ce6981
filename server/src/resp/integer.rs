//! Integers in requests and values.

/// Parses an integer as Redis does: no sign but `-`, no leading zeros, no spaces.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => digits.len() <= 19,
        _ => false,
    };
    // `parse` rejects the rest: other characters, and numbers out of range.
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}
