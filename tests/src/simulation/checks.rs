//! What must always hold, checked as things happen.

use super::marks::Mark;
use super::world::World;
use leasehold_core::{Index, NodeId, Permit, Term};
use leasehold_driver::StateMachine as _;
use leasehold_raft::{Committed, Effect, Role};

/// What kind of rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A lease of an earlier term was valid when, or after, another leader was elected.
    LeaseOutlivedElection,
    /// A lease was valid after its leader had ceased to lead, or while it handed leadership over.
    LeaseOutlivedLeadership,
    /// A node helped to elect another before its hold was over, by true time.
    PromiseBroken,
    /// A message left that rests on what was not durable.
    NotDurable,
    /// Two nodes led in one term.
    TwoLeadersInATerm,
    /// An answer older than what had been seen before it was asked for.
    StaleRead,
    /// A quorum read was confirmed in another term than the one that took it.
    ReadOutlivedLeadership,
    /// The clients' history is not that of one copy of the data.
    NotLinearizable,
    /// Two nodes applied different entries at one index, or an acknowledged one was lost.
    LogsDiverged,
    /// Nodes that applied the same log hold different data.
    StatesDiverged,
    /// A disk was told to hold what an ordered writer never leaves.
    DiskOutOfOrder,
    /// A command was answered with what it cannot be answered with.
    WrongReply,
    /// After all faults healed, something did not come about in time.
    Liveness,
    /// The product panicked.
    Panic,
    /// The run never came to its end.
    RanAway,
}

impl FailureKind {
    /// Its name, in reports.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::LeaseOutlivedElection => "lease-outlived-election",
            FailureKind::LeaseOutlivedLeadership => "lease-outlived-leadership",
            FailureKind::PromiseBroken => "promise-broken",
            FailureKind::NotDurable => "not-durable",
            FailureKind::TwoLeadersInATerm => "two-leaders-in-a-term",
            FailureKind::StaleRead => "stale-read",
            FailureKind::ReadOutlivedLeadership => "read-outlived-leadership",
            FailureKind::NotLinearizable => "not-linearizable",
            FailureKind::LogsDiverged => "logs-diverged",
            FailureKind::StatesDiverged => "states-diverged",
            FailureKind::DiskOutOfOrder => "disk-out-of-order",
            FailureKind::WrongReply => "wrong-reply",
            FailureKind::Liveness => "liveness",
            FailureKind::Panic => "panic",
            FailureKind::RanAway => "ran-away",
        }
    }
}

/// What every node must agree on: one committed log, one leader per term.
#[derive(Default)]
pub(super) struct Agreed {
    /// The committed entries after the founding one, as whoever applied each first had them.
    log: Vec<(Term, u64)>,
    /// Who led in each term.
    leaders: Vec<NodeId>,
}

impl Agreed {
    /// The last index that anyone has applied.
    pub(super) fn last(&self) -> Index {
        self.log.len() as Index + 1
    }

    fn entry(&mut self, committed: &Committed) -> Result<(), String> {
        let (index, term) = (committed.position.index, committed.position.term);
        let entry = (term, fingerprint(&committed.effect));
        let at = (index - 2) as usize;
        match self.log.get(at) {
            None if at == self.log.len() => {
                self.log.push(entry);
                Ok(())
            }
            None => Err(format!("entry {index} is applied, but nobody applied the one before it")),
            Some(known) if *known == entry => Ok(()),
            Some((known, _)) => {
                Err(format!("entry {index} of term {term} is applied, but elsewhere it is another, of term {known}"))
            }
        }
    }

    /// A single voter won a term and forgot it in a crash, before anyone else could learn of it: another may win it.
    pub(super) fn never_led(&mut self, term: Term) {
        if let Some(led) = self.leaders.get_mut(term as usize) {
            *led = 0;
        }
    }

    fn leader(&mut self, term: Term, node: NodeId) -> Result<(), NodeId> {
        let at = term as usize;
        if self.leaders.len() <= at {
            self.leaders.resize(at + 1, 0);
        }
        match self.leaders[at] {
            0 => {
                self.leaders[at] = node;
                Ok(())
            }
            known if known == node => Ok(()),
            known => Err(known),
        }
    }
}

fn fingerprint(effect: &Effect) -> u64 {
    let bytes: &[u8] = match effect {
        Effect::Nothing => return 1,
        Effect::Membership(membership) => {
            return membership.voters.iter().fold(2, |hash, voter| (hash ^ voter).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        Effect::Command(command) => command,
    };
    bytes.iter().fold(3, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl World {
    /// A node applies an entry.
    pub(super) fn check_applied(&mut self, node: usize, committed: &Committed) {
        if let Err(what) = self.agreed.entry(committed) {
            self.fail(FailureKind::LogsDiverged, format!("n{}: {what}", node + 1));
        }
    }

    /// A node takes a snapshot.
    pub(super) fn check_snapshot(&mut self, node: usize, index: Index, term: Term) {
        let known = index.checked_sub(2).and_then(|at| self.agreed.log.get(at as usize)).map(|(term, _)| *term);
        if index > 1 && known != Some(term) {
            let what =
                format!("n{} takes a snapshot through entry {index} of term {term}, which is {known:?}", node + 1);
            self.fail(FailureKind::LogsDiverged, what);
        }
    }

    /// A permit was granted with a reading taken when `elected` was the newest term that had been won.
    pub(super) fn check_permit(&mut self, node: usize, permit: Permit, elected: Term) {
        if permit.term < elected {
            let what = format!(
                "n{} permits a read by its lease of term {}, but term {elected} had been won before",
                node + 1,
                permit.term
            );
            self.fail(FailureKind::LeaseOutlivedElection, what);
        }
    }

    /// A node has won a term: from now on no earlier lease may be valid anywhere.
    fn check_election(&mut self, node: usize, term: Term) {
        if let Err(other) = self.agreed.leader(term, node as NodeId + 1) {
            let what = format!("n{} and n{other} both lead in term {term}", node + 1);
            self.fail(FailureKind::TwoLeadersInATerm, what);
        }
        self.elected = self.elected.max(term);
        self.elections += 1;
        for other in 0..self.nodes.len() {
            let reading = self.nodes[other].clock.peek(self.now);
            let Some(process) = &self.nodes[other].process else { continue };
            if let Some(permit) = process.cell.try_read(reading)
                && permit.term < term
            {
                let what = format!(
                    "n{} is elected in term {term} while n{} may still read by its lease of term {}",
                    node + 1,
                    other + 1,
                    permit.term
                );
                self.fail(FailureKind::LeaseOutlivedElection, what);
            }
        }
        if self.nodes.iter().flat_map(|node| &node.process).filter(|process| leads(process.replica.role())).count() > 1
        {
            self.marks.reach(Mark::TwoLeaders);
        }
    }

    /// Looks at a process after a turn.
    pub(super) fn watch(&mut self, node: usize) {
        let now = self.now;
        let reading = self.nodes[node].clock.peek(now);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let (role, term) = (process.replica.role(), process.replica.term());
        let watched = &mut process.watched;
        let (was, was_term) = (watched.role, watched.term);
        (watched.role, watched.term) = (role, term);
        let leading = leads(role);
        let won = leading && (!leads(was) || was_term != term);
        if leads(was) && !leading {
            let removed = !process.replica.membership().voters.contains(&(node as NodeId + 1))
                && process.applied.membership.voters_outgoing.is_empty();
            if removed {
                self.marks.reach(Mark::LeaderRemovedItself);
            } else if was_term == term {
                self.marks.reach(Mark::CheckQuorumDeposed);
            }
            watched.lease = None;
            (watched.abandoned, watched.voided) = (false, false);
        }
        watch_statistics(process, &mut self.marks, reading.is_none());
        if leading {
            self.watch_lease(node);
        }
        let process = self.nodes[node].process.as_mut().expect("it was there");
        if let Some((to, since)) = process.watched.transfer {
            if process.replica.leader() == Some(to) {
                process.watched.transfer = None;
                self.marks.reach(Mark::TransferCompleted);
            } else if leading && term == since && process.replica.holder().poll_timeout().is_some() {
                // It wants to open rounds again.
                process.watched.transfer = None;
                process.watched.abandoned = true;
                self.marks.reach(Mark::TransferAbandoned);
            } else if term > since + 1 {
                process.watched.transfer = None;
            }
        }
        if was != role || was_term != term {
            if self.tracing() {
                let leader =
                    self.nodes[node].process.as_ref().and_then(|process| process.replica.leader()).unwrap_or(0);
                let text = match role {
                    Role::Leader => format!("leads term {term}"),
                    Role::Candidate => format!("campaigns in term {term}"),
                    Role::PreCandidate => format!("asks whether it could win term {}", term + 1),
                    Role::Follower if leader == 0 => format!("is in term {term} and knows no leader"),
                    Role::Follower => format!("follows n{leader} in term {term}"),
                };
                self.note(node, "engine", text);
            }
            if won {
                self.check_election(node, term);
            }
        }
    }

    fn watch_lease(&mut self, node: usize) {
        let now = self.now;
        let super::node::Node { clock, process, .. } = &mut self.nodes[node];
        let reading = clock.peek(now);
        let Some(process) = process.as_mut() else { return };
        let valid = process.cell.try_read(reading).is_some();
        let watched = &mut process.watched;
        if !valid {
            if watched.lease.take().is_some() && process.replica.holder().lease_until().is_some() && reading.is_some() {
                self.marks.reach(Mark::LeaseExpiredWhileLeading);
            }
            return;
        }
        if let (None, Some(reading)) = (watched.lease, reading) {
            watched.lease = Some(reading);
            let abandoned = std::mem::take(&mut watched.abandoned);
            let voided = std::mem::take(&mut watched.voided);
            self.marks.reach_often(Mark::LeaseAfterAbandonedTransfer, u64::from(abandoned));
            self.marks.reach_often(Mark::LeaseAfterBackwardReading, u64::from(voided));
        }
        let membership = process.replica.membership();
        if !membership.voters_outgoing.is_empty() {
            self.marks.reach(Mark::LeaseWhileJoint);
        }
        if membership.voters.len() == 1 {
            self.marks.reach(Mark::LedAlone);
        }
        if let Some(started) = watched.started
            && clock.counters_differ_since(now, started, 1_000_000)
        {
            self.marks.reach(Mark::LeaseOnWildClock);
        }
    }

    /// Everything must have come about by now: there is a leader, it grants reads by its lease, and has done so.
    pub(super) fn check_liveness(&mut self) {
        let now = self.now;
        let leader = self.leader();
        let Some(leader) = leader else {
            return self.fail(FailureKind::Liveness, "no leader long after everything healed".to_owned());
        };
        let reading = self.nodes[leader].clock.peek(now);
        let process = self.nodes[leader].process.as_ref().expect("a leader runs");
        if process.cell.try_read(reading).is_none() {
            let what = format!("n{} leads long after everything healed, but its lease is not valid", leader + 1);
            return self.fail(FailureKind::Liveness, what);
        }
        let members = process.replica.membership().clone();
        let commit = process.replica.commit();
        let behind = (self.nodes.iter()).find(|node| {
            let applied = node.process.as_ref().map_or(0, |process| process.applied.index);
            members.names(node.id) && applied + 200 < commit
        });
        if let Some(behind) = behind {
            let what = format!("n{} is far behind commit index {commit} long after everything healed", behind.id);
            return self.fail(FailureKind::Liveness, what);
        }
        if self.last_lease_read + 6 * self.setup.longest_hold() < now {
            let what = format!("n{} has a lease, but no read was answered by it for six holds", leader + 1);
            self.fail(FailureKind::Liveness, what);
        }
    }

    /// Clients have stopped for a while: nothing may be left over, and all data must agree.
    pub(super) fn check_end(&mut self) {
        if let Some(client) = self.clients.iter().position(|client| client.active.is_some()) {
            return self.fail(FailureKind::Liveness, format!("c{client} still waits for an answer"));
        }
        let waiting =
            self.nodes.iter().flat_map(|node| &node.process).map(|process| process.writes.len() + process.reads.len());
        if waiting.sum::<usize>() > 0 {
            return self.fail(FailureKind::Liveness, "a write or a read still waits for its fate".to_owned());
        }
        let last = self.agreed.last();
        let mut first: Option<(usize, Vec<leasehold_driver::Record>)> = None;
        for node in 0..self.nodes.len() {
            let Some(process) = &self.nodes[node].process else { continue };
            if process.applied.index != last {
                continue;
            }
            let mut records = process.machine.records();
            records.sort_by(|one, other| one.key.cmp(&other.key));
            match &first {
                None => first = Some((node, records)),
                Some((_, known)) if *known == records => {}
                Some((other, _)) => {
                    let what = format!("n{} and n{} applied the same log and hold different data", node + 1, other + 1);
                    return self.fail(FailureKind::StatesDiverged, what);
                }
            }
        }
        if first.is_none() {
            self.fail(FailureKind::Liveness, "nobody has applied everything that is committed".to_owned());
        }
    }
}

/// Whether it leads.
pub(super) fn leads(role: Role) -> bool {
    role == Role::Leader
}

fn watch_statistics(process: &mut super::node::Process, marks: &mut super::marks::Marks, clock_fails: bool) {
    let (engine, holder) = (*process.replica.statistics(), *process.replica.holder().statistics());
    let (was, was_holder) = (process.watched.statistics, process.watched.holder);
    if engine != was {
        process.watched.statistics = engine;
        if engine.votes_withheld > was.votes_withheld {
            let over = process.replica.grantor().restart_hold_is_over();
            let mark = if over { Mark::HoldRefusedVote } else { Mark::RestartHoldRefusedVote };
            marks.reach_often(mark, engine.votes_withheld - was.votes_withheld);
        }
        marks.reach_often(Mark::CampaignNowMetHold, engine.transfers_withheld - was.transfers_withheld);
        marks.reach_often(Mark::HoldKeptBackCampaign, engine.campaigns_withheld - was.campaigns_withheld);
    }
    if holder != was_holder {
        process.watched.holder = holder;
        marks.reach_often(Mark::AckOfAnotherTerm, holder.acks_of_other_terms - was_holder.acks_of_other_terms);
        marks.reach_often(Mark::AckOfAStranger, holder.acks_of_strangers - was_holder.acks_of_strangers);
        marks.reach_often(Mark::AckOutOfOrder, holder.acks_out_of_order - was_holder.acks_out_of_order);
        let backward = holder.backward_readings - was_holder.backward_readings;
        if backward > 0 && process.replica.holder().term().is_some() {
            marks.reach_often(Mark::BackwardReadingVoided, backward);
            process.watched.voided = true;
        }
    }
    if clock_fails && process.replica.grantor().awaits_reading() && process.replica.grantor().newest().is_some() {
        marks.reach(Mark::EchoWithoutReading);
    }
}
