//! The return of nodes whose log may have been cut.

use super::Replica;
use crate::output::Output;
use crate::wire::{Message, MessageKind, Rejoin};
use leasehold_core::{Index, NodeId, Reading, Round, Term};
use raft::StateRole;

impl Replica {
    /// Returns true if this node's log may lack entries that it acknowledged. It then takes no part in elections.
    pub fn log_may_be_cut(&self) -> bool {
        !self.rejoin.is_whole()
    }

    /// Handles what an envelope says about rejoining. If this node's log may have been cut, it takes from `messages` what
    /// must not reach the engine.
    pub(super) fn handle_rejoin(
        &mut self,
        now: Reading,
        from: NodeId,
        round: Option<(Term, Round)>,
        rejoin: Option<Rejoin>,
        messages: &mut Vec<Message>,
    ) {
        let term = self.raw.raft.term;
        match rejoin {
            Some(Rejoin::Request { term: of, last, attempt }) if of == term => {
                self.let_return(now, from, last, attempt);
            }
            Some(Rejoin::Admitted { term: of, attempt, through }) if of >= term => {
                self.rejoin.handle_admission(of, attempt, through);
            }
            _ => {}
        }
        if self.raw.raft.state == StateRole::Leader && self.rejoin.may_be_lost(term, from, rejoin) {
            messages.retain(|message| message.kind != MessageKind::AppendResponse || message.term > term);
        }
        if self.rejoin.is_whole() {
            return;
        }
        let leads = |message: &Message| matches!(message.kind, MessageKind::Append | MessageKind::Heartbeat);
        if self.rejoin.is_outside() {
            let claims = messages.iter().filter(|message| leads(message)).map(|message| message.term);
            if let Some(of) = claims.chain(round.map(|(term, _)| term)).filter(|of| *of >= term).max() {
                self.rejoin.note_leader(from, of);
            }
            let is_vote =
                |message: &&Message| matches!(message.kind, MessageKind::RequestVote | MessageKind::RequestPreVote);
            self.statistics.votes_withheld += messages.iter().filter(is_vote).count() as u64;
            let before = messages.len();
            // A leader of an earlier term has to learn of the later one.
            messages.retain(|message| leads(message) && message.term < term);
            self.statistics.messages_before_admission += (before - messages.len()) as u64;
        }
        let is_vote = |message: &Message| {
            matches!(message.kind, MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse)
        };
        // They answer a campaign of before this node noticed that its log was cut.
        messages.retain(|message| !is_vote(message));
        // A heartbeat commits what the leader believes to be in this log. If it left before the request, the leader may
        // have counted an acknowledgement of what was lost since. An append commits only what matches.
        let is_late = !matches!(rejoin, Some(Rejoin::Admitted { attempt, .. }) if self.rejoin.is_present(attempt));
        for message in messages.iter_mut().filter(|message| message.kind == MessageKind::Heartbeat && is_late) {
            if message.commit <= self.raw.raft.raft_log.last_index() {
                message.commit = 0;
            }
        }
    }

    /// As leader: begins the return of a member. What it acknowledged before no longer counts.
    fn let_return(&mut self, now: Reading, from: NodeId, last: Index, attempt: u64) {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.prs().get(from).is_none() {
            return;
        }
        let (term, own_last) = (raft.term, raft.raft_log.last_index());
        let lease = &mut self.lease;
        let open_round = || lease.quorum_read(now).ok().map(|ticket| ticket.round);
        if self.rejoin.handle_request(term, from, attempt, open_round)
            && let Some(progress) = self.raw.raft.mut_prs().get_mut(from)
        {
            progress.matched = 0;
            progress.become_probe();
            progress.next_idx = last.min(own_last) + 1;
        }
    }

    /// As leader: admits the members that return, once every other voter has shown that it is in no later term.
    pub(super) fn admit_returning(&mut self) {
        let raft = &self.raw.raft;
        let membership = self.raw.store().membership();
        if raft.state != StateRole::Leader || !membership.voters_outgoing.is_empty() {
            return;
        }
        let (id, holder) = (self.options.id, self.lease.holder());
        let acked = |voter, round| voter == id || holder.acked_by(voter).is_some_and(|newest| newest >= round);
        self.rejoin.admit(raft.term, raft.raft_log.last_index(), &membership.voters, acked);
    }

    /// Notes that this node has lost entries that it acknowledged.
    pub(super) fn lose_log(&mut self) {
        if self.rejoin.lose() {
            let (term, state) = (self.raw.raft.term, self.raw.raft.state);
            if state != StateRole::Follower {
                self.raw.raft.become_follower(term, raft::INVALID_ID);
            }
            self.outbox.push(Output::LogMayBeCut(true));
            self.sync_lease_with_raft(self.now);
        }
    }

    /// Handles the report that the record of [`Output::LogMayBeCut`]`(true)` is durable. Only then does this node ask a
    /// leader to follow again: the leader would forget what this node acknowledged, and after a crash nothing would show
    /// any more that the log was cut.
    pub fn handle_cut_recorded(&mut self) {
        self.rejoin.note_recorded();
    }
}
