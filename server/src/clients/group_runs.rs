//! Commands of a pipeline whose keys are in several groups. The groups execute their parts at the same time, each in order,
//! and the replies are sent in the order of the commands.

use super::groups::Part;
use super::pause::yield_now;
use super::runs::{MAX_SHORT_KEYS, Portion};
use super::session::Session;
use super::shared::Clients;
use super::transaction::{Action, MAX_ENTRY_BYTES};
use super::transactions::NOT_READ;
use crate::command::Command;
use crate::executor::{Executor, NotReadable, UNCERTAIN};
use crate::keyspace::{
    Content, FieldsRead, HashRead, MAX_ENTRY_KEYS, Outcome, ReadCommand, Reply, StringRead, StringWrite, WriteCommand,
};
use bytes::Bytes;
use futures::future::join_all;
use leasehold_runtime::Runtime;
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io;
use std::iter::repeat_with;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Drain;

/// The longest reply of a read that is executed together with others, as far as this node knows.
const MAX_REPLY_BYTES: usize = 64 << 10;
/// The reads that are executed between two pauses.
const SLICE_READS: usize = 256;

impl<R: Runtime> Session<'_, R> {
    /// Executes a read or a write together with those that follow it, if there are any. Otherwise returns it.
    pub(super) async fn execute_group_run(
        &mut self,
        first: Command,
        batch: &mut Drain<'_, Action>,
    ) -> io::Result<Option<Command>> {
        let clients = self.clients;
        let length = length(clients, &first, batch.as_slice());
        if length == 0 {
            return Ok(Some(first));
        }
        let following = batch.take(length).filter_map(|action| match action {
            Action::Execute(command) => Some(command),
            _ => None,
        });
        let (parts, total) = divide(clients, std::iter::once(first).chain(following));
        let writes = parts.values().any(|part| part.items.iter().any(|command| !is_read(command)));
        let room = Room::default();
        let runs = join_all(parts.iter().map(|(group, part)| execute_part(clients.group(*group), &part.items, &room)));
        let done = if writes { self.wait_for_commit(runs).await? } else { self.flush_during(runs).await? };
        let mut outcomes: Vec<_> = (0..total).map(|_| None).collect();
        for ((group, part), replies) in parts.into_iter().zip(done) {
            let replies = replies.into_iter().map(Some).chain(repeat_with(|| None));
            for ((place, command), reply) in part.places.into_iter().zip(part.items).zip(replies) {
                outcomes[place] = Some(reply.ok_or((group, command)));
            }
        }
        let mut replies = Vec::new();
        for outcome in outcomes.into_iter().flatten() {
            match outcome {
                Ok(reply) => replies.push(reply),
                Err((group, command)) => {
                    self.reply_all(mem::take(&mut replies)).await?;
                    self.group = group;
                    self.execute_rest(command).await?;
                }
            }
        }
        self.reply_all(replies).await?;
        Ok(None)
    }

    /// Executes a command for which its part of a run had no room.
    async fn execute_rest(&mut self, command: WriteCommand) -> io::Result<()> {
        if let WriteCommand::Read(command) = command {
            self.reads.clear();
            self.reads.push(command);
            return self.read(&mut None).await;
        }
        self.run.clear();
        self.run.push(command);
        self.execute_run().await
    }
}

/// The room for the replies of all parts of a run, which are kept until every part ends.
#[derive(Debug, Default)]
struct Room {
    used: AtomicUsize,
}

impl Room {
    fn take(&self, reply: &Reply) {
        self.used.fetch_add(reply.bytes(), Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= MAX_ENTRY_BYTES
    }
}

/// Divides reads and writes among the groups of their keys. Returns their number too.
fn divide<R: Runtime>(
    clients: &Clients<R>,
    commands: impl Iterator<Item = Command>,
) -> (BTreeMap<u16, Part<WriteCommand>>, usize) {
    let (mut parts, mut total) = (BTreeMap::<u16, Part<WriteCommand>>::new(), 0);
    for command in commands {
        let command = match command {
            Command::Write(command) => command,
            Command::Read(command) => WriteCommand::Read(command),
            _ => continue,
        };
        let group = command.first_key().map_or(0, |key| clients.facts.slots.group_of_key(key));
        parts.entry(group).or_default().push(total, command);
        total += 1;
    }
    (parts, total)
}

/// Returns the number of commands that are executed together with `first`.
fn length<R: Runtime>(clients: &Clients<R>, first: &Command, following: &[Action]) -> usize {
    // It adds up the sizes of all groups.
    let is_short = LazyCell::new(|| clients.is_short());
    let size = |command: &Command| {
        let refuses = |command: &WriteCommand| *is_short && clients.refusal(command).is_some();
        size(clients, command, refuses)
    };
    size(first).map_or(0, |first| gather(following, first, size))
}

fn is_read(command: &WriteCommand) -> bool {
    matches!(command, WriteCommand::Read(_))
}

/// Returns the number of commands that are executed together with one of this size: as many as fit into a log entry, with
/// their replies.
fn gather(
    following: &[Action],
    (mut keys, mut bytes): (usize, usize),
    size: impl Fn(&Command) -> Option<(usize, usize)>,
) -> usize {
    let fits = |action: &&Action| {
        let Action::Execute(command) = action else { return false };
        let Some((more_keys, more_bytes)) = size(command) else { return false };
        (keys, bytes) = (keys + more_keys, bytes + more_bytes);
        keys <= MAX_ENTRY_KEYS && bytes <= MAX_ENTRY_BYTES
    };
    following.iter().take_while(fits).count()
}

/// Returns the number of keys of a command, and about the bytes of it and of its reply; `None` if it is executed by itself.
fn size<R: Runtime>(
    clients: &Clients<R>,
    command: &Command,
    refuses: impl FnOnce(&WriteCommand) -> bool,
) -> Option<(usize, usize)> {
    let slots = clients.facts.slots;
    if command.may_be_divided() && command.is_apart(slots) {
        return None;
    }
    match command {
        Command::Write(command) => {
            command.first_key()?;
            (!refuses(command)).then(|| (command.keys().max(1), command.weight()))
        }
        Command::Read(command) if command.keys() <= MAX_SHORT_KEYS => {
            let view = clients.group(slots.group_of_key(command.first_key()?)).view();
            let reply = view.with(|content| reply_bytes(content, command));
            (reply <= MAX_REPLY_BYTES).then(|| (command.keys().max(1), command.bytes() + reply))
        }
        _ => None,
    }
}

/// Returns about the bytes of the reply to a read, or more if it takes long.
fn reply_bytes(content: &Content, command: &ReadCommand) -> usize {
    let length = |key: &Bytes| content.string_if_any(key).map_or(0, Bytes::len);
    match command {
        ReadCommand::Get(key) => length(key),
        ReadCommand::Mget(keys) => keys.iter().map(length).sum(),
        ReadCommand::String(_) => content.cost(command) + command.first_key().map_or(0, length),
        ReadCommand::Hash(HashRead { key, what }) => match what {
            FieldsRead::Get(field) => {
                let hash = content.hash(key).ok().flatten();
                hash.and_then(|hash| hash.fields.get(field)).map_or(0, Bytes::len)
            }
            FieldsRead::Exists(_) | FieldsRead::ValueLength(_) | FieldsRead::Length => 0,
            _ => usize::MAX,
        },
        command => content.cost(command),
    }
}

/// Returns true if the reply to a read is too long, as far as this node knows, for one that is kept with others.
fn is_long<R: Runtime>(executor: &Executor<R>, command: &ReadCommand) -> bool {
    executor.view().with(|content| reply_bytes(content, command)) > MAX_REPLY_BYTES
}

/// Returns true if a write may make a value much longer than the write is.
fn lengthens(command: &WriteCommand) -> bool {
    matches!(
        command,
        WriteCommand::String(StringWrite::SetPart { .. } | StringWrite::SetBit { .. }) | WriteCommand::Key(_)
    )
}

/// Returns the number of commands in one log entry: up to the last write, because reads at the end need no entry, or up
/// to a read whose reply is long, or may be after the writes before it.
fn entry_length<R: Runtime>(executor: &Executor<R>, rest: &[WriteCommand]) -> usize {
    // Earlier releases execute every command of an entry.
    let takes_reads = executor.can_stop_early();
    let (mut length, mut is_longer) = (0, false);
    for (place, command) in rest.iter().enumerate() {
        match command {
            WriteCommand::Read(command) => {
                let has_value = matches!(
                    command,
                    ReadCommand::Get(_)
                        | ReadCommand::Mget(_)
                        | ReadCommand::Hash(_)
                        | ReadCommand::String(StringRead::Part { .. })
                );
                if !takes_reads || (is_longer && has_value) || is_long(executor, command) {
                    break;
                }
            }
            command => {
                is_longer |= lengthens(command);
                length = place + 1;
            }
        }
    }
    length
}

/// Executes commands in a group, in order, and returns the reply to each, or to fewer if there is no room for more.
async fn execute_part<R: Runtime>(executor: &Executor<R>, commands: &[WriteCommand], room: &Room) -> Vec<Reply> {
    let (mut replies, mut portion) = (Vec::with_capacity(commands.len()), Portion::default());
    while let Some(rest) = commands.get(replies.len()..).filter(|rest| !rest.is_empty()) {
        let reads = rest.iter().map_while(|command| match command {
            WriteCommand::Read(command) => Some(command.clone()),
            _ => None,
        });
        let reads: Vec<_> = reads.collect();
        if room.is_full() {
            break;
        }
        if !reads.is_empty() {
            let more = read_all(executor, &reads, room).await;
            let is_short = more.len() < reads.len();
            replies.extend(more);
            if is_short {
                break;
            }
            continue;
        }
        let part = portion.of(&rest[..entry_length(executor, rest)]);
        let error = match executor.commit_entry(&[], false, part).await {
            Ok(Outcome::Replies(more)) if !more.is_empty() => {
                portion.note(&part[..more.len()]);
                more.iter().for_each(|reply| room.take(reply));
                replies.extend(more);
                continue;
            }
            Ok(_) => UNCERTAIN.to_owned(),
            Err(error) => error,
        };
        let of_reads = if error.starts_with("UNCERTAIN") { NOT_READ } else { &error };
        // The reads at the end need no entry, and may be executed.
        let failed = rest.iter().rposition(|command| !is_read(command)).map_or(0, |last| last + 1);
        replies.extend(rest[..failed].iter().map(|command| {
            let error = if is_read(command) { of_reads } else { &error };
            Reply::Error(error.into())
        }));
    }
    replies
}

/// Executes reads in a group, as of one state, and returns the reply to each, or to fewer if there is no room for more.
async fn read_all<R: Runtime>(executor: &Executor<R>, reads: &[ReadCommand], room: &Room) -> Vec<Reply> {
    let error = match executor.permit(reads).await {
        Ok(permit) => {
            let (state, now) = (executor.view().snapshot(), || executor.view().wall_clock().now());
            let mut replies = Vec::with_capacity(reads.len());
            for command in reads {
                if room.is_full() || reply_bytes(state.content(), command) > MAX_REPLY_BYTES {
                    break;
                }
                let reply = state.content().read(command, now);
                room.take(&reply);
                replies.push(reply);
                if replies.len().is_multiple_of(SLICE_READS) {
                    yield_now().await;
                }
            }
            executor.count(permit, replies.len());
            return replies;
        }
        Err(NotReadable::Lagging) => match executor.read_at_leader(reads).await {
            Ok(replies) => {
                replies.iter().for_each(|reply| room.take(reply));
                return replies;
            }
            Err(error) => error,
        },
        Err(NotReadable::Failed(error)) => error,
    };
    vec![Reply::Error(error); reads.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::LocalCommand;

    #[test]
    fn commands_are_gathered_up_to_the_room_of_an_entry_and_up_to_one_that_is_executed_by_itself() {
        let get = || Action::Execute(Command::Read(ReadCommand::Get(Bytes::from_static(b"k"))));
        let ping = || Action::Execute(Command::Local(LocalCommand::Ping(None)));
        let size = |bytes| move |command: &Command| matches!(command, Command::Read(_)).then_some((1, bytes));
        let gathered = |actions: Vec<Action>, bytes| gather(&actions, (1, bytes), size(bytes));
        assert_eq!(gathered(vec![get(), get(), ping(), get()], 1), 2);
        assert_eq!(gathered(vec![get(), Action::Queued, get()], 1), 1);
        assert_eq!(gathered((0..10).map(|_| get()).collect(), MAX_ENTRY_BYTES / 3), 2);
        assert_eq!(gathered((0..MAX_ENTRY_KEYS + 1).map(|_| get()).collect(), 1), MAX_ENTRY_KEYS - 1);
    }
}
