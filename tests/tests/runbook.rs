//! The runbook of `docs/operations.md` in a short form.

use leasehold_tests::runbook::{Options, run};
use std::time::Duration;

#[test]
fn every_step_of_the_runbook_succeeds_without_a_lost_write_or_a_stale_read() {
    let counts = run(&Options { hold_ms: 1000, runtime: "tokio".to_owned(), pause: Duration::ZERO });
    assert_eq!((counts.stale, counts.lost), (0, 0), "{counts:?}");
    assert!(counts.reads > 100 && counts.writes > 10, "{counts:?}");
}
