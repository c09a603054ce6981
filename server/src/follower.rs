//! Reads on a follower: it asks the leader how far it must have applied, and then answers from its own state.

use crate::executor::{Failure, within};
use crate::forward::{Forwarder, PeerAnswer, PeerRequest};
use crate::keyspace::Keyspace;
use futures::channel::oneshot;
use futures::future::{Either, select};
use leasehold_driver::{Handle, ReadGrant, Runtime};
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for the leader's answer before the reads that wait for it try again.
const ANSWER: Duration = Duration::from_secs(1);

/// Asks the leader for read indexes. Reads that arrive while one request is out share the next: each request leaves after
/// every read it is for has arrived, so the index it brings is recent enough for all of them.
pub(crate) struct ReadIndexes<R> {
    runtime: R,
    handle: Handle<Keyspace>,
    forwarder: Arc<Forwarder>,
    gathering: Mutex<Gathering>,
}

#[derive(Default)]
struct Gathering {
    /// Whether a task is at work that will take what gathers.
    asking: bool,
    waiting: Vec<oneshot::Sender<Result<ReadGrant, Failure>>>,
}

impl<R: Runtime> ReadIndexes<R> {
    pub(crate) fn new(runtime: R, handle: Handle<Keyspace>, forwarder: Arc<Forwarder>) -> Arc<Self> {
        Arc::new(Self { runtime, handle, forwarder, gathering: Mutex::default() })
    }

    /// The index from which on this node's state answers a read that has arrived by now.
    pub(crate) async fn grant(self: &Arc<Self>) -> Result<ReadGrant, Failure> {
        let (sender, answer) = oneshot::channel();
        let idle = {
            let mut gathering = self.gathering.lock();
            gathering.waiting.push(sender);
            !std::mem::replace(&mut gathering.asking, true)
        };
        if idle {
            self.runtime.spawn(self.clone().ask_until_nobody_waits());
        }
        answer.await.unwrap_or(Err(Failure::NotExecuted))
    }

    async fn ask_until_nobody_waits(self: Arc<Self>) {
        loop {
            let waiting = {
                let mut gathering = self.gathering.lock();
                gathering.asking = !gathering.waiting.is_empty();
                if !gathering.asking {
                    return;
                }
                std::mem::take(&mut gathering.waiting)
            };
            let grant = self.ask().await;
            for read in waiting {
                // Whoever gave up waiting needs no answer.
                let _ = read.send(grant);
            }
        }
    }

    /// One request. No answer in good time, or another leader meanwhile, is a reason to ask again.
    async fn ask(&self) -> Result<ReadGrant, Failure> {
        let leader = self.handle.status().leader;
        if leader == 0 {
            return Err(Failure::NotExecuted);
        }
        let asked = pin!(self.forwarder.ask(leader, PeerRequest::ReadIndex.encode()));
        let deposed = pin!(self.handle.wait_status(|news| news.leader != leader || news.stopped));
        match within(&self.runtime, ANSWER, select(asked, deposed)).await {
            Some(Either::Left((Ok(payload), _))) => match PeerAnswer::decode(&payload) {
                Some(PeerAnswer::ReadIndex { index, by_lease }) => Ok(ReadGrant { index, by_lease }),
                Some(PeerAnswer::Busy) => Err(Failure::Busy),
                _ => Err(Failure::NotExecuted),
            },
            _ => Err(Failure::NotExecuted),
        }
    }
}
