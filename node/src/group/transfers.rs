//! Snapshots for followers, and snapshots from a leader; and how far the log is kept for them.

use super::{Group, GroupOutput};
use crate::apply::ApplyBudget;
use crate::ports::{Applied, Batch, Record, Stage, StateMachine};
use crate::snapshot::{Work, WorkResult};
use crate::transfer::{Arrival, Follower, Receiving, Sending, Step, idle_timeout};
use crate::wire::{RequestId, Transfer};
use leasehold_core::{Index, NodeId, Reading};
use leasehold_raft::wire::Snapshot;
use leasehold_raft::{InstallError, Role, SnapshotOutcome};
use std::sync::Arc;
use std::time::Duration;

/// The largest number of followers that are sent a state at once. Others wait until one is done.
const MAX_SENDING: usize = 2;

impl<M: StateMachine> Group<M> {
    /// Starts to send a follower the present state. The engine continues after `index`, which may be earlier.
    pub(super) fn start_transfer(&mut self, to: NodeId, index: Index) {
        let (now, hold) = (self.transfers.now, self.replica.config().hold());
        if self.transfers.sending.contains_key(&to) {
            // The engine asks again after this node was elected again. The transfer goes on.
            return;
        }
        // The engine assumes that the state has every entry that it has handed out.
        let Some(machine) = &self.machine else { return self.transfers.deferred.push((to, index)) };
        if self.transfers.sending.len() >= MAX_SENDING || self.applied.index < index {
            return self.transfers.refused.push(to);
        }
        let id = self.transfers.next_id();
        let Applied { index: applied, term, membership } = self.applied.clone();
        let snapshot = Snapshot { index: applied, term, membership };
        let sending = Sending::new(id, Arc::new(machine.state()), snapshot, index, hold, now);
        tracing::info!(
            follower = to,
            index = applied,
            "sending a snapshot to a follower: the log no longer has the entries that it needs"
        );
        self.send_transfer(to, id, sending.offer(self.replica.term()));
        self.transfers.sending.insert(to, sending);
        self.statistics.snapshots_sent += 1;
    }

    /// Starts the transfers that wait for the state machine.
    pub(super) fn start_deferred_transfers(&mut self) {
        for (to, index) in std::mem::take(&mut self.transfers.deferred) {
            if self.applied.index < index {
                self.transfers.deferred.push((to, index));
            } else {
                self.start_transfer(to, index);
            }
        }
    }

    /// Handles a step of a transfer.
    pub(crate) fn handle_transfer(&mut self, now: Reading, from: NodeId, id: RequestId, transfer: Transfer) {
        match transfer {
            Transfer::Offer { .. } => self.handle_offer(from, id, transfer),
            Transfer::Chunk { number, total, records } => {
                self.handle_chunk(from, id, number, Arrival { total, records });
            }
            answer => self.handle_transfer_answer(now, from, id, answer),
        }
    }

    fn handle_transfer_answer(&mut self, now: Reading, from: NodeId, id: RequestId, answer: Transfer) {
        let at = self.transfers.now;
        let Some(sending) = self.transfers.sending.get_mut(&from).filter(|sending| sending.id == id) else {
            self.statistics.transfer_steps_ignored += 1;
            return;
        };
        match answer {
            Transfer::Stored { chunks } => sending.handle_stored(at, chunks),
            Transfer::Lacking { stored, from: lacks, sent } => {
                self.statistics.transfers_resumed += u64::from(sending.handle_lacking(at, stored, lacks, sent));
            }
            Transfer::Unknown if self.replica.role() == Role::Leader => {
                tracing::info!(follower = from, "the follower lost its part of a snapshot, so it is sent again");
                let Some(sending) = self.transfers.sending.remove(&from) else { return };
                let restarted = sending.restarted(self.transfers.next_id(), at);
                self.send_transfer(from, restarted.id, restarted.offer(self.replica.term()));
                self.transfers.sending.insert(from, restarted);
            }
            Transfer::Unknown => self.end_sending(now, from, SnapshotOutcome::Failed),
            Transfer::Done => {
                tracing::info!(follower = from, index = sending.snapshot.index, "the follower has the snapshot");
                self.end_sending(now, from, SnapshotOutcome::Delivered);
            }
            Transfer::Offer { .. } | Transfer::Chunk { .. } => {}
        }
        self.pump_sending(from);
    }

    /// Handles the report that a step of a transfer certainly did not leave.
    pub(crate) fn handle_transfer_not_sent(&mut self, to: NodeId, id: RequestId, transfer: &Transfer) {
        if let Some(sending) = self.transfers.sending.get_mut(&to).filter(|sending| sending.id == id) {
            sending.handle_not_sent(transfer);
        }
    }

    pub(crate) fn handle_work_result(&mut self, result: WorkResult<M>) {
        match result {
            WorkResult::Read { to, id, number, chunk, .. } => {
                let sending = self.transfers.sending.get_mut(&to).filter(|sending| sending.id == id);
                if let Some(message) = sending.and_then(|sending| sending.handle_read(number, chunk)) {
                    self.send_transfer(to, id, message);
                }
                self.pump_sending(to);
            }
            WorkResult::Added { id, state, records, .. } => self.handle_added(id, state, records),
            WorkResult::Applied(applying) => self.handle_applied(*applying),
        }
    }

    /// Has the next chunk for a follower read, if it may be sent.
    fn pump_sending(&mut self, to: NodeId) {
        let Some(sending) = self.transfers.sending.get_mut(&to) else { return };
        if let Some(Step::Read { number, cursor }) = sending.poll() {
            let (id, state) = (sending.id, sending.state.clone());
            let (group, max_bytes) = (self.options.group, self.options.max_chunk_bytes);
            let work = Work::Read { group, to, id, number, cursor, state, max_bytes };
            self.outputs.push_back(GroupOutput::Work(work));
        }
    }

    fn end_sending(&mut self, now: Reading, to: NodeId, outcome: SnapshotOutcome) {
        if let Some(sending) = self.transfers.sending.remove(&to) {
            self.outputs.push_back(GroupOutput::Work(Work::Drop(sending.state)));
            self.replica.handle_snapshot_ended(now, to, outcome);
        }
    }

    /// Gives up all transfers.
    pub(super) fn close_transfers(&mut self, now: Reading) {
        for to in self.transfers.sending.keys().copied().collect::<Vec<_>>() {
            self.end_sending(now, to, SnapshotOutcome::Failed);
        }
        self.discard_receiving();
    }

    fn handle_offer(&mut self, from: NodeId, id: RequestId, offer: Transfer) {
        let Transfer::Offer { term, stored, sent, snapshot } = offer else { return };
        let follows = self.replica.role() == Role::Follower && self.replica.leader() == Some(from);
        if !follows || self.replica.term() != term {
            self.statistics.transfer_steps_ignored += 1;
            return;
        }
        if snapshot.index <= self.replica.commit() {
            if self.transfers.receiving.as_ref().is_some_and(|receiving| receiving.id == id) {
                self.discard_receiving();
            }
            return self.send_transfer(from, id, Transfer::Done);
        }
        let known = self.transfers.receiving.as_ref().filter(|receiving| receiving.id == id);
        let answer = match known {
            Some(receiving) => receiving.lacking(sent),
            None if stored > 0 => Transfer::Unknown,
            None => {
                // The leader offers it again.
                let Some(empty) = self.machine.as_ref().map(StateMachine::empty_state) else { return };
                self.discard_receiving();
                tracing::info!(leader = from, index = snapshot.index, "receiving a snapshot from the leader");
                let receiving = Receiving::new(from, id, snapshot, empty, self.transfers.now);
                self.transfers.receiving.insert(receiving).lacking(sent)
            }
        };
        self.send_transfer(from, id, answer);
    }

    fn handle_chunk(&mut self, from: NodeId, id: RequestId, number: u64, arrival: Arrival) {
        let now = self.transfers.now;
        let known = self.transfers.receiving.as_mut().filter(|receiving| receiving.id == id && receiving.from == from);
        let Some(receiving) = known else {
            self.statistics.transfer_steps_ignored += 1;
            return self.send_transfer(from, id, Transfer::Unknown);
        };
        self.statistics.transfer_steps_ignored += u64::from(!receiving.handle_chunk(now, number, arrival));
        self.pump_receiving();
    }

    /// Has the next chunk that arrived added to the state.
    fn pump_receiving(&mut self) {
        let Some(receiving) = &mut self.transfers.receiving else { return };
        let (group, id) = (self.options.group, receiving.id);
        if let Some((state, records)) = receiving.poll() {
            self.outputs.push_back(GroupOutput::Work(Work::Add { group, id, state, records }));
        }
    }

    fn handle_added(&mut self, id: RequestId, state: M::State, records: Option<Vec<Record>>) {
        let Some(receiving) = self.transfers.receiving.as_mut().filter(|receiving| receiving.id == id) else {
            // Another transfer replaced it meanwhile.
            return self.outputs.push_back(GroupOutput::Work(Work::Drop(Arc::new(state))));
        };
        let added = receiving.handle_added(state, records.as_ref().map_or(0, Vec::len));
        let (Some(records), Some(number)) = (records, added) else {
            let leader = receiving.from;
            tracing::warn!(leader, "sent a snapshot that cannot be read; run the same version on every node");
            return self.discard_receiving();
        };
        let batch = Batch { group: self.options.group, stage: Some(Stage::Add(records)), ..Batch::default() };
        self.outputs.push_back(GroupOutput::Write { number: 0, batch, staged: Some((id, number)) });
        self.pump_receiving();
    }

    /// Handles the report that a chunk is durable.
    pub(super) fn handle_staged(&mut self, now: Reading, id: RequestId, number: u64) {
        let at = self.transfers.now;
        let Some(receiving) = self.transfers.receiving.as_mut().filter(|receiving| receiving.id == id) else { return };
        let (from, answer) = (receiving.from, receiving.handle_stored(at, number));
        self.send_transfer(from, id, answer);
        self.install_if_complete(now);
    }

    /// Installs the state that arrived, if it is complete and this node follows a leader.
    fn install_if_complete(&mut self, now: Reading) {
        // Entries that are being applied come before it.
        if self.machine.is_none() {
            return;
        }
        let Some(receiving) = self.transfers.receiving.take_if(|receiving| receiving.is_complete()) else { return };
        let (from, id, snapshot, records) =
            (receiving.from, receiving.id, receiving.snapshot.clone(), receiving.records());
        match self.replica.install(now, snapshot.clone()) {
            Ok(()) => {}
            Err(InstallError::NoLeader) => return self.transfers.receiving = Some(receiving),
            Err(error) => {
                tracing::warn!(leader = from, "refused a snapshot: {error}");
                self.transfers.receiving = Some(receiving);
                return self.discard_receiving();
            }
        }
        self.transfers.complete = receiving.into_state();
        self.drain_replica(&mut ApplyBudget::default());
        match self.transfers.complete.take() {
            None => {
                self.statistics.snapshots_installed += 1;
                tracing::info!(leader = from, index = snapshot.index, records, "installed the leader's snapshot");
            }
            // The engine has the entries meanwhile.
            Some(state) => self.discard(Some(state)),
        }
        self.send_transfer(from, id, Transfer::Done);
    }

    fn discard_receiving(&mut self) {
        if let Some(receiving) = self.transfers.receiving.take() {
            self.discard(receiving.into_state());
        }
    }

    /// Drops a state that was not installed, and its staged records.
    fn discard(&mut self, state: Option<M::State>) {
        let batch = Batch { group: self.options.group, stage: Some(Stage::Clear), ..Batch::default() };
        self.outputs.push_back(GroupOutput::Write { number: 0, batch, staged: None });
        self.outputs.extend(state.map(|state| GroupOutput::Work(Work::Drop(Arc::new(state)))));
    }

    /// Offers again what was not answered, and gives up what makes no progress.
    pub(super) fn time_transfers(&mut self, now: Reading) {
        let tick = self.replica.tick();
        let transfers = &mut self.transfers;
        let at = transfers.stopwatch.at_timer(now, tick);
        transfers.now = at;
        self.note_followers(at);
        for to in std::mem::take(&mut self.transfers.refused) {
            self.replica.handle_snapshot_ended(now, to, SnapshotOutcome::Failed);
        }
        if self.replica.role() != Role::Leader {
            self.transfers.deferred.clear();
        }
        self.give_up_outdated_transfers(now);
        let (term, hold) = (self.replica.term(), self.replica.config().hold());
        for to in self.transfers.sending.keys().copied().collect::<Vec<_>>() {
            let Some(sending) = self.transfers.sending.get_mut(&to) else { continue };
            let id = sending.id;
            match sending.handle_timeout(at, term) {
                Some(Step::Send(offer)) => self.send_transfer(to, id, offer),
                Some(Step::GiveUp) => {
                    let records = sending.records();
                    tracing::warn!(
                        follower = to,
                        records,
                        "a snapshot for a follower made no progress, so it is given up; check the link and the \
                         follower's disk. It is tried again when the follower answers."
                    );
                    self.end_sending(now, to, SnapshotOutcome::Failed);
                }
                Some(Step::Read { .. }) | None => {}
            }
            self.pump_sending(to);
        }
        if self
            .transfers
            .receiving
            .as_ref()
            .is_some_and(|receiving| receiving.is_idle(at, hold) || receiving.snapshot.index <= self.replica.commit())
        {
            self.discard_receiving();
        }
        self.install_if_complete(now);
    }

    fn note_followers(&mut self, at: Duration) {
        let before = std::mem::take(&mut self.transfers.followers);
        let follower = |(id, matched)| {
            let former = before.get(&id).filter(|former| former.matched == matched);
            (id, *former.unwrap_or(&Follower { matched, advanced_at: at }))
        };
        self.transfers.followers = self.replica.followers().map(follower).collect();
    }

    /// Returns the index through which the log may be compacted, at most `through`. The log is kept for followers that make
    /// progress, unless it has grown too long for that.
    pub(super) fn limit_compaction(&mut self, through: Index) -> Index {
        let (entries, bytes) = self.replica.log_size();
        if entries > self.options.max_kept_log_entries || bytes > self.options.max_kept_log_bytes {
            return through;
        }
        let transfers = &self.transfers;
        let timeout = idle_timeout(self.replica.config().hold());
        let recent = |follower: &&Follower| transfers.now.saturating_sub(follower.advanced_at) <= timeout;
        let following = transfers.followers.values().filter(recent).map(|follower| follower.matched);
        let sending = transfers.sending.values().map(|sending| sending.keep_from).min().unwrap_or(Index::MAX);
        self.statistics.compactions_withheld += u64::from(sending < through);
        following.min().unwrap_or(Index::MAX).min(sending).min(through)
    }

    /// Gives up the transfers that the log no longer continues.
    fn give_up_outdated_transfers(&mut self, now: Reading) {
        let compacted = self.replica.compacted();
        let outdated = self.transfers.sending.iter().filter(|(_, sending)| sending.keep_from < compacted);
        for to in outdated.map(|(to, _)| *to).collect::<Vec<_>>() {
            tracing::warn!(
                follower = to,
                "a snapshot for a follower takes so long that the log since then has reached its limit, so a newer one \
                 is sent; write less, or give the follower a faster link"
            );
            self.end_sending(now, to, SnapshotOutcome::Failed);
        }
    }

    fn send_transfer(&mut self, to: NodeId, id: RequestId, transfer: Transfer) {
        self.outputs.push_back(GroupOutput::SendTransfer { to, id, transfer });
    }
}
