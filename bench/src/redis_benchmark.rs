//! redis-benchmark as the load generator, for every server with its protocol.

use crate::children::is_installed;
use std::process::Command;

/// The result of one run of redis-benchmark.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p99_millis: f64,
}

/// One kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) test: &'static str,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) requests: u32,
}

/// Writes most of the keys that the loads use, so that reads find values.
pub(crate) const FILL: Shape = Shape { test: "set", clients: 50, pipeline: 16, requests: 30_000 };

/// Returns an error with the package to install if redis-benchmark is missing.
pub(crate) fn require() -> Result<(), String> {
    if is_installed("redis-benchmark") {
        return Ok(());
    }
    Err("redis-benchmark is not installed; on Debian: apt-get install redis-tools".to_owned())
}

/// Runs one load.
pub(crate) fn run(port: u16, shape: Shape) -> Result<Measured, String> {
    run_with(port, shape, &[])
}

/// Runs one load that sends each command to the leader of its group. The node at the port knows the leaders, of which
/// there are at least two: redis-benchmark refuses a cluster with one.
pub(crate) fn run_cluster(port: u16, shape: Shape) -> Result<Measured, String> {
    run_with(port, shape, &["--cluster", "--threads", "1"])
}

fn run_with(port: u16, shape: Shape, flags: &[&str]) -> Result<Measured, String> {
    let output = Command::new("redis-benchmark")
        .args(flags)
        .args(["-p", &port.to_string(), "-t", shape.test, "-c", &shape.clients.to_string()])
        .args(["-P", &shape.pipeline.to_string(), "-n", &shape.requests.to_string()])
        .args(["-r", "10000", "--csv"])
        .output()
        .map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    let line = text.lines().rfind(|line| line.to_ascii_lowercase().starts_with(&format!("\"{}", shape.test)));
    let field = |at: usize| -> Option<f64> { line?.split(',').nth(at)?.trim_matches('"').parse().ok() };
    match (field(1), field(6)) {
        (Some(per_second), Some(p99_millis)) => Ok(Measured { per_second, p99_millis }),
        _ => Err(format!(
            "cannot parse the output of redis-benchmark: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
