//! The state machine's records in one piece: each key and value with its length before it, little-endian.

use crate::disk::Record;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a length.
const LENGTH: usize = 4;

/// The records in one piece.
pub fn encode(records: &[Record]) -> Bytes {
    let size = records.iter().map(|record| 2 * LENGTH + record.key.len() + record.value.len()).sum();
    let mut data = BytesMut::with_capacity(size);
    for part in records.iter().flat_map(|record| [&record.key, &record.value]) {
        data.put_u32_le(u32::try_from(part.len()).expect("keys and values are shorter than 4 GiB"));
        data.put_slice(part);
    }
    data.freeze()
}

/// The records, sharing the memory of `data`; `None` if it is not what [`encode`] makes.
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
    fn records_survive_and_damage_is_noticed() {
        let records = vec![
            Record { key: Bytes::from_static(b"a"), value: Bytes::from_static(b"") },
            Record { key: Bytes::from_static(b"\x00\xff"), value: Bytes::from_static(b"value") },
        ];
        let data = encode(&records);
        assert_eq!(decode(data.clone()), Some(records));
        for cut in 1..4 {
            assert_eq!(decode(data.slice(..data.len() - cut)), None);
        }
        assert_eq!(decode(Bytes::from_static(&[255; 8])), None);
    }
}
