//! Operations on one key, and the values that answers depend on.

/// A request of a client about one key. A key begins without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Gives it this value.
    Set(u64),
    /// Adds one; no value counts as 0.
    Increment,
    /// Takes its value away.
    Delete,
    /// Reads its value.
    Get,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A set or a delete was done.
    Done,
    /// The value that a get found, or that an increment left.
    Value(Option<u64>),
}

/// The moment of an event: its time, and among equal times the order of recording.
pub(super) type Moment = (u64, u32);

#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) client: u32,
    pub(super) key: u32,
    pub(super) call: Call,
    pub(super) invoked: Moment,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Unknown,
    Failed,
    Answered(Answer, Moment),
}

/// The values whose presence some answer depends on.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Sorted. An increment observes the value it found.
    pub(super) values: Vec<u64>,
    /// True if some answer depends on there being no value.
    pub(super) nothing: bool,
    /// Increments of unknown fate: as many may come between a write and the answer that depends on it.
    pub(super) steps: u64,
}

impl Observed {
    pub(super) fn gather(&mut self, operations: &[Operation]) {
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
                    // An increment that left 1 found 0 or no value.
                    self.nothing |= left == Some(1);
                }
                (Call::Increment, Fate::Unknown) => self.steps += 1,
                _ => {}
            }
        }
        self.values.sort_unstable();
        self.values.dedup();
    }

    /// Returns whether an answer can depend on a set of `value`, or on a delete. If not, the operations are linearizable only if they
    /// are so without it: it must come just before another write, or after every answer.
    pub(super) fn may_show(&self, call: Call) -> bool {
        match call {
            Call::Set(value) => self.shows_from(value),
            Call::Delete => self.nothing || self.shows_from(1),
            Call::Increment => true,
            Call::Get => false,
        }
    }

    /// Returns the place of a state in the order of those that are observed; having no value comes last.
    pub(super) fn place(&self, state: Option<u64>) -> Option<usize> {
        state.map_or(Some(self.values.len()), |value| self.values.binary_search(&value).ok())
    }

    /// Returns whether one of the next `steps` values, or this one, is observed.
    fn shows_from(&self, value: u64) -> bool {
        let at = self.values.partition_point(|observed| *observed < value);
        self.values.get(at).is_some_and(|observed| *observed - value <= self.steps)
    }
}
