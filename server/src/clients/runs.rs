//! Commands of a pipeline that are executed together.

use super::transaction::{Action, MAX_ENTRY_BYTES};
use crate::command::Command;
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
use std::vec::Drain;

/// The most keys that a read may name and still be executed together with others; one with more is executed in slices.
pub(super) const MAX_SHORT_KEYS: usize = 16;

/// Collects `first` and the short reads that follow it, up to the work of `budget`. Returns their work.
pub(super) fn gather_reads(
    reads: &mut Vec<ReadCommand>,
    first: ReadCommand,
    batch: &mut Drain<'_, Action>,
    budget: usize,
) -> usize {
    let mut work = first.keys().max(1);
    reads.clear();
    reads.push(first);
    while work < budget
        && let Some(Action::Execute(Command::Read(command))) = batch.as_slice().first()
        && is_short(command)
        && let Some(Action::Execute(Command::Read(command))) = batch.next()
    {
        work += command.keys().max(1);
        reads.push(command);
    }
    work
}

/// The commands that may be in a log entry with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// One command only.
    Single,
    /// Writes. Every one is executed, so that their replies must fit into one message too.
    Writes,
    /// Writes and short reads. Those whose replies do not fit are executed by another entry.
    WritesAndReads,
}

/// Collects `first` and the commands that follow it and fit into one log entry with it, up to the last write among them:
/// reads at the end need no log entry. `permitted` tells which writes may be executed, and `is_costly` which reads would
/// take too much of the entry's room.
pub(super) fn gather_run(
    run: &mut Vec<WriteCommand>,
    first: WriteCommand,
    batch: &mut Drain<'_, Action>,
    mix: Mix,
    permitted: impl Fn(&WriteCommand) -> bool,
    is_costly: impl Fn(&ReadCommand) -> bool,
) {
    let weight = |command: &WriteCommand| if mix == Mix::Writes { command.weight() } else { command.bytes() };
    let (mut keys, mut bytes) = (first.keys().max(1), weight(&first));
    let mut length = 0;
    for (position, action) in batch.as_slice().iter().enumerate() {
        let (more_keys, more_bytes) = match action {
            Action::Execute(Command::Write(command)) if mix != Mix::Single && permitted(command) => {
                (command.keys(), weight(command))
            }
            Action::Execute(Command::Read(command))
                if mix == Mix::WritesAndReads && is_short(command) && !is_costly(command) =>
            {
                (command.keys(), command.bytes())
            }
            _ => break,
        };
        (keys, bytes) = (keys + more_keys.max(1), bytes + more_bytes);
        if keys > MAX_ENTRY_KEYS || bytes > MAX_ENTRY_BYTES {
            break;
        }
        if matches!(action, Action::Execute(Command::Write(_))) {
            length = position + 1;
        }
    }
    run.clear();
    run.push(first);
    run.extend(batch.take(length).filter_map(|action| match action {
        Action::Execute(Command::Write(command)) => Some(command),
        Action::Execute(Command::Read(command)) => Some(WriteCommand::Read(command)),
        _ => None,
    }));
}

/// The part of a run that an entry is given next. An entry executes its first command at least, and may stop after it;
/// the rest is sent again. So the next entry gets at most twice as much as the last one executed, and all entries of a
/// run are together at most a few times as long as it.
#[derive(Debug)]
pub(super) struct Portion {
    room: usize,
}

impl Default for Portion {
    fn default() -> Portion {
        Portion { room: usize::MAX }
    }
}

impl Portion {
    /// Returns the first commands of the rest of a run, at least one.
    pub(super) fn of<'a>(&self, rest: &'a [WriteCommand]) -> &'a [WriteCommand] {
        let mut left = self.room;
        let takes = |command: &&WriteCommand| {
            let fits = left.checked_sub(size(command));
            left = fits.unwrap_or_default();
            fits.is_some()
        };
        let fitting = rest.iter().take_while(takes).count();
        &rest[..fitting.max(1).min(rest.len())]
    }

    /// Notes the commands that an entry has executed.
    pub(super) fn note(&mut self, executed: &[WriteCommand]) {
        self.room = 2 * executed.iter().map(size).sum::<usize>();
    }
}

fn size(command: &WriteCommand) -> usize {
    command.bytes() + size_of::<WriteCommand>()
}

/// Returns whether a read is executed together with others.
fn is_short(command: &ReadCommand) -> bool {
    !matches!(command, ReadCommand::Keys(_)) && command.keys() <= MAX_SHORT_KEYS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::LocalCommand;
    use crate::keyspace::SetCommand;
    use crate::resp::MAX_BULK;
    use bytes::Bytes;

    const BUDGET: usize = 64;

    fn get() -> Command {
        Command::Read(ReadCommand::Get(Bytes::from_static(b"k")))
    }

    fn mget(keys: usize) -> Command {
        Command::Read(ReadCommand::Mget(vec![Bytes::new(); keys]))
    }

    fn set(length: usize, get_old: bool) -> Command {
        let value = Bytes::from(vec![0; length]);
        Command::Write(WriteCommand::Set(SetCommand { get_old, ..SetCommand::new(Bytes::new(), value) }))
    }

    fn is_costly(command: &ReadCommand) -> bool {
        matches!(command, ReadCommand::Strlen(_))
    }

    /// Returns how many of the commands are executed together with the first.
    fn gathered(mix: Mix, commands: Vec<Command>) -> usize {
        let (mut reads, mut run) = (Vec::new(), Vec::new());
        let mut actions: Vec<_> = commands.into_iter().map(Action::Execute).collect();
        let (count, mut batch) = (actions.len(), actions.drain(..));
        match batch.next() {
            Some(Action::Execute(Command::Read(first))) => drop(gather_reads(&mut reads, first, &mut batch, BUDGET)),
            Some(Action::Execute(Command::Write(first))) => {
                gather_run(&mut run, first, &mut batch, mix, |_| true, is_costly);
            }
            other => panic!("reads or writes are gathered, not {other:?}"),
        }
        assert_eq!(reads.len() + run.len() + batch.len(), count, "none is lost");
        reads.len() + run.len()
    }

    fn local() -> Command {
        Command::Local(LocalCommand::Ping(None))
    }

    fn keys() -> Command {
        Command::Read(ReadCommand::Keys(Bytes::from_static(b"*")))
    }

    #[test]
    fn commands_executed_together_never_overtake_others() {
        assert_eq!(gathered(Mix::Writes, vec![get(), get(), set(1, false), get()]), 2);
        assert_eq!(gathered(Mix::Writes, vec![set(1, false), set(2, false), get(), set(3, false)]), 2);
        for other in [local(), keys(), mget(MAX_SHORT_KEYS + 1)] {
            assert_eq!(gathered(Mix::Writes, vec![get(), mget(MAX_SHORT_KEYS), other.clone(), get()]), 2);
            assert_eq!(gathered(Mix::WritesAndReads, vec![set(1, false), set(1, false), other, set(1, false)]), 2);
        }
        assert_eq!(gathered(Mix::Single, vec![set(1, false), set(1, false)]), 1);
    }

    #[test]
    fn a_mixed_pipeline_is_one_entry_without_the_reads_at_its_end() {
        let pairs = |count: usize| (0..count).flat_map(|_| [set(1, false), get()]).collect::<Vec<_>>();
        assert_eq!(gathered(Mix::WritesAndReads, pairs(1000)), 1999);
        assert_eq!(gathered(Mix::WritesAndReads, pairs(MAX_ENTRY_KEYS)), MAX_ENTRY_KEYS - 1);
        assert_eq!(gathered(Mix::WritesAndReads, vec![set(1, false), get(), get(), local(), set(1, false)]), 1);
    }

    #[test]
    fn a_run_ends_at_a_read_that_would_take_too_much_of_its_entry() {
        let costly = || Command::Read(ReadCommand::Strlen(Bytes::new()));
        assert_eq!(
            gathered(Mix::WritesAndReads, vec![set(1, false), get(), set(1, false), costly(), set(1, false)]),
            3
        );
    }

    #[test]
    fn the_entries_of_a_run_are_not_much_longer_than_it_however_early_they_stop() {
        let run: Vec<_> = (0..2000)
            .map(|number| {
                let length = if number % 3 == 0 { 0 } else { 6 * number };
                WriteCommand::Set(SetCommand::new(Bytes::new(), Bytes::from(vec![0; length])))
            })
            .collect();
        let sum = |commands: &[WriteCommand]| commands.iter().map(size).sum::<usize>();
        for executed in [1, 2, 7, 100, usize::MAX] {
            let (mut portion, mut done, mut sent, mut entries) = (Portion::default(), 0, 0, 0);
            while done < run.len() {
                let part = portion.of(&run[done..]);
                (sent, entries) = (sent + sum(part), entries + 1);
                let number = part.len().min(executed);
                portion.note(&part[..number]);
                done += number;
            }
            assert!(sent <= 4 * sum(&run), "{sent} bytes");
            assert!(executed < usize::MAX || entries == 1);
        }
        // After a stop the entries grow again.
        let (mut portion, mut done, mut entries) = (Portion::default(), 1, 1);
        portion.note(&run[..1]);
        while done < run.len() {
            let part = portion.of(&run[done..]);
            portion.note(part);
            (done, entries) = (done + part.len(), entries + 1);
        }
        assert!(entries < 100, "{entries} entries");
    }

    #[test]
    fn reads_executed_together_are_no_more_than_a_turn_of_work() {
        assert_eq!(gathered(Mix::Writes, (0..2 * BUDGET).map(|_| get()).collect()), BUDGET);
        assert_eq!(gathered(Mix::Writes, (0..BUDGET).map(|_| mget(16)).collect()), BUDGET / 16);
    }

    #[test]
    fn writes_executed_together_fit_into_an_entry_and_their_replies_into_a_message_if_they_must() {
        for mix in [Mix::Writes, Mix::WritesAndReads] {
            assert_eq!(gathered(mix, (0..4).map(|_| set(MAX_BULK, false)).collect()), 3);
            assert_eq!(gathered(mix, (0..MAX_ENTRY_KEYS + 1).map(|_| set(0, false)).collect()), MAX_ENTRY_KEYS);
        }
        assert_eq!(gathered(Mix::Writes, (0..4).map(|_| set(0, true)).collect()), 3);
        assert_eq!(gathered(Mix::WritesAndReads, (0..4).map(|_| set(0, true)).collect()), 4);
    }
}
