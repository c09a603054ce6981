//! An engine of one's own, with a `Member`.

use crate::effort::Effort;
use crate::report::{Row, Runs};
use crate::stopwatch::nanos_each;
use leasehold_clock::{Clock, SystemClock};
use leasehold_core::{Action, Config, Event, Fresh, Instant, LeaseCell, Member, Voters};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn read(clock: &SystemClock, timing: Config, effort: Effort) -> Result<Row, String> {
    let now = || Fresh::new(clock.now());
    let start = Fresh::new(Some(Instant::from_nanos(0, 0)));
    let mut member = Member::new(1, timing, Duration::ZERO, start, Arc::new(LeaseCell::new()));
    let voters = Voters::simple(&[1, 2, 3]).map_err(|error| error.to_string())?;
    let elected = Event::Elected { term: 1, voters, barrier: 1, commit: 1 };
    member.handle_event(now(), elected).map_err(|misuse| format!("{misuse:?}"))?;
    while let Some(action) = member.poll_action() {
        if let Action::SendRound(round) = action {
            member.handle_event(now(), Event::Acked { from: 2, round }).map_err(|misuse| format!("{misuse:?}"))?;
        }
    }
    let (cell, applied) = (member.cell().clone(), 1);
    let mut runs = Runs::default();
    for _ in 0..effort.runs {
        runs.ours.push(nanos_each(effort.calls(50.0), || {
            let permit = black_box(&cell).try_read(clock.now()).expect("the lease lasts a minute");
            assert!(black_box(permit.index) <= applied, "the index is applied");
        }));
    }
    Ok(runs.row("own engine: Member", "ns", None))
}
