//! Backups: the whole state, streamed to a client while the node serves others.

use super::session::Session;
use crate::backup::{Header, chunk_head, end, header};
use crate::keyspace::ReadCommand;
use crate::timeout::within;
use leasehold_node::chunk;
use leasehold_node::ports::Cursor;
use leasehold_runtime::Runtime;
use std::io;
use std::sync::Arc;

/// The most backups that a node streams at once: each keeps old values in memory.
const MAX_BACKUPS: usize = 2;
/// The largest chunk with more than one record. The session yields after each.
const CHUNK_BYTES: usize = 256 << 10;

/// The reply of a node with several groups: there is no moment at which a backup could be taken of all of them.
const NO_BACKUP: &str = "ERR a cluster of several groups cannot be backed up yet; export its keys with SCAN";

impl<R: Runtime> Session<'_, R> {
    /// Executes `LEASEHOLD.BACKUP`: replies with bulk strings, which together are the backup, and an empty one.
    pub(super) async fn back_up(&mut self) -> io::Result<()> {
        let place = self.clients.backups.clone();
        if Arc::strong_count(&place) > MAX_BACKUPS + 1 {
            self.out.error("BUSY this node is streaming other backups; try again later, or another node");
            return Ok(());
        }
        if !self.clients.facts.slots.is_single() {
            self.out.error(NO_BACKUP);
            return Ok(());
        }
        if !self.may_read(&ReadCommand::Size).await {
            return Ok(());
        }
        // Read before the state, which then has every write up to this index.
        let index = self.clients.executor.handle().gate().applied();
        let state = self.executor().view().snapshot();
        let cluster = self.clients.facts.cluster.clone();
        tracing::info!(index, keys = state.content().len(), "streaming a backup");
        self.send_bulk(&[&header(&Header { index, cluster, has_kinds: state.has_kinds() })]).await?;
        let (mut cursor, mut chunks, mut records) = (Cursor::default(), 0, 0);
        loop {
            let chunk = chunk::read(&state, cursor, CHUNK_BYTES);
            if chunk.count > 0 {
                self.send_bulk(&[&chunk_head(chunks, &chunk.records), &chunk.records]).await?;
                (chunks, records) = (chunks + 1, records + chunk.count);
            }
            // A backup takes long, and its user may be removed meanwhile.
            if !self.rights.renew(self.clients) || !self.rights.see_details() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "its user may take no backups any more"));
            }
            cursor = chunk.cursor;
            if chunk.is_last {
                break;
            }
            self.pause().await;
        }
        drop((state, place));
        self.send_bulk(&[&end(chunks, records)]).await?;
        self.send_bulk(&[]).await
    }

    async fn send_bulk(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.out.is_muted() {
            return Ok(());
        }
        let mut bulk = format!("${}\r\n", parts.iter().map(|part| part.len()).sum::<usize>()).into_bytes();
        parts.iter().for_each(|part| bulk.extend_from_slice(part));
        bulk.extend_from_slice(b"\r\n");
        self.flush().await?;
        let limit = self.clients.limits.client_timeout;
        let written = within(self.clients.runtime(), limit, self.wire.write_all(&bulk));
        written.await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}
