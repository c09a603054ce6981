//! Keys die in time by this task: the leader proposes an empty entry at the earliest deadline, whose time lets every node remove
//! the key.

use crate::keyspace::{Entry, Keyspace, View};
use crate::timeout::within;
use futures::future::select;
use leasehold_node::{Handle, Role};
use leasehold_runtime::Runtime;
use std::pin::pin;
use std::time::Duration;

/// The shortest time between two entries: an entry removes every key that is dead by then, up to a limit.
const MIN_TICK_INTERVAL: Duration = Duration::from_millis(50);
/// The longest time between two looks at the wall clock, which may have been set meanwhile, while a key has a deadline.
const MAX_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The task of one node.
pub(crate) struct Expirer<R> {
    pub(crate) runtime: R,
    pub(crate) handle: Handle<Keyspace>,
    pub(crate) view: View,
}

impl<R: Runtime> Expirer<R> {
    /// Proposes entries while this node leads, until it stops.
    pub(crate) async fn run(self) {
        let Expirer { runtime, handle, view } = self;
        loop {
            let status = handle.wait_status(|status| status.stopped || status.role == Role::Leader).await;
            if status.stopped {
                return;
            }
            let changed = view.listen_for_ticks();
            match view.next_tick(view.wall_clock().now()) {
                None => {
                    let ended = handle.wait_status(|status| status.stopped || status.role != Role::Leader);
                    select(changed, pin!(ended)).await;
                }
                Some(Duration::ZERO) => {
                    let tick = handle.write(Entry::encode(&[], true, &[])).await;
                    let pause = if tick.is_ok() { MIN_TICK_INTERVAL } else { MAX_LOOK_INTERVAL };
                    runtime.sleep(pause).await;
                }
                Some(left) => {
                    within(&runtime, left.min(MAX_LOOK_INTERVAL), changed).await;
                }
            }
        }
    }
}
