//! Encoding replies in the version of the protocol that the client selected.

use bytes::BytesMut;
use redis_protocol::resp2::{encode as encode2, types::BorrowedFrame as Frame2};
use redis_protocol::resp3::encode::complete as encode3;
use redis_protocol::resp3::types::{BorrowedFrame as Frame3, VerbatimStringFormat};
use std::fmt;

/// The version of the protocol on a connection, selected by `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2, the version of a new connection.
    #[default]
    Two,
    /// RESP3.
    Three,
}

impl Version {
    /// Returns the number that `HELLO` uses.
    pub fn number(self) -> i64 {
        match self {
            Version::Two => 2,
            Version::Three => 3,
        }
    }
}

/// Encoded replies for one client.
///
/// Each reply is one call. An array or a map is a call for its header and one for each element, so a long one can be
/// sent in pieces.
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    version: Version,
    bytes: BytesMut,
    /// No reply is encoded until further notice.
    off: bool,
    /// The reply to the present command is not encoded, nor that to the next one.
    skip: bool,
    skip_next: bool,
    /// The codes of the errors that were encoded, and how often.
    errors: Vec<(String, u64)>,
}

/// Encoding extends the buffer by the length of the frame, so it cannot fail.
const ROOM: &str = "the buffer was extended by the frame's length";

impl ReplyBuffer {
    /// Returns the version in which replies are encoded.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Encodes further replies in this version.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Returns the bytes encoded since the last [`clear`](Self::clear).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Drops the encoded bytes, and frees the memory if it is more than `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        if self.bytes.capacity() > keep { self.bytes = BytesMut::new() } else { self.bytes.clear() }
    }

    /// Returns the encoded bytes.
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// Encodes the replies to the present and further commands.
    pub fn turn_on(&mut self) {
        (self.off, self.skip) = (false, false);
    }

    /// Drops the replies to the present and further commands.
    pub fn turn_off(&mut self) {
        self.off = true;
    }

    /// Drops the reply to the next command.
    pub fn skip_next(&mut self) {
        self.skip_next = !self.off;
    }

    /// Encodes the replies to further commands, and that to the present one unless it was to be skipped.
    pub fn reset(&mut self) {
        (self.version, self.off, self.skip_next) = (Version::default(), false, false);
    }

    /// Returns whether replies are dropped.
    pub fn is_muted(&self) -> bool {
        self.off || self.skip
    }

    /// Returns whether only the reply to the present command is dropped.
    pub fn skips(&self) -> bool {
        self.skip
    }

    /// Ends a command: what follows are replies to the next one.
    pub fn end_command(&mut self) {
        self.skip = std::mem::take(&mut self.skip_next);
    }

    fn push2(&mut self, frame: &Frame2<'_>) {
        if self.is_muted() {
            return;
        }
        encode2::extend_encode_borrowed(&mut self.bytes, frame, false).expect(ROOM);
    }

    fn push3(&mut self, frame: &Frame3<'_>) {
        if self.is_muted() {
            return;
        }
        encode3::extend_encode_borrowed(&mut self.bytes, frame, false).expect(ROOM);
    }

    /// Encodes a status: one short line such as `OK`.
    pub fn status(&mut self, line: &str) {
        match self.version {
            Version::Two => self.push2(&Frame2::SimpleString(line.as_bytes())),
            Version::Three => self.push3(&Frame3::SimpleString { data: line.as_bytes(), attributes: None }),
        }
    }

    /// Encodes an error: a code, a space and a message. Line breaks would end the reply early, so they become spaces.
    pub fn error(&mut self, message: &str) {
        // As Redis does: line ends at the end are left out, and others become spaces.
        let line = message.trim_end_matches(['\r', '\n']).replace(['\r', '\n'], " ");
        self.note_error(line.split(' ').next().unwrap_or_default());
        match self.version {
            Version::Two => self.push2(&Frame2::Error(&line)),
            Version::Three => self.push3(&Frame3::SimpleError { data: &line, attributes: None }),
        }
    }

    fn note_error(&mut self, code: &str) {
        match self.errors.iter_mut().find(|(known, _)| known == code) {
            Some((_, count)) => *count += 1,
            None => self.errors.push((code.to_owned(), 1)),
        }
    }

    /// Returns the codes of the errors that were encoded since the last call, and how often.
    pub fn take_errors(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.errors)
    }

    /// Encodes a number.
    pub fn integer(&mut self, number: i64) {
        // The crate computes the length with floating point, and appends a zero byte to some numbers of fifteen digits
        // or more.
        self.line(':', number);
    }

    /// Encodes a string of bytes.
    pub fn bulk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        match self.version {
            Version::Two => self.push2(&Frame2::BulkString(data)),
            Version::Three => self.push3(&Frame3::BlobString { data, attributes: None }),
        }
    }

    /// Encodes the start of a string of `length` bytes, which are sent after it.
    pub fn start_bulk(&mut self, length: usize) {
        self.line('$', length);
    }

    /// Encodes the end of a string of bytes.
    pub fn end_bulk(&mut self) {
        if self.is_muted() {
            return;
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Encodes text for people, which RESP3 marks as such.
    pub fn text(&mut self, text: &str) {
        match self.version {
            Version::Two => self.bulk(text),
            Version::Three => self.push3(&Frame3::VerbatimString {
                data: text.as_bytes(),
                format: VerbatimStringFormat::Text,
                attributes: None,
            }),
        }
    }

    /// Encodes a missing value.
    pub fn null(&mut self) {
        match self.version {
            Version::Two => self.push2(&Frame2::Null),
            Version::Three => self.push3(&Frame3::Null),
        }
    }

    /// Encodes a string of bytes or a missing value.
    pub fn value(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bulk(value),
            None => self.null(),
        }
    }

    /// Encodes the header of an array of `length` replies.
    pub fn array(&mut self, length: usize) {
        self.line('*', length);
    }

    /// Encodes the header of a set of `length` replies. RESP2 has no sets and gets an array.
    pub fn set(&mut self, length: usize) {
        match self.version {
            Version::Two => self.line('*', length),
            Version::Three => self.line('~', length),
        }
    }

    /// Encodes a missing array.
    pub fn null_array(&mut self) {
        match self.version {
            Version::Two => self.line('*', -1),
            Version::Three => self.null(),
        }
    }

    /// Encodes the header of a map of `length` pairs of replies. RESP2 has no maps and gets an array.
    pub fn map(&mut self, length: usize) {
        match self.version {
            Version::Two => self.line('*', 2 * length),
            Version::Three => self.line('%', length),
        }
    }

    // The crate encodes only whole aggregates, or ones of unknown length, which few clients understand.
    fn line(&mut self, kind: char, number: impl fmt::Display) {
        if self.is_muted() {
            return;
        }
        self.bytes.extend_from_slice(format!("{kind}{number}\r\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(version: Version, write: impl FnOnce(&mut ReplyBuffer)) -> String {
        let mut replies = ReplyBuffer::default();
        replies.set_version(version);
        write(&mut replies);
        String::from_utf8_lossy(replies.bytes()).into_owned()
    }

    #[test]
    fn each_version_has_its_own_form_of_a_reply() {
        for (version, null, map, text) in [
            (Version::Two, "$-1\r\n", "*4\r\n", "$2\r\nhi\r\n"),
            (Version::Three, "_\r\n", "%2\r\n", "=6\r\ntxt:hi\r\n"),
        ] {
            assert_eq!(encoded(version, ReplyBuffer::null), null);
            assert_eq!(encoded(version, ReplyBuffer::null_array), null.replace("$", "*"));
            assert_eq!(encoded(version, |r| r.map(2)), map);
            assert_eq!(encoded(version, |r| r.text("hi")), text);
            assert_eq!(encoded(version, |r| r.status("OK")), "+OK\r\n");
            assert_eq!(encoded(version, |r| r.integer(i64::MIN)), ":-9223372036854775808\r\n");
            assert_eq!(encoded(version, |r| r.bulk("")), "$0\r\n\r\n");
            assert_eq!(encoded(version, |r| r.start_bulk(12)), "$12\r\n");
            assert_eq!(encoded(version, ReplyBuffer::end_bulk), "\r\n");
            assert_eq!(encoded(version, |r| r.array(0)), "*0\r\n");
        }
    }

    #[test]
    fn integers_of_every_length_are_one_line() {
        for power in 0..19 {
            let power = 10_i64.pow(power);
            for number in [power - 1, power, power + 1].into_iter().flat_map(|number| [number, -number]) {
                for version in [Version::Two, Version::Three] {
                    assert_eq!(encoded(version, |r| r.integer(number)), format!(":{number}\r\n"));
                }
            }
        }
    }

    #[test]
    fn a_line_break_in_an_error_cannot_forge_a_reply() {
        assert_eq!(encoded(Version::Two, |r| r.error("ERR a\r\n+OK")), "-ERR a  +OK\r\n");
    }
}
