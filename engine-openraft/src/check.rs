//! The configurations of openraft with which leases are unsafe or useless.

use leasehold_core::Config;
use openraft::RaftTypeConfig;
use openraft::vote::RaftLeaderId as _;

/// An error of [`check`]: with this configuration leases would be unsafe or useless. Each says what to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsuitable {
    /// A term must identify one leader.
    #[error(
        "the type configuration allows several leaders in one term; declare \
         `LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>`"
    )]
    LeaderId,
    /// A leader must not return in its term without an election.
    #[error("enable_leader_restore is on, which it is by default; set it to Some(false), so that a term is led once")]
    LeaderRestore,
    /// A node must keep every entry that it acknowledged.
    #[error("allow_log_reversion is on; set it to None or Some(false), so that no acknowledged entry is lost")]
    LogReversion,
    /// A candidate that cannot win must not raise the terms of the others.
    #[error("enable_pre_vote is off, which it is by default; set it to Some(true), or a held node deposes the leader")]
    PreVote,
    /// A leader that hears from no quorum must be silent for long enough that the others can replace it.
    #[error(
        "quorum_loss_probe_interval is {found:?}, but it must be Some of at least {least} ms, so that a leader without a \
         quorum is silent until the holds end and others can be elected"
    )]
    QuorumLossProbe {
        /// The value, in milliseconds.
        found: Option<u64>,
        /// The least permitted value: the hold and the longest election timeout, in milliseconds.
        least: u64,
    },
    /// The node's number is the largest there is.
    #[error("the node has the number {}, which is reserved; choose a smaller one", u64::MAX)]
    NodeId,
}

/// Checks that leases are safe and useful with openraft's types `C` and configuration `engine`, under the lease's timing.
/// [`Lease::new`](crate::Lease::new) does so.
///
/// # Errors
/// [`Unsuitable`] names what must be changed.
pub fn check<C>(id: u64, engine: &openraft::Config, timing: &Config) -> Result<(), Unsuitable>
where
    C: RaftTypeConfig<NodeId = u64, Term = u64>,
{
    // Comparable leaders of one term: the greater one may take over from the other.
    if C::LeaderId::new(1, 1).partial_cmp(&C::LeaderId::new(1, 2)).is_some() {
        return Err(Unsuitable::LeaderId);
    }
    if engine.enable_leader_restore != Some(false) {
        return Err(Unsuitable::LeaderRestore);
    }
    if engine.allow_log_reversion == Some(true) {
        return Err(Unsuitable::LogReversion);
    }
    if engine.enable_pre_vote != Some(true) {
        return Err(Unsuitable::PreVote);
    }
    let hold = u64::try_from(timing.hold().as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let (found, least) = (engine.quorum_loss_probe_interval, hold.saturating_add(engine.election_timeout_max));
    if found.is_none_or(|found| found < least) {
        return Err(Unsuitable::QuorumLossProbe { found, least });
    }
    if id == u64::MAX {
        return Err(Unsuitable::NodeId);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_core::Options;
    use std::time::Duration;

    openraft::declare_raft_types!(
        /// With a leader for each term.
        Single: D = u64, R = u64, NodeId = u64, Node = (),
            LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
    );
    openraft::declare_raft_types!(
        /// With the default.
        Several: D = u64, R = u64, NodeId = u64, Node = (),
    );

    fn sound() -> openraft::Config {
        openraft::Config {
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            election_timeout_max: 300,
            quorum_loss_probe_interval: Some(1300),
            ..openraft::Config::default()
        }
    }

    #[test]
    fn what_is_unsafe_or_useless_is_refused_with_the_reason() {
        let timing = Config::new(Options::new(Duration::from_secs(1), 500)).expect("a sound timing");
        let check_one = |engine: openraft::Config| check::<Single>(1, &engine, &timing);
        assert_eq!(check_one(sound()), Ok(()));
        assert_eq!(check::<Single>(0, &sound(), &timing), Ok(()), "openraft's nodes may start at zero");
        assert_eq!(check::<Several>(1, &sound(), &timing), Err(Unsuitable::LeaderId));
        assert_eq!(check::<Single>(u64::MAX, &sound(), &timing), Err(Unsuitable::NodeId));
        for enable_leader_restore in [None, Some(true)] {
            let config = openraft::Config { enable_leader_restore, ..sound() };
            assert_eq!(check_one(config), Err(Unsuitable::LeaderRestore));
        }
        for enable_pre_vote in [None, Some(false)] {
            assert_eq!(check_one(openraft::Config { enable_pre_vote, ..sound() }), Err(Unsuitable::PreVote));
        }
        for found in [None, Some(1299)] {
            let config = openraft::Config { quorum_loss_probe_interval: found, ..sound() };
            assert_eq!(check_one(config), Err(Unsuitable::QuorumLossProbe { found, least: 1300 }));
        }
        let config = openraft::Config { allow_log_reversion: Some(true), ..sound() };
        assert_eq!(check_one(config), Err(Unsuitable::LogReversion));
    }
}
