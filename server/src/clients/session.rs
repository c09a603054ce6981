//! One client's connection: requests are read in batches, executed in order, and answered together.

use super::Clients;
use super::local::Connection;
use super::transaction::{Task, Transaction};
use crate::command::{Command, LocalCommand};
use crate::executor::within;
use crate::keyspace::{ReadCommand, Reply, WriteCommand};
use crate::resp::{MAX_COMMAND, ProtocolError, ReplyBuffer, Request, RequestReader};
use event_listener::EventListener;
use futures::FutureExt as _;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_runtime::Runtime;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How much is read from the socket at a time, and how much of a pipeline before its commands are executed.
const READ_BYTES: usize = 16 << 10;
const BATCH_BYTES: usize = 1 << 20;
/// Replies leave when there are so many bytes of them. So a client that does not read them holds up this much and no more.
const FLUSH_BYTES: usize = 1 << 20;
/// The most reads under one lock, and the most writes in one log entry.
const MOST_READS: usize = 4096;
pub(super) const MOST_WRITES: usize = 16_384;
/// The most bytes of writes in one log entry, unless one command has more.
pub(super) const ENTRY_BYTES: usize = MAX_COMMAND;
/// How long a client that broke the protocol has to read why before its connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Commands of one kind that follow each other, and are executed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Reads { from: usize, to: usize },
    Writes { from: usize, to: usize, bytes: usize },
    Transaction { at: usize },
    Local { at: usize },
}

/// The commands of a batch in their order, without a piece of memory for each.
#[derive(Debug, Default)]
struct Batch {
    runs: Vec<Run>,
    reads: Vec<ReadCommand>,
    writes: Vec<WriteCommand>,
    transactions: Vec<Vec<WriteCommand>>,
    locals: Vec<LocalCommand>,
    /// What is queued for an `EXEC` that is still to come, perhaps in a later batch.
    open: Transaction,
}

impl Batch {
    fn push(&mut self, command: Command) {
        match self.open.take(command) {
            Task::Read(command) => {
                self.reads.push(command);
                let end = self.reads.len();
                match self.runs.last_mut() {
                    Some(Run::Reads { from, to }) if end - *from <= MOST_READS => *to = end,
                    _ => self.runs.push(Run::Reads { from: end - 1, to: end }),
                }
            }
            Task::Write(command) => {
                let weight = command.weight();
                self.writes.push(command);
                let end = self.writes.len();
                match self.runs.last_mut() {
                    Some(Run::Writes { from, to, bytes })
                        if end - *from <= MOST_WRITES && *bytes + weight <= ENTRY_BYTES =>
                    {
                        *to = end;
                        *bytes += weight;
                    }
                    _ => self.runs.push(Run::Writes { from: end - 1, to: end, bytes: weight }),
                }
            }
            Task::Transaction(commands) => {
                self.transactions.push(commands);
                self.runs.push(Run::Transaction { at: self.transactions.len() - 1 });
            }
            Task::Local(command) => {
                self.locals.push(command);
                self.runs.push(Run::Local { at: self.locals.len() - 1 });
            }
        }
    }

    /// Forgets what was executed; an open transaction goes on.
    fn clear(&mut self) {
        self.runs.clear();
        self.reads.clear();
        self.writes.clear();
        self.transactions.clear();
        self.locals.clear();
    }
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Close,
}

/// One connection.
pub(super) struct Session<'a, R: Runtime> {
    clients: &'a Clients<R>,
    stream: R::Stream,
    close: EventListener,
    requests: RequestReader,
    connection: Connection,
    batch: Batch,
    replies: Vec<Reply>,
    out: ReplyBuffer,
}

impl<'a, R: Runtime> Session<'a, R> {
    pub(super) fn new(clients: &'a Clients<R>, stream: R::Stream, id: u64, address: SocketAddr) -> Self {
        Session {
            clients,
            stream,
            close: clients.listen_for_close(),
            requests: RequestReader::default(),
            connection: Connection::new(id, address),
            batch: Batch::default(),
            replies: Vec::new(),
            out: ReplyBuffer::default(),
        }
    }

    /// Serves the connection until the client or the node ends it.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut received = vec![0; READ_BYTES];
        while !self.clients.is_closing() {
            if !self.receive(&mut received).await? {
                break;
            }
            let broken = self.take_requests().err();
            let flow = self.execute().await?;
            self.flush().await?;
            if flow == Flow::Close {
                break;
            }
            if let Some(error) = broken {
                return self.part(error, &mut received).await;
            }
        }
        self.stream.close().await
    }

    /// Waits for bytes and takes what the socket has, within limits. `false` at the end.
    async fn receive(&mut self, received: &mut [u8]) -> io::Result<bool> {
        let mut length = match select(self.stream.read(received), &mut self.close).await {
            Either::Left((length, _)) => length?,
            Either::Right(_) => return Ok(false),
        };
        let mut taken = length;
        self.requests.receive(&received[..length]);
        while length == received.len() && taken < BATCH_BYTES {
            // An end or an error shows again at the next call.
            match self.stream.read(received).now_or_never() {
                Some(Ok(more)) => length = more,
                _ => break,
            }
            taken += length;
            self.requests.receive(&received[..length]);
        }
        Ok(taken > 0)
    }

    /// Takes every complete request that was received.
    fn take_requests(&mut self) -> Result<(), ProtocolError> {
        self.batch.clear();
        while let Some(request) = self.requests.next()? {
            self.batch.push(match request {
                Request::Command(arguments) => Command::parse(&arguments),
                Request::Refused(reason) => Command::Local(LocalCommand::Wrong(reason)),
            });
        }
        Ok(())
    }

    /// Executes the batch in order.
    async fn execute(&mut self) -> io::Result<Flow> {
        let executor = &self.clients.executor;
        // One clock reading serves the reads of a batch: all of it has arrived. But where something was waited for, a
        // later read must see what was done meanwhile, by whomever, and needs a new one.
        let mut now = None;
        for position in 0..self.batch.runs.len() {
            match self.batch.runs[position] {
                Run::Reads { from, to } => {
                    let commands = &self.batch.reads[from..to];
                    let reading = *now.get_or_insert_with(|| executor.now());
                    if !executor.read_at_once(reading, commands, &mut self.replies) {
                        executor.read(commands, &mut self.replies).await;
                        now = None;
                    }
                }
                Run::Writes { from, to, .. } => {
                    executor.write(&self.batch.writes[from..to], &mut self.replies).await;
                    now = None;
                }
                Run::Transaction { at } => {
                    match executor.commit(&self.batch.transactions[at]).await {
                        Ok(replies) => {
                            self.out.array(replies.len());
                            self.replies = replies;
                        }
                        Err(error) => self.out.error(&error),
                    }
                    now = None;
                }
                Run::Local { at } => {
                    let flow = self.connection.execute(self.clients, &self.batch.locals[at], &mut self.out);
                    if flow == Flow::Close {
                        return Ok(flow);
                    }
                }
            }
            if self.answer().await? {
                now = None;
            }
        }
        Ok(Flow::Continue)
    }

    /// Encodes the replies at hand. Says whether that had to wait for the client.
    async fn answer(&mut self) -> io::Result<bool> {
        let mut waited = false;
        let mut replies = std::mem::take(&mut self.replies);
        for reply in replies.drain(..) {
            match reply {
                Reply::Ok => self.out.status("OK"),
                Reply::Integer(number) => self.out.integer(number),
                Reply::Value(value) => self.out.value(value.as_deref()),
                Reply::Error(message) => self.out.error(&message),
                Reply::Values(values) => {
                    self.out.array(values.len());
                    for value in values {
                        self.out.value(value.as_deref());
                        waited |= self.flush_if_full().await?;
                    }
                }
            }
            waited |= self.flush_if_full().await?;
        }
        self.replies = replies;
        Ok(waited)
    }

    async fn flush_if_full(&mut self) -> io::Result<bool> {
        let full = self.out.bytes().len() >= FLUSH_BYTES;
        if full {
            self.flush().await?;
        }
        Ok(full)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.bytes().is_empty() {
            self.stream.write_all(self.out.bytes()).await?;
            self.stream.flush().await?;
            self.out.clear(2 * FLUSH_BYTES);
        }
        Ok(())
    }

    /// Tells the client what was wrong, and gives it time to read that: a socket closed with input unread resets the
    /// connection, and the answer with it.
    async fn part(mut self, error: ProtocolError, received: &mut [u8]) -> io::Result<()> {
        self.out.error(&format!("ERR {error}"));
        self.flush().await?;
        self.stream.close().await?;
        let stream = &mut self.stream;
        let rest = async { while stream.read(received).await.is_ok_and(|length| length > 0) {} };
        within(self.clients.executor.runtime(), FAREWELL, rest).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::MAX_BULK;
    use bytes::Bytes;

    fn get() -> Command {
        Command::Read(ReadCommand::Get(Bytes::from_static(b"k")))
    }

    fn set(length: usize, get_old: bool) -> Command {
        let value = Bytes::from(vec![0; length]);
        Command::Write(WriteCommand::Set { key: Bytes::new(), value, only_if_exists: None, get_old })
    }

    fn runs(commands: Vec<Command>) -> Vec<Run> {
        let mut batch = Batch::default();
        commands.into_iter().for_each(|command| batch.push(command));
        batch.runs
    }

    #[test]
    fn commands_of_one_kind_run_together_and_never_change_their_order() {
        let ping = Command::Local(LocalCommand::Ping(None));
        assert_eq!(
            runs(vec![get(), get(), set(1, false), set(2, false), get(), ping, get()]),
            [
                Run::Reads { from: 0, to: 2 },
                Run::Writes { from: 0, to: 2, bytes: 3 },
                Run::Reads { from: 2, to: 3 },
                Run::Local { at: 0 },
                Run::Reads { from: 3, to: 4 },
            ]
        );
    }

    #[test]
    fn a_run_of_writes_is_no_larger_than_an_entry_nor_its_replies_than_an_answer() {
        assert_eq!(runs((0..4).map(|_| set(MAX_BULK, false)).collect()).len(), 2);
        assert_eq!(runs((0..4).map(|_| set(0, true)).collect()).len(), 2);
        assert_eq!(runs((0..MOST_WRITES + 1).map(|_| set(0, false)).collect()).len(), 2);
        assert_eq!(runs((0..MOST_READS + 1).map(|_| get()).collect()).len(), 2);
    }
}
