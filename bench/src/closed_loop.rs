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

/// The number of keys.
pub(crate) const KEYS: u64 = 1000;
/// The value written, as long as that of redis-benchmark.
pub(crate) const VALUE: &str = "xxx";
/// The start of a run, which is not counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// A client's connection, with one request in flight.
pub(crate) trait Connection: Sized + Send + 'static {
    /// Opens a connection for each client.
    fn open(port: u16, clients: u32) -> impl Future<Output = Result<Vec<Self>, String>> + Send;

    /// Reads a key, linearizably.
    fn get(&mut self, key: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Writes [`VALUE`] to a key, durably.
    fn set(&mut self, key: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// One kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) tasks: u32,
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
    runtime()?.block_on(async {
        let connections = C::open(port, load.tasks).await?;
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (1..)
            .zip(connections)
            .map(|(seed, connection)| tokio::spawn(repeat(connection, load, watch, seed)))
            .collect();
        let mut outcome = Outcome { per_second: 0.0, gets: histogram()?, sets: histogram()? };
        for task in tasks {
            let (gets, sets) = task.await.map_err(|error| error.to_string())??;
            outcome.gets += gets;
            outcome.sets += sets;
        }
        outcome.per_second = (outcome.gets.len() + outcome.sets.len()) as f64 / load.lasts.as_secs_f64();
        Ok(outcome)
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
                        connection.set(&key(at)).await?;
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
    loop {
        let key = &keys[dice.index(keys.len())];
        let writes = dice.below(100) < u64::from(load.writes);
        let sent = watch.elapsed();
        if writes {
            connection.set(key).await?;
        } else {
            connection.get(key).await?;
        }
        let answered = watch.elapsed();
        if answered > WARM_UP + load.lasts {
            return Ok((gets, sets));
        }
        if sent >= WARM_UP {
            let micros = (answered - sent).as_micros() as u64;
            if writes { &mut sets } else { &mut gets }.saturating_record(micros);
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
