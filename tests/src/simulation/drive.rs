//! Driving one replica: the loop of `driver/src/drive.rs`, one turn at a time.

use super::checks::FailureKind;
use super::clients::{Asker, By};
use super::disk::{Write, Written};
use super::marks::Mark;
use super::network::Body;
use super::node::{Fate, Input, Process, Status};
use super::world::{Event, World};
use leasehold::keyspace::Reply;
use leasehold_core::{Index, NodeId, Read, Reading};
use leasehold_driver::{Applied, Batch, Change, StateMachine as _, snapshot};
use leasehold_raft::wire::{Envelope, MessageKind, Snapshot};
use leasehold_raft::{Committed, Effect, Output, Persist, ProposeError, Role, Undelivered};
use std::time::Duration;

/// The most inputs taken before their outputs are carried out, as in the driver.
const TURN: usize = 512;
/// The most inputs waiting for the loop, as in the driver.
const INBOX: usize = 4_096;

impl World {
    /// Gives a process's loop an input.
    pub(super) fn give(&mut self, node: usize, input: Input) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.inbox.len() < INBOX {
            process.inbox.push_back(input);
        }
        self.wake_loop(node);
    }

    /// The loop has something to do: now, or a little later.
    pub(super) fn wake_loop(&mut self, node: usize) {
        let now = self.now;
        if !self.nodes[node].loop_runs(now) {
            return;
        }
        let boot = self.nodes[node].boot;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.turn_is_due {
            return;
        }
        process.turn_is_due = true;
        // Never within this event: whoever woke it goes on first.
        let delay = if self.healed { 0 } else { self.dice.below(self.setup.loop_delay + 1) };
        self.at(now + delay, Event::Turn { node: node as u8, boot });
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self, node: usize) {
        let now = self.now;
        if !self.nodes[node].loop_runs(now) {
            if let Some(process) = self.nodes[node].process.as_mut() {
                process.turn_is_due = false;
            }
            return;
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.turn_is_due = false;
        let timed_out = std::mem::take(&mut process.timer_fired);
        for _ in 0..TURN {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            if let Some(written) = process.written.pop_front() {
                self.take_written(node, written);
            } else if let Some(input) = process.inbox.pop_front() {
                self.take_input(node, input);
            } else {
                break;
            }
        }
        self.take_timeout(node, timed_out);
        self.carry_out(node);
        if timed_out {
            self.sweep(node);
            let boot = self.nodes[node].boot;
            let next = self.until_next_timeout(node);
            self.set_timer(node, boot, next);
        }
        self.publish(node);
        self.watch(node);
        if self.tracing() {
            self.note_lease(node);
        }
        if let Some(process) = self.nodes[node].process.as_ref()
            && !(process.inbox.is_empty() && process.written.is_empty())
        {
            self.wake_loop(node);
        }
    }

    pub(super) fn set_timer(&mut self, node: usize, boot: u32, after: Duration) {
        let late = if self.healed { 0 } else { self.dice.below(self.setup.timer_delay + 1) };
        // Timers go as wrong as the clock: they count the same oscillator.
        let takes = self.nodes[node].clock.takes(after.as_nanos() as u64);
        self.at(self.now + takes + late, Event::Timer { node: node as u8, boot });
    }

    fn take_input(&mut self, node: usize, input: Input) {
        let now = self.now;
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(now);
        let Some(process) = machine.process.as_mut() else { return };
        process.watched.kept_back = false;
        match input {
            Input::Envelope { from, envelope } => {
                self.take_envelope(node, from, envelope, reading);
            }
            Input::Write { command, asker } => match process.replica.propose(reading, command) {
                Ok(position) => {
                    process.writes.insert((position.index, position.term), (reading, asker));
                }
                Err(_) => self.write_ended(asker, node, Err(Fate::NotExecuted)),
            },
            Input::Read { asker, by_quorum } => {
                let read = if by_quorum {
                    process.replica.quorum_read(reading).map(Read::Quorum)
                } else {
                    process.replica.read(reading)
                };
                match read {
                    Ok(Read::Lease(permit)) => {
                        self.check_permit(node, permit, self.elected);
                        self.read_granted(asker, node, Ok((permit.index, By::Lease)));
                    }
                    Ok(Read::Quorum(ticket)) => {
                        process.reads.push_back((ticket, process.replica.term(), reading, asker));
                    }
                    Err(_) => self.read_granted(asker, node, Err(())),
                }
            }
            Input::Transfer { to } => {
                let before = process.replica.holder().release();
                process.replica.transfer(reading, to);
                let release = process.replica.holder().release();
                if release.is_some() && release != before {
                    process.watched.transfer = Some((to, process.replica.term()));
                }
            }
            Input::Campaign => {
                if process.replica.campaign(reading).is_err() {
                    self.marks.reach(Mark::OperatorCampaignRefused);
                }
            }
            Input::Reconfigure { change } => {
                let proposed = process.replica.propose_change(reading, &change);
                if matches!(proposed, Err(ProposeError::Busy)) {
                    self.marks.reach(Mark::MembershipChangeRefused);
                }
            }
            Input::Burst { times } => {
                for _ in 0..times {
                    let reading = machine.clock.read(now);
                    process.replica.handle_timeout(reading);
                }
            }
        }
        if self.tracing() {
            self.note_lease(node);
        }
    }

    fn take_envelope(&mut self, node: usize, from: NodeId, envelope: Envelope, reading: Reading) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let is_vote = |kind| matches!(kind, MessageKind::RequestVote | MessageKind::RequestPreVote);
        let votes = envelope.messages.iter().filter(|message| is_vote(message.kind)).count() as u64;
        let until = process.replica.grantor().held_until();
        let held = until.zip(reading).is_some_and(|(until, now)| until.is_maybe_after(now));
        let (round, release) = (envelope.round, envelope.release);
        let earlier =
            envelope.messages.iter().any(|message| message.term != 0 && message.term < process.replica.term());
        let withheld = process.replica.statistics().votes_withheld;
        process.replica.handle_envelope(reading, from, envelope);
        let withheld = process.replica.statistics().votes_withheld - withheld;
        let (replica, term) = (&process.replica, process.replica.term());
        let follows = replica.role() == Role::Follower && replica.leader() == Some(from);
        let echoes = follows && round.is_some_and(|(of, _)| of == term);
        self.marks.reach_often(Mark::FrameOfAnEarlierTerm, u64::from(earlier));
        if votes > 0 {
            let released = release.is_some();
            self.marks.reach_often(Mark::ReleaseOverrodeHold, u64::from(held && released && withheld == 0));
            self.marks.reach_often(Mark::ReleaseDidNotCover, u64::from(released && withheld > 0));
        }
        if let Some(release) = release {
            self.note_release(node, release);
        }
        if withheld < votes {
            self.check_vote(node, from);
        }
        if let Some(reading) = reading.filter(|_| echoes) {
            self.nodes[node].clock.is_taken(reading);
        }
        if round.is_some() {
            self.note_promise(node);
        }
    }

    fn take_written(&mut self, node: usize, Written { number, applied }: Written) {
        let now = self.now;
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(now);
        let Some(process) = machine.process.as_mut() else { return };
        process.watched.kept_back = false;
        process.durable_applied = applied.unwrap_or(process.durable_applied);
        process.replica.handle_persisted(reading, number);
        // Forgets the older half of a log that has grown long, as far as its effects are on disk.
        if let Some(index) = process.replica.compactable(self.setup.log_entries, u64::MAX)
            && let Some(term) = process.replica.compact(index.min(process.durable_applied))
        {
            process.unwritten.compact_through = Some((index.min(process.durable_applied), term));
            self.marks.reach(Mark::LogCompacted);
        }
    }

    pub(super) fn take_timeout(&mut self, node: usize, timed_out: bool) {
        let now = self.now;
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(now);
        let Some(process) = machine.process.as_mut() else { return };
        // When the timer fires the replica sees a reading, due or not, as in the driver.
        let next = process.replica.poll_timeout();
        let due = timed_out || reading.zip(next).is_some_and(|(now, (at, _))| !at.is_surely_after(now));
        if due {
            let withheld = process.replica.statistics().campaigns_withheld;
            process.replica.handle_timeout(reading);
            self.check_kept_back(node, reading, next.map(|(at, _)| at), withheld);
        }
    }

    /// Does everything the replica wants done.
    fn carry_out(&mut self, node: usize) {
        loop {
            loop {
                let Some(process) = self.nodes[node].process.as_mut() else { return };
                let Some(output) = process.replica.poll_output() else { break };
                // It may be another configuration that it has now, or another term.
                process.watched.kept_back &= !matches!(output, Output::Apply(_) | Output::Persist(_));
                match output {
                    Output::Send { to, envelope } => self.send_envelope(node, to, envelope),
                    Output::Persist(persist) => self.persist(node, persist),
                    Output::Apply(committed) => self.apply(node, committed),
                    Output::ReadsConfirmed { through } => self.reads_end(node, through, true),
                    Output::ReadsAborted { through } => self.reads_end(node, through, false),
                    Output::SnapshotWanted => {
                        let Applied { index, term, membership } = process.applied.clone();
                        // In an order that does not depend on how the state is kept: every run of a seed is the same.
                        let mut records = process.machine.records();
                        records.sort_by(|one, other| one.key.cmp(&other.key));
                        let data = snapshot::encode(&records);
                        process.replica.offer_snapshot(Snapshot { index, term, membership, data });
                    }
                }
            }
            let machine = &mut self.nodes[node];
            let Some(process) = machine.process.as_mut() else { return };
            if process.unreachable.is_empty() {
                break;
            }
            let reading = machine.clock.read(self.now);
            for (peer, undelivered) in std::mem::take(&mut process.unreachable) {
                self.marks.reach(Mark::PeerUnreachable);
                process.replica.handle_unreachable(reading, peer, undelivered);
            }
        }
    }

    fn send_envelope(&mut self, node: usize, to: NodeId, envelope: Envelope) {
        let bulk = envelope.is_bulk();
        let snapshot = envelope.messages.iter().any(|message| message.snapshot.is_some());
        self.check_sent(node, to, &envelope);
        let sent = self.send_frame(node, to, Body::Raft(envelope));
        // What is not bulk is repeated by itself.
        if !sent
            && bulk
            && let Some(process) = self.nodes[node].process.as_mut()
        {
            process.unreachable.push((to, if snapshot { Undelivered::Snapshot } else { Undelivered::Append }));
        }
    }

    fn persist(&mut self, node: usize, persist: Persist) {
        let Persist { number, must_sync, hard_state, snapshot, entries } = persist;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.unwritten.hard_state = Some(hard_state);
        if let Some(snapshot) = snapshot {
            self.install(node, snapshot);
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.unwritten.entries = entries;
        if must_sync {
            self.write(node, number);
        }
    }

    /// Puts a leader's snapshot in the place of the state and the log.
    fn install(&mut self, node: usize, snapshot: Snapshot) {
        self.check_snapshot(node, snapshot.index, snapshot.term);
        self.marks.reach(Mark::SnapshotInstalled);
        let Some(records) = snapshot::decode(snapshot.data) else {
            return self.fail(FailureKind::StatesDiverged, format!("n{} was sent no snapshot of records", node + 1));
        };
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.applied = Applied { index: snapshot.index, term: snapshot.term, membership: snapshot.membership };
        let unwritten = &mut process.unwritten;
        unwritten.reset_log = true;
        unwritten.compact_through = None;
        unwritten.changes.clear();
        unwritten.changes.push(Change::Clear);
        unwritten.changes.extend(records.iter().cloned().map(Change::Put));
        unwritten.applied = Some(process.applied.clone());
        process.machine.restore(records);
        self.writes_through(node, snapshot.index, None);
        self.applied_moved(node);
    }

    fn apply(&mut self, node: usize, committed: Vec<Committed>) {
        for committed in committed {
            self.check_applied(node, &committed);
            let Committed { position, effect } = committed;
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let output = match effect {
                Effect::Command(command) => {
                    Some(process.machine.apply(position.index, &command, &mut process.unwritten.changes))
                }
                Effect::Nothing => None,
                Effect::Membership(membership) => {
                    process.applied.membership = membership;
                    self.marks.reach(Mark::MembershipChanged);
                    None
                }
            };
            process.applied.index = position.index;
            process.applied.term = position.term;
            if !process.writes.is_empty() {
                let reply = output.and_then(|output| output.ok()?.pop());
                self.writes_through(node, position.index, Some((position.term, reply)));
            }
        }
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.unwritten.applied = Some(process.applied.clone());
        }
        self.applied_moved(node);
    }

    /// Something took every place through `index`: an entry of that term with that reply, or a snapshot.
    fn writes_through(&mut self, node: usize, index: Index, entry: Option<(leasehold_core::Term, Option<Reply>)>) {
        loop {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let Some(first) = process.writes.first_entry() else { return };
            let place = *first.key();
            if place.0 > index {
                return;
            }
            let (_, asker) = first.remove();
            let outcome = match &entry {
                Some((term, Some(reply))) if place == (index, *term) => Ok((reply.clone(), index)),
                Some(_) if place.0 == index => {
                    self.marks.reach(Mark::WritePlaceTaken);
                    Err(Fate::NotExecuted)
                }
                _ => Err(Fate::Uncertain),
            };
            self.write_ended(asker, node, outcome);
        }
    }

    fn reads_end(&mut self, node: usize, through: u64, confirmed: bool) {
        loop {
            let machine = &mut self.nodes[node];
            let fails = machine.clock.fails;
            let Some(process) = machine.process.as_mut() else { return };
            let term = process.replica.term();
            let Some((ticket, taken_in, _, asker)) = process.reads.pop_front_if(|(ticket, ..)| ticket.round <= through)
            else {
                return;
            };
            if confirmed {
                self.check_confirmed(node, taken_in, term);
                self.marks.reach_often(Mark::QuorumReadWithoutClock, u64::from(fails));
                self.read_granted(asker, node, Ok((ticket.index, By::Quorum)));
            } else {
                self.marks.reach(Mark::ReadsAborted);
                self.read_granted(asker, node, Err(()));
            }
        }
    }

    /// Sends everything unwritten to the disk.
    fn write(&mut self, node: usize, number: u64) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let batch = std::mem::take(&mut process.unwritten);
        if self.nodes[node].disk.take(Write { batch, number }) {
            self.begin_sync(node);
        }
    }

    /// The disk takes what has queued up and syncs it.
    pub(super) fn begin_sync(&mut self, node: usize) {
        let (least, most) = self.setup.sync;
        let healed = self.healed;
        let disk = &mut self.nodes[node].disk;
        if disk.begin() {
            let longest = if healed { least } else { most };
            let (epoch, slower) = (disk.epoch, if healed { 0 } else { disk.slower_by });
            let takes = least + self.dice.below(longest) + slower;
            self.at(self.now + takes, Event::Synced { node: node as u8, epoch });
        }
    }

    /// What is done once per wake of the timer.
    fn sweep(&mut self, node: usize) {
        let now = self.now;
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(now);
        let config = self.setup.timings[machine.timing as usize];
        let Some(process) = machine.process.as_mut() else { return };
        let overdue = |since: &mut Reading| Process::is_overdue(reading, since);
        let writes: Vec<Asker> =
            process.writes.extract_if(.., |_, (since, _)| overdue(since)).map(|(_, (_, asker))| asker).collect();
        let mut reads = Vec::new();
        while let Some((.., asker)) = process.reads.pop_front_if(|(_, _, since, _)| overdue(since)) {
            reads.push(asker);
        }
        if process.lower_hold && process.replica.grantor().restart_hold_is_over() {
            process.lower_hold = false;
            process.unwritten.longest_hold = Some(config.hold());
            self.marks.reach(Mark::LongestHoldLowered);
        }
        if process.unwritten != Batch::default() {
            self.write(node, 0);
        }
        writes.into_iter().for_each(|asker| self.write_ended(asker, node, Err(Fate::Uncertain)));
        reads.into_iter().for_each(|asker| self.read_granted(asker, node, Err(())));
    }

    fn until_next_timeout(&mut self, node: usize) -> Duration {
        let now = self.now;
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(now);
        let Some(process) = &machine.process else { return Duration::ZERO };
        let longest = process.replica.tick();
        let next = process.replica.poll_timeout().zip(reading);
        next.map_or(longest, |((at, _), now)| at.elapsed_since(now).at_least.min(longest))
    }

    fn publish(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let replica = &process.replica;
        let leads = replica.role() == Role::Leader;
        let status = Status { leads, term: replica.term(), leader: replica.leader().unwrap_or(0) };
        let before = std::mem::replace(&mut process.status, status);
        if before.leader != status.leader {
            self.leader_is_news(node);
        }
    }
}
