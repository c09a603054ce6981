use super::*;
use crate::keyspace::map::Seed;
use crate::keyspace::state::Snapshot;
use leasehold_node::ports::{Cursor, Record, State as _};

/// A state with hashes, and its disk.
struct Store {
    content: Content,
    deadlines: Deadlines,
    garbage: Garbage,
    disk: BTreeMap<Bytes, Bytes>,
    index: Index,
}

impl Store {
    fn new() -> Store {
        let content = Content::new(seed());
        let (deadlines, garbage) = (Deadlines::default(), Garbage::default());
        Store { content, deadlines, garbage, disk: BTreeMap::new(), index: 1 }
    }

    /// Applies an entry. Returns the number of its changes.
    fn apply(&mut self, change: impl FnOnce(&mut Writer<'_>)) -> usize {
        self.index += 1;
        let entry = Entry { time: 0, watched: Vec::new(), whole: true, commands: Vec::new() };
        let reclaimer = Reclaimer::default();
        let Store { content, deadlines, garbage, .. } = self;
        let mut writer =
            Writer::new(Parts { content, deadlines, garbage, reclaimer: &reclaimer }, self.index, &entry, 2);
        change(&mut writer);
        let mut changes = Vec::new();
        writer.finish(&mut changes);
        let count = changes.len();
        for change in changes {
            match change {
                Change::Put(Record { key, value }) => drop(self.disk.insert(key, value)),
                Change::Delete(key) => drop(self.disk.remove(&key)),
                Change::Clear => self.disk.clear(),
            }
        }
        count
    }

    fn records(&self) -> BTreeMap<Bytes, Bytes> {
        let state = Snapshot::of(self.content.clone(), Reclaimer::default());
        state.records(Cursor::default()).map(|(Record { key, value }, _)| (key, value)).collect()
    }

    /// Starts again on what is stored.
    fn restart(&mut self) {
        let mut state = Snapshot::empty(seed());
        for (key, value) in &self.disk {
            state.insert(Record { key: key.clone(), value: value.clone() }).expect("a valid record");
        }
        (self.deadlines, self.garbage) = state.swap(&mut self.content);
    }

    fn fields(&self, key: &str) -> Option<usize> {
        self.content.hash(key.as_bytes()).expect("a hash").map(|hash| hash.fields.len())
    }
}

fn seed() -> Seed {
    Seed::of_cluster("test")
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put_fields(writer: &mut Writer<'_>, key: &str, count: usize) {
    for number in 0..count {
        writer.put_field(&bytes(key), bytes(&number.to_string()), bytes("v"));
    }
}

#[test]
fn a_write_to_a_field_writes_that_field_and_the_head_only() {
    let mut store = Store::new();
    store.apply(|writer| put_fields(writer, "h", 1000));
    assert_eq!(store.disk, store.records());
    let changes = store.apply(|writer| {
        writer.put_field(&bytes("h"), bytes("7"), bytes("w"));
        writer.put_field(&bytes("h"), bytes("7"), bytes("x"));
        writer.remove_field(&bytes("h"), &bytes("8"));
        writer.remove_field(&bytes("h"), &bytes("none"));
    });
    assert_eq!(changes, 3);
    assert_eq!(store.fields("h"), Some(999));
    assert_eq!(store.disk, store.records());
    store.restart();
    assert_eq!(store.disk, store.records());
}

#[test]
fn a_hash_ends_with_its_last_field() {
    let mut store = Store::new();
    store.apply(|writer| put_fields(writer, "h", 2));
    store.apply(|writer| {
        assert_eq!(writer.remove_field(&bytes("h"), &bytes("0")), Some(bytes("v")));
        assert_eq!(writer.remove_field(&bytes("h"), &bytes("1")), Some(bytes("v")));
    });
    assert_eq!(store.fields("h"), None);
    assert_eq!(store.disk.len(), 1, "the record of the time");
}

#[test]
fn the_records_of_a_deleted_hash_are_removed_step_by_step_even_after_a_restart() {
    let mut store = Store::new();
    store.apply(|writer| put_fields(writer, "h", 5000));
    // A key with the same name is another hash.
    let changes = store.apply(|writer| {
        writer.remove_field(&bytes("h"), &bytes("0"));
        writer.remove(&bytes("h"));
        put_fields(writer, "h", 3);
    });
    assert!(changes < 1100, "{changes}");
    assert_eq!(store.fields("h"), Some(3));
    for restart in [false, true, false, true, false, false] {
        if restart {
            store.restart();
            assert_eq!(store.fields("h"), Some(3));
        }
        assert!(store.apply(|_| {}) <= 1024);
    }
    assert_eq!(store.disk, store.records());
    assert_eq!(store.apply(|_| {}), 0);
}

#[test]
fn a_hash_that_gets_another_key_keeps_the_records_of_its_fields() {
    let mut store = Store::new();
    store.apply(|writer| put_fields(writer, "from", 500));
    let changes = store.apply(|writer| {
        writer.put_field(&bytes("from"), bytes("new"), bytes("v"));
        let value = writer.take(&bytes("from")).expect("a hash");
        writer.put(bytes("to"), value.data, value.deadline);
        writer.put_field(&bytes("to"), bytes("newer"), bytes("v"));
    });
    assert_eq!(changes, 4, "two heads and two fields");
    assert_eq!((store.fields("from"), store.fields("to")), (None, Some(502)));
    assert_eq!(store.disk, store.records());
    store.apply(|writer| writer.set(bytes("to"), bytes("a string")));
    assert_eq!(store.disk, store.records());
}

#[test]
fn clearing_drops_the_changes_before_it_and_what_was_to_be_removed() {
    let mut store = Store::new();
    store.apply(|writer| put_fields(writer, "h", 3000));
    store.apply(|writer| drop(writer.remove(&bytes("h"))));
    store.apply(|writer| {
        put_fields(writer, "h", 10);
        writer.clear();
        put_fields(writer, "g", 1);
    });
    assert_eq!(store.disk, store.records());
    assert_eq!(store.disk.len(), 3, "the time, a head and a field");
}

#[test]
fn the_records_of_a_state_are_read_in_pieces_at_any_cursor() {
    let mut store = Store::new();
    store.apply(|writer| {
        put_fields(writer, "few", 20);
        put_fields(writer, "many", 400);
        writer.set(bytes("s"), bytes("v"));
    });
    let state = Snapshot::of(store.content.clone(), Reclaimer::default());
    let (mut cursor, mut found) = (Cursor::default(), BTreeMap::new());
    while let Some((Record { key, value }, after)) = state.records(cursor).next() {
        assert_eq!(found.insert(key, value), None, "each once");
        cursor = after;
    }
    assert_eq!(found, store.disk);
}

#[test]
fn fields_are_removed_as_fast_as_entries_can_delete_them() {
    let mut store = Store::new();
    for _ in 0..4 {
        store.apply(|writer| put_fields(writer, "h", 16_000));
        store.apply(|writer| drop(writer.remove(&bytes("h"))));
        assert!(store.disk.len() <= 16_000, "{}", store.disk.len());
    }
    assert!(store.garbage.used_bytes() > 0);
    while store.garbage.used_bytes() > 0 {
        assert!(store.apply(|_| {}) <= 1024);
    }
    assert_eq!(store.disk, store.records());
}
