//! Safety and liveness checks, made while a run progresses.

use super::failure::FailureKind;
use super::marks::{Mark, Marks};
use super::node::Process;
use super::types::Nanos;
use super::world::World;
use leasehold_core::{Index, Permit, Term};
use leasehold_node::Role;
use leasehold_node::ports::{Cursor, GroupId, Record, State as _, StateMachine as _};
use leasehold_raft::wire::Payload;

impl World {
    /// Compares the entries a node has applied since the previous call with those that every other node applied at the
    /// same indexes.
    pub(super) fn check_progress(&mut self, node: usize) {
        for group in 0..self.groups.len() {
            self.focus_on(group);
            self.check_progress_of_group(node);
        }
    }

    fn check_progress_of_group(&mut self, node: usize) {
        loop {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let (applied, commit, term) = (process.applied(), process.replica().commit(), process.replica().term());
            // The node's configuration may have changed.
            process.hosted_mut().watched.kept_back &= (
                process.hosted_mut().watched.applied,
                process.hosted_mut().watched.commit,
                process.hosted_mut().watched.term,
            ) == (applied, commit, term);
            process.hosted_mut().watched.commit = commit;
            if process.hosted_mut().watched.applied >= applied {
                return;
            }
            process.hosted_mut().watched.applied += 1;
            // Entries covered by a snapshot are no longer in the log. The snapshot is compared as a whole.
            let Some(entry) = process.replica().committed_entry(process.hosted().watched.applied) else { continue };
            self.marks.reach_often(Mark::MembershipChanged, u64::from(matches!(entry.payload, Payload::Change(_))));
            if let Err(what) = self.groups[self.focus].agreed.entry(&entry) {
                self.fail(FailureKind::LogsDiverged, format!("n{}: {what}", node + 1));
            }
        }
    }

    /// Checks a snapshot that a node installed.
    pub(super) fn check_snapshot(&mut self, node: usize, index: Index, term: Term) {
        let known = self.groups[self.focus].agreed.term_of(index);
        if index > 1 && known != Some(term) {
            let what = format!(
                "n{} installs a snapshot through entry {index} of term {term}, but its term is {known:?}",
                node + 1
            );
            self.fail(FailureKind::LogsDiverged, what);
        }
    }

    /// Checks a permit whose reading was taken when `elected` was the newest term won.
    pub(super) fn check_permit(&mut self, node: usize, permit: Permit, elected: Term) {
        if permit.term < elected {
            let what = format!(
                "n{} permits a read under its lease of term {} after term {elected} was won",
                node + 1,
                permit.term
            );
            self.fail(FailureKind::LeaseOutlivedElection, what);
        }
    }

    /// Checks an election: once a term is won, no earlier lease may be valid on any node.
    fn check_election(&mut self, node: usize, term: Term) {
        if let Err(other) = self.groups[self.focus].agreed.leader(term, node as leasehold_core::NodeId + 1) {
            let what = format!("n{} and n{other} both lead in term {term}", node + 1);
            self.fail(FailureKind::TwoLeadersInATerm, what);
        }
        self.groups[self.focus].elected = self.groups[self.focus].elected.max(term);
        self.elections += 1;
        for other in 0..self.nodes.len() {
            let reading = self.nodes[other].clock.peek(self.now);
            let Some(process) = &self.nodes[other].process else { continue };
            if let Some(permit) = process.hosted().gate.lease().try_read(reading)
                && permit.term < term
            {
                let what = format!(
                    "n{} is elected in term {term} while n{} may still read under its lease of term {}",
                    node + 1,
                    other + 1,
                    permit.term
                );
                self.fail(FailureKind::LeaseOutlivedElection, what);
            }
            let Some(process) = &self.nodes[other].process else { continue };
            if let Some(permit) = process.hosted().gate.sublease().try_read(reading)
                && permit.term < term
            {
                let what = format!(
                    "n{} is elected in term {term} while n{} may still read by its sublease of term {}",
                    node + 1,
                    other + 1,
                    permit.term
                );
                self.fail(FailureKind::LeaseOutlivedElection, what);
            }
        }
        if self
            .nodes
            .iter()
            .flat_map(|node| &node.process)
            .filter(|process| process.replica().role() == Role::Leader)
            .count()
            > 1
        {
            self.marks.reach(Mark::TwoLeaders);
        }
    }

    /// Examines a process after a turn.
    pub(super) fn watch(&mut self, node: usize) {
        for group in 0..self.groups.len() {
            self.focus_on(group);
            self.watch_group(node);
        }
    }

    fn watch_group(&mut self, node: usize) {
        let now = self.now;
        let reading = self.nodes[node].clock.peek(now);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let (role, term) = (process.replica().role(), process.replica().term());
        let removed = !process.replica().membership().voters.contains(&(node as leasehold_core::NodeId + 1))
            && process.group().applied().membership.voters_outgoing.is_empty();
        let watched = &mut process.hosted_mut().watched;
        let (was, was_term) = (watched.role, watched.term);
        (watched.role, watched.term) = (role, term);
        let leading = role == Role::Leader;
        let won = leading && (was != Role::Leader || was_term != term);
        if was == Role::Leader && !leading {
            if removed {
                self.marks.reach(Mark::LeaderRemovedItself);
            } else if was_term == term {
                self.marks.reach(Mark::CheckQuorumDeposed);
            }
            watched.lease = None;
            (watched.abandoned, watched.voided) = (false, false);
        }
        watch_statistics(process, &mut self.marks, reading.is_none());
        watch_cut(process, &mut self.marks);
        watch_readers(process, &mut self.marks);
        let silent = process.node.disk_statistics().silent_for;
        self.marks.reach_often(Mark::FollowerDiskHung, u64::from(!leading && silent.as_secs() >= 2));
        if leading {
            self.watch_lease(node);
        }
        let process = self.nodes[node].process.as_mut().expect("checked above");
        if let Some((to, since)) = process.hosted_mut().watched.transfer {
            if process.replica().leader() == Some(to) {
                process.hosted_mut().watched.transfer = None;
                self.marks.reach(Mark::TransferCompleted);
            } else if leading && term == since && process.replica().holder().poll_timeout().is_some() {
                // A holder with a deadline opens rounds again, so the transfer was abandoned.
                process.hosted_mut().watched.transfer = None;
                process.hosted_mut().watched.abandoned = true;
                self.marks.reach(Mark::TransferAbandoned);
            } else if term > since + 1 {
                process.hosted_mut().watched.transfer = None;
            }
        }
        if was != role || was_term != term {
            if self.tracing() {
                let leader = self.nodes[node].process.as_ref().and_then(|process| process.replica().leader());
                let text = match role {
                    Role::Leader => format!("leads term {term}"),
                    Role::Candidate => format!("campaigns in term {term}"),
                    Role::PreCandidate => format!("requests pre-votes for term {}", term + 1),
                    Role::Follower => match leader {
                        None => format!("follows no leader in term {term}"),
                        Some(leader) => format!("follows n{leader} in term {term}"),
                    },
                };
                let text = self.of_group(text);
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
        let valid = process.hosted().gate.lease().try_read(reading).is_some();
        let was_valid = process.hosted().watched.lease.is_some();
        if !valid {
            process.hosted_mut().watched.lease = None;
            if was_valid && process.replica().holder().lease_until().is_some() && reading.is_some() {
                self.marks.reach(Mark::LeaseExpiredWhileLeading);
            }
            return;
        }
        if let (false, Some(reading)) = (was_valid, reading) {
            let watched = &mut process.hosted_mut().watched;
            watched.lease = Some(reading);
            let abandoned = std::mem::take(&mut watched.abandoned);
            let voided = std::mem::take(&mut watched.voided);
            self.marks.reach_often(Mark::LeaseAfterAbandonedTransfer, u64::from(abandoned));
            self.marks.reach_often(Mark::LeaseAfterBackwardReading, u64::from(voided));
        }
        let membership = process.replica().membership();
        if !membership.voters_outgoing.is_empty() {
            self.marks.reach(Mark::LeaseWhileJoint);
        }
        if membership.voters.len() == 1 {
            self.marks.reach(Mark::LedAlone);
        }
        if let Some(started) = process.hosted_mut().watched.started
            && clock.counters_differ_since(now, started, 1_000_000)
        {
            self.marks.reach(Mark::LeaseOnWildClock);
        }
    }

    /// Checks, after faults have healed, that there is a leader, that its lease is valid, and that it has answered
    /// reads.
    pub(super) fn check_liveness(&mut self) {
        for group in 0..self.groups.len() {
            self.focus_on(group);
            self.check_liveness_of_group();
        }
        self.check_members_agree();
    }

    fn check_liveness_of_group(&mut self) {
        let now = self.now;
        let leader = self.leader();
        let Some(leader) = leader else {
            return self.fail(FailureKind::Liveness, "no leader long after everything healed".to_owned());
        };
        let reading = self.nodes[leader].clock.peek(now);
        let process = self.nodes[leader].process.as_ref().expect("a leader runs");
        if process.hosted().gate.lease().try_read(reading).is_none() {
            let what = format!("n{} leads long after everything healed, but its lease is not valid", leader + 1);
            return self.fail(FailureKind::Liveness, what);
        }
        let members = process.replica().membership().clone();
        let commit = process.replica().commit();
        let behind = (self.nodes.iter()).find(|node| {
            let applied = node.process.as_ref().map_or(0, Process::applied);
            members.names(node.id) && applied + 200 < commit
        });
        if let Some(behind) = behind {
            let what = format!("n{} is far behind commit index {commit} long after everything healed", behind.id);
            return self.fail(FailureKind::Liveness, what);
        }
        let outside =
            |node: &&super::node::Node| node.process.as_ref().is_some_and(|process| process.replica().log_may_be_cut());
        if let Some(outside) = self.nodes.iter().find(outside) {
            let what = format!("n{} has not caught up since its log was cut, long after everything healed", outside.id);
            return self.fail(FailureKind::Liveness, what);
        }
        if self.groups[self.focus].last_lease_read + self.quiet_time() < now {
            let what = format!("n{} has a lease, but answered no read under it for six holds", leader + 1);
            self.fail(FailureKind::Liveness, what);
        }
    }

    /// Returns the longest time without a read of a group. Clients divide their requests among the groups.
    fn quiet_time(&self) -> Nanos {
        6 * self.setup.longest_hold() * self.groups.len() as Nanos
    }

    /// Checks, after clients have stopped for a while, that nothing is pending and that all data agrees.
    pub(super) fn check_end(&mut self) {
        if let Some(client) = self.clients.iter().position(|client| client.active.is_some()) {
            return self.fail(FailureKind::Liveness, format!("c{client} is still waiting for an answer"));
        }
        let pending = self.nodes.iter().flat_map(|node| &node.process).map(|process| process.node.pending_requests());
        if pending.sum::<usize>() > 0 {
            return self.fail(FailureKind::Liveness, "a request is still pending".to_owned());
        }
        for group in 0..self.groups.len() {
            self.focus_on(group);
            self.check_data();
        }
        self.check_passing_group_is_gone();
    }

    /// Checks that all nodes that have applied everything hold the same data.
    fn check_data(&mut self) {
        let last = self.groups[self.focus].agreed.last();
        let mut first: Option<(usize, Vec<Record>)> = None;
        for node in 0..self.nodes.len() {
            let Some(process) = &self.nodes[node].process else { continue };
            if process.applied() != last {
                continue;
            }
            let Some(state) = process.group().machine().map(|machine| machine.state()) else { continue };
            let mut records: Vec<Record> = state.records(Cursor::default()).map(|(record, _)| record).collect();
            records.sort_by(|one, other| one.key.cmp(&other.key));
            match &first {
                None => first = Some((node, records)),
                Some((_, known)) if *known == records => {}
                Some((other, _)) => {
                    let what = format!("n{} and n{} applied the same log but hold different data", node + 1, other + 1);
                    return self.fail(FailureKind::StatesDiverged, what);
                }
            }
        }
        if first.is_none() {
            self.fail(FailureKind::Liveness, "no node has applied all committed entries".to_owned());
        }
    }
}

fn watch_statistics(process: &mut Process, marks: &mut Marks, clock_fails: bool) {
    let (group, router) = (process.group().statistics(), process.node.router_statistics(process.focus as GroupId));
    let (was_group, was_router) = (process.hosted().watched.statistics, process.hosted().watched.router);
    if router != was_router {
        process.hosted_mut().watched.router = router;
        marks.reach_often(Mark::RequestRepeated, router.requests_repeated - was_router.requests_repeated);
        marks.reach_often(Mark::WaitedForApply, router.reads_awaited_apply - was_router.reads_awaited_apply);
    }
    if group == was_group {
        return watch_echoes(process, marks, clock_fails);
    }
    process.hosted_mut().watched.statistics = group;
    marks.reach_often(Mark::WritePlaceTaken, group.writes_displaced - was_group.writes_displaced);
    marks.reach_often(Mark::TransferResumed, group.transfers_resumed - was_group.transfers_resumed);
    let ignored = group.transfer_steps_ignored - was_group.transfer_steps_ignored;
    marks.reach_often(Mark::TransferStepIgnored, ignored);
    marks.reach_often(Mark::LogKeptForTransfer, group.compactions_withheld - was_group.compactions_withheld);
    marks.reach_often(Mark::ReadsAborted, group.quorum_reads_aborted - was_group.quorum_reads_aborted);
    let confirmed = group.quorum_reads_confirmed - was_group.quorum_reads_confirmed;
    marks.reach_often(Mark::QuorumReadWithoutClock, if clock_fails { confirmed } else { 0 });
    let (engine, holder) = (group.replica, group.holder);
    let (was, was_holder) = (was_group.replica, was_group.holder);
    if engine != was {
        marks.reach_often(Mark::RemovalWithheld, engine.removals_withheld - was.removals_withheld);
        let kept_out = engine.votes_withheld + engine.campaigns_withheld - was.votes_withheld - was.campaigns_withheld;
        if process.replica().log_may_be_cut() {
            marks.reach_often(Mark::CutLogDidNotElect, kept_out);
        } else if engine.votes_withheld > was.votes_withheld {
            let over = process.replica().grantor().restart_hold_is_over();
            let mark = if over { Mark::HoldRefusedVote } else { Mark::RestartHoldRefusedVote };
            marks.reach_often(mark, engine.votes_withheld - was.votes_withheld);
        }
        let given_up = engine.leaderships_given_up - was.leaderships_given_up;
        marks.reach_often(Mark::LeadershipGivenUp, given_up);
        marks.reach_often(Mark::CampaignNowMetHold, engine.transfers_withheld - was.transfers_withheld);
        marks.reach_often(Mark::HoldKeptBackCampaign, engine.campaigns_withheld - was.campaigns_withheld);
    }
    if holder != was_holder {
        marks.reach_often(Mark::AckOfAnotherTerm, holder.acks_of_other_terms - was_holder.acks_of_other_terms);
        marks.reach_often(Mark::AckOfAStranger, holder.acks_of_non_voters - was_holder.acks_of_non_voters);
        marks.reach_often(Mark::AckOutOfOrder, holder.acks_out_of_order - was_holder.acks_out_of_order);
        let backward = holder.backward_readings - was_holder.backward_readings;
        if backward > 0 && process.replica().holder().term().is_some() {
            marks.reach_often(Mark::BackwardReadingVoided, backward);
            process.hosted_mut().watched.voided = true;
        }
    }
    watch_echoes(process, marks, clock_fails);
}

fn watch_echoes(process: &Process, marks: &mut Marks, clock_fails: bool) {
    let grantor = process.replica().grantor();
    if clock_fails && grantor.awaits_reading() && grantor.newest().is_some() {
        marks.reach(Mark::EchoWithoutReading);
    }
}

fn watch_readers(process: &mut Process, marks: &mut Marks) {
    let lender = *process.replica().lender().statistics();
    let before = std::mem::replace(&mut process.hosted_mut().watched.lender, lender);
    marks.reach_often(Mark::ExposureDelayed, lender.delays - before.delays);
    marks.reach_often(Mark::SubleaseReturned, lender.returned - before.returned);
}

fn watch_cut(process: &mut Process, marks: &mut Marks) {
    let cut = process.replica().log_may_be_cut();
    if std::mem::replace(&mut process.hosted_mut().watched.cut, cut) && !cut {
        marks.reach(Mark::CutLogIsWhole);
    }
}
