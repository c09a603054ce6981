//! `CLIENT` and its subcommands.

use super::kinds::LocalCommand;
use super::parse::{Parsed, check_timeout, integer, local, shown, syntax_error, word};
use super::subcommands::{ClientCommand, ClientFilter, ReplyMode};
use super::table::{CONNECTION, Spec};
use crate::resp::{Arguments, parse_integer};
use bytes::Bytes;
use std::ops::RangeInclusive;

/// The longest name of a connection, in bytes: each takes memory as long as its connection lasts.
const MAX_NAME_BYTES: usize = 256;
/// The most connections that `CLIENT LIST ID` names.
const MAX_LISTED: usize = 1024;

const NOT_PLAIN: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
const NO_PAUSE: &str = "ERR CLIENT PAUSE is not supported: it would stop the clients of one node only; LEASEHOLD TRANSFER \
                        moves leadership without a pause";
const NO_TRACKING: &str = "ERR client-side caching is not supported here; omit CLIENT TRACKING";
const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                            mode enabled";

/// Flags of commands that only concern the connection, and of those for administrators.
const OWN: &[&str] = &["noscript", "loading", "stale"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];

pub(super) static CLIENT: &[Spec] = &[
    CONNECTION.spec("client|caching", 3, OWN, "Refused: client-side caching is not supported.", parse_caching),
    CONNECTION
        .spec("client|getname", 2, OWN, "Returns the name of this connection.", |_| client(ClientCommand::GetName)),
    CONNECTION.spec("client|getredir", 2, OWN, "Returns -1: client-side caching is not supported.", |_| {
        local(LocalCommand::Integer(-1))
    }),
    CONNECTION.spec("client|help", 2, &["loading", "stale"], "Lists the subcommands.", |_| {
        local(LocalCommand::Help("client"))
    }),
    CONNECTION.spec("client|id", 2, OWN, "Returns the number of this connection.", |_| client(ClientCommand::Id)),
    CONNECTION.spec("client|info", 2, OWN, "Describes this connection.", |_| client(ClientCommand::Info)),
    CONNECTION.spec("client|kill", -3, ADMIN, "Closes connections of this node.", parse_kill),
    CONNECTION.spec("client|list", -2, ADMIN, "Describes the connections of this node.", parse_list),
    CONNECTION.spec("client|no-evict", 3, ADMIN, "Accepted without effect: no client is ever evicted.", parse_switch),
    CONNECTION.spec("client|no-touch", 3, OWN, "Accepted without effect: keys have no time of access.", parse_switch),
    CONNECTION.spec("client|pause", -3, ADMIN, "Refused: it would stop one node only.", parse_pause),
    CONNECTION.spec("client|reply", 3, OWN, "Chooses which commands are answered.", parse_reply),
    CONNECTION.spec("client|setinfo", 4, OWN, "Names the library of the client, or its version.", parse_set_info),
    CONNECTION.spec("client|setname", 3, OWN, "Names this connection.", |a| {
        plain(a.get(2)).and_then(|name| client(ClientCommand::SetName(name)))
    }),
    CONNECTION.spec("client|tracking", -3, OWN, "Refused, unless it is switched off.", parse_tracking),
    CONNECTION.spec("client|trackinginfo", 2, OWN, "Describes client-side caching, which is off.", |_| {
        client(ClientCommand::TrackingInfo)
    }),
    CONNECTION.spec("client|unblock", -3, ADMIN, "Returns 0: no command blocks.", parse_unblock),
    CONNECTION.spec("client|unpause", 2, ADMIN, "Accepted without effect: clients are never paused.", |_| {
        local(LocalCommand::Status("OK"))
    }),
];

fn client(command: ClientCommand) -> Parsed {
    local(LocalCommand::Client(command))
}

/// Returns a name that can be part of the line of `CLIENT INFO`.
pub(super) fn plain(name: Bytes) -> Result<Bytes, String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("ERR a name of a connection exceeds {MAX_NAME_BYTES} bytes; use a shorter one"));
    }
    // A copy: the name outlives the buffer of the request.
    if name.iter().all(u8::is_ascii_graphic) { Ok(Bytes::copy_from_slice(&name)) } else { Err(NOT_PLAIN.to_owned()) }
}

fn parse_caching(_: &Arguments<'_>) -> Parsed {
    Err(NOT_TRACKING.to_owned())
}

/// Parses a setting that is always in effect, or never.
fn parse_switch(arguments: &Arguments<'_>) -> Parsed {
    match word(arguments, 2).as_slice() {
        b"ON" | b"OFF" => local(LocalCommand::Status("OK")),
        _ => Err(syntax_error()),
    }
}

fn parse_reply(arguments: &Arguments<'_>) -> Parsed {
    match word(arguments, 2).as_slice() {
        b"ON" => client(ClientCommand::Reply(ReplyMode::On)),
        b"OFF" => client(ClientCommand::Reply(ReplyMode::Off)),
        b"SKIP" => client(ClientCommand::Reply(ReplyMode::Skip)),
        _ => Err(syntax_error()),
    }
}

fn parse_set_info(arguments: &Arguments<'_>) -> Parsed {
    let value = plain(arguments.get(3));
    match word(arguments, 2).as_slice() {
        b"LIB-NAME" => client(ClientCommand::SetLibraryName(value?)),
        b"LIB-VER" => client(ClientCommand::SetLibraryVersion(value?)),
        _ => Err(format!("ERR Unrecognized option '{}'", shown(arguments.peek(2)))),
    }
}

fn parse_tracking(arguments: &Arguments<'_>) -> Parsed {
    match word(arguments, 2).as_slice() {
        b"OFF" if arguments.len() == 3 => local(LocalCommand::Status("OK")),
        b"ON" => Err(NO_TRACKING.to_owned()),
        _ => Err(syntax_error()),
    }
}

fn parse_unblock(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() > 4 {
        return Err(syntax_error());
    }
    if arguments.len() == 4 && !matches!(word(arguments, 3).as_slice(), b"TIMEOUT" | b"ERROR") {
        return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".to_owned());
    }
    integer(arguments.peek(2))?;
    local(LocalCommand::Integer(0))
}

fn parse_pause(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() > 3 && !matches!(word(arguments, 3).as_slice(), b"WRITE" | b"ALL") {
        return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".to_owned());
    }
    check_timeout(arguments.peek(2))?;
    Err(NO_PAUSE.to_owned())
}

/// Parses the type of connections: returns false if this node has none of it.
fn parse_type(arguments: &Arguments<'_>, position: usize) -> Result<bool, String> {
    match word(arguments, position).as_slice() {
        b"NORMAL" => Ok(true),
        b"MASTER" | b"SLAVE" | b"REPLICA" | b"PUBSUB" => Ok(false),
        _ => Err(format!("ERR Unknown client type '{}'", shown(arguments.peek(position)))),
    }
}

fn parse_list(arguments: &Arguments<'_>) -> Parsed {
    const ID_POSITIONS: RangeInclusive<usize> = 4..=MAX_LISTED + 3;
    let mut filter = ClientFilter::default();
    match (word(arguments, 2).as_slice(), arguments.len()) {
        (_, 2) => {}
        (b"TYPE", 4) => filter.no_connection = !parse_type(arguments, 3)?,
        (b"ID", length) if ID_POSITIONS.contains(&length) => {
            let id = |position| parse_integer(arguments.peek(position)).ok_or("ERR Invalid client ID");
            let ids: Vec<i64> = (3..length).map(id).collect::<Result<_, _>>()?;
            // No connection has a negative one.
            filter.ids = Some(ids.into_iter().filter_map(|id| u64::try_from(id).ok()).collect());
        }
        (b"ID", length) if length > 3 => {
            return Err(format!("ERR CLIENT LIST ID takes at most {MAX_LISTED} numbers; omit ID"));
        }
        _ => return Err(syntax_error()),
    }
    client(ClientCommand::List(filter))
}

fn parse_id(arguments: &Arguments<'_>, position: usize, error: &str) -> Result<u64, String> {
    let id = parse_integer(arguments.peek(position)).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or_else(|| error.to_owned())
}

fn parse_kill(arguments: &Arguments<'_>) -> Parsed {
    if arguments.len() == 3 {
        return client(ClientCommand::KillAddress(arguments.get(2)));
    }
    let (mut filter, mut skip_own) = (ClientFilter::default(), true);
    for at in (2..arguments.len()).step_by(2) {
        let value = at + 1;
        if value == arguments.len() {
            return Err(syntax_error());
        }
        match word(arguments, at).as_slice() {
            b"ID" => filter.ids = Some(vec![parse_id(arguments, value, "ERR client-id should be greater than 0")?]),
            b"TYPE" => filter.no_connection = !parse_type(arguments, value)?,
            b"ADDR" => filter.address = Some(arguments.get(value)),
            b"LADDR" => filter.local_address = Some(arguments.get(value)),
            b"USER" => filter.user = Some(arguments.get(value)),
            b"SKIPME" => {
                skip_own = match word(arguments, value).as_slice() {
                    b"YES" => true,
                    b"NO" => false,
                    _ => return Err(syntax_error()),
                }
            }
            _ => return Err(syntax_error()),
        }
    }
    client(ClientCommand::Kill { filter, skip_own })
}
