//! Reads that take too long for the lock under which short ones are executed, or to be in a log entry.

use super::session::Session;
use super::wire::hold;
use crate::keyspace::{FieldsRead, Hash, HashRead, ReadCommand, Reply, Weigh as _};
use bytes::Bytes;
use leasehold_runtime::Runtime;
use std::io;
use std::slice::from_ref;

/// The fields that are copied between two pauses.
const SLICE_FIELDS: usize = 1024;

/// The keys or fields that are looked up between two pauses.
const SLICE_KEYS: usize = 256;

impl<R: Runtime> Session<'_, R> {
    /// Executes `MGET` of many keys on a snapshot, in slices.
    pub(super) async fn get_in_slices(&mut self, keys: Vec<Bytes>) -> io::Result<()> {
        if !self.may_read(&ReadCommand::of_keys(&keys)).await {
            return Ok(());
        }
        let state = self.executor().view().snapshot();
        let mut values = Vec::with_capacity(keys.len());
        for slice in keys.chunks(SLICE_KEYS) {
            values.extend(slice.iter().map(|key| state.content().string_if_any(key).cloned()));
            self.pause().await;
        }
        // The client takes its time, and a snapshot that is held keeps old values in memory.
        drop(state);
        self.reply(Reply::Values(values)).await
    }

    /// Executes `EXISTS` of many keys on a snapshot, in slices.
    pub(super) async fn count_in_slices(&mut self, keys: Vec<Bytes>) {
        if !self.may_read(&ReadCommand::of_keys(&keys)).await {
            return;
        }
        let state = self.executor().view().snapshot();
        let mut existing = 0;
        for slice in keys.chunks(SLICE_KEYS) {
            existing += state.content().count_existing(slice);
            self.pause().await;
        }
        self.out.integer(existing);
    }

    /// Executes `HMGET` of many fields on a snapshot, in slices.
    pub(super) async fn get_fields_in_slices(&mut self, key: &Bytes, fields: Vec<Bytes>) -> io::Result<()> {
        if !self.may_read(&ReadCommand::of_keys(from_ref(key))).await {
            return Ok(());
        }
        let hash =
            self.executor().view().with(|content| content.hash(key).map(|hash| hash.map(|hash| hash.fields.clone())));
        let hash = match hash {
            Ok(hash) => hash,
            Err(error) => return self.reply(error).await,
        };
        let mut values = Vec::with_capacity(fields.len());
        for slice in fields.chunks(SLICE_KEYS) {
            values.extend(slice.iter().map(|field| hash.as_ref()?.get(field).cloned()));
            self.pause().await;
        }
        drop(hash);
        self.reply(Reply::Values(values)).await
    }

    /// Executes a read, which this session may execute, on a snapshot. A hash is read in slices.
    pub(super) async fn read_long(&mut self, command: &ReadCommand) -> io::Result<()> {
        let state = self.executor().view().snapshot();
        if let ReadCommand::Hash(HashRead {
            key,
            what: what @ (FieldsRead::All | FieldsRead::Names | FieldsRead::Values),
        }) = command
        {
            let hash = match state.content().hash(key) {
                Ok(found) => found.map(|hash| hash.fields.clone()),
                Err(error) => return self.reply(error).await,
            };
            drop(state);
            return match hash {
                // Deleted since it was found to be long.
                None if *what == FieldsRead::All => self.reply(Reply::Map(Vec::new())).await,
                None => self.reply(Reply::Values(Vec::new())).await,
                Some(hash) => self.read_fields(&hash, what).await,
            };
        }
        let reply = state.content().read(command, || self.executor().view().wall_clock().now());
        drop(state);
        self.reply(reply).await
    }

    async fn read_fields(&mut self, hash: &Hash, what: &FieldsRead) -> io::Result<()> {
        // Before the reply takes memory: its request is short, and many clients may send it.
        let bytes = usize::try_from(hash.weight()).unwrap_or(usize::MAX);
        hold(self.clients.runtime(), &mut self.replying, bytes).await?;
        let (mut pairs, mut values) = (Vec::new(), Vec::new());
        for (number, (field, value)) in hash.iter().enumerate() {
            match what {
                FieldsRead::All => pairs.push((field.clone(), value.clone())),
                FieldsRead::Names => values.push(Some(field.clone())),
                _ => values.push(Some(value.clone())),
            }
            if (number + 1).is_multiple_of(SLICE_FIELDS) {
                self.pause().await;
            }
        }
        self.send(if *what == FieldsRead::All { Reply::Map(pairs) } else { Reply::Values(values) }).await?;
        self.release();
        Ok(())
    }
}
