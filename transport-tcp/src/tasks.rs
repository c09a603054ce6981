//! The transport's tasks, which all end when it stops.

use async_channel::{Receiver, Sender};
use futures::future::select;
use leasehold_runtime::Runtime;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::pin::pin;

/// Starts tasks, stops them, and reports when they have ended. Its channels carry no values; their closing is the
/// signal.
pub(crate) struct Tasks<R> {
    runtime: R,
    stop: (Sender<Infallible>, Receiver<Infallible>),
    /// Each running task holds a clone of the sender.
    alive: Mutex<Option<Sender<Infallible>>>,
    ended: Receiver<Infallible>,
}

impl<R: Runtime> Tasks<R> {
    pub(crate) fn new(runtime: R) -> Self {
        let (alive, ended) = async_channel::bounded(1);
        Self { runtime, stop: async_channel::bounded(1), alive: Mutex::new(Some(alive)), ended }
    }

    /// Runs `task` until it ends or [`stop`](Self::stop) is called. After `stop` this does nothing.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(alive) = self.alive.lock().clone() else { return };
        let stop = self.stop.1.clone();
        self.runtime.spawn(async move {
            {
                let (task, stop) = (pin!(task), pin!(stop.recv()));
                select(task, stop).await;
            }
            drop(alive);
        });
    }

    /// Ends every task at its current await point.
    pub(crate) fn stop(&self) {
        self.alive.lock().take();
        self.stop.0.close();
    }

    /// Waits until every task has ended. Completes only after [`stop`](Self::stop).
    pub(crate) async fn ended(&self) {
        let Err(_) = self.ended.recv().await;
    }
}
