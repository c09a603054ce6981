//! Requests, from bytes as they arrive.
//!
//! The decoder of the `redis-protocol` crate is not used for these: it parses a frame that has only partly arrived again
//! from its start each time more bytes come, which is quadratic for a large value or a long array; and it knows neither
//! inline commands nor limits. This scanner looks at each byte once, takes no memory on the word of a length, and hands
//! out arguments as slices of what was received.

use super::{MAX_ARGUMENTS, MAX_BULK, MAX_COMMAND, MAX_INLINE, MAX_SKIPPED, parse_integer};
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;

/// The longest line that holds a length.
const MAX_LENGTH_LINE: usize = 64;
/// A receive buffer larger than this is given back once it is empty.
const KEPT_CAPACITY: usize = 2 << 20;

/// Bytes that are not the Redis protocol. What follows them cannot be understood: answer this and close.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(String);

/// One complete request.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A command and its arguments, at least one.
    Command(Arguments<'a>),
    /// A request that was read to its end and dropped, and why. The connection is still good.
    Refused(String),
}

/// The arguments of a request, the command's name first.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    frame: Bytes,
    ranges: &'a [Range<usize>],
}

impl Arguments<'_> {
    /// How many there are, the command's name included.
    #[expect(clippy::len_without_is_empty, reason = "there is always a name")]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The argument at `position`; empty past the end. It shares memory with the request.
    pub fn get(&self, position: usize) -> Bytes {
        self.ranges.get(position).map(|range| self.frame.slice(range.clone())).unwrap_or_default()
    }

    /// The argument at `position`, borrowed; empty past the end.
    pub fn peek(&self, position: usize) -> &[u8] {
        self.ranges.get(position).map(|range| &self.frame[range.clone()]).unwrap_or_default()
    }

    /// The arguments from `position` on.
    pub fn from(&self, position: usize) -> impl Iterator<Item = Bytes> + '_ {
        self.ranges.iter().skip(position).map(|range| self.frame.slice(range.clone()))
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    /// A new request.
    #[default]
    Start,
    /// The length of an argument; so many are still to come.
    Length { left: usize },
    /// The bytes of an argument and its line end, so many of them.
    Body { left: usize, bytes: usize },
}

/// What one step of the scanner found.
enum Step {
    /// Part of a request.
    Part,
    /// The end of a request.
    Request,
    /// The end of what was received.
    Wait,
}

/// Cuts a stream of bytes into requests.
///
/// Give it what arrives with [`receive`](Self::receive), then take requests with [`next`](Self::next) until there is none.
#[derive(Debug, Default)]
pub struct RequestReader {
    buffer: BytesMut,
    expect: Expect,
    /// Everything before this was understood. It counts from the start of the request.
    at: usize,
    /// Nothing from `at` to here is a line end.
    searched: usize,
    ranges: Vec<Range<usize>>,
    /// The arguments of an inline request, without their quotes and escapes.
    unquoted: Option<Vec<u8>>,
    /// Set when the request in hand is only read to be dropped.
    refused: Option<String>,
}

impl RequestReader {
    /// Takes bytes as they arrived.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = BytesMut::new();
        }
        if self.ranges.capacity() > KEPT_CAPACITY / size_of::<Range<usize>>() && self.ranges.is_empty() {
            self.ranges = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete request, if one has arrived.
    ///
    /// # Errors
    /// [`ProtocolError`] when the stream cannot be understood from here on.
    #[expect(clippy::should_implement_trait, reason = "a request borrows from its reader, as no iterator's item can")]
    pub fn next(&mut self) -> Result<Option<Request<'_>>, ProtocolError> {
        if self.expect == Expect::Start {
            self.ranges.clear();
        }
        loop {
            match self.step()? {
                Step::Part => {}
                Step::Wait => return Ok(None),
                Step::Request => break,
            }
        }
        if let Some(reason) = self.refused.take() {
            return Ok(Some(Request::Refused(reason)));
        }
        let frame = match self.unquoted.take() {
            Some(frame) => Bytes::from(frame),
            None => {
                let frame = self.buffer.split_to(self.at).freeze();
                (self.at, self.searched) = (0, 0);
                frame
            }
        };
        Ok(Some(Request::Command(Arguments { frame, ranges: &self.ranges })))
    }

    fn step(&mut self) -> Result<Step, ProtocolError> {
        match self.expect {
            Expect::Start => match self.buffer.first() {
                None => Ok(Step::Wait),
                Some(b'*') => self.step_count(),
                Some(_) => self.step_inline(),
            },
            Expect::Length { left } => self.step_length(left),
            Expect::Body { left, bytes } => Ok(self.step_body(left, bytes)?),
        }
    }

    fn step_count(&mut self) -> Result<Step, ProtocolError> {
        let Some(line) = self.line(MAX_LENGTH_LINE, "too big mbulk count string")? else { return Ok(Step::Wait) };
        let count = self.length_in(line).ok_or_else(|| error("invalid multibulk length"))?;
        if count <= 0 {
            self.forget_understood();
            return Ok(Step::Part);
        }
        let left = usize::try_from(count).unwrap_or(usize::MAX);
        if left > MAX_ARGUMENTS {
            return Err(error("invalid multibulk length"));
        }
        self.expect = Expect::Length { left };
        Ok(Step::Part)
    }

    fn step_length(&mut self, left: usize) -> Result<Step, ProtocolError> {
        match self.buffer.get(self.at) {
            None => return Ok(Step::Wait),
            Some(b'$') => {}
            Some(&other) => return Err(error(&format!("expected '$', got '{}'", other.escape_ascii()))),
        }
        let Some(line) = self.line(MAX_LENGTH_LINE, "too big bulk count string")? else { return Ok(Step::Wait) };
        let length = self
            .length_in(line)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= MAX_SKIPPED)
            .ok_or_else(|| error("invalid bulk length"))?;
        if length > MAX_BULK {
            self.refuse(format!("ERR an argument of {length} bytes exceeds {MAX_BULK} bytes; split the value"));
        } else if self.at + length > MAX_COMMAND {
            self.refuse(format!("ERR a request exceeds {MAX_COMMAND} bytes in all; split it into several commands"));
        }
        if self.refused.is_some() {
            self.forget_understood();
        }
        self.expect = Expect::Body { left, bytes: length + 2 };
        Ok(Step::Part)
    }

    fn step_body(&mut self, left: usize, bytes: usize) -> Result<Step, ProtocolError> {
        let arrived = self.buffer.len() - self.at;
        if self.refused.is_some() {
            let dropped = arrived.min(bytes);
            self.at += dropped;
            self.forget_understood();
            if dropped < bytes {
                self.expect = Expect::Body { left, bytes: bytes - dropped };
                return Ok(Step::Wait);
            }
        } else {
            if arrived < bytes {
                return Ok(Step::Wait);
            }
            let end = self.at + bytes;
            if &self.buffer[end - 2..end] != b"\r\n" {
                return Err(error("expected a line end after an argument"));
            }
            self.ranges.push(self.at..end - 2);
            self.at = end;
            self.searched = end;
        }
        if left == 1 {
            self.expect = Expect::Start;
            Ok(Step::Request)
        } else {
            self.expect = Expect::Length { left: left - 1 };
            Ok(Step::Part)
        }
    }

    fn step_inline(&mut self) -> Result<Step, ProtocolError> {
        let Some(line) = self.line(MAX_INLINE, "too big inline request")? else { return Ok(Step::Wait) };
        let mut frame = Vec::new();
        let understood = split_inline(&self.buffer[line], &mut frame, &mut self.ranges);
        if !understood {
            return Err(error("unbalanced quotes in request"));
        }
        self.forget_understood();
        if self.ranges.is_empty() {
            return Ok(Step::Part);
        }
        self.unquoted = Some(frame);
        Ok(Step::Request)
    }

    /// The line from `at` on, without its end; `at` moves behind it.
    fn line(&mut self, limit: usize, too_long: &str) -> Result<Option<Range<usize>>, ProtocolError> {
        let searchable = self.buffer.len().min(self.at + limit);
        let found = self.buffer[self.searched..searchable].iter().position(|byte| *byte == b'\n');
        let Some(offset) = found else {
            self.searched = searchable;
            return if searchable == self.at + limit { Err(error(too_long)) } else { Ok(None) };
        };
        let end = self.searched + offset;
        let line = self.at..end;
        self.at = end + 1;
        self.searched = self.at;
        Ok(Some(line))
    }

    /// The number in a line such as `*3\r`.
    fn length_in(&self, line: Range<usize>) -> Option<i64> {
        parse_integer(self.buffer[line].get(1..)?.strip_suffix(b"\r")?)
    }

    fn refuse(&mut self, reason: String) {
        self.refused.get_or_insert(reason);
        self.ranges.clear();
    }

    fn forget_understood(&mut self) {
        self.buffer.advance(self.at);
        (self.at, self.searched) = (0, 0);
    }
}

fn error(what: &str) -> ProtocolError {
    ProtocolError(what.to_owned())
}

/// Splits an inline request as Redis does: at white space, `"..."` with escapes, `'...'` with `\'`. The arguments are
/// appended to `frame`. `false` if quotes are not balanced.
fn split_inline(line: &[u8], frame: &mut Vec<u8>, ranges: &mut Vec<Range<usize>>) -> bool {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return true;
        }
        let start = frame.len();
        loop {
            match rest {
                [] => break,
                [b'"', tail @ ..] => match quoted(tail, b'"', frame) {
                    Some(tail) => {
                        rest = tail;
                        break;
                    }
                    None => return false,
                },
                [b'\'', tail @ ..] => match quoted(tail, b'\'', frame) {
                    Some(tail) => {
                        rest = tail;
                        break;
                    }
                    None => return false,
                },
                [byte, ..] if byte.is_ascii_whitespace() => break,
                [byte, tail @ ..] => {
                    frame.push(*byte);
                    rest = tail;
                }
            }
        }
        ranges.push(start..frame.len());
    }
}

/// What follows the closing quote, which must end the argument.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, frame: &mut Vec<u8>) -> Option<&'a [u8]> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    loop {
        rest = match rest {
            [] => return None,
            [end, tail @ ..] if *end == quote => {
                return tail.first().is_none_or(u8::is_ascii_whitespace).then_some(tail);
            }
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => {
                frame.push(b'\'');
                tail
            }
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                frame.push(hex(*high)? * 16 + hex(*low)?);
                tail
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => {
                frame.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                frame.push(*byte);
                tail
            }
        };
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
