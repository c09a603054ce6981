//! A group that is created while the nodes run, and removed again. No client uses it, and no oracle knows its log. It shares
//! the turns, the frames and the commits of the other groups, whose checks must not notice it.

use super::failure::FailureKind;
use super::marks::Mark;
use super::node::Input;
use super::world::{Event, World};
use leasehold::keyspace::{Keyspace, Snapshot};
use leasehold_core::{NodeId, Reading};
use leasehold_node::ports::{GroupId, Recovered, StateMachine as _};
use leasehold_node::{AddGroupError, GroupOptions, GroupStart};
use leasehold_testing::dice::Dice;

impl World {
    /// Returns the number of the group, if there is one in this run.
    pub(super) fn passing_group(&self) -> Option<GroupId> {
        self.setup.passing_group.then_some(self.setup.groups as GroupId)
    }

    /// Draws when each founder creates the group, and when all of them begin to remove it.
    pub(super) fn plan_passing_group(&mut self) {
        if self.passing_group().is_none() {
            return;
        }
        let mut dice = Dice::new(self.seed, 13);
        let created = dice.below(self.setup.faults_for / 2);
        self.passing_until = dice.between(created, self.setup.faults_for);
        for node in 0..self.setup.founders as u8 {
            self.at(created + dice.below(2 * self.setup.hold()), Event::Passing { node });
        }
    }

    /// Has a node create or remove the group, and again after a hold: what it does not have on disk when it crashes is lost.
    pub(super) fn pass(&mut self, node: usize) {
        self.check_passing_group();
        let input = if self.now < self.passing_until { Input::CreateGroup } else { Input::RemoveGroup };
        self.queue_input(node, input);
        self.at(self.now + self.setup.hold(), Event::Passing { node: node as u8 });
    }

    /// Checks that two nodes do not have leases of the group at once.
    fn check_passing_group(&mut self) {
        let (now, Some(group)) = (self.now, self.passing_group()) else { return };
        let has_lease = |node: &&super::node::Node| {
            let group = node.process.as_ref().and_then(|process| process.node.group(group));
            group.is_some_and(|group| group.read_gate().lease().try_read(node.clock.peek(now)).is_some())
        };
        let leaders: Vec<NodeId> = self.nodes.iter().filter(has_lease).map(|node| node.id).collect();
        self.marks.reach_often(Mark::CreatedGroupLed, u64::from(leaders.len() == 1));
        if leaders.len() > 1 {
            let what = format!("the nodes {leaders:?} have valid leases of group {group} at once");
            self.fail(FailureKind::LeaseOutlivedElection, what);
        }
    }

    /// Creates the group on a node that does not have it.
    pub(super) fn create_passing_group(&mut self, node: usize, reading: Reading) {
        let Some(group) = self.passing_group() else { return };
        // An empty folder in the place of another has forgotten what the node promised in the group.
        let disk = &self.nodes[node].disk;
        if self.now >= self.passing_until || disk.has_group(group as usize) || disk.is_displaced() {
            return;
        }
        let (start, keyspace) = match self.start_of_group(node, group, Recovered::default()) {
            Ok(start) => start,
            Err(what) => return self.fail(FailureKind::DiskOutOfOrder, what),
        };
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        match process.node.create_group(reading, start, keyspace) {
            Ok(()) => self.marks.reach(Mark::GroupCreated),
            Err(AddGroupError::Replica(error)) => {
                self.fail(FailureKind::DiskOutOfOrder, format!("n{} cannot create a group: {error}", node + 1));
            }
            // It waits for the disk, or the node stops.
            Err(_) => {}
        }
    }

    /// Removes the group from a node that has it.
    pub(super) fn remove_passing_group(&mut self, node: usize, reading: Reading) {
        let (Some(group), Some(process)) = (self.passing_group(), self.nodes[node].process.as_mut()) else { return };
        self.marks.reach_often(Mark::GroupRemoved, u64::from(process.node.remove_group(reading, group)));
    }

    /// Returns what a process starts a group with.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub(super) fn start_of_group(
        &self,
        node: usize,
        group: GroupId,
        recovered: Recovered,
    ) -> Result<(GroupStart<Snapshot>, Keyspace), String> {
        let machine = &self.nodes[node];
        let config = self.setup.timings[machine.timing as usize];
        let seed = self.seed ^ (u64::from(machine.boot) << 40) ^ (u64::from(group) << 56);
        let mut replica = leasehold_raft::Options::new(machine.id, config, seed);
        replica.record = self.tracing() && Some(group) != self.passing_group();
        replica.starts = Some(u64::from(machine.boot));
        let mut options = GroupOptions::new(group, replica, (1..=self.setup.founders).collect());
        options.max_log_entries = self.setup.log_entries;
        options.max_log_bytes = u64::MAX;
        options.max_kept_log_entries = self.setup.kept_log_entries;
        options.max_kept_log_bytes = u64::MAX;
        options.max_chunk_bytes = self.setup.chunk_bytes;
        options.applies_on_thread = self.setup.applies_on_thread;
        options.unnoted_version = Keyspace::NEWEST_VERSION;
        options.local_reads = self.setup.local_readers >> node & 1 == 1;
        let keyspace = Keyspace::new("simulated", self.walls.clock(node));
        let recovered = recovered.into_state(keyspace.empty_state());
        let recovered = recovered.map_err(|error| format!("n{}: {error}", node + 1))?;
        Ok((GroupStart::new(options, recovered), keyspace))
    }

    /// Checks at the end that nothing is left of the group.
    pub(super) fn check_passing_group_is_gone(&mut self) {
        let Some(group) = self.passing_group() else { return };
        let has_it = |node: &&super::node::Node| {
            let hosts_it = node.process.as_ref().is_some_and(|process| process.node.group(group).is_some());
            hosts_it || node.disk.has_group(group as usize)
        };
        if let Some(id) = self.nodes.iter().find(has_it).map(|node| node.id) {
            self.fail(FailureKind::Liveness, format!("n{id} has group {group} long after it was removed"));
        }
    }
}
