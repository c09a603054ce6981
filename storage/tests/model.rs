//! Compares random histories of an ordered writer with a model in memory at every restart.

mod support;

use bytes::Bytes;
use leasehold_node::ports::{Applied, Batch, Change, Disk, Record, Recovered, Stage};
use leasehold_raft::wire::{Entry, HardState, Membership, Payload};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::BTreeMap;
use std::time::Duration;
use support::*;

/// A writer's step. Numbers are taken modulo the range that is possible at that point.
#[derive(Clone, Debug)]
enum Step {
    Append { overwrite: u8, count: u8, new_term: bool, length: u16 },
    Vote(u8),
    Commit(u8),
    Apply { count: u8, changes: Vec<Edit> },
    Compact(u8),
    Install { ahead: u8, changes: Vec<Edit>, then: u8 },
    Hold(u32),
    Stage(Vec<(Vec<u8>, Vec<u8>)>),
    Unstage,
}

#[derive(Clone, Debug)]
enum Edit {
    Put { key: Vec<u8>, value: Vec<u8> },
    Delete(Vec<u8>),
    Clear,
}

/// Steps of three groups, followed by a commit, a restart, or a restart from a crashed copy.
#[derive(Clone, Debug)]
struct Turn {
    steps: Vec<(u8, Step)>,
    end: u8,
}

/// Returns one of few keys, so that keys repeat. One is longer than a page.
fn key(g: &mut Gen) -> Vec<u8> {
    match u8::arbitrary(g) % 10 {
        0 => Vec::new(),
        9 => vec![9; 5_000],
        few => vec![few % 4; usize::from(few)],
    }
}

impl Arbitrary for Edit {
    fn arbitrary(g: &mut Gen) -> Edit {
        match u8::arbitrary(g) % 8 {
            0 => Edit::Clear,
            1 | 2 => Edit::Delete(key(g)),
            _ => Edit::Put { key: key(g), value: vec![u8::arbitrary(g); usize::from(u16::arbitrary(g) % 6_000)] },
        }
    }
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        match u8::arbitrary(g) % 15 {
            0..=3 => Step::Append {
                overwrite: u8::arbitrary(g),
                count: u8::arbitrary(g) % 20,
                new_term: bool::arbitrary(g),
                length: u16::arbitrary(g) % 3_000,
            },
            4 => Step::Vote(u8::arbitrary(g)),
            5 | 6 => Step::Commit(u8::arbitrary(g)),
            7 | 8 => Step::Apply { count: u8::arbitrary(g), changes: Vec::arbitrary(g) },
            9 => Step::Compact(u8::arbitrary(g)),
            10 => Step::Install { ahead: u8::arbitrary(g), changes: Vec::arbitrary(g), then: u8::arbitrary(g) % 3 },
            11 => Step::Hold(u32::arbitrary(g)),
            12 => Step::Unstage,
            _ => Step::Stage((0..u8::arbitrary(g) % 5).map(|_| (key(g), vec![7; 100])).collect()),
        }
    }
}

impl Arbitrary for Turn {
    fn arbitrary(g: &mut Gen) -> Turn {
        Turn { steps: Vec::arbitrary(g), end: u8::arbitrary(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Turn>> {
        let Turn { steps, end } = self.clone();
        // Removing whole steps is enough to make a failure readable.
        Box::new((0..steps.len()).map(move |without| {
            let mut steps = steps.clone();
            steps.remove(without);
            Turn { steps, end }
        }))
    }
}

/// The expected state of one group.
#[derive(Clone, Default)]
struct Model {
    recovered: Recovered,
    records: BTreeMap<Bytes, Bytes>,
    staged: BTreeMap<Bytes, Bytes>,
}

impl Model {
    fn last(&self) -> (u64, u64) {
        self.recovered.entries.last().map_or(self.recovered.compacted, |entry| (entry.index, entry.term))
    }

    fn term_at(&self, index: u64) -> u64 {
        let (compacted, term) = self.recovered.compacted;
        if index == compacted { term } else { self.recovered.entries[(index - compacted - 1) as usize].term }
    }

    fn append(&mut self, first: u64, count: u8, length: u16) -> Vec<Entry> {
        let term = self.recovered.hard_state.term;
        let new: Vec<Entry> = (first..first + u64::from(count))
            .map(|index| Entry { term, index, payload: Payload::Command(vec![count; usize::from(length)].into()) })
            .collect();
        self.recovered.entries.retain(|entry| new.is_empty() || entry.index < first);
        self.recovered.entries.extend(new.iter().cloned());
        new
    }

    fn edit(&mut self, edits: &[Edit]) -> Vec<Change> {
        let change = |edit: &Edit| match edit.clone() {
            Edit::Put { key, value } => {
                let record = Record { key: key.into(), value: value.into() };
                self.records.insert(record.key.clone(), record.value.clone());
                Change::Put(record)
            }
            Edit::Delete(key) => {
                let key = Bytes::from(key);
                self.records.remove(&key);
                Change::Delete(key)
            }
            Edit::Clear => {
                self.records.clear();
                Change::Clear
            }
        };
        edits.iter().map(change).collect()
    }

    fn apply(&mut self, index: u64, term: u64) -> Applied {
        let membership =
            Membership { voters: vec![index, term], auto_leave: index.is_multiple_of(2), ..Membership::default() };
        self.recovered.applied = Applied { index, term, membership };
        self.recovered.applied.clone()
    }

    /// Applies the step to the model and returns the batch that a writer would commit.
    fn step(&mut self, group: u32, step: &Step) -> Batch {
        let mut batch = Batch { group, ..Batch::default() };
        let (last, _) = self.last();
        let HardState { commit, .. } = self.recovered.hard_state;
        match step {
            Step::Append { overwrite, count, new_term, length } => {
                let new_term = *new_term || self.recovered.hard_state.term == 0;
                self.recovered.hard_state.term += u64::from(new_term);
                batch.hard_state = Some(self.recovered.hard_state);
                // Committed entries stay. Only a leader of a newer term replaces others.
                let loose = if new_term { last - commit } else { 0 };
                batch.entries = self.append(last + 1 - u64::from(*overwrite) % (loose + 1), *count, *length);
            }
            Step::Vote(vote) => {
                self.recovered.hard_state.term += 1;
                self.recovered.hard_state.vote = u64::from(*vote);
                batch.hard_state = Some(self.recovered.hard_state);
            }
            Step::Commit(count) => {
                self.recovered.hard_state.commit += u64::from(*count) % (last - commit + 1);
                batch.hard_state = Some(self.recovered.hard_state);
            }
            Step::Apply { count, changes } => {
                let applied = self.recovered.applied.index;
                let index = applied + u64::from(*count) % (commit - applied + 1);
                batch.changes = self.edit(changes);
                batch.applied = Some(self.apply(index, self.term_at(index)));
            }
            Step::Compact(count) => {
                let (compacted, _) = self.recovered.compacted;
                let index = compacted + u64::from(*count) % (self.recovered.applied.index - compacted + 1);
                let through = (index, self.term_at(index));
                self.recovered.entries.retain(|entry| entry.index > index);
                self.recovered.compacted = through;
                batch.compact_through = Some(through);
            }
            Step::Install { ahead, changes, then } => {
                let index = last + 1 + u64::from(*ahead);
                self.recovered.hard_state.term += 1;
                self.recovered.hard_state.commit = index;
                let term = self.recovered.hard_state.term;
                self.recovered.compacted = (index, term);
                self.recovered.entries.clear();
                batch.hard_state = Some(self.recovered.hard_state);
                batch.reset_log = true;
                batch.entries = self.append(index + 1, *then, 10);
                self.records = std::mem::take(&mut self.staged);
                batch.stage = Some(Stage::Install);
                batch.changes = self.edit(changes);
                batch.applied = Some(self.apply(index, term));
            }
            Step::Stage(records) => {
                let record =
                    |(key, value): &(Vec<u8>, Vec<u8>)| Record { key: key.clone().into(), value: value.clone().into() };
                let records: Vec<Record> = records.iter().map(record).collect();
                self.staged.extend(records.iter().map(|record| (record.key.clone(), record.value.clone())));
                batch.stage = Some(Stage::Add(records));
            }
            Step::Unstage => {
                self.staged.clear();
                batch.stage = Some(Stage::Clear);
            }
            Step::Hold(nanos) => {
                self.recovered.longest_hold = Duration::from_nanos(u64::from(*nanos) << 10);
                batch.longest_hold = Some(self.recovered.longest_hold);
                self.recovered.orderly_stop = (nanos % 2 == 0).then_some(self.recovered.longest_hold);
                batch.orderly_stop = Some(self.recovered.orderly_stop);
            }
        }
        batch
    }

    fn expected(&self) -> Recovered {
        let records = self.records.iter().map(|(key, value)| Record { key: key.clone(), value: value.clone() });
        Recovered { records: records.collect(), ..self.recovered.clone() }
    }
}

const GROUPS: [u32; 3] = [0, 1, u32::MAX];

fn folder_equals_model(turns: Vec<Turn>) -> bool {
    let mut dir = folder();
    let mut storage = open(dir.path());
    let mut models: [Model; 3] = Default::default();
    for turn in turns {
        let mut batches = Vec::new();
        for (group, step) in &turn.steps {
            let at = usize::from(*group) % GROUPS.len();
            batches.push(models[at].step(GROUPS[at], step));
        }
        storage.commit(&batches).expect("committed");
        if turn.end % 4 < 2 {
            models.iter_mut().for_each(|model| model.staged.clear());
        }
        match turn.end % 4 {
            0 => {
                drop(storage);
                storage = open(dir.path());
            }
            1 => {
                let copy = crashed_copy(dir.path());
                drop(storage);
                dir = copy;
                storage = open(dir.path());
            }
            _ => {}
        }
        for (model, group) in models.iter().zip(GROUPS) {
            assert!(storage.recover(group).expect("readable") == model.expected(), "group {group}");
        }
    }
    true
}

#[test]
fn the_folder_equals_a_model_in_memory_after_any_history() {
    QuickCheck::new().rng(Gen::new(12)).tests(60).quickcheck(folder_equals_model as fn(Vec<Turn>) -> bool);
}
