//! `CONFIG`.

use crate::activity::MAX_SLOWLOG_ENTRIES;
use crate::clients::kept::Kept;
use crate::clients::shared::Clients;
use crate::command::{ConfigCommand, shown};
use crate::glob::Pattern;
use crate::limits::parse_bytes;
use crate::logging;
use crate::resp::{ReplyBuffer, parse_integer};
use bytes::Bytes;
use leasehold_runtime::Runtime;
use std::collections::{BTreeMap, BTreeSet};

/// The levels of Redis, each with the filter of ours.
const LOG_LEVELS: [(&str, &str); 4] =
    [("debug", "debug"), ("verbose", "info"), ("notice", "info"), ("warning", "warn")];

/// Executes `CONFIG`.
pub(super) fn execute<R: Runtime>(clients: &Clients<R>, command: &ConfigCommand, out: &mut ReplyBuffer) {
    match command {
        ConfigCommand::Get(patterns) => get(clients, patterns, out),
        ConfigCommand::Set(pairs) => match set(clients, pairs) {
            Ok(()) => out.status("OK"),
            Err(error) => out.error(&error),
        },
        ConfigCommand::ResetStatistics => {
            clients.activity.reset();
            out.status("OK");
        }
    }
}

/// Returns every setting, as Redis names and prints it.
fn settings<R: Runtime>(clients: &Clients<R>) -> Vec<(&'static str, String)> {
    let (facts, limits) = (&clients.facts, &clients.limits);
    let kept = clients.kept.all().map(|(name, value)| (name, value.to_string()));
    let settings = [
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("bind", facts.client_address.ip().to_string()),
        ("databases", "1".to_owned()),
        ("dir", facts.data_dir.display().to_string()),
        ("latency-tracking", "no".to_owned()),
        ("loglevel", clients.log_level().to_owned()),
        ("maxclients", limits.max_clients.to_string()),
        ("maxmemory", clients.max_memory().unwrap_or(0).to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("port", facts.client_address.port().to_string()),
        ("proto-max-bulk-len", limits.max_argument.to_string()),
        ("save", String::new()),
        ("slowlog-log-slower-than", clients.activity.slowlog.threshold().to_string()),
        ("slowlog-max-len", clients.activity.slowlog.max_entries().to_string()),
        ("timeout", limits.idle_timeout.unwrap_or_default().as_secs().to_string()),
    ];
    settings.into_iter().chain(kept).collect()
}

fn get<R: Runtime>(clients: &Clients<R>, patterns: &[Bytes], out: &mut ReplyBuffer) {
    let settings = settings(clients);
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let lower = pattern.to_ascii_lowercase();
        let is_name = !lower.iter().any(|byte| b"*?[".contains(byte));
        let matcher = Pattern::new(&lower);
        for (name, value) in settings.iter().filter(|(name, _)| matcher.matches(name.as_bytes())) {
            // As Redis does, a name is returned as it was requested.
            found.entry(if is_name { shown(pattern) } else { (*name).to_owned() }).or_insert(value);
        }
    }
    out.map(found.len());
    for (name, value) in found {
        out.bulk(name);
        out.bulk(value);
    }
}

/// A setting that `CONFIG SET` changes, with its new value.
enum Change {
    MaxMemory(u64),
    /// A level of [`LOG_LEVELS`].
    LogLevel(usize),
    SlowerThan(i64),
    SlowEntries(usize),
    /// A setting that is only kept, and its value.
    Representation(usize, i64),
}

fn failed(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

/// Changes settings: all of them, or none if one is wrong.
fn set<R: Runtime>(clients: &Clients<R>, pairs: &[(Bytes, Bytes)]) -> Result<(), String> {
    let (present, mut seen, mut changes) = (settings(clients), BTreeSet::new(), Vec::new());
    for (name, value) in pairs {
        let name = shown(name).to_ascii_lowercase();
        let Some((known, before)) = present.iter().find(|(known, _)| *known == name) else {
            return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"));
        };
        if !seen.insert(*known) {
            return Err(failed(known, "duplicate parameter"));
        }
        match change(known, &shown(value)).map_err(|reason| failed(known, &reason))? {
            Some(change) => changes.push(change),
            None if shown(value) == *before => {}
            None => return Err(failed(known, "can't set immutable config; a node has it from its flags")),
        }
    }
    changes.into_iter().try_for_each(|change| match change {
        Change::MaxMemory(bytes) => {
            clients.set_max_memory(bytes);
            Ok(())
        }
        Change::LogLevel(at) => {
            let (level, filter) = LOG_LEVELS[at];
            logging::set_filter(filter).map_err(|reason| failed("loglevel", &reason))?;
            clients.set_log_level(level);
            Ok(())
        }
        Change::SlowerThan(micros) => {
            clients.activity.slowlog.set_threshold(micros);
            Ok(())
        }
        Change::Representation(at, value) => {
            clients.kept.set(at, value);
            Ok(())
        }
        Change::SlowEntries(entries) => {
            clients.activity.slowlog.set_max_entries(entries);
            Ok(())
        }
    })
}

/// Parses the new value of a setting; returns `None` for a setting that does not change.
fn change(name: &str, value: &str) -> Result<Option<Change>, String> {
    let integer =
        || parse_integer(value.as_bytes()).ok_or_else(|| "argument couldn't be parsed into an integer".to_owned());
    Ok(Some(match name {
        "maxmemory" => Change::MaxMemory(parse_bytes(value).map_err(|_| "argument must be a memory value".to_owned())?),
        "loglevel" => {
            let found = LOG_LEVELS.iter().position(|(level, _)| level.eq_ignore_ascii_case(value));
            let levels = LOG_LEVELS.map(|(level, _)| level).join(", ");
            Change::LogLevel(found.ok_or_else(|| format!("argument(s) must be one of the following: {levels}"))?)
        }
        "slowlog-log-slower-than" => match integer()? {
            micros @ -1.. => Change::SlowerThan(micros),
            _ => return Err(format!("argument must be between -1 and {} inclusive", i64::MAX)),
        },
        "slowlog-max-len" => {
            let entries = usize::try_from(integer()?).ok().filter(|entries| *entries <= MAX_SLOWLOG_ENTRIES);
            let range = || format!("argument must be between 0 and {MAX_SLOWLOG_ENTRIES} inclusive");
            Change::SlowEntries(entries.ok_or_else(range)?)
        }
        name => match Kept::find(name) {
            None => return Ok(None),
            Some(at) => match integer()? {
                value @ 0.. => Change::Representation(at, value),
                _ => return Err(format!("argument must be between 0 and {} inclusive", i64::MAX)),
            },
        },
    }))
}
