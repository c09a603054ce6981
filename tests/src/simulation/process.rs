//! Starts of processes from their disks, and crashes.

use super::failure::FailureKind;
use super::marks::Mark;
use super::node::{DECIDING_GROUP, Hosted, Process, Watched};
use super::setup::SECOND;
use super::types::Nanos;
use super::world::World;
use leasehold_node::ports::GroupId;
use leasehold_node::{NodeOptions, Role};
use std::collections::VecDeque;
use std::time::Duration;

impl World {
    /// Starts a process.
    pub(super) fn start(&mut self, node: usize) {
        let now = self.now;
        let config = self.setup.timings[self.nodes[node].timing as usize];
        let passing = self.passing_group();
        let machine = &mut self.nodes[node];
        if machine.process.is_some() {
            return;
        }
        machine.starts_at = None;
        machine.boot += 1;
        machine.disk.registry_mut().begin_run(u64::from(machine.boot));
        machine.paused_with_lease = false;
        machine.stops = None;
        machine.clock.forget_furthest();
        let recovered = match machine.disk.recover() {
            Ok(recovered) => recovered,
            Err(what) => return self.fail(FailureKind::DiskOutOfOrder, format!("n{}: {what}", node + 1)),
        };
        let stopped_orderly = recovered[0].orderly_stop;
        let (is_new, longer_hold) = (recovered[0].applied.index == 0, recovered[0].longest_hold > config.hold());
        // Unique among the processes of all nodes.
        let mut options = NodeOptions::new(machine.id, (machine.id << 32) | u64::from(machine.boot));
        options.request_timeout = Duration::from_nanos(self.setup.load.patience.min(5 * SECOND));
        options.max_apply_bytes = self.setup.apply_bytes;
        options.deciding_group = self.setup.decides.then_some(DECIDING_GROUP);
        let mut process_node = leasehold_node::Node::new(options);
        let passes = passing.and_then(|group| machine.disk.recover_group(group as usize));
        process_node.note_removed(passing.filter(|group| machine.disk.is_removed(*group as usize)));
        self.marks.reach_often(Mark::CreatedGroupRecovered, u64::from(passes.is_some()));
        let mut starting = Vec::new();
        for (group, recovered) in (0..).zip(recovered.into_iter().chain(passes)) {
            match self.start_of_group(node, group, recovered) {
                Ok(start) => starting.push(start),
                Err(what) => return self.fail(FailureKind::DiskOutOfOrder, what),
            }
        }
        let machine = &mut self.nodes[node];
        let first: Vec<_> = starting.iter().filter_map(|(group, _)| group.first_batch()).collect();
        if !first.is_empty()
            && let Err(what) = machine.disk.commit(first)
        {
            return self.fail(FailureKind::DiskOutOfOrder, what);
        }
        let reading = machine.clock.read(now);
        let mut groups = Vec::new();
        for (id, (group, keyspace)) in (0..).zip(starting) {
            let view = keyspace.view();
            if let Err(error) = process_node.add_group(reading, group, keyspace) {
                let what = format!("n{} cannot start from its disk: {error}", node + 1);
                return self.fail(FailureKind::DiskOutOfOrder, what);
            }
            if Some(id) == passing {
                continue;
            }
            let group = process_node.group(id).expect("just added");
            let watched = Watched {
                role: Role::Follower,
                term: group.replica().term(),
                applied: group.applied().index,
                commit: group.replica().commit(),
                statistics: group.statistics(),
                router: process_node.router_statistics(id),
                lease: None,
                transfer: None,
                abandoned: false,
                started: reading,
                voided: false,
                kept_back: false,
                cut: group.replica().log_may_be_cut(),
                lender: *group.replica().lender().statistics(),
            };
            groups.push(Hosted { gate: group.read_gate().clone(), view, watched });
        }
        let tick = process_node.tick();
        let process = Process {
            node: process_node,
            groups,
            focus: self.focus,
            inbox: VecDeque::new(),
            reports: VecDeque::new(),
            timer_fired: false,
            turn_is_due: false,
        };
        let boot = machine.boot;
        machine.process = Some(process);
        self.marks.reach_often(Mark::StartedUnderALongerHold, u64::from(longer_hold && !is_new));
        let shorter = stopped_orderly.is_some_and(|remaining| remaining < config.hold());
        self.marks.reach_often(Mark::StartedUnderAShorterHold, u64::from(shorter));
        self.marks.reach_often(Mark::FolderRecovered, u64::from(self.setup.real_disks && !is_new));
        if self.tracing() {
            let text = format!("starts, with a hold of {:?} and a lease of {:?}", config.hold(), config.lease());
            self.note(node, "process", text);
        }
        self.set_timer(node, boot, tick);
    }

    /// Ends a process that has stopped in an orderly way: it records how much longer it is held, and everything it wrote
    /// becomes durable. A disk that fails or hangs makes this a crash.
    pub(super) fn end_orderly(&mut self, node: usize, (down, timing): (Nanos, Option<u8>)) {
        let disk = &self.nodes[node].disk;
        if !(disk.fails || disk.hangs) {
            let machine = &mut self.nodes[node];
            let reading = machine.clock.read(self.now);
            if let Some(process) = machine.process.as_mut() {
                process.node.finish(reading);
            }
            self.drain_outputs(node);
            if let Err(what) = self.nodes[node].disk.finish_all() {
                return self.fail(FailureKind::DiskOutOfOrder, what);
            }
            for group in 0..self.groups.len() {
                self.focus_on(group);
                // A release lifts a promise for good.
                if self.binding_promise(node).is_none() {
                    self.nodes[node].promises[group].promise = None;
                }
            }
        }
        self.kill(node, "has stopped");
        // Once all faults are healed, every node has the last timing.
        if let Some(timing) = timing.filter(|_| !self.healed) {
            self.nodes[node].timing = timing;
        }
        self.start_later(node, if self.healed { 0 } else { down });
    }

    /// Crashes a process.
    pub(super) fn kill(&mut self, node: usize, why: &str) {
        let Some(process) = &self.nodes[node].process else { return };
        let replicas = (0..self.groups.len()).filter_map(|group| {
            let replica = process.node.group(group as GroupId)?.replica();
            (replica.role() == Role::Leader).then(|| (group, replica.term()))
        });
        let led: Vec<_> = replicas.collect();
        if self.tracing() {
            self.note(node, "process", why.to_owned());
            self.note_lease(node);
        }
        self.end_operations_of(node);
        self.nodes[node].process = None;
        self.marks.reach_often(Mark::CrashWhileStaged, u64::from(self.nodes[node].disk.has_staged()));
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
        if self.copies && self.nodes[node].disk.older_copy().is_none_or(|_| self.dice.chance(400_000)) {
            self.nodes[node].disk.copy();
        }
        for (group, term) in led {
            if term > self.nodes[node].disk.durable(group).hard_state.term {
                self.groups[group].agreed.clear_leader(term);
            }
        }
    }
}
