//! A small blocking client of the Redis protocol, for the few commands of `leasehold ctl`.

use crate::cli::connection::{BlockingStream, ConnectionError, check_privacy};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::PathBuf;
use std::time::Duration;

/// The time in which a node must accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest line of a reply, and the longest string: a status is a few kilobytes.
const MAX_LINE: u64 = 64 << 10;
const MAX_BULK: usize = 16 << 20;

/// The way in which nodes are reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// The user and the password, if any.
    pub(super) credentials: Option<(String, String)>,
    /// The authority of the nodes' certificates, if their client ports use TLS.
    pub(super) authority: Option<PathBuf>,
    /// The password may be sent to other machines without TLS.
    pub(super) insecure: bool,
}

/// A reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A status or a string.
    Text(String),
    /// An error: a code, a space and a message.
    Error(String),
}

/// A connection to a node.
pub(super) struct Connection {
    stream: BufReader<BlockingStream>,
}

impl Access {
    /// Connects to the node at an address for clients.
    ///
    /// # Errors
    /// The reason, which follows the address.
    pub(super) fn connect(&self, address: &str, patience: Duration) -> Result<Connection, String> {
        if self.credentials.is_some() && !self.insecure {
            // The address may be one that a node gave.
            check_privacy(address, self.authority.as_deref()).map_err(|error| format!("is not asked: {error}"))?;
        }
        let stream = BlockingStream::connect(address, self.authority.as_deref(), CONNECT_TIMEOUT);
        let mut stream = stream.map_err(|error| match error {
            ConnectionError::Connect(_, error) => format!("cannot be reached: {error}"),
            ConnectionError::Encrypt(_, reason) => reason,
            error => format!("cannot be reached: {error}"),
        })?;
        stream.set_timeout(patience);
        let mut connection = Connection { stream: BufReader::new(stream) };
        if let Some((user, password)) = &self.credentials {
            match connection.ask(&["AUTH", user, password]) {
                Ok(Reply::Text(_)) => {}
                Ok(Reply::Error(error)) => return Err(format!("refused the user: {error}")),
                Err(error) => return Err(format!("does not answer: {error}")),
            }
        }
        Ok(connection)
    }
}

impl Connection {
    /// Sends a command and returns the reply.
    ///
    /// # Errors
    /// If the connection fails. The command may have been executed.
    pub(super) fn ask(&mut self, arguments: &[&str]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", arguments.len());
        for argument in arguments {
            request.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        let line = self.line()?;
        let invalid = || io::Error::new(ErrorKind::InvalidData, "it does not speak the Redis protocol");
        let kind = line.chars().next().ok_or_else(invalid)?;
        let rest = line.get(1..).ok_or_else(invalid)?;
        match kind {
            '+' | ':' => Ok(Reply::Text(rest.to_owned())),
            '-' => Ok(Reply::Error(rest.to_owned())),
            '$' => {
                let length = rest.parse().ok().filter(|length| *length <= MAX_BULK).ok_or_else(invalid)?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(length);
                Ok(Reply::Text(String::from_utf8(text).map_err(|_| invalid())?))
            }
            _ => Err(invalid()),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(MAX_LINE).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None if line.is_empty() => Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
            None => Err(io::Error::new(ErrorKind::InvalidData, "it does not speak the Redis protocol")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    /// Returns what a client makes of these bytes.
    fn answered(bytes: &'static [u8]) -> io::Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 14];
            stream.read_exact(&mut request).expect("a request");
            assert_eq!(&request, b"*1\r\n$4\r\nPING\r\n");
            stream.write_all(bytes).expect("sent");
        });
        let mut connection = Access::default().connect(&address, Duration::from_secs(10)).expect("connected");
        let reply = connection.ask(&["PING"]);
        server.join().expect("the server ends");
        reply
    }

    #[test]
    fn replies_are_read_whole_and_other_bytes_are_errors() {
        let text = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(answered(b"+PONG\r\n").expect("a reply"), text("PONG"));
        assert_eq!(answered(b"$4\r\na\r\nb\r\n").expect("a reply"), text("a\r\nb"));
        assert_eq!(answered(b"-ERR no\r\n").expect("a reply"), Reply::Error("ERR no".to_owned()));
        for wrong in [&b"HTTP/1.1 400\r\n"[..], b"", b"+PO", b"$-1\r\n", b"$999999999999\r\n", b"$3\r\nab", b"\r\n"] {
            answered(wrong).expect_err("not a reply");
        }
    }

    #[test]
    fn a_password_goes_to_other_machines_with_tls_only() {
        let credentials = Some(("admin".to_owned(), "secret".to_owned()));
        let access = Access { credentials, ..Access::default() };
        // An address that leads nowhere, in case that it is dialed.
        let connect = |access: &Access| access.connect("192.0.2.1:7001", Duration::ZERO).err().expect("no connection");
        let error = connect(&access);
        assert!(error.contains("in plain text") && error.contains("--tls-ca"), "{error}");
        assert!(!connect(&Access { insecure: true, ..access }).contains("in plain text"));
    }
}
