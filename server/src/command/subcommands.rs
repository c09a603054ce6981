//! The subcommands of commands that have some.

use bytes::Bytes;

/// A subcommand of `CLIENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCommand {
    /// Returns the number of the connection.
    Id,
    /// Returns the name of the connection.
    GetName,
    /// Names the connection.
    SetName(Bytes),
    /// Names the library of the client.
    SetLibraryName(Bytes),
    /// States the version of the library of the client.
    SetLibraryVersion(Bytes),
    /// Describes the connection.
    Info,
    /// Describes connections.
    List(ClientFilter),
    /// Closes the connection with this address.
    KillAddress(Bytes),
    /// Closes connections, and returns their number.
    Kill {
        /// The connections to close.
        filter: ClientFilter,
        /// The connection that sent the command stays open.
        skip_own: bool,
    },
    /// Chooses which commands are answered.
    Reply(ReplyMode),
    /// Describes client-side caching, which is always off.
    TrackingInfo,
}

/// The commands that a connection answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    On,
    /// None.
    Off,
    /// All but this and the next one.
    Skip,
}

/// The conditions that a connection must meet, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Its number.
    pub ids: Option<Vec<u64>>,
    /// Its client's address.
    pub address: Option<Bytes>,
    /// The node's address.
    pub local_address: Option<Bytes>,
    /// Its user.
    pub user: Option<Bytes>,
    /// No connection meets it: all are of the type `normal`.
    pub no_connection: bool,
}

/// A subcommand of `CLUSTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterCommand {
    /// Returns the name of this node.
    MyId,
    /// Returns whether all slots are served, and some counts.
    Info,
    /// Returns the nodes of each range of slots.
    Slots,
    /// Returns the same as maps.
    Shards,
    /// Returns the same as text.
    Nodes,
}

/// A subcommand of `CONFIG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Returns the settings that match one of the patterns.
    Get(Vec<Bytes>),
    /// Changes settings, all of them or none.
    Set(Vec<(Bytes, Bytes)>),
    /// Sets the counts of commands and errors to zero.
    ResetStatistics,
}

/// A subcommand of `COMMAND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescribeCommand {
    /// Returns the number of commands.
    Count,
    /// Describes all commands.
    All,
    /// Describes some commands.
    Info(Vec<Bytes>),
    /// Documents some commands, or all if none is named.
    Docs(Vec<Bytes>),
    /// Lists the commands.
    List(ListFilter),
    /// Returns the keys of a command, and their flags if they are wanted.
    GetKeys {
        /// The command, its name first.
        command: Vec<Bytes>,
        /// Return the flags of each key too.
        with_flags: bool,
    },
}

/// The commands that `COMMAND LIST` returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFilter {
    /// Those of a module, of which there are none.
    Module,
    /// Those in an access category.
    Category(Bytes),
    /// Those whose name matches a pattern.
    Pattern(Bytes),
}

/// A subcommand of `SLOWLOG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowlogCommand {
    /// Returns the newest entries, at most so many.
    Get(usize),
    /// Returns the number of entries.
    Len,
    /// Drops the entries.
    Reset,
}
