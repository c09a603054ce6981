//! Log entries with commands about strings, bits, keys and hashes.

use super::golden;
use bytes::Bytes;
use leasehold::keyspace::{
    BitRange, Entry, FieldsRead, FieldsWrite, HashRead, HashWrite, KeyRead, KeyWrite, ObjectProperty, ReadCommand,
    Scan, StringRead, StringWrite, TypeFilter, WriteCommand,
};

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn strings() -> Vec<WriteCommand> {
    let key = text("k");
    let write = |command| WriteCommand::String(command);
    let read = |command| WriteCommand::Read(ReadCommand::String(command));
    let part = BitRange { first: -300, last: Some(300), in_bits: true };
    let all = BitRange { first: 0, last: None, in_bits: false };
    vec![
        write(StringWrite::SetNew { key: key.clone(), value: text("v") }),
        write(StringWrite::SetAllNew(vec![(text("a"), text("1"))])),
        write(StringWrite::GetAndDelete(key.clone())),
        write(StringWrite::SetPart { key: key.clone(), first: 300, bytes: text("v") }),
        write(StringWrite::SetBit { key: key.clone(), bit: 300, value: true }),
        write(StringWrite::AddDecimal { key: key.clone(), amount: text("1.5") }),
        read(StringRead::Part { key: key.clone(), first: -300, last: 300 }),
        read(StringRead::Bit { key: key.clone(), bit: 300 }),
        read(StringRead::CountBits { key: key.clone(), part: None }),
        read(StringRead::CountBits { key: key.clone(), part: Some(part) }),
        read(StringRead::FindBit { key, value: true, part: all }),
    ]
}

fn keys() -> Vec<WriteCommand> {
    let object = |property| KeyRead::Object { key: text("k"), property };
    let scan = |pattern| Scan { cursor: 1 << 52, count: 300, pattern };
    let reads = vec![
        KeyRead::Type(text("k")),
        object(ObjectProperty::Encoding),
        object(ObjectProperty::References),
        object(ObjectProperty::IdleTime),
        object(ObjectProperty::Frequency),
        KeyRead::Random(300),
        KeyRead::Scan { scan: scan(None), only: None },
        KeyRead::Scan { scan: scan(Some(text("a*"))), only: Some(TypeFilter::String) },
        KeyRead::Scan { scan: scan(None), only: Some(TypeFilter::Hash) },
        KeyRead::Scan { scan: scan(None), only: Some(TypeFilter::Other) },
    ];
    let writes = vec![
        KeyWrite::Rename { from: text("k"), to: text("l"), only_new: true },
        KeyWrite::Copy { from: text("k"), to: text("l"), replace: true },
    ];
    let reads = reads.into_iter().map(|read| WriteCommand::Read(ReadCommand::Key(read)));
    writes.into_iter().map(WriteCommand::Key).chain(reads).collect()
}

fn hashes() -> Vec<WriteCommand> {
    let field = text("f");
    let reads = vec![
        FieldsRead::Get(field.clone()),
        FieldsRead::GetMany(vec![field.clone(), text("g")]),
        FieldsRead::Exists(field.clone()),
        FieldsRead::ValueLength(field.clone()),
        FieldsRead::Length,
        FieldsRead::All,
        FieldsRead::Names,
        FieldsRead::Values,
        FieldsRead::Random { seed: 300 },
        FieldsRead::RandomMany { seed: 300, count: -300, with_values: true },
        FieldsRead::Scan(Scan { cursor: 300, count: 10, pattern: Some(text("*")) }),
    ];
    let writes = vec![
        FieldsWrite::Set { fields: vec![(field.clone(), text("v"))], counted: true },
        FieldsWrite::SetNew { field: field.clone(), value: text("v") },
        FieldsWrite::Delete(vec![field.clone()]),
        FieldsWrite::Add { field: field.clone(), amount: -300 },
        FieldsWrite::AddDecimal { field, amount: text("1.5") },
    ];
    let reads = reads.into_iter().map(|what| WriteCommand::Read(ReadCommand::Hash(HashRead { key: text("k"), what })));
    let writes = writes.into_iter().map(|change| WriteCommand::Hash(HashWrite { key: text("k"), change }));
    writes.chain(reads).collect()
}

#[test]
fn commands_about_values() {
    for (name, commands) in [("strings", strings()), ("keys", keys()), ("hashes", hashes())] {
        let bytes = golden(&format!("log-entry-{name}.hex"), &Entry::encode(&[], true, &commands));
        let entry = Entry { time: 0, watched: Vec::new(), whole: true, commands };
        assert_eq!(Entry::decode(&bytes), Some(entry), "{name}");
    }
}
