//! A node's disk: durable state, the sync in progress, and the writes queued behind it.

use leasehold_core::NodeId;
use leasehold_node::identity::Registry;
use leasehold_node::ports::{Batch, Change, Disk as _, GroupId, Record, Recovered, Stage};
use leasehold_raft::wire::Payload;
use leasehold_storage::{Identity, Storage};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

/// The largest number of commits in one transaction.
const MAX_COMMITS: usize = 256;

/// A commit on its way to disk.
pub(super) struct Write {
    /// The batches that the commit makes durable.
    pub batches: Vec<Batch>,
    /// The number to report when it is durable.
    pub number: u64,
}

/// The largest number of transactions that a disk may lose.
pub(super) const MAX_EARLIER: usize = 24;

/// One disk. It outlives the processes that write to it.
pub(super) struct Disk {
    contents: Contents,
    /// An earlier state of the folder, copied while its node was down.
    copy: Option<Contents>,
    /// The folder's own contents, while others are in their place.
    own: Option<Contents>,
    folder: Option<Folder>,
    queue: VecDeque<Write>,
    /// The transaction being synced.
    syncing: Vec<Write>,
    /// Incremented by a crash, which cancels the sync in progress.
    pub epoch: u32,
    /// The extra time that a sync takes at present.
    pub slower_by: u64,
    /// Set if the next commit fails.
    pub fails: bool,
    /// The last transactions, if the disk may lose its end.
    last: Option<Last>,
    /// True while no sync finishes.
    pub hangs: bool,
    /// A sync would have finished while the disk hung.
    pub held_back: bool,
}

/// The last transactions of a disk, and what it held before them.
#[derive(Default)]
struct Last {
    before: Vec<Memory>,
    /// At most [`MAX_EARLIER`], the oldest first.
    transactions: VecDeque<Vec<Batch>>,
}

/// A data folder, accessed through the production storage code. Recovered data must match the copy in memory.
struct Folder {
    path: PathBuf,
    node: NodeId,
    open: Option<Storage>,
}

/// The contents of a folder.
#[derive(Clone)]
pub(super) struct Contents {
    /// By group. Those after the first [`groups`](Contents::groups) come and go.
    memory: Vec<Memory>,
    /// The number of groups that are always there.
    groups: usize,
    /// The folder's identity.
    pub registry: Registry,
}

impl Contents {
    /// Returns the contents of a new folder.
    pub(super) fn new(registry: Registry, groups: usize, most_groups: usize) -> Contents {
        Contents { memory: vec![Memory::default(); most_groups], groups, registry }
    }

    /// Returns true if the node may have been the only voter of a group, or may find that it was by applying its log.
    pub(super) fn may_be_sole_voter(&self) -> bool {
        self.memory[..self.groups].iter().any(|memory| {
            let Recovered { applied, entries, .. } = &memory.holds;
            let changes = entries.iter().any(|entry| matches!(entry.payload, Payload::Change(_)));
            changes || applied.membership.voters.len() < 2 || !applied.membership.voters_outgoing.is_empty()
        })
    }
}

/// The contents of [`Recovered`], with records in a map.
#[derive(Clone, Default)]
struct Memory {
    holds: Recovered,
    records: BTreeMap<bytes::Bytes, bytes::Bytes>,
    staged: BTreeMap<bytes::Bytes, bytes::Bytes>,
    /// The group was removed, for good.
    removed: bool,
}

impl Disk {
    /// Creates an empty disk in memory, and also in a data folder if a path is given.
    pub(super) fn new(
        registry: Registry,
        groups: usize,
        most_groups: usize,
        folder: Option<&Path>,
        may_lose_its_end: bool,
    ) -> Disk {
        let node = registry.node;
        Disk {
            contents: Contents::new(registry, groups, most_groups),
            copy: None,
            own: None,
            folder: folder.map(|path| Folder { path: path.to_path_buf(), node, open: None }),
            queue: VecDeque::new(),
            syncing: Vec::new(),
            epoch: 0,
            slower_by: 0,
            fails: false,
            last: may_lose_its_end.then(Last::default),
            hangs: false,
            held_back: false,
        }
    }

    /// Loses the last transactions, up to `count` of them, and knows it. The record of the longest hold stays: it is
    /// written once per process. Returns false if there was nothing to lose.
    pub(super) fn cut(&mut self, count: usize) -> bool {
        let Some(last) = &mut self.last else { return false };
        let Some(kept) = last.transactions.len().checked_sub(count) else { return false };
        let Last { before: mut memory, mut transactions } = std::mem::take(last);
        for transaction in transactions.drain(..kept) {
            write(&mut memory, transaction).expect("it was written before");
        }
        let before = std::mem::replace(&mut self.contents.memory, memory);
        for (memory, before) in self.contents.memory.iter_mut().zip(before) {
            (memory.holds.longest_hold, memory.holds.log_may_be_cut) = (before.holds.longest_hold, true);
        }
        true
    }

    /// Returns the durable state of a group, without its records.
    pub(super) fn durable(&self, group: usize) -> &Recovered {
        &self.contents.memory[group].holds
    }

    /// Returns the folder's identity.
    pub(super) fn registry(&self) -> &Registry {
        &self.contents.registry
    }

    /// Returns the folder's identity, to be replaced durably.
    pub(super) fn registry_mut(&mut self) -> &mut Registry {
        &mut self.contents.registry
    }

    /// Copies the folder, as it is while its node is down.
    pub(super) fn copy(&mut self) {
        if self.own.is_none() {
            self.copy = Some(self.contents.clone());
        }
    }

    /// Returns the copy.
    pub(super) fn older_copy(&self) -> Option<&Contents> {
        self.copy.as_ref()
    }

    /// Returns true if the folder's own contents are not in their place.
    pub(super) fn is_displaced(&self) -> bool {
        self.own.is_some()
    }

    /// Puts other contents in the place of the folder's own.
    pub(super) fn displace(&mut self, contents: Contents) {
        self.own = Some(std::mem::replace(&mut self.contents, contents));
    }

    /// Puts the folder's own contents back.
    pub(super) fn put_back(&mut self) {
        if let Some(own) = self.own.take() {
            self.contents = own;
        }
    }

    /// Returns the states that a process starting now recovers, by group.
    ///
    /// # Errors
    /// If a data folder holds something other than what was committed to it.
    pub(super) fn recover(&mut self) -> Result<Vec<Recovered>, String> {
        if let Some(Folder { path, node, open }) = &mut self.folder {
            let founders = [*node].into();
            let identity = Identity { cluster: "simulated".to_owned(), node: *node, founders };
            *open = Some(Storage::open(path, identity).map_err(|error| error.to_string())?);
        }
        // What was staged is dropped. Repeating the last transactions would bring it back.
        if self.has_staged()
            && let Some(last) = &mut self.last
        {
            *last = Last::default();
        }
        let mut all = Vec::new();
        for (group, memory) in self.contents.memory.iter_mut().enumerate() {
            memory.staged.clear();
            let expected = memory.recovered();
            if let Some(Folder { open: Some(storage), .. }) = &mut self.folder
                && !memory.removed
            {
                let recovered = storage.recover(group as GroupId).map_err(|error| error.to_string())?;
                if recovered != expected {
                    return Err(format!("the data folder holds {recovered:?}, but {expected:?} was committed"));
                }
            }
            all.push(expected);
        }
        all.truncate(self.contents.groups);
        Ok(all)
    }

    /// Returns the state of a group that comes and goes, if it is there.
    pub(super) fn recover_group(&self, group: usize) -> Option<Recovered> {
        self.has_group(group).then(|| self.contents.memory[group].recovered())
    }

    /// Returns true if anything of a group is durable.
    pub(super) fn has_group(&self, group: usize) -> bool {
        self.contents.memory[group].holds != Recovered::default()
    }

    /// Returns true if a group was removed, for good.
    pub(super) fn is_removed(&self, group: usize) -> bool {
        self.contents.memory[group].removed
    }

    /// Returns true if records are staged.
    pub(super) fn has_staged(&self) -> bool {
        self.contents.memory.iter().any(|memory| !memory.staged.is_empty())
    }

    /// Queues a write. Returns true if a sync has to be started.
    pub(super) fn take(&mut self, write: Write) -> bool {
        self.queue.push_back(write);
        self.syncing.is_empty()
    }

    /// Starts a transaction with all queued writes. Returns false if there are none.
    pub(super) fn begin(&mut self) -> bool {
        let count = self.queue.len().min(MAX_COMMITS);
        self.syncing.extend(self.queue.drain(..count));
        !self.syncing.is_empty()
    }

    /// Makes the transaction in progress durable.
    ///
    /// # Errors
    /// If the result violates the order in which a writer must write.
    pub(super) fn finish(&mut self) -> Result<u64, String> {
        let commits: Vec<Write> = std::mem::take(&mut self.syncing);
        let number = commits.last().map_or(0, |commit| commit.number);
        self.commit(commits.into_iter().flat_map(|commit| commit.batches).collect())?;
        Ok(number)
    }

    /// Makes everything queued durable.
    ///
    /// # Errors
    /// As [`finish`](Disk::finish).
    pub(super) fn finish_all(&mut self) -> Result<(), String> {
        while !self.syncing.is_empty() || self.begin() {
            self.finish()?;
        }
        Ok(())
    }

    /// Makes batches durable at once.
    ///
    /// # Errors
    /// If the result violates the order in which a writer must write.
    pub(super) fn commit(&mut self, batches: Vec<Batch>) -> Result<(), String> {
        if let Some(Folder { open: Some(storage), .. }) = &mut self.folder {
            storage.commit(&batches).map_err(|error| format!("the data folder refused a commit: {error}"))?;
        }
        let is_founded =
            self.contents.memory[..self.contents.groups].iter().all(|memory| memory.holds.applied.index > 0);
        if let Some(Last { before, transactions }) = self.last.as_mut().filter(|_| is_founded) {
            if transactions.is_empty() {
                before.clone_from(&self.contents.memory);
            }
            transactions.push_back(batches.clone());
            if transactions.len() > MAX_EARLIER {
                write(before, transactions.pop_front().unwrap_or_default())?;
            }
        }
        write(&mut self.contents.memory, batches)
    }

    /// Crashes the process. The sync in progress becomes durable entirely or not at all. Returns the number of lost
    /// writes, and, if a sync was in progress, whether it became durable without being reported.
    ///
    /// # Errors
    /// As [`finish`](Disk::finish).
    pub(super) fn crash(&mut self, survives: bool) -> Result<(usize, Option<bool>), String> {
        self.epoch += 1;
        (self.fails, self.hangs, self.held_back) = (false, false, false);
        let under_way = (!self.syncing.is_empty()).then_some(survives);
        let mut lost = self.queue.len();
        self.queue.clear();
        if survives {
            self.finish()?;
        } else {
            lost += self.syncing.len();
            self.syncing.clear();
        }
        if let Some(folder) = &mut self.folder {
            folder.open = None;
        }
        Ok((lost, under_way))
    }
}

/// Writes batches to the memory of their groups.
fn write(memory: &mut [Memory], batches: Vec<Batch>) -> Result<(), String> {
    batches.into_iter().try_for_each(|batch| memory[batch.group as usize].write(batch))
}

impl Memory {
    fn recovered(&self) -> Recovered {
        let record = |(key, value): (&bytes::Bytes, &bytes::Bytes)| Record { key: key.clone(), value: value.clone() };
        Recovered { records: self.records.iter().map(record).collect(), ..self.holds.clone() }
    }

    fn write(&mut self, batch: Batch) -> Result<(), String> {
        let Batch {
            group: _,
            hard_state,
            reset_log,
            entries,
            stage,
            changes,
            applied,
            compact_through,
            longest_hold,
            log_may_be_cut,
            orderly_stop,
            remove,
        } = batch;
        if remove {
            *self = Memory { removed: true, ..Memory::default() };
            return Ok(());
        }
        if self.removed {
            return Err("a group is written to that was removed".to_owned());
        }
        let holds = &mut self.holds;
        let has_entries = !entries.is_empty();
        if let Some(hard_state) = hard_state {
            holds.hard_state = hard_state;
        }
        if reset_log {
            let applied = applied.as_ref().ok_or("a log is reset without an applied state")?;
            holds.entries.clear();
            holds.compacted = (applied.index, applied.term);
        }
        if let Some(first) = entries.first().map(|entry| entry.index) {
            let keep = first.checked_sub(holds.compacted.0 + 1).filter(|keep| *keep <= holds.entries.len() as u64);
            let keep = keep.ok_or_else(|| format!("entry {first} does not follow the log"))?;
            holds.entries.truncate(keep as usize);
            holds.entries.extend(entries);
        }
        match stage {
            Some(Stage::Clear) => self.staged.clear(),
            Some(Stage::Add(records)) => {
                self.staged.extend(records.into_iter().map(|Record { key, value }| (key, value)));
            }
            Some(Stage::Install) => self.records = std::mem::take(&mut self.staged),
            None => {}
        }
        for change in changes {
            match change {
                Change::Put(Record { key, value }) => drop(self.records.insert(key, value)),
                Change::Delete(key) => drop(self.records.remove(&key)),
                Change::Clear => self.records.clear(),
            }
        }
        if let Some(applied) = applied {
            holds.applied = applied;
        }
        if let Some((index, term)) = compact_through
            && index > holds.compacted.0
        {
            if index > holds.applied.index {
                return Err(format!("compacted through {index}, but applied only through {}", holds.applied.index));
            }
            holds.entries.drain(..(index - holds.compacted.0) as usize);
            holds.compacted = (index, term);
        }
        if let Some(hold) = longest_hold {
            holds.longest_hold = hold;
        }
        if let Some(cut) = log_may_be_cut {
            holds.log_may_be_cut = cut;
        }
        if let Some(stop) = orderly_stop {
            holds.orderly_stop = stop;
        }
        if has_entries { self.check() } else { Ok(()) }
    }

    /// Checks that at most one configuration change is uncommitted. Otherwise a restarted node could campaign under a
    /// configuration that is two changes old: see docs/protocol.md.
    fn check(&self) -> Result<(), String> {
        let commit = self.holds.hard_state.commit;
        let beyond = self.holds.entries.iter().rev().take_while(|entry| entry.index > commit);
        let changes = beyond.filter(|entry| matches!(entry.payload, Payload::Change(_))).count();
        if changes > 1 {
            return Err(format!("{changes} configuration changes are durable beyond commit index {commit}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_node::ports::Applied;

    fn record(number: u64) -> Record {
        Record { key: number.to_string().into(), value: "value".into() }
    }

    fn put(number: u64) -> Batch {
        let applied = Some(Applied { index: number, ..Applied::default() });
        Batch { changes: vec![Change::Put(record(number))], applied, ..Batch::default() }
    }

    /// Returns a disk with transactions 1 to `count`, the first of which founds its only group.
    fn written(count: u64) -> Disk {
        let mut disk = Disk::new(Registry::new(1, 1, [1]), 1, 1, None, true);
        (1..=count).for_each(|number| disk.commit(vec![put(number)]).expect("valid"));
        disk
    }

    #[test]
    fn a_cut_loses_that_many_transactions_and_no_more() {
        let kept = 40;
        for lost in 1..=MAX_EARLIER {
            let mut disk = written(kept + lost as u64);
            assert!(disk.cut(lost), "{lost}");
            let recovered = &disk.recover().expect("a disk in memory")[0];
            assert_eq!((recovered.applied.index, recovered.records.len() as u64), (kept, kept), "{lost} lost");
            assert!(recovered.log_may_be_cut);
        }
        let mut disk = written(kept);
        assert!(!disk.cut(MAX_EARLIER + 1));
        assert_eq!(disk.recover().expect("a disk in memory")[0].applied.index, kept);
    }

    #[test]
    fn a_cut_does_not_bring_back_what_a_restart_dropped() {
        let stage = |stage| Batch { stage: Some(stage), ..Batch::default() };
        let mut disk = written(1);
        disk.commit(vec![stage(Stage::Add(vec![record(7)]))]).expect("valid");
        disk.recover().expect("a disk in memory");
        for batch in [stage(Stage::Add(vec![record(8)])), stage(Stage::Install), put(9)] {
            disk.commit(vec![batch]).expect("valid");
        }
        assert!(disk.cut(1));
        assert_eq!(disk.recover().expect("a disk in memory")[0].records, [record(8)]);
    }
}
