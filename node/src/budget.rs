//! A limit on bytes in memory that many tasks share.

use futures::channel::oneshot;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that many tasks share. Each takes a [`Share`] before it uses memory, and waits in line if there is not enough.
///
/// Tasks that wait to grow a share hold memory meanwhile, and could all wait for each other. So one share at a time may
/// grow beyond the capacity, as far as it needs.
#[derive(Debug)]
pub struct Budget {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// A share has grown beyond the capacity.
    exceeded: bool,
    waiting: VecDeque<Waiting>,
    /// The number of places in the line whose tasks have a share already.
    growing: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    /// The task has a share already.
    grows: bool,
    granted: oneshot::Sender<Share>,
}

/// A part of a [`Budget`], which gets it back when the share is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    /// It may grow beyond the capacity.
    exceeds: bool,
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
            self.remove(0);
        }
    }

    fn push(&mut self, waiting: Waiting) {
        self.growing += usize::from(waiting.grows);
        self.waiting.push_back(waiting);
    }

    fn remove(&mut self, place: usize) -> Option<Waiting> {
        let removed = self.waiting.remove(place)?;
        self.growing -= usize::from(removed.grows);
        Some(removed)
    }
}

impl Budget {
    /// Returns a budget of this many bytes.
    pub fn new(capacity: usize) -> Arc<Budget> {
        Arc::new(Budget { capacity, state: Mutex::default() })
    }

    fn share(self: &Arc<Self>, bytes: usize, exceeds: bool) -> Share {
        Share { budget: self.clone(), bytes, exceeds }
    }

    /// Returns the number of bytes in use.
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Returns a share of no bytes.
    pub fn empty_share(self: &Arc<Self>) -> Share {
        self.share(0, false)
    }

    /// Returns a share, or `None` if there is not enough, or if other tasks wait.
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut state = self.state.lock();
        state.drop_gone();
        let taken = state.waiting.is_empty() && state.take(bytes, self.capacity);
        taken.then(|| self.share(bytes, false))
    }

    /// Waits in line for a share. A share that exceeds the whole budget is granted while there is no other. Dropping
    /// the future gives up the place in the line.
    pub async fn take(self: &Arc<Self>, bytes: usize) -> Share {
        self.wait(bytes, false).await
    }

    async fn wait(self: &Arc<Self>, bytes: usize, grows: bool) -> Share {
        let (sender, granted) = oneshot::channel();
        self.state.lock().push(Waiting { bytes, grows, granted: sender });
        let mut place = Place { budget: self, granted };
        self.grant();
        (&mut place.granted).await.expect("the budget keeps the sender until it grants the share")
    }

    /// Grants shares to the tasks in the line, as far as they fit.
    fn grant(self: &Arc<Self>) {
        while let Some((Waiting { bytes, granted, .. }, exceeds)) = self.next_granted() {
            if let Err(mut share) = granted.send(self.share(bytes, exceeds)) {
                // The task has just given up its place. The share must not be dropped here: its drop would call this
                // function again, once for each such task in the line.
                share.release(0);
            }
        }
    }

    /// Takes the bytes for the next task in the line. Returns the task, and whether its share exceeds the capacity.
    fn next_granted(&self) -> Option<(Waiting, bool)> {
        let mut state = self.state.lock();
        state.drop_gone();
        let bytes = state.waiting.front()?.bytes;
        if state.take(bytes, self.capacity) {
            return Some((state.remove(0)?, false));
        }
        if state.exceeded || state.growing == 0 {
            return None;
        }
        let growing = state.waiting.iter().position(|waiting| waiting.grows && !waiting.granted.is_canceled())?;
        let growing = state.remove(growing)?;
        state.used = state.used.saturating_add(growing.bytes);
        state.exceeded = true;
        Some((growing, true))
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
        self.budget.grant();
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

    /// Waits in line until it has grown to `bytes`. One share at a time grows without waiting, even beyond the
    /// capacity, until it is given back or fits again.
    pub async fn grow(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return;
        }
        if self.exceeds {
            self.budget.state.lock().used += more;
            self.bytes += more;
        } else {
            let share = self.budget.wait(more, self.bytes > 0).await;
            self.absorb(share);
        }
    }

    /// Gives back what it has beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        if self.release(bytes) {
            self.budget.grant();
        }
    }

    /// Gives back what it has beyond `bytes`, and leaves it to the caller to grant that to others. Returns false if
    /// there is nothing to give back.
    fn release(&mut self, bytes: usize) -> bool {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.bytes -= less;
            let mut state = self.budget.state.lock();
            state.used -= less;
            if self.exceeds && (self.bytes == 0 || state.used <= self.budget.capacity) {
                (self.exceeds, state.exceeded) = (false, false);
            }
        }
        less > 0
    }

    fn absorb(&mut self, mut other: Share) -> bool {
        self.bytes += std::mem::take(&mut other.bytes);
        self.exceeds |= std::mem::take(&mut other.exceeds);
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
    fn any_number_of_tasks_that_gave_up_delays_no_other() {
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
    fn tasks_that_hold_shares_and_wait_for_more_all_finish_one_after_the_other() {
        let budget = Budget::new(10);
        let share = || budget.try_take(2).expect("there is room");
        let mut tasks: Vec<_> = std::iter::repeat_with(share)
            .take(5)
            .map(|mut share| {
                let task = async move {
                    for bytes in [5, 20, 30] {
                        share.grow(bytes).await;
                        // Others run between the steps.
                        futures::pending!();
                    }
                };
                Box::pin(task)
            })
            .collect();
        let mut newcomer = Box::pin(budget.take(1));
        assert!((&mut newcomer).now_or_never().is_none());
        for _ in 0..100 {
            tasks.retain_mut(|task| task.now_or_never().is_none());
            assert!(budget.used() <= 10 + 30, "one of them exceeds the capacity at a time");
        }
        assert_eq!(tasks.len(), 0, "each has finished");
        drop((&mut newcomer).now_or_never().expect("it fits"));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_share_that_fits_again_lets_another_exceed_the_capacity() {
        let budget = Budget::new(10);
        let mut shares = [(); 2].map(|()| budget.try_take(5).expect("there is room"));
        let [first, second] = &mut shares;
        assert!(first.grow(8).now_or_never().is_some());
        assert!(second.grow(8).now_or_never().is_none());
        first.shrink(4);
        assert!(second.grow(8).now_or_never().is_some());
        assert!(first.grow(8).now_or_never().is_none());
        drop(shares);
        assert_eq!(budget.used(), 0);
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
