//! One real replica among peers that send anything that decodes.

use crate::source::Source;
use bytes::Bytes;
use leasehold_core::{Config, Index, Instant, LeaseCell, NodeId, Options as Timing, Reading, Term};
use leasehold_node::wire;
use leasehold_raft::wire::{
    Change, Entry, Envelope, Local, Membership, Message, MessageKind, Payload, Rejoin, Snapshot, Step, SubleaseGrant,
    SubleaseRequest, Transition,
};
use leasehold_raft::{Effect, Options, Output, Persist, PersistentState, Position, Replica, Role, SnapshotOutcome};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The node under test; its founders are 1, 2 and 3.
const OWN: NodeId = 1;
/// The most steps in one run.
const STEPS: usize = 300;

/// Gives a replica any messages from its peers. It keeps working: it keeps the order of writes and of applied entries, reads by
/// a lease only while it leads and by a sublease only while it follows, shows nothing that is not exposed, and can be
/// restarted with the entries and records that it wrote.
pub fn envelopes(bytes: &[u8]) {
    run(bytes);
}

/// Counts of a run, by which a test sees that the corpus reaches local reads.
#[derive(Debug, Default)]
struct Seen {
    /// States in which the replica might read by a sublease.
    subleases: usize,
    /// Grants that it sent.
    grants: usize,
    /// States in which an entry was committed and not exposed.
    withheld: usize,
    /// Subleases that it returned.
    returns: usize,
}

fn run(bytes: &[u8]) -> Seen {
    let mut world = World::founded();
    let mut source = Source(bytes);
    for _ in 0..STEPS {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
        world.drain();
        world.check();
    }
    world.restart();
    world.events
}

struct World {
    replica: Replica,
    cell: Arc<LeaseCell>,
    now: Reading,
    nanos: u64,
    disk: PersistentState,
    /// On their way to disk.
    writes: VecDeque<Persist>,
    /// The last write.
    newest: u64,
    /// The last entry handed out for the disk.
    last: Position,
    applied: Position,
    /// Term and commit index seen so far.
    seen: (Term, Index),
    events: Seen,
}

fn replica(disk: PersistentState, longest_hold: Duration, now: Reading, cell: Arc<LeaseCell>) -> Replica {
    let (hold, heartbeat) = (Duration::from_secs(1), Duration::from_millis(100));
    let config = Config::new(Timing::new(hold, 1000).with_heartbeat(heartbeat)).expect("it fits together");
    let mut options = Options::new(OWN, config, 7);
    options.record = true;
    options.starts = Some(1);
    let replica = Replica::new(options, disk, longest_hold, now, cell);
    let mut replica = replica.expect("a replica from what its predecessor wrote");
    replica.set_local_reads(now, true);
    replica
}

impl World {
    fn founded() -> World {
        let disk = PersistentState::founding(vec![1, 2, 3]);
        let nanos = 100_000_000_000;
        let now = Some(Instant::from_nanos(nanos, nanos));
        let founded = Position { term: 1, index: 1 };
        let cell = Arc::new(LeaseCell::new());
        World {
            replica: replica(disk.clone(), Duration::ZERO, now, cell.clone()),
            cell,
            now,
            nanos,
            disk,
            writes: VecDeque::new(),
            newest: 0,
            last: founded,
            applied: founded,
            seen: (1, 1),
            events: Seen::default(),
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(20) {
            0..=9 => {
                let from = 2 + source.below(4) as u64;
                let envelope = self.envelope(source);
                self.replica.handle_envelope(self.now, from, envelope);
            }
            10..=12 => {
                self.nanos += (u64::from(source.byte()) + 1) * 10_000_000;
                self.now = Some(Instant::from_nanos(self.nanos, self.nanos));
                self.replica.handle_timeout(self.now);
            }
            13 => self.persist_one(),
            14 => (0..self.writes.len()).for_each(|_| self.persist_one()),
            15 => {
                let _ = self.replica.propose(self.now, source.bytes());
            }
            16 => {
                let _ = match source.below(2) {
                    0 => self.replica.read(self.now).map(drop),
                    _ => self.replica.quorum_read(self.now).map(drop),
                };
            }
            17 => match source.below(4) {
                0 => drop(self.replica.campaign(self.now)),
                1 => drop(self.replica.transfer(self.now, source.near(2))),
                2 => {
                    let peer = source.near(2);
                    match source.below(3) {
                        0 => self.replica.handle_unreachable(self.now, peer),
                        1 => self.replica.handle_snapshot_ended(self.now, peer, SnapshotOutcome::Delivered),
                        _ => self.replica.handle_snapshot_ended(self.now, peer, SnapshotOutcome::Failed),
                    }
                }
                _ => drop(self.replica.propose_change(self.now, &change(source))),
            },
            18 => match source.below(6) {
                0 => self.now = None,
                1 => {
                    self.nanos -= u64::from(source.byte()) * 10_000_000 % 10_000_000_000;
                    self.now = Some(Instant::from_nanos(self.nanos, self.nanos));
                }
                2 => self.compact(),
                3 => self.install(source),
                4 => self.replica.set_local_reads(self.now, source.below(2) == 0),
                _ => self.replica.retire(self.now),
            },
            _ => self.restart(),
        }
    }

    /// Takes any message of a peer. The messages of a correct peer need few bytes.
    fn envelope(&self, source: &mut Source<'_>) -> Envelope {
        let parts = source.byte();
        let mut pair = |wanted: bool| wanted.then(|| (source.near(self.replica.term()), source.near(1)));
        let (round, ack, release) = (pair(parts & 1 > 0), pair(parts & 2 > 0), pair(parts & 4 > 0));
        let messages = (0..usize::from(parts >> 3) % 4).map(|_| self.message(source)).collect();
        let rejoin = (parts & 128 > 0).then(|| {
            let (kind, term) = (source.byte(), source.near(self.replica.term()));
            let (index, attempt) = (source.near(self.replica.commit()), u64::from(source.byte() % 4));
            match kind % 3 {
                0 => Rejoin::Request { term, last: index, attempt },
                1 => Rejoin::Admitted { term, attempt, through: index },
                _ => Rejoin::Member { attempt },
            }
        });
        let local = if parts & 64 > 0 { self.local(source) } else { Local::default() };
        Envelope { round, ack, release, rejoin, messages, local }
    }

    fn local(&self, source: &mut Source<'_>) -> Local {
        let (parts, term) = (source.byte(), source.near(self.replica.term()));
        let number = source.near(self.replica.reader().map_or(0, |reader| reader.statistics().requested));
        let number = if parts & 16 > 0 { number | 1 << 40 } else { number };
        let drift_ppm = 1_000 * u32::from(source.byte());
        let (length_nanos, floor) = (10_000_000 * u64::from(source.byte()), source.near(self.replica.commit()));
        Local {
            request: (parts & 1 > 0).then_some(SubleaseRequest { term, number, drift_ppm }),
            grant: (parts & 2 > 0).then_some(SubleaseGrant { term, number, length_nanos, floor }),
            returned: (parts & 4 > 0).then_some(number),
            recall: parts & 8 > 0,
        }
    }

    fn message(&self, source: &mut Source<'_>) -> Message {
        const KINDS: [MessageKind; 10] = [
            MessageKind::Append,
            MessageKind::AppendResponse,
            MessageKind::Heartbeat,
            MessageKind::HeartbeatResponse,
            MessageKind::RequestVote,
            MessageKind::RequestVoteResponse,
            MessageKind::RequestPreVote,
            MessageKind::RequestPreVoteResponse,
            MessageKind::TransferLeader,
            MessageKind::TimeoutNow,
        ];
        let kind = KINDS[source.below(KINDS.len())];
        let term = source.near(self.replica.term());
        let log_term = source.near(self.last.term);
        let index = source.near(self.last.index);
        let commit = source.near(self.replica.commit());
        // The other fields rarely matter: one byte selects those that are set.
        let rest = source.byte();
        let mut number = |bit: u8| if rest & bit > 0 { source.near(self.last.index) } else { 0 };
        let (commit_term, request_snapshot, reject_hint, priority) = (number(1), number(2), number(4), number(8));
        let entries = if kind == MessageKind::Append || rest & 16 > 0 { source.below(5) } else { 0 };
        let entries = (1..=entries as u64)
            .map(|place| Entry {
                term: source.near(term),
                index: source.near(index.saturating_add(place)),
                payload: if source.rarely(4) {
                    Payload::Change(change(source))
                } else {
                    Payload::Command(source.bytes())
                },
            })
            .collect();
        Message {
            kind,
            term,
            log_term,
            index,
            commit,
            commit_term,
            request_snapshot,
            reject: rest & 64 > 0,
            reject_hint,
            transfer: rest & 128 > 0,
            priority: priority as i64,
            entries,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Send { to, envelope } => {
                    assert_ne!(to, OWN, "a node sends itself nothing");
                    self.check_sent(&envelope);
                    readable(envelope);
                }
                Output::Persist(persist) => self.write(persist),
                Output::Apply(committed) => {
                    for entry in committed {
                        assert_eq!(entry.position.index, self.applied.index + 1, "entries are applied one by one");
                        assert!(entry.position.term >= self.applied.term, "terms do not fall");
                        self.applied = entry.position;
                        if let Effect::Membership(membership) = entry.effect {
                            assert!(!membership.voters.is_empty(), "there is a voter");
                        }
                    }
                }
                Output::ReadsConfirmed { .. } | Output::ReadsAborted { .. } => {}
                Output::LogMayBeCut(_) => {}
                Output::SendSnapshot { to, index } => {
                    assert!(to != OWN && index <= self.applied.index, "the state is as of what was applied");
                }
            }
        }
        let _ = self.replica.take_trace();
    }

    /// Checks that a leader tells of no commit that is not exposed, and that only a leader grants, in its term.
    fn check_sent(&mut self, envelope: &Envelope) {
        let exposed = self.replica.exposed();
        for message in &envelope.messages {
            let tells = matches!(message.kind, MessageKind::Append | MessageKind::Heartbeat);
            assert!(!tells || message.commit <= exposed, "{message:?} with {exposed} exposed");
        }
        if let Some(grant) = &envelope.local.grant {
            let leads = self.replica.role() == Role::Leader && grant.term == self.replica.term();
            let granted = self.replica.lender().statistics().granted;
            assert!(leads && granted > 0 && grant.floor <= exposed, "{grant:?} with {exposed} exposed");
            self.events.grants += 1;
        }
        self.events.returns += usize::from(envelope.local.returned.is_some());
    }

    fn write(&mut self, persist: Persist) {
        assert!(persist.number > self.newest, "write {} comes after write {}", persist.number, self.newest);
        self.newest = persist.number;
        if let Some(snapshot) = &persist.snapshot {
            self.last = Position { term: snapshot.term, index: snapshot.index };
            assert!(snapshot.index > self.applied.index, "a snapshot takes nothing back");
            self.applied = self.last;
        }
        for entry in &persist.entries {
            let follows = entry.index == self.last.index + 1 && entry.term >= self.last.term;
            let replaces = entry.index <= self.last.index && entry.index > self.applied.index;
            assert!(follows || replaces, "{entry:?} after {:?}, with {:?} applied", self.last, self.applied);
            self.last = Position { term: entry.term, index: entry.index };
        }
        self.writes.push_back(persist);
    }

    fn persist_one(&mut self) {
        let Some(persist) = self.writes.pop_front() else { return };
        store(&mut self.disk, &persist);
        if persist.must_sync {
            self.replica.handle_persisted(self.now, persist.number);
        }
    }

    fn compact(&mut self) {
        if !self.writes.is_empty() {
            return;
        }
        if let Some(term) = self.replica.compact(self.applied.index) {
            let index = self.applied.index;
            self.disk.applied = index;
            self.disk.membership = self.replica.membership().clone();
            self.disk.entries.retain(|entry| entry.index > index);
            self.disk.compacted = (index, term);
        }
    }

    fn install(&mut self, source: &mut Source<'_>) {
        let snapshot = Snapshot {
            index: source.near(self.last.index.saturating_add(1)),
            term: source.near(self.replica.term()),
            membership: membership(source),
        };
        let _ = self.replica.install(self.now, snapshot);
    }

    /// Restarts the process; what was not durable is lost.
    fn restart(&mut self) {
        self.cell = Arc::new(LeaseCell::new());
        self.writes.clear();
        self.newest = 0;
        self.replica = replica(self.disk.clone(), Duration::from_secs(1), self.now, self.cell.clone());
        let applied = self.disk.applied;
        let term = self.disk.entries.iter().find(|entry| entry.index == applied).map(|entry| entry.term);
        self.applied = Position { term: term.unwrap_or(self.disk.compacted.1), index: applied };
        let compacted = Position { term: self.disk.compacted.1, index: self.disk.compacted.0 };
        self.last =
            self.disk.entries.last().map_or(compacted, |entry| Position { term: entry.term, index: entry.index });
        self.seen = (self.disk.hard_state.term, self.disk.hard_state.commit);
        self.drain();
        self.check();
    }

    fn check(&mut self) {
        let seen = (self.replica.term(), self.replica.commit());
        assert!(
            seen.0 >= self.seen.0 && seen.1 >= self.seen.1,
            "from term and commit {:?} back to {seen:?}",
            self.seen
        );
        self.seen = seen;
        let exposed = self.replica.exposed();
        assert!(
            self.applied.index <= exposed && exposed <= seen.1,
            "what is applied is exposed, and that is committed"
        );
        self.events.withheld += usize::from(exposed < seen.1);
        if let Some(permit) = self.replica.reader_cell().try_read(self.now) {
            let follows = self.replica.role() == Role::Follower && self.replica.leader().is_some();
            let received = Position { term: seen.0, index: permit.index };
            assert!(
                follows && permit.term == seen.0 && received == self.last,
                "{permit:?} in {seen:?}, {:?}",
                self.last
            );
            self.events.subleases += 1;
        }
        if let Some(permit) = self.cell.try_read(self.now) {
            let leads = self.replica.role() == Role::Leader && permit.term == seen.0;
            assert!(leads && permit.index <= seen.1, "{permit:?} for a {:?} in {seen:?}", self.replica.role());
        }
    }
}

/// Puts on disk what a replica wanted there.
fn store(disk: &mut PersistentState, persist: &Persist) {
    disk.hard_state = persist.hard_state;
    if let Some(snapshot) = &persist.snapshot {
        disk.compacted = (snapshot.index, snapshot.term);
        disk.applied = snapshot.index;
        disk.membership = snapshot.membership.clone();
        disk.entries.clear();
    }
    if let Some(first) = persist.entries.first() {
        disk.entries.retain(|entry| entry.index < first.index);
        disk.entries.extend(persist.entries.iter().cloned());
    }
}

/// Checks that a peer can decode an envelope.
fn readable(envelope: Envelope) {
    let message = wire::Message { group: 0, body: wire::Body::Raft(envelope) };
    let payload = message.encode().expect("a replica's envelope has an encoding");
    assert_eq!(wire::Message::decode(&payload), Ok(message));
}

fn change(source: &mut Source<'_>) -> Change {
    let transition = [Transition::Auto, Transition::Implicit, Transition::Explicit][source.below(3)];
    let steps = (0..source.below(6))
        .map(|_| match source.below(3) {
            0 => Step::AddVoter(source.near(4)),
            1 => Step::AddLearner(source.near(4)),
            _ => Step::Remove(source.near(3)),
        })
        .collect();
    Change { transition, steps, notes: notes(source) }
}

fn notes(source: &mut Source<'_>) -> BTreeMap<u64, Bytes> {
    (0..source.below(3)).map(|_| (source.near(4), Bytes::from(vec![1; source.below(1100)]))).collect()
}

fn membership(source: &mut Source<'_>) -> Membership {
    let usual = source.byte();
    if usual < 128 {
        let voters = (1..=3 + u64::from(usual % 3)).collect();
        return Membership { voters, ..Membership::default() };
    }
    let mut ids = || (0..source.below(20)).map(|_| source.near(1)).collect::<Vec<_>>();
    let (voters, learners, voters_outgoing, learners_next) = (ids(), ids(), ids(), ids());
    Membership {
        voters,
        learners,
        voters_outgoing,
        learners_next,
        auto_leave: !usual.is_multiple_of(2),
        notes: notes(source),
        changed: source.near(4),
        highest_before: source.near(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Runs an input of the corpus.
    fn seen(name: &str) -> Seen {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/envelopes").join(name);
        run(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    #[test]
    fn the_corpus_reaches_both_sides_of_local_reads() {
        let reader = seen("reads-by-a-sublease");
        assert!(reader.subleases > 0 && reader.returns > 0, "{reader:?}");
        let leader = seen("waits-for-a-reader");
        assert!(leader.grants > 0 && leader.withheld > 0, "{leader:?}");
    }
}
