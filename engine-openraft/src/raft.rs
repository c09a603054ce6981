//! The receiving end: what peers send, and reads.

use crate::lease::Lease;
use crate::network::term;
use crate::state::State;
use crate::tag::Tag;
use leasehold_core::{Read, ReadError, Round, Term};
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use openraft::storage::RaftStateMachine;
use openraft::type_config::TypeConfigExt as _;
use openraft::{Raft, RaftTypeConfig};
use std::fmt;

/// A `Raft` with a lease. Its server passes what peers send to the methods here, instead of those of `Raft` with the same
/// names; snapshots go to `Raft` itself.
///
/// Everything that is no message of a peer goes to [`raft`](LeasedRaft::raft): writes, changes of members, transfers.
pub struct LeasedRaft<C: RaftTypeConfig, SM: RaftStateMachine<C>> {
    lease: Lease<C>,
    raft: Raft<C, SM>,
}

/// The ground on which a read may be answered from local state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The lease.
    Lease,
    /// A quorum that confirmed this leader after the read arrived.
    Quorum,
}

/// A read that cannot be answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRead {
    /// This node does not lead, or lost its leadership while the read waited.
    #[error("this node does not lead; retry at the leader")]
    NotLeader,
    /// Openraft has stopped.
    #[error("openraft has stopped on this node; retry at another")]
    Stopped,
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> Clone for LeasedRaft<C, SM> {
    fn clone(&self) -> LeasedRaft<C, SM> {
        LeasedRaft { lease: self.lease.clone(), raft: self.raft.clone() }
    }
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> fmt::Debug for LeasedRaft<C, SM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedRaft").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig<NodeId = u64, Term = u64>> Lease<C> {
    /// Wraps the `Raft` that was created with [`network`](Lease::network), and starts the lease's task on its runtime. The
    /// task ends when openraft stops.
    pub fn attach<SM: RaftStateMachine<C>>(&self, raft: Raft<C, SM>) -> LeasedRaft<C, SM> {
        // Detached: it ends when openraft stops.
        drop(C::spawn(self.clone().keep(raft.clone())));
        LeasedRaft { lease: self.clone(), raft }
    }
}

impl<C, SM> LeasedRaft<C, SM>
where
    C: RaftTypeConfig<NodeId = u64, Term = u64>,
    SM: RaftStateMachine<C>,
{
    /// Returns the wrapped `Raft`.
    pub fn raft(&self) -> &Raft<C, SM> {
        &self.raft
    }

    /// Returns the lease.
    pub fn lease(&self) -> &Lease<C> {
        &self.lease
    }

    /// Handles entries or a heartbeat. The tag goes back with the answer.
    ///
    /// # Errors
    /// Those of `Raft::append_entries`.
    pub async fn append_entries(
        &self,
        tag: Tag,
        rpc: AppendEntriesRequest<C>,
    ) -> Result<(AppendEntriesResponse<C>, Tag), RaftError<C>> {
        let term = term::<C>(&rpc.vote);
        let answer = self.raft.append_entries(rpc).await?;
        let accepted = matches!(answer, AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_));
        let tag = self.lease.with(|state| {
            let ack = if accepted { state.echo(term, tag.round()) } else { None };
            Tag::of_ack(ack, state.timing())
        });
        Ok((answer, tag))
    }

    /// Handles a request for a vote. Openraft does not see it while this node is held: the answer refuses it.
    ///
    /// # Errors
    /// Those of `Raft::vote`.
    pub async fn vote(&self, tag: Tag, rpc: VoteRequest<C>) -> Result<VoteResponse<C>, RaftError<C>> {
        self.ask(tag, rpc, false).await
    }

    /// Handles a request for a pre-vote, like [`vote`](LeasedRaft::vote).
    ///
    /// # Errors
    /// Those of `Raft::pre_vote`.
    pub async fn pre_vote(&self, tag: Tag, rpc: VoteRequest<C>) -> Result<VoteResponse<C>, RaftError<C>> {
        self.ask(tag, rpc, true).await
    }

    async fn ask(&self, tag: Tag, rpc: VoteRequest<C>, pre_vote: bool) -> Result<VoteResponse<C>, RaftError<C>> {
        if !self.lease.with(|state| state.begin_vote(tag.release())) {
            let vote = self.raft.metrics().borrow_watched().vote.clone();
            return Ok(VoteResponse::new(vote, None, false));
        }
        let LeasedRaft { lease, raft } = self.clone();
        // A task of its own: a suspension must end after openraft answers, even if the caller gives up.
        let asked = C::spawn(async move {
            let asked = term::<C>(&rpc.vote);
            let answer = if pre_vote { raft.pre_vote(rpc).await } else { raft.vote(rpc).await };
            lease.with(|state| state.end_vote(answer.as_ref().map_or(asked, |answer| term::<C>(&answer.vote))));
            answer
        });
        asked.await.unwrap_or(Err(RaftError::Fatal(Fatal::Stopped)))
    }

    /// Handles the order of a leader to campaign in its place.
    ///
    /// # Errors
    /// Those of `Raft::handle_transfer_leader`.
    pub async fn transfer_leader(
        &self,
        tag: Tag,
        rpc: TransferLeaderRequest<C>,
    ) -> Result<TransferLeaderResponse<C>, Fatal<C>> {
        self.lease.with(|state| state.keep_release(tag.release()));
        self.raft.handle_transfer_leader(rpc).await
    }

    /// Waits until a linearizable read may be answered from local state, and returns on what ground. At a leader with a lease
    /// this takes no message and, if the state machine is not behind, no wait.
    ///
    /// A leader that is cut off waits until it is deposed: give the read a deadline.
    ///
    /// # Errors
    /// [`NotRead`]: the read had no effect, and can be tried elsewhere.
    pub async fn ensure_linearizable(&self) -> Result<Ground, NotRead> {
        let (index, ground) = match self.lease.try_read() {
            Some(index) => (index, Ground::Lease),
            None => match self.lease.with(State::read).map_err(not_leader)? {
                (_, Read::Lease(permit)) => (permit.index - 1, Ground::Lease),
                (term, Read::Quorum(ticket)) => {
                    self.confirmed(term, ticket.round).await?;
                    (ticket.index - 1, Ground::Quorum)
                }
            },
        };
        self.applied(index).await?;
        Ok(ground)
    }

    /// Waits until a read may be answered from local state, without use of the lease.
    ///
    /// # Errors
    /// [`NotRead`]: the read had no effect, and can be tried elsewhere.
    pub async fn ensure_by_quorum(&self) -> Result<(), NotRead> {
        let (term, ticket) = self.lease.with(State::quorum_read).map_err(not_leader)?;
        self.confirmed(term, ticket.round).await?;
        self.applied(ticket.index - 1).await
    }

    async fn confirmed(&self, term: Term, round: Round) -> Result<(), NotRead> {
        let mut reports = self.lease.reports();
        // The lease keeps the sender, so that this ends by the report.
        let reported = reports.wait_until(|report| report.term != Some(term) || report.confirmed >= round).await;
        match reported {
            Ok(report) if report.term == Some(term) => Ok(()),
            _ => Err(NotRead::NotLeader),
        }
    }

    async fn applied(&self, index: u64) -> Result<(), NotRead> {
        let metrics = self.raft.data_metrics();
        let applied = metrics.borrow_watched().last_applied.as_ref().is_some_and(|applied| applied.index() >= index);
        if !applied {
            let waited = self.raft.wait(None).applied_index_at_least(Some(index), "a read may be answered").await;
            waited.map_err(|_| NotRead::Stopped)?;
        }
        Ok(())
    }
}

fn not_leader(_: ReadError) -> NotRead {
    NotRead::NotLeader
}
