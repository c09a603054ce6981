//! Roles of users, and what each may do.

use crate::command::{ClientCommand, Command, LocalCommand};

/// A role, from the fewest rights to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    ReadOnly,
    ReadWrite,
    Admin,
}

/// The kind of a command, by the right that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Concerns only its connection, or describes commands.
    Connection,
    /// Reads keys.
    Read,
    /// Changes keys.
    Write,
    /// Describes or changes the node or the cluster, or reads everything at once.
    Admin,
}

impl Role {
    /// Parses the name of a role.
    pub(super) fn parse(text: &str) -> Option<Role> {
        match text {
            "read-only" => Some(Role::ReadOnly),
            "read-write" => Some(Role::ReadWrite),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }

    /// Returns whether a user with this role may execute commands of this kind. Everything that a role permits is
    /// decided here.
    pub(crate) fn permits(self, access: Access) -> bool {
        match access {
            Access::Connection | Access::Read => true,
            Access::Write => self >= Role::ReadWrite,
            Access::Admin => self >= Role::Admin,
        }
    }
}

impl Access {
    /// Returns the kind of a command. Every command is listed, so that a new one has to be decided here.
    pub(crate) fn of(command: &Command) -> Access {
        match command {
            Command::Read(_) | Command::Watch(_) | Command::SearchSlot(_) => Access::Read,
            Command::Write(_) => Access::Write,
            Command::Backup | Command::Administer(_) => Access::Admin,
            // The commands of a transaction are checked one by one.
            Command::Multi | Command::Exec | Command::AbortExec(_) | Command::AbortWatch(_) | Command::Discard => {
                Access::Connection
            }
            Command::Local(command) => Access::of_local(command),
        }
    }

    /// Returns the kind of a command about the connection or the node.
    pub(crate) fn of_local(command: &LocalCommand) -> Access {
        match command {
            LocalCommand::Config(_)
            | LocalCommand::Slowlog(_)
            | LocalCommand::MemoryStats
            | LocalCommand::Role
            | LocalCommand::Client(
                ClientCommand::List(_) | ClientCommand::KillAddress(_) | ClientCommand::Kill { .. },
            ) => Access::Admin,
            LocalCommand::MemoryUsage(_) => Access::Read,
            // INFO checks each section. Every client of a cluster needs the addresses of its nodes.
            LocalCommand::Info(_)
            | LocalCommand::Ping(_)
            | LocalCommand::Echo(_)
            | LocalCommand::Auth(_)
            | LocalCommand::Hello { .. }
            | LocalCommand::ReadHere(_)
            | LocalCommand::Reset
            | LocalCommand::Client(_)
            | LocalCommand::Cluster(_)
            | LocalCommand::Describe(_)
            | LocalCommand::Time
            | LocalCommand::Wait
            | LocalCommand::WhoAmI
            | LocalCommand::AclCategories
            | LocalCommand::AclCategory(_)
            | LocalCommand::Lolwut
            | LocalCommand::Help(_)
            | LocalCommand::Integer(_)
            | LocalCommand::Fixed(_)
            | LocalCommand::Unwatch
            | LocalCommand::Quit
            | LocalCommand::Http
            | LocalCommand::Status(_)
            | LocalCommand::Wrong(_)
            | LocalCommand::Rejected(_) => Access::Connection,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{Admin, Connection, Read, Write};

    #[test]
    fn each_role_permits_what_the_one_before_permits_and_more() {
        for (role, permitted) in [
            (Role::ReadOnly, &[Connection, Read][..]),
            (Role::ReadWrite, &[Connection, Read, Write]),
            (Role::Admin, &[Connection, Read, Write, Admin]),
        ] {
            for access in [Connection, Read, Write, Admin] {
                assert_eq!(role.permits(access), permitted.contains(&access), "{role:?} {access:?}");
            }
        }
    }
}
