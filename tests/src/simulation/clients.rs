//! Clients, and the part of a server that executes what they ask: in the order of `server/src/executor.rs`.

use super::Nanos;
use super::checks::FailureKind;
use super::dice::Dice;
use super::marks::Mark;
use super::network::{Body, Told};
use super::node::{Ask, Fate, Input};
use super::setup::SECOND;
use super::world::{Event, World};
use crate::linearizability::{Answer, Call, OperationId};
use bytes::Bytes;
use leasehold::keyspace::{ReadCommand, Reply, WriteCommand};
use leasehold_core::{Index, NodeId, Reading, Term};

/// How long a command waits for a leader and its answer, as in the server.
const PATIENCE: Nanos = 5 * SECOND;
/// After so many operations clients turn to other keys, so that no key's history grows long.
const OPERATIONS_PER_KEY: u64 = 250;

/// An operation that may have ended by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationRef {
    /// Whose it is.
    pub client: u16,
    /// Its number among that client's.
    pub number: u32,
}

/// Who waits for an answer of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// An operation at this node.
    Operation(OperationRef),
    /// A process of another node.
    Peer { node: NodeId, boot: u32, request: u64 },
}

/// What a read may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A lease.
    Lease,
    /// A quorum round.
    Quorum,
}

/// A client.
pub(super) struct Client {
    dice: Dice,
    number: u32,
    /// Where it goes when it has nobody better.
    home: usize,
    /// Who answered last.
    favourite: usize,
    /// What it waits for.
    pub active: Option<Operation>,
    awaits_deadline: bool,
}

/// An operation under way.
pub(super) struct Operation {
    id: OperationId,
    key: u32,
    call: Call,
    /// The server asked, and which of its processes.
    node: usize,
    boot: u32,
    /// Nothing older than this may be answered.
    floor: Index,
    /// When the server gives up.
    deadline: Nanos,
    /// Counts the steps taken, so that a step that was overtaken is known.
    steps: u32,
    /// Reads: whether it must not use the lease.
    only_quorum: bool,
    /// Reads: what granted it, and whether at another node.
    pub(super) granted: Option<(By, bool)>,
    /// Reads: the term of a permit.
    permit: Option<Term>,
    /// Writes: whether it may have been executed.
    attempted: bool,
}

/// What a server does next for an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It takes up the request.
    Begin,
    /// It takes a reading.
    Sample,
    /// It checks the lease with a reading taken earlier, when this was the newest term elected.
    Check(Reading, Term),
    /// It reads the state.
    View,
}

/// How an operation ended.
enum Ending {
    Done(Answer, Index),
    NotExecuted,
    Unknown,
}

impl Client {
    pub(super) fn new(dice: Dice, home: usize) -> Client {
        Client { dice, number: 0, home, favourite: home, active: None, awaits_deadline: false }
    }
}

impl World {
    /// A client's time has come.
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
        // Once all is well, one of them asks whoever leads.
        let leader = self.leader().filter(|_| self.healed && at == 0);
        let node = leader.unwrap_or(node);
        self.invoked += 1;
        let epoch = self.invoked / OPERATIONS_PER_KEY;
        let client = &mut self.clients[at];
        let key = (epoch * load.keys + client.dice.below(load.keys)) as u32;
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
        client.active = Some(Operation {
            id,
            key,
            call,
            node,
            boot: self.nodes[node].boot,
            floor: self.seen_index,
            deadline: now + PATIENCE.min(load.patience),
            steps: 0,
            only_quorum,
            granted: None,
            permit: None,
            attempted: false,
        });
        if self.tracing() {
            self.note(node, "client", format!("c{at} asks {call:?} of key {key}"));
        }
        self.step_or_wait(reference, Step::Begin);
        self.await_deadline(at);
    }

    /// Has a client's deadline looked at when it is due. One event at a time is enough: every operation may take as long.
    fn await_deadline(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Some(operation) = client.active.as_ref().filter(|_| !client.awaits_deadline) {
            let deadline = operation.deadline;
            client.awaits_deadline = true;
            self.at(deadline, Event::Deadline(at as u16));
        }
    }

    pub(super) fn operation(&mut self, reference: OperationRef) -> Option<&mut Operation> {
        if self.clients[reference.client as usize].number != reference.number {
            return None;
        }
        self.clients[reference.client as usize].active.as_mut()
    }

    /// Takes a step when the process's readers run, perhaps after an interruption.
    fn step_or_wait(&mut self, reference: OperationRef, step: Step) {
        let (interrupted, longest) = self.setup.slow_readers;
        let healed = self.healed;
        let client = &mut self.clients[reference.client as usize];
        let Some(operation) = client.active.as_mut() else { return };
        operation.steps += 1;
        let steps = operation.steps;
        if !healed && !matches!(step, Step::Begin) && client.dice.chance(interrupted) {
            // Long enough to matter, as often as not.
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

    /// A step's time has come.
    pub(super) fn take_step(&mut self, reference: OperationRef, steps: u32, step: Step) {
        let now = self.now;
        let Some(operation) = self.operation(reference).filter(|operation| operation.steps == steps) else { return };
        let (node, call) = (operation.node, operation.call);
        if !self.nodes[node].readers_run(now) {
            let resumes = self.nodes[node].paused_until + self.after_pause();
            return self.at(resumes, Event::Step(reference, steps, step));
        }
        match (step, call) {
            (Step::Begin, Call::Get) => self.begin_read(reference),
            (Step::Begin, _) => self.begin_write(reference),
            (Step::Sample, _) => {
                let sample = self.nodes[node].clock.read(now);
                self.step_or_wait(reference, Step::Check(sample, self.elected));
            }
            (Step::Check(sample, elected), _) => self.check_lease(reference, sample, elected),
            (Step::View, _) => self.view(reference),
        }
    }

    fn begin_read(&mut self, reference: OperationRef) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, only_quorum) = (operation.node, operation.only_quorum);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let status = process.status;
        if status.leader == node as NodeId + 1 {
            if only_quorum {
                self.ask_loop(reference, true);
            } else {
                self.step_or_wait(reference, Step::Sample);
            }
        } else if status.leader == 0 {
            self.retry(reference);
        } else {
            process.read_indexes.waiting.push(reference);
            if process.read_indexes.asked.is_none() {
                self.ask_for_read_index(node);
            }
        }
    }

    fn check_lease(&mut self, reference: OperationRef, sample: Reading, elected: Term) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, waited) = (operation.node, operation.steps > 2);
        let process = self.nodes[node].process.as_mut().expect("operations end with their process");
        match process.cell.try_read(sample) {
            Some(permit) => {
                self.check_permit(node, permit, elected);
                let operation = self.operation(reference).expect("it was there");
                operation.granted = Some((By::Lease, false));
                operation.permit = Some(permit.term);
                self.wait_applied(reference, permit.index);
            }
            None => {
                let leads = process.status.leads;
                let term = process.status.term;
                if leads && sample.is_some() {
                    let deposed = self.elected > term;
                    let resumed = std::mem::take(&mut self.nodes[node].paused_with_lease);
                    self.marks.reach_often(Mark::OldLeaderRefusedRead, u64::from(deposed));
                    self.marks.reach_often(Mark::ResumedReaderRefused, u64::from(resumed));
                    self.marks.reach_often(Mark::PausedThenRefused, u64::from(waited));
                }
                self.ask_loop(reference, false);
            }
        }
    }

    fn ask_loop(&mut self, reference: OperationRef, by_quorum: bool) {
        let Some(operation) = self.operation(reference) else { return };
        let node = operation.node;
        self.give(node, Input::Read { asker: Asker::Operation(reference), by_quorum });
    }

    /// Waits until the state includes an index.
    pub(super) fn wait_applied(&mut self, reference: OperationRef, index: Index) {
        let Some(operation) = self.operation(reference) else { return };
        let node = operation.node;
        let process = self.nodes[node].process.as_mut().expect("operations end with their process");
        if process.applied.index >= index {
            self.step_or_wait(reference, Step::View);
        } else {
            self.marks.reach(Mark::WaitedForApply);
            process.waiting.push((index, reference));
        }
    }

    /// Reads whose index is applied go on.
    pub(super) fn applied_moved(&mut self, node: usize) {
        loop {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let applied = process.applied.index;
            let Some(at) = process.waiting.iter().position(|(index, _)| *index <= applied) else { return };
            let (_, reference) = process.waiting.swap_remove(at);
            self.step_or_wait(reference, Step::View);
        }
    }

    fn view(&mut self, reference: OperationRef) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, key, permit) = (operation.node, operation.key, operation.permit);
        let process = self.nodes[node].process.as_mut().expect("operations end with their process");
        let mut replies = Vec::with_capacity(1);
        process.view.read(&[ReadCommand::Get(key_bytes(key))], &mut replies);
        let index = process.applied.index;
        if permit.is_some_and(|term| term != process.status.term || !process.status.leads) {
            self.marks.reach(Mark::AnsweredAfterDeposition);
        }
        let Some(answer) = replies.pop().and_then(|reply| answer_of(Call::Get, &reply)) else {
            return self.fail(FailureKind::WrongReply, format!("n{}: a read of a number was refused", node + 1));
        };
        self.end(reference, Ending::Done(answer, index));
    }

    fn begin_write(&mut self, reference: OperationRef) {
        let Some(operation) = self.operation(reference) else { return };
        let (node, command) = (operation.node, command_of(operation.call, operation.key));
        let process = self.nodes[node].process.as_mut().expect("operations end with their process");
        let leader = process.status.leader;
        if leader == 0 {
            return self.retry(reference);
        }
        let entry = WriteCommand::encode_batch(&[command]);
        let request = process.next_request();
        if leader != node as NodeId + 1 {
            process.forwarded.insert(request, (reference, leader));
        }
        self.operation(reference).expect("it was there").attempted = true;
        if leader == node as NodeId + 1 {
            self.give(node, Input::Write { command: entry, asker: Asker::Operation(reference) });
        } else {
            self.send_frame(node, leader, Body::Request(request, Ask::Entry(entry)));
        }
    }

    /// Tries again a little later, as long as the server has patience.
    pub(super) fn retry(&mut self, reference: OperationRef) {
        let pause = (self.setup.heartbeat() / 2).max(20_000_000);
        let now = self.now;
        let Some(operation) = self.operation(reference) else { return };
        operation.steps += 1;
        (operation.granted, operation.permit) = (None, None);
        let steps = operation.steps;
        self.at(now + pause, Event::Step(reference, steps, Step::Begin));
    }

    /// The loop, or a peer's, has decided on a read.
    pub(super) fn read_granted(&mut self, asker: Asker, node: usize, granted: Result<(Index, By), ()>) {
        match asker {
            Asker::Operation(reference) => match granted {
                Ok((index, by)) => {
                    if let Some(operation) = self.operation(reference) {
                        operation.granted = Some((by, false));
                        self.wait_applied(reference, index);
                    }
                }
                Err(()) => self.retry(reference),
            },
            Asker::Peer { node: peer, boot: _, request } => {
                let told = match granted {
                    Ok((index, by)) => Told::ReadIndex { index, by_lease: by == By::Lease },
                    Err(()) => Told::NotExecuted,
                };
                self.send_frame(node, peer, Body::Answer(request, told));
            }
        }
    }

    /// The loop has decided on a write.
    pub(super) fn write_ended(&mut self, asker: Asker, node: usize, outcome: Result<(Reply, Index), Fate>) {
        if outcome == Err(Fate::Uncertain) {
            self.marks.reach(Mark::WriteUncertain);
        }
        match asker {
            Asker::Operation(reference) => self.write_told(reference, outcome),
            Asker::Peer { node: peer, boot: _, request } => {
                let told = match outcome {
                    Ok((reply, index)) => Told::Reply { reply, index },
                    Err(Fate::NotExecuted) => Told::NotExecuted,
                    Err(Fate::Uncertain) => Told::Uncertain,
                };
                self.send_frame(node, peer, Body::Answer(request, told));
            }
        }
    }

    pub(super) fn write_told(&mut self, reference: OperationRef, outcome: Result<(Reply, Index), Fate>) {
        let Some(operation) = self.operation(reference) else { return };
        let (call, node) = (operation.call, operation.node);
        match outcome {
            Ok((reply, index)) => match answer_of(call, &reply) {
                Some(answer) => self.end(reference, Ending::Done(answer, index)),
                None => {
                    self.fail(FailureKind::WrongReply, format!("n{}: {call:?} was answered {reply:?}", node + 1));
                }
            },
            Err(Fate::Uncertain) => self.end(reference, Ending::Unknown),
            Err(Fate::NotExecuted) => {
                operation.attempted = false;
                self.retry(reference);
            }
        }
    }

    /// A server, or a client, has waited long enough.
    pub(super) fn deadline(&mut self, at: u16) {
        let client = &mut self.clients[at as usize];
        client.awaits_deadline = false;
        let Some(operation) = client.active.as_ref() else { return };
        if self.now < operation.deadline {
            return self.await_deadline(at as usize);
        }
        let reference = OperationRef { client: at, number: client.number };
        let ending = if operation.attempted { Ending::Unknown } else { Ending::NotExecuted };
        self.end(reference, ending);
    }

    /// A process has ended, and with it every operation there.
    pub(super) fn end_operations_of(&mut self, node: usize) {
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            let reference = OperationRef { client: at as u16, number: client.number };
            match &client.active {
                Some(operation) if operation.node == node && operation.boot == self.nodes[node].boot => {
                    let ending = if operation.attempted { Ending::Unknown } else { Ending::NotExecuted };
                    self.end(reference, ending);
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, reference: OperationRef, ending: Ending) {
        let now = self.now;
        let client = &mut self.clients[reference.client as usize];
        let Some(operation) = client.active.take() else { return };
        let reads = operation.call == Call::Get;
        if let Ending::Done(answer, index) = ending {
            // Who answered also says who leads.
            let known = self.nodes[operation.node].process.as_ref().map_or(0, |process| process.status.leader);
            let leader = (known as usize).checked_sub(1).filter(|_| client.dice.chance(500_000));
            client.favourite = leader.unwrap_or(operation.node);
            self.history.succeeded(operation.id, answer, now);
            if self.tracing() {
                let by = match operation.granted {
                    Some((By::Lease, false)) => " by the lease",
                    Some((By::Quorum, false)) => " after a quorum round",
                    Some((By::Lease, true)) => " at an index granted by the lease",
                    Some((By::Quorum, true)) => " at an index granted by a quorum round",
                    None => "",
                };
                let text = format!("c{} is told {answer:?} as of index {index}{by}", reference.client);
                self.note(operation.node, "client", text);
            }
            let counts = &mut self.operations;
            match operation.granted {
                _ if !reads => counts.writes += 1,
                Some((by, true)) => {
                    counts.follower_reads += 1;
                    let mark = if by == By::Lease { Mark::FollowerReadByLease } else { Mark::FollowerReadByQuorum };
                    self.marks.reach(mark);
                }
                Some((By::Lease, false)) => {
                    counts.lease_reads += 1;
                    self.last_lease_read = now;
                }
                _ => counts.quorum_reads += 1,
            }
            if index < operation.floor + u64::from(!reads) {
                let what = format!(
                    "{} at n{} shows the state as of index {index}, but when it was asked index {} had been seen",
                    if reads { "a read" } else { "a write" },
                    operation.node + 1,
                    operation.floor
                );
                self.fail(FailureKind::StaleRead, what);
            }
            self.seen_index = self.seen_index.max(index);
        } else {
            let unknown = matches!(ending, Ending::Unknown) && !reads;
            if unknown {
                self.operations.unknown += 1;
            } else {
                self.operations.failed += 1;
                self.history.failed(operation.id);
            }
            if self.tracing() {
                let told = if unknown { "cannot know what became of it" } else { "is told that nothing was done" };
                self.note(operation.node, "client", format!("c{} {told}", reference.client));
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

fn command_of(call: Call, key: u32) -> WriteCommand {
    let key = key_bytes(key);
    match call {
        Call::Set(value) => {
            WriteCommand::Set { key, value: Bytes::from(value.to_string()), only_if_exists: None, get_old: false }
        }
        Call::Increment => WriteCommand::Add { key, amount: 1 },
        Call::Delete => WriteCommand::Delete(vec![key]),
        Call::Get => WriteCommand::Read(ReadCommand::Get(key)),
    }
}

/// What a reply means; `None` if it is none that the call can have.
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
