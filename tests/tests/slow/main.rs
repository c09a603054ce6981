//! Clusters in which a disk, a peer or a client is slow, dead or hostile, or in which callers cancel requests. No test
//! asserts a duration. Each asserts that the rest of the cluster continues to work.

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

/// Long enough for a busy machine, and so short that a write may wait for three writes to a disk that take longer than
/// this, within the time that a request has.
const HOLD: Duration = Duration::from_millis(1250);

/// A runtime with a clock on its time.
trait Timed: Runtime {
    fn clock(&self) -> Arc<dyn Clock>;

    /// Stops every task immediately.
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
    disk::slows_writes => slow_disk_delays_neither_lease_nor_reads,
    peers::that_stops_reading => peer_that_stops_reading_delays_no_other_node,
    peers::that_is_hostile => peer_that_announces_an_oversized_frame_is_disconnected,
    clients::that_are_slow => slow_clients_do_not_delay_others,
    clients::that_ask_too_much => oversized_requests_are_refused,
    cancelled::writes => cancelled_writes_lose_no_data_and_leak_nothing,
    cancelled::reads => cancelled_reads_leak_nothing,
);

on!(simulated, super::SimulatedRuntime:
    cancelled::writes => cancelled_writes_lose_no_data_and_leak_nothing,
    cancelled::reads => cancelled_reads_leak_nothing,
    cancelled::in_a_full_inbox => requests_waiting_for_a_full_inbox_can_be_cancelled,
);
