//! Counting and timing what a connection does.

use super::registry::{Doing, NO_COMMAND};
use super::session::Session;
use crate::activity::SlowClient;
use crate::wall::unix_time;
use leasehold_runtime::Runtime;
use std::time::Duration;

impl<R: Runtime> Session<'_, R> {
    /// Publishes what the connection begins to do, and returns when it does, since the node started.
    pub(super) fn begin_batch(&mut self) -> Duration {
        self.wire.take_waited();
        let now = self.clients.uptime();
        self.connection.peer().note(Doing {
            now,
            command: self.counted.last().unwrap_or(NO_COMMAND),
            queued: self.transaction.queued(),
            received: self.wire.received_bytes(),
        });
        now
    }

    /// Counts the requests of the batch that began at `began`, and their errors. The time for which the
    /// client did not take its replies does not count.
    pub(super) fn end_batch(&mut self, began: Duration) {
        let elapsed = self.clients.uptime().saturating_sub(began).saturating_sub(self.wire.take_waited());
        let peer = self.connection.peer();
        let client = || SlowClient { address: peer.address, name: peer.names().name, time: unix_time().as_secs() };
        self.clients.activity.count(&mut self.counted, elapsed, client);
        let errors = self.out.take_errors();
        if !errors.is_empty() {
            self.clients.activity.count_errors(errors.into_iter());
        }
    }
}
