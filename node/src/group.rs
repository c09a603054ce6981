//! One replicated group on a node: its replica, its state machine, and what waits for either.

mod applying;
mod members;
mod options;
mod readers;
mod transfers;

pub use options::{GroupOptions, ReadMode};

use crate::apply::{ApplyBudget, ApplyWatch, bytes_of};
use crate::guide::Guide;
use crate::identity::Contact;
use crate::members::entry_version;
use crate::pending::{PendingReads, PendingWrites, RequestKey, WriteOutcome};
use crate::ports::{Applied, Batch, GroupId, Preparer, Recovered, Stage, StateMachine, UnknownCommand};
use crate::reader_watch::ReaderWatch;
use crate::snapshot::Work;
use crate::status::{Ground, GroupStatistics, ReadGate, ReadGrant, Status};
use crate::touched::{TouchedKeys, Tracker};
use crate::transfer::Transfers;
use crate::wire::{RequestId, Transfer};
use bytes::Bytes;
use leasehold_core::{Index, Instant, LeaseCell, NodeId, Read, ReadError, Reading};
use leasehold_raft::wire::{Change, Envelope, Membership, Snapshot};
use leasehold_raft::{
    CampaignError, Committed, Effect, Output as ReplicaOutput, Persist, PersistentState, Position, ProposeError,
    Replica, Role, TransferError,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Changes of records that wait for a write to disk to join, in bytes, before they are written without one.
const MAX_UNWRITTEN_BYTES: usize = 4 << 20;

/// A group that is about to start. If [`first_batch`](GroupStart::first_batch) returns a batch, it must be durable
/// before the group is added to a node.
#[derive(Debug)]
pub struct GroupStart<S> {
    pub(crate) options: GroupOptions,
    recovered: Recovered<S>,
    state: PersistentState,
    applied: Applied,
    longest_hold: Duration,
}

impl<S> GroupStart<S> {
    /// Prepares to start a group from what its disk holds.
    pub fn new(mut options: GroupOptions, mut recovered: Recovered<S>) -> GroupStart<S> {
        // If the end of the log was cut off, the removal of the record may be gone with it.
        options.replica.remaining_hold = recovered.orderly_stop.filter(|_| !recovered.log_may_be_cut);
        let longest_hold = recovered.longest_hold.max(options.replica.config.hold());
        let (mut state, applied) = initial_state(&mut recovered, options.founders.clone());
        state.may_be_cut = recovered.log_may_be_cut && !options.accept_data_loss;
        GroupStart { options, recovered, state, applied, longest_hold }
    }

    /// Returns the longest hold that an earlier process may have promised in this group, or that this one will promise.
    pub(crate) fn longest_hold(&self) -> Duration {
        self.longest_hold
    }

    /// Shortens the time for which the group is held from its start.
    pub(crate) fn limit_hold(&mut self, limit: Duration) {
        let remaining = &mut self.options.replica.remaining_hold;
        *remaining = Some(remaining.map_or(limit, |remaining| remaining.min(limit)));
    }

    /// Returns what must be durable before the first message leaves: the beginning of a new log, the longest hold that an
    /// acknowledgement may promise, and the removal of the record of an orderly stop.
    pub fn first_batch(&self) -> Option<Batch> {
        let is_new = self.recovered.applied.index == 0 && self.state.applied > 0;
        let records_hold = self.longest_hold > self.recovered.longest_hold;
        let accepts_loss = self.recovered.log_may_be_cut && !self.state.may_be_cut;
        // A later process must not find it: this one is about to make promises.
        let stopped_orderly = self.recovered.orderly_stop.is_some();
        // Nothing of a new group was cut off when the folder lost something.
        let is_whole = accepts_loss || (self.recovered.applied.index == 0 && !self.state.may_be_cut);
        (is_new || records_hold || accepts_loss || stopped_orderly).then(|| Batch {
            group: self.options.group,
            hard_state: is_new.then_some(self.state.hard_state),
            reset_log: is_new,
            applied: is_new.then(|| self.applied.clone()),
            longest_hold: Some(self.longest_hold),
            log_may_be_cut: is_whole.then_some(false),
            orderly_stop: stopped_orderly.then_some(None),
            ..Batch::default()
        })
    }
}

/// Returns the replica's state and the applied position that a disk holds.
fn initial_state<S>(recovered: &mut Recovered<S>, founders: Vec<NodeId>) -> (PersistentState, Applied) {
    if recovered.applied.index == 0 && !founders.is_empty() {
        let state = PersistentState::founding(founders);
        let (index, term) = state.compacted;
        let membership = state.membership.clone();
        return (state, Applied { index, term, membership });
    }
    let state = PersistentState {
        hard_state: recovered.hard_state,
        compacted: recovered.compacted,
        entries: std::mem::take(&mut recovered.entries),
        applied: recovered.applied.index,
        membership: recovered.applied.membership.clone(),
        may_be_cut: false,
    };
    (state, recovered.applied.clone())
}

/// An output of one group.
pub(crate) enum GroupOutput<M: StateMachine> {
    /// Sends an envelope to a peer's replica.
    Send { to: NodeId, envelope: Envelope },
    /// Sends a step of a transfer.
    SendTransfer { to: NodeId, id: RequestId, transfer: Transfer },
    /// Writes a batch. `number` is the replica's, 0 if nothing waits for it. `staged` is the chunk of a transfer in it.
    Write { number: u64, batch: Batch, staged: Option<(RequestId, u64)> },
    /// A proposed write has its outcome.
    Decided { request: RequestKey, index: Index, outcome: WriteOutcome<M::Output> },
    /// A quorum round confirmed a read, which may be answered once `index` is applied.
    Confirmed { request: RequestKey, index: Index },
    /// The quorum round of a read will never be confirmed.
    Aborted { request: RequestKey },
    /// Work for another thread.
    Work(Work<M>),
    /// The log has a command that this release does not know. Nothing is applied any more.
    Halted { index: Index, unknown: UnknownCommand },
}

/// The state of one group on this node. Its [`Node`](crate::Node) gives it inputs and takes its outputs.
pub struct Group<M: StateMachine> {
    options: GroupOptions,
    replica: Replica,
    /// `None` while it applies entries on a thread of its own, and once the group has ended.
    machine: Option<M>,
    prepare: Preparer,
    applied: Applied,
    /// The applied position that is on disk.
    durable_applied: Index,
    gate: Arc<ReadGate>,
    /// The entries that readers of the gate may have to wait for.
    tracker: Tracker,
    reader_watch: ReaderWatch,
    /// The hold to record once the longer one of an earlier process has run out.
    lower_hold_to: Option<Duration>,
    apply_watch: ApplyWatch,
    /// Committed entries that are not applied yet, but for those that a thread applies.
    to_apply: VecDeque<Committed>,
    unapplied_bytes: usize,
    /// The changes of the members among them, and among those that a thread applies.
    unapplied_changes: usize,
    /// The bytes that were applied in this turn.
    applied_bytes: usize,
    /// Waits for the next write to disk.
    unwritten: Batch,
    /// True once a command could not be applied.
    halted: bool,
    /// The size of its changes, and their size when superseded ones were last removed.
    unwritten_bytes: usize,
    unwritten_bytes_merged: usize,
    flush: bool,
    writes: PendingWrites,
    reads: PendingReads,
    transfers: Transfers<M::State>,
    /// The newest version of commands that every member can apply.
    entry_version: u32,
    /// The configuration that is applied on disk.
    settled: Membership,
    /// The time of `transfers` at which that was read or became durable.
    settled_at: Duration,
    /// The time from which leadership may be handed over again for the sake of a change of the members.
    give_way_from: Duration,
    /// The time since which this node has led the deciding group while another group may go on without it.
    left_out_since: Option<Duration>,
    /// The voter to whom this node last handed leadership because the members change.
    gave_way_to: Option<NodeId>,
    /// The members as this node knows them from its links, to be recorded in the configuration.
    contacts: BTreeMap<NodeId, Contact>,
    outputs: VecDeque<GroupOutput<M>>,
    statistics: GroupStatistics,
}

impl<M: StateMachine> Group<M> {
    /// Starts a group. It reads the recovered records into `machine`, which may take time.
    ///
    /// # Errors
    /// [`leasehold_raft::Error`], when the recovered state or the options make no replica.
    pub(crate) fn new(
        start: GroupStart<M::State>,
        mut machine: M,
        boot: u64,
        now: Reading,
    ) -> Result<Group<M>, leasehold_raft::Error> {
        let GroupStart { mut options, recovered, state, applied, longest_hold } = start;
        // Reads that other nodes answered by subleases would rest on clocks.
        options.replica.lends &= options.reads == ReadMode::Lease;
        if options.local_reads && options.replica.starts.is_none() {
            tracing::warn!(
                group = options.group,
                "this node is to read locally, but has no count of its starts, so it gets no sublease; set `starts` of the \
                 replica's options"
            );
        }
        let cell = Arc::new(LeaseCell::new());
        // In quorum mode the cell that the replica publishes to is not the one that readers check.
        let checked = if options.reads == ReadMode::Lease { cell.clone() } else { Arc::new(LeaseCell::new()) };
        let hold = options.replica.config.hold();
        if state.may_be_cut {
            tracing::warn!(
                "the end of this node's log may have been cut off; the node takes no part in elections until every other \
                 voter follows one leader and this node has caught up with it"
            );
            if state.membership.voters == [options.replica.id] {
                tracing::error!(
                    "this node is the only voter, so nothing can restore what was cut off; start it with \
                     --accept-data-loss, or restore a backup"
                );
            }
        }
        let held = options.replica.remaining_hold.unwrap_or(longest_hold);
        if held > hold {
            tracing::warn!(
                group = options.group,
                "before it restarted, this node may have promised a leader in some group not to elect another for {} ms, \
                 which is longer than the present hold of {} ms: it neither votes nor campaigns in this group for that \
                 long; wait, or, for a group that starts with the node, see --stopped-since",
                held.as_millis(),
                hold.as_millis()
            );
        }
        let replica = Replica::new(options.replica, state, longest_hold, now, cell)?;
        let (sublease, touched) = (replica.reader_cell().clone(), TouchedKeys::new(boot));
        let gate = Arc::new(ReadGate::new(checked, sublease, applied.index, touched));
        drop(machine.replace(recovered.records));
        let local_reads = options.local_reads;
        let mut group = Group {
            replica,
            prepare: machine.preparer(),
            machine: Some(machine),
            durable_applied: applied.index,
            entry_version: entry_version(&applied.membership, options.unnoted_version),
            settled: applied.membership.clone(),
            settled_at: Duration::ZERO,
            give_way_from: Duration::ZERO,
            left_out_since: None,
            gave_way_to: None,
            applied,
            gate,
            tracker: Tracker::default(),
            reader_watch: ReaderWatch::default(),
            lower_hold_to: (longest_hold > hold).then_some(hold),
            apply_watch: ApplyWatch::default(),
            to_apply: VecDeque::new(),
            unapplied_bytes: 0,
            unapplied_changes: 0,
            applied_bytes: 0,
            unwritten: Batch { group: options.group, ..Batch::default() },
            halted: false,
            unwritten_bytes: 0,
            unwritten_bytes_merged: 0,
            flush: false,
            writes: PendingWrites::default(),
            reads: PendingReads::default(),
            transfers: Transfers::new(boot),
            contacts: BTreeMap::new(),
            outputs: VecDeque::new(),
            statistics: GroupStatistics::default(),
            options,
        };
        group.set_local_reads(now, local_reads);
        Ok(group)
    }

    /// Returns the number of the group.
    pub fn id(&self) -> GroupId {
        self.options.group
    }

    /// Returns the replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Returns the state machine; `None` while it applies entries on a thread of its own.
    pub fn machine(&self) -> Option<&M> {
        self.machine.as_ref()
    }

    /// Returns the position up to which the state machine includes the log.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Returns what readers on other threads check before they read the state.
    pub fn read_gate(&self) -> &Arc<ReadGate> {
        &self.gate
    }

    /// Returns this node's view of the group.
    pub fn status(&self) -> Status {
        Status {
            role: self.replica.role(),
            term: self.replica.term(),
            leader: self.replica.leader(),
            commit: self.replica.commit(),
            exposed: self.replica.exposed(),
            applied: self.applied.index,
            members_changed: self.settled.changed,
            entry_version: self.entry_version,
            log_may_be_cut: self.replica.log_may_be_cut(),
            no_lease: self.replica.holder().lease().err(),
            stopped: false,
        }
    }

    /// Returns what has been counted.
    pub fn statistics(&self) -> GroupStatistics {
        let reader = self.replica.reader().map(|reader| *reader.statistics()).unwrap_or_default();
        GroupStatistics {
            replica: *self.replica.statistics(),
            holder: *self.replica.holder().statistics(),
            obligations: self.replica.lender().obligations().count(),
            subleases_granted: self.replica.lender().statistics().granted,
            subleases_requested: reader.requested,
            subleases_received: reader.granted,
            writes_delayed_by_readers: self.replica.lender().statistics().delays,
            stalled_for: self.replica.stalled_for(),
            held_for: self.replica.held_for(),
            applying_for: self.applying_for(),
            ..self.statistics
        }
    }

    /// Returns the bytes of the committed entries that are left to apply.
    pub(crate) fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// Returns the bytes of the committed entries that are left to apply, and of those that may not be applied before the
    /// readers have them.
    pub(crate) fn committed_bytes(&self) -> usize {
        self.unapplied_bytes + self.replica.withheld_bytes()
    }

    pub(crate) fn take_trace(&mut self) -> String {
        self.replica.take_trace()
    }

    /// Handles an envelope from a peer's replica.
    pub(crate) fn handle_envelope(&mut self, now: Reading, from: NodeId, envelope: Envelope) {
        self.replica.handle_envelope(now, from, envelope);
    }

    /// Learns that the batches through the replica's `number` are durable, and with them the applied position and the
    /// chunk of a transfer, if given.
    pub(crate) fn handle_written(
        &mut self,
        now: Reading,
        number: u64,
        applied: Option<Index>,
        staged: Option<(RequestId, u64)>,
    ) {
        if let Some((id, chunk)) = staged {
            self.handle_staged(now, id, chunk);
        }
        self.durable_applied = applied.unwrap_or(self.durable_applied);
        let changed = self.applied.membership.changed;
        if changed > self.settled.changed && self.durable_applied >= changed {
            self.settled.clone_from(&self.applied.membership);
            self.settled_at = self.transfers.now;
        }
        if number > 0 {
            self.replica.handle_persisted(now, number);
        }
        self.compact();
    }

    /// Learns that the mark that the log may be cut is durable.
    pub(crate) fn handle_cut_recorded(&mut self) {
        self.replica.handle_cut_recorded();
    }

    /// Learns that an envelope to this peer was not sent.
    pub(crate) fn handle_not_sent(&mut self, now: Reading, to: NodeId, envelope: &Envelope) {
        // What does not replicate the log is repeated anyway.
        if envelope.is_bulk() {
            self.replica.handle_unreachable(now, to);
        }
    }

    /// Counts a tick if one is due, writes what waits for a write to disk, and looks at the clock. `guide` is what the
    /// group that decides on the members has decided.
    pub(crate) fn handle_timeout(&mut self, now: Reading, guide: Option<&Guide>) {
        let before = *self.replica.statistics();
        let (term, stalled) = (self.replica.term(), self.replica.stalled_for());
        self.replica.handle_timeout(now);
        self.time_transfers(now);
        self.tend_members(now, guide);
        self.time_apply(now);
        self.reader_watch.observe(self.options.group, &self.replica);
        if self.replica.statistics().leaderships_blocked > before.leaderships_blocked {
            tracing::warn!(
                term,
                commit = self.replica.commit(),
                exposed = self.replica.exposed(),
                "this node led for two holds while its writes waited for nodes that read locally, whose subleases should \
                 have ended, so it steps down and does not campaign for some holds; check its clock"
            );
        }
        if self.replica.statistics().leaderships_given_up > before.leaderships_given_up {
            tracing::warn!(
                term,
                commit = self.replica.commit(),
                applied = self.applied.index,
                "this node led for {} ms without executing anything although writes are pending, so it hands leadership \
                 over and does not campaign for some holds; check its disk, and its links to the other nodes",
                stalled.as_millis()
            );
        }
        if self.lower_hold_to.is_some() && self.replica.grantor().restart_hold_is_over() {
            self.unwritten.longest_hold = self.lower_hold_to.take();
        }
        self.flush = true;
    }

    /// Learns that the counters were disrupted: the replica gets a backward reading.
    pub(crate) fn handle_disruption(&mut self, now: Instant) {
        let before = |nanos: u64| nanos.saturating_sub(1);
        self.replica.handle_timeout(Some(now));
        self.replica.handle_timeout(Some(Instant::from_nanos(before(now.awake_nanos()), before(now.total_nanos()))));
    }

    pub(crate) fn align_ticks(&mut self, ticked_at: Instant) {
        self.replica.align_ticks(ticked_at);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.replica.poll_timeout().map(|(at, _)| at)
    }

    pub(crate) fn propose(
        &mut self,
        now: Reading,
        request: RequestKey,
        command: Bytes,
    ) -> Result<Position, ProposeError> {
        if !self.may_propose(&command) {
            return Err(ProposeError::Busy);
        }
        let position = self.replica.propose(now, (self.prepare)(command))?;
        self.writes.insert(position, request);
        Ok(position)
    }

    pub(crate) fn forget_write(&mut self, position: Position) {
        self.writes.forget(position);
    }

    /// Returns a grant if the lease is valid at `now`. Otherwise the read waits for a quorum round.
    pub(crate) fn read(
        &mut self,
        now: Reading,
        request: RequestKey,
        mode: ReadMode,
    ) -> Result<Option<ReadGrant>, ReadError> {
        let read = match (self.options.reads, mode) {
            (ReadMode::Lease, ReadMode::Lease) => self.replica.read(now)?,
            _ => Read::Quorum(self.replica.quorum_read(now)?),
        };
        match read {
            Read::Lease(permit) => {
                Ok(Some(ReadGrant { index: permit.index, ground: Ground::Lease, as_follower: false }))
            }
            Read::Quorum(ticket) => {
                self.reads.push(ticket, self.replica.term(), request);
                Ok(None)
            }
        }
    }

    /// Forgets the reads that wait for a round, except those for which `pending` returns true.
    pub(crate) fn retain_reads(&mut self, pending: impl Fn(RequestKey) -> bool) {
        self.reads.retain(pending);
    }

    /// Returns a grant if the lease is valid at `now`.
    pub(crate) fn read_under_lease(&mut self, now: Reading) -> Option<ReadGrant> {
        if self.options.reads == ReadMode::Lease
            && let Ok(Read::Lease(permit)) = self.replica.read(now)
        {
            return Some(ReadGrant { index: permit.index, ground: Ground::Lease, as_follower: false });
        }
        None
    }

    pub(crate) fn transfer(&mut self, now: Reading, to: NodeId) -> Result<(), TransferError> {
        self.replica.transfer(now, to)
    }

    pub(crate) fn campaign(&mut self, now: Reading) -> Result<(), CampaignError> {
        self.replica.campaign(now)
    }

    pub(crate) fn propose_change(&mut self, now: Reading, change: &Change) -> Result<Position, ProposeError> {
        self.replica.propose_change(now, change)
    }

    /// Gives up the lease for good. Reads that wait for a quorum round are aborted.
    pub(crate) fn retire(&mut self, now: Reading) {
        self.replica.retire(now);
    }

    /// Writes everything that waits for a write, with the next outputs, and records an orderly stop: nothing may be
    /// handed to this group after this.
    pub(crate) fn finish(&mut self, now: Reading) {
        // What else the replica has to write comes before.
        self.drain_replica(&mut ApplyBudget::default());
        self.unwritten.orderly_stop = self.replica.leave(now).map(Some);
        self.flush = true;
    }

    /// Gives up the lease and everything under way, and [finishes](Group::finish). The state machine and the states go out
    /// as work. The machine goes as it is: threads that were permitted to read before may read the state still.
    pub(crate) fn close(&mut self, now: Reading) {
        self.retire(now);
        self.close_transfers(now);
        self.finish(now);
        // One that applies on a thread now follows once it is back. Without it, nothing more is applied.
        self.outputs.extend(self.machine.take().map(|machine| GroupOutput::Work(Work::End(Box::new(machine)))));
    }

    /// Returns true if this node, which stops, is held at `now` or cannot know.
    pub(crate) fn is_held(&mut self, now: Reading) -> bool {
        self.replica.leave(now) != Some(Duration::ZERO)
    }

    /// Starts to hand leadership over, if this node leads, because it is about to stop.
    pub(crate) fn hand_over(&mut self, now: Reading) -> Result<NodeId, TransferError> {
        self.replica.hand_over(now)
    }

    /// Returns the next output; `None` when there is none left. It applies entries within what is left of the turn.
    pub(crate) fn poll_output(&mut self, budget: &mut ApplyBudget) -> Option<GroupOutput<M>> {
        if self.outputs.is_empty() {
            self.drain_replica(budget);
            self.apply(budget);
            let idle = Batch { group: self.options.group, ..Batch::default() };
            if (std::mem::take(&mut self.flush) && self.unwritten != idle) || self.unwritten_bytes > MAX_UNWRITTEN_BYTES
            {
                self.write(0);
            }
        }
        self.outputs.pop_front()
    }

    /// Does everything the replica wants done.
    fn drain_replica(&mut self, budget: &mut ApplyBudget) {
        while let Some(output) = self.replica.poll_output() {
            match output {
                ReplicaOutput::Send { to, envelope } => self.outputs.push_back(GroupOutput::Send { to, envelope }),
                ReplicaOutput::Persist(persist) => self.persist(persist),
                ReplicaOutput::Apply(committed) => {
                    self.unapplied_bytes += committed.iter().map(bytes_of).sum::<usize>();
                    let is_change = |committed: &&Committed| matches!(committed.effect, Effect::Membership(_));
                    self.unapplied_changes += committed.iter().filter(is_change).count();
                    self.to_apply.extend(committed);
                    self.apply(budget);
                }
                ReplicaOutput::ReadsConfirmed { through } => {
                    while let Some((index, request)) = self.reads.next_confirmed(through, self.replica.term()) {
                        self.statistics.quorum_reads_confirmed += 1;
                        self.outputs.push_back(GroupOutput::Confirmed { request, index });
                    }
                }
                ReplicaOutput::ReadsAborted { through } => {
                    while let Some(request) = self.reads.next_aborted(through) {
                        self.statistics.quorum_reads_aborted += 1;
                        self.outputs.push_back(GroupOutput::Aborted { request });
                    }
                }
                ReplicaOutput::SendSnapshot { to, index } => self.start_transfer(to, index),
                ReplicaOutput::LogMayBeCut(cut) => self.note_cut(cut),
            }
        }
    }

    /// Records that the log may have been cut, or that it is whole again.
    fn note_cut(&mut self, cut: bool) {
        self.unwritten.log_may_be_cut = Some(cut);
        self.flush = true;
        if cut {
            tracing::error!(
                "the log of this node lacks entries that it acknowledged: its data folder is an old copy, or its disk \
                 lost writes; the node takes no part in elections until it has caught up with a leader"
            );
        } else {
            tracing::info!("this node has caught up, and takes part in elections again");
        }
    }

    fn persist(&mut self, persist: Persist) {
        let Persist { number, must_sync, hard_state, snapshot, entries } = persist;
        self.unwritten.hard_state = Some(hard_state);
        if let Some(snapshot) = snapshot {
            self.install(snapshot);
        }
        // The replica publishes them as received once this output was taken.
        match self.replica.role() {
            Role::Leader => self.tracker.append_unseen(self.gate.touched(), &entries),
            _ => self.tracker.append(self.gate.touched(), &entries, M::touches),
        }
        self.unwritten.entries = entries;
        if must_sync {
            self.write(number);
        }
    }

    /// Replaces the state and the log by a leader's snapshot.
    fn install(&mut self, snapshot: Snapshot) {
        let state = self.transfers.complete.take().expect("the engine installs only a snapshot that is complete");
        // It covers every committed entry.
        self.to_apply.clear();
        (self.unapplied_bytes, self.unapplied_changes) = (0, 0);
        self.applied = Applied { index: snapshot.index, term: snapshot.term, membership: snapshot.membership };
        self.entry_version = entry_version(&self.applied.membership, self.options.unnoted_version);
        self.unwritten.reset_log = true;
        self.unwritten.compact_through = None;
        self.unwritten.stage = Some(Stage::Install);
        self.unwritten.changes.clear();
        self.unwritten.applied = Some(self.applied.clone());
        let machine = self.machine.as_mut().expect("no state is installed while entries are applied");
        let former = machine.replace(state);
        self.outputs.push_back(GroupOutput::Work(Work::Drop(Arc::new(former))));
        for request in self.writes.covered_by_snapshot(snapshot.index) {
            let outcome = WriteOutcome::Unknown;
            self.outputs.push_back(GroupOutput::Decided { request, index: snapshot.index, outcome });
        }
        self.gate.publish_applied(self.applied.index);
        self.tracker.reset(self.gate.touched());
    }

    /// Sends everything unwritten to the disk.
    fn write(&mut self, number: u64) {
        let empty = Batch { group: self.options.group, ..Batch::default() };
        let batch = std::mem::replace(&mut self.unwritten, empty);
        (self.unwritten_bytes, self.unwritten_bytes_merged) = (0, 0);
        self.outputs.push_back(GroupOutput::Write { number, batch, staged: None });
    }

    /// Compacts the older half of a log that has grown long, as far as its effects are on disk and no follower that makes
    /// progress needs it.
    fn compact(&mut self) {
        let GroupOptions { max_log_entries, max_log_bytes, .. } = self.options;
        let (entries, bytes) = self.replica.log_size();
        if entries <= max_log_entries && bytes <= max_log_bytes {
            return;
        }
        // Finding the middle of a long log takes time, so it is done only if much can be dropped.
        let limit = self.limit_compaction(self.durable_applied);
        if limit.saturating_sub(self.replica.compacted()) < entries as u64 / 8 {
            return;
        }
        let Some(index) = self.replica.compactable(max_log_entries, max_log_bytes) else { return };
        let index = index.min(limit);
        if let Some(term) = self.replica.compact(index) {
            self.unwritten.compact_through = Some((index, term));
        }
    }
}
