//! One replica, driven by hand.

use bytes::Bytes;
use leasehold_core::{Config, Instant, LeaseCell, Options as Timing, Reading};
use leasehold_raft::wire::{Entry, Payload};
use leasehold_raft::{CampaignError, Options, Output, PersistentState, Position, Replica, Role};
use std::sync::Arc;
use std::time::Duration;

const HOLD: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Later than the end of a restart hold that began at [`at`] 0.
const AFTER_HOLD: u64 = 1_100;

fn at(millis: u64) -> Reading {
    let nanos = millis * 1_000_000;
    Some(Instant::from_nanos(nanos, nanos))
}

fn founder(id: u64, voters: Vec<u64>, cell: Arc<LeaseCell>) -> Replica {
    let timing = Timing::new(HOLD, 1000).with_heartbeat(HEARTBEAT);
    let config = Config::new(timing).expect("valid timing");
    let state = PersistentState::founding(voters);
    Replica::new(Options::new(id, config, 7), state, Duration::ZERO, at(0), cell).expect("valid state")
}

/// Polls all outputs and reports every write as durable, until nothing is left to do.
fn sync_all(replica: &mut Replica, now: Reading) {
    loop {
        let mut written = None;
        while let Some(output) = replica.poll_output() {
            if let Output::Persist(write) = output
                && write.must_sync
            {
                written = Some(write.number);
            }
        }
        let Some(number) = written else { return };
        replica.handle_persisted(now, number);
    }
}

/// The only voter of its group, just elected.
fn leader(cell: Arc<LeaseCell>) -> Replica {
    let mut replica = founder(1, vec![1], cell);
    replica.campaign(at(AFTER_HOLD)).expect("the hold is over");
    sync_all(&mut replica, at(AFTER_HOLD));
    assert_eq!((replica.role(), replica.leader()), (Role::Leader, Some(1)));
    replica
}

#[test]
fn a_refused_campaign_names_its_cause() {
    let mut replica = founder(1, vec![1], Arc::default());
    assert_eq!(replica.campaign(at(10)), Err(CampaignError::Held));
    assert_eq!(replica.campaign(None), Err(CampaignError::Held));
    replica.campaign(at(AFTER_HOLD)).expect("the hold is over");
    assert_eq!(replica.campaign(at(AFTER_HOLD)), Err(CampaignError::Unsynced));
    assert_eq!(replica.statistics().campaigns_withheld, 3);

    let mut learner = founder(2, vec![1], Arc::default());
    assert_eq!(learner.campaign(at(AFTER_HOLD)), Err(CampaignError::NotVoter));
    assert_eq!(learner.statistics().campaigns_withheld, 0);
}

#[test]
fn returns_committed_entries_that_the_log_holds_and_no_others() {
    let mut replica = leader(Arc::default());
    let now = at(AFTER_HOLD);
    let command = Bytes::from_static(b"set a");
    let Position { term, index } = replica.propose(now, command.clone()).expect("a leader accepts it");
    assert_eq!(replica.committed_entry(index), None, "it is not durable, so it is not committed");
    sync_all(&mut replica, now);
    assert_eq!(replica.commit(), index);
    assert_eq!(replica.committed_entry(index), Some(Entry { term, index, payload: Payload::Command(command) }));
    for absent in [0, 1, index + 1, u64::MAX] {
        assert_eq!(replica.committed_entry(absent), None, "entry {absent}");
    }
    assert_eq!(replica.compact(index), Some(term));
    assert_eq!(replica.committed_entry(index), None, "it is compacted");
}

#[test]
fn publishes_the_lease_in_its_cell_until_it_is_retired() {
    let cell = Arc::new(LeaseCell::new());
    let mut replica = leader(cell.clone());
    let now = at(AFTER_HOLD);
    assert_eq!(cell.try_read(now).map(|permit| permit.term), Some(replica.term()));
    assert!(std::ptr::eq(replica.cell(), &*cell));
    replica.retire(now);
    assert_eq!(cell.try_read(now), None);
}
