//! The table of all mutations.

use super::mutation::Mutation;
use super::{
    cut, engine, expiry, grantor, groups, holder, identity, liveness, local, local_engine, members, requests, snapshots,
};

/// Returns every mutation. Its number, counted from 1, is the value of the switch.
pub fn all() -> impl Iterator<Item = &'static Mutation> {
    holder::MUTATIONS
        .iter()
        .chain(grantor::MUTATIONS)
        .chain(engine::MUTATIONS)
        .chain(cut::MUTATIONS)
        .chain(requests::MUTATIONS)
        .chain(identity::MUTATIONS)
        .chain(members::MUTATIONS)
        .chain(snapshots::MUTATIONS)
        .chain(expiry::MUTATIONS)
        .chain(liveness::MUTATIONS)
        .chain(local_engine::MUTATIONS)
        .chain(groups::MUTATIONS)
        .chain(local::MUTATIONS)
}
