//! How a process starts from what its disk holds, as `start` in `driver/src/drive.rs` does, and how it ends where it stands.

use super::checks::{FailureKind, leads};
use super::marks::Mark;
use super::node::{Process, ReadIndexes, Status, Watched};
use super::world::World;
use leasehold::keyspace::Keyspace;
use leasehold_core::LeaseCell;
use leasehold_driver::{Applied, Batch, Recovered, StateMachine as _};
use leasehold_raft::{Options, PersistentState, Replica, Role};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

impl World {
    /// Starts a process: what `start` in the driver does.
    pub(super) fn start(&mut self, node: usize) {
        let now = self.now;
        let config = self.setup.timings[self.nodes[node].timing as usize];
        let tracing = self.tracing();
        let machine = &mut self.nodes[node];
        if machine.process.is_some() {
            return;
        }
        machine.starts_at = None;
        machine.boot += 1;
        machine.paused_with_lease = false;
        machine.clock.forget_furthest();
        let recovered = match machine.disk.recover() {
            Ok(recovered) => recovered,
            Err(what) => return self.fail(FailureKind::DiskOutOfOrder, format!("n{}: {what}", node + 1)),
        };
        let hold = config.hold();
        let longest_hold = recovered.longest_hold.max(hold);
        let (memory, applied) = recall(&recovered, self.setup.founders);
        let founding = recovered.applied.index == 0;
        if founding || longest_hold > recovered.longest_hold {
            // Before the first echo, how long its hold may last; before the first message, where the log begins.
            let first = Batch {
                hard_state: founding.then_some(memory.hard_state),
                reset_log: founding,
                applied: founding.then(|| applied.clone()),
                longest_hold: Some(longest_hold),
                ..Batch::default()
            };
            if let Err(what) = machine.disk.commit(vec![first]) {
                return self.fail(FailureKind::DiskOutOfOrder, what);
            }
        }
        let seed = self.seed ^ (u64::from(machine.boot) << 40);
        let mut options = Options::new(machine.id, config, seed);
        options.record = tracing;
        let cell = Arc::new(LeaseCell::new());
        let reading = machine.clock.read(now);
        let replica = match Replica::new(options, memory, longest_hold, reading, cell.clone()) {
            Ok(replica) => replica,
            Err(error) => {
                let what = format!("n{} cannot start from what its predecessor wrote: {error}", node + 1);
                return self.fail(FailureKind::DiskOutOfOrder, what);
            }
        };
        let mut keyspace = Keyspace::default();
        keyspace.restore(recovered.records);
        let watched = Watched {
            role: Role::Follower,
            term: replica.term(),
            statistics: *replica.statistics(),
            holder: *replica.holder().statistics(),
            lease: None,
            transfer: None,
            abandoned: false,
            started: reading,
            voided: false,
            kept_back: false,
        };
        let process = Process {
            cell,
            view: keyspace.view(),
            machine: keyspace,
            durable_applied: applied.index,
            applied,
            lower_hold: longest_hold > hold,
            unwritten: Batch::default(),
            writes: BTreeMap::new(),
            reads: VecDeque::new(),
            unreachable: Vec::new(),
            inbox: VecDeque::new(),
            written: VecDeque::new(),
            timer_fired: false,
            turn_is_due: false,
            status: Status { leads: false, term: replica.term(), leader: 0 },
            waiting: Vec::new(),
            read_indexes: ReadIndexes::default(),
            forwarded: BTreeMap::new(),
            // Of no other process of this node, whose answers may still be on their way.
            request: u64::from(machine.boot) << 32,
            seen: BTreeMap::new(),
            requests: Vec::new(),
            watched,
            replica,
        };
        self.marks.reach_often(Mark::StartedUnderALongerHold, u64::from(process.lower_hold && !founding));
        self.marks.reach_often(Mark::FolderRecovered, u64::from(self.setup.real_disks && !founding));
        let (boot, tick) = (machine.boot, process.replica.tick());
        machine.process = Some(process);
        if self.tracing() {
            self.note(node, "process", format!("starts, with a hold of {hold:?} and a lease of {:?}", config.lease()));
        }
        self.set_timer(node, boot, tick);
    }

    /// Ends a process where it stands.
    pub(super) fn kill(&mut self, node: usize, why: &str) {
        let Some(process) = &self.nodes[node].process else { return };
        let led = leads(process.replica.role()).then(|| process.replica.term());
        if self.tracing() {
            self.note(node, "process", why.to_owned());
            self.note_lease(node);
        }
        self.end_operations_of(node);
        self.nodes[node].process = None;
        let survives = self.dice.chance(500_000);
        match self.nodes[node].disk.crash(survives) {
            Ok((lost, under_way)) => {
                self.marks.reach_often(Mark::UnsyncedWriteLost, lost as u64);
                match under_way {
                    Some(true) => self.marks.reach(Mark::CommitSurvivedUnreported),
                    Some(false) => self.marks.reach(Mark::CommitTornAway),
                    None => {}
                }
            }
            Err(what) => self.fail(FailureKind::DiskOutOfOrder, what),
        }
        if let Some(term) = led
            && term > self.nodes[node].disk.durable().hard_state.term
        {
            self.agreed.never_led(term);
        }
    }
}

/// What the replica and the loop remember of what the disk holds, as in the driver.
fn recall(recovered: &Recovered, founders: u64) -> (PersistentState, Applied) {
    if recovered.applied.index == 0 {
        let memory = PersistentState::founding((1..=founders).collect());
        let (index, term) = memory.compacted;
        let membership = memory.membership.clone();
        return (memory, Applied { index, term, membership });
    }
    let memory = PersistentState {
        hard_state: recovered.hard_state,
        compacted: recovered.compacted,
        entries: recovered.entries.clone(),
        applied: recovered.applied.index,
        membership: recovered.applied.membership.clone(),
    };
    (memory, recovered.applied.clone())
}
