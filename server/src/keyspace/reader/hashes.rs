//! Reading hashes.

use super::draw::{DRAW_COST, draws};
use super::keys::MAX_SCANNED_BYTES;
use crate::keyspace::content::Content;
use crate::keyspace::entry::MAX_ENTRY_KEYS;
use crate::keyspace::hash::Hash;
use crate::keyspace::hash_commands::{FieldsRead, HashRead};
use crate::keyspace::key_commands::Scan;
use crate::keyspace::reply::Reply;
use crate::keyspace::writer::FIELD_COST;
use bytes::Bytes;
use std::collections::BTreeSet;

/// The most fields that `HRANDFIELD` returns.
const MAX_RANDOM_FIELDS: usize = MAX_ENTRY_KEYS;
/// A part of the fields larger than one of so many is drawn from a list of all of them.
const MIN_DRAWN_PART: usize = 16;

impl Content {
    /// Executes a read of a hash. The error is the reply, if the key has another type.
    pub(super) fn read_hash(&self, command: &HashRead) -> Result<Reply, Reply> {
        let hash = self.hash(&command.key)?.map(|hash| &hash.fields);
        let get = |field: &Bytes| hash.and_then(|hash| hash.get(field));
        let all = || hash.into_iter().flat_map(Hash::iter);
        Ok(match &command.what {
            FieldsRead::Get(field) => Reply::Value(get(field).cloned()),
            FieldsRead::GetMany(fields) => Reply::Values(fields.iter().map(|field| get(field).cloned()).collect()),
            FieldsRead::Exists(field) => Reply::Integer(get(field).is_some().into()),
            FieldsRead::ValueLength(field) => Reply::number_of(get(field).map_or(0, Bytes::len)),
            FieldsRead::Length => Reply::number_of(hash.map_or(0, Hash::len)),
            FieldsRead::All => Reply::Map(all().map(|(field, value)| (field.clone(), value.clone())).collect()),
            FieldsRead::Names => Reply::Values(all().map(|(field, _)| Some(field.clone())).collect()),
            FieldsRead::Values => Reply::Values(all().map(|(_, value)| Some(value.clone())).collect()),
            FieldsRead::Random { seed } => {
                Reply::Value(hash.and_then(|hash| hash.random(draws(*seed))).map(|(field, _)| field.clone()))
            }
            FieldsRead::RandomMany { seed, count, with_values } => {
                let fields = match hash {
                    None => Vec::new(),
                    Some(hash) => random_fields(hash, draws(*seed), *count)?,
                };
                if *with_values {
                    Reply::Pairs(fields.into_iter().map(|(field, value)| (field.clone(), value.clone())).collect())
                } else {
                    Reply::Values(fields.into_iter().map(|(field, _)| Some(field.clone())).collect())
                }
            }
            FieldsRead::Scan(scan) => match hash {
                None => Reply::Scanned { cursor: 0, found: Vec::new() },
                Some(hash) => scan_fields(hash, scan),
            },
        })
    }

    /// Returns the part of an entry's room that a read of a hash takes besides its reply, so that an entry returns a
    /// limited number of fields.
    pub(super) fn cost_of_hash(&self, command: &HashRead) -> usize {
        let len = || self.hash(&command.key).ok().flatten().map_or(0, |hash| hash.fields.len());
        match &command.what {
            FieldsRead::All | FieldsRead::Names | FieldsRead::Values => len().saturating_mul(FIELD_COST),
            FieldsRead::Random { .. } => DRAW_COST,
            FieldsRead::RandomMany { count, .. } => random_count(*count, len()).saturating_mul(DRAW_COST),
            FieldsRead::Scan(scan) => scan.cost(),
            FieldsRead::Get(_)
            | FieldsRead::GetMany(_)
            | FieldsRead::Exists(_)
            | FieldsRead::ValueLength(_)
            | FieldsRead::Length => 0,
        }
    }
}

/// Returns how many fields are drawn from `len` fields.
fn random_count(count: i64, len: usize) -> usize {
    let number = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 && len > 0 { number } else { number.min(len) }
}

fn random_fields(hash: &Hash, mut draw: impl FnMut(u64) -> u64, count: i64) -> Result<Vec<(&Bytes, &Bytes)>, Reply> {
    let (number, len) = (random_count(count, hash.len()), hash.len());
    if number > MAX_RANDOM_FIELDS {
        let error = format!("ERR HRANDFIELD returns at most {MAX_RANDOM_FIELDS} fields at once; request fewer");
        return Err(Reply::Error(error));
    }
    if count < 0 {
        return Ok((0..number).filter_map(|_| hash.random(&mut draw)).collect());
    }
    if number == len {
        return Ok(hash.iter().collect());
    }
    if number > len / MIN_DRAWN_PART {
        let mut fields: Vec<_> = hash.iter().collect();
        for at in 0..number {
            let other = usize::try_from(draw((len - at) as u64)).unwrap_or(0);
            fields.swap(at, at + other);
        }
        fields.truncate(number);
        return Ok(fields);
    }
    let (mut names, mut fields) = (BTreeSet::new(), Vec::new());
    for _ in 0..2 * number + MIN_DRAWN_PART {
        if fields.len() == number {
            break;
        }
        fields.extend(hash.random(&mut draw).filter(|(name, _)| names.insert(*name)));
    }
    // The draws find enough distinct fields, unless somebody chose fields that are drawn together.
    let missing = number - fields.len();
    fields.extend(hash.iter().filter(|(name, _)| names.insert(*name)).take(missing));
    Ok(fields)
}

fn scan_fields(hash: &Hash, scan: &Scan) -> Reply {
    let mut found = Vec::new();
    let cursor = hash.scan(scan.cursor, scan.limit(), MAX_SCANNED_BYTES, &mut found);
    let pattern = scan.prepared();
    let found = found.into_iter().filter(|(field, _)| pattern.as_ref().is_none_or(|pattern| pattern.matches(field)));
    Reply::Scanned { cursor, found: found.flat_map(|(field, value)| [field.clone(), value.clone()]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::map::Seed;

    #[test]
    fn few_of_many_fields_are_distinct_and_take_few_draws() {
        let mut hash = Hash::new(Seed::of_cluster("test"));
        (0..4000).for_each(|number| drop(hash.insert(Bytes::from(number.to_string()), Bytes::new())));
        let check = |draw: &mut dyn FnMut(u64) -> u64, most_draws| {
            let mut drawn = 0;
            let counted = |below| {
                drawn += 1;
                draw(below)
            };
            let fields = random_fields(&hash, counted, 200).expect("a number that is allowed");
            assert_eq!(fields.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), 200);
            assert!(drawn <= most_draws, "{drawn} draws");
        };
        // A field takes about three times two draws, and few fields are drawn twice.
        check(&mut draws(1), 2000);
        // The same field each time.
        check(&mut |_| 0, 1000);
    }
}
