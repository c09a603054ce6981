//! The fields that Redis has too, and that clients and tools read there.

use super::fields::Fields;
use crate::clients::shared::Clients;
use crate::keyspace::View;
use crate::process;
use crate::wall::unix_time;
use leasehold_runtime::Runtime;
use std::time::Duration;

/// The version of Redis whose commands and replies these are. Clients compare it with the one that introduced a feature.
const REDIS_VERSION: &str = "7.0.15";

pub(super) fn server<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let facts = &clients.facts;
    let up = clients.uptime().as_secs();
    fields.add("server_name", "leasehold");
    fields.add("leasehold_version", env!("CARGO_PKG_VERSION"));
    fields.add("redis_version", REDIS_VERSION);
    fields.add("redis_mode", clients.mode());
    fields.add("os", std::env::consts::OS);
    fields.add("arch_bits", usize::BITS);
    fields.add("runtime", R::NAME);
    #[cfg(target_os = "linux")]
    fields.add("multiplexing_api", "epoll");
    fields.add("cluster_name", &facts.cluster);
    fields.add("process_id", std::process::id());
    fields.add("run_id", &clients.run_id);
    fields.add("tcp_port", facts.client_address.port());
    fields.add("server_time_usec", unix_time().as_micros());
    fields.add("uptime_in_seconds", up);
    fields.add("uptime_in_days", up / (24 * 60 * 60));
}

pub(super) fn memory<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let used = clients.used_bytes();
    fields.add_bytes("used_memory", used);
    fields.add("used_memory_dataset", used);
    if let Some(resident) = process::resident_bytes() {
        fields.add_bytes("used_memory_rss", resident);
        if used > 0 {
            fields.add("mem_fragmentation_ratio", format_args!("{:.2}", resident as f64 / used as f64));
        }
    }
    if let Some(most) = process::most_resident_bytes() {
        fields.add_bytes("used_memory_rss_peak", most);
    }
    if let Some(total) = process::total_bytes() {
        fields.add_bytes("total_system_memory", total);
    }
    fields.add_bytes("maxmemory", clients.max_memory().unwrap_or(0));
    fields.add("maxmemory_policy", "noeviction");
    fields.add("mem_allocator", "mimalloc");
    fields.add("maxmemory_clients", clients.limits.client_memory);
    fields.add("clients_waited_for_memory", clients.waited_for_memory.get());
    fields.add("mem_client_requests", clients.memory.input.used());
    fields.add("mem_client_replies", clients.memory.output.used());
    fields.add("mem_pending_writes", clients.pending_write_bytes());
}

pub(super) fn stats<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let activity = &clients.activity;
    fields.add("total_connections_received", activity.connections.get());
    fields.add("total_commands_processed", activity.processed());
    fields.add("instantaneous_ops_per_sec", activity.per_second());
    fields.add("rejected_connections", clients.rejected.get());
    fields.add("evicted_keys", 0);
    fields.add("total_error_replies", activity.errors().values().sum::<u64>());
}

pub(super) fn replication<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let led = clients.led();
    let (status, leads) = (led.map_or_else(|| clients.status(), |executor| executor.handle().status()), led.is_some());
    fields.add("role", if leads { "master" } else { "slave" });
    if !leads {
        if let Some((host, port)) = status.leader.and_then(|leader| clients.client_address(leader)) {
            fields.add("master_host", host);
            fields.add("master_port", port);
        }
        fields.add("master_link_status", if status.leader.is_some() { "up" } else { "down" });
        fields.add("slave_repl_offset", status.applied);
    }
    fields.add("connected_slaves", if leads { clients.transport.connected_peers() } else { 0 });
    fields.add("master_repl_offset", status.commit);
}

pub(super) fn processor<R: Runtime>(_: &Clients<R>, fields: &mut Fields) {
    let Some(time) = process::processor_time() else { return };
    let mut add = |name, time: Duration| fields.add(name, format_args!("{:.6}", time.as_secs_f64()));
    add("used_cpu_sys", time.system);
    add("used_cpu_user", time.user);
    add("used_cpu_sys_children", time.children_system);
    add("used_cpu_user_children", time.children_user);
}

pub(super) fn commands<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    for (name, calls, time) in clients.activity.by_command() {
        let micros = time.as_nanos() as f64 / 1000.0;
        let (total, each) = (time.as_micros(), micros / calls as f64);
        fields.add(&format!("cmdstat_{name}"), format_args!("calls={calls},usec={total},usec_per_call={each:.2}"));
    }
}

pub(super) fn errors<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    for (code, count) in clients.activity.errors() {
        fields.add(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

pub(super) fn cluster<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    fields.add("cluster_enabled", u8::from(clients.facts.redirects));
}

pub(super) fn keyspace<R: Runtime>(clients: &Clients<R>, fields: &mut Fields) {
    let keys = clients.keys();
    if keys > 0 {
        let expires = clients.views().map(View::keys_with_deadline).sum::<u64>();
        // No average is kept, for which Redis prints 0 too.
        fields.add("db0", format_args!("keys={keys},expires={expires},avg_ttl=0"));
    }
}
