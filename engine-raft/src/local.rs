//! Local reads: the lender and the reader of a node whose engine is the `raft` crate's, and what they have to send.

use crate::options::Options;
use crate::wire::Local;
use leasehold_core::local::{Grant, Lender, Reader, Request, Return};
use leasehold_core::{Holder, Index, LeaseCell, NodeId, Reading, Term};
use raft::{Raft, StateRole, Storage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The two sides of local reads. Both live as long as the process.
pub(crate) struct LocalReads {
    lender: Lender,
    /// `None` if the node has no count of its starts to number requests with.
    reader: Option<Reader>,
    /// The cell in which the reader publishes its sublease.
    cell: Arc<LeaseCell>,
    /// This node grants subleases.
    lends: bool,
    /// This node is to ask for subleases.
    asks: bool,
    /// Set by a shutdown: this node grants no sublease and asks for none.
    retired: bool,
    /// The term in which the lender knows that this node leads.
    leads: Option<Term>,
    /// The term and the leader that the reader knows.
    follows: Option<(Term, NodeId)>,
    /// The request and the grants that leave with the next frame to that node.
    request: Option<(NodeId, Request)>,
    grants: BTreeMap<NodeId, Grant>,
    /// The return that leaves at once.
    returned: Option<(NodeId, Return)>,
    /// The readers that were asked to return their subleases since they had to.
    recalled: Vec<NodeId>,
}

impl LocalReads {
    /// Returns the two sides for a process that starts with everything through `commit` committed.
    pub(crate) fn new(options: &Options, commit: Index, now: Reading) -> LocalReads {
        let mut lender = Lender::new(options.config);
        lender.advance(now, commit, None, |_| None);
        LocalReads {
            lender,
            reader: options.starts.map(|starts| Reader::new(options.config, starts)),
            cell: Arc::default(),
            lends: options.lends,
            asks: false,
            retired: false,
            leads: None,
            follows: None,
            request: None,
            grants: BTreeMap::new(),
            returned: None,
            recalled: Vec::new(),
        }
    }

    pub(crate) fn lender(&self) -> &Lender {
        &self.lender
    }

    pub(crate) fn lender_mut(&mut self) -> &mut Lender {
        &mut self.lender
    }

    pub(crate) fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref()
    }

    pub(crate) fn cell(&self) -> &Arc<LeaseCell> {
        &self.cell
    }

    /// Learns what has changed in the engine, before anything of that step leaves. `listens` is false while this node must
    /// take nothing from a leader. The exposed index is up to date then.
    pub(crate) fn follow<S: Storage>(&mut self, now: Reading, raft: &Raft<S>, listens: bool) {
        let (term, log) = (raft.term, &raft.raft_log);
        let is_leader = raft.state == StateRole::Leader;
        let leads = (is_leader && !self.retired).then_some(term);
        if leads != self.leads {
            self.grants.clear();
            match leads {
                Some(term) => self.lender.elected(term),
                None => self.lender.deposed(),
            }
            self.leads = leads;
        }
        let leader = Some(raft.leader_id).filter(|leader| !is_leader && *leader != raft::INVALID_ID);
        if leader.is_some() {
            self.lender.follows(term);
        }
        // Entries of earlier terms are exposed before the first grant of this one, and one change at a time is pending.
        let change = Some(raft.pending_conf_index).filter(|change| *change > self.lender.exposed());
        let matched = |id| raft.prs().get(id).map(|progress| progress.matched);
        self.lender.advance(now, log.committed, change, matched);

        let Some(reader) = &mut self.reader else { return };
        let follows = leader.filter(|_| listens && raft.state == StateRole::Follower).map(|leader| (term, leader));
        if follows != self.follows {
            self.request = None;
            match follows {
                Some((term, leader)) => reader.follows(term, leader, &self.cell),
                None => reader.lost_leader(&self.cell),
            }
            self.follows = follows;
        }
    }

    /// Notes the reading of an input: one that goes back revokes the sublease.
    pub(crate) fn observe(&mut self, now: Reading) {
        if let Some(reader) = &mut self.reader {
            reader.observe(now, &self.cell);
        }
    }

    /// Publishes the end of the log, given the index and the term of its last entry that was handed out to be written.
    pub(crate) fn publish_received(&mut self, (index, term): (Index, Term)) {
        if let (Some(reader), Some((current, _))) = (&mut self.reader, self.follows) {
            reader.received((term == current).then_some(index), &self.cell);
        }
    }

    /// Makes a request to go with the echo to this leader, if this node is to ask.
    pub(crate) fn make_request(&mut self, now: Reading, leader: NodeId) {
        if self.asks
            && let Some(reader) = &mut self.reader
            && let Some(request) = reader.request(now, &self.cell)
        {
            self.request = Some((leader, request));
        }
    }

    /// Handles a request that came with an echo of `from`.
    pub(crate) fn handle_request<S: Storage>(
        &mut self,
        now: Reading,
        (holder, cell): (&mut Holder, &LeaseCell),
        raft: &Raft<S>,
        from: NodeId,
        request: Request,
    ) {
        // A sublease is not renewed under other voters, so none is cut before a change of them is in force.
        if self.retired || !self.lends || now.is_none() || raft.has_pending_conf() {
            return;
        }
        let matched = raft.prs().get(from).map(|progress| progress.matched);
        if let Some(grant) = self.lender.handle_request(now, holder, cell, from, matched, request) {
            self.grants.insert(from, grant);
        }
    }

    /// Handles a grant of `from`.
    pub(crate) fn handle_grant(&mut self, now: Reading, from: NodeId, grant: Grant) {
        if let Some(reader) = self.reader.as_mut().filter(|_| self.asks) {
            reader.handle_grant(now, from, grant, &self.cell);
        }
    }

    /// Returns all subleases to the leader. They are revoked when this returns.
    pub(crate) fn return_all(&mut self) {
        if let Some(reader) = &mut self.reader {
            let returned = reader.return_all(&self.cell);
            self.request = None;
            self.returned = self.follows.map(|(_, leader)| leader).zip(returned);
        }
    }

    /// Handles a recall of `from`.
    pub(crate) fn handle_recall(&mut self, from: NodeId) {
        if self.follows.is_some_and(|(_, leader)| leader == from) {
            self.return_all();
        }
    }

    /// Begins or ends to ask for subleases.
    pub(crate) fn set_asks(&mut self, asks: bool) {
        if self.asks && !asks {
            self.return_all();
        }
        self.asks = asks && !self.retired;
    }

    /// Grants nothing more, and exposes nothing more while a reader may use a sublease. Returns all subleases.
    pub(crate) fn retire(&mut self) {
        self.set_asks(false);
        self.retired = true;
        (self.leads, self.grants) = (None, BTreeMap::new());
        self.lender.deposed();
    }

    /// Returns the nodes to which something must be sent at once.
    pub(crate) fn take_due(&mut self) -> Vec<NodeId> {
        let recalls: Vec<NodeId> = self.lender.obligations().filter(|reader| self.lender.recalls(*reader)).collect();
        let new = recalls.iter().filter(|reader| !self.recalled.contains(reader));
        let due = new.copied().chain(self.returned.map(|(leader, _)| leader)).collect();
        self.recalled = recalls;
        due
    }

    /// Returns what goes with a frame to this node that leaves now, with an echo if `echoes`. Grants leave if `leads`.
    pub(crate) fn take_for(&mut self, to: NodeId, echoes: bool, leads: bool) -> Local {
        let request = self.request.take_if(|(leader, _)| echoes && *leader == to);
        let grant = if leads { self.grants.remove(&to) } else { None };
        let returned = self.returned.take_if(|(leader, _)| *leader == to);
        Local {
            request: request.map(|(_, request)| request.into()),
            grant: grant.map(Into::into),
            returned: returned.map(|(_, returned)| returned.through),
            recall: self.lender.recalls(to),
        }
    }
}
