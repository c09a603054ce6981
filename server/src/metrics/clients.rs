//! The clients, their commands, and what the process uses.

use super::families::Families;
use crate::clients::Clients;
use crate::keyspace::View;
use crate::{descriptors, process};
use leasehold_runtime::Runtime;
use std::fmt;

pub(super) fn encode<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    commands(clients, out)?;
    connections(clients, out)?;
    memory(clients, out)?;
    process(clients, out)
}

fn commands<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let activity = &clients.activity;
    out.counters(
        "commands",
        "Commands that were received",
        "command",
        activity.by_command().map(|(name, calls, _)| (name, calls)),
    )?;
    let families = activity.by_family().filter(|(_, times)| times.count() > 0);
    out.histograms(
        "command_duration_seconds",
        "The time to execute a command; those of a pipeline that arrive together share theirs",
        families.map(|(family, times)| ([("family", family.group), ("kind", family.kind)], times)),
    )?;
    out.counters("command_errors", "Replies with an error, by their code", "code", activity.errors())
}

fn connections<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    out.gauge("connected_clients", "The clients that are connected", clients.connected() as f64)?;
    out.gauge("max_clients", "The most clients that may be connected", clients.limits.max_clients as f64)?;
    out.counter("connections", "Connections of clients", clients.activity.connections.get())?;
    let mut refused = vec![
        ("max_clients", clients.rejected.get()),
        ("address", clients.rejected_per_address.get()),
        ("stranger", clients.lobby.evicted.get()),
        ("timeout", clients.timed_out.get()),
        ("http", clients.http_requests.get()),
        ("tls", clients.encryption.failures.get()),
    ];
    refused.extend(clients.users.as_ref().map(|users| ("password", users.failures.get())));
    out.counters("client_refusals", "Connections and logins of clients that were refused or ended", "reason", refused)?;
    out.counters(
        "client_limits_reached",
        "How often a limit on the requests of clients was reached",
        "limit",
        [
            ("argument", clients.too_long.get()),
            ("pipeline", clients.paused.get()),
            ("memory", clients.waited_for_memory.get()),
        ],
    )
}

fn memory<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let with_deadline: u64 = clients.views().map(View::keys_with_deadline).sum();
    out.gauge("keys", "The keys", clients.keys() as f64)?;
    out.gauge("keys_with_deadline", "The keys that die at a certain time", with_deadline as f64)?;
    out.gauge("dataset_bytes", "The memory of keys and values", clients.used_bytes() as f64)?;
    out.gauge(
        "dataset_max_bytes",
        "Writes that need memory are refused beyond this; 0 without a limit",
        clients.max_memory().unwrap_or(0) as f64,
    )?;
    out.gauges(
        "client_memory_bytes",
        "The memory for the longer requests and replies of clients, and for writes without an outcome",
        "use",
        [
            ("requests", clients.memory.input.used() as f64),
            ("replies", clients.memory.output.used() as f64),
            ("writes", clients.pending_write_bytes() as f64),
        ],
    )
}

fn process<R: Runtime>(clients: &Clients<R>, out: &mut Families<'_>) -> fmt::Result {
    let (node, cluster) = (clients.node().to_string(), clients.facts.cluster.as_str());
    out.info(
        "build_info",
        "The release, the runtime and the names of this node",
        &[("version", env!("CARGO_PKG_VERSION")), ("runtime", R::NAME), ("node", node.as_str()), ("cluster", cluster)],
    )?;
    out.gauge("uptime_seconds", "The time since the node started", clients.uptime().as_secs_f64())?;
    if let Some(resident) = process::resident_bytes() {
        out.gauge("process_resident_memory_bytes", "The memory of the process", resident as f64)?;
    }
    if let Some(time) = process::processor_time() {
        out.seconds(
            "process_cpu_seconds",
            "The processor time of the process",
            "mode",
            [("user", time.user), ("system", time.system)],
        )?;
    }
    if let Some(open) = descriptors::open() {
        out.gauge("process_open_fds", "The file descriptors that are open", open as f64)?;
    }
    if let Some(limit) = descriptors::limit() {
        out.gauge("process_max_fds", "The file descriptors that may be open", limit as f64)?;
    }
    Ok(())
}
