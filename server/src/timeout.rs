//! Waiting with a time limit.

use futures::future::{Either, select};
use leasehold_runtime::Runtime;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// Returns the output of `future`, or `None` if it is not ready within `limit`.
pub(crate) async fn within<R: Runtime, F: Future>(runtime: &R, limit: Duration, future: F) -> Option<F::Output> {
    match select(pin!(future), pin!(runtime.sleep(limit))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
