//! A disk that is as fast as memory and loses nothing, and the register on it.

use super::{Config, Log};
use futures::{Stream, TryStreamExt as _};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, LogState, RaftLogReader, RaftSnapshotBuilder};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

/// The contents of a log's file.
#[derive(Debug, Default)]
pub(super) struct Stored {
    vote: Option<VoteOf<Config>>,
    committed: Option<LogIdOf<Config>>,
    entries: BTreeMap<u64, EntryOf<Config>>,
}

/// A durable state machine: a register, and the last position applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Register(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    value: u64,
    applied: Option<LogIdOf<Config>>,
    membership: StoredMembershipOf<Config>,
}

impl Register {
    pub(super) fn value(&self) -> u64 {
        self.0.lock().value
    }

    /// Returns the voters as last applied; empty during a joint configuration.
    pub(super) fn voters(&self) -> Vec<u64> {
        let state = self.0.lock();
        match &state.membership.membership().get_joint_config()[..] {
            [voters] => voters.iter().copied().collect(),
            _ => Vec::new(),
        }
    }
}

impl RaftLogReader<Config> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Config>>, io::Error> {
        Ok(self.0.lock().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Config>>, io::Error> {
        Ok(self.0.lock().vote)
    }
}

impl RaftLogStorage<Config> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Config>, io::Error> {
        let last_log_id = self.0.lock().entries.values().next_back().map(|entry| entry.log_id());
        Ok(LogState { last_purged_log_id: None, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Config>) -> Result<(), io::Error> {
        self.0.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Config>>) -> Result<(), io::Error> {
        self.0.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<Config>>, io::Error> {
        Ok(self.0.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Config>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Config>> + Send,
        I::IntoIter: Send,
    {
        self.0.lock().entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Config>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        self.0.lock().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, _: LogIdOf<Config>) -> Result<(), io::Error> {
        Err(io::Error::other("nothing is compacted here, so nothing is purged"))
    }
}

impl RaftSnapshotBuilder<Config> for Register {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Config, ()>, io::Error> {
        Err(io::Error::other("nothing is compacted here, so there are no snapshots"))
    }
}

impl RaftStateMachine<Config> for Register {
    type SnapshotData = ();
    type SnapshotBuilder = Register;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Config>>, StoredMembershipOf<Config>), io::Error> {
        let state = self.0.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Config>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.0.lock();
            state.applied = Some(entry.log_id());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(value) => state.value = value,
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembershipOf::<Config>::new(state.applied, membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(state.value);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Register {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Config>, (): ()) -> Result<(), io::Error> {
        Err(io::Error::other("nothing is compacted here, so no node sends a snapshot"))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Config, ()>>, io::Error> {
        Ok(None)
    }
}
