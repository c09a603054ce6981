//! `leasehold restore`.

use super::exit::{BAD_FLAGS, FAILED, fail};
use super::serve::{BadFlags, check_cluster, parse_peers};
use crate::backup::{BackupError, BackupReader};
use crate::keyspace::Placement;
use crate::slots::{SlotTable, parse_groups};
use clap::Args;
use leasehold_core::{Index, NodeId};
use leasehold_node::ports::{Applied, Batch, Disk as _, InvalidRecord, Record, Stage};
use leasehold_raft::wire::{HardState, Membership};
use leasehold_storage::{Identity, OpenError, Storage, StorageError, UnfinishedStorage};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The term of the position at which a restored cluster begins.
const TERM: u64 = 1;
/// The earliest index of that position. A cluster that is founded without a backup begins at index 1, so a node that was
/// not restored has a shorter log, and cannot win the votes of those that were.
const MIN_INDEX: Index = 2;

/// The arguments of `restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArguments {
    /// The backup, or - for the standard input.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The number of the node whose folder is written, one of those in --peers.
    #[arg(long)]
    id: NodeId,
    /// Every node of the new cluster, as for `serve`: 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT.
    #[arg(long)]
    peers: String,
    /// The folder to write. It must not exist, or be empty, or have what an interrupted `restore` left.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The name of the new cluster, the same on every node.
    #[arg(long, value_name = "NAME", default_value = "leasehold")]
    cluster: String,
    /// The number of groups among which the new cluster divides its keys, the same on every node; that of the backup if
    /// it is not given.
    #[arg(long, value_name = "N", value_parser = parse_groups)]
    groups: Option<NonZeroU16>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read {}: {source}; give a backup that this user may read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the folder {}: {source}; give a folder on a writable disk with enough space", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The advice of these errors is for a node that runs.
    #[error("{} was removed or replaced while it was written; restore again", path.display())]
    Gone { path: PathBuf },
    #[error("the new folder {} is damaged: {detail}; restore again, onto another disk", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error(transparent)]
    Storage(StorageError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(
        "the backup has a record of kind {}, which this release cannot read; restore with the release that wrote the backup, \
         or use another one",
        .0.kind
    )]
    Record(#[from] InvalidRecord),
}

/// Writes the data folder of one node of a new cluster from a backup.
pub(super) fn run(arguments: RestoreArguments) -> ExitCode {
    let peers = match parse_peers(&arguments.peers) {
        Ok(peers) if peers.contains_key(&arguments.id) => peers,
        Ok(_) => return fail(BAD_FLAGS, BadFlags::NotAPeer(arguments.id)),
        Err(bad) => return fail(BAD_FLAGS, bad),
    };
    if let Err(bad) = check_cluster(&arguments.cluster) {
        return fail(BAD_FLAGS, bad);
    }
    match restore(arguments, peers.into_keys().collect()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, error),
    }
}

fn restore(arguments: RestoreArguments, voters: Vec<NodeId>) -> Result<String, Failure> {
    let RestoreArguments { from, id, data_dir, cluster, groups, .. } = arguments;
    let from: Box<dyn Read> = if from == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&from).map_err(|source| Failure::Read { path: from, source })?)
    };
    let mut backup = BackupReader::new(BufReader::with_capacity(1 << 20, from))?;
    let slots = SlotTable::new(groups.unwrap_or(backup.groups()));
    let identity = Identity { cluster: cluster.clone(), node: id, founders: voters.iter().copied().collect() };
    let mut unfinished = UnfinishedStorage::begin(&data_dir, identity, slots.number())?;
    let mut placement = Placement::new(slots, backup.index().max(MIN_INDEX));
    while let Some(records) = backup.next_chunk()? {
        let mut parts: BTreeMap<u16, Vec<Record>> = BTreeMap::new();
        for record in records {
            if let Some((group, record)) = placement.place(record)? {
                parts.entry(group).or_default().push(record);
            }
        }
        commit(&data_dir, unfinished.storage(), parts.into_iter().map(|(group, records)| added(group, records)))?;
    }
    let times = placement.log_times().map(|(group, time)| added(group, vec![time]));
    commit(&data_dir, unfinished.storage(), times)?;
    let index = placement.index().max(backup.index());
    let membership = Membership { voters, ..Membership::default() };
    let founded = slots.groups().map(|group| Batch {
        group: group.into(),
        hard_state: Some(HardState { term: TERM, vote: 0, commit: index }),
        reset_log: true,
        stage: Some(Stage::Install),
        applied: Some(Applied { index, term: TERM, membership: membership.clone() }),
        ..Batch::default()
    });
    commit(&data_dir, unfinished.storage(), founded)?;
    unfinished.finish().map_err(|source| Failure::Write { path: data_dir.clone(), source })?;
    let divided = match slots.number().get() {
        1 => String::new(),
        groups => format!(" with {groups} groups"),
    };
    Ok(format!(
        "{backup}, are in {}, for node {id} of the new cluster {cluster:?}{divided}; restore the same backup on every node \
         of it, with the same --cluster and --groups, before you start the first, and start each with --cluster {cluster:?}",
        data_dir.display()
    ))
}

/// Returns the batch that adds records to a group.
fn added(group: u16, records: Vec<Record>) -> Batch {
    Batch { group: group.into(), stage: Some(Stage::Add(records)), ..Batch::default() }
}

fn commit(path: &Path, storage: &mut Storage, batches: impl Iterator<Item = Batch>) -> Result<(), Failure> {
    // What a node would have to do is not what to do here.
    storage.commit(&batches.collect::<Vec<_>>()).map_err(|error| match error.downcast() {
        Ok(StorageError::Io { source, .. }) | Err(source) => Failure::Write { path: path.to_owned(), source },
        Ok(StorageError::Gone { path }) => Failure::Gone { path },
        Ok(StorageError::Damaged { path, detail }) => Failure::Damaged { path, detail },
        Ok(other) => Failure::Storage(other),
    })
}
