//! Giving way to other tasks.

use futures::future::poll_fn;
use std::mem;
use std::task::Poll;

/// The work after which a session yields: a command counts as one, a read once for each key. It is small because
/// a runtime runs ready tasks some 60 to 200 times before it looks for new input.
pub(super) const MAX_TURN: usize = 64;

/// Lets other tasks of this thread run.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::{ArcWake, waker};
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Context;

    #[test]
    fn a_task_that_yields_is_woken_at_once_and_goes_on() {
        struct Woken(AtomicBool);
        impl ArcWake for Woken {
            fn wake_by_ref(woken: &Arc<Self>) {
                woken.0.store(true, Ordering::SeqCst);
            }
        }
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = waker(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut yielding = pin!(yield_now());
        assert!(yielding.as_mut().poll(&mut context).is_pending());
        assert!(woken.0.load(Ordering::SeqCst));
        assert!(yielding.as_mut().poll(&mut context).is_ready());
    }
}
