//! The identity of data folders: the handshake of a link before its first frame, and folders that are removed or
//! replaced by an older copy. The rules are the product's (`node::identity`).

use super::disk::Contents;
use super::failure::FailureKind;
use super::marks::Mark;
use super::types::Nanos;
use super::world::{Ending, Event, World};
use leasehold_core::NodeId;
use leasehold_node::identity::{Introduction, Meeting, Refusal, Registry};
use leasehold_testing::dice::Dice;

/// The content that replaces a folder's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// None: the folder was removed.
    Empty,
    /// A copy that was made while an earlier process was down.
    OlderCopy,
}

impl World {
    /// Founds the cluster before the run, in most seeds. In the others the nodes found it during the run.
    pub(super) fn found_cluster(&mut self) {
        // The simulator has no handshake without a frame, and nodes that are no voters get none.
        if self.setup.spares == 0 && Dice::new(self.seed, 5).chance(100_000) {
            return;
        }
        for _ in 0..2 {
            for from in 0..self.nodes.len() {
                for to in (0..self.nodes.len()).filter(|to| *to != from) {
                    let _ = self.meet(from, to);
                }
            }
        }
    }

    /// Returns an empty folder of a node.
    pub(super) fn empty_folder(&self, node: usize) -> Contents {
        let machine = &self.nodes[node];
        let incarnation = (u64::from(machine.boot) << 8) | machine.id;
        let registry = Registry::new(machine.id, incarnation, 1..=self.nodes.len() as NodeId);
        Contents::new(registry, self.setup.groups, self.setup.most_groups())
    }

    /// Returns true if a frame passes: the processes at both ends have shaken hands, which they do now if they have not
    /// yet.
    pub(super) fn shake_hands(&mut self, from: usize, from_boot: u32, to: usize) -> bool {
        let link = from * self.nodes.len() + to;
        let pair = (from_boot, self.nodes[to].boot);
        if self.links[link].handshakes.contains(&pair) {
            return true;
        }
        if self.nodes[from].boot != from_boot || self.nodes[from].process.is_none() {
            // The sender has ended. The frame left on a connection of that time.
            let shaken = self.links[link].handshakes.iter().any(|(sender, _)| *sender == from_boot);
            return shaken && self.nodes[to].disk.registry().is_founded();
        }
        let was_founded = self.nodes[to].disk.registry().is_founded();
        let outcome = self.meet(from, to);
        self.marks
            .reach_often(Mark::ClusterFounded, u64::from(!was_founded && self.nodes[to].disk.registry().is_founded()));
        match outcome {
            Ok(true) => {
                self.links[link].handshakes.insert(pair);
                true
            }
            Ok(false) => false,
            Err(refusal) => {
                self.refused(from, to, refusal);
                false
            }
        }
    }

    /// Lets one node dial another: each judges the other's introduction, and records it durably.
    fn meet(&mut self, dialer: usize, acceptor: usize) -> Result<bool, Refusal> {
        let hello = self.nodes[dialer].disk.registry().introduction();
        let accepted = self.judge(acceptor, &hello);
        let answer = self.nodes[acceptor].disk.registry().introduction();
        let dialed = self.judge(dialer, &answer);
        Ok(accepted? && dialed?)
    }

    fn judge(&mut self, node: usize, theirs: &Introduction) -> Result<bool, Refusal> {
        let Meeting { registry, verdict } = self.nodes[node].disk.registry().meet(theirs);
        if let Some(next) = registry {
            *self.nodes[node].disk.registry_mut() = next;
        }
        verdict
    }

    fn refused(&mut self, from: usize, to: usize, refusal: Refusal) {
        let displaced = |node: usize| self.nodes[node].disk.is_displaced();
        match refusal {
            _ if !displaced(from) && !displaced(to) => {
                let what = format!("n{} and n{} have their own folders, but: {refusal}", from + 1, to + 1);
                self.fail(FailureKind::Liveness, what);
            }
            Refusal::OlderCopy { .. } => self.marks.reach(Mark::OlderCopyRefused),
            _ => self.marks.reach(Mark::WipedFolderRefused),
        }
    }

    /// Replaces the folder of a node, which restarts after `down`. Its own folder comes back after `lasts`, as an
    /// operator puts it back who has read the log.
    ///
    /// This happens to one node at a time: two nodes with older copies may not know better of each other. Nor does the
    /// identity help where a node needs no other one.
    pub(super) fn displace(&mut self, node: usize, by: Replacement, down: Nanos, lasts: Nanos) {
        let another = self.nodes.iter().any(|machine| machine.disk.is_displaced());
        // A node with a cut log needs every other one to be admitted again.
        let unfit = self.nodes.len() == 1 || self.setup.real_disks || self.setup.cut_logs;
        if another || unfit || !self.nodes[node].disk.registry().is_founded() {
            return;
        }
        let contents = match by {
            Replacement::Empty if self.setup.founders == 1 && node == 0 => return,
            Replacement::Empty => self.empty_folder(node),
            Replacement::OlderCopy => {
                let Some(copy) = self.nodes[node].disk.older_copy() else { return };
                let id = node as NodeId + 1;
                let knows = |other: &super::node::Node| {
                    other.disk.registry().peers.get(&id).is_some_and(|met| met.run.starts > copy.registry.starts)
                };
                let recognized = self.nodes.iter().filter(|other| other.id != id).all(knows);
                if !recognized || copy.may_be_sole_voter() {
                    return;
                }
                copy.clone()
            }
        };
        self.kill(node, "is killed, and its folder is replaced");
        self.nodes[node].disk.displace(contents);
        self.start_later(node, down);
        self.at(self.now + down + lasts, Event::Ends(Ending::Displaced { node: node as u8 }));
    }

    /// Puts a node's own folder back, if another one is in its place.
    pub(super) fn put_back(&mut self, node: usize) {
        if self.nodes[node].disk.is_displaced() {
            self.kill(node, "is killed, and its own folder is put back");
            self.nodes[node].disk.put_back();
            self.start_later(node, 0);
        }
    }
}
