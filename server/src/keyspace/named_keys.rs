//! The keys that commands name. The first one tells in which group a command is executed; the others are of the same group.

use super::key_commands::{KeyRead, KeyWrite};
use super::operation::{ReadCommand, SetCommand, WriteCommand};
use super::string_commands::StringWrite;
use bytes::Bytes;
use std::slice::from_ref;

/// The keys that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedKeys<'a> {
    /// It is about all keys.
    All,
    /// It is about these keys.
    Keys(&'a [Bytes]),
    /// It is about the first key and the second one.
    Two(&'a Bytes, &'a Bytes),
    /// It gives these keys values.
    Pairs(&'a [(Bytes, Bytes)]),
}

impl<'a> NamedKeys<'a> {
    /// Returns the first key; `None` if there is none, or if the command is about all keys.
    fn first(self) -> Option<&'a Bytes> {
        match self {
            NamedKeys::All => None,
            NamedKeys::Keys(keys) => keys.first(),
            NamedKeys::Two(key, _) => Some(key),
            NamedKeys::Pairs(pairs) => pairs.first().map(|(key, _)| key),
        }
    }

    /// Returns true if `holds` returns true for each key. It returns false if the command is about all keys.
    pub(crate) fn all(self, mut holds: impl FnMut(&[u8]) -> bool) -> bool {
        match self {
            NamedKeys::All => false,
            NamedKeys::Keys(keys) => keys.iter().all(|key| holds(key)),
            NamedKeys::Two(first, second) => holds(first) && holds(second),
            NamedKeys::Pairs(pairs) => pairs.iter().all(|(key, _)| holds(key)),
        }
    }
}

impl ReadCommand {
    /// Returns the first key that the command names; `None` if it is about all keys.
    pub(crate) fn first_key(&self) -> Option<&Bytes> {
        self.named_keys().first()
    }

    /// Returns the keys that the command names: its reply depends on no other ones.
    pub(crate) fn named_keys(&self) -> NamedKeys<'_> {
        match self {
            ReadCommand::Get(key) | ReadCommand::Strlen(key) | ReadCommand::Deadline { key, .. } => one(key),
            ReadCommand::Exists(keys) | ReadCommand::Mget(keys) => NamedKeys::Keys(keys),
            ReadCommand::Keys(_) | ReadCommand::Size => NamedKeys::All,
            ReadCommand::String(command) => one(command.key()),
            ReadCommand::Key(KeyRead::Type(key) | KeyRead::Object { key, .. }) => one(key),
            ReadCommand::Key(KeyRead::Random(_) | KeyRead::Scan { .. }) => NamedKeys::All,
            ReadCommand::Hash(command) => one(&command.key),
        }
    }
}

impl WriteCommand {
    /// Returns the first key that the command names; `None` if it is about all keys.
    pub(crate) fn first_key(&self) -> Option<&Bytes> {
        self.named_keys().first()
    }

    /// Returns the keys that the command names: it changes no other ones.
    pub(crate) fn named_keys(&self) -> NamedKeys<'_> {
        match self {
            WriteCommand::Set(SetCommand { key, .. })
            | WriteCommand::Add { key, .. }
            | WriteCommand::Append { key, .. }
            | WriteCommand::DeleteIf { key, .. } => one(key),
            WriteCommand::Delete(keys) => NamedKeys::Keys(keys),
            WriteCommand::SetAll(pairs) => NamedKeys::Pairs(pairs),
            WriteCommand::Clear => NamedKeys::All,
            WriteCommand::Read(command) => command.named_keys(),
            WriteCommand::Expiry(command) => one(command.key()),
            WriteCommand::String(command) => command.named_keys(),
            WriteCommand::Key(KeyWrite::Rename { from, to, .. } | KeyWrite::Copy { from, to, .. }) => {
                NamedKeys::Two(from, to)
            }
            WriteCommand::Hash(command) => one(&command.key),
        }
    }
}

impl StringWrite {
    fn named_keys(&self) -> NamedKeys<'_> {
        match self {
            StringWrite::SetNew { key, .. }
            | StringWrite::GetAndDelete(key)
            | StringWrite::SetPart { key, .. }
            | StringWrite::SetBit { key, .. }
            | StringWrite::AddDecimal { key, .. } => one(key),
            StringWrite::SetAllNew(pairs) => NamedKeys::Pairs(pairs),
        }
    }
}

fn one(key: &Bytes) -> NamedKeys<'_> {
    NamedKeys::Keys(from_ref(key))
}
