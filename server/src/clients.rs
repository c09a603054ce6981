//! The client side of a node: accepts connections and serves each in a task of its own.

pub(crate) mod shared;

mod addresses;
mod admin;
mod backups;
mod balance;
mod counting;
mod encryption;
mod group_runs;
mod groups;
mod kept;
mod keys;
mod lobby;
mod local;
mod login;
mod long_reads;
mod pause;
mod registry;
mod rights;
mod routes;
mod runs;
mod session;
mod short_reads;
mod startup;
mod status;
mod topology;
mod transaction;
mod transactions;
mod watched;
mod wire;

pub(crate) use balance::balance;
pub(crate) use encryption::Encryption;
pub(crate) use shared::{Clients, LocalReadCounts, NodeFacts};
pub(crate) use startup::Startup;
pub(crate) use status::describe;

use crate::resp::RequestReader;
use encryption::Arrived;
use futures::future::{Either, select};
use leasehold_runtime::Runtime;
use lobby::Seat;
use session::Session;
use shared::ConnectionGuard;
use std::io;
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
                Either::Right(_) => {
                    // The users may have changed, and the node goes on.
                    close = self.listen_for_close();
                    continue;
                }
            };
            let failed = std::mem::replace(&mut failing, accepted.is_err());
            match accepted {
                Ok((stream, address)) => self.clone().serve(Arrived::New(stream), RequestReader::default(), address),
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
    fn serve(self: Arc<Self>, arrived: Arrived<R>, requests: RequestReader, address: SocketAddr) {
        let guard = ConnectionGuard::new(self.clone(), address.ip());
        let refusal = guard.refusal();
        if self.connected() > self.limits.max_clients + MAX_REFUSALS {
            return;
        }
        self.runtime().spawn(async move {
            if let Some(reason) = refusal {
                return guard.clients.encryption.refuse(arrived, reason).await;
            }
            let clients = &guard.clients;
            let seat = clients.are_strangers().then(|| clients.lobby.enter(address.ip()));
            let accepted = clients.encryption.accept(clients.runtime(), arrived, address);
            let accepted = match &seat {
                None => accepted.await,
                Some(seat) => match select(pin!(accepted), pin!(seat.evicted())).await {
                    Either::Left((accepted, _)) => accepted,
                    Either::Right(_) => return,
                },
            };
            let Some(stream) = accepted else { return };
            let session = Session::new(clients, stream, requests, guard.id, address);
            clients.activity.connections.add(1);
            let peer = session.connection.peer().clone();
            // A connection that is killed ends at once, whatever it waits for.
            match select(pin!(clients.run(session, address, seat)), pin!(peer.killed())).await {
                Either::Left((Err(error), _)) => clients.note_ended(address, &error),
                Either::Left((Ok(()), _)) | Either::Right(_) => {}
            }
        });
    }

    /// Serves a client, which must log in within a time if there are users: one that cannot has no place here.
    async fn run<'a>(&'a self, session: Session<'a, R>, address: SocketAddr, seat: Option<Seat<'a>>) -> io::Result<()> {
        if self.users.is_none() {
            drop(seat);
            return session.run().await;
        }
        let standing = session.rights.standing();
        let (mut session, mut seat) = (pin!(session.run()), seat);
        loop {
            let changed = standing.listen();
            if standing.is_granted() {
                seat = None;
                match select(session.as_mut(), changed).await {
                    Either::Left((ended, _)) => return ended,
                    Either::Right(_) => continue,
                }
            }
            let seat = seat.take().unwrap_or_else(|| self.lobby.enter(address.ip()));
            let evicted = pin!(seat.evicted());
            let timeout = pin!(self.runtime().sleep(self.limits.client_timeout));
            match select(session.as_mut(), select(changed, select(evicted, timeout))).await {
                Either::Left((ended, _)) => return ended,
                Either::Right((Either::Left(_), _)) => {}
                Either::Right((Either::Right((Either::Left(_), _)), _)) => {
                    let reason = "it had not logged in, and a newer connection took its place";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
                Either::Right((Either::Right((Either::Right(_), _)), _)) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not log in in time"));
                }
            }
        }
    }
}
