//! The engine, the holder and the grantor as one state machine.

mod leadership;
mod local;
mod outputs;
mod returns;
mod sync;
mod ticks;

use crate::admission::{Admission, is_valid_snapshot};
use crate::engine_log::{EngineLog, LoggedTerm};
use crate::error::{CampaignError, EngineError, Error, InstallError, ProposeError};
use crate::gate::Gate;
use crate::leadership::Leadership;
use crate::lease::Lease;
use crate::local::LocalReads;
use crate::log::{Log, PersistentState};
use crate::options::Options;
use crate::outbox::Outbox;
use crate::output::{Output, Position};
use crate::rejoin::Rejoin;
use crate::status::{Role, SnapshotOutcome, Statistics};
use crate::wire::{Change, Entry, Envelope, MAX_NOTE_BYTES, MAX_NOTES, Membership, Snapshot, Step, convert};
use bytes::Bytes;
use leasehold_core::{
    Config, Event, Grantor, Holder, Index, Instant, LeaseCell, NodeId, Read, ReadError, Reading, Reason, Release, Term,
    TermRound, Ticket, Voters, VotersError,
};
use raft::{GetEntriesContext, RawNode, StateRole, eraftpb};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The `raft` crate's `RawNode` combined with a [`Holder`] and a [`Grantor`]; no I/O, no time, no threads.
///
/// Give the replica one input or several, then call [`poll_output`](Replica::poll_output) until it returns `None` and
/// do what each output says. Every input takes a reading that was sampled after the input arrived. After each input the
/// lease cell is up to date: a step-down revokes it before any message of that step can be polled.
///
/// * Inputs are the methods `handle_*` and the commands [`propose`](Replica::propose), [`read`](Replica::read),
///   [`transfer`](Replica::transfer), [`campaign`](Replica::campaign).
/// * Outputs are [`poll_output`](Replica::poll_output) and [`poll_timeout`](Replica::poll_timeout).
pub struct Replica {
    options: Options,
    raw: RawNode<Log>,
    lease: Lease,
    local: LocalReads,
    gate: Gate,
    outbox: Outbox,
    /// The reading of the last input.
    now: Reading,
    last_tick: Reading,
    /// The number of campaigns this node started. Each draws another election timeout.
    campaigns: u64,
    /// The number of campaigns since this node last knew a leader.
    fruitless: u32,
    /// The newest commit index that was broadcast without waiting for an append.
    commit_broadcast: Index,
    rejoin: Rejoin,
    leadership: Leadership,
    /// Committed entries that are not handed out for applying yet.
    withheld: VecDeque<eraftpb::Entry>,
    /// The size of their data.
    withheld_bytes: usize,
    logged_term: LoggedTerm,
    /// Set by a shutdown: this node acknowledges no round again.
    leaving: bool,
    statistics: Statistics,
}

impl Replica {
    /// Returns the replica of a process that has just started. It publishes its lease in `cell`. The cell must be new:
    /// one cell belongs to one replica. In a mode without lease reads, pass a cell that no reader sees.
    ///
    /// `longest_hold` is the longest hold under which this node may ever have acknowledged a round; zero for a new
    /// node. `max(longest_hold, hold)` must be durable before the first input.
    ///
    /// # Errors
    /// [`Error`]: the state or the options are not valid.
    pub fn new(
        options: Options,
        state: PersistentState,
        longest_hold: Duration,
        now: Reading,
        cell: Arc<LeaseCell>,
    ) -> Result<Replica, Error> {
        voters_of(&state.membership)?;
        let commit = state.hard_state.commit;
        let durable_term = state.hard_state.term;
        let rejoin = Rejoin::new(options.process, state.may_be_cut);
        let engine = options.engine_config(state.applied);
        let logged_term = LoggedTerm::default();
        logged_term.set(durable_term);
        let log = EngineLog { node: options.id, term: logged_term.clone() };
        let logger = slog::Logger::root(log, slog::o!());
        let raw = RawNode::new(&engine, Log::new(state), &logger).map_err(|error| Error::Engine(EngineError(error)))?;
        let mut replica = Replica {
            raw,
            lease: Lease::new(&options, longest_hold, now, cell),
            local: LocalReads::new(&options, commit, now),
            gate: Gate::new(durable_term),
            outbox: Outbox::default(),
            now,
            last_tick: now,
            campaigns: 0,
            fruitless: 0,
            commit_broadcast: commit,
            rejoin,
            leadership: Leadership::default(),
            withheld: VecDeque::new(),
            withheld_bytes: 0,
            leaving: false,
            statistics: Statistics::default(),
            options,
            logged_term,
        };
        replica.draw_election_timeout();
        Ok(replica)
    }

    /// Returns the id of this node.
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// Returns the hold, lease, drift and heartbeat this replica was built with.
    pub fn config(&self) -> &Config {
        &self.options.config
    }

    /// Returns the length of an engine tick: half a heartbeat, and at least a small part of the hold.
    pub fn tick(&self) -> Duration {
        self.options.tick()
    }

    /// Returns the beginning of the present tick; `None` if no reading has said.
    pub fn ticked_at(&self) -> Reading {
        self.last_tick
    }

    /// Lets the present tick begin at another reading, that of another replica on this node: those with the same ticks are
    /// then due at the same time.
    pub fn align_ticks(&mut self, ticked_at: Instant) {
        self.last_tick = Some(ticked_at);
    }

    /// Returns the role of this node.
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// Returns the newest term this node knows.
    pub fn term(&self) -> Term {
        self.raw.raft.term
    }

    /// Returns the leader of that term, if this node knows it.
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.raw.raft.leader_id).filter(|leader| *leader != raft::INVALID_ID)
    }

    /// Returns the highest index this node knows to be committed.
    pub fn commit(&self) -> Index {
        self.raw.raft.raft_log.committed
    }

    /// Returns the entry at `index`, if it is committed and the log still holds it.
    pub fn committed_entry(&self, index: Index) -> Option<Entry> {
        let log = &self.raw.raft.raft_log;
        if index > log.committed {
            return None;
        }
        let entries = log.slice(index, index + 1, None, GetEntriesContext::empty(false)).ok()?;
        entries.first().map(convert::entry_out)
    }

    /// Returns the configuration of the group, as applied by the engine.
    pub fn membership(&self) -> &Membership {
        self.raw.store().membership()
    }

    /// Returns the index through which the log should be compacted, if it holds more than `entries` entries or `bytes`
    /// bytes. That is its older half, as far as it is applied. Returns `None` while the log is shorter.
    pub fn compactable(&self, entries: usize, bytes: u64) -> Option<Index> {
        let middle = self.raw.store().midpoint_if_longer_than(entries, bytes)?;
        Some(middle.min(self.raw.raft.raft_log.applied))
    }

    /// Returns true if this node leads and no change of configuration is pending or half done, so that it can propose
    /// one.
    pub fn can_change(&self) -> bool {
        let raft = &self.raw.raft;
        raft.state == StateRole::Leader
            && raft.lead_transferee.is_none()
            && !raft.has_pending_conf()
            && self.membership().voters_outgoing.is_empty()
    }

    /// Returns, on a leader, the other members, each with the last index of the log known to be durable there.
    pub fn followers(&self) -> impl Iterator<Item = (NodeId, Index)> + '_ {
        let leads = self.raw.raft.state == StateRole::Leader;
        let others = self.raw.raft.prs().iter().filter(move |(id, _)| leads && **id != self.id());
        others.map(|(id, progress)| (*id, progress.matched))
    }

    /// Returns the last index that the log no longer holds.
    pub fn compacted(&self) -> Index {
        self.raw.store().compacted()
    }

    /// Returns the number of entries in the log, and the size of their data.
    pub fn log_size(&self) -> (usize, u64) {
        self.raw.store().size()
    }

    /// Returns the holder.
    pub fn holder(&self) -> &Holder {
        self.lease.holder()
    }

    /// Returns the cell in which this replica publishes its lease.
    pub fn cell(&self) -> &LeaseCell {
        self.lease.cell()
    }

    /// Returns the grantor.
    pub fn grantor(&self) -> &Grantor {
        self.lease.grantor()
    }

    /// Returns the counts since this replica was built.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Returns the lines of the trace since the last call; empty unless [`Options::record`] is set. The lines of an
    /// input are complete once all its outputs have been polled.
    pub fn take_trace(&mut self) -> String {
        self.lease.take_trace()
    }

    /// Handles an envelope from a peer. `from` is the sender that the link authenticated. `now` was sampled after the
    /// envelope arrived.
    pub fn handle_envelope(&mut self, now: Reading, from: NodeId, envelope: Envelope) {
        self.note_reading(now);
        let Envelope { round, ack, release, rejoin, mut messages, local } = envelope;
        if ack.is_some() {
            self.note_heard(from);
        }
        self.handle_rejoin(now, from, round, rejoin, &mut messages);
        let release = release.map(|(term, round)| Release { through: TermRound { term, round } });
        for message in messages {
            match Admission::of(&message, &self.raw) {
                Admission::Refused => {
                    self.statistics.messages_refused += 1;
                    continue;
                }
                Admission::LogIsCut => {
                    self.lose_log();
                    return;
                }
                Admission::Vote if !self.rejoin.is_whole() => {
                    self.statistics.votes_withheld += 1;
                    continue;
                }
                Admission::Vote => {
                    // The engine raises its term even when it refuses a vote, so it must not see a request that the
                    // hold forbids.
                    if self.local.lender().is_obligated(now) || !self.lease.may_vote_or_campaign(now, release) {
                        self.statistics.votes_withheld += 1;
                        continue;
                    }
                }
                Admission::CampaignNow => {
                    self.lease.keep_release(release);
                    if self.leaving || self.may_campaign(now).is_err() {
                        self.statistics.transfers_withheld += 1;
                        continue;
                    }
                    self.campaigns += 1;
                }
                Admission::Transfer => {
                    self.statistics.messages_refused += u64::from(self.transfer(now, from).is_err());
                    continue;
                }
                Admission::Step => {}
            }
            let message = convert::message_in(from, self.id(), message);
            if self.raw.step(message).is_err() {
                self.statistics.messages_refused += 1;
            }
            self.sync_lease_with_raft(now);
        }
        if let Some((term, round)) = round
            && !self.rejoin.is_outside()
            && !self.leaving
            && let Some((ack, new)) = self.lease.handle_frame(now, &self.raw.raft, from, TermRound { term, round })
        {
            // The acknowledgement of a repeated round goes with the next envelope. That of a new round is sent at once.
            self.outbox.note_ack(from, ack, new);
            if new {
                self.local.make_request(now, from);
            }
        }
        if let Some((term, round)) = ack {
            self.lease.handle_event(now, Event::Acked { from, round: TermRound { term, round } });
        }
        self.handle_local(now, from, ack.is_some(), local);
    }

    /// Counts an engine tick and opens a heartbeat round, each if its interval has passed. A late call counts one tick,
    /// not several.
    pub fn handle_timeout(&mut self, now: Reading) {
        self.note_reading(now);
        if self.tick_is_due(now) {
            self.last_tick = self.tick_began(now);
            self.count_tick(now);
            self.sync_lease_with_raft(now);
        } else if self.local.lender().poll_timeout().is_some() {
            self.sync_lease_with_raft(now);
        }
        self.lease.handle_timeout(now);
    }

    /// Handles the report that all writes through `number` are durable.
    pub fn handle_persisted(&mut self, now: Reading, number: u64) {
        self.note_reading(now);
        let number = self.gate.open_through(number, &mut self.outbox.messages);
        self.raw.on_persist_ready(number);
        self.sync_lease_with_raft(now);
        self.advance_apply_after_snapshot();
    }

    /// Handles the report that entries for `peer` certainly did not arrive.
    pub fn handle_unreachable(&mut self, now: Reading, peer: NodeId) {
        self.note_reading(now);
        self.raw.report_unreachable(peer);
        self.sync_lease_with_raft(now);
    }

    /// Handles the outcome of an [`Output::SendSnapshot`].
    pub fn handle_snapshot_ended(&mut self, now: Reading, peer: NodeId, outcome: SnapshotOutcome) {
        self.note_reading(now);
        let status = match outcome {
            SnapshotOutcome::Delivered => raft::SnapshotStatus::Finish,
            SnapshotOutcome::Failed => raft::SnapshotStatus::Failure,
        };
        self.raw.report_snapshot(peer, status);
        self.sync_lease_with_raft(now);
    }

    /// Installs a state that is complete on this node: [`Output::Persist`] then replaces log and state machine by it.
    /// Everything in it is committed, so it does not matter which leader sent it, and the present one learns of it.
    /// There is no such output if this node has the entries meanwhile.
    ///
    /// # Errors
    /// [`InstallError`]: nothing was installed.
    pub fn install(&mut self, now: Reading, snapshot: Snapshot) -> Result<(), InstallError> {
        self.note_reading(now);
        let follows = !self.rejoin.is_outside() && self.role() == Role::Follower;
        let leader = self.leader().filter(|leader| *leader != self.id() && follows);
        let leader = leader.ok_or(InstallError::NoLeader)?;
        if !is_valid_snapshot(&snapshot, &self.raw) {
            self.statistics.messages_refused += 1;
            return Err(InstallError::Invalid);
        }
        let mut message = eraftpb::Message::default();
        message.set_msg_type(eraftpb::MessageType::MsgSnapshot);
        (message.from, message.to, message.term) = (leader, self.id(), self.term());
        message.set_snapshot(convert::snapshot_in(snapshot));
        // The engine's only errors here concern messages of the node itself.
        let _ = self.raw.step(message);
        self.sync_lease_with_raft(now);
        Ok(())
    }

    /// Proposes a command and returns the only position at which it can be committed.
    ///
    /// # Errors
    /// [`ProposeError`]: the command was not accepted.
    pub fn propose(&mut self, now: Reading, command: Bytes) -> Result<Position, ProposeError> {
        self.note_reading(now);
        let entry = eraftpb::Entry { data: command, ..Default::default() };
        self.propose_entry(now, entry)
    }

    /// Proposes a change of configuration and returns the only position at which it can be committed.
    ///
    /// # Errors
    /// [`ProposeError`]: the change was not accepted.
    pub fn propose_change(&mut self, now: Reading, change: &Change) -> Result<Position, ProposeError> {
        use protobuf::Message as _;
        self.note_reading(now);
        if change.notes.len() > MAX_NOTES || change.notes.values().any(|note| note.len() > MAX_NOTE_BYTES) {
            return Err(ProposeError::Notes);
        }
        let mut voters = self.membership().voters.clone();
        for step in &change.steps {
            match *step {
                Step::AddVoter(node) => voters.push(node),
                Step::AddLearner(node) | Step::Remove(node) => voters.retain(|voter| *voter != node),
            }
        }
        voters.sort_unstable();
        voters.dedup();
        Voters::simple(&voters).map_err(ProposeError::Voters)?;
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
        entry.data = convert::change_in(change).write_to_bytes().expect("a change of configuration encodes").into();
        self.propose_entry(now, entry)
    }

    /// Returns a permit or a ticket for a read. `now` was sampled after the read arrived. Keep the read of a ticket
    /// pending until [`Output::ReadsConfirmed`] or [`Output::ReadsAborted`] covers its round.
    ///
    /// # Errors
    /// [`ReadError`]: this node cannot answer the read.
    pub fn read(&mut self, now: Reading) -> Result<Read, ReadError> {
        self.note_reading(now);
        self.lease.read(now)
    }

    /// Returns a ticket for a read that must not use the lease.
    ///
    /// # Errors
    /// [`ReadError`]: this node cannot answer the read.
    pub fn quorum_read(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        self.note_reading(now);
        self.lease.quorum_read(now)
    }

    /// Starts a campaign, if this node is a voter, its hold is over and its writes are durable.
    ///
    /// # Errors
    /// [`CampaignError`]: no campaign started.
    pub fn campaign(&mut self, now: Reading) -> Result<(), CampaignError> {
        self.note_reading(now);
        // The engine lets any node campaign, and panics if a node wins that is not a member.
        if !self.raw.raft.promotable() {
            return Err(CampaignError::NotVoter);
        }
        if let Err(refused) = self.may_campaign(now) {
            self.statistics.campaigns_withheld += 1;
            return Err(refused);
        }
        self.campaigns += 1;
        // The engine's only error here is a dropped proposal, and a campaign proposes nothing.
        let _ = self.raw.campaign();
        self.sync_lease_with_raft(now);
        Ok(())
    }

    /// Drops the log entries through `index`, which must be durably applied. Returns the term of the entry at `index`,
    /// or `None` if there was nothing to drop.
    ///
    /// # Panics
    /// If `index` is not applied.
    pub fn compact(&mut self, index: Index) -> Option<Term> {
        assert!(
            index <= self.raw.raft.raft_log.applied,
            "entry {index} is not applied, so the log cannot be compacted through it"
        );
        self.raw.mut_store().compact(index)
    }

    /// Gives up the lease for good, aborts the pending reads, and acknowledges no more rounds. Call this first in a
    /// shutdown. The engine keeps running until the process ends, so that pending proposals can still be committed. While a
    /// reader may use a sublease of this node, nothing more is handed out.
    pub fn retire(&mut self, now: Reading) {
        self.note_reading(now);
        self.leaving = true;
        self.local.retire();
        self.lease.retire(now);
    }

    /// Returns how much longer this node may neither vote nor campaign, as of the last input; `None` while it has no
    /// reading.
    pub fn held_for(&self) -> Option<Duration> {
        let grantor = self.lease.grantor();
        if grantor.awaits_reading() {
            return None;
        }
        let now = self.now?;
        let held = grantor.held_until().map_or(Duration::ZERO, |end| end.elapsed_since(now).at_most);
        self.local.lender().remaining(Some(now)).map(|obligated| held.max(obligated))
    }

    /// Returns how much longer the promises of this node bind at `now`, for the record of an orderly stop. It
    /// acknowledges no round from then on. Returns `None` without a reading.
    pub fn leave(&mut self, now: Reading) -> Option<Duration> {
        self.note_reading(now);
        self.leaving = true;
        self.local.retire();
        let obligated = self.local.lender().remaining(now)?;
        self.lease.remaining_hold(now).map(|held| held.max(obligated))
    }

    /// Returns when to call [`handle_timeout`](Replica::handle_timeout), and the reason. Returns `None` while there is
    /// no reading to compute it from: then call it once per [`tick`](Replica::tick), by any timer.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let tick = (self.last_tick?.plus(self.tick()), Reason::Tick);
        let due = [self.lease.holder().poll_timeout(), self.next_exposure().map(|at| (at, Reason::Tick))];
        [tick].into_iter().chain(due.into_iter().flatten()).min_by_key(|(at, _)| at.awake_nanos())
    }

    /// Returns the next output, or `None` when nothing is left to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outbox.is_empty() {
            self.collect_outputs();
        }
        self.outbox.pop()
    }

    fn propose_entry(&mut self, now: Reading, entry: eraftpb::Entry) -> Result<Position, ProposeError> {
        // A follower's engine would forward the proposal, and its outcome would be unknown.
        if self.raw.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader);
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::HandingOver);
        }
        let is_change = entry.entry_type != eraftpb::EntryType::EntryNormal;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(eraftpb::MessageType::MsgPropose);
        message.from = self.id();
        message.entries = vec![entry].into();
        let before = self.raw.raft.raft_log.last_index();
        self.raw.raft.step(message).map_err(|_| ProposeError::Busy)?;
        let index = self.raw.raft.raft_log.last_index();
        assert_eq!(index, before + 1, "the engine appends one entry per proposal");
        let position = Position { term: self.raw.raft.term, index };
        // The engine replaces a change that it cannot accept now with an empty entry.
        let replaced = is_change && self.raw.raft.pending_conf_index != index;
        self.sync_lease_with_raft(now);
        if replaced { Err(ProposeError::Busy) } else { Ok(position) }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("id", &self.id())
            .field("role", &self.role())
            .field("term", &self.term())
            .field("leader", &self.leader())
            .field("commit", &self.commit())
            .finish_non_exhaustive()
    }
}

/// Returns the voters of a configuration.
fn voters_of(membership: &Membership) -> Result<Voters, VotersError> {
    Voters::joint(&membership.voters, &membership.voters_outgoing)
}
