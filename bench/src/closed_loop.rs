//! A closed-loop load generator: clients that each wait for a reply before the next request, each a tokio task.
//!
//! It is the same for every server, so that a comparison is one of servers. Only the protocols differ.

pub(crate) mod etcd;
pub(crate) mod resp;

use crate::stopwatch::Stopwatch;
use hdrhistogram::Histogram;
use leasehold_testing::dice::Dice;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// The number of keys.
pub(crate) const KEYS: u64 = 1000;
/// The value written, as long as that of redis-benchmark.
pub(crate) const VALUE: &str = "xxx";
/// The start of a run, which is not counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// A client's connection.
pub(crate) trait Connection: Sized + Send + 'static {
    /// Opens a connection for each client.
    fn open(port: u16, clients: u32) -> impl Future<Output = Result<Vec<Self>, String>> + Send;

    /// Executes operations, and returns once all of them are answered.
    fn execute(&mut self, operations: &[Operation<'_>]) -> impl Future<Output = Result<(), String>> + Send;
}

/// One command of a client.
#[derive(Clone, Copy)]
pub(crate) enum Operation<'a> {
    /// Reads a key, linearizably.
    Get(&'a str),
    /// Writes [`VALUE`] to a key, durably.
    Set(&'a str),
}

/// One kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) tasks: u32,
    /// Operations that a client has in flight. It sends the next ones once all of them are answered.
    pub(crate) pipeline: u32,
    /// Writes per hundred operations.
    pub(crate) writes: u32,
    pub(crate) lasts: Duration,
}

/// The result of a load.
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    /// In microseconds.
    pub(crate) gets: Histogram<u64>,
    /// In microseconds.
    pub(crate) sets: Histogram<u64>,
}

/// Runs a load against a port.
pub(crate) fn run<C: Connection>(port: u16, load: Load) -> Result<Outcome, String> {
    Ok(observe::<C, ()>(&[port], load, || Ok(()))?.0)
}

/// Runs a load whose clients are spread evenly over ports. Looks at something when the part that counts begins and when
/// it ends, on the thread of the clients.
pub(crate) fn observe<C: Connection, T>(
    ports: &[u16],
    load: Load,
    look: impl Fn() -> Result<T, String>,
) -> Result<(Outcome, [T; 2]), String> {
    runtime()?.block_on(async {
        let mut connections = Vec::new();
        for port in ports {
            connections.extend(C::open(*port, load.tasks / ports.len() as u32).await?);
        }
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (1..)
            .zip(connections)
            .map(|(seed, connection)| tokio::spawn(repeat(connection, load, watch, seed)))
            .collect();
        sleep(WARM_UP.saturating_sub(watch.elapsed())).await;
        let before = look()?;
        sleep((WARM_UP + load.lasts).saturating_sub(watch.elapsed())).await;
        let seen = [before, look()?];
        let mut outcome = Outcome { per_second: 0.0, gets: histogram()?, sets: histogram()? };
        for task in tasks {
            let (gets, sets) = task.await.map_err(|error| error.to_string())??;
            outcome.gets += gets;
            outcome.sets += sets;
        }
        outcome.per_second = (outcome.gets.len() + outcome.sets.len()) as f64 / load.lasts.as_secs_f64();
        Ok((outcome, seen))
    })
}

/// Writes every key once.
pub(crate) fn fill<C: Connection>(port: u16) -> Result<(), String> {
    const WRITERS: u32 = 50;
    runtime()?.block_on(async {
        let writers: Vec<_> = (0..)
            .zip(C::open(port, WRITERS).await?)
            .map(|(writer, mut connection)| {
                tokio::spawn(async move {
                    for at in (writer..KEYS).step_by(WRITERS as usize) {
                        connection.execute(&[Operation::Set(&key(at))]).await?;
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        for writer in writers {
            writer.await.map_err(|error| error.to_string())??;
        }
        Ok(())
    })
}

async fn repeat<C: Connection>(
    mut connection: C,
    load: Load,
    watch: Stopwatch,
    seed: u64,
) -> Result<(Histogram<u64>, Histogram<u64>), String> {
    let (mut gets, mut sets) = (histogram()?, histogram()?);
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let mut dice = Dice::new(seed, 0);
    let mut operations = Vec::new();
    loop {
        operations.clear();
        operations.extend((0..load.pipeline).map(|_| {
            let key = keys[dice.index(keys.len())].as_str();
            if dice.below(100) < u64::from(load.writes) { Operation::Set(key) } else { Operation::Get(key) }
        }));
        let sent = watch.elapsed();
        connection.execute(&operations).await?;
        let answered = watch.elapsed();
        if answered > WARM_UP + load.lasts {
            return Ok((gets, sets));
        }
        if sent >= WARM_UP {
            let micros = (answered - sent).as_micros() as u64;
            for operation in &operations {
                match operation {
                    Operation::Get(_) => gets.saturating_record(micros),
                    Operation::Set(_) => sets.saturating_record(micros),
                }
            }
        }
    }
}

/// Returns a runtime with one thread, as redis-benchmark has. The servers need the rest of the machine.
fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

/// Returns a histogram for microseconds, up to ten seconds.
fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, 10_000_000, 3).map_err(|error| error.to_string())
}

fn key(at: u64) -> String {
    format!("key:{at:012}")
}
