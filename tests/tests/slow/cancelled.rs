//! Requests whose callers stop waiting, at any await.

use crate::Timed;
use crate::cluster::{drivers, leader, within};
use bytes::Bytes;
use futures::FutureExt as _;
use leasehold_node::{Ground, Handle, ReadMode, RequestError};
use leasehold_tests::driven::List;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// More requests than the driver keeps pending at once.
const REQUESTS: usize = 70_000;
/// The capacity of the driver's inbox.
const INBOX: usize = 4096;

/// Polls `inner` up to `polls` times, then drops it.
struct CancelledAfter<F> {
    polls: usize,
    inner: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for CancelledAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        if let Poll::Ready(output) = inner.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.polls -= 1;
        if self.polls == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

fn cancelled_after<F: Future>(polls: usize, inner: F) -> CancelledAfter<F> {
    CancelledAfter { polls, inner: Some(Box::pin(inner)) }
}

fn command(number: usize) -> Bytes {
    Bytes::from(number.to_string())
}

/// Stops every driver. A driver cannot stop while a cancelled write still occupies a slot.
async fn stop_all<R: Timed>(runtime: &R, handles: impl Iterator<Item = &Handle<List>>) {
    for handle in handles {
        within(runtime, handle.stop()).await;
    }
}

pub(crate) fn writes<R: Timed>() {
    let runtime = R::start("slow", 2).expect("a runtime");
    let handles = drivers(&runtime, 3, ReadMode::Lease, |_, disk| disk);
    let leader = leader(&handles);
    let acknowledged = runtime.block_on(async {
        let mut acknowledged = BTreeMap::new();
        for number in 0..300 {
            let write = leader.write(command(number));
            let outcome = if number % 3 == 0 {
                Some(within(&runtime, write).await)
            } else {
                cancelled_after(number % 3, write).await
            };
            match outcome {
                Some(Ok(place)) => drop(acknowledged.insert(place, command(number))),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        assert!(acknowledged.len() >= 100);
        // Cancelled writes occupy no slots.
        for number in 0..REQUESTS {
            let _ = cancelled_after(1, leader.write(command(number))).now_or_never();
            if number % 1000 == 0 {
                within(&runtime, leader.write(command(number))).await.expect("there is room");
            }
        }
        let last = within(&runtime, leader.write(command(0))).await.expect("there is room");
        // A write that was cancelled before the node took it is not executed.
        assert!(last <= 300 + REQUESTS + REQUESTS / 1000 + 1, "no write is executed twice");
        let index = leader.gate().applied();
        for (handle, _) in handles.values() {
            let applied = async {
                while handle.gate().applied() < index {
                    runtime.sleep(Duration::from_millis(1)).await;
                }
            };
            within(&runtime, applied).await;
        }
        stop_all(&runtime, handles.values().map(|(handle, _)| handle)).await;
        assert_eq!(leader.write(command(0)).await, Err(RequestError::Stopping));
        acknowledged
    });
    for (node, (_, disk)) in &handles {
        let records = disk.recovered().records;
        for (place, command) in &acknowledged {
            assert_eq!(records[place - 1].value, command, "on node {node}");
        }
    }
    runtime.kill();
}

pub(crate) fn reads<R: Timed>() {
    let runtime = R::start("slow", 2).expect("a runtime");
    let handles = drivers(&runtime, 3, ReadMode::Quorum, |_, disk| disk);
    let leader = leader(&handles);
    runtime.block_on(async {
        for number in 0..REQUESTS {
            let _ = cancelled_after(1 + number % 2, leader.read()).now_or_never();
            if number % 1000 == 0 {
                let grant = within(&runtime, leader.read()).await.expect("there is room");
                assert_eq!(grant.ground, Ground::Quorum);
            }
        }
        within(&runtime, leader.write(command(0))).await.expect("there is room for writes");
        stop_all(&runtime, handles.values().map(|(handle, _)| handle)).await;
    });
    runtime.kill();
}

/// On virtual time the driver does not run while the test does, so the test can fill its inbox completely.
pub(crate) fn in_a_full_inbox<R: Timed>() {
    let runtime = R::start("slow", 1).expect("a runtime");
    let handles = drivers(&runtime, 1, ReadMode::Quorum, |_, disk| disk);
    let leader = leader(&handles);
    runtime.block_on(async {
        let first = within(&runtime, leader.write(command(0))).await.expect("it leads");
        let mut kept: Vec<_> = (0..2 * INBOX).map(|number| Box::pin(leader.write(command(number)))).collect();
        for write in &mut kept {
            assert_eq!(write.as_mut().now_or_never(), None);
        }
        // Cancels every second write. Some had been accepted, the others were still waiting for room.
        let mut number = 0;
        kept.retain(|_| {
            number += 1;
            number % 2 == 0
        });
        for _ in 0..100 {
            assert_eq!(leader.read().now_or_never(), None);
            assert_eq!(leader.transfer(1).now_or_never(), None);
            assert_eq!(leader.stop().now_or_never(), None, "the stop is cancelled before it was queued");
        }
        let places =
            within(&runtime, futures::future::try_join_all(kept)).await.expect("the remaining writes are executed");
        let distinct: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), INBOX, "every write has its own log position");
        let last = within(&runtime, leader.write(command(0))).await.expect("there is room");
        assert_eq!(last - first - 1, INBOX, "the cancelled writes are not executed");
        within(&runtime, leader.read()).await.expect("there is room for reads");
        stop_all(&runtime, [leader].into_iter()).await;
    });
    runtime.kill();
}
