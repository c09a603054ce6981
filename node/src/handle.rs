//! The rest of a process talks to a running node through a handle, and peers through an inbox.

use crate::budget::{Budget, Share};
use crate::events::{Outcome, Reply, Request, RequestError};
use crate::frames;
use crate::group::{Group, ReadMode};
use crate::identity::Contact;
use crate::members::{ChangeError, MemberChange, Members};
use crate::node::AddGroupError;
use crate::ports::{GroupId, Lane, Receive, Rejected, StateMachine};
use crate::setup::StartGroup;
use crate::status::{DiskStatistics, GroupStatistics, ReadGate, ReadGrant, RouterStatistics, Status};
use crate::wire::Message;
use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use bytes::Bytes;
use event_listener::Event;
use futures::channel::oneshot;
use leasehold_clock::Clock;
use leasehold_core::{NodeId, Reading};
use leasehold_raft::{Position, Role, TransferError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The largest number of inputs that wait for the node. Senders of more wait.
const MAX_INBOX: usize = 4_096;

/// The bytes of appends, snapshots and requests from peers that wait for the node. Links wait with further ones.
const MAX_INBOX_BYTES: usize = 128 << 20;

/// The bytes of urgent messages that wait for the node. They do not wait behind larger ones.
const MAX_URGENT_BYTES: usize = 16 << 20;

/// The sender of a reply to one request.
pub(crate) type Answer<M> = oneshot::Sender<Outcome<M>>;

/// An input on its way to the node's task.
pub(crate) enum Command<M: StateMachine> {
    Messages { from: NodeId, messages: Vec<Message>, share: Share },
    Request { group: GroupId, request: Request, answer: Answer<M>, sent: Reading },
    RefuseWrites(bool),
    SetLocalReads(bool),
    SetContacts(BTreeMap<NodeId, Contact>),
    ChangeMembers { group: GroupId, change: MemberChange, answer: oneshot::Sender<Result<Position, ChangeError>> },
    Transfer { group: GroupId, to: NodeId, answer: oneshot::Sender<Result<(), TransferError>> },
    CreateGroup { group: Box<StartGroup<M>>, answer: oneshot::Sender<Result<Arc<Shared>, AddGroupError>> },
    RemoveGroup { group: GroupId, answer: oneshot::Sender<bool> },
    HandOver { group: GroupId, answer: oneshot::Sender<Result<NodeId, TransferError>> },
    Stop,
}

/// Returns the two ends of a node's queue of inputs: links deliver to the inbox, and the node takes from the mailbox.
/// Links can be started before the node.
pub fn inbox<M: StateMachine>() -> (Inbox<M>, Mailbox<M>) {
    let (sender, receiver) = async_channel::bounded(MAX_INBOX);
    let (bytes, urgent_bytes) = (Budget::new(MAX_INBOX_BYTES), Budget::new(MAX_URGENT_BYTES));
    (Inbox { sender: sender.clone(), bytes, urgent_bytes }, Mailbox { sender, receiver })
}

/// The receiver of what peers send. Clones share it.
pub struct Inbox<M: StateMachine> {
    sender: Sender<Command<M>>,
    bytes: Arc<Budget>,
    urgent_bytes: Arc<Budget>,
}

/// The node's end of an [`Inbox`].
pub struct Mailbox<M: StateMachine> {
    pub(crate) sender: Sender<Command<M>>,
    pub(crate) receiver: Receiver<Command<M>>,
}

impl<M: StateMachine> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Inbox { sender: self.sender.clone(), bytes: self.bytes.clone(), urgent_bytes: self.urgent_bytes.clone() }
    }
}

impl<M: StateMachine> fmt::Debug for Inbox<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl<M: StateMachine> fmt::Debug for Mailbox<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

#[async_trait]
impl<M: StateMachine> Receive for Inbox<M> {
    async fn receive(&self, from: NodeId, lane: Lane, payload: &[u8]) -> Result<(), Rejected> {
        let budget = if lane == Lane::Urgent { &self.urgent_bytes } else { &self.bytes };
        let share = budget.take(frames::decoded_bytes(payload)).await;
        let messages = frames::decode(payload)?;
        // A node that has stopped needs no messages.
        let _ = self.sender.send(Command::Messages { from, messages, share }).await;
        Ok(())
    }
}

/// Counts of a group, of its requests and of its node's disk since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Counts of the group.
    pub group: GroupStatistics,
    /// Counts of the group's router.
    pub router: RouterStatistics,
    /// The disk.
    pub disk: DiskStatistics,
}

/// The values that a node's task publishes for every thread about one group.
pub(crate) struct Shared {
    pub(crate) group: GroupId,
    pub(crate) gate: Arc<ReadGate>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: Mutex<Status>,
    pub(crate) status_changed: Event,
    pub(crate) statistics: Mutex<Statistics>,
    pub(crate) members: Mutex<Arc<Members>>,
}

impl Shared {
    pub(crate) fn new<M: StateMachine>(group: &Group<M>, clock: Arc<dyn Clock>) -> Shared {
        Shared {
            group: group.id(),
            gate: group.read_gate().clone(),
            clock,
            // The rest is published after the first turn. This must agree with the members, for which callers wait by it.
            status: Mutex::new(Status { members_changed: group.status().members_changed, ..Status::default() }),
            status_changed: Event::new(),
            statistics: Mutex::default(),
            members: Mutex::new(Arc::new(group.members())),
        }
    }

    /// Publishes that the group has ended here. It leads no more, and the node no longer knows who does.
    pub(crate) fn end(&self) {
        let mut status = self.status.lock();
        let Status { role, leader, no_lease, .. } = Status::default();
        *status = Status { role, leader, no_lease, stopped: true, ..*status };
        drop(status);
        self.status_changed.notify(usize::MAX);
    }

    pub(crate) fn publish_members(&self, members: Members) {
        let mut published = self.members.lock();
        if **published != members {
            *published = Arc::new(members);
        }
    }
}

/// A handle to a group on a running node. Clones share it. Every future here may be dropped at any await: a request
/// that was not executed at once is then dropped, and of one that was only the reply is lost.
pub struct Handle<M: StateMachine> {
    pub(crate) inbox: Sender<Command<M>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: Directory,
}

/// The groups of a running node.
pub(crate) type Directory = Arc<Mutex<BTreeMap<GroupId, Arc<Shared>>>>;

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), shared: self.shared.clone(), directory: self.directory.clone() }
    }
}

impl<M: StateMachine> fmt::Debug for Handle<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Handle<M> {
    /// Returns the number of the group.
    pub fn group(&self) -> GroupId {
        self.shared.group
    }

    /// Returns the numbers of the node's groups, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        self.directory.lock().keys().copied().collect()
    }

    /// Returns a handle to another group of the node.
    pub fn to_group(&self, group: GroupId) -> Option<Handle<M>> {
        let shared = self.directory.lock().get(&group).cloned()?;
        Some(Handle { shared, ..self.clone() })
    }

    /// Creates a group on the node. Returns a handle to it once it takes part: what it starts with is durable then. It
    /// takes no note of what its peers sent before.
    ///
    /// Only a group that was never on the disk of this node can be created. Give [`start`](crate::start) every other one,
    /// with what the disk recovers: a disk refuses to found it again, and the node then stops.
    ///
    /// # Errors
    /// [`AddGroupError`].
    pub async fn create_group(&self, group: StartGroup<M>) -> Result<Handle<M>, AddGroupError> {
        let (answer, created) = oneshot::channel();
        let _ = self.inbox.send(Command::CreateGroup { group: Box::new(group), answer }).await;
        let shared = created.await.unwrap_or(Err(AddGroupError::Stopping))?;
        Ok(Handle { shared, ..self.clone() })
    }

    /// Removes the group from the node for good, and returns once that is durable. Its data is deleted, in portions, and its
    /// peers are not informed. The node never hosts a group with this number again. Returns false if the node does not host
    /// it, or ends before it has reported the removal as durable.
    pub async fn remove_group(&self) -> bool {
        let (answer, removed) = oneshot::channel();
        let _ = self.inbox.send(Command::RemoveGroup { group: self.shared.group, answer }).await;
        removed.await.unwrap_or(false)
    }

    /// Returns the published lease and applied index. A read that finds [`ReadGate::try_read`] open needs no other
    /// call.
    pub fn gate(&self) -> &ReadGate {
        &self.shared.gate
    }

    /// Returns this node's view of its group.
    pub fn status(&self) -> Status {
        let mut status = *self.shared.status.lock();
        status.applied = self.shared.gate.applied();
        status
    }

    /// Returns what has been counted, as of the last time the node's timer fired: half a heartbeat ago at most.
    pub fn statistics(&self) -> Statistics {
        *self.shared.statistics.lock()
    }

    /// Waits until `condition` holds of the status, and returns that status. It is checked when the role, the term, the
    /// leader, the members or the version of commands change, and when the node stops.
    pub async fn wait_status(&self, mut condition: impl FnMut(&Status) -> bool) -> Status {
        loop {
            let changed = self.shared.status_changed.listen();
            let status = self.status();
            if condition(&status) {
                return status;
            }
            changed.await;
        }
    }

    /// Executes a command, wherever the leader is, and returns its output.
    ///
    /// # Panics
    /// When `command` is empty: an empty entry is how a leader opens its term.
    ///
    /// # Errors
    /// [`RequestError`]; only after [`RequestError::Uncertain`] may the command have been executed, or be executed
    /// later.
    pub async fn write(&self, command: Bytes) -> Result<M::Output, RequestError> {
        assert!(!command.is_empty(), "an empty command looks like a leader's own entry");
        match self.request(Request::Write(command), RequestError::Uncertain).await? {
            Reply::Written { output, .. } => Ok(output),
            Reply::Readable(_) => unreachable!("a write is answered as a write"),
        }
    }

    /// Waits until the state of this node may be read: under the lease, after a quorum round, or at an index that the
    /// leader granted.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn read(&self) -> Result<ReadGrant, RequestError> {
        match self.request(Request::Read(ReadMode::Lease), RequestError::Stopping).await? {
            Reply::Readable(grant) => Ok(grant),
            Reply::Written { .. } => unreachable!("a read is answered as a read"),
        }
    }

    /// Sends a request. A node that is killed with the request in hand answers nothing: that is `lost`.
    async fn request(&self, request: Request, lost: RequestError) -> Outcome<M> {
        let (answer, outcome) = oneshot::channel();
        let (group, sent) = (self.shared.group, self.shared.clock.now());
        if self.inbox.send(Command::Request { group, request, answer, sent }).await.is_err() {
            return Err(RequestError::Stopping);
        }
        outcome.await.unwrap_or(Err(lost))
    }

    /// Starts to hand leadership to `to`, if this node leads.
    ///
    /// # Errors
    /// [`TransferError`]: no transfer started. A node that has stopped does not lead.
    pub async fn transfer(&self, to: NodeId) -> Result<(), TransferError> {
        let (answer, outcome) = oneshot::channel();
        let _ = self.inbox.send(Command::Transfer { group: self.shared.group, to, answer }).await;
        outcome.await.unwrap_or(Err(TransferError::NotLeader))
    }

    /// Returns the members of the group as this node knows them, and on a leader their progress, as of the last time the
    /// node's timer fired.
    pub fn members(&self) -> Arc<Members> {
        self.shared.members.lock().clone()
    }

    /// Takes over what this node knows of the members, for all its groups. A leader records it in the configuration.
    pub async fn set_contacts(&self, contacts: BTreeMap<NodeId, Contact>) {
        let _ = self.inbox.send(Command::SetContacts(contacts)).await;
    }

    /// Changes the members, if this node leads. Returns once the change is applied here. What follows from it, such as
    /// the promotion of a new member that has caught up, comes later.
    ///
    /// # Errors
    /// [`ChangeError`]. Only after [`ChangeError::Uncertain`] may anything have changed.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), ChangeError> {
        let (answer, outcome) = oneshot::channel();
        let _ = self.inbox.send(Command::ChangeMembers { group: self.shared.group, change, answer }).await;
        let Position { term, index } = outcome.await.unwrap_or(Err(ChangeError::NotLeader))?;
        let made = |members: &Members| members.membership.changed >= index;
        self.wait_status(|status| made(&self.members()) || status.stopped || status.term != term).await;
        // In a later term, another entry may have taken the place of the change.
        if made(&self.members()) && self.status().term == term { Ok(()) } else { Err(ChangeError::Uncertain) }
    }

    /// Has the node refuse every write that it would propose, in any group, with [`RequestError::Busy`], or accept them
    /// again. Reads and replication go on.
    pub async fn refuse_writes(&self, refuse: bool) {
        let _ = self.inbox.send(Command::RefuseWrites(refuse)).await;
    }

    /// Has the node ask the leaders of its present groups for subleases, or return those that it has and ask for no more.
    /// It has no effect on a group that grants reads in [`ReadMode::Quorum`].
    pub async fn set_local_reads(&self, enabled: bool) {
        let _ = self.inbox.send(Command::SetLocalReads(enabled)).await;
    }

    /// Hands leadership over to the voter that can take over soonest, if this node leads, because it is about to stop.
    /// Returns once another leader is known, or at once if there is nothing to hand over.
    ///
    /// # Errors
    /// [`TransferError`]: leadership was not handed over.
    pub async fn hand_over(&self) -> Result<NodeId, TransferError> {
        let (answer, started) = oneshot::channel();
        let _ = self.inbox.send(Command::HandOver { group: self.shared.group, answer }).await;
        let to = started.await.unwrap_or(Err(TransferError::NotLeader))?;
        self.wait_status(|status| status.stopped || (status.role != Role::Leader && status.leader.is_some())).await;
        Ok(to)
    }

    /// Stops the node with all its groups: it takes no more requests, waits until every pending one has its outcome and
    /// everything is on disk, and ends.
    pub async fn stop(&self) {
        let _ = self.inbox.send(Command::Stop).await;
        // The group of this handle may have stopped before.
        self.inbox.closed().await;
        self.wait_status(|status| status.stopped).await;
    }
}
