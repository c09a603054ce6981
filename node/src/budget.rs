//! A limit on bytes in memory that many tasks share.

use futures::channel::oneshot;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that many tasks share. Each takes a [`Share`] before it uses memory, and waits in line if there is not enough.
#[derive(Debug)]
pub struct Budget {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    granted: oneshot::Sender<Share>,
}

/// A part of a [`Budget`], which gets it back when the share is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl State {
    /// Takes bytes if they fit. A share that exceeds the whole budget fits while there is no other.
    fn take(&mut self, bytes: usize, capacity: usize) -> bool {
        let fits = self.used == 0 || self.used.saturating_add(bytes) <= capacity;
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Drops the places of tasks that have given up, from the front of the line.
    fn drop_gone(&mut self) {
        while self.waiting.front().is_some_and(|waiting| waiting.granted.is_canceled()) {
            self.waiting.pop_front();
        }
    }
}

impl Budget {
    /// Returns a budget of this many bytes.
    pub fn new(capacity: usize) -> Arc<Budget> {
        Arc::new(Budget { capacity, state: Mutex::default() })
    }

    /// Returns the number of bytes in use.
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Returns a share of no bytes.
    pub fn empty_share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// Returns a share, or `None` if there is not enough, or if other tasks wait.
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut state = self.state.lock();
        state.drop_gone();
        let taken = state.waiting.is_empty() && state.take(bytes, self.capacity);
        taken.then(|| Share { budget: self.clone(), bytes })
    }

    /// Waits in line for a share. A share that exceeds the whole budget is granted while there is no other. Dropping
    /// the future gives up the place in the line.
    pub async fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let granted = {
            let mut state = self.state.lock();
            state.drop_gone();
            if state.waiting.is_empty() && state.take(bytes, self.capacity) {
                return Share { budget: self.clone(), bytes };
            }
            let (sender, granted) = oneshot::channel();
            state.waiting.push_back(Waiting { bytes, granted: sender });
            granted
        };
        let mut place = Place { budget: self, granted };
        (&mut place.granted).await.expect("the budget keeps the sender until it grants the share")
    }

    fn give_back(self: &Arc<Self>, bytes: usize) {
        let mut returned = bytes;
        while let Some(Waiting { bytes, granted }) = self.next_granted(returned) {
            // A task that has just given up its place returns the share. It must not be dropped here: its drop would
            // call this function again, once for each such task in the line.
            let sent = granted.send(Share { budget: self.clone(), bytes });
            returned = sent.map_or_else(|mut share| std::mem::take(&mut share.bytes), |()| 0);
        }
    }

    /// Gives bytes back, and takes those for the next waiting task, if they fit.
    fn next_granted(&self, returned: usize) -> Option<Waiting> {
        let mut state = self.state.lock();
        state.used -= returned;
        state.drop_gone();
        let bytes = state.waiting.front()?.bytes;
        if state.take(bytes, self.capacity) { state.waiting.pop_front() } else { None }
    }
}

/// A place in the line.
struct Place<'a> {
    budget: &'a Arc<Budget>,
    granted: oneshot::Receiver<Share>,
}

impl Drop for Place<'_> {
    /// Lets the tasks go on that waited behind this one.
    fn drop(&mut self) {
        self.granted.close();
        self.budget.give_back(0);
    }
}

impl Share {
    /// Returns its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Grows to `bytes`. Returns false if there is not enough, or if other tasks wait.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        more == 0 || self.budget.clone().try_take(more).is_some_and(|share| self.absorb(share))
    }

    /// Waits in line until it has grown to `bytes`.
    pub async fn grow(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            let share = self.budget.clone().take(more).await;
            self.absorb(share);
        }
    }

    /// Gives back what it has beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.bytes -= less;
            self.budget.give_back(less);
        }
    }

    fn absorb(&mut self, mut other: Share) -> bool {
        self.bytes += std::mem::take(&mut other.bytes);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn shares_are_granted_in_turn_and_never_exceed_the_budget() {
        let budget = Budget::new(10);
        let first = budget.try_take(6).expect("there is room");
        let mut large = Box::pin(budget.take(6));
        assert!((&mut large).now_or_never().is_none());
        let mut small = Box::pin(budget.take(1));
        assert!((&mut small).now_or_never().is_none(), "it would fit, but a larger one waits before it");
        assert!(budget.try_take(1).is_none());
        drop(first);
        let large = (&mut large).now_or_never().expect("it is its turn");
        let small = (&mut small).now_or_never().expect("it fits too");
        assert_eq!(budget.used(), 7);
        drop((large, small));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_task_that_gives_up_loses_its_place_and_no_bytes() {
        let budget = Budget::new(10);
        let first = budget.try_take(10).expect("there is room");
        let mut given_up = Box::pin(budget.take(10));
        assert!((&mut given_up).now_or_never().is_none());
        let mut next = Box::pin(budget.take(1));
        assert!((&mut next).now_or_never().is_none());
        drop(given_up);
        drop(first);
        let next = (&mut next).now_or_never().expect("the task before it has gone");
        drop(next);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn any_number_of_tasks_that_gave_up_delays_nobody() {
        let budget = Budget::new(10);
        let first = budget.try_take(10).expect("there is room");
        let mut second = Box::pin(budget.take(10));
        assert!((&mut second).now_or_never().is_none());
        for _ in 0..100_000 {
            assert!(budget.take(1).now_or_never().is_none());
        }
        let mut last = Box::pin(budget.take(10));
        assert!((&mut last).now_or_never().is_none());
        drop(first);
        drop((&mut second).now_or_never().expect("it is its turn"));
        drop((&mut last).now_or_never().expect("all tasks before it have gone"));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn tasks_behind_one_that_gives_up_go_on_at_once() {
        let budget = Budget::new(10);
        let _first = budget.try_take(6).expect("there is room");
        let mut large = Box::pin(budget.take(6));
        assert!((&mut large).now_or_never().is_none());
        let mut small = Box::pin(budget.take(1));
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        let _small = (&mut small).now_or_never().expect("it fits");
        assert!(budget.try_take(3).is_some());
    }

    #[test]
    fn a_share_larger_than_the_budget_is_granted_alone() {
        let budget = Budget::new(10);
        let mut share = budget.take(11).now_or_never().expect("there is no other");
        assert!(!share.try_grow(12));
        share.shrink(4);
        assert!(share.try_grow(10));
        assert_eq!((share.bytes(), budget.used()), (10, 10));
    }
}
