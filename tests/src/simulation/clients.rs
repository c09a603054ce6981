//! Clients and the server threads that serve them, modelled on how `server/src/clients/session.rs` handles one command.

use super::client::{Ending, Operation, OperationRef, Step};
use super::failure::FailureKind;
use super::marks::Mark;
use super::node::Input;
use super::setup::{MILLI, SECOND};
use super::types::Nanos;
use super::world::{Event, World};
use crate::linearizability::{Answer, Call};
use bytes::Bytes;
use leasehold::keyspace::{Entry, Keyspace, NewExpiry, Outcome, ReadCommand, Reply, SetCommand, When, WriteCommand};
use leasehold_core::{Index, Reading, Term};
use leasehold_node::ports::{GroupId, StateMachine};
use leasehold_node::{Ground, ReadMode, Request, RequestError};

/// The maximum time that a node takes for a request, as in the product.
const MAX_REQUEST_TIMEOUT: Nanos = 5 * SECOND;
/// The time a client waits beyond the node's own timeout.
const CLIENT_PATIENCE: Nanos = SECOND;
/// The time between two entries that are proposed because of a deadline, as in the product.
const MIN_TICK_INTERVAL: Nanos = 50 * MILLI;
/// Clients move on to new keys after this many operations, which bounds the history of each key.
const OPERATIONS_PER_KEY: u64 = 250;

impl World {
    /// Starts the next operation of a client.
    pub(super) fn client_acts(&mut self, at: usize) {
        if self.clients_stopped {
            return;
        }
        let rush = self.now < self.rush_until;
        let silence = self.now < self.silence_until && !self.healed;
        let load = self.setup.load;
        let now = self.now;
        let client = &mut self.clients[at];
        if client.active.is_some() {
            return;
        }
        if silence {
            let until = self.silence_until + client.dice.below(load.think);
            return self.at(until, Event::Client(at as u16));
        }
        let think = if rush { load.think / 16 } else { load.think };
        client.number += 1;
        let reference = OperationRef { client: at as u16, number: client.number };
        let node = if client.dice.chance(600_000) { client.favourite } else { client.home };
        let node = if client.dice.chance(80_000) { client.dice.below(self.nodes.len() as u64) as usize } else { node };
        self.invoked += 1;
        let epoch = self.invoked / OPERATIONS_PER_KEY;
        let client = &mut self.clients[at];
        let key = epoch * load.keys + client.dice.below(load.keys);
        let groups = self.groups.len() as u64;
        let group = if groups > 1 { self.group_dice.below(groups) } else { 0 };
        let key = (key * groups + group) as u32;
        self.focus_on(group as usize);
        // After faults have healed, client 0 always asks the leader.
        let leader = self.leader().filter(|_| self.healed && at == 0);
        let node = leader.unwrap_or(node);
        let client = &mut self.clients[at];
        let call = if client.dice.chance(load.writes_ppm) {
            match client.dice.below(10) {
                0..6 => Call::Set(self.invoked << 20),
                6..9 => Call::Increment,
                _ => Call::Delete,
            }
        } else {
            Call::Get
        };
        let only_quorum = call == Call::Get && client.dice.chance(load.quorum_ppm);
        if self.nodes[node].process.is_none() {
            // The connection is refused; the client tries another node later.
            client.favourite = client.dice.below(self.nodes.len() as u64) as usize;
            let later = now + client.dice.below(2 * think) + 1;
            return self.at(later, Event::Client(at as u16));
        }
        let id = self.history.invoke(at as u32, key, call, now);
        // A death is a delete that may happen at any time from its earliest on, or never.
        let is_set = matches!(call, Call::Set(_));
        let lifetime = self.walls.draw_lifetime().filter(|_| is_set).map(|lifetime| {
            let earliest = self.walls.earliest_death(now, lifetime);
            (lifetime, self.history.invoke(at as u32, key, Call::Delete, earliest))
        });
        self.marks.reach_often(Mark::WallClockStepped, u64::from(self.walls.step_one()));
        (0..self.groups.len()).for_each(|group| self.tick(group));
        self.focus_on(group as usize);
        let client = &mut self.clients[at];
        client.active = Some(Operation {
            id,
            key,
            group: group as usize,
            call,
            lifetime,
            node,
            boot: self.nodes[node].boot,
            floor: self.groups[self.focus].seen_index,
            deadline: now + MAX_REQUEST_TIMEOUT.min(load.patience) + CLIENT_PATIENCE,
            steps: 0,
            only_quorum,
            granted: None,
            permit: None,
            local: None,
        });
        if self.tracing() {
            self.note(node, "client", format!("c{at} sends {call:?} for key {key}"));
        }
        self.step_or_wait(reference, Step::Begin);
        self.await_deadline(at);
    }

    /// Schedules a check of the client's deadline. One event at a time is enough, because every operation has the same
    /// timeout.
    fn await_deadline(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Some(operation) = client.active.as_ref().filter(|_| !client.awaits_deadline) {
            let deadline = operation.deadline;
            client.awaits_deadline = true;
            self.at(deadline, Event::Deadline(at as u16));
        }
    }

    /// Has the leader propose an empty entry if a key's deadline has come, as `server/src/expirer.rs` does.
    fn tick(&mut self, group: usize) {
        self.focus_on(group);
        let (last, number) = self.groups[self.focus].ticked;
        let Some(leader) = self.leader().filter(|_| self.now >= last + MIN_TICK_INTERVAL) else { return };
        let wall = self.walls.read(leader);
        let process = self.nodes[leader].process.as_ref().expect("the leader runs");
        if process.hosted().view.next_tick(wall).is_some_and(|left| left.is_zero()) {
            self.marks.reach(Mark::KeyDied);
            self.groups[self.focus].ticked = (self.now, number + 1);
            // No client waits for the reply.
            let ticket = OperationRef { client: u16::MAX, number }.ticket();
            let request = Request::Write(Entry::encode(&[], true, &[]));
            let input = leasehold_node::Input::Request { ticket, group: group as GroupId, request };
            self.queue_input(leader, Input::Node(input));
        }
    }

    pub(super) fn operation(&mut self, reference: OperationRef) -> Option<&mut Operation> {
        let client = self.clients.get_mut(reference.client as usize)?;
        client.active.as_mut().filter(|_| client.number == reference.number)
    }

    /// Takes a step if the process's readers run, possibly after an interruption.
    fn step_or_wait(&mut self, reference: OperationRef, step: Step) {
        let (interrupted, longest) = self.setup.slow_readers;
        let healed = self.healed;
        let client = &mut self.clients[reference.client as usize];
        let Some(operation) = client.active.as_mut() else { return };
        operation.steps += 1;
        let steps = operation.steps;
        if !healed && !matches!(step, Step::Begin) && client.dice.chance(interrupted) {
            // Half of the pauses are drawn uniformly, so that long ones are common.
            let any = client.dice.chance(500_000);
            let pause = if any { client.dice.of_any_size(1_000, longest) } else { client.dice.below(longest) };
            match step {
                Step::Begin => {}
                Step::Sample => self.marks.reach(Mark::PausedBeforeSample),
                Step::Check(..) => self.marks.reach(Mark::PausedBeforeCheck),
                Step::View => self.marks.reach(Mark::PausedBeforeView),
            }
            return self.at(self.now + pause, Event::Step(reference, steps, step));
        }
        self.take_step(reference, steps, step);
    }

    /// Takes a step that was scheduled.
    pub(super) fn take_step(&mut self, reference: OperationRef, steps: u32, step: Step) {
        let now = self.now;
        let Some(operation) = self.operation(reference).filter(|operation| operation.steps == steps) else { return };
        let (node, call, group) = (operation.node, operation.call, operation.group);
        self.focus_on(group);
        if !self.nodes[node].readers_run(now) {
            let resumes = self.nodes[node].paused_until + self.draw_resume_delay();
            return self.at(resumes, Event::Step(reference, steps, step));
        }
        match (step, call) {
            (Step::Begin, Call::Get) => {
                let only_quorum = self.operation(reference).is_some_and(|operation| operation.only_quorum);
                match only_quorum {
                    true => self.request(reference, Request::Read(ReadMode::Quorum)),
                    false => self.step_or_wait(reference, Step::Sample),
                }
            }
            (Step::Begin, _) => {
                let operation = self.operation(reference).expect("checked above");
                let (key, lifetime) = (operation.key, operation.lifetime.map(|(lifetime, _)| lifetime));
                let entry = Entry::encode(&[], true, &[command_of(call, key, lifetime)]);
                self.request(reference, Request::Write(entry));
            }
            (Step::Sample, _) => {
                let sample = self.nodes[node].clock.read(now);
                self.step_or_wait(reference, Step::Check(sample, self.groups[self.focus].elected));
            }
            (Step::Check(sample, elected), _) => self.check_lease(reference, sample, elected),
            (Step::View, _) => self.view(reference),
        }
    }

    /// Reads the state if the published lease permits it; otherwise sends a request to the node.
    fn check_lease(&mut self, reference: OperationRef, sample: Reading, elected: Term) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, waited) = (operation.node, operation.steps > 2);
        let process = self.nodes[node].process.as_mut().expect("operations end with their process");
        match process.hosted().gate.try_read(sample) {
            Some(permit) => {
                self.check_permit(node, permit, elected);
                self.operation(reference).expect("checked above").permit = Some(permit.term);
                self.step_or_wait(reference, Step::View);
            }
            None => {
                if let Some(received) = self.try_read_locally(reference, sample, elected) {
                    self.operation(reference).expect("checked above").local = Some(received);
                    return self.step_or_wait(reference, Step::View);
                }
                let process = self.nodes[node].process.as_mut().expect("operations end with their process");
                let status = process.group().status();
                let leads = status.role == leasehold_node::Role::Leader;
                if leads && sample.is_some() {
                    let deposed = self.groups[self.focus].elected > status.term;
                    let resumed = std::mem::take(&mut self.nodes[node].paused_with_lease);
                    self.marks.reach_often(Mark::OldLeaderRefusedRead, u64::from(deposed));
                    self.marks.reach_often(Mark::ResumedReaderRefused, u64::from(resumed));
                    self.marks.reach_often(Mark::PausedThenRefused, u64::from(waited));
                }
                self.request(reference, Request::Read(ReadMode::Lease));
            }
        }
    }

    /// Returns the end of the log that the node has received, if its sublease permits a read and no entry that waits to be
    /// applied may change the key.
    fn try_read_locally(&mut self, reference: OperationRef, sample: Reading, elected: Term) -> Option<Index> {
        let operation = self.operation(reference)?;
        let (node, key) = (operation.node, operation.key);
        let process = self.nodes[node].process.as_ref().expect("operations end with their process");
        let hosted = process.hosted();
        let (gate, view) = (&hosted.gate, &hosted.view);
        let permit = gate.try_read_local(sample)?;
        let (touched, read) = (gate.touched(), ReadCommand::Get(key_bytes(key)));
        let settled = view.settled(&[read], |key| touched.may_contain(key), || touched.time()) > 0;
        let sublease = gate.sublease().try_read(sample);
        if let Some(sublease) = sublease {
            self.check_permit(node, sublease, elected);
        }
        self.marks.reach_often(Mark::LocalRead, u64::from(permit.is_applied || settled));
        self.marks.reach_often(Mark::LocalReadOfUntouchedKey, u64::from(!permit.is_applied && settled));
        self.marks.reach_often(Mark::LocalReadWaited, u64::from(!permit.is_applied && !settled));
        (permit.is_applied || settled).then_some(permit.index)
    }

    fn request(&mut self, reference: OperationRef, request: Request) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, group) = (operation.node, operation.group as GroupId);
        let input = leasehold_node::Input::Request { ticket: reference.ticket(), group, request };
        self.queue_input(node, Input::Node(input));
    }

    fn view(&mut self, reference: OperationRef) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, key, permit) = (operation.node, operation.key, operation.permit);
        let process = self.nodes[node].process.as_mut().expect("operations end with their process");
        let mut replies = Vec::with_capacity(1);
        process.hosted().view.read(&[ReadCommand::Get(key_bytes(key))], &mut replies);
        let index = process.applied();
        let status = process.group().status();
        if permit.is_some_and(|term| term != status.term || status.role != leasehold_node::Role::Leader) {
            self.marks.reach(Mark::AnsweredAfterDeposition);
        }
        let Some(answer) = replies.pop().and_then(|reply| answer_of(Call::Get, &reply)) else {
            return self
                .fail(FailureKind::WrongReply, format!("n{}: a read returned an error or an invalid value", node + 1));
        };
        self.end(reference, Ending::Done(answer, index));
    }

    /// Handles a reply from a node.
    pub(super) fn replied(
        &mut self,
        node: usize,
        reference: OperationRef,
        outcome: Result<leasehold_node::Reply<<Keyspace as StateMachine>::Output>, RequestError>,
    ) {
        if outcome == Err(RequestError::Uncertain) {
            self.marks.reach(Mark::WriteUncertain);
        }
        let Some(operation) = self.operation(reference) else { return };
        match outcome {
            Ok(leasehold_node::Reply::Readable(grant)) => {
                operation.granted = Some(grant);
                self.step_or_wait(reference, Step::View);
            }
            Ok(leasehold_node::Reply::Written { index, output }) => {
                let call = operation.call;
                let reply = match output {
                    Outcome::Replies(mut replies) => replies.pop(),
                    Outcome::Conflict => None,
                };
                match reply.as_ref().and_then(|reply| answer_of(call, reply)) {
                    Some(answer) => self.end(reference, Ending::Done(answer, index)),
                    None => {
                        self.fail(
                            FailureKind::WrongReply,
                            format!("n{}: invalid reply to {call:?}: {reply:?}", node + 1),
                        );
                    }
                }
            }
            Err(RequestError::Uncertain) => self.end(reference, Ending::Unknown),
            Err(_) => self.end(reference, Ending::NotExecuted),
        }
    }

    /// Ends the operation if its deadline has passed.
    pub(super) fn deadline(&mut self, at: u16) {
        let client = &mut self.clients[at as usize];
        client.awaits_deadline = false;
        let Some(operation) = client.active.as_ref() else { return };
        if self.now < operation.deadline {
            return self.await_deadline(at as usize);
        }
        let reference = OperationRef { client: at, number: client.number };
        self.end(reference, Ending::Unknown);
    }

    /// Ends all operations at a process that has ended.
    pub(super) fn end_operations_of(&mut self, node: usize) {
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            let reference = OperationRef { client: at as u16, number: client.number };
            match &client.active {
                Some(operation) if operation.node == node && operation.boot == self.nodes[node].boot => {
                    self.end(reference, Ending::Unknown);
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, reference: OperationRef, ending: Ending) {
        let now = self.now;
        let client = &mut self.clients[reference.client as usize];
        let Some(operation) = client.active.take() else { return };
        self.focus_on(operation.group);
        let client = &mut self.clients[reference.client as usize];
        let reads = operation.call == Call::Get;
        if let Ending::Done(answer, index) = ending {
            // An answer also names the current leader.
            let known = self.nodes[operation.node].process.as_ref().and_then(|process| process.replica().leader());
            let leader = known.map(|leader| leader as usize - 1).filter(|_| client.dice.chance(500_000));
            client.favourite = leader.unwrap_or(operation.node);
            self.history.succeeded(operation.id, answer, now);
            if self.tracing() {
                let by = match operation.granted {
                    _ if !reads => "",
                    None if operation.local.is_some() => " by its sublease",
                    None => " under the lease",
                    Some(grant) => match (grant.ground, grant.as_follower) {
                        (Ground::Lease, true) => " at an index granted by the leader's lease",
                        (Ground::Lease, false) => " under the lease, once applied",
                        (Ground::Quorum, true) => " at an index granted by a quorum round",
                        (Ground::Quorum, false) => " after a quorum round",
                        (Ground::Sublease, _) => " by its sublease, once applied",
                    },
                };
                let text = format!("c{} receives {answer:?} as of index {index}{by}", reference.client);
                self.note(operation.node, "client", text);
            }
            let counts = &mut self.operations;
            match operation.granted {
                _ if !reads => counts.writes += 1,
                Some(grant) if grant.as_follower => {
                    counts.follower_reads += 1;
                    let by_lease = grant.ground == Ground::Lease;
                    self.marks.reach(if by_lease { Mark::FollowerReadByLease } else { Mark::FollowerReadByQuorum });
                }
                None if operation.local.is_some() => counts.follower_reads += 1,
                Some(grant) if grant.ground == Ground::Sublease => counts.follower_reads += 1,
                Some(grant) if grant.ground == Ground::Quorum => counts.quorum_reads += 1,
                _ => {
                    counts.lease_reads += 1;
                    self.groups[self.focus].last_lease_read = now;
                }
            }
            // What was received and is not applied does not concern the key.
            if index.max(operation.local.unwrap_or(0)) < operation.floor + u64::from(!reads) {
                let what = format!(
                    "{} at n{} reflects index {index}, but index {} had been seen before the request",
                    if reads { "a read" } else { "a write" },
                    operation.node + 1,
                    operation.floor
                );
                self.fail(FailureKind::StaleRead, what);
            }
            self.groups[self.focus].seen_index = self.groups[self.focus].seen_index.max(index);
        } else {
            let unknown = matches!(ending, Ending::Unknown) && !reads;
            if unknown {
                self.operations.unknown += 1;
            } else {
                self.operations.failed += 1;
                self.history.failed(operation.id);
                operation.lifetime.into_iter().for_each(|(_, death)| self.history.failed(death));
            }
            if self.tracing() {
                let learned = if unknown { "does not know the outcome" } else { "learns that it was not executed" };
                self.note(operation.node, "client", format!("c{} {learned}", reference.client));
            }
        }
        let client = &mut self.clients[reference.client as usize];
        let unanswered = !matches!(ending, Ending::Done(..));
        if unanswered {
            client.favourite = client.dice.below(self.nodes.len() as u64) as usize;
        }
        let rush = now < self.rush_until;
        let think = if rush { self.setup.load.think / 16 } else { self.setup.load.think };
        let next = now + 1 + client.dice.below(2 * think);
        self.at(next, Event::Client(reference.client));
    }
}

fn key_bytes(key: u32) -> Bytes {
    Bytes::copy_from_slice(&key.to_be_bytes())
}

fn command_of(call: Call, key: u32, lifetime: Option<u64>) -> WriteCommand {
    let key = key_bytes(key);
    match call {
        Call::Set(value) => {
            let expiry = lifetime.map_or(NewExpiry::None, |lifetime| NewExpiry::Dies(When::In(lifetime as i64)));
            WriteCommand::Set(SetCommand { expiry, ..SetCommand::new(key, Bytes::from(value.to_string())) })
        }
        Call::Increment => WriteCommand::Add { key, amount: 1 },
        Call::Delete => WriteCommand::Delete(vec![key]),
        Call::Get => WriteCommand::Read(ReadCommand::Get(key)),
    }
}

/// Converts a reply to an answer. Returns `None` if the call cannot have such a reply.
fn answer_of(call: Call, reply: &Reply) -> Option<Answer> {
    match (call, reply) {
        (Call::Set(_), Reply::Ok) | (Call::Delete, Reply::Integer(_)) => Some(Answer::Done),
        (Call::Increment, Reply::Integer(number)) => Some(Answer::Value(Some(u64::try_from(*number).ok()?))),
        (Call::Get, Reply::Value(None)) => Some(Answer::Value(None)),
        (Call::Get, Reply::Value(Some(value))) => {
            Some(Answer::Value(Some(std::str::from_utf8(value).ok()?.parse().ok()?)))
        }
        _ => None,
    }
}
