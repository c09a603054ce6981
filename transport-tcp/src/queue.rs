//! Frames that wait to be written to one connection: bounded by count and by bytes, and only while it is connected.

use crate::frame::Frame;
use crate::lane::QueueLimits;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

/// The bytes of frames gathered into one write. A larger frame is written alone.
pub(crate) const MAX_COALESCED_BYTES: usize = 256 << 10;

/// The reason why a queue refused a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Disconnected,
    Full,
}

/// A queue with many senders and one writer.
pub(crate) struct Queue {
    limits: QueueLimits,
    pending: Mutex<Pending>,
    filled: AtomicWaker,
}

#[derive(Default)]
struct Pending {
    connected: bool,
    bytes: usize,
    frames: VecDeque<Frame>,
}

impl Queue {
    /// Creates a queue that refuses everything until [`open`](Self::open).
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { limits, pending: Mutex::default(), filled: AtomicWaker::new() }
    }

    /// Accepts frames from now on.
    pub(crate) fn open(&self) {
        self.pending.lock().connected = true;
    }

    /// Drops the pending frames and refuses new ones. Returns the number dropped.
    pub(crate) fn close(&self) -> usize {
        std::mem::take(&mut *self.pending.lock()).frames.len()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.pending.lock().connected
    }

    pub(crate) fn push(&self, frame: Frame) -> Result<(), Refused> {
        let size = frame.size();
        let mut pending = self.pending.lock();
        if !pending.connected {
            return Err(Refused::Disconnected);
        }
        let fits = pending.frames.len() < self.limits.frames && size <= self.limits.bytes.saturating_sub(pending.bytes);
        if !fits && !pending.frames.is_empty() {
            return Err(Refused::Full);
        }
        pending.bytes += size;
        pending.frames.push_back(frame);
        drop(pending);
        self.filled.wake();
        Ok(())
    }

    /// Waits for at least one frame, then moves into `batch` as many as fit into one write.
    pub(crate) async fn take(&self, batch: &mut Vec<Frame>) {
        poll_fn(|context| {
            self.filled.register(context.waker());
            if self.take_now(batch) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn take_now(&self, batch: &mut Vec<Frame>) -> bool {
        let mut pending = self.pending.lock();
        let mut taken = 0;
        while let Some(size) = pending.frames.front().map(Frame::size) {
            if taken > 0 && taken + size > MAX_COALESCED_BYTES {
                break;
            }
            taken += size;
            pending.bytes -= size;
            batch.extend(pending.frames.pop_front());
        }
        taken > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LENGTH_BYTES;
    use futures::FutureExt as _;

    /// A frame of this many bytes.
    fn frame(size: usize) -> Frame {
        Frame::new(vec![0; size - LENGTH_BYTES].into(), size).expect("it is within the limit")
    }

    fn open(frames: usize, bytes: usize) -> Queue {
        let queue = Queue::new(QueueLimits { frames, bytes });
        queue.open();
        queue
    }

    #[test]
    fn a_queue_is_full_by_count_or_by_bytes_and_an_empty_one_accepts_any_size() {
        let queue = open(2, 100);
        assert_eq!(queue.push(frame(4)), Ok(()));
        assert_eq!(queue.push(frame(4)), Ok(()));
        assert_eq!(queue.push(frame(4)), Err(Refused::Full));

        let queue = open(10, 100);
        assert_eq!(queue.push(frame(60)), Ok(()));
        assert_eq!(queue.push(frame(41)), Err(Refused::Full));
        assert_eq!(queue.push(frame(40)), Ok(()));

        let queue = open(10, 100);
        assert_eq!(queue.push(frame(1000)), Ok(()));
        assert_eq!(queue.push(frame(4)), Err(Refused::Full));
    }

    #[test]
    fn a_disconnected_queue_refuses_frames_and_drops_the_pending_ones() {
        let queue = Queue::new(QueueLimits { frames: 10, bytes: 100 });
        assert_eq!(queue.push(frame(4)), Err(Refused::Disconnected));
        queue.open();
        assert_eq!(queue.push(frame(60)), Ok(()));
        assert_eq!(queue.close(), 1);
        assert_eq!(queue.push(frame(4)), Err(Refused::Disconnected));
        queue.open();
        assert_eq!(queue.push(frame(61)), Ok(()), "dropped frames no longer count");
        let mut batch = Vec::new();
        queue.take(&mut batch).now_or_never().expect("a frame is pending");
        assert_eq!(batch, [frame(61)]);
    }

    #[test]
    fn small_frames_share_a_write_and_a_large_one_is_written_alone() {
        let queue = open(10, 8 * MAX_COALESCED_BYTES);
        for size in [10, 11, 2 * MAX_COALESCED_BYTES, 12] {
            assert_eq!(queue.push(frame(size)), Ok(()));
        }
        let sizes = || {
            let mut batch = Vec::new();
            queue.take(&mut batch).now_or_never()?;
            Some(batch.iter().map(Frame::size).collect::<Vec<_>>())
        };
        assert_eq!(sizes(), Some(vec![10, 11]));
        assert_eq!(sizes(), Some(vec![2 * MAX_COALESCED_BYTES]));
        assert_eq!(sizes(), Some(vec![12]));
        assert_eq!(sizes(), None);
    }
}
