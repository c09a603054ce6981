//! The table of all commands.

use super::parse::{Parsed, syntax_error};
use crate::resp::Arguments;
use std::fmt;

/// The static description of a command.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// The number of arguments, including the name; negative for at least so many.
    pub arity: i64,
    /// Redis flags, on which clients may rely: `readonly`, `write`, `fast` and the like.
    pub flags: &'static [&'static str],
    /// The positions of the first and the last key (negative from the end) and the step between keys; zeros for no
    /// keys.
    pub keys: (i64, i64, i64),
    /// The group in which Redis documents it.
    pub group: &'static str,
    /// One line for `COMMAND DOCS`.
    pub summary: &'static str,
    pub(super) parse: fn(&Arguments<'_>) -> Parsed,
}

impl fmt::Debug for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Spec").field("name", &self.name).field("arity", &self.arity).finish_non_exhaustive()
    }
}

impl Spec {
    /// Returns whether the command takes this number of arguments.
    pub(crate) fn takes(&self, arguments: usize) -> bool {
        let arguments = i64::try_from(arguments).unwrap_or(i64::MAX);
        if self.arity < 0 { arguments >= -self.arity } else { arguments == self.arity }
    }
}

/// The group of a table's commands, and the keys that they take.
#[derive(Clone, Copy)]
pub(super) struct Group {
    name: &'static str,
    keys: (i64, i64, i64),
}

impl Group {
    /// Returns the group for commands that take these keys.
    pub(super) const fn keys(self, keys: (i64, i64, i64)) -> Group {
        Group { keys, ..self }
    }

    /// Describes a command, or a subcommand: `client|list` is one of `client`.
    pub(super) const fn spec(
        self,
        name: &'static str,
        arity: i64,
        flags: &'static [&'static str],
        summary: &'static str,
        parse: fn(&Arguments<'_>) -> Parsed,
    ) -> Spec {
        Spec { name, arity, flags, keys: self.keys, group: self.name, summary, parse }
    }

    /// Describes a command that is executed by its subcommands only.
    pub(super) const fn container(
        self,
        name: &'static str,
        flags: &'static [&'static str],
        summary: &'static str,
    ) -> Spec {
        self.keys(NONE).spec(name, -2, flags, summary, |_| Err(syntax_error()))
    }
}

pub(super) const BITMAP: Group = Group { name: "bitmap", keys: ONE };
pub(super) const CLUSTER: Group = Group { name: "cluster", keys: NONE };
pub(super) const CONNECTION: Group = Group { name: "connection", keys: NONE };
pub(super) const GENERIC: Group = Group { name: "generic", keys: ONE };
pub(super) const HASH: Group = Group { name: "hash", keys: ONE };
pub(super) const SERVER: Group = Group { name: "server", keys: NONE };
pub(super) const STRING: Group = Group { name: "string", keys: ONE };
pub(super) const TRANSACTION: Group = Group { name: "transactions", keys: NONE };

pub(super) const NONE: (i64, i64, i64) = (0, 0, 0);
pub(super) const ONE: (i64, i64, i64) = (1, 1, 1);
pub(super) const ALL: (i64, i64, i64) = (1, -1, 1);
pub(super) const TWO: (i64, i64, i64) = (1, 2, 1);
pub(super) const PAIRS: (i64, i64, i64) = (1, -1, 2);
