//! The part of the Redis protocol that GET and SET need.

use super::{Connection, Operation, VALUE};
use std::io::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection, with no command in flight between two calls.
pub(crate) struct Resp {
    stream: TcpStream,
    request: Vec<u8>,
    replies: Vec<u8>,
}

impl Connection for Resp {
    /// Opens a connection for each client.
    async fn open(port: u16, clients: u32) -> Result<Vec<Resp>, String> {
        let mut connections = Vec::new();
        for _ in 0..clients {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            connections.push(Resp { stream, request: Vec::new(), replies: Vec::new() });
        }
        Ok(connections)
    }

    async fn execute(&mut self, operations: &[Operation<'_>]) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        self.request.clear();
        for operation in operations {
            match operation {
                Operation::Get(key) => encode(&mut self.request, &["GET", key]),
                Operation::Set(key) => encode(&mut self.request, &["SET", key, VALUE]),
            }
            .map_err(text)?;
        }
        self.stream.write_all(&self.request).await.map_err(text)?;
        self.replies.clear();
        let (mut consumed, mut answered) = (0, 0);
        while answered < operations.len() {
            if self.stream.read_buf(&mut self.replies).await.map_err(text)? == 0 {
                return Err("the server closed the connection".to_owned());
            }
            while let Some(length) = reply_length(&self.replies[consumed..])? {
                consumed += length;
                answered += 1;
            }
        }
        Ok(())
    }
}

fn encode(request: &mut Vec<u8>, words: &[&str]) -> std::io::Result<()> {
    write!(request, "*{}\r\n", words.len())?;
    words.iter().try_for_each(|word| write!(request, "${}\r\n{word}\r\n", word.len()))
}

/// Returns the length of the first reply, or `None` if it is incomplete.
///
/// # Errors
/// The reply, if it is an error.
fn reply_length(replies: &[u8]) -> Result<Option<usize>, String> {
    let Some(line) = replies.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let first = String::from_utf8_lossy(&replies[..line]);
    let length = match first.split_at_checked(1) {
        Some(("-", error)) => return Err(format!("the server refused: {error}")),
        Some(("+", _)) => line + 2,
        Some(("$", length)) => {
            let length: i64 = length.parse().map_err(|_| format!("not a length: {length}"))?;
            line + 2 + usize::try_from(length).map_or(0, |length| length + 2)
        }
        _ => return Err(format!("not a reply to GET or SET: {first}")),
    };
    Ok((replies.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::reply_length;

    #[test]
    fn a_reply_is_complete_at_its_last_byte() {
        for reply in ["+OK\r\n", "$3\r\nxxx\r\n", "$0\r\n\r\n", "$-1\r\n"] {
            for end in 0..reply.len() {
                assert_eq!(reply_length(&reply.as_bytes()[..end]), Ok(None), "{reply:?} up to {end}");
            }
            let followed = format!("{reply}+OK\r\n");
            assert_eq!(reply_length(followed.as_bytes()), Ok(Some(reply.len())));
        }
    }

    #[test]
    fn an_error_is_not_a_reply() {
        assert_eq!(reply_length(b"-ERR no leader\r\n"), Err("the server refused: ERR no leader".to_owned()));
    }
}
