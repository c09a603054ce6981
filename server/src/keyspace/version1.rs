//! Log entries of version 1, which earlier releases wrote. This file is frozen: their encoding and their effect never
//! change.

use super::operation::{ReadCommand, SetCommand, SetCondition, WriteCommand, encoding};
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// The first byte of an entry.
pub(super) const VERSION: u8 = 1;

#[derive(SchemaRead, SchemaWrite)]
enum Read {
    Get(Bytes),
    Strlen(Bytes),
    Exists(Vec<Bytes>),
    Mget(Vec<Bytes>),
    Keys(Bytes),
    Size,
}

#[derive(SchemaRead, SchemaWrite)]
enum Write {
    Set { key: Bytes, value: Bytes, only_if_exists: Option<bool>, get_old: bool },
    Delete(Vec<Bytes>),
    Add { key: Bytes, amount: i64 },
    Append { key: Bytes, suffix: Bytes },
    SetAll(Vec<(Bytes, Bytes)>),
    Clear,
    Read(Read),
}

/// Encodes commands. Returns `None` if version 1 cannot express one of them.
pub(super) fn encode(commands: &[WriteCommand]) -> Option<Bytes> {
    let commands = commands.iter().map(Write::new).collect::<Option<Vec<_>>>()?;
    let mut entry = vec![VERSION];
    wincode::config::serialize_into(&mut entry, &commands, encoding())
        .expect("commands within the limits can be encoded");
    Some(entry.into())
}

/// Decodes what follows the version.
pub(super) fn decode(commands: &[u8]) -> Option<Vec<WriteCommand>> {
    let commands: Vec<Write> = wincode::config::deserialize_exact(commands, encoding()).ok()?;
    Some(commands.into_iter().map(Write::into_command).collect())
}

impl Write {
    fn new(command: &WriteCommand) -> Option<Write> {
        Some(match command.clone() {
            WriteCommand::Set(SetCommand { key, value, condition, get_old, expiry }) if expiry.is_none() => {
                let only_if_exists = match condition {
                    SetCondition::Always => None,
                    SetCondition::Exists => Some(true),
                    SetCondition::Missing => Some(false),
                    SetCondition::Equals(_) | SetCondition::Differs(_) => return None,
                };
                Write::Set { key, value, only_if_exists, get_old }
            }
            WriteCommand::Delete(keys) => Write::Delete(keys),
            WriteCommand::Add { key, amount } => Write::Add { key, amount },
            WriteCommand::Append { key, suffix } => Write::Append { key, suffix },
            WriteCommand::SetAll(pairs) => Write::SetAll(pairs),
            WriteCommand::Clear => Write::Clear,
            WriteCommand::Read(read) => Write::Read(Read::new(read)?),
            _ => return None,
        })
    }

    fn into_command(self) -> WriteCommand {
        match self {
            Write::Set { key, value, only_if_exists, get_old } => {
                let condition = match only_if_exists {
                    None => SetCondition::Always,
                    Some(true) => SetCondition::Exists,
                    Some(false) => SetCondition::Missing,
                };
                WriteCommand::Set(SetCommand { condition, get_old, ..SetCommand::new(key, value) })
            }
            Write::Delete(keys) => WriteCommand::Delete(keys),
            Write::Add { key, amount } => WriteCommand::Add { key, amount },
            Write::Append { key, suffix } => WriteCommand::Append { key, suffix },
            Write::SetAll(pairs) => WriteCommand::SetAll(pairs),
            Write::Clear => WriteCommand::Clear,
            Write::Read(read) => WriteCommand::Read(read.into_command()),
        }
    }
}

impl Read {
    fn new(command: ReadCommand) -> Option<Read> {
        Some(match command {
            ReadCommand::Get(key) => Read::Get(key),
            ReadCommand::Strlen(key) => Read::Strlen(key),
            ReadCommand::Exists(keys) => Read::Exists(keys),
            ReadCommand::Mget(keys) => Read::Mget(keys),
            ReadCommand::Keys(pattern) => Read::Keys(pattern),
            ReadCommand::Size => Read::Size,
            _ => return None,
        })
    }

    fn into_command(self) -> ReadCommand {
        match self {
            Read::Get(key) => ReadCommand::Get(key),
            Read::Strlen(key) => ReadCommand::Strlen(key),
            Read::Exists(keys) => ReadCommand::Exists(keys),
            Read::Mget(keys) => ReadCommand::Mget(keys),
            Read::Keys(pattern) => ReadCommand::Keys(pattern),
            Read::Size => ReadCommand::Size,
        }
    }
}
