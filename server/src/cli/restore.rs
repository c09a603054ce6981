//! `leasehold restore`.

use super::exit::{BAD_FLAGS, FAILED, fail};
use super::serve::{BadFlags, check_cluster, parse_peers};
use crate::backup::{BackupError, BackupReader};
use crate::keyspace::newest_index;
use clap::Args;
use leasehold_core::{Index, NodeId};
use leasehold_node::ports::{Applied, Batch, Disk as _, InvalidRecord, Stage};
use leasehold_raft::wire::{HardState, Membership};
use leasehold_storage::{Identity, OpenError, Storage, UnfinishedStorage};
use std::fs::File;
use std::io::{self, BufReader, Read};
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
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot write the folder {}: {source}; give a folder on a writable disk with enough space", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
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
    let RestoreArguments { from, id, data_dir, cluster, .. } = arguments;
    let from: Box<dyn Read> = if from == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&from).map_err(BackupError::Io)?)
    };
    let mut backup = BackupReader::new(BufReader::with_capacity(1 << 20, from))?;
    let failed = |source| Failure::Write { path: data_dir.clone(), source };
    let identity = Identity { cluster: cluster.clone(), node: id, founders: voters.iter().copied().collect() };
    let mut unfinished = UnfinishedStorage::begin(&data_dir, identity)?;
    let commit = |storage: &mut Storage, batch| storage.commit(&[batch]).map_err(failed);
    let mut index = backup.header().index.max(MIN_INDEX);
    while let Some(records) = backup.next_chunk()? {
        // The state may have later changes than those that the header promises. The log continues after all of them, so
        // that no entry has an index that a record names already.
        for record in &records {
            index = index.max(newest_index(record)?);
        }
        commit(unfinished.storage(), Batch { group: 0, stage: Some(Stage::Add(records)), ..Batch::default() })?;
    }
    let applied = Applied { index, term: TERM, membership: Membership { voters, ..Membership::default() } };
    let founded = Batch {
        group: 0,
        hard_state: Some(HardState { term: TERM, vote: 0, commit: index }),
        reset_log: true,
        stage: Some(Stage::Install),
        applied: Some(applied),
        ..Batch::default()
    };
    commit(unfinished.storage(), founded)?;
    unfinished.finish().map_err(failed)?;
    Ok(format!(
        "{} records of cluster {:?}, with every write through index {}, are in {}, for node {id} of the new cluster \
         {cluster:?}; restore the same backup on every node of it before you start the first, and start each with \
         --cluster {cluster:?}",
        backup.records(),
        backup.header().cluster,
        backup.header().index,
        data_dir.display()
    ))
}
