//! What waits to be written to one connection: bounded by count and by bytes, and only while there is a connection.

use crate::lane::Room;
use futures::task::AtomicWaker;
use leasehold_driver::Frame;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

/// Frames gathered into one write, in bytes. A larger frame is written by itself.
pub(crate) const COALESCED: usize = 256 << 10;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No connection.
    Down,
    /// No room.
    Full,
}

/// A queue with many senders and one writer.
pub(crate) struct Queue {
    room: Room,
    waiting: Mutex<Waiting>,
    filled: AtomicWaker,
}

#[derive(Default)]
struct Waiting {
    up: bool,
    bytes: usize,
    frames: VecDeque<(usize, Frame)>,
}

impl Queue {
    /// A queue that takes nothing until [`open`](Self::open).
    pub(crate) fn new(room: Room) -> Self {
        Self { room, waiting: Mutex::default(), filled: AtomicWaker::new() }
    }

    /// Takes frames from now on: there is a connection.
    pub(crate) fn open(&self) {
        self.waiting.lock().up = true;
    }

    /// Forgets what waits and takes nothing more: the connection is gone. Returns how many frames were lost.
    pub(crate) fn close(&self) -> usize {
        std::mem::take(&mut *self.waiting.lock()).frames.len()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.waiting.lock().up
    }

    /// Takes a frame that will be `size` bytes long.
    pub(crate) fn push(&self, size: usize, frame: Frame) -> Result<(), Refused> {
        let mut waiting = self.waiting.lock();
        if !waiting.up {
            return Err(Refused::Down);
        }
        let fits = waiting.frames.len() < self.room.frames && size <= self.room.bytes.saturating_sub(waiting.bytes);
        if !fits && !waiting.frames.is_empty() {
            return Err(Refused::Full);
        }
        waiting.bytes += size;
        waiting.frames.push_back((size, frame));
        drop(waiting);
        self.filled.wake();
        Ok(())
    }

    /// Moves the next frames worth one write into `batch`: at least one, and more while they fit together.
    pub(crate) async fn take(&self, batch: &mut Vec<Frame>) {
        poll_fn(|context| {
            self.filled.register(context.waker());
            if self.take_now(batch) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn take_now(&self, batch: &mut Vec<Frame>) -> bool {
        let mut waiting = self.waiting.lock();
        let mut taken = 0_usize;
        while let Some(&(size, _)) = waiting.frames.front() {
            if taken > 0 && taken + size > COALESCED {
                break;
            }
            taken += size;
            waiting.bytes -= size;
            batch.extend(waiting.frames.pop_front().map(|(_, frame)| frame));
        }
        taken > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use leasehold_driver::Body;
    use leasehold_raft::wire::Envelope;

    fn frame(group: u32) -> Frame {
        Frame { group, body: Body::Raft(Envelope::default()) }
    }

    fn open(frames: usize, bytes: usize) -> Queue {
        let queue = Queue::new(Room { frames, bytes });
        queue.open();
        queue
    }

    #[test]
    fn a_queue_is_full_by_count_or_by_bytes_and_an_empty_one_takes_anything() {
        let queue = open(2, 100);
        assert_eq!(queue.push(1, frame(0)), Ok(()));
        assert_eq!(queue.push(1, frame(1)), Ok(()));
        assert_eq!(queue.push(1, frame(2)), Err(Refused::Full));

        let queue = open(10, 100);
        assert_eq!(queue.push(60, frame(0)), Ok(()));
        assert_eq!(queue.push(41, frame(1)), Err(Refused::Full));
        assert_eq!(queue.push(40, frame(1)), Ok(()));

        let queue = open(10, 100);
        assert_eq!(queue.push(1000, frame(0)), Ok(()));
        assert_eq!(queue.push(1, frame(1)), Err(Refused::Full));
    }

    #[test]
    fn without_a_connection_nothing_is_taken_and_what_waited_is_forgotten() {
        let queue = Queue::new(Room { frames: 10, bytes: 100 });
        assert_eq!(queue.push(1, frame(0)), Err(Refused::Down));
        queue.open();
        assert_eq!(queue.push(60, frame(0)), Ok(()));
        assert_eq!(queue.close(), 1);
        assert_eq!(queue.push(1, frame(0)), Err(Refused::Down));
        queue.open();
        assert_eq!(queue.push(60, frame(1)), Ok(()), "forgotten bytes take no room");
        let mut batch = Vec::new();
        queue.take(&mut batch).now_or_never().expect("a frame waits");
        assert_eq!(batch, [frame(1)]);
    }

    #[test]
    fn small_frames_share_a_write_and_a_large_one_has_its_own() {
        let queue = open(10, 8 * COALESCED);
        for (group, size) in [(0, 10), (1, 10), (2, 2 * COALESCED), (3, 10)] {
            assert_eq!(queue.push(size, frame(group)), Ok(()));
        }
        let groups = || {
            let mut batch = Vec::new();
            queue.take(&mut batch).now_or_never()?;
            Some(batch.iter().map(|frame| frame.group).collect::<Vec<_>>())
        };
        assert_eq!(groups(), Some(vec![0, 1]));
        assert_eq!(groups(), Some(vec![2]));
        assert_eq!(groups(), Some(vec![3]));
        assert_eq!(groups(), None);
    }
}
