//! The answering side between nodes: what peers send is handed to the driver, to a waiting request, or executed.

use crate::executor::{Executor, Failure};
use crate::forward::{GROUP, PeerAnswer, PeerRequest};
use async_trait::async_trait;
use bytes::Bytes;
use leasehold_core::NodeId;
use leasehold_driver::{Body, Frame, ReadError, ReadGrant, Receive, RequestId, Runtime};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// How many requests from peers may be executed at once, and how many bytes they may have in all.
const MOST_REQUESTS: usize = 4096;
const MOST_BYTES: usize = 256 << 20;

/// Where links deliver. Links exist before the driver does; what arrives before [`open`](Self::open) is lost, as links may.
pub(crate) struct Inbox<R> {
    service: OnceLock<Arc<PeerService<R>>>,
}

impl<R> Default for Inbox<R> {
    fn default() -> Self {
        Self { service: OnceLock::new() }
    }
}

impl<R: Runtime> Inbox<R> {
    pub(crate) fn open(&self, executor: Arc<Executor<R>>) {
        let load = Load::default();
        // Opened twice, it keeps what it has.
        let _ = self.service.set(Arc::new(PeerService { executor, load, writes: Mutex::default() }));
    }
}

#[async_trait]
impl<R: Runtime> Receive for Inbox<R> {
    async fn receive(&self, from: NodeId, frame: Frame) {
        if frame.group != GROUP {
            tracing::debug!(from, group = frame.group, "a frame for a group that this node has not");
            return;
        }
        let Some(service) = self.service.get() else { return };
        match frame.body {
            Body::Raft(envelope) => service.executor.handle().receive(from, envelope).await,
            Body::Answer { id, payload } => service.executor.forwarder().answered(from, id, payload),
            Body::Request { id, payload } => service.clone().requested(from, id, payload),
        }
    }
}

struct PeerService<R> {
    executor: Arc<Executor<R>>,
    load: Load,
    writes: Mutex<Seen>,
}

impl<R: Runtime> PeerService<R> {
    /// Executes a peer's request in a task of its own, or at once if that takes no waiting.
    fn requested(self: Arc<Self>, from: NodeId, id: RequestId, payload: Bytes) {
        let Some(request) = PeerRequest::decode(&payload) else {
            tracing::warn!(from, "a request that this version does not know; run the same version on every node");
            return;
        };
        let executor = &self.executor;
        match request {
            PeerRequest::ReadIndex => {
                // The reading is taken now: after the request arrived.
                if let Some(permit) = executor.handle().lease().try_read(executor.now()) {
                    let answer = PeerAnswer::ReadIndex { index: permit.index, by_lease: true };
                    executor.forwarder().answer(from, id, &answer);
                    return;
                }
            }
            // Whoever asked is answered by the first execution.
            PeerRequest::Entry(_) if !self.writes.lock().first_time(id) => return,
            PeerRequest::Entry(_) => {}
        }
        let bytes = payload.len();
        if !self.load.take(bytes) {
            executor.forwarder().answer(from, id, &PeerAnswer::Busy);
            return;
        }
        let service = self.clone();
        executor.runtime().spawn(async move {
            let executor = &service.executor;
            let answer = match request {
                PeerRequest::ReadIndex => match executor.handle().read().await {
                    Ok(ReadGrant { index, by_lease }) => PeerAnswer::ReadIndex { index, by_lease },
                    Err(ReadError::Overloaded) => PeerAnswer::Busy,
                    Err(_) => PeerAnswer::NotExecuted,
                },
                PeerRequest::Entry(entry) => match executor.write_here(entry).await {
                    Ok(replies) => PeerAnswer::Replies(replies),
                    Err(Failure::Uncertain) => PeerAnswer::Uncertain,
                    Err(Failure::Busy) => PeerAnswer::Busy,
                    Err(Failure::NotExecuted | Failure::Stopping) => PeerAnswer::NotExecuted,
                },
            };
            executor.forwarder().answer(from, id, &answer);
            service.load.give_back(bytes);
        });
    }
}

/// What is being executed for peers.
#[derive(Default)]
struct Load {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    fn take(&self, bytes: usize) -> bool {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = requests < MOST_REQUESTS && (before == 0 || before + bytes <= MOST_BYTES);
        if !room {
            self.give_back(bytes);
        }
        room
    }

    fn give_back(&self, bytes: usize) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Which writes peers have asked for, so that a request that a link delivers twice is executed once.
#[derive(Default)]
struct Seen {
    /// By the asking process.
    processes: HashMap<u64, Sequences>,
    /// The processes, the one first heard of first.
    order: VecDeque<u64>,
}

#[derive(Default)]
struct Sequences {
    /// Every number below this counts as seen.
    floor: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    /// Processes remembered: every peer's present one, and some that restarted.
    const PROCESSES: usize = 64;
    /// Numbers remembered of each: as many as can be waiting for an answer, and again as many.
    const NUMBERS: usize = 32_768;

    fn first_time(&mut self, id: RequestId) -> bool {
        if !self.processes.contains_key(&id.boot) {
            self.order.push_back(id.boot);
            if self.order.len() > Self::PROCESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.processes.remove(&oldest);
            }
        }
        let seen = self.processes.entry(id.boot).or_default();
        let first = id.sequence >= seen.floor && seen.above.insert(id.sequence);
        if seen.above.len() > Self::NUMBERS
            && let Some(lowest) = seen.above.pop_first()
        {
            seen.floor = lowest + 1;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_arrives_twice_is_new_once() {
        let mut seen = Seen::default();
        let id = |boot, sequence| RequestId { boot, sequence };
        assert!(seen.first_time(id(1, 5)));
        assert!(seen.first_time(id(1, 4)), "an earlier one that was overtaken");
        assert!(seen.first_time(id(2, 5)), "another process's");
        assert!(!seen.first_time(id(1, 5)));
        for sequence in 6..100_000 {
            assert!(seen.first_time(id(1, sequence)));
        }
        assert!(!seen.first_time(id(1, 5)), "long ago");
        assert!(!seen.first_time(id(2, 5)));
        assert!(seen.processes[&1].above.len() <= Seen::NUMBERS);
    }

    #[test]
    fn peers_get_only_so_much_done_at_once() {
        let load = Load::default();
        assert!(load.take(MOST_BYTES + 1), "one alone may be of any size");
        assert!(!load.take(1));
        load.give_back(MOST_BYTES + 1);
        for _ in 0..MOST_REQUESTS {
            assert!(load.take(1));
        }
        assert!(!load.take(1));
        load.give_back(1);
        assert!(load.take(1));
    }
}
