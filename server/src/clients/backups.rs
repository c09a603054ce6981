//! Backups: the whole state, streamed to a client while the node serves others.

use super::session::Session;
use crate::backup::{Header, chunk_head, end, groups_header, header};
use crate::keyspace::Snapshot;
use crate::timeout::within;
use leasehold_core::Index;
use leasehold_node::chunk;
use leasehold_node::ports::Cursor;
use leasehold_runtime::Runtime;
use std::io;
use std::sync::Arc;

/// The most backups that a node streams at once: each keeps old values in memory.
const MAX_BACKUPS: usize = 2;
/// The largest chunk with more than one record. The session yields after each.
const CHUNK_BYTES: usize = 256 << 10;

impl<R: Runtime> Session<'_, R> {
    /// Executes `LEASEHOLD.BACKUP`: replies with bulk strings, which together are the backup, and an empty one.
    pub(super) async fn back_up(&mut self) -> io::Result<()> {
        let place = self.clients.backups.clone();
        if Arc::strong_count(&place) > MAX_BACKUPS + 1 {
            self.out.error("BUSY this node is streaming other backups; try again later, or another node");
            return Ok(());
        }
        let slots = self.clients.facts.slots;
        if !self.may_read_in(slots.groups()).await? {
            return Ok(());
        }
        // All at the same time, as far as this node knows, so that the parts differ by moments only.
        let states = self.clients.executors.iter().map(|executor| {
            // Read before the state, which then has every write up to this index.
            let index = executor.handle().gate().applied();
            (index, executor.view().snapshot())
        });
        let states: Vec<_> = states.collect();
        let keys: usize = states.iter().map(|(_, state)| state.content().len()).sum();
        tracing::info!(groups = states.len(), keys, "streaming a backup");
        if !slots.is_single() {
            self.send_bulk(&[&groups_header(slots.number())]).await?;
        }
        for (index, state) in states {
            self.send_group(index, state).await?;
        }
        drop(place);
        self.send_bulk(&[]).await
    }

    /// Sends the part of a group. Its state keeps old values in memory until then.
    async fn send_group(&mut self, index: Index, state: Snapshot) -> io::Result<()> {
        let cluster = self.clients.facts.cluster.clone();
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
            self.pause().await;
            if chunk.is_last {
                break;
            }
        }
        drop(state);
        self.send_bulk(&[&end(chunks, records)]).await
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
