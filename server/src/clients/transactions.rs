//! Executing transactions, and the other commands that are log entries.

use super::registry::Flow;
use super::routes::Routes;
use super::runs::Portion;
use super::session::{LOCAL_WORK, Session};
use super::transaction::{ABORTED, Queue, discarded_because_of};
use crate::counters::Failure;
use crate::keyspace::{Outcome, ReadCommand, Reply, WriteCommand};
use crate::slots::Place;
use crate::timeout::within;
use bytes::Bytes;
use futures::future::{Either, select};
use leasehold_runtime::Runtime;
use std::io;
use std::mem;
use std::pin::pin;
use std::time::Duration;

/// The time for which the writes of a client that has closed its end are still waited for.
const LEFT_TIMEOUT: Duration = Duration::from_secs(1);

/// The reply to a read that was to be executed after writes whose outcome is not known.
pub(super) const NOT_READ: &str = "TRYAGAIN the outcome of a write before this read is not known; read again";

impl<R: Runtime> Session<'_, R> {
    /// Watches keys until the next `EXEC`.
    pub(super) async fn watch(&mut self, keys: &[Bytes]) -> io::Result<()> {
        let clients = self.clients;
        let keys = match self.watched.copy(keys) {
            Ok(keys) => keys,
            Err(error) => {
                self.out.error(&error);
                return Ok(());
            }
        };
        self.group = clients.facts.slots.group_of_key(keys.first().map_or(&[], |key| &key[..]));
        if !self.may_read(&ReadCommand::of_keys(&keys)).await {
            self.watched.failed = true;
            return Ok(());
        }
        match self.flush_during(self.executor().watch(keys)).await? {
            Ok(more) => {
                self.watched.keys.extend(more);
                self.out.status("OK");
            }
            Err(error) => {
                self.watched.failed = true;
                self.out.error(&error);
            }
        }
        Ok(())
    }

    /// Executes the commands of a transaction: together in one log entry, but those about the connection or the node when
    /// their replies are due.
    pub(super) async fn execute_transaction(&mut self, queue: Queue) -> io::Result<Flow> {
        let watched = mem::take(&mut self.watched);
        if watched.failed {
            self.out.error(ABORTED);
            return Ok(Flow::Continue);
        }
        let only_reads = queue.commands.iter().all(|command| matches!(command, WriteCommand::Read(_)));
        let watched_keys = watched.keys.iter().map(|(key, _)| &key[..]);
        let place = queue.place.and(self.clients.facts.slots.place_of(watched_keys));
        if let Some(error) = Routes::new(self.clients).refusal(place, self.reads_here && only_reads) {
            self.out.error(&error);
            return Ok(Flow::Continue);
        }
        self.group = if let Place::In { group, .. } = place { group } else { 0 };
        if let Some(error) = self.clients.refusal_of_any(&queue.commands) {
            self.clients.executor.count_failed(Failure::NoRoom, &queue.commands);
            self.out.error(&discarded_because_of(error));
            return Ok(Flow::Continue);
        }
        let outcome = self.executor().commit_entry(&watched.keys, true, &queue.commands);
        match self.wait_for_commit(outcome).await? {
            Ok(Outcome::Replies(replies)) => return self.reply_to_transaction(queue, replies).await,
            Ok(Outcome::Conflict) => self.out.null_array(),
            Err(error) => self.out.error(&error),
        }
        Ok(Flow::Continue)
    }

    /// Returns whether one of the commands closes the connection. As in Redis, those after it are executed, and not
    /// answered.
    async fn reply_to_transaction(&mut self, queue: Queue, replies: Vec<Reply>) -> io::Result<Flow> {
        self.out.array(queue.len());
        let mut flow = Flow::Continue;
        if queue.locals.is_empty() {
            self.reply_all(replies).await?;
            return Ok(flow);
        }
        self.hold_for(&replies).await?;
        let mut replies = replies.into_iter();
        let mut locals = queue.locals.into_iter().peekable();
        for place in 0..queue.commands.len() + locals.len() {
            match locals.next_if(|(of_local, _)| *of_local == place) {
                Some((_, command)) => {
                    if self.execute_local(&command).await == Flow::Close {
                        flow = Flow::Close;
                        self.out.turn_off();
                    }
                    self.work += LOCAL_WORK;
                    self.flush_if_full().await?;
                    self.pause_if_due().await;
                }
                None => match replies.next() {
                    Some(reply) => self.send(reply).await?,
                    None => break,
                },
            }
        }
        self.release();
        Ok(flow)
    }

    /// Executes the collected run of writes, and of reads between them: in one log entry, or in several if their replies
    /// are too long for one.
    pub(super) async fn execute_run(&mut self) -> io::Result<()> {
        let run = mem::take(&mut self.run);
        let (mut done, mut portion) = (0, Portion::default());
        while done < run.len() {
            // Reads that had no room in the entry before need none of their own.
            while done > 0
                && let Some(WriteCommand::Read(command)) = run.get(done)
            {
                self.reads.clear();
                self.reads.push(command.clone());
                self.read(&mut None).await?;
                done += 1;
            }
            if done == run.len() {
                break;
            }
            let part = portion.of(&run[done..]);
            let outcome = self.executor().commit_entry(&[], false, part);
            match self.wait_for_commit(outcome).await? {
                Ok(Outcome::Replies(replies)) if !replies.is_empty() => {
                    portion.note(&part[..replies.len()]);
                    done += replies.len();
                    self.reply_all(replies).await?;
                }
                Ok(_) => return Err(io::Error::other("an entry without conditions had no outcome")),
                Err(error) => {
                    let error_of_reads = if error.starts_with("UNCERTAIN") { NOT_READ } else { &error };
                    for command in &run[done..] {
                        let is_read = matches!(command, WriteCommand::Read(_));
                        self.out.error(if is_read { error_of_reads } else { &error });
                    }
                    break;
                }
            }
        }
        self.run = run;
        Ok(())
    }

    /// Waits for the outcome of a log entry. Sends the replies to earlier commands meanwhile, and watches the client: one
    /// that has closed its end may still wait for the replies, for a moment. Then the entry is abandoned: if it waits for a
    /// leader, it is not executed any more.
    pub(super) async fn wait_for_commit<T>(&mut self, outcome: impl Future<Output = T>) -> io::Result<T> {
        let mut outcome = pin!(outcome);
        if let Some(outcome) = self.flush_while(outcome.as_mut()).await? {
            return Ok(outcome);
        }
        if let Either::Left((outcome, _)) = select(outcome.as_mut(), pin!(self.wire.ended())).await {
            return Ok(outcome);
        }
        let outcome = within(self.clients.runtime(), LEFT_TIMEOUT, outcome).await;
        outcome.ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionAborted, "the client left"))
    }
}
