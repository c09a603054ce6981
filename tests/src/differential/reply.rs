//! Replies, as they are on the wire: both versions of the protocol, without the forms that servers do not send.

use std::fmt;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reply {
    /// `+`, `-`, `:`, `,`, `#`, `(` or `_`, and the line.
    Line(u8, Vec<u8>),
    /// `$`, `=` or `!`, and the bytes; `None` for a missing string.
    Bytes(u8, Option<Vec<u8>>),
    /// `*`, `~`, `>` or `%`, and the elements, those of a map flattened; `None` for a missing array.
    Many(u8, Option<Vec<Reply>>),
}

/// The bytes are not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Reply {
    /// Returns the error, if it is one.
    pub(super) fn error(&self) -> Option<&[u8]> {
        match self {
            Reply::Line(b'-', line) => Some(line),
            _ => None,
        }
    }

    /// Returns the number, if it is one.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Reply::Line(b':', line) => str::from_utf8(line).ok()?.parse().ok(),
            _ => None,
        }
    }
}

/// Parses the reply at the start of `bytes`, and returns its length too; `None` if it has not arrived completely.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
    let (Some(kind), line) = (bytes.first().copied(), bytes.get(1..end).unwrap_or_default()) else {
        return Err(Malformed);
    };
    let mut at = end + 2;
    if b"+-:,#(_".contains(&kind) {
        let is_integer = || str::from_utf8(line).is_ok_and(|line| line.parse::<i64>().is_ok());
        if kind == b':' && !is_integer() {
            return Err(Malformed);
        }
        return Ok(Some((Reply::Line(kind, line.to_vec()), at)));
    }
    let length: i64 = str::from_utf8(line).ok().and_then(|line| line.parse().ok()).ok_or(Malformed)?;
    let length = usize::try_from(length).ok();
    if b"$=!".contains(&kind) {
        let Some(length) = length else { return Ok(Some((Reply::Bytes(kind, None), at))) };
        let Some(body) = bytes.get(at..at + length + 2) else { return Ok(None) };
        let Some(body) = body.strip_suffix(b"\r\n") else { return Err(Malformed) };
        return Ok(Some((Reply::Bytes(kind, Some(body.to_vec())), at + length + 2)));
    }
    if !b"*~>%".contains(&kind) {
        return Err(Malformed);
    }
    let Some(length) = length else { return Ok(Some((Reply::Many(kind, None), at))) };
    let mut elements = Vec::new();
    for _ in 0..if kind == b'%' { 2 * length } else { length } {
        let Some((element, used)) = parse(&bytes[at..])? else { return Ok(None) };
        elements.push(element);
        at += used;
    }
    Ok(Some((Reply::Many(kind, Some(elements)), at)))
}

/// The elements of an array that are printed.
const MAX_ELEMENTS: usize = 8;

/// Prints bytes as text, shortened.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MAX: usize = 300;
    let more = if bytes.len() > MAX { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("{}{more}", bytes[..bytes.len().min(MAX)].escape_ascii())
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Line(kind, line) => write!(out, "{}{}", char::from(*kind), shown(line)),
            Reply::Bytes(kind, None) | Reply::Many(kind, None) => write!(out, "{}-1", char::from(*kind)),
            Reply::Bytes(kind, Some(bytes)) => write!(out, "{}\"{}\"", char::from(*kind), shown(bytes)),
            Reply::Many(kind, Some(elements)) => {
                write!(out, "{}{}[", char::from(*kind), elements.len())?;
                for (at, element) in elements.iter().take(MAX_ELEMENTS).enumerate() {
                    write!(out, "{}{element}", if at > 0 { " " } else { "" })?;
                }
                write!(out, "{}]", if elements.len() > MAX_ELEMENTS { " …" } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_parsed_once_they_are_complete() {
        let whole = b"*3\r\n:1\r\n%1\r\n+a\r\n_\r\n$2\r\n\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "{end}");
        }
        let (reply, length) = parse(whole).expect("well-formed").expect("complete");
        assert_eq!((reply.to_string(), length), ("*3[:1 %2[+a _] $\"\\r\\n\"]".to_owned(), whole.len()));
        for wrong in [&b":x\r\n"[..], b"?\r\n", b"$1\r\nabc", b"\r\n"] {
            assert_eq!(parse(wrong), Err(Malformed), "{}", shown(wrong));
        }
    }
}
