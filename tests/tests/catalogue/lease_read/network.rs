//! Links between nodes, which lose, hold and delay messages as the schedule says.

use super::runtime::ProcessRuntime;
use super::store::Register;
use super::{Config, Node};
use futures::channel::oneshot;
use leasehold_tests::alternatives::{Kind, Links};
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
pub(super) struct Outgoing {
    pub(super) network: Network,
    pub(super) from: u64,
}

impl RaftNetworkFactory<Config> for Outgoing {
    type Network = Link;

    async fn new_client(&mut self, target: u64, (): &()) -> Link {
        Link { network: self.network.clone(), from: self.from, to: target }
    }
}

impl Link {
    /// Sends a request. Neither the request nor the answer is cancelled when the sender gives up.
    async fn call<A, F>(
        &self,
        [there, back]: [Kind; 2],
        action: RPCTypes,
        option: RPCOption,
        handle: impl FnOnce(openraft::Raft<Config, Register>) -> F + Send + 'static,
    ) -> Result<A, RPCError<Config>>
    where
        A: Send + 'static,
        F: Future<Output = Option<A>> + Send,
    {
        let (network, from, to) = (self.network.clone(), self.from, self.to);
        let (answers, answer) = oneshot::channel();
        SimRuntime::spawn(async move {
            if !network.carries(from, to, there).await {
                return;
            }
            let raft = network.0.lock().nodes[&to].raft.clone();
            if let Some(answer) = handle(raft).await
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

impl RaftNetworkV2<Config> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        let handle = async move |raft: openraft::Raft<Config, Register>| raft.append_entries(request).await.ok();
        self.call([Kind::Lead, Kind::Answer], RPCTypes::AppendEntries, option, handle).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let handle = async move |raft: openraft::Raft<Config, Register>| raft.vote(request).await.ok();
        self.call([Kind::AskVote, Kind::Vote], RPCTypes::Vote, option, handle).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let handle = async move |raft: openraft::Raft<Config, Register>| raft.pre_vote(request).await.ok();
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
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        let handle =
            async move |raft: openraft::Raft<Config, Register>| raft.handle_transfer_leader(request).await.ok();
        self.call([Kind::CampaignNow, Kind::Vote], RPCTypes::TransferLeader, option, handle).await
    }
}
