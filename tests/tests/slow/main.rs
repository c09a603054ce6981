//! How a cluster behaves when something in it is slow, dead or hostile: a disk, a peer, a client, or whoever stops waiting
//! for an answer. Nothing here asserts how long anything takes, only what goes on meanwhile.

mod cancelled;
mod clients;
mod cluster;
mod disk;
mod peers;

use leasehold_clock::{Clock, SystemClock};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_tests::simulated::SimulatedRuntime;
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a busy machine, short enough for a test.
const HOLD: Duration = Duration::from_millis(600);

/// A runtime and the clock of its time.
trait Timed: Runtime {
    fn clock(&self) -> Arc<dyn Clock>;

    /// Stops every task where it stands.
    fn kill(&self);
}

impl Timed for TokioRuntime {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock::new().expect("this machine has clocks"))
    }

    fn kill(&self) {
        TokioRuntime::kill(self);
    }
}

impl Timed for SmolRuntime {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock::new().expect("this machine has clocks"))
    }

    fn kill(&self) {
        SmolRuntime::kill(self);
    }
}

impl Timed for SimulatedRuntime {
    fn clock(&self) -> Arc<dyn Clock> {
        SimulatedRuntime::clock(self)
    }

    fn kill(&self) {
        SimulatedRuntime::kill(self);
    }
}

macro_rules! on {
    ($name:ident, $runtime:ty: $($module:ident::$story:ident => $test:ident),* $(,)?) => {
        mod $name {
            $(#[test] fn $test() { super::$module::$story::<$runtime>(); })*
        }
    };
}

macro_rules! on_real_runtimes {
    ($($tests:tt)*) => {
        on!(tokio, super::TokioRuntime: $($tests)*);
        on!(smol, super::SmolRuntime: $($tests)*);
    };
}

on_real_runtimes!(
    disk::slows_writes => a_slow_disk_slows_writes_and_neither_lease_nor_reads,
    peers::that_stops_reading => a_peer_that_stops_reading_delays_nobody,
    peers::that_is_hostile => a_peer_that_announces_too_much_is_cut_off_and_nobody_else,
    clients::that_are_slow => clients_that_do_not_read_or_hardly_write_hold_up_nobody_else,
    clients::that_ask_too_much => a_client_that_asks_too_much_is_refused_and_nobody_else,
    cancelled::writes => writes_that_nobody_waits_for_lose_nothing_and_leave_nothing_behind,
    cancelled::reads => reads_that_nobody_waits_for_leave_nothing_behind,
);

on!(simulated, super::SimulatedRuntime:
    cancelled::writes => writes_that_nobody_waits_for_lose_nothing_and_leave_nothing_behind,
    cancelled::reads => reads_that_nobody_waits_for_leave_nothing_behind,
    cancelled::in_a_full_inbox => what_waits_for_a_full_inbox_can_be_given_up,
);
