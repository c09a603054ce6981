//! Reading requests from bytes as they arrive.
//!
//! The decoder of the `redis-protocol` crate is not suitable: each time more bytes arrive, it parses an incomplete
//! frame again from its start, which is quadratic for a large value or a long array. It supports neither inline
//! commands nor limits. This scanner looks at each byte once, allocates no memory for a length before the bytes arrive,
//! and returns arguments as slices of the received bytes.

use super::integer::parse_integer;
use super::limits::{
    MAX_ARGUMENTS, MAX_ARGUMENTS_BEFORE_LOGIN, MAX_BULK, MAX_BULK_BEFORE_LOGIN, MAX_COMMAND, MAX_COMMAND_BEFORE_LOGIN,
    MAX_INLINE, MAX_SKIPPED,
};
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;

/// The longest line with a length, in bytes.
const MAX_LENGTH_LINE: usize = 64;
/// The first byte that a client of TLS sends. No name of a command begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// An empty receive buffer that has grown larger is freed, so that idle clients take little memory.
const MAX_KEPT_BYTES: usize = 64 << 10;
/// The bytes that are kept of the name of a refused request.
const MAX_REFUSED_NAME: usize = 32;
/// An estimate of the memory that one argument takes beyond its bytes: here, and in a command.
const ARGUMENT_BYTES: usize = 48;

/// A violation of the Redis protocol. The bytes after it cannot be understood: reply with this error and close the
/// connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(String);

/// One complete request.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A command and its arguments, at least one.
    Command(Arguments<'a>),
    /// A request that was read to its end and dropped. The connection can go on.
    Refused {
        /// The command's name, or the beginning of it, if that was read before.
        name: Bytes,
        /// The error to reply with.
        reason: String,
    },
}

/// The arguments of a request, starting with the command's name.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    frame: Bytes,
    ranges: &'a [Range<usize>],
}

impl Arguments<'_> {
    /// Returns the number of arguments, including the command's name.
    #[expect(clippy::len_without_is_empty, reason = "there is always a name")]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns the number of bytes of the request.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// Returns the argument at `position`, or an empty one past the end. It shares the memory of the request.
    pub fn get(&self, position: usize) -> Bytes {
        self.ranges.get(position).map(|range| self.frame.slice(range.clone())).unwrap_or_default()
    }

    /// Returns the argument at `position` as a slice, or an empty one past the end.
    pub fn peek(&self, position: usize) -> &[u8] {
        self.ranges.get(position).map(|range| &self.frame[range.clone()]).unwrap_or_default()
    }

    /// Returns the arguments from `position` on.
    pub fn from(&self, position: usize) -> impl Iterator<Item = Bytes> + '_ {
        self.ranges.iter().skip(position).map(|range| self.frame.slice(range.clone()))
    }
}

/// The meaning of the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    /// A new request.
    #[default]
    Start,
    /// The length of an argument; `left` arguments are still to come.
    Length { left: usize },
    /// An argument and its line end, which are `bytes` long together.
    Body { left: usize, bytes: usize },
}

/// The result of one step of the scanner.
enum Step {
    /// Part of a request.
    Part,
    /// The end of a request.
    Request,
    /// The end of the received bytes.
    Wait,
}

/// Splits a stream of bytes into requests.
///
/// Pass arriving bytes to [`receive`](Self::receive), then call [`next`](Self::next) until it returns `None`.
#[derive(Debug)]
pub struct RequestReader {
    buffer: BytesMut,
    /// The most bytes that the buffer has held.
    largest: usize,
    expect: Expect,
    /// The end of the parsed part of the request, from the start of the buffer.
    at: usize,
    /// There is no line end between `at` and this position.
    searched: usize,
    ranges: Vec<Range<usize>>,
    /// The arguments of an inline request, unquoted.
    unquoted: Option<Vec<u8>>,
    /// The name and the reason, if the current request is only read to be dropped.
    refused: Option<(Bytes, String)>,
    /// The client has to log in first.
    before_login: bool,
    /// The longest argument.
    max_argument: usize,
}

impl Default for RequestReader {
    fn default() -> RequestReader {
        RequestReader {
            buffer: BytesMut::new(),
            largest: 0,
            expect: Expect::Start,
            at: 0,
            searched: 0,
            ranges: Vec::new(),
            unquoted: None,
            refused: None,
            before_login: false,
            max_argument: MAX_BULK,
        }
    }
}

impl RequestReader {
    /// Sets the longest argument, in bytes: at most [`MAX_BULK`], which is the default. A whole request may have three
    /// times as many.
    pub fn set_max_argument(&mut self, bytes: usize) {
        self.max_argument = bytes.min(MAX_BULK);
    }

    /// Appends received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.largest = self.largest.max(self.buffer.len());
    }

    /// Sets whether the client has to log in first. If so, requests must be short.
    pub fn set_before_login(&mut self, before_login: bool) {
        self.before_login = before_login;
    }

    /// Returns the number of bytes that were received and are not part of a returned request.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Returns about how much memory it takes to receive the rest of the present argument, with everything received
    /// before it.
    pub fn needed(&self) -> usize {
        let (bytes, left) = match self.expect {
            Expect::Start => return self.buffer.len(),
            Expect::Length { left } => (0, left),
            Expect::Body { left, bytes } if self.refused.is_none() => (self.at + bytes, left),
            Expect::Body { left, .. } => (0, left),
        };
        // A client that announces many arguments has to send some first.
        let arguments = self.ranges.len() + left.min(self.ranges.len() + MAX_KEPT_BYTES / ARGUMENT_BYTES / 2);
        self.buffer.len().max(bytes) + ARGUMENT_BYTES * arguments
    }

    fn free_if_empty(&mut self) {
        if self.buffer.is_empty() && self.largest > MAX_KEPT_BYTES {
            (self.buffer, self.largest) = (BytesMut::new(), 0);
            self.ranges.shrink_to(MAX_KEPT_BYTES / size_of::<Range<usize>>());
        }
    }

    /// Returns the next complete request, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`ProtocolError`] if the rest of the stream cannot be understood.
    #[expect(
        clippy::should_implement_trait,
        reason = "a request borrows from its reader, which the item of an iterator cannot"
    )]
    pub fn next(&mut self) -> Result<Option<Request<'_>>, ProtocolError> {
        if self.expect == Expect::Start {
            self.ranges.clear();
            self.free_if_empty();
        }
        loop {
            match self.step()? {
                Step::Part => {}
                Step::Wait => return Ok(None),
                Step::Request => break,
            }
        }
        if let Some((name, reason)) = self.refused.take() {
            return Ok(Some(Request::Refused { name, reason }));
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
                Some(&TLS_HANDSHAKE) => Err(error(
                    "this port does not use TLS; connect without it, or start the node with --client-tls-cert",
                )),
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
            self.drop_parsed();
            return Ok(Step::Part);
        }
        let left = usize::try_from(count).unwrap_or(usize::MAX);
        if left > MAX_ARGUMENTS {
            return Err(error("invalid multibulk length"));
        }
        if self.before_login && left > MAX_ARGUMENTS_BEFORE_LOGIN {
            return Err(error("unauthenticated multibulk length"));
        }
        self.expect = Expect::Length { left };
        Ok(Step::Part)
    }

    fn step_length(&mut self, left: usize) -> Result<Step, ProtocolError> {
        match self.buffer.get(self.at) {
            None => return Ok(Step::Wait),
            Some(b'$') => {}
            // A line break would end the error early, so Redis sends a space.
            Some(b'\r' | b'\n') => return Err(error("expected '$', got ' '")),
            Some(&other) => return Err(error(&format!("expected '$', got '{}'", other.escape_ascii()))),
        }
        let Some(line) = self.line(MAX_LENGTH_LINE, "too big bulk count string")? else { return Ok(Step::Wait) };
        let length = self
            .length_in(line)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= MAX_SKIPPED)
            .ok_or_else(|| error("invalid bulk length"))?;
        if self.before_login && length > MAX_BULK_BEFORE_LOGIN {
            return Err(error("unauthenticated bulk length"));
        }
        if self.before_login && self.at + length > MAX_COMMAND_BEFORE_LOGIN {
            return Err(error("unauthenticated request length"));
        }
        let max = self.max_argument;
        let in_all = max * (MAX_COMMAND / MAX_BULK);
        if length > max {
            self.refuse(format!("ERR an argument of {length} bytes exceeds {max} bytes; split the value"));
        } else if self.at + length > in_all {
            self.refuse(format!("ERR a request exceeds {in_all} bytes in all; split it into several commands"));
        }
        if self.refused.is_some() {
            self.drop_parsed();
        }
        self.expect = Expect::Body { left, bytes: length + 2 };
        Ok(Step::Part)
    }

    fn step_body(&mut self, left: usize, bytes: usize) -> Result<Step, ProtocolError> {
        let arrived = self.buffer.len() - self.at;
        if self.refused.is_some() {
            let dropped = arrived.min(bytes);
            self.at += dropped;
            self.drop_parsed();
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
        let balanced = split_inline(&self.buffer[line], &mut frame, &mut self.ranges);
        if !balanced {
            return Err(error("unbalanced quotes in request"));
        }
        self.drop_parsed();
        if self.ranges.is_empty() {
            return Ok(Step::Part);
        }
        self.unquoted = Some(frame);
        Ok(Step::Request)
    }

    /// Returns the line from `at` on, without its end, and moves `at` behind it.
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

    /// Returns the number in a line such as `*3\r`.
    fn length_in(&self, line: Range<usize>) -> Option<i64> {
        parse_integer(self.buffer[line].get(1..)?.strip_suffix(b"\r")?)
    }

    fn refuse(&mut self, reason: String) {
        let name = self.ranges.first().map_or(&[][..], |name| &self.buffer[name.clone()]);
        let name = Bytes::copy_from_slice(&name[..name.len().min(MAX_REFUSED_NAME)]);
        self.refused.get_or_insert((name, reason));
        self.ranges.clear();
    }

    fn drop_parsed(&mut self) {
        self.buffer.advance(self.at);
        (self.at, self.searched) = (0, 0);
    }
}

fn error(what: &str) -> ProtocolError {
    ProtocolError(what.to_owned())
}

/// Returns whether an argument may begin after this byte. Vertical tabs and form feeds separate arguments, but do not
/// end one that is not quoted.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Splits an inline request as Redis does: at white space, with `"..."` for escapes and `'...'` for `\'`. Appends the
/// arguments to `frame`. Returns `false` if the quotes are not balanced.
fn split_inline(line: &[u8], frame: &mut Vec<u8>, ranges: &mut Vec<Range<usize>>) -> bool {
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|byte| is_space(**byte)).count()..];
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
                [b' ' | b'\t' | b'\r' | b'\n', ..] => break,
                [byte, tail @ ..] => {
                    frame.push(*byte);
                    rest = tail;
                }
            }
        }
        ranges.push(start..frame.len());
    }
}

/// Returns the bytes after the closing quote, which must end the argument.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, frame: &mut Vec<u8>) -> Option<&'a [u8]> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    loop {
        rest = match rest {
            [] => return None,
            [end, tail @ ..] if *end == quote => {
                return tail.first().is_none_or(|byte| is_space(*byte)).then_some(tail);
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
