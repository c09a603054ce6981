//! Clients of a node that does not serve yet: they learn the reason, and are served on the same connection once it does.

use super::encryption::{Arrived, Encryption};
use super::shared::{Clients, log_http};
use crate::command::{Command, LocalCommand};
use crate::limits::Limits;
use crate::resp::{ReplyBuffer, Request, RequestReader};
use crate::timeout::within;
use event_listener::Event;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_clock::Clock;
use leasehold_core::Reading;
use leasehold_runtime::Runtime;
use leasehold_tls::Stream;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The bytes of a request that are received before the node serves.
const MAX_RECEIVED_BYTES: usize = 64 << 10;
/// The pause after a listener failed, mostly because no file descriptor was free.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A connection that the node serves from now on, and what was received on it.
type Greeted<R> = (Arc<Clients<R>>, Stream<<R as Runtime>::Stream>, RequestReader);

/// What to do with a connection after its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    GoOn,
    Close,
    /// Close it: it sent an HTTP request.
    Http,
}

/// What a client has begun and not ended, by commands that were refused.
#[derive(Debug, Default)]
struct Begun {
    transaction: bool,
    watch: bool,
}

impl Begun {
    fn note(&mut self, command: &Command) {
        match command {
            Command::Multi => self.transaction = true,
            Command::Watch(_) | Command::AbortWatch(_) => self.watch = true,
            Command::Exec | Command::Discard if !self.transaction => {}
            Command::Exec | Command::Discard | Command::AbortExec(_) | Command::Local(LocalCommand::Reset) => {
                *self = Begun::default();
            }
            Command::Local(LocalCommand::Unwatch) if !self.transaction => self.watch = false,
            _ => {}
        }
    }
}

/// The client port of a node that starts. Dropping it closes the port.
pub(crate) struct Startup<R: Runtime>(Arc<Shared<R>>);

struct Shared<R: Runtime> {
    runtime: R,
    clock: Arc<dyn Clock>,
    started: Reading,
    max_clients: usize,
    client_timeout: Duration,
    encryption: Arc<Encryption>,
    has_users: bool,
    connected: AtomicUsize,
    has_logged_http: AtomicBool,
    state: Mutex<State<R>>,
    changed: Event,
}

enum State<R: Runtime> {
    /// The phase, as a predicate that follows the node's name.
    Starting(&'static str),
    Serving(Arc<Clients<R>>),
    Closed,
}

impl<R: Runtime> Clone for State<R> {
    fn clone(&self) -> Self {
        match self {
            State::Starting(phase) => State::Starting(phase),
            State::Serving(clients) => State::Serving(clients.clone()),
            State::Closed => State::Closed,
        }
    }
}

impl<R: Runtime> Startup<R> {
    /// Accepts clients from now on. Their commands are answered with `-LOADING`. With `has_users`, they have to log in
    /// once the node serves, and their requests must be short before that.
    pub(crate) fn new(
        runtime: &R,
        listener: R::Listener,
        clock: Arc<dyn Clock>,
        limits: &Limits,
        encryption: Arc<Encryption>,
        has_users: bool,
    ) -> Startup<R> {
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            started: clock.now(),
            clock,
            max_clients: limits.max_clients,
            client_timeout: limits.client_timeout,
            encryption,
            has_users,
            connected: AtomicUsize::new(0),
            has_logged_http: AtomicBool::new(false),
            state: Mutex::new(State::Starting("is loading the dataset in memory")),
            changed: Event::new(),
        });
        runtime.spawn(shared.clone().accept(listener));
        Startup(shared)
    }

    /// Sets what clients are told: the end of a sentence that begins with the name of the product.
    pub(crate) fn enter(&self, phase: &'static str) {
        self.0.set(State::Starting(phase));
    }

    /// Serves every client from now on.
    pub(crate) fn serve(self, clients: Arc<Clients<R>>) {
        self.0.set(State::Serving(clients));
    }
}

impl<R: Runtime> Drop for Startup<R> {
    fn drop(&mut self) {
        if matches!(self.0.state(), State::Starting(_)) {
            self.0.set(State::Closed);
        }
    }
}

impl<R: Runtime> Shared<R> {
    fn state(&self) -> State<R> {
        self.state.lock().clone()
    }

    fn set(&self, state: State<R>) {
        *self.state.lock() = state;
        self.changed.notify(usize::MAX);
    }

    async fn accept(self: Arc<Self>, listener: R::Listener) {
        loop {
            let changed = self.changed.listen();
            match self.state() {
                State::Starting(_) => {}
                State::Serving(clients) => return clients.accept(listener).await,
                State::Closed => return,
            }
            match select(pin!(self.runtime.accept(&listener)), changed).await {
                Either::Left((Ok((stream, address)), _)) => {
                    if self.connected.load(Ordering::Relaxed) < self.max_clients {
                        self.connected.fetch_add(1, Ordering::Relaxed);
                        self.runtime.spawn(self.clone().attend(stream, address));
                    }
                }
                Either::Left((Err(_), _)) => self.runtime.sleep(ACCEPT_RETRY_INTERVAL).await,
                Either::Right(_) => {}
            }
        }
    }

    /// Answers a client until the node serves, and passes the connection on then.
    async fn attend(self: Arc<Self>, stream: R::Stream, address: SocketAddr) {
        let served = match self.encryption.accept(&self.runtime, Arrived::New(stream), address).await {
            Some(stream) => self.answer(stream, address).await,
            None => None,
        };
        self.connected.fetch_sub(1, Ordering::Relaxed);
        if let Some((clients, stream, requests)) = served {
            clients.serve(Arrived::Greeted(stream), requests, address);
        }
    }

    async fn answer(&self, mut stream: Stream<R::Stream>, address: SocketAddr) -> Option<Greeted<R>> {
        let (mut requests, mut received) = (RequestReader::default(), vec![0; 4096]);
        requests.set_before_login(self.has_users);
        let mut begun = Begun::default();
        loop {
            let changed = self.changed.listen();
            let phase = match self.state() {
                State::Starting(phase) => phase,
                // The rest of a transaction whose beginning was refused would be executed, command by command, and one whose
                // WATCH was refused without its condition.
                State::Serving(_) if begun.transaction || begun.watch => {
                    let _ = stream.close().await;
                    return None;
                }
                State::Serving(clients) => return Some((clients, stream, requests)),
                State::Closed => return None,
            };
            let mut out = ReplyBuffer::default();
            let after = self.reply_to_all(&mut requests, phase, &mut begun, &mut out);
            if !out.bytes().is_empty() && after != After::Http {
                within(&self.runtime, self.client_timeout, stream.write_all(out.bytes())).await?.ok()?;
                stream.flush().await.ok()?;
            }
            if after == After::Http && !self.has_logged_http.swap(true, Ordering::Relaxed) {
                log_http(address);
            }
            if after != After::GoOn {
                let _ = stream.close().await;
                return None;
            }
            if requests.buffered() > MAX_RECEIVED_BYTES {
                changed.await;
                continue;
            }
            if let Either::Left((length, _)) = select(stream.read(&mut received), changed).await {
                let length = length.ok().filter(|length| *length > 0)?;
                requests.receive(&received[..length]);
            }
        }
    }

    /// Replies to each request that was received, and notes what they begin.
    fn reply_to_all(
        &self,
        requests: &mut RequestReader,
        phase: &str,
        begun: &mut Begun,
        out: &mut ReplyBuffer,
    ) -> After {
        loop {
            let command = match requests.next() {
                Ok(None) => return After::GoOn,
                Ok(Some(Request::Command(arguments))) => Command::parse(&arguments),
                Ok(Some(Request::Refused { name, reason })) => {
                    begun.note(&Command::refused(&name, String::new()));
                    out.error(&reason);
                    continue;
                }
                Err(error) => {
                    out.error(&format!("ERR {error}"));
                    return After::Close;
                }
            };
            begun.note(&command);
            match command {
                Command::Local(LocalCommand::Info(_)) => out.text(&self.info(phase)),
                Command::Local(LocalCommand::Quit) => {
                    out.status("OK");
                    return After::Close;
                }
                Command::Local(LocalCommand::Http) => return After::Http,
                _ => out.error(&format!("LOADING Leasehold {phase}")),
            }
        }
    }

    fn info(&self, phase: &str) -> String {
        let elapsed = self.started.zip(self.clock.now()).map(|(from, to)| to.elapsed_since(from).at_most);
        let seconds = elapsed.unwrap_or(Duration::ZERO).as_secs();
        format!("# Persistence\r\nloading:1\r\nloading_phase:{phase}\r\nloading_elapsed_seconds:{seconds}\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_and_a_watch_last_until_they_are_ended() {
        let command = |line: &str| {
            let mut reader = RequestReader::default();
            reader.receive(format!("{line}\r\n").as_bytes());
            match reader.next() {
                Ok(Some(Request::Command(arguments))) => Command::parse(&arguments),
                other => panic!("{other:?}"),
            }
        };
        for (lines, transaction, watch) in [
            ("MULTI,SET k v", true, false),
            ("MULTI,EXEC", false, false),
            ("MULTI,EXEC x", false, false),
            ("WATCH k,GET k", false, true),
            ("WATCH k,EXEC", false, true),
            ("WATCH k,MULTI,UNWATCH", true, true),
            ("WATCH k,MULTI,DISCARD", false, false),
            ("WATCH k,UNWATCH", false, false),
            ("WATCH k,EXEC x", false, false),
            ("WATCH k,MULTI,RESET", false, false),
        ] {
            let mut begun = Begun::default();
            lines.split(',').for_each(|line| begun.note(&command(line)));
            assert_eq!((begun.transaction, begun.watch), (transaction, watch), "{lines}");
        }
    }
}
