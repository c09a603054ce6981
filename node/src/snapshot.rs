//! Snapshots: work that grows with the state, done on a thread of its own, and the encoding.
//!
//! A snapshot is its records in one piece: each key and value with its length before it, little-endian.

use crate::ports::{Applied, Change, GroupId, Record, State as _, StateMachine};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use leasehold_core::NodeId;
use leasehold_raft::wire::{Envelope, Snapshot};
use std::fmt;

/// Work that takes time in proportion to the state. Run it on a thread that may block, and give the result back to the
/// node.
pub enum Work<M: StateMachine> {
    /// Encodes a snapshot for a follower.
    Encode {
        /// The group.
        group: GroupId,
        /// The position the state is as of.
        applied: Applied,
        /// The state.
        state: M::State,
    },
    /// Decodes a snapshot that a leader sent.
    Decode {
        /// The group.
        group: GroupId,
        /// The sender.
        from: NodeId,
        /// The envelope that carries the snapshot and nothing else.
        envelope: Envelope,
    },
    /// Drops a state that a snapshot replaced.
    Drop(M::State),
}

/// The result of [`Work::run`].
pub enum WorkResult<M: StateMachine> {
    /// An encoded snapshot.
    Encoded {
        /// The group.
        group: GroupId,
        /// The snapshot.
        snapshot: Snapshot,
    },
    /// A decoded snapshot.
    Decoded {
        /// The group.
        group: GroupId,
        /// The sender.
        from: NodeId,
        /// The envelope that carries the snapshot.
        envelope: Envelope,
        /// The state, and the changes that write it to disk; `None` if the bytes are not a snapshot.
        state: Option<(M::State, Vec<Change>)>,
    },
}

impl<M: StateMachine> Work<M> {
    /// Does the work. Returns a result for the node, unless there is nothing to report.
    pub fn run(self) -> Option<WorkResult<M>> {
        match self {
            Work::Encode { group, applied, state } => {
                let Applied { index, term, membership } = applied;
                let data = encode(state.records());
                Some(WorkResult::Encoded { group, snapshot: Snapshot { index, term, membership, data } })
            }
            Work::Decode { group, from, envelope } => {
                let snapshot = envelope.messages.iter().find_map(|message| message.snapshot.as_ref());
                let records = snapshot.and_then(|snapshot| decode(snapshot.data.clone()));
                let state = records.map(|records| {
                    let put = records.iter().cloned().map(Change::Put);
                    let changes = std::iter::once(Change::Clear).chain(put).collect();
                    (M::State::from_records(records), changes)
                });
                Some(WorkResult::Decoded { group, from, envelope, state })
            }
            Work::Drop(_) => None,
        }
    }
}

impl<M: StateMachine> fmt::Debug for Work<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Work::Encode { .. } => "Encode",
            Work::Decode { .. } => "Decode",
            Work::Drop(_) => "Drop",
        })
    }
}

impl<M: StateMachine> fmt::Debug for WorkResult<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WorkResult::Encoded { .. } => "Encoded",
            WorkResult::Decoded { .. } => "Decoded",
        })
    }
}

/// Encodes records in one piece.
pub fn encode(records: impl Iterator<Item = Record>) -> Bytes {
    let mut data = BytesMut::new();
    for record in records {
        for part in [&record.key, &record.value] {
            data.put_u32_le(u32::try_from(part.len()).expect("keys and values are shorter than 4 GiB"));
            data.put_slice(part);
        }
    }
    data.freeze()
}

/// Decodes records, which share the memory of `data`. Returns `None` for bytes that [`encode`] does not produce.
pub fn decode(mut data: Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while data.has_remaining() {
        records.push(Record { key: part(&mut data)?, value: part(&mut data)? });
    }
    Some(records)
}

fn part(data: &mut Bytes) -> Option<Bytes> {
    let length = data.try_get_u32_le().ok()? as usize;
    (length <= data.len()).then(|| data.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding_and_damage_is_noticed() {
        let records = vec![
            Record { key: Bytes::from_static(b"a"), value: Bytes::from_static(b"") },
            Record { key: Bytes::from_static(b"\x00\xff"), value: Bytes::from_static(b"value") },
        ];
        let data = encode(records.clone().into_iter());
        assert_eq!(decode(data.clone()), Some(records));
        for cut in 1..4 {
            assert_eq!(decode(data.slice(..data.len() - cut)), None);
        }
        assert_eq!(decode(Bytes::from_static(&[255; 8])), None);
    }
}
