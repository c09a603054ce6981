//! The demo's own client: a blocking socket that speaks RESP2.

use super::load::{Failure, Store};
use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The most redirections of a command: while the leader changes, two nodes may name each other.
const MAX_REDIRECTIONS: usize = 5;
/// The longest time for a reply. A node replies within 5 s, at least with an error.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const RECEIVE_BYTES: usize = 4 << 10;
/// The codes of the errors after which nothing was executed.
const NOT_EXECUTED: [&str; 4] = ["TRYAGAIN", "CLUSTERDOWN", "BUSY", "LOADING"];

pub(super) struct RespClient {
    stream: TcpStream,
    received: BytesMut,
    encoded: Vec<u8>,
}

impl RespClient {
    pub(super) fn connect(address: SocketAddr) -> io::Result<RespClient> {
        let stream = TcpStream::connect_timeout(&address, REPLY_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(RespClient { stream, received: BytesMut::new(), encoded: Vec::new() })
    }

    fn request(&mut self, arguments: &[&[u8]]) -> io::Result<BytesFrame> {
        self.encoded.clear();
        write!(self.encoded, "*{}\r\n", arguments.len())?;
        for argument in arguments {
            write!(self.encoded, "${}\r\n", argument.len())?;
            self.encoded.extend_from_slice(argument);
            self.encoded.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.encoded)?;
        let mut piece = [0; RECEIVE_BYTES];
        loop {
            match decode_bytes_mut(&mut self.received) {
                Ok(Some((frame, ..))) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.received.extend_from_slice(&piece[..length]),
            }
        }
    }

    fn call<T>(&mut self, arguments: &[&[u8]], want: impl FnOnce(BytesFrame) -> Option<T>) -> Result<T, Failure> {
        let mut redirections = 0;
        loop {
            return match self.request(arguments) {
                Err(_) => Err(Failure::Disconnected),
                Ok(BytesFrame::Error(text)) if let Some(address) = redirection(&text) => {
                    redirections += 1;
                    match RespClient::connect(address) {
                        Ok(other) if redirections <= MAX_REDIRECTIONS => {
                            *self = other;
                            continue;
                        }
                        _ => Err(Failure::NotExecuted),
                    }
                }
                Ok(BytesFrame::Error(text)) if NOT_EXECUTED.iter().any(|code| text.starts_with(code)) => {
                    Err(Failure::NotExecuted)
                }
                Ok(frame) => want(frame).ok_or(Failure::Uncertain),
            };
        }
    }
}

/// Returns the address of the node that the client is sent to.
fn redirection(error: &str) -> Option<SocketAddr> {
    error.strip_prefix("MOVED ")?.split(' ').nth(1)?.parse().ok()
}

impl Store for RespClient {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.call(&[b"GET", key.as_bytes()], |frame| match frame {
            BytesFrame::BulkString(value) => Some(Some(value.to_vec())),
            BytesFrame::Null => Some(None),
            _ => None,
        })
    }

    fn set(&mut self, key: &str, number: u64) -> Result<(), Failure> {
        self.call(&[b"SET", key.as_bytes(), number.to_string().as_bytes()], |frame| match frame {
            BytesFrame::SimpleString(_) => Some(()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that sends each of these replies to one request, in two pieces, and then disconnects.
    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for answer in answers {
                let mut request = [0; 256];
                assert!(stream.read(&mut request).expect("a request") > 0);
                let (head, tail) = answer.split_at(answer.len() / 2);
                stream.write_all(head.as_bytes()).expect("the client listens");
                stream.write_all(tail.as_bytes()).expect("the client listens");
            }
        });
        address
    }

    #[test]
    fn distinguishes_replies_refusals_and_lost_connections() {
        let answers =
            &["$2\r\n17\r\n", "$-1\r\n", "-TRYAGAIN no leader\r\n", "+OK\r\n", "-UNCERTAIN no reply\r\n", "+O"];
        let mut client = RespClient::connect(server(answers)).expect("it listens");
        assert_eq!(client.get("k"), Ok(Some(b"17".to_vec())));
        assert_eq!(client.get("k"), Ok(None));
        assert_eq!(client.set("k", 1), Err(Failure::NotExecuted));
        assert_eq!(client.set("k", 1), Ok(()));
        assert_eq!(client.set("k", 2), Err(Failure::Uncertain));
        assert_eq!(client.set("k", 3), Err(Failure::Disconnected));
    }

    #[test]
    fn follows_redirections_and_gives_up_where_they_lead_in_a_circle_or_nowhere() {
        let moved = |to: SocketAddr| &*Box::leak(format!("-MOVED 1 {to}\r\n").into_boxed_str());
        let answers = |answers: Vec<&'static str>| &*Box::leak(answers.into_boxed_slice());
        let leader = server(&["+OK\r\n", "+OK\r\n"]);
        let mut client = RespClient::connect(server(answers(vec![moved(leader)]))).expect("it listens");
        assert_eq!(client.set("k", 1), Ok(()));
        assert_eq!(client.set("k", 1), Ok(()), "it stays at the leader");
        let dead = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let mut client = RespClient::connect(server(answers(vec![moved(dead), "+OK\r\n"]))).expect("it listens");
        assert_eq!(client.set("k", 1), Err(Failure::NotExecuted));
        assert_eq!(client.set("k", 1), Ok(()), "it stays where it was");
        let last = server(&["+OK\r\n"]);
        let first = (0..=MAX_REDIRECTIONS).fold(last, |next, _| server(answers(vec![moved(next)])));
        let mut client = RespClient::connect(first).expect("it listens");
        assert_eq!(client.set("k", 1), Err(Failure::NotExecuted));
    }
}
