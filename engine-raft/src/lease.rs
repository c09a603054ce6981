//! The holder and the grantor of a node whose engine is the `raft` crate's, and a trace of their inputs.

use crate::options::Options;
use leasehold_core::trace::{Answer, Effect, Input, Recorder};
use leasehold_core::{
    Action, Event, Grantor, Holder, Index, LeaseCell, NodeId, Read, ReadError, Reading, Release, TermRound, Ticket,
    Voters,
};
use raft::{Raft, StateRole, Storage};
use std::sync::Arc;
use std::time::Duration;

/// A holder and a grantor. Every input passes through here, so that a trace is complete.
pub(crate) struct Lease {
    holder: Holder,
    grantor: Grantor,
    /// The cell in which the holder publishes its lease.
    cell: Arc<LeaseCell>,
    /// The transfer state and the commit index that the holder knows.
    transferring: bool,
    commit_reported: Index,
    /// The release that came with a transfer to this node. It is permanent, so it goes with every request for a vote.
    release: Option<Release>,
    /// Set by a shutdown: this node holds no lease again, even if the engine elects it.
    retired: bool,
    trace: Option<Trace>,
}

struct Trace {
    recorder: Recorder,
    text: String,
}

impl Lease {
    pub(crate) fn new(options: &Options, longest_hold: Duration, now: Reading, cell: Arc<LeaseCell>) -> Lease {
        let Options { id, config, record, remaining_hold: remaining, .. } = *options;
        let trace = record.then(|| Trace { recorder: Recorder::new(id, now), text: String::new() });
        let grantor = match remaining {
            Some(remaining) => Grantor::after_orderly_stop(config, remaining, now),
            None => Grantor::new(config, longest_hold, now),
        };
        let mut lease = Lease {
            holder: Holder::new(id, config),
            grantor,
            cell,
            transferring: false,
            commit_reported: 0,
            release: None,
            retired: false,
            trace,
        };
        lease.note(now, Input::Start { config, longest_hold, remaining }, None);
        lease
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    pub(crate) fn cell(&self) -> &LeaseCell {
        &self.cell
    }

    pub(crate) fn grantor(&self) -> &Grantor {
        &self.grantor
    }

    /// Reports to the holder what has changed in the engine. Called after every step, so that a step-down revokes the cell
    /// and a transfer releases the lease before any message of the same step is handed out. `commit` is the index that takes
    /// the place of the commit index: the exposed one, if the node grants subleases.
    pub(crate) fn follow<S: Storage>(&mut self, now: Reading, raft: &Raft<S>, commit: Index) {
        let (leads, term) = (raft.state == StateRole::Leader, raft.term);
        let transferring = leads && raft.lead_transferee.is_some();
        if self.holder.term().is_some_and(|led| !leads || led != term) {
            self.handle_event(now, Event::Deposed);
            self.transferring = false;
        }
        if leads && self.holder.term().is_none() && !self.retired {
            // The last entry is the one that opens the term: the engine has just appended it. A later one would do too.
            let (voters, barrier) = (voters_of(raft), raft.raft_log.last_index());
            self.handle_event(now, Event::Elected { term, voters, barrier, commit });
            self.commit_reported = commit;
        }
        if self.holder.term().is_some() {
            if transferring != self.transferring {
                let event = if transferring { Event::TransferStarted } else { Event::TransferEnded };
                self.handle_event(now, event);
                self.transferring = transferring;
            }
            if commit != self.commit_reported {
                self.handle_event(now, Event::Committed(commit));
                self.commit_reported = commit;
            }
        }
    }

    /// Returns the holder and its cell, to cut a sublease with a reading that an event took before.
    pub(crate) fn lend(&mut self) -> (&mut Holder, &LeaseCell) {
        (&mut self.holder, &self.cell)
    }

    /// Reports a change of configuration to the holder. A leader that is no voter any more steps down: the engine would
    /// let it lead for ever, and panics once something is committed.
    pub(crate) fn follow_voters<S: Storage>(&mut self, now: Reading, raft: &mut Raft<S>) {
        let voters = voters_of(raft);
        if self.holder.term().is_some() {
            self.handle_event(now, Event::VotersChanged(voters));
        }
        if raft.state == StateRole::Leader && !voters.contains(raft.id) {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    /// Handles a round that came with a frame of `from`, once the engine has seen the frame. Returns the acknowledgement to
    /// send, and whether it is not the last one again, if the engine takes `from` for the leader of its term.
    pub(crate) fn handle_frame<S: Storage>(
        &mut self,
        now: Reading,
        raft: &Raft<S>,
        from: NodeId,
        round: TermRound,
    ) -> Option<(TermRound, bool)> {
        if raft.state != StateRole::Follower || raft.term != round.term || raft.leader_id != from {
            return None;
        }
        let before = self.grantor.newest();
        let ack = self.handle_round(now, round)?;
        Some((ack, before != Some(ack)))
    }

    /// Keeps the release that came with the order to campaign. A late message of an earlier transfer does not replace a later
    /// release.
    pub(crate) fn keep_release(&mut self, release: Option<Release>) {
        self.release = self.release.into_iter().chain(release).max_by_key(|release| release.through);
    }

    /// Returns the release that goes with every request for a vote.
    pub(crate) fn release_to_show(&self) -> Option<Release> {
        self.release
    }

    /// Returns whether this node may campaign.
    pub(crate) fn may_campaign(&mut self, now: Reading) -> bool {
        self.may_vote_or_campaign(now, self.release)
    }

    /// Gives up the lease for good.
    pub(crate) fn retire(&mut self, now: Reading) {
        self.retired = true;
        self.handle_event(now, Event::Deposed);
    }

    pub(crate) fn handle_event(&mut self, now: Reading, event: Event) {
        let reported = self.holder.handle_event(now, event, &self.cell);
        reported.expect("the engine reports its role before anything that needs it");
        self.note(now, Input::Event(event), None);
    }

    pub(crate) fn handle_timeout(&mut self, now: Reading) {
        self.holder.handle_timeout(now, &self.cell);
        self.note(now, Input::Timeout, None);
    }

    pub(crate) fn read(&mut self, now: Reading) -> Result<Read, ReadError> {
        let read = self.holder.read(now, &self.cell);
        self.note(now, Input::Read, Some(Answer::Read(read)));
        read
    }

    pub(crate) fn quorum_read(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        let ticket = self.holder.quorum_read(now, &self.cell);
        self.note(now, Input::QuorumRead, Some(Answer::Read(ticket.map(Read::Quorum))));
        ticket
    }

    pub(crate) fn handle_round(&mut self, now: Reading, round: TermRound) -> Option<TermRound> {
        let echo = self.grantor.handle_round(now, round);
        self.note(now, Input::Frame(round), Some(Answer::Echo(echo)));
        echo
    }

    pub(crate) fn may_vote_or_campaign(&mut self, now: Reading, release: Option<Release>) -> bool {
        let may = self.grantor.may_vote_or_campaign(now, release);
        self.note(now, Input::MayElect(release), Some(Answer::MayElect(may)));
        may
    }

    /// Returns how much longer this node is held at `now`.
    pub(crate) fn remaining_hold(&mut self, now: Reading) -> Option<Duration> {
        self.grantor.remaining(now)
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        let action = self.holder.poll_action();
        if let Some(trace) = &mut self.trace {
            match action {
                Some(action) => trace.recorder.action(action),
                None => trace.recorder.taken(&mut trace.text).expect("writing to a string never fails"),
            }
        }
        action
    }

    pub(crate) fn frame_round(&mut self) -> Option<TermRound> {
        self.holder.frame_round()
    }

    /// Returns the lines recorded since the last call.
    pub(crate) fn take_trace(&mut self) -> String {
        self.trace.as_mut().map(|trace| std::mem::take(&mut trace.text)).unwrap_or_default()
    }

    /// Records an input, if a trace is kept.
    fn note(&mut self, now: Reading, input: Input, answer: Option<Answer>) {
        if let Some(trace) = &mut self.trace {
            let effect = Effect::seen(answer, &self.holder, &self.grantor);
            trace.recorder.input(now, input, effect, &mut trace.text).expect("writing to a string never fails");
        }
    }
}

/// Returns the voters of the engine's configuration. One with too many voters still elects and replicates, but it has no
/// quorum here and grants no read.
fn voters_of<S: Storage>(raft: &Raft<S>) -> Voters {
    let conf = raft.prs().conf().to_conf_state();
    Voters::joint(&conf.voters, &conf.voters_outgoing).unwrap_or(Voters::NONE)
}

/// Returns whether the next tick of the engine starts a campaign.
pub(crate) fn would_campaign<S: Storage>(raft: &Raft<S>) -> bool {
    raft.state != StateRole::Leader
        && raft.promotable()
        && raft.election_elapsed + 1 >= raft.randomized_election_timeout()
}
