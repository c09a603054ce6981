//! The commands of a connection.

use crate::keyspace::{ReadCommand, WriteCommand};
use bytes::Bytes;
use std::fmt;

/// A command, by where it is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reads the replicated state, with the permission of a lease or a quorum.
    Read(ReadCommand),
    /// Changes the replicated state, through the log.
    Write(WriteCommand),
    /// Concerns this connection or this node.
    Local(LocalCommand),
    /// `LEASEHOLD.BACKUP`: streams the whole state.
    Backup,
    /// `LEASEHOLD` and its subcommand: administers the cluster.
    Administer(Vec<Bytes>),
    /// `MULTI`: starts a transaction.
    Multi,
    /// `EXEC`: executes the queued commands of the transaction.
    Exec,
    /// `DISCARD`: drops them.
    Discard,
    /// The queued commands, which `EXEC` becomes: all of them or none, in a log entry of their own. No request is
    /// parsed to it.
    Entry(Vec<WriteCommand>),
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the user.
    pub user: Bytes,
    /// The password.
    pub password: Bytes,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A command about the connection or the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalCommand {
    /// `PING`, with an optional message to return.
    Ping(Option<Bytes>),
    /// `ECHO`.
    Echo(Bytes),
    /// `AUTH`: logs in.
    Auth(Credentials),
    /// `HELLO`: selects the version of the protocol, logs in, and names the connection.
    Hello {
        /// The requested version, if any.
        version: Option<Bytes>,
        /// The user and the password, if any.
        login: Option<Credentials>,
        /// The name, if any.
        name: Option<Bytes>,
    },
    /// `RESET`: makes the connection like a new one.
    Reset,
    /// `CLIENT` and its subcommand.
    Client(Vec<Bytes>),
    /// `COMMAND` and its subcommand.
    Command(Vec<Bytes>),
    /// `CONFIG GET` and its patterns.
    ConfigGet(Vec<Bytes>),
    /// `INFO` and its sections.
    Info(Vec<Bytes>),
    /// `SELECT`.
    Select(Bytes),
    /// `QUIT`.
    Quit,
    /// The start of an HTTP request, which a browser may have been tricked into sending.
    Http,
    /// A command that only needs this reply.
    Status(&'static str),
    /// An unknown or incorrect command, and the error to reply with.
    Wrong(String),
}
