//! Executes clients' commands in a group: reads under the lease at once, everything else through the node.

use crate::counters::{Counters, Failure, Miss};
use crate::health::Leaderless;
use crate::keyspace::{ENTRY_VERSION, Entry, Keyspace, Outcome, ReadCommand, Reply, View, Watched, WriteCommand};
use crate::latency::Timer;
use crate::registrar::{Registrar, Unfounded};
use crate::timeout::within;
use bytes::Bytes;
use leasehold_clock::Clock;
use leasehold_core::{NodeId, Reading};
use leasehold_node::{Budget, Ground, Handle, REQUEST_TIMEOUT, ReadGrant, ReadMode, RequestError, Role};
use leasehold_runtime::Runtime;
use std::num::NonZeroU16;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

/// The bytes of writes that wait for their outcome, which the groups share equally. Further ones wait for admission, so
/// that large values are written at the speed of the disk. A write that is longer than the share of its group has it alone.
const MAX_WRITE_BYTES: usize = 16 << 20;
/// The share that a group has at least: from 17 groups on, all have more together. Each has its own, so that a group that
/// stalls stalls no other one.
const MIN_GROUP_WRITE_BYTES: usize = 1 << 20;
/// The time that a write waits for admission.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(120);

/// The time that a command waits until every member of the cluster is known to run a release that can execute it.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// The reply to a command that not every member of the cluster can execute.
const OLDER_MEMBER: &str = "TRYAGAIN a member of this cluster runs an older release, or is not known yet, so this command was not executed; \
                            upgrade every node, then try again";

/// The reply to a write for which there is no room.
const BUSY: &str = "BUSY too many commands are pending, or the leader's disk is almost full; this one was not executed; \
                    try again later";

/// The reply to a write whose outcome is not known.
pub(crate) const UNCERTAIN: &str = "UNCERTAIN the write may or may not have been executed: its leader was lost before it answered; \
                         read before you repeat it";

/// The reason why a stopping node refuses a command.
pub(crate) const STOPPING: &str = "this node is shutting down; send the command to another node";

/// The reason why a removed node refuses a command.
const REMOVED: &str = "this node was removed from its cluster; send the command to another node";

/// Returns the reply to a command that another node may execute. Clients of Redis Cluster look for the nodes again after
/// `CLUSTERDOWN`; after `TRYAGAIN` most of them repeat the command at the same node.
pub(crate) fn elsewhere(redirects: bool, reason: &str) -> String {
    format!("{} {reason}", if redirects { "CLUSTERDOWN" } else { "TRYAGAIN" })
}

/// The reason why the view may not answer a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotReadable {
    /// This node lags behind its leader, which can execute the read.
    Lagging,
    /// The reply to the read.
    Failed(String),
}

impl NotReadable {
    /// Returns the reply to a read that cannot be executed at the leader.
    pub(crate) fn into_reply(self, redirects: bool) -> String {
        match self {
            NotReadable::Lagging => elsewhere(redirects, "this node lags behind its leader; read at another node"),
            NotReadable::Failed(reply) => reply,
        }
    }
}

/// A permission to answer reads from the view.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Permit {
    /// This node's lease.
    Lease,
    /// This node's sublease.
    Sublease,
    /// An index that the leader granted, and the reason why this node could not answer at once.
    Granted(ReadGrant, Miss),
}

/// The parts that an executor is made of. Those of the node are the same in each of its groups.
pub(crate) struct Parts<R> {
    pub(crate) runtime: R,
    pub(crate) node: NodeId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) handle: Handle<Keyspace>,
    pub(crate) view: View,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) redirects: bool,
    pub(crate) counters: Arc<Counters>,
    /// The number of groups.
    pub(crate) groups: NonZeroU16,
    /// The way in which reads are made linearizable.
    pub(crate) reads: ReadMode,
    /// Measures the commits of the disk.
    pub(crate) commits: Timer,
    /// Measures the entries that are applied.
    pub(crate) applies: Timer,
}

/// Executes commands in one group for every connection of a node.
pub(crate) struct Executor<R> {
    parts: Parts<R>,
    writes: Arc<Budget>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) leaderless: Leaderless,
}

impl<R: Runtime> Executor<R> {
    pub(crate) fn new(parts: Parts<R>) -> Self {
        let write_bytes = (MAX_WRITE_BYTES / usize::from(parts.groups.get())).max(MIN_GROUP_WRITE_BYTES);
        let counters = parts.counters.clone();
        Self { parts, writes: Budget::new(write_bytes), counters, leaderless: Leaderless::default() }
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.parts.runtime
    }

    pub(crate) fn node(&self) -> NodeId {
        self.parts.node
    }

    pub(crate) fn handle(&self) -> &Handle<Keyspace> {
        &self.parts.handle
    }

    pub(crate) fn view(&self) -> &View {
        &self.parts.view
    }

    /// Returns the bytes of writes that wait for their outcome.
    pub(crate) fn pending_write_bytes(&self) -> usize {
        self.writes.used()
    }

    /// Returns the timers of the commits and of the entries that are applied.
    pub(crate) fn timers(&self) -> (&Timer, &Timer) {
        (&self.parts.commits, &self.parts.applies)
    }

    /// Returns the clock.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    pub(crate) fn registrar(&self) -> &Registrar {
        &self.parts.registrar
    }

    /// Returns a clock reading. It belongs to what arrived before it.
    pub(crate) fn now(&self) -> Reading {
        self.parts.clock.now()
    }

    /// Returns a permission to answer the first of these reads at once, and how many: the lease is valid at `now`, and
    /// everything known to be committed is applied, or a sublease is, and everything received is applied that may change
    /// what they read. `now` was sampled after the reads arrived, and the caller has not waited since.
    ///
    /// # Errors
    /// The reason why there is none for the first one.
    pub(crate) fn try_read(&self, now: Reading, reads: &[ReadCommand]) -> Result<(Permit, usize), Miss> {
        let gate = self.parts.handle.gate();
        if gate.try_read(now).is_some() {
            return Ok((Permit::Lease, reads.len()));
        }
        let Some(permit) = gate.try_read_local(now) else { return Err(self.why_no_permit(now)) };
        if permit.is_applied {
            return Ok((Permit::Sublease, reads.len()));
        }
        let touched = gate.touched();
        match self.parts.view.settled(reads, |key| touched.may_contain(key), || touched.time()) {
            0 => Err(Miss::InFlight),
            settled => Ok((Permit::Sublease, settled)),
        }
    }

    /// Returns the reason why the view may not answer reads at once.
    #[cold]
    fn why_no_permit(&self, now: Reading) -> Miss {
        let (status, lease) = (self.parts.handle.status(), self.parts.handle.gate().lease());
        match status.no_lease {
            _ if status.role != Role::Leader => Miss::NotLeader,
            _ if self.parts.reads == ReadMode::Quorum => Miss::QuorumMode,
            _ if now.is_none() => Miss::NoClock,
            Some(reason) => reason.into(),
            None if lease.remaining(now).is_some() => Miss::NotApplied,
            None => Miss::Expired,
        }
    }

    /// Waits until the view may answer reads, which it could not at once.
    ///
    /// # Errors
    /// [`NotReadable`].
    pub(crate) async fn read(&self, reads: usize, miss: Miss) -> Result<Permit, NotReadable> {
        let granted = self.grant(reads).await.inspect_err(|_| self.counters.miss(miss, reads));
        granted.map(|grant| Permit::Granted(grant, miss))
    }

    async fn grant(&self, reads: usize) -> Result<ReadGrant, NotReadable> {
        if let Some(refused) = self.refused() {
            self.counters.fail(Failure::NoMember, reads, 0);
            return Err(NotReadable::Failed(refused));
        }
        match self.parts.handle.read().await {
            Ok(grant) => Ok(grant),
            Err(RequestError::Lagging) => Err(NotReadable::Lagging),
            Err(error) => {
                self.counters.fail(error.into(), reads, 0);
                Err(NotReadable::Failed(self.text(error)))
            }
        }
    }

    /// Executes reads at the leader, because this node lags behind it: as a log entry, since a lagging node is rare.
    ///
    /// # Errors
    /// The reply to each of them.
    pub(crate) async fn read_at_leader(&self, reads: &[ReadCommand]) -> Result<Vec<Reply>, String> {
        let commands: Vec<_> = reads.iter().cloned().map(WriteCommand::Read).collect();
        let entry = self.encode(&[], true, &commands).await;
        let entry = entry.inspect_err(|_| self.counters.fail(Failure::OlderMember, reads.len(), 0))?;
        match self.parts.handle.write(entry).await {
            Ok(Outcome::Replies(replies)) if replies.len() == reads.len() => {
                self.counters.reads_quorum.add(reads.len());
                self.counters.reads_forwarded.add(reads.len());
                self.counters.reads_follower.add(reads.len());
                Ok(replies.into_iter().map(|reply| reply_to_read(reply, self.parts.redirects)).collect())
            }
            outcome => {
                let error = not_read(outcome.err());
                self.counters.fail(error.map_or(Failure::Lagging, Failure::from), reads.len(), 0);
                Err(match error {
                    Some(error) => self.text(error),
                    None => NotReadable::Lagging.into_reply(self.parts.redirects),
                })
            }
        }
    }

    /// Executes a read by itself.
    ///
    /// # Errors
    /// The reply to it.
    pub(crate) async fn read_alone(&self, command: &ReadCommand) -> Result<Reply, String> {
        match self.permit(from_ref(command)).await {
            Ok(permit) => {
                self.count(permit, 1);
                let view = self.view();
                Ok(view.snapshot().content().read(command, || view.wall_clock().now()))
            }
            Err(NotReadable::Lagging) => {
                let mut replies = self.read_at_leader(from_ref(command)).await?;
                Ok(replies.remove(0))
            }
            Err(error) => Err(error.into_reply(self.parts.redirects)),
        }
    }

    /// Waits until the view may answer all of these reads.
    ///
    /// # Errors
    /// [`NotReadable`].
    pub(crate) async fn permit(&self, reads: &[ReadCommand]) -> Result<Permit, NotReadable> {
        match self.try_read(self.now(), reads) {
            Ok((permit, permitted)) if permitted == reads.len() => Ok(permit),
            Ok(_) => self.read(reads.len(), Miss::InFlight).await,
            Err(miss) => self.read(reads.len(), miss).await,
        }
    }

    /// Returns the reply to every command of a node that its cluster refuses or has removed: it will find no leader.
    fn refused(&self) -> Option<String> {
        if self.parts.registrar.removed().is_some() {
            return Some(elsewhere(self.parts.redirects, REMOVED));
        }
        let reason = self.parts.registrar.unfounded().filter(|reason| matches!(reason, Unfounded::Refused(..)))?;
        Some(elsewhere(self.parts.redirects, &format!("this node {reason}; send the command to another node")))
    }

    /// Returns the error that a client sees.
    fn text(&self, error: RequestError) -> String {
        let reason = match error {
            RequestError::Busy => return BUSY.to_owned(),
            RequestError::Uncertain => return UNCERTAIN.to_owned(),
            RequestError::Stopping => STOPPING.to_owned(),
            _ => match self.parts.registrar.takes_no_part() {
                Some(reason) => format!("this node {reason}"),
                None => format!("no leader answered within {} s; try again", REQUEST_TIMEOUT.as_secs()),
            },
        };
        elsewhere(self.parts.redirects, &reason)
    }

    /// Counts reads that were answered.
    pub(crate) fn count(&self, permit: Permit, reads: usize) {
        let counters = &self.counters;
        let counter = match permit {
            Permit::Lease => &counters.reads_lease,
            Permit::Sublease => &counters.reads_local,
            Permit::Granted(grant, miss) => {
                counters.miss(miss, reads);
                if grant.as_follower {
                    counters.reads_forwarded.add(reads);
                    counters.reads_follower.add(reads);
                }
                match grant.ground {
                    Ground::Sublease => &counters.reads_local,
                    Ground::Lease => &counters.reads_lease,
                    Ground::Quorum => &counters.reads_quorum,
                }
            }
        };
        counter.add(reads);
    }

    /// Returns the entry of these commands in the newest version that every member of the cluster can apply. The leader
    /// of a new cluster learns the versions of its members shortly after its election, so this may wait.
    async fn encode(&self, watched: &[Watched], whole: bool, commands: &[WriteCommand]) -> Result<Bytes, String> {
        let version = self.parts.handle.status().entry_version;
        if let Some(entry) = Entry::encode_as(version, watched, whole, commands) {
            return Ok(entry);
        }
        let newest = u32::from(ENTRY_VERSION);
        let known = self.parts.handle.wait_status(|status| status.entry_version >= newest || status.stopped);
        within(&self.parts.runtime, VERSION_TIMEOUT, known).await;
        let version = self.parts.handle.status().entry_version;
        Entry::encode_as(version, watched, whole, commands).ok_or_else(|| OLDER_MEMBER.to_owned())
    }

    /// Returns whether every member of the cluster executes an entry only as far as its replies fit.
    pub(crate) fn can_stop_early(&self) -> bool {
        self.parts.handle.status().entry_version >= ENTRY_VERSION.into()
    }

    /// Returns keys with the index of the entry that changed each last, as conditions of an entry. The caller has
    /// permission to read.
    ///
    /// # Errors
    /// The reply: not every member of the cluster knows conditions.
    pub(crate) async fn watch(&self, keys: Vec<Bytes>) -> Result<Vec<Watched>, String> {
        if let Some(watched) = self.parts.view.watch(keys.clone()) {
            return Ok(watched);
        }
        // From the first entry of version 2 on, indexes are recorded.
        let entry = self.encode(&[(Bytes::new(), 0)], true, &[]).await?;
        self.parts.handle.write(entry).await.map_err(|error| self.text(error))?;
        self.grant(1).await.map_err(|error| error.into_reply(self.parts.redirects))?;
        self.parts.view.watch(keys).ok_or_else(|| NotReadable::Lagging.into_reply(self.parts.redirects))
    }

    /// Executes commands as one log entry, wherever the leader is. With `whole`, there is a reply for each command.
    /// Without it there may be fewer, and at least one: the commands after those were not executed. If a watched key has
    /// changed, nothing was executed.
    ///
    /// # Errors
    /// The error to answer for all of them.
    pub(crate) async fn commit_entry(
        &self,
        watched: &[Watched],
        whole: bool,
        commands: &[WriteCommand],
    ) -> Result<Outcome, String> {
        if commands.is_empty() && watched.is_empty() {
            return Ok(Outcome::Replies(Vec::new()));
        }
        if let Some(refused) = self.refused() {
            self.count_failed(Failure::NoMember, commands);
            return Err(refused);
        }
        let encode = async || {
            let encoded = self.encode(watched, whole, commands).await;
            encoded.inspect_err(|_| self.count_failed(Failure::OlderMember, commands))
        };
        // While a member runs an older release, this may wait for it. The room is taken afterwards: others need it too.
        // Otherwise it does not wait, and the entry takes memory only once there is room.
        let early = if self.can_stop_early() { None } else { Some(encode().await?) };
        // Its deadline starts once it is admitted: a write that waits for others must not time out for that.
        let bytes = commands.iter().map(|command| command.bytes() + size_of::<WriteCommand>()).sum();
        let share = match self.writes.try_take(bytes) {
            None => within(&self.parts.runtime, ADMISSION_TIMEOUT, self.writes.take(bytes)).await,
            share => share,
        };
        let Some(_share) = share else {
            self.count_failed(Failure::Busy, commands);
            return Err(BUSY.to_owned());
        };
        let entry = match early {
            Some(entry) => entry,
            None => encode().await?,
        };
        let is_complete = |replies: &[Reply]| match whole {
            true => replies.len() == commands.len(),
            false => (1..=commands.len()).contains(&replies.len()),
        };
        let outcome = match self.parts.handle.write(entry).await {
            Ok(Outcome::Replies(replies)) if is_complete(&replies) => Ok(Outcome::Replies(replies)),
            Ok(Outcome::Conflict) if !watched.is_empty() => Ok(Outcome::Conflict),
            // Committed, but the node that executed it could not decode it: it must run another version.
            Ok(_) => Err(RequestError::Uncertain),
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(Outcome::Replies(replies)) => {
                let (reads, writes) = count_kinds(&commands[..replies.len()]);
                self.counters.reads_logged.add(reads);
                self.counters.writes_acknowledged.add(writes);
            }
            Ok(Outcome::Conflict) => self.counters.fail(Failure::Conflict, 0, count_kinds(commands).1),
            Err(RequestError::Uncertain) => {
                let (reads, writes) = count_kinds(commands);
                self.counters.fail(Failure::Uncertain, reads, 0);
                self.counters.writes_uncertain.add(writes);
            }
            Err(error) => self.count_failed((*error).into(), commands),
        }
        outcome.map_err(|error| self.text(error))
    }

    /// Counts commands that failed.
    pub(crate) fn count_failed(&self, reason: Failure, commands: &[WriteCommand]) {
        let (reads, writes) = count_kinds(commands);
        self.counters.fail(reason, reads, writes);
    }
}

/// Returns the number of reads and that of writes.
fn count_kinds(commands: &[WriteCommand]) -> (usize, usize) {
    let reads = commands.iter().filter(|command| matches!(command, WriteCommand::Read(_))).count();
    (reads, commands.len() - reads)
}

/// Returns the reply to a read that was executed as a log entry. Replies that are together too long for an entry are not
/// too long for a client, so another node can answer the read.
fn reply_to_read(reply: Reply, redirects: bool) -> Reply {
    if reply.is_too_long() { Reply::Error(NotReadable::Lagging.into_reply(redirects)) } else { reply }
}

/// Returns the error of a read that the leader did not execute as a log entry, or `None` if another node can answer the
/// read. A leader that refuses writes still answers reads. The outcome of a read is never uncertain, because it changes
/// nothing.
fn not_read(error: Option<RequestError>) -> Option<RequestError> {
    error.filter(|error| matches!(error, RequestError::TimedOut | RequestError::Stopping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{FieldsRead, HashRead, SetCommand, WallClock};
    use crate::resp::MAX_BULK;
    use leasehold_node::ports::StateMachine as _;

    #[test]
    fn a_read_whose_reply_is_too_long_for_an_entry_is_sent_to_another_node() {
        let mut keyspace = Keyspace::new("test", WallClock::new(|| 0));
        let key = || Bytes::from_static(b"k");
        let set = WriteCommand::Set(SetCommand::new(key(), vec![0; MAX_BULK].into()));
        let read = || WriteCommand::Read(ReadCommand::Get(key()));
        let wrong = WriteCommand::Read(ReadCommand::Hash(HashRead { key: key(), what: FieldsRead::Length }));
        let entry = Entry::encode(&[], true, &[set, read(), read(), wrong, read(), read()]);
        let Ok(Outcome::Replies(mut replies)) = keyspace.apply(1, &entry, &mut Vec::new()) else { panic!("an entry") };
        let too_long = replies.pop().expect("the last reply");
        for (redirects, code) in [(false, "TRYAGAIN"), (true, "CLUSTERDOWN")] {
            let lagging = format!("{code} this node lags behind its leader; read at another node");
            assert_eq!(reply_to_read(too_long.clone(), redirects), Reply::Error(lagging));
        }
        for reply in replies {
            assert_eq!(reply_to_read(reply.clone(), false), reply, "it fits, or is an error of the client");
        }
    }

    #[test]
    fn a_read_that_the_leader_cannot_log_is_sent_to_another_node() {
        for error in [RequestError::Busy, RequestError::Uncertain, RequestError::Lagging] {
            assert_eq!(not_read(Some(error)), None, "{error}");
        }
        assert_eq!(not_read(None), None, "the replies are not complete");
        for error in [RequestError::TimedOut, RequestError::Stopping] {
            assert_eq!(not_read(Some(error)), Some(error));
        }
    }
}
