//! Random small histories, checked by this checker, by `todc-utils`, and by trying every order.

use super::*;
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::cell::Cell;
use todc_utils::linearizability::{WGLChecker, history};
use todc_utils::specifications::Specification;

/// Generates small histories, most of them almost linearizable: they come from a store that sometimes loses or repeats writes.
#[derive(Clone, Debug)]
struct Small {
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    client: u32,
    call: Call,
    invoked: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered(Answer, u64),
    Failed,
    Unknown,
}

impl Small {
    /// Runs clients in random order against a store that executes operations at random moments and sometimes answers falsely.
    fn generate(g: &mut Gen, operations: usize, clients: u32) -> Small {
        let mut random = |below: u64| u64::arbitrary(g) % below;
        let mut made: Vec<Operation> = Vec::new();
        // For each client: its operation in flight, and the answer once it took effect.
        let mut under_way: Vec<Option<(usize, Option<Answer>)>> = vec![None; clients as usize];
        // Operations of unknown fate that have not taken effect yet.
        let mut adrift: Vec<Call> = Vec::new();
        let mut state: Option<u64> = None;
        let mut before: Option<u64> = None;
        let (few_values, lies) = (random(2) == 0, random(4) > 0);
        let mut now = 0;
        while made.len() < operations || under_way.iter().any(Option::is_some) {
            now += 1;
            if !adrift.is_empty() && random(8) == 0 {
                let call = adrift.swap_remove(random(adrift.len() as u64) as usize);
                state = apply(call, state).0;
            }
            let client = random(u64::from(clients)) as usize;
            match under_way[client] {
                None if made.len() < operations => {
                    let value = if few_values { random(3) } else { made.len() as u64 };
                    let call = match random(8) {
                        0..=1 => Call::Set(value),
                        2 => Call::Increment,
                        3 => Call::Delete,
                        _ => Call::Get,
                    };
                    under_way[client] = Some((made.len(), None));
                    made.push(Operation { client: client as u32, call, invoked: now, end: End::Unknown });
                }
                None => {}
                Some((at, None)) => {
                    let call = made[at].call;
                    match random(12) {
                        0 => {
                            adrift.push(call);
                            under_way[client] = None;
                        }
                        1 => {
                            made[at].end = End::Failed;
                            // False: the operation was executed.
                            if lies && random(2) == 0 {
                                state = apply(call, state).0;
                            }
                            under_way[client] = None;
                        }
                        _ => {
                            // False: the answer comes from a stale state.
                            let seen = if lies && random(3) == 0 { before } else { state };
                            let (after, answer) = apply(call, seen);
                            if call != Call::Get {
                                (before, state) = (state, after);
                            }
                            under_way[client] = Some((at, Some(answer)));
                        }
                    }
                }
                Some((at, Some(answer))) => {
                    made[at].end = End::Answered(answer, now);
                    under_way[client] = None;
                }
            }
        }
        Small { operations: made }
    }

    fn history(&self) -> History {
        // The order of recording is that of time, as in a run.
        let mut events: Vec<(u64, usize, bool)> = Vec::new();
        for (at, operation) in self.operations.iter().enumerate() {
            events.push((operation.invoked, at, false));
            if let End::Answered(_, end) = operation.end {
                events.push((end, at, true));
            }
        }
        events.sort_unstable();
        let mut history = History::new();
        let mut ids = vec![None; self.operations.len()];
        for (time, at, is_end) in events {
            let Operation { client, call, end, .. } = self.operations[at];
            match (is_end, end) {
                (true, End::Answered(answer, _)) => history.succeeded(ids[at].expect("it was invoked"), answer, time),
                _ => {
                    let id = history.invoke(client, 1, call, time);
                    ids[at] = Some(id);
                    if end == End::Failed {
                        history.failed(id);
                    }
                }
            }
        }
        history
    }

    fn accepted(&self) -> bool {
        match self.history().check(Limit::default()) {
            Ok(()) => true,
            Err(Violation::NotLinearizable { .. }) => false,
            Err(Violation::GaveUp { .. }) => panic!("a small history fits"),
        }
    }

    /// The operations that can have taken effect, each with the moment it had ended by.
    fn possible(&self) -> impl Iterator<Item = (Operation, u64)> + '_ {
        self.operations.iter().filter_map(|operation| match operation.end {
            End::Answered(_, end) => Some((*operation, end)),
            End::Unknown => Some((*operation, u64::MAX)),
            End::Failed => None,
        })
    }
}

impl Arbitrary for Small {
    fn arbitrary(g: &mut Gen) -> Small {
        let operations = 2 + usize::arbitrary(g) % 9;
        let clients = 1 + u32::arbitrary(g) % 4;
        Small::generate(g, operations, clients)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Small>> {
        let whole = self.operations.clone();
        Box::new((0..whole.len()).map(move |left_out| {
            let mut operations = whole.clone();
            operations.remove(left_out);
            Small { operations }
        }))
    }
}

fn apply(call: Call, state: Option<u64>) -> (Option<u64>, Answer) {
    match call {
        Call::Set(value) => (Some(value), Answer::Done),
        Call::Delete => (None, Answer::Done),
        Call::Get => (state, Answer::Value(state)),
        Call::Increment => {
            let left = Some(state.unwrap_or(0) + 1);
            (left, Answer::Value(left))
        }
    }
}

struct Store;

impl Specification for Store {
    type State = Option<u64>;
    /// The call, and its answer; `None` if it is unknown. One of unknown fate may also have no effect: `false`.
    type Operation = (Call, Option<Answer>, bool);

    fn init() -> Option<u64> {
        None
    }

    fn apply((call, answer, happens): &Self::Operation, state: &Option<u64>) -> (bool, Option<u64>) {
        if !happens {
            return (true, *state);
        }
        let (after, expected) = apply(*call, *state);
        (answer.is_none_or(|answer| answer == expected), after)
    }
}

/// Checks with `todc-utils`, which has no unknown fates: tries every choice of those that took effect, each ending last of all.
fn todc_accepts(small: &Small) -> bool {
    let possible: Vec<(Operation, u64)> = small.possible().collect();
    let unknown: Vec<usize> = (0..possible.len()).filter(|at| possible[*at].1 == u64::MAX).collect();
    (0..1_u32 << unknown.len()).any(|choice| {
        let mut events: Vec<(u64, usize, bool)> = Vec::new();
        for (at, (operation, end)) in possible.iter().enumerate() {
            events.push((operation.invoked, at, false));
            events.push((*end, at, true));
        }
        events.sort_unstable();
        let actions: Vec<_> = events
            .iter()
            .map(|(_, at, is_end)| {
                let (operation, _) = possible[*at];
                let happens = unknown.iter().position(|other| other == at).is_none_or(|bit| choice >> bit & 1 == 1);
                let answer = match operation.end {
                    End::Answered(answer, _) => Some(answer),
                    _ => None,
                };
                let operation = (operation.call, answer, happens);
                // Every operation is a process of its own, because one of unknown fate overlaps its client's next.
                (*at, if *is_end { history::Action::Response(operation) } else { history::Action::Call(operation) })
            })
            .collect();
        actions.is_empty() || WGLChecker::<Store>::is_linearizable(history::History::from_actions(actions))
    })
}

/// Checks by trying every order of every choice.
fn some_order_explains(left: &[(Operation, u64)], state: Option<u64>) -> bool {
    if left.iter().all(|(_, end)| *end == u64::MAX) {
        return true;
    }
    let soonest = left.iter().map(|(_, end)| *end).min().expect("something is left");
    (0..left.len()).filter(|at| left[*at].0.invoked < soonest).any(|at| {
        let (operation, _) = left[at];
        let (after, expected) = apply(operation.call, state);
        let fits = match operation.end {
            End::Answered(answer, _) => answer == expected,
            _ => true,
        };
        let mut rest = left.to_vec();
        rest.remove(at);
        fits && some_order_explains(&rest, after)
    })
}

fn quickcheck_of(tests: u64, property: fn(Small) -> bool) {
    QuickCheck::new().tests(tests).max_tests(tests).quickcheck(property);
}

thread_local! {
    static REFUSED: Cell<u64> = const { Cell::new(0) };
    static ACCEPTED: Cell<u64> = const { Cell::new(0) };
}

fn counted(accepted: bool) -> bool {
    let count = if accepted { &ACCEPTED } else { &REFUSED };
    count.with(|count| count.set(count.get() + 1));
    accepted
}

#[test]
fn it_agrees_with_todc_on_small_histories() {
    quickcheck_of(30_000, |small| counted(small.accepted()) == todc_accepts(&small));
    let (accepted, refused) = (ACCEPTED.get(), REFUSED.get());
    assert!(accepted > 4_000 && refused > 4_000, "{accepted} accepted, {refused} refused: the histories are one-sided");
}

#[test]
fn it_agrees_with_trying_every_order() {
    quickcheck_of(30_000, |small| {
        let possible: Vec<_> = small.possible().collect();
        counted(small.accepted()) == some_order_explains(&possible, None)
    });
    let (accepted, refused) = (ACCEPTED.get(), REFUSED.get());
    assert!(accepted > 4_000 && refused > 4_000, "{accepted} accepted, {refused} refused: the histories are one-sided");
}

#[test]
fn the_window_of_a_refused_history_is_refused_alone() {
    // The window is text. The beginning of the history before the window's last answer must be accepted.
    quickcheck_of(4_000, |small| match small.history().check(Limit::default()) {
        Err(Violation::NotLinearizable { window, .. }) => window.matches("< from here on nothing fits").count() == 1,
        _ => true,
    });
}
