//! Checks whether a history of clients is linearizable: one copy of the data explains all answers, and each operation takes
//! effect at one moment between its call and its answer.
//!
//! The check is exact, works key by key and is bounded in memory. It accepts a history, refuses it, or gives up; giving up is
//! never reported as a pass. The search is Wing and Gong's with Lowe's memory of the places already visited (`search.rs`). It is
//! fast enough to judge every run of a simulator because of what it does not try:
//!
//! * A read that fits the present state is taken at once: taken now, it rules out nothing.
//! * A write of unknown fate is taken only together with the answered operation that shows its effect. A write whose effect no
//!   answer shows is the same as one that never happened, so a thousand of them cost nothing.
//! * Of equal writes of unknown fate, the one invoked first is taken first.
//! * A value is not overwritten while answers depend on it that nothing else can explain.
//! * An acknowledged write on which no answer depends is taken as soon as something is to overwrite it.

mod operation;
mod search;
mod window;

pub use operation::{Answer, Call};
use operation::{Fate, Moment, Operation};
use search::{Outcome, Search};

/// An operation of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId(usize);

/// The operations of the clients of one run, in the order they were recorded.
///
/// Call [`invoke`](History::invoke) before a request leaves, and record its answer after it arrived. An operation that neither
/// [`succeeded`](History::succeeded) nor [`failed`](History::failed) may have taken effect at any time since its call, or never.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    recorded: u32,
}

/// The memory that a check of one key may take before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In bytes.
    pub bytes: usize,
}

impl Default for Limit {
    /// 64 MiB: about a million places of a search.
    fn default() -> Limit {
        Limit { bytes: 64 << 20 }
    }
}

/// The reason why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No order of the operations explains the answers.
    #[error("key {key} is not linearizable: no order of these operations explains their answers\n{window}")]
    NotLinearizable {
        /// The key.
        key: u32,
        /// A table of operations that alone are not linearizable; those that do not matter are omitted.
        window: String,
    },
    /// The search reached its limit. The history may be linearizable or not: count it separately.
    #[error(
        "key {key} was given up: the search visited {places} places, which is all its memory holds; raise the limit"
    )]
    GaveUp {
        /// The key.
        key: u32,
        /// The number of places the search remembered.
        places: usize,
    },
}

impl History {
    /// Returns an empty history.
    pub fn new() -> History {
        History::default()
    }

    /// Forgets all operations, and keeps the memory they took.
    pub fn clear(&mut self) {
        self.operations.clear();
        self.recorded = 0;
    }

    /// Returns the number of operations invoked.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Returns whether nothing was invoked.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Records a call at a time in nanoseconds. Its fate is unknown until it is recorded.
    pub fn invoke(&mut self, client: u32, key: u32, call: Call, at: u64) -> OperationId {
        let invoked = self.moment(at);
        self.operations.push(Operation { client, key, call, invoked, fate: Fate::Unknown });
        OperationId(self.operations.len() - 1)
    }

    /// Records that an operation was done, with its answer.
    ///
    /// # Panics
    /// If the answer does not fit the call, came before it, or is the second one.
    pub fn succeeded(&mut self, id: OperationId, answer: Answer, at: u64) {
        let answered = self.moment(at);
        let operation = &mut self.operations[id.0];
        let fits = match operation.call {
            Call::Set(_) | Call::Delete => answer == Answer::Done,
            Call::Increment | Call::Get => matches!(answer, Answer::Value(_)),
        };
        assert!(fits, "{answer:?} is no answer to {:?}", operation.call);
        assert!(operation.invoked < answered, "the answer at {at} ns comes before its call");
        assert_eq!(operation.fate, Fate::Unknown, "an operation ends once");
        operation.fate = Fate::Answered(answer, answered);
    }

    /// Records that an operation was not done and never will be.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn failed(&mut self, id: OperationId) {
        let operation = &mut self.operations[id.0];
        assert_eq!(operation.fate, Fate::Unknown, "an operation ends once");
        operation.fate = Fate::Failed;
    }

    /// Checks that one copy of the data can have given all these answers. The limit is for each key.
    ///
    /// # Errors
    /// [`Violation::NotLinearizable`] for the first such key; [`Violation::GaveUp`] only if there is none.
    pub fn check(&self, limit: Limit) -> Result<(), Violation> {
        let mut operations = self.operations.clone();
        operations.sort_unstable_by_key(|operation| (operation.key, operation.invoked));
        let mut search = Search::default();
        let mut gave_up = None;
        for of_key in operations.chunk_by(|one, next| one.key == next.key) {
            let key = of_key[0].key;
            match search.run(of_key, limit.bytes) {
                Outcome::Linearizable => {}
                Outcome::NotLinearizable => {
                    let window = window::describe(of_key, limit.bytes, &mut search);
                    return Err(Violation::NotLinearizable { key, window });
                }
                Outcome::GaveUp { places } => {
                    gave_up.get_or_insert(Violation::GaveUp { key, places });
                }
            }
        }
        gave_up.map_or(Ok(()), Err)
    }

    fn moment(&mut self, at: u64) -> Moment {
        self.recorded += 1;
        (at, self.recorded)
    }
}
