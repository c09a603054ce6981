//! The shell of one node: it passes inputs with readings to the node, and carries out its outputs, one turn at a time.
//! It replaces the product's asynchronous shell (`node/src/task.rs`), and makes no decisions either.

use super::client::OperationRef;
use super::disk::Write;
use super::marks::Mark;
use super::node::{DECIDING_GROUP, Input};
use super::world::{Event, World};
use leasehold::keyspace::Keyspace;
use leasehold_core::{NodeId, Reading};
use leasehold_node::ports::{Batch, GroupId, Lane};
use leasehold_node::snapshot::Work;
use leasehold_node::wire::{Body, Message};
use leasehold_node::{Output, Role};
use leasehold_raft::ProposeError;
use leasehold_raft::wire::{Envelope, MessageKind};
use std::time::Duration;

/// The largest number of inputs handled in one turn.
const MAX_INPUTS_PER_TURN: usize = 512;
/// The largest number of queued inputs.
const MAX_INBOX: usize = 4_096;

impl World {
    /// Queues an input for a process's node, and schedules a turn.
    pub(super) fn queue_input(&mut self, node: usize, input: Input) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.inbox.len() < MAX_INBOX {
            process.inbox.push_back(input);
        }
        self.wake_task(node);
    }

    /// Schedules a turn of the node, immediately or a little later.
    pub(super) fn wake_task(&mut self, node: usize) {
        let now = self.now;
        if !self.nodes[node].task_runs(now) {
            return;
        }
        let boot = self.nodes[node].boot;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.turn_is_due {
            return;
        }
        process.turn_is_due = true;
        // A turn is a separate event, so that the caller's step completes first.
        let delay = if self.healed { 0 } else { self.dice.below(self.setup.loop_delay + 1) };
        self.at(now + delay, Event::Turn { node: node as u8, boot });
    }

    /// Runs one turn of the node.
    pub(super) fn turn(&mut self, node: usize) {
        let now = self.now;
        if !self.nodes[node].task_runs(now) {
            if let Some(process) = self.nodes[node].process.as_mut() {
                process.turn_is_due = false;
            }
            return;
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.turn_is_due = false;
        let timer_fired = std::mem::take(&mut process.timer_fired);
        for _ in 0..MAX_INPUTS_PER_TURN {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let report = process.reports.pop_front().map(Input::Node);
            let Some(input) = report.or_else(|| process.inbox.pop_front()) else { break };
            self.dispatch(node, input);
        }
        self.handle_timeout(node, timer_fired);
        let machine = &mut self.nodes[node];
        if let Some(process) = machine.process.as_mut().filter(|process| process.node.has_backlog()) {
            process.node.resume(machine.clock.read(now));
            self.marks.reach(Mark::ApplyingWaited);
        }
        self.drain_outputs(node);
        if timer_fired {
            let machine = &mut self.nodes[node];
            let reading = machine.clock.read(now);
            let Some(process) = machine.process.as_ref() else { return };
            let (boot, next) = (machine.boot, process.node.until_timeout(reading));
            self.set_timer(node, boot, next);
        }
        self.watch(node);
        if self.tracing() {
            self.note_lease(node);
        }
        let stopped = self.nodes[node].process.as_ref().is_some_and(|process| process.node.is_stopped());
        if let Some(stops) = self.nodes[node].stops.filter(|_| stopped) {
            return self.end_orderly(node, stops);
        }
        if let Some(process) = self.nodes[node].process.as_ref()
            && (process.node.has_backlog() || !(process.inbox.is_empty() && process.reports.is_empty()))
        {
            self.wake_task(node);
        }
    }

    pub(super) fn set_timer(&mut self, node: usize, boot: u32, after: Duration) {
        let late = if self.healed { 0 } else { self.dice.below(self.setup.timer_delay + 1) };
        // A timer has the same rate error as the clock, because both count the same oscillator.
        let takes = self.nodes[node].clock.true_duration(after.as_nanos() as u64);
        self.at(self.now + takes + late, Event::Timer { node: node as u8, boot });
    }

    /// Passes one input to the node, with a reading of its own.
    fn dispatch(&mut self, node: usize, input: Input) {
        let now = self.now;
        if let Input::Transfer { group, .. } | Input::Campaign { group } | Input::Reconfigure { group, .. } = &input {
            self.focus_on(*group);
        }
        let group = self.focus as GroupId;
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(now);
        let Some(process) = machine.process.as_mut() else { return };
        process.groups.iter_mut().for_each(|group| group.watched.kept_back = false);
        match input {
            Input::Node(leasehold_node::Input::Messages { from, messages }) => {
                for message in messages {
                    self.handle_message(node, from, message, reading);
                }
            }
            Input::Node(input) => process.node.handle(reading, input),
            Input::Transfer { to, .. } => {
                let before = process.replica().holder().release();
                let started = process.node.transfer(reading, group, to);
                self.marks.reach_often(Mark::TransferRefused, u64::from(started.is_err()));
                let release = process.replica().holder().release();
                if release.is_some() && release != before {
                    process.hosted_mut().watched.transfer = Some((to, process.replica().term()));
                }
            }
            Input::Campaign { .. } => {
                if process.node.campaign(reading, group).is_err() {
                    self.marks.reach(Mark::OperatorCampaignRefused);
                }
            }
            Input::HandOver => {
                let groups = 0..process.groups.len() as GroupId;
                let handed_over = groups.filter(|group| process.node.hand_over(reading, *group).is_ok()).count();
                self.marks.reach_often(Mark::HandedOverToStop, handed_over as u64);
            }
            Input::Stop => process.node.stop(reading),
            Input::Reconfigure { change, .. } => {
                let proposed = process.node.propose_change(reading, group, &change);
                if matches!(proposed, Err(ProposeError::Busy)) {
                    self.marks.reach(Mark::MembershipChangeRefused);
                }
            }
            Input::CreateGroup => self.create_passing_group(node, reading),
            Input::RemoveGroup => self.remove_passing_group(node, reading),
            Input::Decide { change } => {
                let proposed = process.node.change_members(reading, DECIDING_GROUP, change);
                self.marks.reach_often(Mark::MembersDecided, u64::from(proposed.is_ok()));
            }
            Input::Burst { times } => {
                for _ in 0..times {
                    let reading = machine.clock.read(now);
                    process.node.handle_timeout(reading);
                }
            }
        }
        if self.tracing() {
            self.note_lease(node);
        }
    }

    fn handle_message(&mut self, node: usize, from: NodeId, message: Message, reading: Reading) {
        let is_known = Some(message.group) != self.passing_group();
        if is_known {
            self.focus_on(message.group as usize);
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if !is_known && process.node.group(message.group).is_none() {
            self.marks.reach(Mark::MessageForNoGroup);
        }
        let messages = match message {
            Message { group, body: Body::Raft(envelope) } if is_known => {
                return self.handle_envelope(node, from, group, envelope, reading);
            }
            message => vec![message],
        };
        process.node.handle(reading, leasehold_node::Input::Messages { from, messages });
    }

    fn handle_envelope(&mut self, node: usize, from: NodeId, group: u32, envelope: Envelope, reading: Reading) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let is_vote = |kind| matches!(kind, MessageKind::RequestVote | MessageKind::RequestPreVote);
        let votes = envelope.messages.iter().filter(|message| is_vote(message.kind)).count() as u64;
        let until = process.replica().grantor().held_until();
        let held = until.zip(reading).is_some_and(|(until, now)| until.is_maybe_after(now));
        let (round, release) = (envelope.round, envelope.release);
        let term = process.replica().term();
        let earlier = envelope.messages.iter().any(|message| message.term != 0 && message.term < term);
        let withheld = process.replica().statistics().votes_withheld;
        let message = Message { group, body: Body::Raft(envelope) };
        process.node.handle(reading, leasehold_node::Input::Messages { from, messages: vec![message] });
        let replica = process.replica();
        let withheld = replica.statistics().votes_withheld - withheld;
        let follows = replica.role() == Role::Follower && replica.leader() == Some(from);
        let echoes = follows && round.is_some_and(|(of, _)| of == replica.term());
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
            self.nodes[node].clock.note_used(reading);
        }
        if round.is_some() {
            self.note_promise(node);
        }
    }

    pub(super) fn handle_timeout(&mut self, node: usize, timer_fired: bool) {
        let machine = &mut self.nodes[node];
        let reading = machine.clock.read(self.now);
        let Some(process) = machine.process.as_mut() else { return };
        if timer_fired || process.node.timeout_is_due(reading) {
            let groups = 0..process.groups.len() as GroupId;
            let replicas = groups.filter_map(|group| Some(process.node.group(group)?.replica()));
            let before = replicas
                .map(|replica| (replica.poll_timeout().map(|(at, _)| at), replica.statistics().campaigns_withheld));
            let before: Vec<_> = before.collect();
            process.node.handle_timeout(reading);
            for (group, (next, withheld)) in before.into_iter().enumerate() {
                self.focus_on(group);
                self.check_kept_back(node, reading, next, withheld);
            }
        }
    }

    /// Carries out all outputs of the node.
    pub(super) fn drain_outputs(&mut self, node: usize) {
        loop {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let output = process.node.poll_output();
            self.check_progress(node);
            match output {
                None => return,
                Some(Output::Send { to, lane, messages }) => self.send(node, to, lane, messages),
                Some(Output::Commit { number, batches }) => self.commit(node, number, batches),
                Some(Output::Work(work)) => self.work(node, work),
                Some(Output::Halted { .. }) => unreachable!("every command is known"),
                Some(Output::Reply { ticket, outcome }) => self.replied(node, OperationRef::of_ticket(ticket), outcome),
            }
        }
    }

    fn send(&mut self, node: usize, to: NodeId, lane: Lane, messages: Vec<Message>) {
        for message in &messages {
            if let Body::Raft(envelope) = &message.body
                && Some(message.group) != self.passing_group()
            {
                self.focus_on(message.group as usize);
                self.check_sent(node, to, envelope);
            }
        }
        if !self.send_frame(node, to, lane, messages.clone()) {
            self.marks.reach(Mark::PeerUnreachable);
            let machine = &mut self.nodes[node];
            let reading = machine.clock.read(self.now);
            if let Some(process) = machine.process.as_mut() {
                process.node.handle(reading, leasehold_node::Input::NotSent { to, messages });
            }
        }
    }

    fn commit(&mut self, node: usize, number: u64, batches: Vec<Batch>) {
        for batch in &batches {
            self.marks.reach_often(Mark::LongestHoldLowered, u64::from(batch.longest_hold.is_some()));
            self.marks.reach_often(Mark::LogCompacted, u64::from(batch.compact_through.is_some()));
            let is_known = Some(batch.group) != self.passing_group();
            if let Some(applied) = batch.applied.as_ref().filter(|_| is_known) {
                self.check_members(node, batch.group as usize, &applied.membership);
            }
            if let Some(applied) = batch.applied.as_ref().filter(|_| batch.reset_log && is_known) {
                self.focus_on(batch.group as usize);
                self.check_snapshot(node, applied.index, applied.term);
                self.marks.reach(Mark::SnapshotInstalled);
            }
        }
        if self.nodes[node].disk.take(Write { batches, number }) {
            self.begin_sync(node);
        }
    }

    /// Runs the work of the snapshot thread at once, and schedules its report.
    fn work(&mut self, node: usize, work: Work<Keyspace>) {
        if let Some(result) = work.run() {
            let boot = self.nodes[node].boot;
            let takes = if self.healed { 0 } else { self.dice.below(self.setup.heartbeat()) };
            let report = Box::new(leasehold_node::Input::WorkDone(result));
            self.at(self.now + takes, Event::WorkDone { node: node as u8, boot, report });
        }
    }

    /// Starts a sync of all queued commits.
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
}
