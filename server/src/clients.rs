//! The client side of a node: accepts connections and serves each in a task of its own.

pub(crate) mod shared;

mod admin;
mod backups;
mod keys;
mod local;
mod pause;
mod session;
mod startup;
mod status;
mod transaction;
mod wire;

pub(crate) use shared::{Clients, NodeFacts};
pub(crate) use startup::Startup;

use crate::resp::{ReplyBuffer, RequestReader};
use futures::future::{Either, select};
use futures::io::AsyncWriteExt as _;
use leasehold_runtime::Runtime;
use session::Session;
use shared::ConnectionGuard;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// The most clients that are sent the reason why they are refused at once. Further ones are only disconnected, so that
/// refusing takes few file descriptors.
const MAX_REFUSALS: usize = 16;
/// The pause after a listener failed, mostly because no file descriptor was free.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

impl<R: Runtime> Clients<R> {
    /// Accepts clients and serves each in a task of its own, until [`close`](Self::close).
    pub(crate) async fn accept(self: Arc<Self>, listener: R::Listener) {
        let runtime = self.runtime().clone();
        let (mut close, mut failing) = (self.listen_for_close(), false);
        while !self.is_closing() {
            let accepted = match select(pin!(runtime.accept(&listener)), &mut close).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => return,
            };
            let failed = std::mem::replace(&mut failing, accepted.is_err());
            match accepted {
                Ok((stream, address)) => self.clone().serve(stream, RequestReader::default(), address),
                Err(error) => {
                    if !failed {
                        tracing::warn!(
                            "cannot accept clients: {error}; raise the limit of open files if it was reached"
                        );
                    }
                    runtime.sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Serves a client in a task. `requests` has what was received from it.
    fn serve(self: Arc<Self>, mut stream: R::Stream, requests: RequestReader, address: SocketAddr) {
        let guard = ConnectionGuard::new(self.clone());
        let may_stay = self.may_connect();
        if self.connected() > self.limits.max_clients + MAX_REFUSALS {
            return;
        }
        self.runtime().spawn(async move {
            if !may_stay {
                let mut refusal = ReplyBuffer::default();
                refusal.error("ERR max number of clients reached");
                // The client may be gone already.
                let _ = stream.write_all(refusal.bytes()).await;
                let _ = stream.close().await;
                return;
            }
            if let Err(error) = Session::new(&guard.clients, stream, requests, guard.id, address).run().await {
                guard.clients.note_ended(address, &error);
            }
        });
    }
}
