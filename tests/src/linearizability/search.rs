//! Searches for an order of the operations on one key that explains all answers.

use super::operation::{Answer, Call, Fate, Moment, Observed, Operation};
use std::ops::Range;

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Linearizable,
    NotLinearizable,
    GaveUp { places: usize },
}

/// An answered operation.
#[derive(Clone, Copy)]
struct Known {
    invoked: Moment,
    answered: Moment,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    /// Finds this value.
    Get(Option<u64>),
    /// Leaves this value, whatever it finds.
    Put(Option<u64>),
    /// Leaves this value, and no answer depends on it.
    Hidden(u64),
    /// Finds one less, and leaves this.
    Increment(u64),
    /// Cannot happen: no state explains the answer.
    Never,
}

/// An operation of unknown fate: it may be taken once, at any time after its call.
#[derive(Clone, Copy)]
struct Loose {
    invoked: Moment,
    /// The value of a set; nothing for the others.
    value: u64,
    /// Its place in the set of what was taken.
    bit: u32,
}

/// A way on: an answered operation, perhaps after some of unknown fate that explain its answer.
#[derive(Clone, Copy)]
struct Choice {
    known: u32,
    answered: Moment,
    /// True if it does not depend on the state before. Then every hidden write that can be taken is taken before it.
    overwrites: bool,
    base: Base,
    increments: u64,
    /// The state after all of them.
    leaves: Option<u64>,
}

#[derive(Clone, Copy)]
enum Base {
    /// The state as it is.
    Present,
    /// After this set, by its place among the loose sets.
    Set(usize),
    /// After this delete.
    Delete(usize),
}

/// A place to which the search may return.
struct Fork {
    taken: usize,
    /// The answered operations among which the next is.
    next: Range<usize>,
    choices: usize,
}

/// A value, or having none, on which answers depend.
#[derive(Clone, Copy, Default)]
struct Wanted {
    /// By how many operations not taken yet.
    by: u32,
    /// The number of operations not taken yet that leave it.
    makers: u32,
    /// True if operations of unknown fate may leave it.
    loosely: bool,
}

/// A search, and its memory, which serves one key after the other.
#[derive(Default)]
pub(super) struct Search {
    known: Vec<Known>,
    sets: Vec<Loose>,
    deletes: Vec<Loose>,
    increments: Vec<Loose>,
    /// The operations taken, one bit each: the answered ones in the order of their calls, then, from a new word, the loose ones.
    taken: Vec<u64>,
    loose_words: usize,
    /// The bits set, in the order it was done.
    trail: Vec<u32>,
    forks: Vec<Fork>,
    choices: Vec<Choice>,
    visited: Visited,
    observed: Observed,
    /// The counts of each observed value, and last those of having no value.
    wanted: Vec<Wanted>,
    /// The possible states, to which increments of unknown fate may be added.
    starts: Vec<u64>,
}

impl Search {
    /// Searches an order of operations on one key, sorted by call.
    pub(super) fn run(&mut self, operations: &[Operation], bytes: usize) -> Outcome {
        self.prepare(operations);
        let (mut first, mut state) = (0, None);
        while let Some((limit, end)) = self.take_fitting_reads(&mut first, state) {
            let before = self.choices.len();
            self.collect_choices(first..end, limit, state);
            let mut next = first..end;
            // A place with one way on is not stored: a second visit soon reaches one that is.
            let mut on = None;
            if self.choices.len() == before + 1 {
                on = self.choices.pop();
            } else if self.visited.enter(&self.taken, first / 64..end.div_ceil(64), self.loose_words, state) {
                if self.visited.bytes() > bytes {
                    return Outcome::GaveUp { places: self.visited.entries.len() };
                }
                // The last is tried first: what must be done soonest.
                self.choices[before..].sort_unstable_by_key(|choice| std::cmp::Reverse(choice.answered));
                self.forks.push(Fork { taken: self.trail.len(), next: next.clone(), choices: before });
            } else {
                self.choices.truncate(before);
            }
            let Some(choice) = on.or_else(|| self.next_of_fork(&mut next)) else {
                return Outcome::NotLinearizable;
            };
            self.take_choice(choice, next.clone());
            (first, state) = (next.start, choice.leaves);
        }
        Outcome::Linearizable
    }

    /// Goes back to the last place with a way not tried yet.
    fn next_of_fork(&mut self, next: &mut Range<usize>) -> Option<Choice> {
        while self.forks.last()?.choices == self.choices.len() {
            self.forks.pop();
        }
        let fork = self.forks.last()?;
        *next = fork.next.clone();
        let keep = fork.taken;
        while self.trail.len() > keep {
            let bit = self.trail.pop().expect("it is longer than what is kept");
            self.taken[bit as usize / 64] &= !(1 << (bit % 64));
            self.account(bit, |count| *count += 1);
        }
        self.choices.pop()
    }

    fn prepare(&mut self, operations: &[Operation]) {
        self.observed.gather(operations);
        self.known.clear();
        self.sets.clear();
        self.deletes.clear();
        self.increments.clear();
        self.trail.clear();
        self.forks.clear();
        self.choices.clear();
        self.visited.clear();
        for Operation { call, invoked, fate, .. } in operations.iter().copied() {
            let loose = |value| Loose { invoked, value, bit: 0 };
            match fate {
                Fate::Failed => {}
                Fate::Unknown if !self.observed.may_show(call) => {}
                Fate::Unknown => match call {
                    Call::Set(value) => self.sets.push(loose(value)),
                    Call::Delete => self.deletes.push(loose(0)),
                    Call::Increment => self.increments.push(loose(0)),
                    Call::Get => {}
                },
                Fate::Answered(answer, answered) => {
                    let step = match (call, answer) {
                        (Call::Set(value), _) if !self.observed.may_show(call) => Step::Hidden(value),
                        (Call::Set(value), _) => Step::Put(Some(value)),
                        (Call::Delete, _) => Step::Put(None),
                        (Call::Get, Answer::Value(value)) => Step::Get(value),
                        (Call::Increment, Answer::Value(Some(value))) if value > 0 => Step::Increment(value),
                        _ => Step::Never,
                    };
                    self.known.push(Known { invoked, answered, step });
                }
            }
        }
        self.sets.sort_unstable_by_key(|set| (set.value, set.invoked));
        let known_words = self.known.len().div_ceil(64);
        let loose = self.sets.iter_mut().chain(&mut self.deletes).chain(&mut self.increments);
        let mut count = 0;
        for loose in loose {
            loose.bit = (known_words * 64 + count) as u32;
            count += 1;
        }
        self.loose_words = count.div_ceil(64);
        self.taken.clear();
        self.taken.resize(known_words + self.loose_words, 0);
        self.count_wanted();
    }

    fn count_wanted(&mut self) {
        let steps = self.increments.len() as u64;
        self.wanted.clear();
        self.wanted.resize(self.observed.values.len() + 1, Wanted::default());
        for bit in 0..self.known.len() as u32 {
            self.account(bit, |count| *count += 1);
        }
        if let Some(nothing) = self.wanted.last_mut() {
            nothing.loosely = !self.deletes.is_empty();
        }
        // From no value, increments go on as from 0.
        self.starts.clear();
        self.starts.push(0);
        self.starts.extend(self.known.iter().filter_map(|known| match known.step {
            Step::Put(value) => value,
            Step::Increment(left) => Some(left),
            _ => None,
        }));
        self.starts.sort_unstable();
        for (value, wanted) in self.observed.values.iter().zip(&mut self.wanted) {
            let least = value.saturating_sub(steps);
            let sets = |value: u64| self.sets.partition_point(|set| set.value < value);
            let starts = |value: u64| self.starts.partition_point(|start| *start < value);
            // Increments of unknown fate may make it of any state not far below.
            wanted.loosely =
                sets(least) < self.sets.partition_point(|set| set.value <= *value) || starts(least) < starts(*value);
        }
    }

    /// Changes what is counted of the state that an operation wants, and of the one it leaves.
    fn account(&mut self, bit: u32, change: impl Fn(&mut u32)) {
        let Some(known) = self.known.get(bit as usize) else { return };
        let (wants, leaves) = match known.step {
            Step::Get(value) => (self.observed.place(value), None),
            Step::Put(value) => (None, self.observed.place(value)),
            // An increment that left 1 found 0 or no value: neither is counted as wanted.
            Step::Increment(1) => (None, self.observed.place(Some(1))),
            Step::Increment(left) => (self.observed.place(Some(left - 1)), self.observed.place(Some(left))),
            Step::Hidden(_) | Step::Never => (None, None),
        };
        if let Some(wants) = wants {
            change(&mut self.wanted[wants].by);
        }
        if let Some(leaves) = leaves {
            change(&mut self.wanted[leaves].makers);
        }
    }

    /// Returns how many answers depend on the present state, if no operation can restore it once it is left.
    fn wanted_for_good(&self, state: Option<u64>) -> u32 {
        let wanted = self.observed.place(state).map_or(Wanted::default(), |place| self.wanted[place]);
        if wanted.makers == 0 && !wanted.loosely { wanted.by } else { 0 }
    }

    /// Takes every read that fits the present state, until there is none. Then returns the earliest answer among what is not
    /// taken, and the first operation called after it: nothing from there on can have been taken, or can be next. `None` if
    /// everything is taken.
    fn take_fitting_reads(&mut self, first: &mut usize, state: Option<u64>) -> Option<(Moment, usize)> {
        loop {
            while *first < self.known.len() && self.is_taken(*first as u32) {
                // Whole words at once: a long history is not walked bit by bit.
                let rest = !self.taken[*first / 64] >> (*first % 64);
                *first += if rest == 0 { 64 - *first % 64 } else { rest.trailing_zeros() as usize };
            }
            if *first >= self.known.len() {
                return None;
            }
            let mut limit = (u64::MAX, u32::MAX);
            let mut fitted = false;
            let mut at = *first;
            while let Some(Known { invoked, answered, step }) = self.known.get(at).copied()
                && invoked < limit
            {
                if !self.is_taken(at as u32) {
                    if matches!(step, Step::Get(value) if value == state) {
                        self.take(at as u32);
                        fitted = true;
                    } else {
                        limit = limit.min(answered);
                    }
                }
                at += 1;
            }
            if !fitted {
                return Some((limit, at));
            }
        }
    }

    fn collect_choices(&mut self, among: Range<usize>, limit: Moment, state: Option<u64>) {
        let wanted = self.wanted_for_good(state);
        let mut hidden: Option<Choice> = None;
        for at in among {
            if self.is_taken(at as u32) {
                continue;
            }
            let Known { answered, step, .. } = self.known[at];
            let leaves = match step {
                Step::Get(value) | Step::Put(value) => value,
                Step::Hidden(value) | Step::Increment(value) => Some(value),
                Step::Never => continue,
            };
            let choice =
                Choice { known: at as u32, answered, overwrites: false, base: Base::Present, increments: 0, leaves };
            match step {
                Step::Increment(left) if state.unwrap_or(0) == left - 1 => {
                    // It is itself one of those that want this state, unless it is content with two.
                    if wanted == u32::from(wanted > 0 && left > 1) {
                        self.choices.push(choice);
                    }
                }
                // Answers that depend on a state which is left can no longer be explained.
                _ if wanted > 0 => {}
                Step::Put(_) => self.choices.push(Choice { overwrites: true, ..choice }),
                Step::Hidden(_) => {
                    let sooner = hidden.is_none_or(|other| answered < other.answered);
                    hidden = if sooner { Some(Choice { overwrites: true, ..choice }) } else { hidden };
                }
                Step::Get(value) => self.collect_chains(value, limit, state, choice),
                Step::Increment(left) => {
                    self.collect_chains(Some(left - 1), limit, state, choice);
                    if left == 1 {
                        self.collect_chains(None, limit, state, choice);
                    }
                }
                Step::Never => {}
            }
        }
        // Hidden writes go together: after one, the others change nothing.
        self.choices.extend(hidden);
    }

    /// Collects the ways to bring about a state other than the present one by operations of unknown fate.
    fn collect_chains(&mut self, wanted: Option<u64>, limit: Moment, state: Option<u64>, choice: Choice) {
        let free = |loose: &Loose, taken: &[u64]| loose.invoked < limit && !bit_of(taken, loose.bit);
        let delete = self.deletes.iter().position(|delete| free(delete, &self.taken));
        let Some(wanted) = wanted else {
            self.choices.extend(delete.map(|delete| Choice { overwrites: true, base: Base::Delete(delete), ..choice }));
            return;
        };
        let steps = self.increments.iter().filter(|increment| free(increment, &self.taken)).count() as u64;
        let reaches = |from: u64| wanted.checked_sub(from).filter(|needed| *needed <= steps);
        if let Some(increments) = reaches(state.unwrap_or(0)).filter(|needed| *needed > 0) {
            self.choices.push(Choice { increments, ..choice });
        }
        if let (Some(delete), Some(increments)) = (delete, reaches(0).filter(|needed| *needed > 0)) {
            self.choices.push(Choice { overwrites: true, base: Base::Delete(delete), increments, ..choice });
        }
        let mut at = self.sets.partition_point(|set| set.value < wanted.saturating_sub(steps));
        while let Some(set) = self.sets.get(at).filter(|set| set.value <= wanted) {
            if free(set, &self.taken) {
                let (base, increments) = (Base::Set(at), wanted - set.value);
                self.choices.push(Choice { overwrites: true, base, increments, ..choice });
                // Of equal sets the first serves for all.
                at += self.sets[at..].partition_point(|other| other.value == set.value);
            } else {
                at += 1;
            }
        }
    }

    fn take_choice(&mut self, choice: Choice, next: Range<usize>) {
        if choice.overwrites {
            for at in next {
                let hidden = matches!(self.known[at].step, Step::Hidden(_));
                if hidden && at as u32 != choice.known && !self.is_taken(at as u32) {
                    self.take(at as u32);
                }
            }
        }
        match choice.base {
            Base::Present => {}
            Base::Set(at) => self.take(self.sets[at].bit),
            Base::Delete(at) => self.take(self.deletes[at].bit),
        }
        let mut needed = choice.increments;
        let mut at = 0;
        while needed > 0 {
            // They were counted when the choice was found, and sorted by call: the first that are not taken are free.
            let bit = self.increments[at].bit;
            if !self.is_taken(bit) {
                self.take(bit);
                needed -= 1;
            }
            at += 1;
        }
        self.take(choice.known);
    }

    fn take(&mut self, bit: u32) {
        self.taken[bit as usize / 64] |= 1 << (bit % 64);
        self.trail.push(bit);
        self.account(bit, |count| *count -= 1);
    }

    fn is_taken(&self, bit: u32) -> bool {
        bit_of(&self.taken, bit)
    }
}

fn bit_of(words: &[u64], bit: u32) -> bool {
    words[bit as usize / 64] >> (bit % 64) & 1 == 1
}

/// The places a search has been at: what was taken, and the state. Kept whole, so that no two are ever confused.
#[derive(Default)]
struct Visited {
    words: Vec<u64>,
    entries: Vec<Entry>,
    /// Open addressing: 0, or one more than the number of an entry.
    slots: Vec<u32>,
}

struct Entry {
    hash: u64,
    start: usize,
    len: usize,
}

impl Visited {
    fn clear(&mut self) {
        self.words.clear();
        self.entries.clear();
        self.slots.fill(0);
    }

    fn bytes(&self) -> usize {
        self.words.len() * 8 + self.entries.len() * size_of::<Entry>() + self.slots.len() * 4
    }

    /// Stores a place, and returns whether it is new. Of the answered operations, all before `window` are taken and none after it.
    fn enter(&mut self, taken: &[u64], window: Range<usize>, loose: usize, state: Option<u64>) -> bool {
        if self.slots.len() < (self.entries.len() + 1) * 2 {
            self.grow();
        }
        let start = self.words.len();
        self.words.extend([window.start as u64, u64::from(state.is_some()), state.unwrap_or(0)]);
        self.words.extend_from_slice(&taken[window]);
        self.words.extend_from_slice(&taken[taken.len() - loose..]);
        let hash = hash(&self.words[start..]);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while let Some(other) = self.slots[slot].checked_sub(1) {
            let Entry { hash: seen, start: at, len } = self.entries[other as usize];
            if seen == hash && self.words[at..at + len] == self.words[start..] {
                self.words.truncate(start);
                return false;
            }
            slot = (slot + 1) & mask;
        }
        self.entries.push(Entry { hash, start, len: self.words.len() - start });
        self.slots[slot] = self.entries.len() as u32;
        true
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(256);
        self.slots.clear();
        self.slots.resize(size, 0);
        for (number, entry) in self.entries.iter().enumerate() {
            let mut slot = entry.hash as usize & (size - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = number as u32 + 1;
        }
    }
}

fn hash(words: &[u64]) -> u64 {
    let mixed = words
        .iter()
        .fold(words.len() as u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed ^ (mixed >> 29)
}
