//! The lease's state. One lock orders its updates from openraft's metrics, from frames and from votes.

use leasehold_clock::Clock;
use leasehold_core::{
    Action, Event, Fresh, Index, LeaseCell, LeaseTiming, Member, NodeId, NotCovered, Read, ReadError, Release, Round,
    Term, TermRound, Ticket, Voters,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The state that openraft last published. It may be out of date: openraft publishes after it acts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) leads: bool,
    pub(crate) term: Term,
    pub(crate) last: Index,
    pub(crate) committed: Index,
    pub(crate) voters: Membership,
}

/// Voters, and the place in the log of the entry that says so; 0 if there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    pub(crate) index: Index,
    pub(crate) voters: Voters,
}

/// The state that waiting readers and the lease's task watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The term in which this node leads, by what the lease knows.
    pub(crate) term: Option<Term>,
    /// The newest round of that term that a quorum confirmed, once what the term begins with is committed.
    pub(crate) confirmed: Round,
    /// The number of heartbeats requested so far.
    pub(crate) heartbeats: u64,
}

/// The lease of one node.
///
/// Openraft decides in a task of its own, so what it publishes is late. What makes a lease unsafe is caught before openraft
/// sees it or before the network does, and leaves a floor: in a term below it this node neither leads nor acknowledges.
pub(crate) struct State {
    member: Member<Arc<LeaseCell>>,
    clock: Arc<dyn Clock>,
    /// Openraft has voted in this term, or follows its leader. It will not act in an earlier term again.
    floor: Term,
    /// The newest term in which the lease began.
    led: Term,
    /// Everything up to this index is committed, and others may have been told.
    commit: Index,
    /// The newest term of which this node's frames have left, and the newest voters in them.
    framed: (Term, Membership),
    report: Report,
    /// Peers whose acknowledgements count for nothing, because their hold is too short.
    uncovered: BTreeMap<NodeId, NotCovered>,
}

const NO_VOTERS: Membership = Membership { index: 0, voters: Voters::NONE };

impl State {
    pub(crate) fn new(member: Member<Arc<LeaseCell>>, clock: Arc<dyn Clock>) -> State {
        State {
            member,
            clock,
            floor: 0,
            led: 0,
            commit: 0,
            framed: (0, NO_VOTERS),
            report: Report::default(),
            uncovered: BTreeMap::new(),
        }
    }

    /// Learns what openraft has published. It may know less than this, so it can begin a lease only from the floor on.
    pub(crate) fn follow(&mut self, seen: Seen) {
        if self.leads().is_some_and(|led| !seen.leads || seen.term != led) {
            self.event(Event::Deposed);
        }
        if seen.leads && self.leads().is_none() && seen.term >= self.floor && seen.term > self.led {
            self.led = seen.term;
            self.uncovered.clear();
            self.commit = self.commit.max(seen.committed);
            if self.framed.0 < seen.term || self.framed.1.index <= seen.voters.index {
                self.framed = (seen.term, seen.voters);
            }
            // A later barrier than the entry that opens the term is safe.
            let (barrier, commit) = (seen.last.max(1), self.commit);
            let voters = self.counted(self.framed.1.voters);
            self.event(Event::Elected { term: seen.term, voters, barrier, commit });
        }
        if self.leads() == Some(seen.term) {
            self.learn_voters(seen.voters);
            self.learn_commit(seen.committed);
        }
    }

    /// Learns from a frame of this node what others will learn from it. Returns the round that goes with it.
    pub(crate) fn before_frame(
        &mut self,
        term: Term,
        committed: Index,
        memberships: impl Iterator<Item = Membership>,
    ) -> Option<TermRound> {
        if term > self.framed.0 {
            self.framed = (term, NO_VOTERS);
        }
        // The lease of the new term begins when openraft publishes that it leads.
        if self.leads().is_some_and(|led| led < term) {
            self.event(Event::Deposed);
        }
        if term == self.framed.0 {
            memberships.for_each(|membership| self.learn_voters(membership));
        }
        self.learn_commit(committed);
        if self.leads() != Some(term) {
            return None;
        }
        self.member.frame_round()
    }

    /// Returns the release that goes with the order to campaign, which is about to leave.
    pub(crate) fn before_transfer(&mut self, term: Term) -> Option<Release> {
        if self.leads() != Some(term) {
            return None;
        }
        self.event(Event::TransferStarted);
        self.member.holder().release()
    }

    /// Keeps the release that came with the order to campaign.
    pub(crate) fn keep_release(&mut self, release: Option<Release>) {
        self.member.keep_release(release);
    }

    /// Returns whether a request for a vote in `term` may leave, and the release that goes with it. Once one has left, or
    /// has been withheld, this node acknowledges no round of an earlier term.
    pub(crate) fn may_ask_for_vote(&mut self, term: Term) -> Option<Option<Release>> {
        self.raise_floor(term);
        self.may_ask_for_pre_vote()
    }

    /// Returns whether a request for a pre-vote may leave, and the release that goes with it.
    pub(crate) fn may_ask_for_pre_vote(&mut self) -> Option<Option<Release>> {
        let now = self.fresh();
        self.member.may_campaign(now).then(|| self.member.release_to_show())
    }

    /// Returns whether openraft may see a request for a vote or a pre-vote. If so, there is neither a lease nor an
    /// acknowledgement until [`end_vote`](State::end_vote).
    #[must_use = "on true the vote must be ended"]
    pub(crate) fn begin_vote(&mut self, release: Option<Release>) -> bool {
        // While a leader's own lease lasts, no other node can win.
        let leased = self.member.cell().try_read(self.clock.now()).is_some();
        let now = self.fresh();
        if leased || !self.member.may_vote(now, release) {
            return false;
        }
        self.event(Event::Suspended);
        true
    }

    /// Learns the term that openraft knew when it answered, or the term that it was asked about if it has stopped.
    pub(crate) fn end_vote(&mut self, term: Term) {
        self.raise_floor(term);
        self.event(Event::Resumed);
    }

    /// Returns the acknowledgement of a round that came with a frame which openraft accepted in `term`.
    pub(crate) fn echo(&mut self, term: Term, round: Option<TermRound>) -> Option<TermRound> {
        // A vote that was shown after the frame was accepted, and answered before now, has raised the floor.
        if term < self.floor {
            return None;
        }
        self.raise_floor(term);
        let round = round.filter(|round| round.term == term && !self.member.holder().is_suspended())?;
        let now = self.fresh();
        self.member.handle_round(now, round)
    }

    /// Counts an acknowledgement, if the hold of its sender covers this node's lease.
    pub(crate) fn acked(&mut self, from: NodeId, timing: LeaseTiming, round: TermRound) {
        match self.member.holder().config().accept_peer(timing) {
            Ok(()) => {
                self.uncovered.remove(&from);
                self.event(Event::Acked { from, round });
            }
            Err(error) => {
                if self.uncovered.insert(from, error) != Some(error) {
                    tracing::warn!(peer = from - 1, %error, "acknowledgements of a peer do not count");
                }
            }
        }
    }

    /// Opens a round if one is due. Returns how long to wait for the next.
    pub(crate) fn handle_timeout(&mut self) -> Duration {
        let now = self.fresh();
        self.member.handle_timeout(now);
        let now = self.fresh();
        self.member.wait(now)
    }

    /// Decides how a read may be answered. A ticket comes with the term in which it is good.
    pub(crate) fn read(&mut self) -> Result<(Term, Read), ReadError> {
        let now = self.fresh();
        let read = self.member.read(now)?;
        Ok((self.leads().ok_or(ReadError::NotLeader)?, read))
    }

    /// Returns a ticket for a read that must not use the lease, with the term in which it is good.
    pub(crate) fn quorum_read(&mut self) -> Result<(Term, Ticket), ReadError> {
        let now = self.fresh();
        let ticket = self.member.quorum_read(now)?;
        Ok((self.leads().ok_or(ReadError::NotLeader)?, ticket))
    }

    /// Gives up the lease: openraft has stopped.
    pub(crate) fn stop(&mut self) {
        self.floor = Term::MAX;
        self.event(Event::Deposed);
    }

    /// Takes the actions, and returns what has changed for readers and for the task.
    pub(crate) fn take_report(&mut self) -> Report {
        while let Some(action) = self.member.poll_action() {
            match action {
                Action::SendRound(_) => self.report.heartbeats += 1,
                Action::Confirmed { through } => self.report.confirmed = through,
                // Readers know by the term.
                Action::Aborted { .. } => {}
            }
        }
        self.report.term = self.leads();
        self.report
    }

    pub(crate) fn timing(&self) -> LeaseTiming {
        self.member.holder().config().timing()
    }

    pub(crate) fn uncovered(&self) -> impl Iterator<Item = (NodeId, NotCovered)> {
        self.uncovered.iter().map(|(id, error)| (*id, *error))
    }

    fn leads(&self) -> Option<Term> {
        self.member.holder().term()
    }

    fn raise_floor(&mut self, term: Term) {
        self.floor = self.floor.max(term);
        if self.leads().is_some_and(|led| led < self.floor) {
            self.event(Event::Deposed);
        }
    }

    fn learn_voters(&mut self, membership: Membership) {
        // An entry may be sent again, to a follower that is behind.
        if membership.index > self.framed.1.index {
            self.framed.1 = membership;
            if self.leads() == Some(self.framed.0) {
                self.event(Event::VotersChanged(self.counted(membership.voters)));
            }
        }
    }

    /// Returns the voters whose acknowledgements count. A lone voter elects itself, without a request that could be withheld, so
    /// that its acknowledgements protect no other leader.
    fn counted(&self, voters: Voters) -> Voters {
        let mut ids = voters.incoming().iter().chain(voters.outgoing());
        let lone = ids.next().filter(|first| ids.all(|id| id == *first));
        if lone.is_some_and(|id| *id != self.member.holder().id()) { Voters::NONE } else { voters }
    }

    fn learn_commit(&mut self, committed: Index) {
        if committed > self.commit {
            self.commit = committed;
            if self.leads().is_some() {
                self.event(Event::Committed(committed));
            }
        }
    }

    fn event(&mut self, event: Event) {
        let now = self.fresh();
        let reported = self.member.handle_event(now, event);
        reported.expect("an election comes first, and each vote ends once");
    }

    fn fresh(&self) -> Fresh {
        Fresh::new(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_clock::ManualClock;
    use leasehold_core::{Config, Grantor, Holder, Instant, Options};

    fn membership(index: Index, voters: &[NodeId]) -> Membership {
        Membership { index, voters: Voters::simple(voters).expect("voters") }
    }

    /// Returns the state of node 1, which leads term 3 among these voters, with a lease by the acknowledgements of all.
    fn leader(voters: &[NodeId]) -> (State, Config) {
        let clock = ManualClock::new(Instant::from_nanos(1_000_000_000, 1_000_000_000));
        let config = Config::new(Options::new(Duration::from_secs(1), 0)).expect("a consistent configuration");
        let grantor = Grantor::new(config, Duration::ZERO, clock.now());
        let member = Member::of(Holder::new(1, config), grantor, Arc::new(LeaseCell::new()));
        let mut state = State::new(member, Arc::new(clock));
        state.follow(Seen { leads: true, term: 3, last: 5, committed: 5, voters: membership(1, voters) });
        let round = state.before_frame(3, 5, std::iter::empty()).expect("it leads");
        for peer in voters.iter().filter(|voter| **voter != 1) {
            state.acked(*peer, config.timing(), round);
        }
        assert!(leased(&state), "a quorum acknowledged");
        (state, config)
    }

    fn leased(state: &State) -> bool {
        state.member.cell().try_read(state.clock.now()).is_some()
    }

    #[test]
    fn a_voter_that_is_alone_from_now_on_protects_no_lease_because_it_elects_itself() {
        let (mut state, config) = leader(&[1, 2, 3]);
        let round = state.before_frame(3, 5, std::iter::once(membership(6, &[2]))).expect("it leads");
        assert!(!leased(&state), "once the frame leaves that makes node 2 the only voter");
        state.acked(2, config.timing(), round);
        assert!(!leased(&state));
    }

    #[test]
    fn two_voters_and_a_leader_that_is_the_only_voter_have_leases() {
        let (mut state, _) = leader(&[1, 2]);
        let round = state.before_frame(3, 5, std::iter::once(membership(6, &[1])));
        assert!(round.is_some() && leased(&state));
    }
}
