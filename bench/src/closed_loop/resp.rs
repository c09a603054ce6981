//! The part of the Redis protocol that GET and SET need.

use super::{Connection, VALUE};
use std::io::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection with at most one command in flight.
pub(crate) struct Resp {
    stream: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Connection for Resp {
    /// Opens a connection for each client.
    async fn open(port: u16, clients: u32) -> Result<Vec<Resp>, String> {
        let mut connections = Vec::new();
        for _ in 0..clients {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            connections.push(Resp { stream, request: Vec::new(), reply: Vec::new() });
        }
        Ok(connections)
    }

    async fn get(&mut self, key: &str) -> Result<(), String> {
        self.call(&["GET", key]).await
    }

    async fn set(&mut self, key: &str) -> Result<(), String> {
        self.call(&["SET", key, VALUE]).await
    }
}

impl Resp {
    async fn call(&mut self, words: &[&str]) -> Result<(), String> {
        self.request.clear();
        let text = |error: std::io::Error| error.to_string();
        write!(self.request, "*{}\r\n", words.len()).map_err(text)?;
        for word in words {
            write!(self.request, "${}\r\n{word}\r\n", word.len()).map_err(text)?;
        }
        self.stream.write_all(&self.request).await.map_err(text)?;
        self.reply.clear();
        while !is_complete(&self.reply)? {
            if self.stream.read_buf(&mut self.reply).await.map_err(text)? == 0 {
                return Err("the server closed the connection".to_owned());
            }
        }
        Ok(())
    }
}

/// Returns whether a reply is complete.
///
/// # Errors
/// The reply, if it is an error.
fn is_complete(reply: &[u8]) -> Result<bool, String> {
    let Some(line) = reply.windows(2).position(|pair| pair == b"\r\n") else { return Ok(false) };
    let first = String::from_utf8_lossy(&reply[..line]);
    match first.split_at_checked(1) {
        Some(("-", error)) => Err(format!("the server refused: {error}")),
        Some(("+", _)) => Ok(true),
        Some(("$", length)) => {
            let length: i64 = length.parse().map_err(|_| format!("not a length: {length}"))?;
            let body = usize::try_from(length).map_or(0, |length| length + 2);
            Ok(reply.len() >= line + 2 + body)
        }
        _ => Err(format!("not a reply to GET or SET: {first}")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn a_reply_is_complete_at_its_last_byte() {
        for reply in ["+OK\r\n", "$3\r\nxxx\r\n", "$0\r\n\r\n", "$-1\r\n"] {
            for end in 0..reply.len() {
                assert_eq!(is_complete(&reply.as_bytes()[..end]), Ok(false), "{reply:?} up to {end}");
            }
            assert_eq!(is_complete(reply.as_bytes()), Ok(true));
        }
    }

    #[test]
    fn an_error_is_not_a_reply() {
        assert_eq!(is_complete(b"-ERR no leader\r\n"), Err("the server refused: ERR no leader".to_owned()));
    }
}
