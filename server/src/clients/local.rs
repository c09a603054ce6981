//! Commands about a connection or its node.

use super::shared::Clients;
use crate::command::{LocalCommand, Spec, commands, find, shown, wrong_arity};
use crate::glob::Pattern;
use crate::info;
use crate::resp::{ReplyBuffer, Version, parse_integer};
use bytes::Bytes;
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use std::net::SocketAddr;

/// The effect of a command on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Close,
}

/// The identity of a connection, as `CLIENT INFO` reports it.
pub(super) struct Connection {
    id: u64,
    address: SocketAddr,
    user: String,
    name: Bytes,
    library: (Bytes, Bytes),
}

impl Connection {
    pub(super) fn new(id: u64, address: SocketAddr) -> Self {
        let user = NO_USER.to_owned();
        Self { id, address, user, name: Bytes::new(), library: Default::default() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the user that has logged in.
    pub(super) fn set_user(&mut self, user: &str) {
        user.clone_into(&mut self.user);
    }

    /// Forgets the user and the names.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.id, self.address);
    }

    /// Executes a command and encodes its reply.
    pub(super) fn execute<R: Runtime>(
        &mut self,
        clients: &Clients<R>,
        command: &LocalCommand,
        see_details: bool,
        out: &mut ReplyBuffer,
    ) -> Flow {
        match command {
            LocalCommand::Ping(None) => out.status("PONG"),
            LocalCommand::Ping(Some(message)) | LocalCommand::Echo(message) => out.bulk(message),
            LocalCommand::Hello { version, name, .. } => self.hello(clients, version.as_ref(), name.as_ref(), out),
            LocalCommand::Client(arguments) => self.client(arguments, out),
            LocalCommand::Command(arguments) => describe_commands(arguments, out),
            LocalCommand::ConfigGet(patterns) => config_get(clients, patterns, out),
            LocalCommand::Info(sections) => out.text(&info::render(clients, sections, see_details)),
            LocalCommand::Select(index) => match parse_integer(index) {
                Some(0) => out.status("OK"),
                Some(_) => out.error("ERR DB index is out of range"),
                None => out.error("ERR value is not an integer or out of range"),
            },
            LocalCommand::Quit => {
                out.status("OK");
                return Flow::Close;
            }
            LocalCommand::Http => {
                clients.note_http(self.address);
                return Flow::Close;
            }
            LocalCommand::Status(line) => out.status(line),
            LocalCommand::Wrong(error) => out.error(error),
            // The session executes these.
            LocalCommand::Auth(_) | LocalCommand::Reset => {}
        }
        Flow::Continue
    }

    fn hello<R: Runtime>(
        &mut self,
        clients: &Clients<R>,
        version: Option<&Bytes>,
        name: Option<&Bytes>,
        out: &mut ReplyBuffer,
    ) {
        let version = match parse_version(version, out.version()) {
            Ok(version) => version,
            Err(error) => return out.error(error),
        };
        if let Some(name) = name {
            if !is_plain(name) {
                return out.error(NOT_PLAIN);
            }
            self.name = name.clone();
        }
        out.set_version(version);
        out.map(7);
        for (field, value) in [("server", "leasehold"), ("version", env!("CARGO_PKG_VERSION"))] {
            out.bulk(field);
            out.bulk(value);
        }
        out.bulk("proto");
        out.integer(version.number());
        out.bulk("id");
        out.integer(number(self.id));
        let role = if clients.status().role == Role::Leader { "master" } else { "replica" };
        for (field, value) in [("mode", "standalone"), ("role", role)] {
            out.bulk(field);
            out.bulk(value);
        }
        out.bulk("modules");
        out.array(0);
    }

    fn client(&mut self, arguments: &[Bytes], out: &mut ReplyBuffer) {
        let [subcommand, arguments @ ..] = arguments else { return out.error(&wrong_arity("client")) };
        match (subcommand.to_ascii_uppercase().as_slice(), arguments) {
            (b"ID", []) => out.integer(number(self.id)),
            (b"GETNAME", []) if self.name.is_empty() => out.null(),
            (b"GETNAME", []) => out.bulk(&self.name),
            (b"SETNAME", [name]) if is_plain(name) => {
                self.name = Bytes::copy_from_slice(name);
                out.status("OK");
            }
            (b"SETINFO", [field, value]) if is_plain(value) => {
                match field.to_ascii_uppercase().as_slice() {
                    b"LIB-NAME" => self.library.0 = Bytes::copy_from_slice(value),
                    b"LIB-VER" => self.library.1 = Bytes::copy_from_slice(value),
                    _ => return out.error(&format!("ERR Unrecognized option '{}'", shown(field))),
                }
                out.status("OK");
            }
            (b"SETNAME", [_]) | (b"SETINFO", [_, _]) => out.error(NOT_PLAIN),
            (b"INFO", []) | (b"LIST", _) => {
                let version = out.version();
                out.text(&self.describe(version));
            }
            // There is no eviction, so both are always in effect.
            (b"NO-EVICT" | b"NO-TOUCH", [_]) => out.status("OK"),
            (b"ID" | b"GETNAME" | b"INFO" | b"SETNAME" | b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH", _) => {
                out.error(&wrong_arity(&format!("client|{}", shown(subcommand).to_ascii_lowercase())));
            }
            _ => out.error(&format!("ERR unknown subcommand '{}'. Try CLIENT INFO.", shown(subcommand))),
        }
    }

    /// Returns the line of `CLIENT INFO`. `CLIENT LIST` returns only this line, because connections do not know each
    /// other.
    fn describe(&self, version: Version) -> String {
        format!(
            "id={} addr={} name={} db=0 user={} resp={} lib-name={} lib-ver={}\n",
            self.id,
            self.address,
            shown(&self.name),
            self.user,
            version.number(),
            shown(&self.library.0),
            shown(&self.library.1),
        )
    }
}

/// The user of a connection that has not logged in.
const NO_USER: &str = "(none)";

/// Returns the version of the protocol that `HELLO` requests, or the present one.
///
/// # Errors
/// The reply to the client.
pub(super) fn parse_version(requested: Option<&Bytes>, present: Version) -> Result<Version, &'static str> {
    match requested.map(|version| parse_integer(version)) {
        None => Ok(present),
        Some(Some(2)) => Ok(Version::Two),
        Some(Some(3)) => Ok(Version::Three),
        Some(Some(_)) => Err("NOPROTO unsupported protocol version"),
        Some(None) => Err("ERR Protocol version is not an integer or out of range"),
    }
}

const NOT_PLAIN: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Returns whether a name can be part of the line of `CLIENT INFO`.
fn is_plain(name: &[u8]) -> bool {
    name.len() <= 128 && name.iter().all(u8::is_ascii_graphic)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Executes `CONFIG GET`, which knows the few settings that tools request.
fn config_get<R: Runtime>(clients: &Clients<R>, patterns: &[Bytes], out: &mut ReplyBuffer) {
    let settings = [
        ("appendonly", "yes".to_owned()),
        ("bind", clients.facts.client_address.ip().to_string()),
        ("databases", "1".to_owned()),
        ("dir", clients.facts.data_dir.display().to_string()),
        ("maxclients", clients.limits.max_clients.to_string()),
        ("maxmemory", clients.limits.max_memory.unwrap_or(0).to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("port", clients.facts.client_address.port().to_string()),
        ("proto-max-bulk-len", clients.limits.max_argument.to_string()),
        ("save", String::new()),
        ("timeout", clients.limits.idle_timeout.unwrap_or_default().as_secs().to_string()),
    ];
    let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::new(&pattern.to_ascii_lowercase())).collect();
    let requested = |name: &str| patterns.iter().any(|pattern| pattern.matches(name.as_bytes()));
    let found: Vec<_> = settings.iter().filter(|(name, _)| requested(name)).collect();
    out.map(found.len());
    for (name, value) in found {
        out.bulk(name);
        out.bulk(value);
    }
}

/// Executes `COMMAND`, `COMMAND COUNT`, `COMMAND LIST`, `COMMAND INFO` and `COMMAND DOCS`.
fn describe_commands(arguments: &[Bytes], out: &mut ReplyBuffer) {
    let all = || commands().map(Some).collect::<Vec<_>>();
    let [subcommand, names @ ..] = arguments else { return command_info(&all(), out) };
    let chosen = || if names.is_empty() { all() } else { names.iter().map(|name| find(name)).collect() };
    match subcommand.to_ascii_uppercase().as_slice() {
        b"COUNT" => out.integer(number(commands().count() as u64)),
        b"INFO" => command_info(&chosen(), out),
        b"DOCS" => {
            let known: Vec<&Spec> = chosen().into_iter().flatten().collect();
            out.map(known.len());
            for spec in known {
                out.bulk(spec.name);
                out.map(2);
                for (field, value) in [("summary", spec.summary), ("group", spec.group)] {
                    out.bulk(field);
                    out.bulk(value);
                }
            }
        }
        b"LIST" => {
            out.array(commands().count());
            commands().for_each(|spec| out.bulk(spec.name));
        }
        _ => out.error(&format!("ERR unknown subcommand '{}'. Try COMMAND DOCS.", shown(subcommand))),
    }
}

fn command_info(specs: &[Option<&Spec>], out: &mut ReplyBuffer) {
    out.array(specs.len());
    for spec in specs {
        let Some(spec) = spec else {
            out.null();
            continue;
        };
        out.array(10);
        out.bulk(spec.name);
        out.integer(spec.arity);
        out.array(spec.flags.len());
        spec.flags.iter().for_each(|flag| out.status(flag));
        for position in [spec.keys.0, spec.keys.1, spec.keys.2] {
            out.integer(position);
        }
        // Access categories, tips, key specifications and subcommands: clients expect these elements.
        (0..4).for_each(|_| out.array(0));
    }
}
