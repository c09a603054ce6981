//! The engine, the holder and the grantor as one machine.

use crate::admission::Admission;
use crate::convert;
use crate::lease::Lease;
use crate::log::{Log, PersistentState};
use crate::output::{Gate, Outbox};
use crate::wire::{Change, Entry, Envelope, Membership, Snapshot};
use bytes::Bytes;
use leasehold_core::{
    Config, Event, Grantor, Holder, Index, Instant, LeaseCell, NodeId, Read, ReadError, Reading, Reason, Release, Term,
    TermRound, Ticket, Voters, VotersError,
};
use raft::{GetEntriesContext, RawNode, StateRole, eraftpb};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of entries in one append.
const APPEND_BYTES: u64 = 1 << 20;
/// The most appends on their way to one follower.
const APPENDS_IN_FLIGHT: usize = 256;
/// The most bytes of proposals that wait to be committed; more are refused.
const UNCOMMITTED_BYTES: u64 = 256 << 20;
/// The most bytes of entries handed out for applying at once.
const APPLY_BYTES: u64 = 16 << 20;
/// How many ticks a snapshot may be on its way before the follower is asked again where it stands.
const SNAPSHOT_TICKS: u32 = 200;

/// The options of one replica.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The id of this node; not 0.
    pub id: NodeId,
    /// Hold, lease, drift and heartbeat.
    pub config: Config,
    /// The seed of the election timeouts: equal seeds draw equal timeouts.
    pub seed: u64,
    /// Whether to record the inputs of the holder and the grantor for [`Replica::take_trace`]. Off by default.
    pub record: bool,
}

impl Options {
    /// Returns options with recording off.
    pub fn new(id: NodeId, config: Config, seed: u64) -> Options {
        Options { id, config, seed, record: false }
    }
}

/// The error of building a replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stored configuration of the group has too many voters or is invalid.
    #[error("the group's voters are not acceptable: {0}")]
    Voters(#[from] VotersError),
    /// The engine refused the stored state or the options.
    #[error("the raft engine refused to start: {0}")]
    Engine(#[source] EngineError),
}

/// An error of the raft engine. It has a text and no other public content.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EngineError(raft::Error);

/// The role of this node in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it could win an election. Its term has not changed.
    PreCandidate,
    /// It campaigns in its term.
    Candidate,
    /// It leads its term.
    Leader,
}

/// A delivery that failed, for [`Replica::handle_unreachable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undelivered {
    /// Messages without a snapshot.
    Append,
    /// A snapshot.
    Snapshot,
}

/// The error of a proposal that was not accepted. The proposal has no effect, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// This node hands leadership over. Try again soon, perhaps elsewhere.
    #[error("this node is handing leadership over")]
    HandingOver,
    /// Too much waits to be committed, or another change of configuration is pending. Try again later.
    #[error("too much waits to be committed")]
    Busy,
    /// The change would make an impossible configuration.
    #[error("the change of configuration is not acceptable: {0}")]
    Voters(VotersError),
}

/// The error of a campaign that did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignError {
    /// This node is not a voter in its newest configuration.
    #[error("this node is not a voter; campaign on a voter, or make this node one first")]
    NotVoter,
    /// This node promised to elect no leader yet: the hold of an acknowledged round or of a restart is not over.
    #[error("this node acknowledged a leader or restarted less than a hold ago; try again after a hold")]
    Held,
    /// This node has writes that are not durable yet.
    #[error("this node has writes that are not durable yet; try again once they are")]
    Unsynced,
}

/// A place in the log that only one entry can ever have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The term of the leader that put it there.
    pub term: Term,
    /// The index.
    pub index: Index,
}

/// Counts of what was refused or ignored, since the replica was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Requests for a vote or a pre-vote that the hold kept from the engine.
    pub votes_withheld: u64,
    /// "Campaign now" messages that the hold kept from the engine.
    pub transfers_withheld: u64,
    /// Ticks that would have campaigned during the hold, kept back.
    pub campaigns_withheld: u64,
    /// Messages that no correct peer sends, or that came too early to be understood.
    pub messages_refused: u64,
}

/// The `raft` crate's `RawNode` joined with a [`Holder`] and a [`Grantor`]; no I/O, no time, no threads.
///
/// How to drive it: give it one input or several, then take [`poll_output`](Replica::poll_output) until it returns `None`
/// and do what each output says. Every input takes a reading sampled after that input arrived. After each input the lease
/// cell is up to date: a step-down has revoked it before any message of that step can be polled.
///
/// * *Inputs* are `handle_*` for what happens, and the commands [`propose`](Replica::propose), [`read`](Replica::read),
///   [`transfer`](Replica::transfer), [`campaign`](Replica::campaign).
/// * *Outputs* are [`poll_output`](Replica::poll_output) and [`poll_timeout`](Replica::poll_timeout).
pub struct Replica {
    pub(crate) id: NodeId,
    config: Config,
    seed: u64,
    pub(crate) raw: RawNode<Log>,
    pub(crate) lease: Lease,
    pub(crate) gate: Gate,
    pub(crate) outbox: Outbox,
    /// The reading of the last input.
    now: Reading,
    tick: Duration,
    last_tick: Reading,
    /// Campaigns begun here, so that each draws another timeout.
    campaigns: u64,
    transferring: bool,
    commit_told: Index,
    /// The newest commit index that was sent to the followers for its own sake.
    pub(crate) commit_spread: Index,
    /// What a transfer to this node released. True for ever, so it goes with every request for a vote.
    release: Option<Release>,
    /// Per follower that is being sent a snapshot, for how many ticks.
    snapshots: BTreeMap<NodeId, u32>,
    /// Set by a shutdown: whatever the engine does, this node holds no lease any more.
    retired: bool,
    statistics: Statistics,
}

impl Replica {
    /// Returns the replica of a process that has just started. It publishes its lease in `cell`, which must be new: one cell
    /// belongs to one replica. `longest_hold` is the longest hold this node may ever have echoed
    /// under, zero for a new node; `max(longest_hold, hold)` must be durable before the first input.
    ///
    /// # Errors
    /// [`Error`], when no replica can be built from the state or the options.
    pub fn new(
        options: Options,
        state: PersistentState,
        longest_hold: Duration,
        now: Reading,
        cell: Arc<LeaseCell>,
    ) -> Result<Replica, Error> {
        let Options { id, config, seed, record } = options;
        voters_of(&state.membership)?;
        let tick = config.heartbeat() / 2;
        let election_tick =
            usize::try_from(config.hold().as_nanos() / tick.as_nanos().max(1)).unwrap_or(usize::MAX / 4);
        let engine = raft::Config {
            id,
            // No longer than the hold, so that the engine's own reluctance to vote ends with it.
            election_tick,
            heartbeat_tick: 2,
            min_election_tick: election_tick,
            max_election_tick: election_tick + election_tick / 2 + 1,
            applied: state.applied,
            check_quorum: true,
            pre_vote: true,
            // Its lease reads consult no clock; every read goes through the holder.
            read_only_option: raft::ReadOnlyOption::Safe,
            max_size_per_msg: APPEND_BYTES,
            max_inflight_msgs: APPENDS_IN_FLIGHT,
            max_uncommitted_size: UNCOMMITTED_BYTES,
            max_committed_size_per_ready: APPLY_BYTES,
            batch_append: true,
            // The replica tells them itself: see `spread_commit`.
            skip_bcast_commit: true,
            ..Default::default()
        };
        let commit = state.hard_state.commit;
        let durable_term = state.hard_state.term;
        let logger = slog::Logger::root(tracing_slog::TracingSlogDrain, slog::o!());
        let raw = RawNode::new(&engine, Log::new(state), &logger).map_err(|error| Error::Engine(EngineError(error)))?;
        let mut replica = Replica {
            id,
            config,
            seed,
            raw,
            lease: Lease::new(id, config, longest_hold, now, cell, record),
            gate: Gate::new(durable_term),
            outbox: Outbox::default(),
            now,
            tick,
            last_tick: now,
            campaigns: 0,
            transferring: false,
            commit_told: commit,
            commit_spread: commit,
            release: None,
            snapshots: BTreeMap::new(),
            retired: false,
            statistics: Statistics::default(),
        };
        replica.draw_election_timeout();
        Ok(replica)
    }

    /// This node's number.
    pub fn id(&self) -> NodeId {
        self.id
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

    /// The newest term it knows.
    pub fn term(&self) -> Term {
        self.raw.raft.term
    }

    /// Returns the leader of that term, if this node knows it.
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.raw.raft.leader_id).filter(|leader| *leader != raft::INVALID_ID)
    }

    /// The highest index known to be committed.
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

    /// The configuration in force.
    pub fn membership(&self) -> &Membership {
        self.raw.store().membership()
    }

    /// Up to where the log should be forgotten, if it holds more than `entries` entries or `bytes` bytes: its older half, as
    /// far as that is applied. `None` while it is shorter.
    pub fn compactable(&self, entries: usize, bytes: u64) -> Option<Index> {
        let middle = self.raw.store().middle_if_longer_than(entries, bytes)?;
        Some(middle.min(self.raw.raft.raft_log.applied))
    }

    /// The holder, to look at.
    pub fn holder(&self) -> &Holder {
        self.lease.holder()
    }

    /// Returns the cell in which the lease is published.
    pub fn cell(&self) -> &LeaseCell {
        self.lease.cell()
    }

    /// The grantor, to look at.
    pub fn grantor(&self) -> &Grantor {
        self.lease.grantor()
    }

    /// What has been counted.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The lines of the trace since this was last called, if it is kept; complete once all outputs have been polled.
    pub fn take_trace(&mut self) -> String {
        self.lease.take_trace()
    }

    /// Takes what a peer sent; `from` is whom the link authenticated. `now` was sampled after it arrived.
    pub fn handle_envelope(&mut self, now: Reading, from: NodeId, envelope: Envelope) {
        self.now = now;
        let Envelope { round, ack, release, messages } = envelope;
        let release = release.map(|(term, round)| Release { through: TermRound { term, round } });
        for message in messages {
            match Admission::of(&message, &self.raw) {
                Admission::Refused => {
                    self.statistics.messages_refused += 1;
                    continue;
                }
                Admission::Vote => {
                    // The engine raises its term even when it refuses a vote: what the hold forbids, it must not see.
                    if !self.lease.may_elect(now, release) {
                        self.statistics.votes_withheld += 1;
                        continue;
                    }
                }
                Admission::CampaignNow => {
                    // A late message of an earlier transfer must not take the place of a later release.
                    self.release = self.release.into_iter().chain(release).max_by_key(|release| release.through);
                    if self.may_campaign(now).is_err() {
                        self.statistics.transfers_withheld += 1;
                        continue;
                    }
                    self.campaigns += 1;
                }
                Admission::Step => {}
            }
            let message = convert::message_in(from, self.id, message);
            if self.raw.step(message).is_err() {
                self.statistics.messages_refused += 1;
            }
            self.sync_lease_with_raft(now);
        }
        if let Some((term, round)) = round
            && self.raw.raft.state == StateRole::Follower
            && self.raw.raft.term == term
            && self.raw.raft.leader_id == from
        {
            let before = self.lease.grantor().newest();
            if let Some(ack) = self.lease.handle_round(now, TermRound { term, round }) {
                // A repeated round's echo rides with what is sent anyway; a new one leaves at once.
                self.outbox.note_ack(from, ack, before != Some(ack));
            }
        }
        if let Some((term, round)) = ack {
            self.lease.handle_event(now, Event::Acked { from, round: TermRound { term, round } });
        }
    }

    /// Counts an engine tick and opens a heartbeat round, each if its interval has passed. However late it is called, it
    /// counts one tick.
    pub fn handle_timeout(&mut self, now: Reading) {
        self.now = now;
        if self.tick_is_due(now) {
            self.last_tick = now.or(self.last_tick);
            self.count_tick(now);
            self.sync_lease_with_raft(now);
        }
        self.lease.handle_timeout(now);
    }

    /// Learns that everything through this number is durable.
    pub fn handle_persisted(&mut self, now: Reading, number: u64) {
        self.now = now;
        let number = self.gate.open_through(number, &mut self.outbox);
        self.raw.on_persist_ready(number);
        self.sync_lease_with_raft(now);
        self.advance_apply_after_snapshot();
    }

    /// Learns that what was to be sent to this peer surely did not arrive.
    pub fn handle_unreachable(&mut self, now: Reading, peer: NodeId, undelivered: Undelivered) {
        self.now = now;
        match undelivered {
            Undelivered::Snapshot => {
                self.snapshots.remove(&peer);
                self.raw.report_snapshot(peer, raft::SnapshotStatus::Failure);
            }
            Undelivered::Append => self.raw.report_unreachable(peer),
        }
        self.sync_lease_with_raft(now);
    }

    /// Proposes a command and returns the one place in the log where it can be committed.
    ///
    /// # Errors
    /// [`ProposeError`]: it was not taken.
    pub fn propose(&mut self, now: Reading, command: Bytes) -> Result<Position, ProposeError> {
        self.now = now;
        let entry = eraftpb::Entry { data: command, ..Default::default() };
        self.propose_entry(now, entry)
    }

    /// Proposes a change of configuration.
    ///
    /// # Errors
    /// [`ProposeError`]: it was not taken.
    pub fn propose_change(&mut self, now: Reading, change: &Change) -> Result<Position, ProposeError> {
        use protobuf::Message as _;
        self.now = now;
        let added = change.steps.iter().filter_map(|step| match step {
            crate::wire::Step::AddVoter(node) => Some(*node),
            _ => None,
        });
        let mut voters = self.membership().voters.clone();
        voters.extend(added);
        voters.sort_unstable();
        voters.dedup();
        Voters::simple(&voters).map_err(ProposeError::Voters)?;
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
        entry.data = convert::change_in(change).write_to_bytes().expect("a change of configuration encodes").into();
        self.propose_entry(now, entry)
    }

    /// How a read that has arrived may be answered; `now` was sampled after it arrived. Park a ticket until
    /// [`Output::ReadsConfirmed`](crate::Output::ReadsConfirmed) or
    /// [`Output::ReadsAborted`](crate::Output::ReadsAborted) covers its round.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&mut self, now: Reading) -> Result<Read, ReadError> {
        self.now = now;
        self.lease.read(now)
    }

    /// A ticket for a read that must not use the lease.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn quorum_read(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        self.now = now;
        self.lease.quorum_read(now)
    }

    /// Campaigns now, if this node is a voter and the hold allows it.
    ///
    /// # Errors
    /// [`CampaignError`]: no campaign started.
    pub fn campaign(&mut self, now: Reading) -> Result<(), CampaignError> {
        self.now = now;
        // The engine would let any node campaign, and ends in a panic if one wins that it does not know as a member.
        if !self.raw.raft.promotable() {
            return Err(CampaignError::NotVoter);
        }
        if let Err(refused) = self.may_campaign(now) {
            self.statistics.campaigns_withheld += 1;
            return Err(refused);
        }
        self.campaigns += 1;
        // The engine's one error here is a proposal dropped, which a campaign is not.
        let _ = self.raw.campaign();
        self.sync_lease_with_raft(now);
        Ok(())
    }

    /// Hands leadership to `to`, if this node leads and `to` is a voter. The lease is gone when this returns; if the
    /// transfer comes to nothing within an election timeout, it is earned again.
    pub fn transfer(&mut self, now: Reading, to: NodeId) {
        self.now = now;
        if self.raw.raft.state == StateRole::Leader {
            self.raw.transfer_leader(to);
            self.sync_lease_with_raft(now);
        }
    }

    /// Gives the engine the state as applied, for followers whose place in the log is compacted.
    pub fn offer_snapshot(&mut self, snapshot: Snapshot) {
        self.raw.mut_store().offer_snapshot(snapshot);
    }

    /// Forgets log entries through `index`, which is applied and durably so. Returns the term of the entry at it; `None` if
    /// there was nothing to forget.
    pub fn compact(&mut self, index: Index) -> Option<Term> {
        assert!(index <= self.raw.raft.raft_log.applied, "compaction through {index}, which is not applied");
        self.raw.mut_store().compact(index)
    }

    /// Gives up the lease for good, and fails the reads that wait: what a shutdown does first. The engine goes on until the
    /// process ends, so that what it proposed can still be committed.
    pub fn retire(&mut self, now: Reading) {
        self.now = now;
        self.retired = true;
        self.lease.handle_event(now, Event::Deposed);
    }

    /// When to call [`handle_timeout`](Replica::handle_timeout), and why. `None` while that cannot be known for want of a
    /// reading: then call it every half heartbeat of whatever timer there is.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let tick = (self.last_tick?.plus(self.tick), Reason::Tick);
        match self.lease.holder().poll_timeout() {
            Some(heartbeat) if heartbeat.0.awake_nanos() < tick.0.awake_nanos() => Some(heartbeat),
            _ => Some(tick),
        }
    }

    /// Half a heartbeat: how long an engine tick is.
    pub fn tick(&self) -> Duration {
        self.tick
    }

    fn propose_entry(&mut self, now: Reading, entry: eraftpb::Entry) -> Result<Position, ProposeError> {
        // A follower's engine would forward it, and nobody would know what became of it.
        if self.raw.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader);
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::HandingOver);
        }
        let is_change = entry.entry_type != eraftpb::EntryType::EntryNormal;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(eraftpb::MessageType::MsgPropose);
        message.from = self.id;
        message.entries = vec![entry].into();
        let before = self.raw.raft.raft_log.last_index();
        self.raw.raft.step(message).map_err(|_| ProposeError::Busy)?;
        let index = self.raw.raft.raft_log.last_index();
        assert_eq!(index, before + 1, "a proposal takes one place");
        let position = Position { term: self.raw.raft.term, index };
        // The engine replaces a change that it cannot take now with an empty entry.
        let replaced = is_change && self.raw.raft.pending_conf_index != index;
        self.sync_lease_with_raft(now);
        if replaced { Err(ProposeError::Busy) } else { Ok(position) }
    }

    /// Checks that this node may start a campaign: its hold is over or released, and all it wrote is durable.
    ///
    /// The engine assumes the latter of every leader to be. What a message of the same envelope appended is not on its way
    /// to disk yet, and so is asked for too.
    fn may_campaign(&mut self, now: Reading) -> Result<(), CampaignError> {
        if !self.lease.may_elect(now, self.release) {
            return Err(CampaignError::Held);
        }
        let log = &self.raw.raft.raft_log;
        let durable = self.gate.is_idle() && log.persisted == log.last_index();
        if durable { Ok(()) } else { Err(CampaignError::Unsynced) }
    }

    fn tick_is_due(&mut self, now: Reading) -> bool {
        let (Some(now), Some(last)) = (now, self.last_tick) else {
            return true;
        };
        if now.is_before_on_either_counter(last) {
            // The interval starts again; nothing is known of how much of it had passed.
            self.last_tick = Some(now);
            return false;
        }
        now.elapsed_since(last).at_most >= self.tick
    }

    /// One tick of the engine, unless it would campaign and may not: then the tick is kept back, and the next one tries again.
    fn count_tick(&mut self, now: Reading) {
        let raft = &self.raw.raft;
        let would_campaign = raft.state != StateRole::Leader
            && raft.promotable()
            && raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        if would_campaign {
            if self.may_campaign(now).is_err() {
                self.statistics.campaigns_withheld += 1;
                return;
            }
            self.campaigns += 1;
        }
        self.raw.tick();
        self.count_snapshot_ticks();
    }

    /// The engine waits for ever on a snapshot that was lost; it is told so when it has taken too long.
    fn count_snapshot_ticks(&mut self) {
        if self.raw.raft.state != StateRole::Leader {
            self.snapshots.clear();
            return;
        }
        let sending: Vec<NodeId> = self
            .raw
            .raft
            .prs()
            .iter()
            .filter(|(_, progress)| progress.state == raft::ProgressState::Snapshot)
            .map(|(id, _)| *id)
            .collect();
        self.snapshots.retain(|id, _| sending.contains(id));
        for id in sending {
            let ticks = self.snapshots.entry(id).or_insert(0);
            *ticks += 1;
            if *ticks > SNAPSHOT_TICKS {
                self.snapshots.remove(&id);
                self.raw.report_snapshot(id, raft::SnapshotStatus::Failure);
            }
        }
    }

    /// Brings the holder in line with the engine. Called after every step, so that a step-down revokes the cell before
    /// anything of the same step is handed out, and a transfer releases before its messages are.
    pub(crate) fn sync_lease_with_raft(&mut self, now: Reading) {
        let raft = &self.raw.raft;
        let (leads, term, commit) = (raft.state == StateRole::Leader, raft.term, raft.raft_log.committed);
        let transferring = leads && raft.lead_transferee.is_some();
        let last = raft.raft_log.last_index();
        if self.lease.holder().term().is_some_and(|led| !leads || led != term) {
            self.lease.handle_event(now, Event::Deposed);
            self.transferring = false;
        }
        if leads && self.lease.holder().term().is_none() && !self.retired {
            let voters = self.voters();
            // The engine has just appended the entry that opens the term: nothing else can have come after it.
            self.lease.handle_event(now, Event::Elected { term, voters, barrier: last, commit });
            self.commit_told = commit;
        }
        if self.lease.holder().term().is_some() {
            if transferring != self.transferring {
                let event = if transferring { Event::TransferStarted } else { Event::TransferEnded };
                self.lease.handle_event(now, event);
                self.transferring = transferring;
            }
            if commit != self.commit_told {
                self.lease.handle_event(now, Event::Committed(commit));
                self.commit_told = commit;
            }
        }
        self.draw_election_timeout();
    }

    /// The engine took another configuration.
    pub(crate) fn settle_membership(&mut self) {
        let now = self.now;
        if self.lease.holder().term().is_some() {
            let voters = self.voters();
            self.lease.handle_event(now, Event::VotersChanged(voters));
            // The engine would let a leader that is no voter lead for ever, and drop every proposal.
            if !voters.contains(self.id) {
                let term = self.raw.raft.term;
                self.raw.raft.become_follower(term, 0);
            }
        }
        self.sync_lease_with_raft(now);
    }

    pub(crate) fn release_shown(&self) -> Option<Release> {
        self.release
    }

    fn voters(&self) -> Voters {
        // A configuration beyond what is supported has no quorum here: it elects, replicates, and grants no read.
        voters_of(self.membership()).unwrap_or(Voters::NONE)
    }

    /// The engine draws its election timeout from ambient randomness; this one replaces it, and follows from the seed.
    fn draw_election_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        let least = raft.election_timeout();
        let spread = (least / 2 + 1) as u64;
        let drawn = mix(self.seed ^ mix(raft.term) ^ mix(self.campaigns.wrapping_mul(3)) ^ mix(self.id << 20));
        raft.set_randomized_election_timeout(least + (drawn % spread) as usize);
    }

    /// The engine counts a snapshot as applied once it is told so, and may be told only once it is durable.
    fn advance_apply_after_snapshot(&mut self) {
        let log = &self.raw.raft.raft_log;
        let compacted = self.raw.store().compacted();
        if log.applied < compacted && log.persisted >= compacted {
            self.raw.advance_apply_to(compacted);
        }
    }

    /// The hold, lease, drift and heartbeat this replica was built with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// The voters that count in a configuration.
fn voters_of(membership: &Membership) -> Result<Voters, VotersError> {
    Voters::joint(&membership.voters, &membership.voters_outgoing)
}

/// A well-mixed number from a counter (the finalizer of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
