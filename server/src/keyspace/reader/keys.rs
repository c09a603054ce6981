//! Reading keys of any type.

use super::draw::{DRAW_COST, draws};
use crate::glob::Pattern;
use crate::keyspace::content::Content;
use crate::keyspace::key_commands::{KeyRead, ObjectProperty, Scan, TypeFilter};
use crate::keyspace::reply::Reply;
use crate::keyspace::value::{Data, Value};
use crate::resp::{MAX_BULK, parse_integer};
use bytes::Bytes;

/// The most elements that one call of a scan looks at, and about the most bytes of them.
pub(super) const MAX_SCANNED: u64 = 4096;
pub(super) const MAX_SCANNED_BYTES: u64 = 1 << 20;
/// The most keys that `RANDOMKEY` draws, and the keys after the last one that it looks at if all of these are dead.
const MAX_DRAWN_KEYS: usize = 4;
const MAX_PASSED_KEYS: usize = 1024;
/// The part of an entry's room that this takes.
const RANDOM_KEY_COST: usize = MAX_DRAWN_KEYS * DRAW_COST;
/// The longest string and the most fields that Redis stores in its compact encodings.
const MAX_EMBEDDED_BYTES: usize = 44;
const MAX_LISTPACK_FIELDS: usize = 512;
const MAX_LISTPACK_BYTES: usize = 64;
/// Redis shares the integers below this one between all keys, and replies with this number of references to them.
const SHARED_INTEGERS: i64 = 10_000;
const SHARED_REFERENCES: i64 = i32::MAX as i64;

impl Content {
    /// Executes a read of keys.
    pub(super) fn read_keys(&self, command: &KeyRead) -> Reply {
        match command {
            KeyRead::Type(key) => {
                Reply::Status(self.value(key).map_or("none", |value| value.data.type_name()).to_owned())
            }
            KeyRead::Object { key, property } => match self.value(key) {
                None => Reply::Value(None),
                Some(value) => object(value, *property),
            },
            KeyRead::Random(seed) => Reply::Value(self.random_key(draws(*seed)).cloned()),
            KeyRead::Scan { scan, only } => self.scan(scan, *only),
        }
    }

    /// Returns a random key. While nearly all keys are dead, there may be none.
    pub(in crate::keyspace) fn random_key(&self, mut draw: impl FnMut(u64) -> u64) -> Option<&Bytes> {
        let is_live = |(_, value): &(&Bytes, &Value)| value.is_live(self.log_time);
        let mut last = 0;
        for _ in 0..MAX_DRAWN_KEYS {
            let drawn = self.map.random(&mut draw)?;
            if is_live(&drawn) {
                return Some(drawn.0);
            }
            last = self.map.seed().position(drawn.0);
        }
        let mut passed = Vec::new();
        let end = self.map.scan(last, MAX_PASSED_KEYS, u64::MAX, &mut passed);
        if end == 0 && passed.len() < MAX_PASSED_KEYS {
            self.map.scan(0, MAX_PASSED_KEYS - passed.len(), u64::MAX, &mut passed);
        }
        passed.into_iter().find(is_live).map(|(key, _)| key)
    }

    fn scan(&self, scan: &Scan, only: Option<TypeFilter>) -> Reply {
        let mut found = Vec::new();
        let cursor = self.map.scan(scan.cursor, scan.limit(), MAX_SCANNED_BYTES, &mut found);
        let pattern = scan.prepared();
        let found = found
            .into_iter()
            .filter(|(_, value)| value.is_live(self.log_time) && only.is_none_or(|only| only.accepts(&value.data)));
        let found = found.map(|(key, _)| key).filter(|key| pattern.as_ref().is_none_or(|pattern| pattern.matches(key)));
        Reply::Scanned { cursor, found: found.cloned().collect() }
    }
}

impl KeyRead {
    /// Returns the part of an entry's room that a read of keys takes besides its reply.
    pub(super) fn cost(&self) -> usize {
        match self {
            KeyRead::Random(_) => RANDOM_KEY_COST,
            // It may look at all fields of a hash that has not many.
            KeyRead::Object { property: ObjectProperty::Encoding, .. } => DRAW_COST,
            KeyRead::Scan { scan, .. } => scan.cost(),
            KeyRead::Type(_) | KeyRead::Object { .. } => 0,
        }
    }
}

impl Scan {
    /// Returns the number of elements to look at.
    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.count.min(MAX_SCANNED)).unwrap_or(usize::MAX)
    }

    /// Returns its pattern, ready for matching.
    pub(super) fn prepared(&self) -> Option<Pattern> {
        self.pattern.as_deref().filter(|pattern| *pattern != b"*").map(Pattern::new)
    }

    /// Returns the part of an entry's room that it takes besides its reply: of what it looks at, it may return little,
    /// and a single element may be as long as any.
    pub(super) fn cost(&self) -> usize {
        if self.pattern.is_some() { MAX_BULK } else { MAX_SCANNED_BYTES as usize / 16 }
    }
}

fn object(value: &Value, property: ObjectProperty) -> Reply {
    match property {
        ObjectProperty::Encoding => Reply::Value(Some(Bytes::from_static(encoding(&value.data).as_bytes()))),
        ObjectProperty::References => Reply::Integer(match &value.data {
            Data::String(value)
                if parse_integer(value).is_some_and(|number| (0..SHARED_INTEGERS).contains(&number)) =>
            {
                SHARED_REFERENCES
            }
            _ => 1,
        }),
        ObjectProperty::IdleTime => Reply::Integer(0),
        ObjectProperty::Frequency => Reply::Error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust."
                .to_owned(),
        ),
    }
}

/// Returns the encoding that Redis chooses for a new value.
fn encoding(data: &Data) -> &'static str {
    match data {
        Data::String(value) if parse_integer(value).is_some() => "int",
        Data::String(value) if value.len() <= MAX_EMBEDDED_BYTES => "embstr",
        Data::String(_) => "raw",
        Data::Hash(hash) => {
            let is_short = |bytes: &Bytes| bytes.len() <= MAX_LISTPACK_BYTES;
            let fits = hash.fields.len() <= MAX_LISTPACK_FIELDS
                && hash.fields.iter().all(|(field, value)| is_short(field) && is_short(value));
            if fits { "listpack" } else { "hashtable" }
        }
    }
}
