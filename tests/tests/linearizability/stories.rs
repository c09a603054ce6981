//! Histories written by hand.

use super::*;

#[test]
fn a_read_that_misses_an_acknowledged_write_is_stale() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    story.sets(ALICE, 2, 20, 30);
    story.reads(BOB, 1, 40, 50);
    story.is_refused();
}

#[test]
fn a_read_concurrent_with_a_write_may_find_either_value() {
    for found in [1, 2] {
        let mut story = Story::default();
        story.sets(ALICE, 1, 0, 10);
        let set = story.begins(ALICE, Call::Set(2), 20);
        story.reads(BOB, found, 25, 30);
        story.ends(set, Answer::Done, 40);
        story.is_accepted();
    }
}

#[test]
fn an_acknowledged_write_does_not_vanish() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    story.reads(BOB, None, 20, 30);
    story.is_refused();
}

#[test]
fn two_increments_of_the_same_value_lose_an_update() {
    let mut story = Story::default();
    story.sets(ALICE, 4, 0, 10);
    let one = story.begins(ALICE, Call::Increment, 20);
    let other = story.begins(BOB, Call::Increment, 20);
    story.ends(one, Answer::Value(Some(5)), 30);
    story.ends(other, Answer::Value(Some(5)), 30);
    story.is_refused();
}

#[test]
fn a_lost_update_is_detected_later() {
    let mut story = Story::default();
    story.sets(ALICE, 4, 0, 10);
    story.increments(ALICE, 5, 20, 30);
    story.increments(BOB, 6, 40, 50);
    story.reads(CAROL, 5, 60, 70);
    story.is_refused();
}

#[test]
fn a_value_that_was_never_written_is_not_read() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    story.reads(BOB, 9, 20, 30);
    story.is_refused();
}

#[test]
fn a_value_is_not_read_before_its_write() {
    let mut story = Story::default();
    story.reads(BOB, 1, 0, 10);
    story.sets(ALICE, 1, 20, 30);
    story.is_refused();
}

#[test]
fn time_does_not_run_backwards_between_two_readers() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    let set = story.begins(ALICE, Call::Set(2), 20);
    story.reads(BOB, 2, 25, 30);
    story.reads(CAROL, 1, 35, 40);
    story.ends(set, Answer::Done, 60);
    let window = story.is_refused();
    assert_eq!(
        window,
        "       called      answered  client  operation
      0.000ms      10.000ms      c1  set 1
     20.000ms         later      c1  set 2
     25.000ms      30.000ms      c2  get -> 2
     35.000ms      40.000ms      c3  get -> 1   < from here on nothing fits"
    );
}

#[test]
fn readers_that_overlap_may_see_a_write_in_any_order() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    let slow = story.begins(CAROL, Call::Get, 15);
    story.sets(ALICE, 2, 20, 30);
    story.reads(BOB, 2, 35, 40);
    story.ends(slow, Answer::Value(Some(1)), 50);
    story.is_accepted();
}

#[test]
fn a_failed_write_is_never_seen() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    let refused = story.begins(ALICE, Call::Set(2), 20);
    story.history.failed(refused);
    story.reads(BOB, 2, 40, 50);
    let window = story.is_refused();
    assert!(window.contains("failed      c1  set 2"), "{window}");
}

#[test]
fn a_write_of_unknown_fate_may_appear_late() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    story.begins(ALICE, Call::Set(2), 20);
    story.reads(BOB, 1, 40, 50);
    story.reads(BOB, 2, 5_000, 5_001);
    story.is_accepted();
}

#[test]
fn a_write_of_unknown_fate_may_never_appear() {
    let mut story = Story::default();
    story.sets(ALICE, 1, 0, 10);
    story.begins(ALICE, Call::Set(2), 20);
    story.begins(BOB, Call::Delete, 20);
    story.begins(CAROL, Call::Increment, 20);
    story.reads(BOB, 1, 40, 5_000);
    story.is_accepted();
}

#[test]
fn a_write_of_unknown_fate_appears_only_once() {
    let mut story = Story::default();
    story.begins(ALICE, Call::Set(2), 0);
    story.reads(BOB, 2, 40, 50);
    story.sets(ALICE, 3, 60, 70);
    story.reads(BOB, 3, 80, 90);
    story.reads(BOB, 2, 100, 110);
    story.is_refused();
}

#[test]
fn a_write_of_unknown_fate_is_not_seen_before_it_was_asked_for() {
    let mut story = Story::default();
    story.reads(BOB, 2, 0, 10);
    story.begins(ALICE, Call::Set(2), 20);
    story.is_refused();
}

#[test]
fn an_increment_of_unknown_fate_explains_one_step_and_no_more() {
    for (found, fits) in [(4, true), (5, true), (6, false)] {
        let mut story = Story::default();
        story.sets(ALICE, 4, 0, 10);
        story.begins(BOB, Call::Increment, 20);
        story.reads(CAROL, found, 30, 40);
        if fits {
            story.is_accepted();
        } else {
            story.is_refused();
        }
    }
}

#[test]
fn unknown_fates_explain_an_answer_together() {
    let mut story = Story::default();
    story.sets(ALICE, 100, 0, 10);
    story.begins(ALICE, Call::Delete, 20);
    story.begins(BOB, Call::Increment, 20);
    story.begins(CAROL, Call::Set(1), 20);
    story.reads(ALICE, 100, 30, 40);
    story.increments(BOB, 2, 50, 60); // after the delete and the increment
    story.increments(BOB, 2, 70, 80); // after the set
    story.is_accepted();
    story.increments(BOB, 2, 90, 100);
    story.is_refused();
}

#[test]
fn a_delete_takes_what_was_there() {
    let mut story = Story::default();
    story.sets(ALICE, 5, 0, 10);
    story.deletes(ALICE, 20, 30);
    story.reads(BOB, None, 40, 50);
    story.increments(BOB, 1, 60, 70);
    story.is_accepted();
    story.deletes(ALICE, 80, 90);
    story.reads(BOB, 1, 100, 110);
    story.is_refused();
}

#[test]
fn no_increment_leaves_nothing_or_zero() {
    for left in [None, Some(0)] {
        let mut story = Story::default();
        let increment = story.begins(ALICE, Call::Increment, 0);
        story.ends(increment, Answer::Value(left), 10);
        story.is_refused();
    }
}

#[test]
fn at_equal_times_the_order_of_recording_decides() {
    let mut before = Story::default();
    before.sets(ALICE, 1, 10, 10);
    before.reads(BOB, None, 10, 10);
    before.is_refused();
    let mut concurrent = Story::default();
    let set = concurrent.begins(ALICE, Call::Set(1), 10);
    concurrent.reads(BOB, None, 10, 10);
    concurrent.ends(set, Answer::Done, 10);
    concurrent.is_accepted();
}

#[test]
fn a_write_must_be_somewhere_between_its_call_and_its_answer() {
    let mut story = Story::default();
    let slow = story.begins(ALICE, Call::Set(9), 0);
    for value in 1..=20 {
        story.sets(BOB, value, value * 10, value * 10 + 5);
        story.reads(BOB, value, value * 10 + 6, value * 10 + 8);
    }
    story.ends(slow, Answer::Done, 300);
    story.reads(CAROL, 9, 310, 320);
    story.is_accepted();
    story.reads(CAROL, 20, 330, 340);
    story.is_refused();
}

#[test]
fn keys_are_checked_separately() {
    let mut history = History::new();
    for key in 1..=3 {
        let set = history.invoke(ALICE, key, Call::Set(u64::from(key)), 10);
        history.succeeded(set, Answer::Done, 20);
    }
    let get = history.invoke(BOB, 2, Call::Get, 30);
    history.succeeded(get, Answer::Value(Some(1)), 40);
    assert!(matches!(history.check(Limit::default()), Err(Violation::NotLinearizable { key: 2, .. })));
    history.clear();
    assert_eq!((history.len(), history.check(Limit::default())), (0, Ok(())));
}

#[test]
fn the_report_of_a_long_history_contains_only_what_matters() {
    let mut story = Story::default();
    for value in 1..=500 {
        let from = value * 100;
        story.sets(ALICE, value, from, from + 10);
        story.reads(BOB, value, from + 20, from + 30);
        story.begins(CAROL, Call::Set(10_000 + value), from + 40);
    }
    story.reads(CAROL, 498, 60_000, 60_010);
    story.sets(ALICE, 777, 60_020, 60_030);
    story.reads(BOB, 777, 60_040, 60_050);
    let window = story.is_refused();
    assert_eq!(
        window,
        "       called      answered  client  operation
  49800.000ms   49810.000ms      c1  set 498
  49900.000ms   49910.000ms      c1  set 499
  60000.000ms   60010.000ms      c3  get -> 498   < from here on nothing fits"
            .replace("  49900.000ms   49910.000ms      c1  set 499", "  50000.000ms   50010.000ms      c1  set 500")
    );
}

#[test]
fn thousands_of_writes_of_unknown_fate_cost_nothing() {
    let mut story = Story::default();
    for value in 0..5_000 {
        story.begins(CAROL, Call::Set(1_000_000 + value), value);
        story.begins(CAROL, Call::Delete, value);
        story.sets(ALICE, value, value * 10, value * 10 + 12);
        story.reads(BOB, value, value * 10 + 3, value * 10 + 9);
    }
    story.is_accepted();
    story.reads(BOB, 4_000, 100_000, 100_010);
    story.is_refused();
}

#[test]
fn a_search_that_reaches_its_limit_gives_up() {
    let mut story = Story::default();
    for value in 0..24 {
        story.sets(ALICE, value, 0, 10);
        story.reads(BOB, value, 0, 10);
    }
    story.reads(BOB, 24, 20, 30);
    let outcome = story.history.check(Limit { bytes: 1 << 20 });
    assert!(matches!(outcome, Err(Violation::GaveUp { key: 7, places: 1_000.. })), "{outcome:?}");
}
