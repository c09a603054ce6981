//! The clocks through their public interface.

use leasehold_clock::{Clock, ManualClock, SystemClock};
use leasehold_core::Instant;
use std::time::Duration;

#[cfg(any(target_vendor = "apple", target_os = "linux", target_os = "android", windows))]
#[test]
fn the_system_clock_never_goes_back() {
    let clock = SystemClock::new().expect("this platform detects suspends");
    let mut last = clock.now().expect("a reading");
    for _ in 0..100_000 {
        let now = clock.now().expect("a reading");
        assert!(!now.is_before_on_either_counter(last), "{now:?} came after {last:?}");
        last = now;
    }
}

#[cfg(any(target_vendor = "apple", target_os = "linux", target_os = "android", windows))]
#[test]
fn both_counters_of_the_system_clock_advance() {
    let clock = SystemClock::new().expect("this platform detects suspends");
    let before = clock.now().expect("a reading");
    std::thread::sleep(Duration::from_millis(20));
    let elapsed = clock.now().expect("a reading").elapsed_since(before);
    // A raw rate is off by parts per million, not by a tenth.
    assert!(elapsed.at_least >= Duration::from_millis(18), "slept 20 ms, but {elapsed:?}");
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn the_system_clock_describes_its_counters() {
    let clock = SystemClock::new().expect("Linux detects suspends");
    assert!(clock.source().sees_suspends());
    assert_eq!(
        clock.source().to_string(),
        "CLOCK_MONOTONIC_RAW (stops while suspended, rate never adjusted) and \
         CLOCK_BOOTTIME (counts while suspended, rate adjusted)"
    );
}

#[cfg(not(any(target_vendor = "apple", target_os = "linux", target_os = "android", windows)))]
#[test]
fn a_platform_that_may_miss_a_suspend_is_refused_unless_accepted() {
    let refused = SystemClock::new().expect_err("this platform may miss a suspend");
    assert!(refused.to_string().contains("suspended"), "{refused}");
    let clock = SystemClock::accepting_unseen_suspends().expect("the risk was accepted");
    assert!(clock.now().is_some());
}

#[test]
fn a_manual_clock_moves_only_when_it_is_moved() {
    let clock = ManualClock::new(Instant::from_nanos(1_000, 2_000));
    assert_eq!(clock.now(), clock.now());

    clock.advance(Duration::from_nanos(10));
    assert_eq!(clock.now(), Some(Instant::from_nanos(1_010, 2_010)));
    clock.advance_awake(Duration::from_nanos(5));
    assert_eq!(clock.now(), Some(Instant::from_nanos(1_015, 2_010)));
    clock.advance_total(Duration::from_nanos(7));
    assert_eq!(clock.now(), Some(Instant::from_nanos(1_015, 2_017)));
    clock.set(Instant::from_nanos(3, 4));
    assert_eq!(clock.now(), Some(Instant::from_nanos(3, 4)), "it can be set back");
}

#[test]
fn clones_of_a_manual_clock_share_its_time_and_its_failures() {
    let clock = ManualClock::default();
    let shared = clock.clone();
    let before = clock.at();

    shared.fail();
    assert_eq!(clock.now(), None);
    shared.advance(Duration::from_secs(1));
    assert_eq!(clock.now(), None, "time passes during the failure");
    shared.recover();
    assert_eq!(clock.now(), Some(before.plus(Duration::from_secs(1))));
}
