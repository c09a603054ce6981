//! Commands that describe how a node is doing.

use super::client::number;
use crate::clients::shared::Clients;
use crate::command::{Fixed, SlowlogCommand};
use crate::process;
use crate::resp::ReplyBuffer;
use crate::wall::unix_time;
use leasehold_core::NodeId;
use leasehold_runtime::Runtime;

/// Executes `SLOWLOG`.
pub(super) fn slowlog<R: Runtime>(clients: &Clients<R>, command: SlowlogCommand, out: &mut ReplyBuffer) {
    let slowlog = &clients.activity.slowlog;
    match command {
        SlowlogCommand::Len => out.integer(number(slowlog.len() as u64)),
        SlowlogCommand::Reset => {
            slowlog.clear();
            out.status("OK");
        }
        SlowlogCommand::Get(count) => {
            let entries = slowlog.newest(count);
            out.array(entries.len());
            for entry in entries {
                out.array(6);
                out.integer(number(entry.id));
                out.integer(number(entry.client.time));
                out.integer(i64::try_from(entry.elapsed.as_micros()).unwrap_or(i64::MAX));
                out.array(entry.arguments.len());
                entry.arguments.iter().for_each(|argument| out.bulk(argument));
                out.bulk(entry.client.address.to_string());
                out.bulk(&entry.client.name);
            }
        }
    }
}

/// Executes `MEMORY STATS`.
pub(super) fn memory_stats<R: Runtime>(clients: &Clients<R>, out: &mut ReplyBuffer) {
    let (keys, used) = (clients.keys() as u64, clients.used_bytes());
    let mut fields = vec![
        ("clients.normal", (clients.memory.input.used() + clients.memory.output.used()) as u64),
        ("keys.count", keys),
        ("keys.bytes-per-key", used.checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", used),
    ];
    fields.extend(process::resident_bytes().map(|bytes| ("allocator.resident", bytes)));
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name);
        out.integer(number(value));
    }
}

/// Executes `TIME`.
pub(super) fn time(out: &mut ReplyBuffer) {
    let now = unix_time();
    out.array(2);
    out.bulk(now.as_secs().to_string());
    out.bulk(now.subsec_micros().to_string());
}

/// Returns the number of other nodes that surely have every write that was acknowledged.
pub(super) fn replicas<R: Runtime>(clients: &Clients<R>) -> i64 {
    let members = clients.executor.handle().members();
    let membership = &members.membership;
    // A majority has them: this many and one more.
    let others = |voters: &[NodeId]| voters.len() / 2;
    let outgoing = Some(&membership.voters_outgoing).filter(|voters| !voters.is_empty());
    let least = others(&membership.voters).min(outgoing.map_or(usize::MAX, |voters| others(voters)));
    number(least as u64)
}

/// Executes `ROLE`.
pub(super) fn role<R: Runtime>(clients: &Clients<R>, out: &mut ReplyBuffer) {
    let address_of = |node| clients.client_address(node).unwrap_or_default();
    if let Some(executor) = clients.led() {
        let (status, members) = (executor.handle().status(), executor.handle().members());
        out.array(3);
        out.bulk("master");
        out.integer(number(status.commit));
        out.array(members.progress.len());
        for (node, progress) in &members.progress {
            let (host, port) = address_of(*node);
            out.array(3);
            out.bulk(host);
            out.bulk(port.to_string());
            out.bulk(progress.stored.to_string());
        }
        return;
    }
    let status = clients.status();
    let (host, port) = status.leader.map(address_of).unwrap_or_default();
    out.array(5);
    out.bulk("slave");
    out.bulk(host);
    out.integer(port.into());
    out.bulk(if status.leader.is_some() { "connected" } else { "connect" });
    out.integer(number(status.applied));
}

/// Executes `LOLWUT`.
pub(super) fn lolwut(out: &mut ReplyBuffer) {
    out.text(concat!(
        "   ____________________\n  /                   /|\n /   L E A S E H O L D |\n+-------------------+  |\n",
        "|  for rent: one    |  |\n|  leader, until    |  +\n|  further notice   | /\n+-------------------+\n\n",
        "Leasehold ver. ",
        env!("CARGO_PKG_VERSION"),
        "\n"
    ));
}

/// Encodes a reply that is always the same.
pub(super) fn fixed(reply: Fixed, out: &mut ReplyBuffer) {
    match reply {
        Fixed::EmptyArray => out.array(0),
        Fixed::EmptyMap => out.map(0),
        Fixed::Zeros(count) => {
            out.array(count);
            (0..count).for_each(|_| out.integer(0));
        }
        Fixed::Text(text) => out.text(text),
    }
}
