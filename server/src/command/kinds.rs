//! The commands of a connection.

use super::subcommands::{ClientCommand, ClusterCommand, ConfigCommand, DescribeCommand, SlowlogCommand};
use crate::keyspace::{ReadCommand, WriteCommand};
use crate::resp::Version;
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
    /// `CLUSTER COUNTKEYSINSLOT` and `CLUSTER GETKEYSINSLOT`: looks at every key.
    SearchSlot(SlotSearch),
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
    /// An incorrect `EXEC`, which drops the queued commands, and the error to reply with.
    AbortExec(String),
    /// `WATCH` and its keys: `EXEC` executes nothing if one of them has changed.
    Watch(Vec<Bytes>),
    /// A `WATCH` that is refused, and the error to reply with. The next `EXEC` executes nothing: its client may have sent
    /// it already.
    AbortWatch(String),
}

/// A search for the keys of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSearch {
    /// The slot.
    pub slot: u16,
    /// The most keys to return; `None` to return only their number.
    pub most: Option<usize>,
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
        version: Option<Version>,
        /// The user and the password, if any.
        login: Option<Credentials>,
        /// The name, if any.
        name: Option<Bytes>,
    },
    /// `READONLY` and `READWRITE`: says whether this node answers reads even if another one leads.
    ReadHere(bool),
    /// `RESET`: makes the connection like a new one.
    Reset,
    /// `CLIENT` and its subcommand.
    Client(ClientCommand),
    /// `CLUSTER` and its subcommand.
    Cluster(ClusterCommand),
    /// `COMMAND` and its subcommand.
    Describe(DescribeCommand),
    /// `CONFIG` and its subcommand.
    Config(ConfigCommand),
    /// `SLOWLOG` and its subcommand.
    Slowlog(SlowlogCommand),
    /// `MEMORY USAGE` of a key.
    MemoryUsage(Bytes),
    /// `MEMORY STATS`.
    MemoryStats,
    /// `INFO` and its sections.
    Info(Vec<Bytes>),
    /// `TIME`.
    Time,
    /// `ROLE`.
    Role,
    /// `WAIT`: every acknowledged write is on a majority, so there is nothing to wait for.
    Wait,
    /// `ACL WHOAMI`.
    WhoAmI,
    /// `ACL CAT`.
    AclCategories,
    /// `ACL CAT` and a category.
    AclCategory(Bytes),
    /// `LOLWUT`.
    Lolwut,
    /// `HELP` of a command with subcommands.
    Help(&'static str),
    /// `UNWATCH`: forgets the watched keys.
    Unwatch,
    /// `QUIT`.
    Quit,
    /// The start of an HTTP request, which a browser may have been tricked into sending.
    Http,
    /// A command that only needs this reply.
    Status(&'static str),
    /// A command that only needs this number as reply.
    Integer(i64),
    /// A command that only needs this reply.
    Fixed(Fixed),
    /// An incorrect command, and the error to reply with. In a transaction it is queued, as in Redis.
    Wrong(String),
    /// A command that is refused before it is queued or executed, such as an unknown one, and the error to reply with. It
    /// aborts a transaction.
    Rejected(String),
}

/// A reply that is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// An empty array.
    EmptyArray,
    /// An empty map.
    EmptyMap,
    /// An array of so many zeros.
    Zeros(usize),
    /// Text for people.
    Text(&'static str),
}
