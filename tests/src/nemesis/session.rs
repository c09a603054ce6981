//! A client connection that can send now and receive later.
//!
//! The most important requests wait in the socket of a stopped process. Therefore sending and receiving are separate
//! steps, and a connection starts without a handshake.

use crate::linearizability::{Answer, Call};
use crate::processes::PATIENCE;
use redis::{Parser, Value, cmd};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection to one node.
pub(crate) struct Session {
    stream: TcpStream,
    parser: Parser,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The node replied with an answer.
    Answered(Answer),
    /// The node replied that the request was not executed and will not be.
    Refused,
    /// The node replied that the outcome is uncertain.
    Unknown,
    /// No reply was received, and none can be received on this connection.
    Lost,
}

impl Session {
    /// Connects to a loopback port. The timeout for each reply is `patience`.
    pub(crate) fn connect(port: u16, patience: Duration) -> io::Result<Session> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Session { stream, parser: Parser::new() })
    }

    /// Sends a request. Replies arrive in the order of the requests.
    pub(crate) fn send(&mut self, key: &str, call: Call) -> io::Result<()> {
        self.send_all(&Session::request(key, call, None))
    }

    /// Sends requests, each of which [`request`](Self::request) returned, at once.
    pub(crate) fn send_all(&mut self, requests: &[u8]) -> io::Result<()> {
        self.stream.write_all(requests)
    }

    /// Returns a request. A key that is set dies after `life`.
    pub(crate) fn request(key: &str, call: Call, life: Option<Duration>) -> Vec<u8> {
        let mut command = match call {
            Call::Get => cmd("GET"),
            Call::Set(_) => cmd("SET"),
            Call::Increment => cmd("INCR"),
            Call::Delete => cmd("DEL"),
        };
        command.arg(key);
        if let Call::Set(value) = call {
            command.arg(value);
            if let Some(life) = life {
                command.arg("PX").arg(life.as_millis() as u64);
            }
        }
        command.get_packed_command()
    }

    /// Waits for the next reply, which belongs to this call.
    pub(crate) fn receive(&mut self, call: Call) -> Fate {
        match self.parser.parse_value(&mut self.stream) {
            Err(_) => Fate::Lost,
            Ok(Value::ServerError(error)) if matches!(error.code(), "TRYAGAIN" | "BUSY" | "LOADING") => Fate::Refused,
            Ok(Value::ServerError(error)) if error.code() == "UNCERTAIN" => Fate::Unknown,
            Ok(value) => Fate::Answered(
                answer(call, &value).unwrap_or_else(|| panic!("{value:?} is not a valid reply to {call:?}")),
            ),
        }
    }

    /// Sends a request and waits for the reply.
    pub(crate) fn ask(&mut self, key: &str, call: Call) -> Fate {
        self.send(key, call).map_or(Fate::Lost, |()| self.receive(call))
    }

    /// Returns the fields of some sections of `INFO`, or `None` if they do not arrive in time.
    pub(crate) fn info(&mut self, sections: &[&str]) -> Option<BTreeMap<String, String>> {
        self.stream.write_all(&cmd("INFO").arg(sections).get_packed_command()).ok()?;
        let text: String = redis::from_redis_value(self.parser.parse_value(&mut self.stream).ok()?).ok()?;
        let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(text.lines().filter_map(field).collect())
    }
}

fn answer(call: Call, value: &Value) -> Option<Answer> {
    Some(match (call, value) {
        (Call::Get, Value::Nil) => Answer::Value(None),
        (Call::Get, Value::BulkString(text)) => Answer::Value(Some(std::str::from_utf8(text).ok()?.parse().ok()?)),
        (Call::Set(_), Value::Okay) | (Call::Delete, Value::Int(_)) => Answer::Done,
        (Call::Increment, Value::Int(number)) => Answer::Value(Some(u64::try_from(*number).ok()?)),
        _ => return None,
    })
}
