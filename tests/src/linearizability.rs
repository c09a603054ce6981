//! Whether what clients saw could come from one copy of the data, each operation at one moment between its call and its answer.
//!
//! Exact, per key, and bounded in memory: a history is accepted, refused, or given up on, and the last is never called a
//! pass. The search is Wing and Gong's with Lowe's memory of the places already visited (`search.rs`); what makes it fast
//! enough to judge every run of a simulator is what it does not try:
//!
//! * A read that fits the present state is taken at once: taken now, it rules out nothing.
//! * A write of unknown fate is taken only together with the answered operation that shows its effect. One that shows
//!   itself nowhere might as well never have happened, so a thousand of them cost nothing.
//! * Of equal writes of unknown fate, the one invoked first is taken first.
//! * A value is not overwritten while answers depend on it that nothing else can explain.
//! * An acknowledged write on which no answer depends is taken as soon as something is to overwrite it.

mod search;
mod window;

use search::{Outcome, Search};

/// What a client asked of one key. A key begins without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Give it this value.
    Set(u64),
    /// Add one; no value counts as 0.
    Increment,
    /// Take its value away.
    Delete,
    /// What is its value?
    Get,
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That a set or a delete was done.
    Done,
    /// The value that a get found, or that an increment left.
    Value(Option<u64>),
}

/// An operation of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId(usize);

/// What the clients of one run did and saw, in the order it was recorded.
///
/// [`invoke`](History::invoke) an operation before its request leaves, and record its answer after that came. One that is
/// neither [`succeeded`](History::succeeded) nor [`failed`](History::failed) may have taken effect at any time since, or never.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    recorded: u32,
}

/// When something happened: the time given, and among equal times the order of recording.
type Moment = (u64, u32);

#[derive(Clone, Copy, Debug)]
struct Operation {
    client: u32,
    key: u32,
    call: Call,
    invoked: Moment,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Failed,
    Answered(Answer, Moment),
}

/// How much memory a check of one key may take before it gives up.
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

/// Why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No order of the operations explains the answers.
    #[error("key {key} is not linearizable: no order of these operations explains their answers\n{window}")]
    NotLinearizable {
        /// The key.
        key: u32,
        /// Operations that by themselves are not linearizable, as a table; those that do not matter are left out.
        window: String,
    },
    /// The search outgrew its limit. The history may be linearizable or not: count it apart.
    #[error(
        "key {key} was given up: the search visited {places} places, which is all its memory holds; raise the limit"
    )]
    GaveUp {
        /// The key.
        key: u32,
        /// How many places the search remembered.
        places: usize,
    },
}

impl History {
    /// One in which nothing has happened.
    pub fn new() -> History {
        History::default()
    }

    /// Forgets all operations, and keeps the memory they took.
    pub fn clear(&mut self) {
        self.operations.clear();
        self.recorded = 0;
    }

    /// How many operations were invoked.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was invoked.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// A client asks something at a time in nanoseconds. Until more is said its fate is unknown.
    pub fn invoke(&mut self, client: u32, key: u32, call: Call, at: u64) -> OperationId {
        let invoked = self.moment(at);
        self.operations.push(Operation { client, key, call, invoked, fate: Fate::Unknown });
        OperationId(self.operations.len() - 1)
    }

    /// It was done, and this is what the client was told.
    ///
    /// # Panics
    /// When the answer cannot be one to that call, came before it, or is the second one.
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

    /// It surely was not done, and never will be.
    ///
    /// # Panics
    /// When it has ended before.
    pub fn failed(&mut self, id: OperationId) {
        let operation = &mut self.operations[id.0];
        assert_eq!(operation.fate, Fate::Unknown, "an operation ends once");
        operation.fate = Fate::Failed;
    }

    /// Whether one copy of the data could have given all these answers. The limit is for each key by itself.
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

/// The values whose presence some answer depends on.
#[derive(Debug, Default)]
struct Observed {
    /// Sorted. An increment observes the value it found.
    values: Vec<u64>,
    /// Whether some answer depends on there being no value.
    nothing: bool,
    /// Increments of unknown fate: as many may come between a write and the answer that depends on it.
    steps: u64,
}

impl Observed {
    fn gather(&mut self, operations: &[Operation]) {
        self.values.clear();
        (self.nothing, self.steps) = (false, 0);
        for operation in operations {
            match (operation.call, operation.fate) {
                (Call::Get, Fate::Answered(Answer::Value(value), _)) => match value {
                    Some(value) => self.values.push(value),
                    None => self.nothing = true,
                },
                (Call::Increment, Fate::Answered(Answer::Value(left), _)) => {
                    self.values.extend(left.and_then(|left| left.checked_sub(1)));
                    // What 1 was left of may have been 0 or no value.
                    self.nothing |= left == Some(1);
                }
                (Call::Increment, Fate::Unknown) => self.steps += 1,
                _ => {}
            }
        }
        self.values.sort_unstable();
        self.values.dedup();
    }

    /// Whether an answer can depend on a set of `value`, or on a delete. If not, the operations are linearizable only if they
    /// are so without it: it must come just before another write, or after every answer.
    fn may_show(&self, call: Call) -> bool {
        match call {
            Call::Set(value) => self.shows_from(value),
            Call::Delete => self.nothing || self.shows_from(1),
            Call::Increment => true,
            Call::Get => false,
        }
    }

    /// The place of a state in the order of those that are observed; having no value comes last.
    fn place(&self, state: Option<u64>) -> Option<usize> {
        state.map_or(Some(self.values.len()), |value| self.values.binary_search(&value).ok())
    }

    /// Whether one of the next `steps` values, or this one, is observed.
    fn shows_from(&self, value: u64) -> bool {
        let at = self.values.partition_point(|observed| *observed < value);
        self.values.get(at).is_some_and(|observed| *observed - value <= self.steps)
    }
}
