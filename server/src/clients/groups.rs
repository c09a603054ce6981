//! Commands that concern several groups. Each group executes its part, which is linearizable by itself; the parts together
//! are not. If a part fails, the whole command does.

use super::pause::{MAX_TURN, yield_now};
use super::runs::MAX_SHORT_KEYS;
use super::session::Session;
use super::transaction::Action;
use crate::command::Command;
use crate::counters::Failure;
use crate::executor::{Executor, UNCERTAIN};
use crate::keyspace::{KeyRead, Outcome, ReadCommand, Reply, Scan, TypeFilter, WriteCommand};
use crate::slots::{Place, SlotTable};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::slice::from_ref;
use std::vec::Drain;

/// The keys that are looked up between two pauses.
const SLICE_KEYS: usize = 256;
/// The groups that one call of a scan looks at: a small one ends at once, and an empty reply takes the client a round trip.
const MAX_SCANNED_GROUPS: usize = 16;

/// The part of some items, such as keys, that is in one group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<T> {
    pub(super) items: Vec<T>,
    /// The place of each among all items.
    pub(super) places: Vec<usize>,
}

impl<T> Default for Part<T> {
    fn default() -> Part<T> {
        Part { items: Vec::new(), places: Vec::new() }
    }
}

impl<T> Part<T> {
    pub(super) fn push(&mut self, place: usize, item: T) {
        self.items.push(item);
        self.places.push(place);
    }
}

/// Divides keys among their groups.
fn divide(slots: SlotTable, keys: Vec<Bytes>) -> BTreeMap<u16, Part<Bytes>> {
    let mut parts: BTreeMap<u16, Part<Bytes>> = BTreeMap::new();
    for (place, key) in keys.into_iter().enumerate() {
        parts.entry(slots.group_of_key(&key)).or_default().push(place, key);
    }
    parts
}

/// Returns the number of the low bits of a group's cursor that the cursor of a client does not have: the group takes their
/// place, because some clients keep a cursor as a floating-point number.
fn cut_bits(slots: SlotTable) -> u32 {
    u32::from(slots.groups().end).next_power_of_two().ilog2()
}

/// Returns the cursor of a client for a cursor in a group, which has 53 bits. It goes on there, or a little before.
fn cursor_at(slots: SlotTable, group: u16, cursor: u64) -> u64 {
    let groups = slots.groups();
    if group >= groups.end { 0 } else { (cursor >> cut_bits(slots)) * u64::from(groups.end) + u64::from(group) }
}

/// Returns the group and the cursor in it for which a cursor stands.
fn parse_cursor(slots: SlotTable, cursor: u64) -> (u16, u64) {
    let groups = u64::from(slots.groups().end);
    // The remainder is below the number of groups.
    ((cursor % groups) as u16, (cursor / groups).saturating_mul(1 << cut_bits(slots)))
}

/// Returns the error of a command that failed in a group.
fn in_group(group: u16, error: &str) -> String {
    format!("{error} (group {group})")
}

impl Command {
    /// Returns true if the command may name keys of several groups: each group executes its part.
    pub(super) fn may_be_divided(&self) -> bool {
        matches!(
            self,
            Command::Read(ReadCommand::Mget(_) | ReadCommand::Exists(_)) | Command::Write(WriteCommand::Delete(_))
        )
    }

    /// Returns true if the keys are in several groups.
    pub(super) fn is_apart(&self, slots: SlotTable) -> bool {
        let keys = match self {
            Command::Read(ReadCommand::Mget(keys) | ReadCommand::Exists(keys)) => keys,
            Command::Write(WriteCommand::Delete(keys)) => keys,
            _ => return false,
        };
        slots.place_of(keys.iter().map(|key| &key[..])) == Place::Apart
    }

    /// Returns true if the command is about all keys, so that every group executes a part.
    pub(super) fn concerns_all_groups(&self) -> bool {
        match self {
            Command::Read(command) => command.first_key().is_none(),
            Command::Write(command) => command.first_key().is_none(),
            _ => false,
        }
    }
}

impl<R: Runtime> Session<'_, R> {
    /// Executes a command that concerns several groups, or several commands at once. Any other command is returned, and is
    /// to be executed in the group of its keys, which is then that of this session.
    pub(super) async fn execute_in_groups(
        &mut self,
        command: Command,
        batch: &mut Drain<'_, Action>,
    ) -> io::Result<Option<Command>> {
        let slots = self.clients.facts.slots;
        let is_apart = command.is_apart(slots);
        self.group = 0;
        match command {
            Command::Read(ReadCommand::Mget(keys)) if is_apart => self.get_apart(keys).await?,
            Command::Read(ReadCommand::Exists(keys)) if is_apart => self.count_apart(keys).await?,
            Command::Read(ReadCommand::Size) => self.count_all().await?,
            Command::Read(ReadCommand::Key(KeyRead::Random(draw))) => self.choose_key(draw).await?,
            Command::Read(ReadCommand::Key(KeyRead::Scan { scan, only })) => self.scan_all(scan, only).await?,
            Command::Write(command @ WriteCommand::Clear) => {
                let parts = slots.groups().map(|group| (group, command.clone())).collect();
                self.write_apart(parts).await?;
            }
            Command::Write(WriteCommand::Delete(keys)) if is_apart => {
                let parts = divide(slots, keys).into_iter();
                self.write_apart(parts.map(|(group, part)| (group, WriteCommand::Delete(part.items))).collect())
                    .await?;
            }
            command => {
                // The reply to the next command alone may have to be dropped.
                let command = match self.out.skips() {
                    true => command,
                    false => match self.execute_group_run(command, batch).await? {
                        Some(command) => command,
                        None => return Ok(None),
                    },
                };
                let key = match &command {
                    Command::Read(command) => command.first_key(),
                    Command::Write(command) => command.first_key(),
                    Command::Watch(keys) => keys.first(),
                    _ => None,
                };
                self.group = key.map_or(0, |key| slots.group_of_key(key));
                return Ok(Some(command));
            }
        }
        Ok(None)
    }

    /// Waits until the views of these groups may answer one read each. Returns `false`, and has replied, if one may not.
    pub(super) async fn may_read_in(&mut self, groups: Range<u16>) -> io::Result<bool> {
        let clients = self.clients;
        let permits = groups.map(|group| async move {
            let executor = clients.group(group);
            match executor.permit(&[ReadCommand::Size]).await {
                Ok(permit) => {
                    executor.count(permit, 1);
                    Ok(())
                }
                Err(error) => {
                    let error = error.into_reply(clients.facts.redirects);
                    Err(if clients.facts.slots.is_single() { error } else { in_group(group, &error) })
                }
            }
        });
        let permitted = self.flush_during(try_join_all(permits)).await?;
        Ok(permitted.inspect_err(|error| self.out.error(error)).is_ok())
    }

    /// Executes `MGET` of keys in several groups.
    async fn get_apart(&mut self, keys: Vec<Bytes>) -> io::Result<()> {
        let mut values = vec![None; keys.len()];
        let parts = divide(self.clients.facts.slots, keys);
        match self.read_parts(&parts, ReadCommand::Mget).await? {
            Ok(replies) => {
                for (part, replies) in parts.values().zip(replies) {
                    let found = replies.into_iter().flat_map(|reply| match reply {
                        Reply::Values(found) => found,
                        _ => Vec::new(),
                    });
                    part.places.iter().zip(found).for_each(|(place, value)| values[*place] = value);
                }
                self.reply(Reply::Values(values)).await?;
            }
            Err(error) => self.out.error(&error),
        }
        Ok(())
    }

    /// Executes `EXISTS` of keys in several groups.
    async fn count_apart(&mut self, keys: Vec<Bytes>) -> io::Result<()> {
        let parts = divide(self.clients.facts.slots, keys);
        match self.read_parts(&parts, ReadCommand::Exists).await? {
            Ok(replies) => self.out.integer(replies.iter().flatten().map(number).sum()),
            Err(error) => self.out.error(&error),
        }
        Ok(())
    }

    /// Has each group read its keys. Returns the replies of each, several if it has many keys.
    async fn read_parts(
        &mut self,
        parts: &BTreeMap<u16, Part<Bytes>>,
        command: fn(Vec<Bytes>) -> ReadCommand,
    ) -> io::Result<Result<Vec<Vec<Reply>>, String>> {
        let clients = self.clients;
        self.work += parts.values().map(|part| part.items.len()).sum::<usize>();
        let reads = parts.iter().map(|(group, part)| async move {
            let read = read_slices(clients.group(*group), &part.items, command, clients.facts.redirects).await;
            read.map_err(|error| in_group(*group, &error))
        });
        self.flush_during(try_join_all(reads)).await
    }

    /// Executes `DBSIZE`. Clients of Redis Cluster add up what all masters reply, so a node that redirects them counts the
    /// keys of the groups that it leads.
    async fn count_all(&mut self) -> io::Result<()> {
        let clients = self.clients;
        let leads = |group: &u16| clients.group(*group).handle().status().role == Role::Leader;
        let groups = clients.facts.slots.groups().filter(|group| !clients.facts.redirects || leads(group));
        match self.read_all(groups, &ReadCommand::Size).await? {
            Ok(replies) => self.out.integer(replies.iter().map(number).sum()),
            Err(error) => self.out.error(&error),
        }
        Ok(())
    }

    /// Executes `RANDOMKEY`: every group chooses a key, and one of them is chosen by the numbers of keys.
    async fn choose_key(&mut self, draw: u64) -> io::Result<()> {
        let (clients, groups) = (self.clients, self.clients.facts.slots.groups());
        let replies = self.read_all(groups.clone(), &ReadCommand::Key(KeyRead::Random(draw))).await?;
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => {
                self.out.error(&error);
                return Ok(());
            }
        };
        let chosen = groups.zip(replies).filter(|(_, reply)| *reply != Reply::Value(None));
        // A group may just have lost the last key that this node knows of.
        let chosen: Vec<_> = chosen.map(|(group, reply)| (clients.group(group).view().len().max(1), reply)).collect();
        let total: usize = chosen.iter().map(|(keys, _)| keys).sum();
        let mut left = if total > 0 { draw % total as u64 } else { 0 };
        let reply = chosen.into_iter().find_map(|(keys, reply)| match left.checked_sub(keys as u64) {
            None => Some(reply),
            Some(less) => {
                left = less;
                None
            }
        });
        self.reply(reply.unwrap_or(Reply::Value(None))).await
    }

    /// Has each of these groups execute a read.
    async fn read_all(
        &mut self,
        groups: impl Iterator<Item = u16>,
        command: &ReadCommand,
    ) -> io::Result<Result<Vec<Reply>, String>> {
        let clients = self.clients;
        let reads = groups.map(|group| async move {
            let read = clients.group(group).read_alone(command).await.and_then(without_error);
            read.map_err(|error| in_group(group, &error))
        });
        let reads: Vec<_> = reads.collect();
        self.work += reads.len();
        self.flush_during(try_join_all(reads)).await
    }

    /// Executes `SCAN`, which goes through one group after the other.
    async fn scan_all(&mut self, mut scan: Scan, only: Option<TypeFilter>) -> io::Result<()> {
        let (clients, slots) = (self.clients, self.clients.facts.slots);
        let (mut group, cursor) = parse_cursor(slots, scan.cursor);
        scan.cursor = cursor;
        let count = scan.count;
        let (wanted, mut found) = (usize::try_from(scan.count).unwrap_or(usize::MAX), Vec::new());
        let (cut, mut returned_to) = (cut_bits(slots), None);
        let mut scanned = 0;
        loop {
            let command = ReadCommand::Key(KeyRead::Scan { scan: scan.clone(), only });
            match self.flush_during(clients.group(group).read_alone(&command)).await? {
                Ok(Reply::Scanned { cursor, found: more }) => {
                    found.extend(more);
                    scan.cursor = cursor;
                }
                Ok(reply) => return self.reply(reply).await,
                Err(error) => {
                    self.out.error(&in_group(group, &error));
                    return Ok(());
                }
            }
            self.work += if scan.pattern.is_some() { MAX_TURN } else { 1 };
            self.pause_if_due().await;
            if scan.cursor == 0 {
                (group, scan.count, returned_to) = (group + 1, count, None);
                scanned += 1;
                if group == slots.groups().end || found.len() >= wanted || scanned == MAX_SCANNED_GROUPS {
                    break;
                }
                continue;
            }
            let bits = scan.cursor >> cut;
            if scan.cursor == bits << cut || returned_to.is_some_and(|before| before < bits) {
                break;
            }
            // Keys before the cursor may differ from it in the bits that are cut only, and would be returned again.
            (scan.count, returned_to) = (1, Some(bits));
        }
        self.reply(Reply::Scanned { cursor: cursor_at(slots, group, scan.cursor), found }).await
    }

    /// Has each of these groups execute a write, and replies with the sum of what they reply.
    async fn write_apart(&mut self, parts: Vec<(u16, WriteCommand)>) -> io::Result<()> {
        let clients = self.clients;
        if let Some(error) = parts.iter().find_map(|(_, command)| clients.refusal(command)) {
            let commands: Vec<_> = parts.into_iter().map(|(_, command)| command).collect();
            clients.executor.count_failed(Failure::NoRoom, &commands);
            self.out.error(error);
            return Ok(());
        }
        let writes = parts.iter().map(|(group, command)| async move {
            match clients.group(*group).commit_entry(&[], true, from_ref(command)).await {
                Ok(Outcome::Replies(replies)) if replies.len() == 1 => Ok(replies),
                Ok(_) => Err(in_group(*group, UNCERTAIN)),
                Err(error) => Err(in_group(*group, &error)),
            }
        });
        // Every part ends, also after another one has failed.
        let outcomes = self.wait_for_commit(join_all(writes)).await?;
        match combine(outcomes) {
            Ok(replies) if replies.iter().all(|reply| matches!(reply, Reply::Integer(_))) => {
                self.out.integer(replies.iter().map(number).sum());
            }
            Ok(replies) => {
                let failed = replies.into_iter().find(|reply| *reply != Reply::Ok);
                self.reply(failed.unwrap_or(Reply::Ok)).await?;
            }
            Err(error) => self.out.error(&error),
        }
        Ok(())
    }
}

/// Returns the replies of the parts of a write, or the reply to it if one has failed.
fn combine(outcomes: Vec<Result<Vec<Reply>, String>>) -> Result<Vec<Reply>, String> {
    let (all, mut replies, mut failed) = (outcomes.len(), Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(more) => replies.extend(more),
            Err(error) => failed.push(error),
        }
    }
    let Some(first) = failed.iter().find(|error| error.starts_with("UNCERTAIN")).or(failed.first()) else {
        return Ok(replies);
    };
    if failed.len() == all || first.starts_with("UNCERTAIN") {
        return Err(first.clone());
    }
    Err(format!(
        "UNCERTAIN the command was executed in {} of {all} groups, and failed in another: {first}; read before you repeat it",
        all - failed.len()
    ))
}

/// Returns the error of a part as that of the whole command: a node that lags may have to be asked again.
fn without_error(reply: Reply) -> Result<Reply, String> {
    if let Reply::Error(error) = reply { Err(error) } else { Ok(reply) }
}

fn number(reply: &Reply) -> i64 {
    if let Reply::Integer(number) = reply { *number } else { 0 }
}

/// Reads keys of a group as of one state.
async fn read_slices<R: Runtime>(
    executor: &Executor<R>,
    keys: &[Bytes],
    command: fn(Vec<Bytes>) -> ReadCommand,
    redirects: bool,
) -> Result<Vec<Reply>, String> {
    if keys.len() <= MAX_SHORT_KEYS {
        return Ok(vec![executor.read_alone(&command(keys.to_vec())).await.and_then(without_error)?]);
    }
    let permit = executor.permit(&[ReadCommand::of_keys(keys)]).await.map_err(|error| error.into_reply(redirects))?;
    executor.count(permit, 1);
    let (state, now) = (executor.view().snapshot(), || executor.view().wall_clock().now());
    let mut replies = Vec::new();
    for slice in keys.chunks(SLICE_KEYS) {
        replies.push(state.content().read(&command(slice.to_vec()), now));
        yield_now().await;
    }
    Ok(replies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::MAX_GROUPS;
    use std::num::NonZeroU16;

    fn table(groups: u16) -> SlotTable {
        SlotTable::new(NonZeroU16::new(groups).expect("not zero"))
    }

    #[test]
    fn every_cursor_of_every_group_has_one_of_its_own() {
        for groups in [2, 3, 16, MAX_GROUPS] {
            for group in [0, 1, groups - 1] {
                for cursor in [0, 1, 5 << 20, (1 << 53) - 1] {
                    let outer = cursor_at(table(groups), group, cursor);
                    assert!(outer < 1 << 53, "it fits into a floating-point number");
                    let cut = cut_bits(table(groups));
                    assert_eq!(parse_cursor(table(groups), outer), (group, cursor >> cut << cut));
                }
            }
            assert_eq!(cursor_at(table(groups), groups, 0), 0, "the end");
            assert_eq!(parse_cursor(table(groups), 0), (0, 0), "the start");
            // A client may send any number.
            let (group, _) = parse_cursor(table(groups), u64::MAX);
            assert!(group < groups);
        }
    }

    #[test]
    fn keys_are_divided_among_their_groups_and_keep_their_places() {
        let keys = ["foo", "bar", "{foo}2", "foo"].map(|key| Bytes::from_static(key.as_bytes()));
        // Slots 12,182 and 5,061.
        let parts = divide(table(2), keys.to_vec());
        let part = |places: &[usize]| Part {
            items: places.iter().map(|place| keys[*place].clone()).collect(),
            places: places.to_vec(),
        };
        assert_eq!(parts, BTreeMap::from([(0, part(&[1])), (1, part(&[0, 2, 3]))]));
    }

    #[test]
    fn a_part_whose_values_are_too_long_for_an_entry_fails_the_whole_command() {
        let too_long = Reply::Error("TRYAGAIN this node lags".to_owned());
        assert_eq!(without_error(too_long), Err("TRYAGAIN this node lags".to_owned()));
        let values = Reply::Values(vec![None]);
        assert_eq!(without_error(values.clone()), Ok(values));
    }

    #[test]
    fn a_write_that_failed_in_a_part_of_the_groups_is_uncertain() {
        let done = || Ok(vec![Reply::Integer(1)]);
        let failed = |error: &str| Err(error.to_owned());
        assert_eq!(combine(vec![done(), done()]), Ok(vec![Reply::Integer(1), Reply::Integer(1)]));
        let busy = "BUSY x (group 1)";
        assert_eq!(combine(vec![failed(busy), failed("TRYAGAIN y")]), failed(busy), "nothing was executed");
        assert_eq!(combine(vec![failed(busy), failed("UNCERTAIN z")]), failed("UNCERTAIN z"));
        let partly = combine(vec![done(), failed(busy), done()]).expect_err("it failed");
        let text = "UNCERTAIN the command was executed in 2 of 3 groups, and failed in another: BUSY x (group 1); read";
        assert!(partly.starts_with(text), "{partly}");
    }
}
