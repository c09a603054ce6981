//! The port for operators: a status page, and metrics for a scraper, over HTTP.
//!
//! What is asked for is made on a thread of its own, so that it delays no client: reading the state of the process can
//! take milliseconds.

use crate::clients::Clients;
use crate::descriptors::MONITOR_CONNECTIONS;
use crate::http::{self, Request, Response};
use crate::timeout::within;
use crate::{metrics, page};
use async_channel::{Receiver, Sender};
use futures::channel::oneshot;
use futures::future::{Either, select};
use leasehold_runtime::{Runtime, ThreadPolicy};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The most time for a request to arrive; the limit for clients may be shorter.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for a response to be made and taken.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the listener failed, mostly because no file descriptor was free.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A path that is asked for, and where the response goes.
struct Job {
    path: String,
    response: oneshot::Sender<Response>,
}

/// Serves a node's page and its metrics until its clients are closed.
///
/// # Errors
/// As the system reports them: no thread could be created.
pub(crate) fn serve<R: Runtime>(listener: R::Listener, clients: &Arc<Clients<R>>) -> io::Result<()> {
    let (jobs, queue) = async_channel::bounded(MONITOR_CONNECTIONS);
    let runtime = clients.runtime();
    runtime.spawn_thread("metrics", ThreadPolicy::Batch, respond_to_all(Arc::downgrade(clients), queue))?;
    runtime.spawn(accept(listener, clients.clone(), jobs));
    Ok(())
}

/// Makes responses until no connection needs one any more.
async fn respond_to_all<R: Runtime>(clients: Weak<Clients<R>>, queue: Receiver<Job>) {
    while let Ok(Job { path, response }) = queue.recv().await {
        let Some(clients) = clients.upgrade() else { return };
        if response.is_canceled() {
            continue;
        }
        // The client may leave meanwhile.
        let _ = response.send(respond(&clients, &path));
    }
}

/// Returns the response to a request for a path.
fn respond<R: Runtime>(clients: &Arc<Clients<R>>, path: &str) -> Response {
    match path {
        "/metrics" => Response::ok(metrics::CONTENT_TYPE, metrics::render(clients)),
        "/" => Response::ok(page::CONTENT_TYPE, page::render(clients)),
        "/page.css" => Response::ok("text/css; charset=utf-8", page::STYLE),
        "/page.js" => Response::ok("text/javascript; charset=utf-8", page::SCRIPT),
        _ => Response::line("404 Not Found", "there are / and /metrics"),
    }
}

async fn accept<R: Runtime>(listener: R::Listener, clients: Arc<Clients<R>>, jobs: Sender<Job>) {
    let (runtime, places) = (clients.runtime().clone(), Arc::new(()));
    let timeout = REQUEST_TIMEOUT.min(clients.limits.client_timeout);
    let mut close = clients.listen_for_close();
    while !clients.is_closing() {
        let accepted = match select(pin!(runtime.accept(&listener)), &mut close).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => {
                // The users may have changed, and the node goes on.
                close = clients.listen_for_close();
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) if Arc::strong_count(&places) <= MONITOR_CONNECTIONS => {
                let (place, runtime, jobs) = (places.clone(), runtime.clone(), jobs.clone());
                clients.runtime().spawn(async move {
                    // A client that fails, or is too slow, needs no response.
                    let _ = attend(&runtime, stream, timeout, &jobs).await;
                    drop(place);
                });
            }
            Ok(_) => {}
            Err(_) => runtime.sleep(ACCEPT_RETRY_INTERVAL).await,
        }
    }
}

/// Responds to the request on a connection.
async fn attend<R: Runtime>(
    runtime: &R,
    mut stream: R::Stream,
    timeout: Duration,
    jobs: &Sender<Job>,
) -> io::Result<()> {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let request = within(runtime, timeout, http::read(&mut stream)).await.ok_or_else(timed_out)??;
    let response = async {
        let (response, is_head) = match request {
            Ok(Request { path, is_head }) => (ask(jobs, path).await, is_head),
            Err(refusal) => (refusal.into(), false),
        };
        http::write(&mut stream, &response, is_head).await
    };
    within(runtime, RESPONSE_TIMEOUT, response).await.ok_or_else(timed_out)?
}

/// Returns the response to a request for a path.
async fn ask(jobs: &Sender<Job>, path: String) -> Response {
    let (response, made) = oneshot::channel();
    // Both fail only if the node stops.
    let _ = jobs.send(Job { path, response }).await;
    made.await.unwrap_or_else(|_| Response::line("503 Service Unavailable", "this node is stopping"))
}
