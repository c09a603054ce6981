//! The sending end: a network that carries tags, and openraft's network on top of it.

use crate::lease::{Lease, membership, shifted};
use crate::tag::Tag;
use leasehold_core::{NodeId, Release, Term};
use openraft::alias::{LogIdOf, SnapshotOf, VoteOf};
use openraft::entry::RaftEntry as _;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::vote::{RaftLeaderId as _, RaftVote};
use openraft::{OptionalSend, OptionalSync, RaftNetworkFactory, RaftNetworkV2, RaftTypeConfig, add_async_trait};
use std::future::Future;

/// A network like openraft's [`RaftNetworkV2`] that carries a [`Tag`] with each message. At the other end, the server passes
/// message and tag to [`LeasedRaft`](crate::LeasedRaft).
///
/// A client must reach the node for which it was created, and no other: its answers count as that node's.
#[add_async_trait]
pub trait TaggedNetwork<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// As in [`RaftNetworkV2`].
    type SnapshotData: OptionalSend + 'static;

    /// Sends entries or a heartbeat. The answer comes with a tag.
    async fn append_entries(
        &mut self,
        tag: Tag,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<(AppendEntriesResponse<C>, Tag), RPCError<C>>;

    /// Sends a request for a vote.
    async fn vote(&mut self, tag: Tag, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>>;

    /// Sends a request for a pre-vote.
    async fn pre_vote(
        &mut self,
        tag: Tag,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>>;

    /// Sends a snapshot. It needs no tag.
    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>>;

    /// Sends the order to campaign.
    async fn transfer_leader(
        &mut self,
        tag: Tag,
        rpc: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>>;

    /// As in [`RaftNetworkV2`].
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

/// Creates clients, like openraft's [`RaftNetworkFactory`].
#[add_async_trait]
pub trait TaggedNetworkFactory<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// The clients.
    type Network: TaggedNetwork<C>;

    /// Creates a client for one node.
    async fn new_client(&mut self, target: C::NodeId, node: &C::Node) -> Self::Network;

    /// Creates a client for heartbeats.
    async fn new_heartbeat_client(&mut self, target: C::NodeId, node: &C::Node) -> Self::Network {
        self.new_client(target, node).await
    }

    /// Creates a client for snapshots.
    async fn new_snapshot_client(&mut self, target: C::NodeId, node: &C::Node) -> Self::Network {
        self.new_client(target, node).await
    }
}

/// The network for `Raft::new`, with leases: see [`Lease::network`].
#[derive(Debug)]
pub struct LeasedFactory<C: RaftTypeConfig, F> {
    lease: Lease<C>,
    factory: F,
}

/// A client of a [`LeasedFactory`].
#[derive(Debug)]
pub struct LeasedClient<C: RaftTypeConfig, N> {
    lease: Lease<C>,
    target: NodeId,
    network: N,
}

impl<C: RaftTypeConfig> Lease<C> {
    /// Wraps the network that goes to `Raft::new`.
    pub fn network<F>(&self, factory: F) -> LeasedFactory<C, F> {
        LeasedFactory { lease: self.clone(), factory }
    }
}

impl<C: RaftTypeConfig, F> LeasedFactory<C, F> {
    fn client<N>(&self, target: u64, network: N) -> LeasedClient<C, N> {
        LeasedClient { lease: self.lease.clone(), target: shifted(target), network }
    }
}

impl<C, F> RaftNetworkFactory<C> for LeasedFactory<C, F>
where
    C: RaftTypeConfig<NodeId = u64, Term = u64>,
    F: TaggedNetworkFactory<C>,
{
    type Network = LeasedClient<C, F::Network>;

    async fn new_client(&mut self, target: u64, node: &C::Node) -> Self::Network {
        let network = self.factory.new_client(target, node).await;
        self.client(target, network)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &C::Node) -> Self::Network {
        let network = self.factory.new_heartbeat_client(target, node).await;
        self.client(target, network)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &C::Node) -> Self::Network {
        let network = self.factory.new_snapshot_client(target, node).await;
        self.client(target, network)
    }
}

/// Returns the tag of a request for a vote that may leave. Openraft may campaign at any time, for example when the last answer
/// to a pre-vote arrives. It cannot win if its requests do not leave, unless it is the only voter.
fn vote_tag<C: RaftTypeConfig>(asked: Option<Option<Release>>) -> Result<Tag, RPCError<C>> {
    let held = || Unreachable::from_string("this node is held by its promise to a leader, so it does not campaign");
    asked.map(Tag::of_release).ok_or_else(|| held().into())
}

impl<C, N> RaftNetworkV2<C> for LeasedClient<C, N>
where
    C: RaftTypeConfig<NodeId = u64, Term = u64>,
    N: TaggedNetwork<C>,
{
    type SnapshotData = N::SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let memberships =
            rpc.entries.iter().filter_map(|entry| Some(membership(Some(entry.index()), &entry.get_membership()?)));
        let round = self.lease.with(|state| {
            state.before_frame(term::<C>(&rpc.vote), place::<C>(rpc.leader_commit.as_ref()), memberships)
        });
        let (answer, tag) = self.network.append_entries(Tag::of_round(round), rpc, option).await?;
        if let Some((ack, timing)) = tag.ack() {
            self.lease.with(|state| state.acked(self.target, timing, ack));
        }
        Ok(answer)
    }

    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        let tag = vote_tag::<C>(self.lease.with(|state| state.may_ask_for_vote(term::<C>(&rpc.vote))))?;
        self.network.vote(tag, rpc, option).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        let tag = vote_tag::<C>(self.lease.with(|state| state.may_ask_for_pre_vote()))?;
        self.network.pre_vote(tag, rpc, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let (committed, config) = (place::<C>(snapshot.meta.last_log_id.as_ref()), &snapshot.meta.last_membership);
        let index = config.log_id().as_ref().map(|log_id| log_id.index());
        let membership = membership(index, config.membership());
        // A frame like others: the others learn what is committed.
        self.lease.with(|state| state.before_frame(term::<C>(&vote), committed, std::iter::once(membership)));
        self.network.full_snapshot(vote, snapshot, cancel, option).await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let release = self.lease.with(|state| state.before_transfer(term::<C>(rpc.from_leader())));
        self.network.transfer_leader(Tag::of_release(release), rpc, option).await
    }

    fn backoff(&self) -> Option<Backoff> {
        self.network.backoff()
    }
}

/// Returns the term of a vote.
pub(crate) fn term<C: RaftTypeConfig<Term = u64>>(vote: &VoteOf<C>) -> Term {
    vote.leader_id().term()
}

/// Returns the place of an entry in the lease's count; 0 if there is none.
fn place<C: RaftTypeConfig>(log_id: Option<&LogIdOf<C>>) -> u64 {
    log_id.map_or(0, |log_id| shifted(log_id.index()))
}
