//! The identity of a node's data folder: the founding of a cluster, and the rules by which nodes recognize a folder that
//! is empty, foreign or an older copy. The rules are those of `docs/protocol.md`, section "Identity".
//!
//! It is sans-IO. A [`Registry`] is what a folder keeps. When a link comes up, each side passes the [`Introduction`] of
//! the other to [`Registry::meet`], makes the returned registry durable, and only then acts on the verdict.

use leasehold_core::NodeId;
use std::collections::BTreeMap;
use std::fmt;

/// A number that is drawn when a folder is created. It is never 0.
pub type Incarnation = u64;
/// The number of a founded cluster: the incarnation of the folder that founded it. 0 stands for no cluster.
pub type ClusterId = u64;

/// The most runs whose numbers a folder keeps.
pub const MAX_BOOTS: usize = 32;

/// One run of a node's process on a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The folder's incarnation.
    pub incarnation: Incarnation,
    /// The number of starts of the folder, including this one.
    pub starts: u64,
    /// The number that this process drew. Two copies of one folder count the same starts, but draw other numbers.
    pub boot: u64,
}

/// The description that a node gives of itself when a link comes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Its number.
    pub node: NodeId,
    /// Its folder's incarnation.
    pub incarnation: Incarnation,
    /// The number of starts of its folder, including the present one.
    pub starts: u64,
    /// The numbers that its newest runs drew, the present one last. There is at least one.
    pub boots: Vec<u64>,
    /// Its cluster; 0 if its folder belongs to none yet.
    pub cluster: ClusterId,
    /// The founders, and once the cluster is founded the incarnation of each one's folder. Until then 0.
    pub founders: BTreeMap<NodeId, Incarnation>,
}

impl Introduction {
    /// Returns the present run.
    pub fn run(&self) -> Run {
        let boot = self.boots.last().copied().unwrap_or_default();
        Run { incarnation: self.incarnation, starts: self.starts, boot }
    }

    /// Returns true if the folder knows this run of its own, or is so many starts ahead of it that it has forgotten it.
    fn has_run(&self, run: &Run) -> bool {
        let Some(since) = self.starts.checked_sub(run.starts) else { return false };
        self.boots.iter().rev().nth(usize::try_from(since).unwrap_or(usize::MAX)).is_none_or(|boot| *boot == run.boot)
    }
}

/// The durable part of a folder's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The node's number.
    pub node: NodeId,
    /// The folder's incarnation.
    pub incarnation: Incarnation,
    /// The number of starts, which is raised durably before anything is sent.
    pub starts: u64,
    /// The numbers that the newest runs drew, the present one last: at most [`MAX_BOOTS`].
    pub boots: Vec<u64>,
    /// The cluster; 0 until it is founded.
    pub cluster: ClusterId,
    /// The founders, with the incarnations of their folders once the cluster is founded. Until then 0.
    pub founders: BTreeMap<NodeId, Incarnation>,
    /// The newest run of each other node that this node has accepted. Before the founding: the newest run that it has
    /// seen since it started.
    pub peers: BTreeMap<NodeId, Run>,
    /// The number that the newest refused run on an older copy of another node's folder drew. The node's own folder
    /// never contains it.
    pub copies: BTreeMap<NodeId, u64>,
}

/// The outcome of a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Meeting {
    /// The registry to make durable before the verdict is acted on, if it has changed. A refusal may change it too.
    pub registry: Option<Registry>,
    /// `Ok(true)` if the link may be used, and `Ok(false)` if the cluster is not founded yet and the nodes try again.
    pub verdict: Result<bool, Refusal>,
}

/// The reason why a node refuses a peer. Each text follows the peer's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its founders are others.
    #[error("has the founders {theirs}, this node {ours}: give all nodes the same numbers in --peers")]
    OtherFounders {
        /// The peer's.
        theirs: Numbers,
        /// This node's.
        ours: Numbers,
    },
    /// Its cluster is another one.
    #[error(
        "belongs to another cluster of the same name (its id is {theirs:016x}, this one's {ours:016x}): correct the \
         addresses in --peers"
    )]
    OtherCluster {
        /// The peer's.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// Its folder is not the one that the cluster knows.
    #[error(
        "has an empty or foreign data folder, and not the one with which node {node} took part: it has lost what that \
         node acknowledged and must not take part; stop it and start it with node {node}'s own folder"
    )]
    OtherFolder {
        /// The peer.
        node: NodeId,
    },
    /// Its folder is older than its newest known run.
    #[error(
        "has an older copy of its data folder, which does not know its own start {known}: it has lost what it \
         acknowledged since and must not take part; stop it and start it with node {node}'s newest folder"
    )]
    OlderCopy {
        /// The peer.
        node: NodeId,
        /// The count of starts of its newest known run.
        known: u64,
    },
    /// This node's own folder is not the one that the cluster knows.
    #[error(
        "knows node {ours} by another data folder: the folder of this node is empty or foreign, and it must not take \
         part as the voter it was; stop this node and start it with node {ours}'s own folder"
    )]
    Unknown {
        /// This node.
        ours: NodeId,
    },
}

/// Node numbers, shown as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(Vec<NodeId>);

impl Numbers {
    /// Returns the numbers in their order.
    pub fn new(numbers: impl IntoIterator<Item = NodeId>) -> Numbers {
        Numbers(numbers.into_iter().collect())
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Registry {
    /// Returns the registry of a new folder. A single founder founds its cluster at once.
    pub fn new(node: NodeId, incarnation: Incarnation, founders: impl IntoIterator<Item = NodeId>) -> Registry {
        let founders = founders.into_iter().map(|founder| (founder, 0)).collect();
        let mut registry = Registry::unfounded(node, incarnation);
        registry.founders = founders;
        registry.found();
        registry
    }

    /// Returns the registry of a node of a cluster that is founded from the start, in which every node's incarnation is
    /// its number. For tests.
    pub fn founded(node: NodeId, founders: impl IntoIterator<Item = NodeId>) -> Registry {
        let founders = founders.into_iter().map(|founder| (founder, founder)).collect();
        Registry { cluster: 1, founders, ..Registry::unfounded(node, node) }
    }

    fn unfounded(node: NodeId, incarnation: Incarnation) -> Registry {
        let (founders, peers, copies) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Registry { node, incarnation, starts: 0, boots: Vec::new(), cluster: 0, founders, peers, copies }
    }

    /// Returns true if the folder belongs to a founded cluster.
    pub fn is_founded(&self) -> bool {
        self.cluster != 0
    }

    /// Returns the founders that this node has not met. Before the founding it waits for them.
    pub fn missing(&self) -> Numbers {
        let missing = |founder: &NodeId| *founder != self.node && !self.peers.contains_key(founder);
        Numbers::new(self.founders.keys().copied().filter(missing))
    }

    /// Returns the description of this node.
    pub fn introduction(&self) -> Introduction {
        let Registry { node, incarnation, starts, boots, cluster, founders, peers: _, copies: _ } = self.clone();
        Introduction { node, incarnation, starts, boots, cluster, founders }
    }

    /// Begins the run of a process that drew `boot`. The caller makes the registry durable before it introduces the
    /// node to any peer.
    pub fn begin_run(&mut self, boot: u64) {
        self.starts += 1;
        if self.boots.len() >= MAX_BOOTS {
            self.boots.remove(0);
        }
        self.boots.push(boot);
        if !self.is_founded() {
            // The founding must not rest on folders that were removed meanwhile.
            self.peers.clear();
            self.copies.clear();
        }
    }

    /// Judges a peer that introduced itself.
    pub fn meet(&self, theirs: &Introduction) -> Meeting {
        let mut next = self.clone();
        let verdict = next.admit(theirs);
        if let Err(refusal) = &verdict {
            next.clone_from(self);
            // With fewer starts it may be an earlier run of the node's own folder, whose introduction arrives late.
            if matches!(refusal, Refusal::OlderCopy { known, .. } if theirs.starts >= *known) {
                next.copies.insert(theirs.node, theirs.run().boot);
            }
        }
        Meeting { registry: (next != *self).then_some(next), verdict }
    }

    /// Records a peer. Returns true if the link may be used. After an error the registry is of no use.
    fn admit(&mut self, theirs: &Introduction) -> Result<bool, Refusal> {
        if !self.founders.keys().eq(theirs.founders.keys()) {
            return Err(self.other_founders(theirs));
        }
        match (self.cluster, theirs.cluster) {
            (0, 0) => {
                self.peers.insert(theirs.node, theirs.run());
                self.found();
            }
            (0, _) => self.adopt(theirs)?,
            (_, 0) => {}
            (ours, theirs) if ours != theirs => return Err(Refusal::OtherCluster { theirs, ours }),
            _ if self.founders != theirs.founders => return Err(self.other_founders(theirs)),
            _ => {}
        }
        let admitted = self.is_founded();
        if admitted {
            self.check_folder(theirs)?;
            self.peers.insert(theirs.node, theirs.run());
        }
        Ok(admitted)
    }

    /// Founds the cluster if this node is the founder with the lowest number and has met every other founder.
    fn found(&mut self) {
        if self.founders.keys().next() != Some(&self.node) || !self.missing().is_empty() {
            return;
        }
        self.cluster = self.incarnation;
        for (founder, incarnation) in &mut self.founders {
            *incarnation = self.peers.get(founder).map_or(self.incarnation, |run| run.incarnation);
        }
    }

    /// Joins the cluster of a founder that has founded or joined it, if that cluster was founded with this folder.
    fn adopt(&mut self, theirs: &Introduction) -> Result<(), Refusal> {
        if theirs.founders.get(&self.node) != Some(&self.incarnation) {
            return Err(Refusal::Unknown { ours: self.node });
        }
        self.cluster = theirs.cluster;
        self.founders.clone_from(&theirs.founders);
        // A founder may have been seen with a folder that was removed before the founding, or that came after it.
        self.peers.retain(|peer, run| theirs.founders.get(peer) == Some(&run.incarnation));
        Ok(())
    }

    /// Checks a peer of this cluster against the folder and the runs that are known of it.
    fn check_folder(&self, theirs: &Introduction) -> Result<(), Refusal> {
        let node = theirs.node;
        let known = self.peers.get(&node);
        let incarnation = self.founders.get(&node).copied().or(known.map(|known| known.incarnation));
        if incarnation.is_some_and(|incarnation| incarnation != theirs.incarnation) {
            return Err(Refusal::OtherFolder { node });
        }
        // A copy that was started often enough has forgotten the start that tells it apart.
        let is_copy = self.copies.get(&node).is_some_and(|boot| theirs.boots.contains(boot));
        match known {
            // The count alone is not enough: an older copy counts on with every start.
            Some(known) if is_copy || !theirs.has_run(known) => Err(Refusal::OlderCopy { node, known: known.starts }),
            _ => Ok(()),
        }
    }

    fn other_founders(&self, theirs: &Introduction) -> Refusal {
        let numbers = |founders: &BTreeMap<NodeId, Incarnation>| Numbers::new(founders.keys().copied());
        Refusal::OtherFounders { theirs: numbers(&theirs.founders), ours: numbers(&self.founders) }
    }
}
