//! `CLIENT`.

use crate::clients::registry::{Flow, Peer};
use crate::clients::shared::Clients;
use crate::command::{ClientCommand, ClientFilter};
use crate::resp::ReplyBuffer;
use leasehold_runtime::Runtime;
use std::sync::Arc;

/// Executes a subcommand for the connection `own`.
pub(super) fn execute<R: Runtime>(
    clients: &Clients<R>,
    own: &Arc<Peer>,
    command: &ClientCommand,
    out: &mut ReplyBuffer,
) -> Flow {
    match command {
        ClientCommand::Id => out.integer(number(own.id)),
        ClientCommand::GetName => {
            let name = own.names().name;
            if name.is_empty() { out.null() } else { out.bulk(&name) }
        }
        ClientCommand::SetName(name) => {
            own.set_names(|names| names.name = name.clone());
            out.status("OK");
        }
        ClientCommand::SetLibraryName(name) => {
            own.set_names(|names| names.library.0 = name.clone());
            out.status("OK");
        }
        ClientCommand::SetLibraryVersion(version) => {
            own.set_names(|names| names.library.1 = version.clone());
            out.status("OK");
        }
        ClientCommand::Info => out.text(&describe(clients, own)),
        ClientCommand::List(filter) => {
            let text: String = matching(clients, filter).map(|peer| describe(clients, &peer)).collect();
            out.text(&text);
        }
        ClientCommand::KillAddress(address) => {
            let filter = ClientFilter { address: Some(address.clone()), ..ClientFilter::default() };
            match matching(clients, &filter).next() {
                None => out.error("ERR No such client"),
                Some(peer) => {
                    out.status("OK");
                    return kill(own, &peer);
                }
            }
        }
        ClientCommand::Kill { filter, .. } if let Some(error) = unknown_user(clients, filter) => out.error(&error),
        ClientCommand::Kill { filter, skip_own } => {
            let killed: Vec<_> = matching(clients, filter).filter(|peer| !*skip_own || peer.id != own.id).collect();
            out.integer(number(killed.len() as u64));
            if killed.iter().fold(false, |closes, peer| closes | (kill(own, peer) == Flow::Close)) {
                return Flow::Close;
            }
        }
        ClientCommand::TrackingInfo => {
            out.map(3);
            out.bulk("flags");
            out.set(1);
            out.bulk("off");
            out.bulk("redirect");
            out.integer(-1);
            out.bulk("prefixes");
            out.array(0);
        }
        // The session executes it.
        ClientCommand::Reply(_) => out.status("OK"),
    }
    Flow::Continue
}

/// Returns the connections that meet the filter, in the order of their numbers.
fn matching<'a, R: Runtime>(clients: &'a Clients<R>, filter: &'a ClientFilter) -> impl Iterator<Item = Arc<Peer>> + 'a {
    let local = clients.facts.client_address;
    clients.registry.all().into_iter().filter(move |peer| peer.meets(filter, local))
}

/// Returns the error about a user of the filter that does not exist.
fn unknown_user<R: Runtime>(clients: &Clients<R>, filter: &ClientFilter) -> Option<String> {
    let name = String::from_utf8_lossy(filter.user.as_ref()?).into_owned();
    let exists = clients.users.as_ref().map_or(name == "default", |users| users.has(&name));
    (!exists).then(|| format!("ERR No such user '{name}'"))
}

/// Closes a connection. That of the command itself is closed once the reply is sent.
fn kill(own: &Peer, peer: &Peer) -> Flow {
    if peer.id == own.id {
        return Flow::Close;
    }
    peer.kill();
    Flow::Continue
}

fn describe<R: Runtime>(clients: &Clients<R>, peer: &Peer) -> String {
    peer.describe(clients.uptime(), clients.facts.client_address)
}

/// Returns a number that a client reads as signed.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
