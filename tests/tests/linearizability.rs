//! Tests of the checker: histories it must refuse or accept, and two other checkers it must agree with.

use leasehold_tests::linearizability::{Answer, Call, History, Limit, OperationId, Violation};

const ALICE: u32 = 1;
const BOB: u32 = 2;
const CAROL: u32 = 3;

/// A history of one key, with times in milliseconds.
#[derive(Default)]
struct Story {
    history: History,
}

impl Story {
    fn begins(&mut self, client: u32, call: Call, at: u64) -> OperationId {
        self.history.invoke(client, 7, call, at * 1_000_000)
    }

    fn ends(&mut self, operation: OperationId, answer: Answer, at: u64) {
        self.history.succeeded(operation, answer, at * 1_000_000);
    }

    fn sets(&mut self, client: u32, value: u64, from: u64, until: u64) {
        let set = self.begins(client, Call::Set(value), from);
        self.ends(set, Answer::Done, until);
    }

    fn deletes(&mut self, client: u32, from: u64, until: u64) {
        let delete = self.begins(client, Call::Delete, from);
        self.ends(delete, Answer::Done, until);
    }

    fn increments(&mut self, client: u32, left: u64, from: u64, until: u64) {
        let increment = self.begins(client, Call::Increment, from);
        self.ends(increment, Answer::Value(Some(left)), until);
    }

    fn reads(&mut self, client: u32, found: impl Into<Option<u64>>, from: u64, until: u64) {
        let get = self.begins(client, Call::Get, from);
        self.ends(get, Answer::Value(found.into()), until);
    }

    fn is_accepted(&self) {
        assert_eq!(self.history.check(Limit::default()), Ok(()));
    }

    /// Returns the operations shown.
    fn is_refused(&self) -> String {
        match self.history.check(Limit::default()) {
            Err(Violation::NotLinearizable { key: 7, window }) => window,
            other => panic!("a history that nothing explains: {other:?}"),
        }
    }
}

#[path = "linearizability/against_others.rs"]
mod against_others;
#[path = "linearizability/stories.rs"]
mod stories;
