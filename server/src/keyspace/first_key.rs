//! The key that tells in which group a command is executed. A command about several keys names others of the same group.

use super::key_commands::{KeyRead, KeyWrite};
use super::operation::{ReadCommand, SetCommand, WriteCommand};
use super::string_commands::StringWrite;
use bytes::Bytes;

impl ReadCommand {
    /// Returns the first key that the command names; `None` if it is about all keys.
    pub(crate) fn first_key(&self) -> Option<&Bytes> {
        match self {
            ReadCommand::Get(key) | ReadCommand::Strlen(key) | ReadCommand::Deadline { key, .. } => Some(key),
            ReadCommand::Exists(keys) | ReadCommand::Mget(keys) => keys.first(),
            ReadCommand::Keys(_) | ReadCommand::Size => None,
            ReadCommand::String(command) => Some(command.key()),
            ReadCommand::Key(KeyRead::Type(key) | KeyRead::Object { key, .. }) => Some(key),
            ReadCommand::Key(KeyRead::Random(_) | KeyRead::Scan { .. }) => None,
            ReadCommand::Hash(command) => Some(&command.key),
        }
    }
}

impl WriteCommand {
    /// Returns the first key that the command names; `None` if it is about all keys.
    pub(crate) fn first_key(&self) -> Option<&Bytes> {
        match self {
            WriteCommand::Set(SetCommand { key, .. })
            | WriteCommand::Add { key, .. }
            | WriteCommand::Append { key, .. }
            | WriteCommand::DeleteIf { key, .. } => Some(key),
            WriteCommand::Delete(keys) => keys.first(),
            WriteCommand::SetAll(pairs) => pairs.first().map(|(key, _)| key),
            WriteCommand::Clear => None,
            WriteCommand::Read(command) => command.first_key(),
            WriteCommand::Expiry(command) => Some(command.key()),
            WriteCommand::String(command) => command.first_key(),
            WriteCommand::Key(KeyWrite::Rename { from, .. } | KeyWrite::Copy { from, .. }) => Some(from),
            WriteCommand::Hash(command) => Some(&command.key),
        }
    }
}

impl StringWrite {
    fn first_key(&self) -> Option<&Bytes> {
        match self {
            StringWrite::SetNew { key, .. }
            | StringWrite::GetAndDelete(key)
            | StringWrite::SetPart { key, .. }
            | StringWrite::SetBit { key, .. }
            | StringWrite::AddDecimal { key, .. } => Some(key),
            StringWrite::SetAllNew(pairs) => pairs.first().map(|(key, _)| key),
        }
    }
}
