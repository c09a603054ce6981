//! The identity of a node's data folder: the founding of a cluster, and the rules by which nodes recognize a folder that
//! is empty, foreign or an older copy. The rules are those of `docs/protocol.md`, section "Identity".
//!
//! After the founding, the members are those of the replicated configuration: the [`Roster`]. A node that was away learns
//! the newest one from any peer, so that it knows those that joined meanwhile.
//!
//! It is sans-IO. A [`Registry`] is what a folder keeps. When a link comes up, each side passes the [`Introduction`] of
//! the other to [`Registry::meet`], makes the returned registry durable, and only then acts on the verdict.

use leasehold_core::{Index, NodeId};
use std::collections::BTreeMap;
use std::fmt;
use wincode::{SchemaRead, SchemaWrite};

/// A number that is drawn when a folder is created. It is never 0.
pub type Incarnation = u64;
/// The number of a founded cluster: the incarnation of the folder that founded it. 0 stands for no cluster.
pub type ClusterId = u64;

/// The most runs whose numbers a folder keeps.
pub const MAX_BOOTS: usize = 32;

/// One run of a node's process on a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Run {
    /// The folder's incarnation.
    pub incarnation: Incarnation,
    /// The number of starts of the folder, including this one.
    pub starts: u64,
    /// The number that this process drew. Two copies of one folder count the same starts, but draw other numbers.
    pub boot: u64,
}

/// The most founders of a cluster.
pub const MAX_FOUNDERS: usize = 15;
/// The most members of a cluster, voters and learners.
pub const MAX_MEMBERS: usize = 32;
/// The longest address, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 255;

/// The addresses of a node, `host:port`. They are empty while they are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Addresses {
    /// The address at which other nodes reach it.
    pub peers: String,
    /// The address at which clients reach it.
    pub clients: String,
}

impl Addresses {
    fn are_bounded(&self) -> bool {
        self.peers.len().max(self.clients.len()) <= MAX_ADDRESS_BYTES
    }
}

/// The description of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Contact {
    /// The incarnation of its folder; 0 while it is unknown.
    pub incarnation: Incarnation,
    /// Its addresses.
    pub addresses: Addresses,
    /// The newest version of log entries that it can apply; 0 while it is unknown.
    pub entries: u32,
    /// The count of starts of its folder when it said so. Of two descriptions, the one with the higher count is newer.
    pub starts: u64,
}

impl Contact {
    /// Returns true if this description says something else than `known`, and is not older.
    pub fn updates(&self, known: &Contact) -> bool {
        let same = Contact { starts: self.starts, ..known.clone() } == *self;
        !same && self.starts >= known.starts
    }
}

/// The members of a cluster, as of some change of its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Roster {
    /// The index of that change. Of two rosters, the one with the higher index is newer. 0 stands for the founders.
    pub changed: Index,
    /// The highest number that any member ever had. A removed node's number is never used again.
    pub highest: NodeId,
    /// The members.
    pub members: BTreeMap<NodeId, Contact>,
}

impl Roster {
    /// Returns true if it has no members: it stands for the founders.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// A peer that was met.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Met {
    /// Its newest run.
    pub run: Run,
    /// The addresses that it announced.
    pub addresses: Addresses,
    /// The newest version of log entries that it can apply.
    pub entries: u32,
}

impl Met {
    fn by(theirs: &Introduction) -> Met {
        Met { run: theirs.run(), addresses: theirs.addresses.clone(), entries: theirs.entries }
    }

    fn contact(&self) -> Contact {
        let Met { run, addresses, entries } = self.clone();
        Contact { incarnation: run.incarnation, addresses, entries, starts: run.starts }
    }
}

/// The description that a node gives of itself when a link comes up.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
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
    /// The founders, and once the cluster is founded the incarnation of each one's folder. Until then 0. A node that
    /// joins names none until it has joined.
    pub founders: BTreeMap<NodeId, Incarnation>,
    /// The addresses at which it wants to be reached.
    pub addresses: Addresses,
    /// The newest version of log entries that it can apply.
    pub entries: u32,
    /// The newest roster that it knows.
    pub roster: Roster,
}

impl Introduction {
    /// Returns true if it is a node that wants to join a cluster.
    pub fn joins(&self) -> bool {
        self.cluster == 0 && self.founders.is_empty()
    }

    /// Returns true if no list and no text in it is longer than the limits allow, and it has the number of its run.
    pub fn is_bounded(&self) -> bool {
        let roster = self.roster.members.values().map(|contact| &contact.addresses);
        (1..=MAX_BOOTS).contains(&self.boots.len())
            && self.founders.len() <= MAX_FOUNDERS
            && self.roster.members.len() <= MAX_MEMBERS
            && roster.chain([&self.addresses]).all(Addresses::are_bounded)
    }

    /// Returns the description of the node as a member.
    pub fn contact(&self) -> Contact {
        Met::by(self).contact()
    }

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
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
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
    /// The addresses that this node announces.
    pub addresses: Addresses,
    /// The newest version of log entries that this node can apply.
    pub entries: u32,
    /// The newest roster that this node knows: its own configuration, or a peer's.
    pub roster: Roster,
    /// Each other node that this node has accepted, with its newest run. Before the founding: those that it has seen
    /// since it started.
    pub peers: BTreeMap<NodeId, Met>,
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
    #[error(
        "has the founders {theirs}, this node {ours}: found a cluster with the same numbers in --peers on every node, and \
         let further nodes join it (`leasehold ctl add`)"
    )]
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
         node acknowledged and must not take part; stop it, and start it with node {node}'s own folder, or replace it by \
         a node with a new number (`leasehold ctl replace`)"
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
         part as the voter it was; stop this node, and start it with node {ours}'s own folder, or replace it by a node \
         with a new number (`leasehold ctl replace`)"
    )]
    Unknown {
        /// This node.
        ours: NodeId,
    },
    /// It was a member, and is not any more.
    #[error(
        "was removed from the cluster, or has a number that was used before: stop it; a new node needs a number above \
         {highest}"
    )]
    Removed {
        /// The highest number that was ever used.
        highest: NodeId,
    },
    /// This node was a member, and is not any more.
    #[error(
        "knows that node {ours} was removed from the cluster, or that its number was used before: a new node needs an \
         empty folder and a number above {highest}"
    )]
    RemovedOurs {
        /// This node.
        ours: NodeId,
        /// The highest number that was ever used.
        highest: NodeId,
    },
}

impl Refusal {
    /// Returns true if it says that this node is not a member any more, and never will be.
    pub fn is_removal(&self) -> bool {
        matches!(self, Refusal::RemovedOurs { .. })
    }
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

    /// Returns the numbers, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().copied()
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
    /// Returns the registry of a new folder. A single founder founds its cluster at once. Without founders, the node
    /// waits until it is added to a cluster.
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
        Registry {
            node,
            incarnation,
            starts: 0,
            boots: Vec::new(),
            cluster: 0,
            founders: BTreeMap::new(),
            addresses: Addresses::default(),
            entries: 0,
            roster: Roster::default(),
            peers: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    /// Returns true if the folder belongs to a founded cluster.
    pub fn is_founded(&self) -> bool {
        self.cluster != 0
    }

    /// Returns true if the node waits until it is added to a cluster.
    pub fn joins(&self) -> bool {
        self.cluster == 0 && self.founders.is_empty()
    }

    /// Returns the founders that this node has not met. Before the founding it waits for them.
    pub fn missing(&self) -> Numbers {
        let missing = |founder: &NodeId| *founder != self.node && !self.peers.contains_key(founder);
        Numbers::new(self.founders.keys().copied().filter(missing))
    }

    /// Returns the members, as far as this node knows.
    pub fn members(&self) -> Numbers {
        if self.roster.is_empty() {
            return Numbers::new(self.founders.keys().copied());
        }
        Numbers::new(self.roster.members.keys().copied())
    }

    /// Returns the present description of each member: what it announced itself, or else what the roster says. A member
    /// of which nothing is known is left out.
    pub fn contacts(&self) -> BTreeMap<NodeId, Contact> {
        self.members().0.into_iter().filter_map(|member| Some((member, self.contact(member)?))).collect()
    }

    /// Returns the present description of a member, if something is known of it.
    pub fn contact(&self, member: NodeId) -> Option<Contact> {
        if member == self.node {
            return Some(self.introduction().contact());
        }
        let met = self.peers.get(&member).map(Met::contact);
        let listed = self.roster.members.get(&member).cloned();
        // Both may be known, and the newer one counts.
        met.into_iter().chain(listed).max_by_key(|contact| contact.starts)
    }

    /// Takes over a newer roster. One without this node is not taken over: until a peer has said that this node was
    /// removed, it may still be needed. Returns true if this node is in the roster, or if that is not newer.
    pub fn update_roster(&mut self, roster: &Roster) -> bool {
        if roster.changed <= self.roster.changed {
            return true;
        }
        if !roster.members.contains_key(&self.node) {
            return false;
        }
        self.roster = roster.clone();
        let members = &roster.members;
        self.peers.retain(|peer, _| members.contains_key(peer));
        self.copies.retain(|peer, _| members.contains_key(peer));
        true
    }

    /// Returns the description of this node.
    pub fn introduction(&self) -> Introduction {
        let Registry { node, incarnation, starts, boots, cluster, founders, addresses, entries, roster, .. } =
            self.clone();
        Introduction { node, incarnation, starts, boots, cluster, founders, addresses, entries, roster }
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
        let same_founders = self.founders.keys().eq(theirs.founders.keys());
        match (self.cluster, theirs.cluster) {
            // Neither can tell the other of a cluster.
            (0, 0) if self.joins() || theirs.joins() => return Ok(false),
            (0, 0) if !same_founders => return Err(self.other_founders(theirs)),
            (0, 0) => {
                self.peers.insert(theirs.node, Met::by(theirs));
                self.found();
            }
            (0, _) if self.joins() => return self.join(theirs),
            (0, _) if !same_founders => return Err(self.other_founders(theirs)),
            (0, _) => self.adopt(theirs)?,
            (_, 0) if !theirs.joins() && !same_founders => return Err(self.other_founders(theirs)),
            (_, 0) => {}
            (ours, theirs) if ours != theirs => return Err(Refusal::OtherCluster { theirs, ours }),
            _ if self.founders != theirs.founders => return Err(self.other_founders(theirs)),
            _ => {}
        }
        if !self.is_founded() {
            return Ok(false);
        }
        self.check_folder(theirs)?;
        if theirs.cluster == self.cluster && !self.update_roster(&theirs.roster) {
            return Err(Refusal::RemovedOurs { ours: self.node, highest: self.highest() });
        }
        let admitted = self.check_member(theirs)?;
        if admitted {
            self.peers.insert(theirs.node, Met::by(theirs));
        }
        Ok(admitted)
    }

    /// Joins the cluster of a peer, once that one knows this node as a member. Returns true if it does.
    fn join(&mut self, theirs: &Introduction) -> Result<bool, Refusal> {
        match theirs.roster.members.get(&self.node) {
            Some(contact) if contact.incarnation == self.incarnation => {
                self.cluster = theirs.cluster;
                self.founders.clone_from(&theirs.founders);
                self.update_roster(&theirs.roster);
                self.peers.insert(theirs.node, Met::by(theirs));
                Ok(true)
            }
            Some(_) => Err(Refusal::Unknown { ours: self.node }),
            None => {
                let highest = theirs.founders.keys().copied().max().unwrap_or(0).max(theirs.roster.highest);
                if self.node <= highest {
                    return Err(Refusal::RemovedOurs { ours: self.node, highest });
                }
                Ok(false)
            }
        }
    }

    /// Returns the highest number that was ever used.
    fn highest(&self) -> NodeId {
        self.founders.keys().copied().max().unwrap_or(0).max(self.roster.highest)
    }

    /// Returns true if a peer is a member, and false if it may become one.
    fn check_member(&self, theirs: &Introduction) -> Result<bool, Refusal> {
        let member = match self.roster.is_empty() {
            true => self.founders.contains_key(&theirs.node),
            false => self.roster.members.contains_key(&theirs.node),
        };
        let highest = self.highest();
        if !member && theirs.node <= highest { Err(Refusal::Removed { highest }) } else { Ok(member) }
    }

    /// Founds the cluster if this node is the founder with the lowest number and has met every other founder.
    fn found(&mut self) {
        if self.founders.keys().next() != Some(&self.node) || !self.missing().is_empty() {
            return;
        }
        self.cluster = self.incarnation;
        for (founder, incarnation) in &mut self.founders {
            *incarnation = self.peers.get(founder).map_or(self.incarnation, |met| met.run.incarnation);
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
        self.peers.retain(|peer, met| theirs.founders.get(peer) == Some(&met.run.incarnation));
        Ok(())
    }

    /// Checks a peer of this cluster against the folder and the runs that are known of it.
    fn check_folder(&self, theirs: &Introduction) -> Result<(), Refusal> {
        let node = theirs.node;
        let known = self.peers.get(&node).map(|met| &met.run);
        let listed = self.roster.members.get(&node).map(|contact| contact.incarnation).filter(|listed| *listed != 0);
        let founded = || self.founders.get(&node).copied();
        let incarnation = listed.or_else(founded).or(known.map(|known| known.incarnation));
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
