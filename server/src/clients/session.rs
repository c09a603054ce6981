//! One client's connection: requests are read in batches, executed in order, and answered together.
//!
//! A session shares its thread with other sessions, and on some runtimes with everything else. So it yields after a
//! bounded amount of work, even if its client never pauses.

use super::keys::Wanted;
use super::local::Connection;
use super::pause::{MAX_TURN, yield_now};
use super::registry::Flow;
use super::rights::{Rights, changes_judgment};
use super::routes::Routes;
use super::runs::{MAX_SHORT_KEYS, Mix, gather_reads, gather_run};
use super::shared::Clients;
use super::short_reads::{MAX_COPIED_BYTES, MAX_LOCKED_COST, Rest, read_short};
use super::transaction::{Action, Transaction};
use super::watched::Watched;
use super::wire::{FLUSH_BYTES, Received, Wire, hold};
use crate::activity::Batch;
use crate::command::{Command, LocalCommand};
use crate::counters::Failure;
use crate::executor::{Executor, NotReadable, STOPPING, elsewhere};
use crate::keyspace::{FieldsRead, HashRead, ReadCommand, Reply, WriteCommand};
use crate::resp::{ProtocolError, ReplyBuffer, Request, RequestReader, Version};
use crate::slots::Place;
use crate::timeout::within;
use bytes::Bytes;
use event_listener::EventListener;
use futures::future::{Either, select};
use leasehold_core::Reading;
use leasehold_node::Share;
use leasehold_runtime::Runtime;
use leasehold_tls::Stream;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Drain;

/// The commands of a pipeline that are executed together without a share of the memory for all clients, and an estimate
/// of the memory that one takes.
const FREE_COMMANDS: usize = 1024;
const COMMAND_BYTES: usize = 128;
/// The commands of a pipeline that are executed together before the client has logged in.
const COMMANDS_BEFORE_LOGIN: usize = 16;
/// The work that a command about the connection or the node counts as: some describe every command or setting.
pub(super) const LOCAL_WORK: usize = 16;
/// The time that a client that broke the protocol has for reading the reason before its connection is closed.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// The time for which commands are refused before a connection is closed because the node stops.
const REFUSAL_INTERVAL: Duration = Duration::from_millis(100);

/// One connection.
pub(super) struct Session<'a, R: Runtime> {
    pub(super) clients: &'a Clients<R>,
    pub(super) wire: Wire<'a, R>,
    close: EventListener,
    pub(super) connection: Connection<'a, R>,
    /// The requests of the batch, for the statistics of the node.
    pub(super) counted: Batch,
    pub(super) rights: Rights,
    /// Commands that are queued for an `EXEC`, which may come in a later batch.
    pub(super) transaction: Transaction,
    /// The keys that must not change before `EXEC`.
    pub(super) watched: Watched,
    /// `READONLY`: this node answers reads, even if others are redirected.
    pub(super) reads_here: bool,
    /// The group in which commands are executed.
    pub(super) group: u16,
    batch: Vec<Action>,
    /// Commands of the batch that are executed together.
    pub(super) reads: Vec<ReadCommand>,
    pub(super) run: Vec<WriteCommand>,
    pub(super) out: ReplyBuffer,
    /// The memory for long replies.
    pub(super) replying: Share,
    /// The work since the session last yielded.
    pub(super) work: usize,
}

impl<'a, R: Runtime> Session<'a, R> {
    pub(super) fn new(
        clients: &'a Clients<R>,
        stream: Stream<R::Stream>,
        requests: RequestReader,
        id: u64,
        address: SocketAddr,
    ) -> Self {
        let rights = Rights::new(clients);
        let mut wire = Wire::new(clients, stream, requests);
        wire.set_before_login(!rights.are_granted());
        Session {
            clients,
            wire,
            close: clients.listen_for_close(),
            connection: Connection::new(clients, id, address),
            counted: Batch::default(),
            rights,
            transaction: Transaction::default(),
            watched: Watched::default(),
            reads_here: false,
            group: 0,
            batch: Vec::new(),
            reads: Vec::new(),
            run: Vec::new(),
            out: ReplyBuffer::default(),
            replying: clients.memory.output.empty_share(),
            work: 0,
        }
    }

    /// Serves the connection until the client or the node ends it.
    pub(super) async fn run(mut self) -> io::Result<()> {
        while !self.clients.is_closing() && self.rights.renew(self.clients) {
            let broken = self.take_requests().await.err();
            if self.batch.is_empty() && broken.is_none() {
                let held = self.held();
                match self.wire.receive(&mut self.close, held).await? {
                    Received::Ended => break,
                    // The node closes its connections, or the users have changed.
                    Received::Notified => self.close = self.clients.listen_for_close(),
                    // A client that paused has let others run already.
                    Received::Bytes { waited: true } => self.work = 0,
                    Received::Bytes { waited: false } => self.pause().await,
                }
                continue;
            }
            let began = self.begin_batch();
            let flow = self.execute().await?;
            self.end_batch(began);
            let held = self.held();
            self.wire.end_batch(held);
            self.flush().await?;
            if flow == Flow::Close {
                break;
            }
            if let Some(error) = broken {
                return self.part(error).await;
            }
            if self.wire.received_bytes() > 0 {
                self.pause().await;
            }
        }
        if self.clients.is_closing() {
            self.refuse().await?;
        }
        self.wire.close().await
    }

    /// Returns the executor of the group in which commands are executed.
    pub(super) fn executor(&self) -> &'a Arc<Executor<R>> {
        self.clients.group(self.group)
    }

    /// Returns the size of the requests that wait for `EXEC`.
    fn held(&self) -> usize {
        self.transaction.bytes() + self.watched.bytes()
    }

    /// Refuses the commands that arrive within a moment, because the node stops. A client that is just sending one
    /// learns that it was not executed, and not only that its connection has ended.
    async fn refuse(&mut self) -> io::Result<()> {
        let clients = self.clients;
        // The node has announced its end, and does not do so again.
        let mut close = clients.listen_for_close();
        let refusal = elsewhere(clients.facts.redirects, STOPPING);
        let refuse = async {
            loop {
                match self.wire.receive(&mut close, 0).await? {
                    Received::Ended => break,
                    Received::Notified => close = clients.listen_for_close(),
                    Received::Bytes { .. } => {}
                }
                let broken = self.take_requests().await.is_err();
                self.batch.drain(..).for_each(|_| self.out.error(&refusal));
                self.flush().await?;
                if broken {
                    break;
                }
            }
            Ok(())
        };
        within(clients.runtime(), REFUSAL_INTERVAL, refuse).await.unwrap_or(Ok(()))
    }

    /// Takes the complete requests that were received, as far as there is memory for their commands.
    async fn take_requests(&mut self) -> Result<(), ProtocolError> {
        self.batch.clear();
        let mut routes = Routes::new(self.clients);
        while let Some(request) = self.wire.next()? {
            let (command, size, place) = match request {
                Request::Command(arguments) => {
                    let (known, command) = Command::recognize(&arguments);
                    self.counted.add(known, &arguments);
                    match self.rights.refusal(known, &command, &arguments) {
                        None => {
                            let is_queued = self.transaction.is_open();
                            match routes.place(known, &command, &arguments, self.reads_here, is_queued) {
                                Ok(place) => (command, arguments.bytes(), place),
                                Err(error) => (Command::refused(arguments.peek(0), error), 0, Place::Anywhere),
                            }
                        }
                        Some(error) => {
                            self.clients.note_refused(self.rights.are_granted());
                            (Command::Local(LocalCommand::Rejected(error)), 0, Place::Anywhere)
                        }
                    }
                }
                Request::Refused { name, reason } => {
                    self.clients.too_long.add(1);
                    (Command::refused(&name, reason), 0, Place::Anywhere)
                }
            };
            let command = match command {
                Command::Write(write) if self.transaction.is_open() => match self.clients.refusal(&write) {
                    None => Command::Write(write),
                    Some(error) => {
                        self.clients.executor.count_failed(Failure::NoRoom, &[write]);
                        Command::Local(LocalCommand::Rejected(error.to_owned()))
                    }
                },
                command => command,
            };
            // A write that is queued is refused at once if there is no room. The commands before it may make some.
            let awaits_room = command == Command::Multi && !self.batch.is_empty() && self.clients.is_short();
            let mut action = self.transaction.next(command, size, place);
            if let Some(error) = self.rights.refusal_of_transaction(&action) {
                self.clients.note_refused(true);
                action = Action::Abort(error);
            }
            // The commands after it are judged once it is executed.
            let is_last = changes_judgment(&action) || awaits_room;
            self.batch.push(action);
            if is_last || (!self.rights.are_granted() && self.batch.len() >= COMMANDS_BEFORE_LOGIN) {
                break;
            }
            if self.batch.len().is_multiple_of(FREE_COMMANDS) && !self.wire.try_hold(FREE_COMMANDS * COMMAND_BYTES) {
                break;
            }
            if self.batch.len().is_multiple_of(MAX_TURN) {
                self.pause().await;
            }
        }
        Ok(())
    }

    /// Executes the batch in order.
    async fn execute(&mut self) -> io::Result<Flow> {
        let mut batch = mem::take(&mut self.batch);
        let flow = self.execute_all(batch.drain(..)).await;
        // An idle client keeps neither its last commands nor the space of a long pipeline.
        batch.shrink_to(FREE_COMMANDS);
        self.batch = batch;
        self.reads.clear();
        self.run.clear();
        self.run.shrink_to(FREE_COMMANDS);
        flow
    }

    async fn execute_all(&mut self, mut batch: Drain<'_, Action>) -> io::Result<Flow> {
        // One clock reading serves consecutive reads: all of them have arrived. After the session has waited, for its
        // client or for others, a read must see what was done meanwhile, and needs a new one.
        let mut now = None;
        while let Some(action) = batch.next() {
            let command = match action {
                Action::Execute(command) => command,
                Action::Queued => {
                    self.out.status("QUEUED");
                    self.end_command(&mut now).await?;
                    continue;
                }
                Action::Exec(queue) => {
                    let flow = self.execute_transaction(queue).await?;
                    now = None;
                    self.end_command(&mut now).await?;
                    if flow == Flow::Close {
                        return Ok(Flow::Close);
                    }
                    continue;
                }
                Action::Discard => {
                    self.watched = Watched::default();
                    Command::Local(LocalCommand::Status("OK"))
                }
                Action::Abort(error) => {
                    self.watched = Watched::default();
                    Command::Local(LocalCommand::Rejected(error))
                }
            };
            // The reply to the next command alone may have to be dropped.
            let is_single = self.out.skips();
            let has_groups = !self.clients.facts.slots.is_single();
            let command = match command {
                // Boxed, because every session would have the memory for it.
                command if has_groups => match Box::pin(self.execute_in_groups(command, &mut batch)).await? {
                    Some(command) => command,
                    None => {
                        now = None;
                        self.end_command(&mut now).await?;
                        continue;
                    }
                },
                command => command,
            };
            match command {
                Command::Read(ReadCommand::Keys(pattern)) => {
                    self.find_keys(Wanted::Matching(pattern)).await?;
                    now = None;
                }
                Command::SearchSlot(search) => {
                    self.find_keys(Wanted::InSlot(search)).await?;
                    now = None;
                }
                Command::Backup => {
                    self.back_up().await?;
                    now = None;
                }
                Command::Administer(arguments) => {
                    // Boxed, because every session would have the memory for it.
                    Box::pin(self.administer(&arguments)).await;
                    self.work += LOCAL_WORK;
                    now = None;
                }
                Command::Watch(keys) => {
                    self.watch(&keys).await?;
                    now = None;
                }
                Command::AbortWatch(error) => {
                    self.watched.failed = true;
                    self.out.error(&error);
                }
                Command::Read(ReadCommand::Mget(keys)) if keys.len() > MAX_SHORT_KEYS => {
                    self.get_in_slices(keys).await?;
                    now = None;
                }
                Command::Read(ReadCommand::Exists(keys)) if keys.len() > MAX_SHORT_KEYS => {
                    self.count_in_slices(keys).await;
                    now = None;
                }
                Command::Read(ReadCommand::Hash(HashRead { key, what: FieldsRead::GetMany(fields) }))
                    if fields.len() > MAX_SHORT_KEYS =>
                {
                    self.get_fields_in_slices(&key, fields).await?;
                    now = None;
                }
                Command::Read(command) => {
                    let budget = if is_single || has_groups { 0 } else { MAX_TURN.saturating_sub(self.work) };
                    self.work += gather_reads(&mut self.reads, command, &mut batch, budget);
                    self.read(&mut now).await?;
                }
                Command::Write(command) if let Some(error) = self.clients.refusal(&command) => {
                    self.clients.executor.count_failed(Failure::NoRoom, &[command]);
                    self.out.error(error);
                }
                Command::Write(command) => {
                    let clients = self.clients;
                    let is_alone = is_single || has_groups || batch.as_slice().is_empty();
                    let mix = if is_alone { Mix::Single } else { clients.mix() };
                    let view = self.executor().view();
                    let permitted = |command: &WriteCommand| clients.refusal(command).is_none();
                    let is_costly = |command: &ReadCommand| {
                        let may_be =
                            matches!(command, ReadCommand::String(_) | ReadCommand::Key(_) | ReadCommand::Hash(_));
                        may_be && view.with(|content| content.cost(command)) > MAX_LOCKED_COST
                    };
                    gather_run(&mut self.run, command, &mut batch, mix, permitted, is_costly);
                    self.execute_run().await?;
                    now = None;
                }
                Command::Local(command) => {
                    let flow = self.execute_local(&command).await;
                    now = None;
                    if matches!(command, LocalCommand::Http) {
                        // Nothing more is sent, as in Redis.
                        self.out.clear(0);
                    }
                    if flow == Flow::Close {
                        return Ok(Flow::Close);
                    }
                    self.work += LOCAL_WORK;
                }
                // The transaction turns these into other actions.
                Command::Multi | Command::Exec | Command::AbortExec(_) | Command::Discard => {}
            }
            self.end_command(&mut now).await?;
        }
        Ok(Flow::Continue)
    }

    /// Ends a command or several that were executed together.
    async fn end_command(&mut self, now: &mut Option<Reading>) -> io::Result<()> {
        self.out.end_command();
        if self.flush_if_full().await? | self.pause_if_due().await {
            *now = None;
        }
        Ok(())
    }

    /// Executes the collected reads.
    pub(super) async fn read(&mut self, now: &mut Option<Reading>) -> io::Result<()> {
        let reads = mem::take(&mut self.reads);
        let (mut done, executor) = (0, self.executor());
        while done < reads.len() {
            let reading = *now.get_or_insert_with(|| self.clients.now());
            let (permit, permitted) = match executor.try_read(reading, &reads[done..]) {
                Ok(permitted) => permitted,
                Err(miss) => {
                    *now = None;
                    match self.flush_during(executor.read(reads.len() - done, miss)).await? {
                        Ok(permit) => (permit, reads.len() - done),
                        Err(NotReadable::Lagging) => {
                            match executor.read_at_leader(&reads[done..]).await {
                                Ok(replies) => self.reply_all(replies).await?,
                                Err(error) => (done..reads.len()).for_each(|_| self.out.error(&error)),
                            }
                            break;
                        }
                        Err(NotReadable::Failed(error)) => {
                            (done..reads.len()).for_each(|_| self.out.error(&error));
                            break;
                        }
                    }
                }
            };
            let (out, view) = (&mut self.out, executor.view());
            let wall = || view.wall_clock().now();
            let short = view.with(|content| read_short(content, &reads[done..done + permitted], wall, out));
            done += short.executed;
            // The others need another permission if this session waits before they are executed.
            executor.count(permit, short.executed + usize::from(matches!(short.rest, Rest::Long)));
            self.work += short.work();
            match short.rest {
                Rest::None => {}
                Rest::Reply(reply) => {
                    // It may have waited for memory, and for the client.
                    self.reply(reply).await?;
                    *now = None;
                }
                Rest::Long => {
                    // Boxed, because every session would have the memory for it.
                    Box::pin(self.read_long(&reads[done])).await?;
                    done += 1;
                    self.work += MAX_TURN;
                    *now = None;
                }
            }
            if self.flush_if_full().await? | self.pause_if_due().await {
                *now = None;
            }
        }
        self.reads = reads;
        Ok(())
    }

    /// Executes `KEYS`, or a search for the keys of a slot.
    async fn find_keys(&mut self, wanted: Wanted) -> io::Result<()> {
        let (clients, version) = (self.clients, self.out.version());
        let slots = clients.facts.slots;
        let groups = match &wanted {
            Wanted::Matching(_) => slots.groups(),
            Wanted::InSlot(search) => slots.group_of(search.slot)..slots.group_of(search.slot) + 1,
        };
        if !self.may_read_in(groups.clone()).await? {
            return Ok(());
        }
        let views = groups.map(|group| clients.group(group).view().clone()).collect();
        let found = clients.keys_thread.find(clients.runtime(), views, wanted, version);
        match self.flush_during(found).await? {
            Err(error) => self.out.error(&error),
            Ok(_) if self.out.is_muted() => {}
            Ok(found) => match &found.encoded {
                None => self.out.integer(i64::try_from(found.count).unwrap_or(i64::MAX)),
                Some(encoded) => {
                    self.out.array(found.count);
                    self.flush().await?;
                    self.wire.write_all(encoded).await?;
                }
            },
        }
        Ok(())
    }

    /// Waits until the view may answer this read. Returns `false`, and has replied, if it may not.
    pub(super) async fn may_read(&mut self, read: &ReadCommand) -> bool {
        let executor = self.executor();
        match executor.permit(from_ref(read)).await {
            Ok(permit) => {
                executor.count(permit, 1);
                true
            }
            Err(error) => {
                self.out.error(&error.into_reply(self.clients.facts.redirects));
                false
            }
        }
    }

    pub(super) async fn reply_all(&mut self, replies: Vec<Reply>) -> io::Result<()> {
        self.hold_for(&replies).await?;
        for reply in replies {
            self.send(reply).await?;
        }
        self.release();
        Ok(())
    }

    pub(super) async fn reply(&mut self, reply: Reply) -> io::Result<()> {
        hold(self.clients.runtime(), &mut self.replying, reply.bytes()).await?;
        self.send(reply).await?;
        self.release();
        Ok(())
    }

    /// Waits for memory for replies.
    pub(super) async fn hold_for(&mut self, replies: &[Reply]) -> io::Result<()> {
        let bytes = replies.iter().map(Reply::bytes).sum();
        hold(self.clients.runtime(), &mut self.replying, bytes).await
    }

    /// Gives back the memory for replies, which have been sent.
    pub(super) fn release(&mut self) {
        self.replying.shrink(0);
    }

    pub(super) async fn send(&mut self, reply: Reply) -> io::Result<()> {
        match reply {
            Reply::Ok => self.out.status("OK"),
            Reply::Integer(number) => self.out.integer(number),
            Reply::Value(value) => self.send_value(value).await?,
            Reply::Error(message) => self.out.error(&message),
            Reply::Status(status) => self.out.status(&status),
            Reply::NoValues => self.out.null_array(),
            Reply::Map(pairs) => {
                self.out.map(pairs.len());
                self.send_pairs(pairs, false).await?;
            }
            Reply::Pairs(pairs) => {
                let nested = self.out.version() == Version::Three;
                self.out.array(if nested { pairs.len() } else { 2 * pairs.len() });
                self.send_pairs(pairs, nested).await?;
            }
            Reply::Scanned { cursor, found } => {
                self.out.array(2);
                self.out.bulk(cursor.to_string());
                self.out.array(found.len());
                for part in found {
                    self.send_part(Some(part)).await?;
                }
            }
            Reply::Values(values) => {
                self.out.array(values.len());
                for value in values {
                    self.send_part(value).await?;
                }
            }
        }
        self.work += 1;
        self.flush_if_full().await?;
        self.pause_if_due().await;
        Ok(())
    }

    async fn send_pairs(&mut self, pairs: Vec<(Bytes, Bytes)>, nested: bool) -> io::Result<()> {
        for (field, value) in pairs {
            if nested {
                self.out.array(2);
            }
            self.send_part(Some(field)).await?;
            self.send_part(Some(value)).await?;
        }
        Ok(())
    }

    /// Sends a part of a long reply.
    async fn send_part(&mut self, value: Option<Bytes>) -> io::Result<()> {
        self.send_value(value).await?;
        self.work += 1;
        self.flush_if_full().await?;
        self.pause_if_due().await;
        Ok(())
    }

    /// Sends a value. A long one is written from where it is stored.
    async fn send_value(&mut self, value: Option<Bytes>) -> io::Result<()> {
        match value {
            Some(value) if value.len() > MAX_COPIED_BYTES && !self.out.is_muted() => {
                self.out.start_bulk(value.len());
                self.flush().await?;
                self.wire.write_all(&value).await?;
                self.out.end_bulk();
            }
            value => self.out.value(value.as_deref()),
        }
        Ok(())
    }

    pub(super) async fn flush_if_full(&mut self) -> io::Result<bool> {
        let full = self.out.bytes().len() >= FLUSH_BYTES;
        if full {
            self.flush().await?;
        }
        Ok(full)
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.out.bytes().is_empty() {
            self.wire.write_all(self.out.bytes()).await?;
            self.out.clear(2 * FLUSH_BYTES);
        }
        Ok(())
    }

    /// Waits for something, and sends the replies to the commands before it meanwhile.
    pub(super) async fn flush_during<T>(&mut self, awaited: impl Future<Output = T>) -> io::Result<T> {
        let mut awaited = pin!(awaited);
        match self.flush_while(awaited.as_mut()).await? {
            Some(done) => Ok(done),
            None => Ok(awaited.await),
        }
    }

    /// Sends the replies to earlier commands. Returns what is awaited, if it is there by then.
    pub(super) async fn flush_while<T>(&mut self, awaited: Pin<&mut impl Future<Output = T>>) -> io::Result<Option<T>> {
        if self.out.bytes().is_empty() {
            return Ok(None);
        }
        match select(awaited, pin!(self.flush())).await {
            Either::Left((done, flushed)) => flushed.await.map(|()| Some(done)),
            Either::Right((flushed, _)) => flushed.map(|()| None),
        }
    }

    pub(super) async fn pause_if_due(&mut self) -> bool {
        let due = self.work >= MAX_TURN;
        if due {
            self.pause().await;
        }
        due
    }

    pub(super) async fn pause(&mut self) {
        self.work = 0;
        yield_now().await;
    }

    /// Sends the client the reason why its connection ends, and gives it time to read that: a socket that is closed
    /// with unread input resets the connection, and the client may lose the reply.
    async fn part(mut self, error: ProtocolError) -> io::Result<()> {
        self.out.error(&format!("ERR {error}"));
        self.flush().await?;
        self.wire.close().await?;
        within(self.clients.runtime(), FAREWELL_TIMEOUT, self.wire.drain()).await;
        Ok(())
    }
}
