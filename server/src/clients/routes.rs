//! The node that should get a command about keys, as in Redis Cluster.

use super::shared::Clients;
use crate::command::{Command, Known, LocalCommand};
use crate::resp::Arguments;
use crate::slots::Place;
use leasehold_runtime::Runtime;
use std::collections::BTreeMap;

/// The error of a command whose keys are in several groups.
const APART: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// Judges requests that are taken together by their keys: the leader of a group is looked for once.
pub(super) struct Routes<'a, R: Runtime> {
    clients: &'a Clients<R>,
    /// The address of the node that should get commands about keys of a group; `None` inside if this node takes them.
    elsewhere: BTreeMap<u16, Option<String>>,
}

impl<'a, R: Runtime> Routes<'a, R> {
    pub(super) fn new(clients: &'a Clients<R>) -> Routes<'a, R> {
        Routes { clients, elsewhere: BTreeMap::new() }
    }

    /// Returns the place of a command's keys, as far as it matters. `known` is its place in the table, `reads_here` that
    /// its client wants this node to answer reads, and `is_queued` that it waits for `EXEC`.
    ///
    /// # Errors
    /// The reply: the keys are in several groups, or another node should get the command.
    pub(super) fn place(
        &mut self,
        known: Option<Known>,
        command: &Command,
        arguments: &Arguments<'_>,
        reads_here: bool,
        is_queued: bool,
    ) -> Result<Place, String> {
        let slots = self.clients.facts.slots;
        let is_rejected = matches!(command, Command::Local(LocalCommand::Rejected(_)));
        let Some(spec) = known.map(|known| known.spec).filter(|spec| spec.keys.0 > 0 && !is_rejected) else {
            let name = || known.map_or_else(String::new, |known| known.spec.name.to_ascii_uppercase());
            let is_half = is_queued && !slots.is_single() && command.concerns_all_groups();
            return if is_half { Err(concerns_all(&name())) } else { Ok(Place::Anywhere) };
        };
        if slots.is_single() && !(self.clients.facts.redirects && (is_queued || self.elsewhere(0).is_some())) {
            return Ok(Place::Anywhere);
        }
        let place = slots.place_of(spec.key_positions(arguments.len()).map(|position| arguments.peek(position)));
        if place == Place::Apart && !is_queued && command.may_be_divided() {
            return Ok(place);
        }
        let is_read_here = reads_here && !spec.flags.contains(&"write");
        self.refusal(place, is_read_here).map_or(Ok(place), Err)
    }

    /// Returns the reply to a command about keys in this place, if this node does not execute it.
    pub(super) fn refusal(&mut self, place: Place, is_read_here: bool) -> Option<String> {
        match place {
            Place::Anywhere => None,
            Place::Apart => Some(APART.to_owned()),
            Place::In { slot, group } if !is_read_here => {
                self.elsewhere(group).map(|address| format!("MOVED {slot} {address}"))
            }
            Place::In { .. } => None,
        }
    }

    fn elsewhere(&mut self, group: u16) -> Option<&str> {
        let clients = self.clients;
        let look = || {
            let (host, port) = clients.facts.redirects.then(|| clients.other_leader(group)).flatten()?;
            Some(format!("{host}:{port}"))
        };
        self.elsewhere.entry(group).or_insert_with(look).as_deref()
    }
}

/// Returns the error of a command about all keys in a transaction, which one group executes.
fn concerns_all(name: &str) -> String {
    format!("ERR {name} concerns every group, and a transaction only one; send it before MULTI or after EXEC")
}
