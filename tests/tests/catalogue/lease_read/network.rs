//! Links between nodes, which lose, hold and delay messages as the schedule says.

use super::runtime::{ProcessRuntime, within};
use super::{Config, Node};
use futures::channel::oneshot;
use leasehold_conformance::subject::{Kind, Links};
use leasehold_openraft::{LeasedClient, LeasedFactory, Tag, TaggedNetwork, TaggedNetworkFactory};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::async_runtime::AsyncRuntime as _;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The network between the nodes.
#[derive(Clone)]
pub(super) struct Network(pub(super) Arc<Mutex<Between>>);

pub(super) struct Between {
    pub(super) links: Links,
    pub(super) latency: Duration,
    /// The number of deliveries of held messages.
    pub(super) deliveries: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
}

impl Network {
    /// Carries a message, and returns whether it arrives.
    async fn carries(&self, from: u64, to: u64, kind: Kind) -> bool {
        let (latency, delivered) = {
            let between = self.0.lock();
            (between.latency, between.deliveries)
        };
        let holds = || self.0.lock().links.holds(from, to, &[kind]);
        let held = holds() || {
            SimRuntime::sleep(latency).await;
            holds()
        };
        if !held {
            return !self.0.lock().links.loses(from, to, &[kind]);
        }
        // The message left before any later cut, so it arrives when it is delivered.
        while self.0.lock().deliveries == delivered {
            SimRuntime::sleep(Duration::from_millis(1)).await;
        }
        true
    }
}

/// One node's end of its link to another.
pub(super) struct Link {
    network: Network,
    from: u64,
    to: u64,
}

/// One node's links to all others.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) network: Network,
    pub(super) from: u64,
}

impl Outgoing {
    fn to(&self, target: u64) -> Link {
        Link { network: self.network.clone(), from: self.from, to: target }
    }
}

impl RaftNetworkFactory<Config> for Outgoing {
    type Network = Link;

    async fn new_client(&mut self, target: u64, (): &()) -> Link {
        self.to(target)
    }
}

impl TaggedNetworkFactory<Config> for Outgoing {
    type Network = Link;

    async fn new_client(&mut self, target: u64, (): &()) -> Link {
        self.to(target)
    }
}

impl Link {
    /// Sends a request. Neither the request nor the answer is cancelled when the sender gives up.
    async fn call<A, F>(
        &self,
        [there, back]: [Kind; 2],
        action: RPCTypes,
        option: RPCOption,
        handle: impl FnOnce(Node) -> F + Send + 'static,
    ) -> Result<A, RPCError<Config>>
    where
        A: Send + 'static,
        F: Future<Output = Option<A>> + Send + 'static,
    {
        let (network, from, to) = (self.network.clone(), self.from, self.to);
        let (answers, answer) = oneshot::channel();
        SimRuntime::spawn(async move {
            if !network.carries(from, to, there).await {
                return;
            }
            let node = network.0.lock().nodes[&to].clone();
            // What openraft is handed waits in its queue while the process is paused. What comes before and after, with a
            // lease, belongs to the process too.
            let process = node.leased.is_some().then(|| node.process.clone());
            if let Some(answer) = within(process, handle(node)).await
                && network.carries(to, from, back).await
            {
                // The receiver is gone if the sender has given up.
                let _ = answers.send(answer);
            }
        });
        // The sender of a lost request cannot know that it is lost, so it waits.
        let answered = async {
            match answer.await {
                Ok(answer) => answer,
                Err(oneshot::Canceled) => std::future::pending().await,
            }
        };
        let timeout = option.soft_ttl();
        let answered = ProcessRuntime::timeout(timeout, answered).await;
        answered.map_err(|_| Timeout { action, id: from, target: to, timeout }.into())
    }
}

impl TaggedNetwork<Config> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        tag: Tag,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<(AppendEntriesResponse<Config>, Tag), RPCError<Config>> {
        let handle = async move |node: Node| match node.leased {
            Some(leased) => leased.append_entries(tag, request).await.ok(),
            None => Some((node.raft.append_entries(request).await.ok()?, Tag::default())),
        };
        self.call([Kind::Lead, Kind::Answer], RPCTypes::AppendEntries, option, handle).await
    }

    async fn vote(
        &mut self,
        tag: Tag,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let handle = async move |node: Node| match node.gated() {
            Some(leased) => leased.vote(tag, request).await.ok(),
            None => node.raft.vote(request).await.ok(),
        };
        self.call([Kind::AskVote, Kind::Vote], RPCTypes::Vote, option, handle).await
    }

    async fn pre_vote(
        &mut self,
        tag: Tag,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let handle = async move |node: Node| match node.gated() {
            Some(leased) => leased.pre_vote(tag, request).await.ok(),
            None => node.raft.pre_vote(request).await.ok(),
        };
        self.call([Kind::AskVote, Kind::Vote], RPCTypes::Vote, option, handle).await
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Config>,
        _: SnapshotOf<Config, ()>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        Err(Unreachable::from_string("nothing is compacted here, so no node needs a snapshot").into())
    }

    async fn transfer_leader(
        &mut self,
        tag: Tag,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        let handle = async move |node: Node| match node.leased {
            Some(leased) => leased.transfer_leader(tag, request).await.ok(),
            None => node.raft.handle_transfer_leader(request).await.ok(),
        };
        self.call([Kind::CampaignNow, Kind::Vote], RPCTypes::TransferLeader, option, handle).await
    }
}

/// Without leases.
impl RaftNetworkV2<Config> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        Ok(TaggedNetwork::append_entries(self, Tag::default(), request, option).await?.0)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        TaggedNetwork::vote(self, Tag::default(), request, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        TaggedNetwork::pre_vote(self, Tag::default(), request, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Config>,
        snapshot: SnapshotOf<Config, ()>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        TaggedNetwork::full_snapshot(self, vote, snapshot, cancel, option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        TaggedNetwork::transfer_leader(self, Tag::default(), request, option).await
    }
}

/// Links with leases, but requests for votes leave as openraft likes.
pub(super) struct Ungated {
    pub(super) leased: LeasedFactory<Config, Outgoing>,
    pub(super) plain: Outgoing,
}

/// One of these links.
pub(super) struct UngatedLink {
    leased: LeasedClient<Config, Link>,
    plain: Link,
}

impl RaftNetworkFactory<Config> for Ungated {
    type Network = UngatedLink;

    async fn new_client(&mut self, target: u64, node: &()) -> UngatedLink {
        UngatedLink { leased: self.leased.new_client(target, node).await, plain: self.plain.to(target) }
    }
}

impl RaftNetworkV2<Config> for UngatedLink {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        self.leased.append_entries(request, option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        RaftNetworkV2::vote(&mut self.plain, request, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        RaftNetworkV2::pre_vote(&mut self.plain, request, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Config>,
        snapshot: SnapshotOf<Config, ()>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        self.leased.full_snapshot(vote, snapshot, cancel, option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        self.leased.transfer_leader(request, option).await
    }
}
