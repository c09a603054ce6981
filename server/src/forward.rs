//! The asking side between nodes: a request goes out, and its answer finds the task that waits for it.

use crate::keyspace::{Reply, encoding};
use bytes::{BufMut, Bytes, BytesMut};
use futures::channel::oneshot;
use leasehold_core::{Index, NodeId};
use leasehold_driver::{Body, Frame, GroupId, Links, NotSent, RequestId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wincode::{SchemaRead, SchemaWrite};

/// The group that every request concerns; there is one.
pub(crate) const GROUP: GroupId = 0;

/// How many requests may wait for an answer at once.
const MOST_WAITING: usize = 16_384;

const READ_INDEX: u8 = 1;
const ENTRY: u8 = 2;

/// What one node asks another. The first byte of its encoding says which, and changes when the rest does.
#[derive(Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// Say from which index on a state answers reads that have arrived by now, if you lead.
    ReadIndex,
    /// Propose this log entry, if you lead.
    Entry(Bytes),
}

impl PeerRequest {
    /// What is sent.
    pub fn encode(&self) -> Bytes {
        match self {
            PeerRequest::ReadIndex => Bytes::from_static(&[READ_INDEX]),
            PeerRequest::Entry(entry) => {
                let mut payload = BytesMut::with_capacity(1 + entry.len());
                payload.put_u8(ENTRY);
                payload.extend_from_slice(entry);
                payload.freeze()
            }
        }
    }

    /// The request, or `None` if it is none that this version knows.
    pub fn decode(payload: &Bytes) -> Option<PeerRequest> {
        match *payload.first()? {
            READ_INDEX if payload.len() == 1 => Some(PeerRequest::ReadIndex),
            ENTRY => Some(PeerRequest::Entry(payload.slice(1..))),
            _ => None,
        }
    }
}

/// What the other node says.
#[derive(Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum PeerAnswer {
    /// A reply for each write of the entry.
    Replies(Vec<Reply>),
    /// Apply this index, then read.
    ReadIndex {
        /// The index.
        index: Index,
        /// Whether the lease granted it, rather than a quorum round.
        by_lease: bool,
    },
    /// Nothing was executed, nor will be: it does not lead.
    NotExecuted,
    /// Nothing was executed, nor will be: it has too much to do.
    Busy,
    /// The writes may be executed, now or later, or never.
    Uncertain,
}

impl PeerAnswer {
    /// What is sent.
    pub fn encode(&self) -> Bytes {
        wincode::config::serialize(self, encoding()).expect("replies within the limits can be encoded").into()
    }

    /// The answer, or `None` if it is none that this version knows.
    pub fn decode(payload: &[u8]) -> Option<PeerAnswer> {
        wincode::config::deserialize_exact(payload, encoding()).ok()
    }
}

/// Sends requests to peers and hands their answers to whoever waits.
pub(crate) struct Forwarder {
    links: Arc<dyn Links>,
    boot: u64,
    sequence: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    asked: NodeId,
    answer: oneshot::Sender<Bytes>,
}

/// A place in the table of waiting requests; dropping it gives it up.
struct Place<'a> {
    forwarder: &'a Forwarder,
    sequence: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.forwarder.waiting.lock().remove(&self.sequence);
    }
}

impl Forwarder {
    pub(crate) fn new(links: Arc<dyn Links>, boot: u64) -> Forwarder {
        Forwarder { links, boot, sequence: AtomicU64::new(0), waiting: Mutex::default() }
    }

    /// Sends a request and waits for its answer, for ever if none comes. `NotSent` only if it surely did not leave.
    pub(crate) async fn ask(&self, node: NodeId, payload: Bytes) -> Result<Bytes, NotSent> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= MOST_WAITING {
                return Err(NotSent);
            }
            waiting.insert(sequence, Waiting { asked: node, answer: sender });
        }
        let _place = Place { forwarder: self, sequence };
        let id = RequestId { boot: self.boot, sequence };
        self.links.send(node, Frame { group: GROUP, body: Body::Request { id, payload } })?;
        match answer.await {
            Ok(payload) => Ok(payload),
            // The sender stays in the table as long as this waits.
            Err(oneshot::Canceled) => futures::future::pending().await,
        }
    }

    /// Takes an answer. One that nobody waits for any more, or that comes from another node than the one asked, is dropped.
    pub(crate) fn answered(&self, by: NodeId, id: RequestId, payload: Bytes) {
        if id.boot != self.boot {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.get(&id.sequence).is_some_and(|waiting| waiting.asked == by) {
            let found = waiting.remove(&id.sequence);
            drop(waiting);
            if let Some(found) = found {
                let _ = found.answer.send(payload);
            }
        }
    }

    pub(crate) fn answer(&self, to: NodeId, id: RequestId, answer: &PeerAnswer) {
        let payload = answer.encode();
        // A lost answer is as good as none: whoever asked has a deadline.
        let _ = self.links.send(to, Frame { group: GROUP, body: Body::Answer { id, payload } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    /// Keeps the ids of what was sent; refuses to send to node 9.
    #[derive(Default)]
    struct Sent(Mutex<Vec<RequestId>>);

    impl Links for Sent {
        fn send(&self, to: NodeId, frame: Frame) -> Result<(), NotSent> {
            match frame.body {
                Body::Request { id, .. } if to != 9 => {
                    self.0.lock().push(id);
                    Ok(())
                }
                _ => Err(NotSent),
            }
        }
    }

    #[test]
    fn an_answer_counts_only_from_the_node_that_was_asked_by_this_process() {
        let links = Arc::new(Sent::default());
        let forwarder = Forwarder::new(links.clone(), 7);
        let mut asked = std::pin::pin!(forwarder.ask(2, Bytes::from_static(b"?")));
        assert_eq!(asked.as_mut().now_or_never(), None);
        let id = links.0.lock()[0];
        let answer = Bytes::from_static(b"!");
        forwarder.answered(3, id, answer.clone());
        forwarder.answered(2, RequestId { boot: 8, ..id }, answer.clone());
        forwarder.answered(2, RequestId { sequence: id.sequence + 1, ..id }, answer.clone());
        assert_eq!(asked.as_mut().now_or_never(), None);
        forwarder.answered(2, id, answer.clone());
        assert_eq!(asked.now_or_never(), Some(Ok(answer)));
        assert!(forwarder.waiting.lock().is_empty());
    }

    #[test]
    fn nothing_waits_for_a_request_that_was_given_up_or_not_sent() {
        let forwarder = Forwarder::new(Arc::new(Sent::default()), 7);
        assert_eq!(forwarder.ask(9, Bytes::new()).now_or_never(), Some(Err(NotSent)));
        assert_eq!(forwarder.ask(2, Bytes::new()).now_or_never(), None);
        assert!(forwarder.waiting.lock().is_empty());
    }

    #[test]
    fn requests_and_answers_survive_their_encoding_and_noise_does_not() {
        for request in [PeerRequest::ReadIndex, PeerRequest::Entry(Bytes::from_static(b"entry"))] {
            assert_eq!(PeerRequest::decode(&request.encode()), Some(request));
        }
        let answer = PeerAnswer::Replies(vec![Reply::Ok, Reply::Values(vec![None]), Reply::Error("ERR no".to_owned())]);
        let encoded = answer.encode();
        assert_eq!(PeerAnswer::decode(&encoded), Some(answer));
        assert_eq!(PeerAnswer::decode(&encoded[1..]), None);
        for noise in [&b""[..], b"\x00", b"\x01\x00", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x03abc"] {
            assert_eq!(PeerRequest::decode(&Bytes::from_static(noise)), None);
        }
    }
}
