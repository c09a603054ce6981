//! Connections of the command line to the client port of a node.

use super::security::is_loopback;
use crate::timeout::within;
use clap::Args;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_runtime::Runtime as _;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_tls::{Stream, TlsClient, TlsError, explain};
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time in which a node must accept a connection, take a command, answer, or go on with a long answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest line of a reply.
const MAX_LINE_BYTES: u64 = 64 << 10;
/// The variable of the environment that may have the password.
const PASSWORD_VARIABLE: &str = "LEASEHOLD_PASSWORD";

/// The flags of a command that connects to a node.
#[derive(Args, Debug, Default)]
pub(super) struct ConnectionFlags {
    /// The user to log in as, if the node has users.
    #[arg(long, value_name = "NAME", default_value = "default")]
    user: String,
    /// The file whose first line is the password. Without it, the variable LEASEHOLD_PASSWORD of the environment may have
    /// the password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Connect with TLS to a node whose certificate this authority has signed, in PEM form.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Send the password without TLS to another machine: only through a network that contains only trusted machines.
    #[arg(long)]
    insecure: bool,
}

/// The reason why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("cannot connect to {0}: {1}; give the address at which a node serves clients")]
    Connect(String, io::Error),
    #[error("{0} {1}")]
    Encrypt(String, String),
    #[error("--tls-ca cannot be used: {0}")]
    Authority(#[from] TlsError),
    #[error("cannot read the password in {}: {source}", path.display())]
    Password { path: PathBuf, source: io::Error },
    #[error(
        "{0} does not answer in the Redis protocol; give the address of a node for clients, and --tls-ca if it uses TLS"
    )]
    OtherProtocol(String),
    #[error(
        "the password would go to {0} in plain text; add --tls-ca, or --insecure if only trusted machines can listen"
    )]
    PlainPassword(String),
    #[error("{0} refuses the login: {1}; check --user and --password-file")]
    Login(String, String),
}

/// A connection to a node.
pub(super) struct Connection {
    stream: BufReader<BlockingStream>,
}

impl Connection {
    /// Connects to a node and logs in, if there is a password.
    pub(super) fn open(address: &str, flags: &ConnectionFlags) -> Result<Connection, ConnectionError> {
        let failed = |error| ConnectionError::Connect(address.to_owned(), error);
        let password = flags.password()?;
        if password.is_some() && !flags.insecure {
            check_privacy(address, flags.tls_ca.as_deref())?;
        }
        let stream = BlockingStream::connect(address, flags.tls_ca.as_deref(), TIMEOUT)?;
        let stream = BufReader::with_capacity(1 << 20, stream);
        let mut connection = Connection { stream };
        if let Some(password) = password {
            let reply = connection.ask(&[b"AUTH", flags.user.as_bytes(), password.as_bytes()]);
            match reply.map_err(failed)?.as_bytes() {
                b"+OK" => {}
                [b'-', reason @ ..] => {
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Err(ConnectionError::Login(address.to_owned(), reason));
                }
                _ => return Err(ConnectionError::OtherProtocol(address.to_owned())),
            }
        }
        Ok(connection)
    }

    /// Sends a command.
    pub(super) fn send(&mut self, words: &[&[u8]]) -> io::Result<()> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)
    }

    /// Sends a command and returns the first line of the reply.
    fn ask(&mut self, words: &[&[u8]]) -> io::Result<String> {
        self.send(words)?;
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Returns what the node sends.
    pub(super) fn received(&mut self) -> &mut BufReader<BlockingStream> {
        &mut self.stream
    }
}

impl ConnectionFlags {
    /// Returns the password, if there is one.
    fn password(&self) -> Result<Option<String>, ConnectionError> {
        let Some(path) = &self.password_file else { return Ok(std::env::var(PASSWORD_VARIABLE).ok()) };
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().to_owned())),
            Err(source) => Err(ConnectionError::Password { path: path.clone(), source }),
        }
    }
}

/// Checks that a password is sent with TLS, or stays on this machine.
pub(super) fn check_privacy(address: &str, authority: Option<&Path>) -> Result<(), ConnectionError> {
    if authority.is_some() || is_loopback(address) {
        return Ok(());
    }
    Err(ConnectionError::PlainPassword(address.to_owned()))
}

/// A stream that blocks, for a time at most.
pub(super) struct BlockingStream {
    runtime: SmolRuntime,
    stream: Stream<<SmolRuntime as leasehold_runtime::Runtime>::Stream>,
    timeout: Duration,
}

impl BlockingStream {
    /// Connects to a node within a time, with TLS if there is an authority.
    pub(super) fn connect(
        address: &str,
        authority: Option<&Path>,
        timeout: Duration,
    ) -> Result<BlockingStream, ConnectionError> {
        let failed = |error| ConnectionError::Connect(address.to_owned(), error);
        let tls = authority.map(TlsClient::open).transpose()?;
        let runtime = SmolRuntime::start("client", 1).map_err(failed)?;
        let connected = runtime.block_on(within(&runtime, timeout, runtime.connect(address)));
        let stream = connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
        let Some(tls) = tls else { return Ok(BlockingStream { runtime, stream: Stream::plain(stream), timeout }) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let encrypted = runtime.block_on(within(&runtime, timeout, tls.connect(host, stream)));
        let stream = encrypted.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
            explain(&error).map_or_else(|| failed(error), |why| ConnectionError::Encrypt(address.to_owned(), why))
        })?;
        Ok(BlockingStream { runtime, stream, timeout })
    }

    /// Sets the time in which the node must take or send something.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends bytes.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let written = self.runtime.block_on(within(&self.runtime, self.timeout, write));
        written.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for BlockingStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.runtime.block_on(within(&self.runtime, self.timeout, self.stream.read(buffer)));
        read.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}
