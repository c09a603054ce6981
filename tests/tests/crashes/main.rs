//! Real processes that are killed, stopped and started again at random, under a load whose check is exact.
//!
//! Longer runs:
//!
//! ```text
//! cargo test -p leasehold-tests --test crashes -- --ignored --nocapture
//! ```
//!
//! `CRASHES_SEED` chooses other moments, `CRASHES_KILLS` the number of kills, and `CRASHES_SECONDS` how long counters
//! are incremented.

mod counters;
mod kills;

use leasehold_testing::dice::Dice;
use leasehold_tests::processes::{Processes, connect};
use redis::{Connection, ErrorKind, RedisError, ServerErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lets one cluster run at a time, because there are few processors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{variable}={value:?}")))
}

/// Returns the seed of a run, and prints it.
fn seed(default: u64) -> u64 {
    let seed = number("CRASHES_SEED", default);
    println!("CRASHES_SEED={seed}");
    seed
}

/// A client that changes to another node after an error.
struct Client {
    ports: Vec<u16>,
    dice: Dice,
    connection: Option<Connection>,
}

/// The reason why a command failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    NotExecuted,
    Uncertain,
}

impl Client {
    fn new(cluster: &Processes, dice: Dice) -> Client {
        let ports = cluster.recipes.values().map(|recipe| recipe.client_port).collect();
        Client { ports, dice, connection: None }
    }

    /// Creates a client of one node.
    fn of(cluster: &Processes, node: u64, dice: Dice) -> Client {
        Client { ports: vec![cluster.recipes[&node].client_port], dice, connection: None }
    }

    /// Returns true if it is connected, after trying to.
    fn connect(&mut self) -> bool {
        if self.connection.is_none() {
            let port = self.dice.pick(&self.ports);
            self.connection = connect(port, 2).ok();
        }
        self.connection.is_some()
    }

    /// Executes a command. Call [`connect`](Client::connect) first.
    fn run<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, Failure> {
        let connection = self.connection.as_mut().ok_or(Failure::NotExecuted)?;
        command.query(connection).map_err(|error: RedisError| {
            let refused = error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain)
                || matches!(error.code(), Some("TRYAGAIN" | "BUSY" | "LOADING"));
            if error.code().is_none() || !refused {
                self.connection = None;
            }
            if refused { Failure::NotExecuted } else { Failure::Uncertain }
        })
    }
}

/// Stops the clients when it is dropped, also by a panic.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Checks that no node noticed a loss: its disk kept what was written.
fn assert_nothing_was_lost(cluster: &Processes) {
    for recipe in cluster.recipes.values() {
        let logged = recipe.logged();
        assert!(!logged.contains("missing from the data folder"), "node {}:\n{logged}", recipe.id);
    }
}
