//! Commands about a connection or its node.

mod client;
mod cluster;
mod config;
mod describe;
mod server;

use super::registry::{Flow, Peer};
use super::shared::Clients;
use crate::command::LocalCommand;
use crate::info;
use crate::resp::{ReplyBuffer, Version};
use bytes::Bytes;
use leasehold_runtime::Runtime;
use std::net::SocketAddr;
use std::sync::Arc;

/// One connection, as it executes the commands about itself. Others see it until this is dropped.
pub(super) struct Connection<'a, R: Runtime> {
    clients: &'a Clients<R>,
    peer: Arc<Peer>,
}

impl<R: Runtime> Drop for Connection<'_, R> {
    fn drop(&mut self) {
        self.clients.registry.remove(self.peer.id);
    }
}

impl<'a, R: Runtime> Connection<'a, R> {
    pub(super) fn new(clients: &'a Clients<R>, id: u64, address: SocketAddr) -> Self {
        let peer = clients.registry.add(id, address, clients.uptime(), clients.users.is_some());
        Self { clients, peer }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.peer.address
    }

    /// Returns the part that other connections see.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Sets the user that has logged in.
    pub(super) fn set_user(&mut self, user: &str) {
        self.peer.set_names(|names| user.clone_into(&mut names.user));
    }

    /// Forgets the user and the names.
    pub(super) fn reset(&mut self) {
        self.peer.reset(self.clients.users.is_some());
    }

    /// Executes a command and encodes its reply.
    pub(super) fn execute(&mut self, command: &LocalCommand, see_details: bool, out: &mut ReplyBuffer) -> Flow {
        let clients = self.clients;
        match command {
            LocalCommand::Ping(None) => out.status("PONG"),
            LocalCommand::Ping(Some(message)) | LocalCommand::Echo(message) => out.bulk(message),
            LocalCommand::Hello { version, name, .. } => self.hello(*version, name.as_ref(), out),
            LocalCommand::Client(command) => return client::execute(clients, &self.peer, command, out),
            LocalCommand::Cluster(command) => cluster::execute(clients, *command, out),
            LocalCommand::Describe(command) => describe::execute(command, out),
            LocalCommand::Config(command) => config::execute(clients, command, out),
            LocalCommand::Slowlog(command) => server::slowlog(clients, *command, out),
            LocalCommand::MemoryStats => server::memory_stats(clients, out),
            LocalCommand::Info(sections) => out.text(&info::render(clients, sections, see_details)),
            LocalCommand::Time => server::time(out),
            LocalCommand::Role => server::role(clients, out),
            LocalCommand::Wait => out.integer(server::replicas(clients)),
            LocalCommand::Lolwut => server::lolwut(out),
            LocalCommand::WhoAmI => out.bulk(&self.peer.names().user),
            LocalCommand::AclCategories => describe::categories(out),
            LocalCommand::AclCategory(category) => describe::category(category, out),
            LocalCommand::Help(command) => describe::help(command, out),
            LocalCommand::Quit => {
                out.status("OK");
                return Flow::Close;
            }
            LocalCommand::Http => {
                clients.note_http(self.peer.address);
                return Flow::Close;
            }
            LocalCommand::Status(line) => out.status(line),
            LocalCommand::Integer(number) => out.integer(*number),
            LocalCommand::Fixed(reply) => server::fixed(*reply, out),
            LocalCommand::Wrong(error) | LocalCommand::Rejected(error) => out.error(error),
            // The session executes these.
            LocalCommand::Auth(_)
            | LocalCommand::Reset
            | LocalCommand::ReadHere(_)
            | LocalCommand::Unwatch
            | LocalCommand::MemoryUsage(_) => {}
        }
        Flow::Continue
    }

    fn hello(&mut self, version: Option<Version>, name: Option<&Bytes>, out: &mut ReplyBuffer) {
        let version = version.unwrap_or(out.version());
        if let Some(name) = name {
            self.peer.set_names(|names| names.name = name.clone());
        }
        out.set_version(version);
        self.peer.set_version(version.number());
        out.map(7);
        for (field, value) in [("server", "leasehold"), ("version", env!("CARGO_PKG_VERSION"))] {
            out.bulk(field);
            out.bulk(value);
        }
        out.bulk("proto");
        out.integer(version.number());
        out.bulk("id");
        out.integer(client::number(self.peer.id));
        let role = if self.clients.groups_led() > 0 { "master" } else { "replica" };
        for (field, value) in [("mode", self.clients.mode()), ("role", role)] {
            out.bulk(field);
            out.bulk(value);
        }
        out.bulk("modules");
        out.array(0);
    }
}
