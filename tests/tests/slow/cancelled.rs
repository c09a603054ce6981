//! Whoever waits may stop waiting, at any await.

use crate::Timed;
use crate::cluster::{drivers, leader, within};
use bytes::Bytes;
use futures::FutureExt as _;
use leasehold_node::{Handle, ReadMode, RequestError};
use leasehold_tests::driven::List;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// More than the driver lets wait at once.
const MANY: usize = 70_000;
/// So many fit the driver's inbox.
const INBOX: usize = 4096;

/// Polls `inner` so many times, then gives it up.
struct GivenUpAfter<F> {
    polls: usize,
    inner: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for GivenUpAfter<F> {
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

fn given_up_after<F: Future>(polls: usize, inner: F) -> GivenUpAfter<F> {
    GivenUpAfter { polls, inner: Some(Box::pin(inner)) }
}

fn command(number: usize) -> Bytes {
    Bytes::from(number.to_string())
}

/// Stops every driver. None could, if a write still had its place.
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
                given_up_after(number % 3, write).await
            };
            match outcome {
                Some(Ok(place)) => drop(acknowledged.insert(place, command(number))),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        assert!(acknowledged.len() >= 100);
        // Those whose writers have gone leave no place taken.
        for number in 0..MANY {
            let _ = given_up_after(1, leader.write(command(number))).now_or_never();
            if number % 1000 == 0 {
                within(&runtime, leader.write(command(number))).await.expect("there is room");
            }
        }
        let last = within(&runtime, leader.write(command(0))).await.expect("there is room");
        assert_eq!(last, 300 + MANY + MANY / 1000 + 1, "what was accepted is carried out, waited for or not");
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
        for number in 0..MANY {
            let _ = given_up_after(1 + number % 2, leader.read()).now_or_never();
            if number % 1000 == 0 {
                let grant = within(&runtime, leader.read()).await.expect("there is room");
                assert!(!grant.by_lease);
            }
        }
        within(&runtime, leader.write(command(0))).await.expect("and for writes");
        stop_all(&runtime, handles.values().map(|(handle, _)| handle)).await;
    });
    runtime.kill();
}

/// On virtual time the driver does nothing while the test does something, so its inbox can be filled to the brim.
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
        // Every second one is given up: some were accepted, the others still waited to be.
        let mut number = 0;
        kept.retain(|_| {
            number += 1;
            number % 2 == 0
        });
        for _ in 0..100 {
            assert_eq!(leader.read().now_or_never(), None);
            assert_eq!(leader.transfer(1).now_or_never(), None);
            assert_eq!(leader.stop().now_or_never(), None, "this one is not even asked for");
        }
        let places = within(&runtime, futures::future::try_join_all(kept)).await.expect("the rest is carried out");
        let distinct: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), INBOX, "each in a place of its own");
        let last = within(&runtime, leader.write(command(0))).await.expect("there is room");
        assert_eq!(last - first - 1, INBOX + INBOX / 2, "all that the inbox had taken, and half of the others");
        within(&runtime, leader.read()).await.expect("and for reads");
        stop_all(&runtime, [leader].into_iter()).await;
    });
    runtime.kill();
}
