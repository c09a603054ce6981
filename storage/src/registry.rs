//! The file in which a folder keeps its registry. It is replaced as a whole, so a crash leaves the old one or the new
//! one.

use crate::database::sync_folder;
use crate::error::Fault;
use crate::tables::FORMAT;
use leasehold_core::NodeId;
use leasehold_node::identity::{MAX_BOOTS, Registry};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// In the data folder.
pub(crate) const REGISTRY_FILE: &str = "registry";
const UNFINISHED_FILE: &str = "registry.new";

/// The registry file of an open folder. It writes nothing once the [`Storage`](crate::Storage) is dropped: another
/// process may use the folder then.
#[derive(Clone, Debug)]
pub struct RegistryFile {
    /// The data folder, while it is locked.
    folder: Arc<Mutex<Option<PathBuf>>>,
}

impl RegistryFile {
    pub(crate) fn new(folder: PathBuf) -> RegistryFile {
        RegistryFile { folder: Arc::new(Mutex::new(Some(folder))) }
    }

    /// Makes a registry durable in place of the last one. It blocks.
    ///
    /// # Errors
    /// If it is not certain to be durable, or the folder is closed.
    pub fn keep(&self, registry: &Registry) -> io::Result<()> {
        let folder = self.folder.lock();
        let folder = folder.as_deref().ok_or_else(|| io::Error::other("the data folder is closed"))?;
        write(folder, registry)
    }

    /// Waits for a write in progress, and prevents further ones.
    pub(crate) fn close(&self) {
        self.folder.lock().take();
    }
}

/// Writes the registry under another name, and renames it once it is durable.
pub(crate) fn write(folder: &Path, registry: &Registry) -> io::Result<()> {
    let unfinished = folder.join(UNFINISHED_FILE);
    let mut file = File::create(&unfinished)?;
    file.write_all(&encode(registry))?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(REGISTRY_FILE))?;
    sync_folder(folder)
}

/// Reads the registry of the node and folder that the identity file names.
pub(crate) fn read(folder: &Path, node: NodeId, incarnation: u64) -> Result<Registry, Fault> {
    let bytes = fs::read(folder.join(REGISTRY_FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Damaged(format!("the file {REGISTRY_FILE} is missing")),
        _ => error.into(),
    })?;
    let damaged = || Fault::Damaged(format!("the file {REGISTRY_FILE} is not what was written"));
    let registry = decode(&bytes, node).ok_or_else(damaged)?;
    if registry.incarnation != incarnation {
        return Err(Fault::Damaged(format!("the file {REGISTRY_FILE} is of another folder")));
    }
    Ok(registry)
}

/// Encodes a registry. As in every format, the version comes first and the checksum last.
fn encode(registry: &Registry) -> Vec<u8> {
    let mut bytes = FORMAT.to_le_bytes().to_vec();
    bytes.extend_from_slice(&wincode::serialize(registry).expect("a registry encodes"));
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], node: NodeId) -> Option<Registry> {
    let (rest, checksum) = bytes.split_last_chunk()?;
    if u64::from_le_bytes(*checksum) != xxh3_64(rest) {
        return None;
    }
    // The identity file was read before, and has the same format.
    let (format, rest) = rest.split_first_chunk()?;
    let registry: Registry = wincode::deserialize_exact(rest).ok()?;
    (u32::from_le_bytes(*format) == FORMAT && registry.node == node && registry.boots.len() <= MAX_BOOTS)
        .then_some(registry)
}
