//! Streams of clients, the commands in them, entries of the log, and trace files.

use crate::memory::within;
use bytes::Bytes;
use leasehold::command::{Command, LocalCommand};
use leasehold::keyspace::{Entry, Keyspace, Outcome, ReadCommand, Reply, WallClock, WriteCommand};
use leasehold::resp::{MAX_ARGUMENTS, ProtocolError, ReplyBuffer, Request, RequestReader, Version};
use leasehold_core::Index;
use leasehold_core::trace::{Line, REPLAY_ORIGIN, is_prose};
use leasehold_node::ports::{Change, Cursor, Record, State, StateMachine as _};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A parsed stream: requests, each with its arguments or the reason why it was refused, and the position of the error.
type Stream = (Vec<Result<Vec<Bytes>, String>>, Option<ProtocolError>);

/// Splits a client's stream into requests. They do not depend on how the stream is cut, and each parses to itself when encoded.
pub fn client_requests(bytes: &[u8]) {
    // Two bytes can be an argument of an inline request, and its place in the list takes sixteen; a list that grows is
    // there twice.
    let limits = bytes.len() % 4;
    within(64 * bytes.len() + 4096, || {
        let mut reader = reader(limits);
        reader.receive(bytes);
        while let Ok(Some(_)) = reader.next() {}
    });
    let whole = requests(limits, [bytes]);
    assert_eq!(requests(limits, bytes.chunks(1)), whole, "in single bytes");
    let uneven = bytes.len() % 7 + 2;
    assert_eq!(requests(limits, bytes.chunks(uneven)), whole, "in pieces of {uneven}");
    let arguments = || whole.0.iter().flatten();
    assert!(arguments().flatten().map(Bytes::len).sum::<usize>() <= bytes.len(), "no argument is made up");
    for request in arguments() {
        assert!((1..=MAX_ARGUMENTS).contains(&request.len()), "{} arguments", request.len());
        assert_eq!(requests(0, [&*sent(request)]), (vec![Ok(request.clone())], None), "sent on");
    }
}

/// Returns a reader with limits of this kind, or with the usual ones.
fn reader(limits: usize) -> RequestReader {
    let mut reader = RequestReader::default();
    match limits {
        1 => reader.set_before_login(true),
        2 => reader.set_max_argument(64),
        _ => {}
    }
    reader
}

fn requests<'a>(limits: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Stream {
    let mut reader = reader(limits);
    let mut requests = Vec::new();
    for piece in pieces {
        reader.receive(piece);
        loop {
            match reader.next() {
                Ok(Some(Request::Command(arguments))) => requests.push(Ok(arguments.from(0).collect())),
                Ok(Some(Request::Refused { reason, .. })) => requests.push(Err(reason)),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

/// Encodes a request as most clients send it.
fn sent(arguments: &[Bytes]) -> Vec<u8> {
    let mut sent = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        sent.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        sent.extend_from_slice(argument);
        sent.extend_from_slice(b"\r\n");
    }
    sent
}

/// Parses a client's requests and executes them, one entry each. The stored changes are exactly the reported ones, and an
/// independent client can parse every reply.
pub fn client_commands(bytes: &[u8]) {
    let mut reader = RequestReader::default();
    reader.receive(bytes);
    let mut keyspace = new();
    let mut stored = BTreeMap::new();
    while let Ok(Some(request)) = reader.next() {
        match request {
            Request::Refused { reason, .. } => readable(&Reply::Error(reason)),
            Request::Command(arguments) => match Command::parse(&arguments) {
                Command::Read(read) => execute_read(&mut keyspace, &mut stored, read),
                Command::Write(write) => execute(&mut keyspace, &mut stored, &[write]),
                Command::Local(LocalCommand::Wrong(error) | LocalCommand::Rejected(error))
                | Command::AbortExec(error)
                | Command::AbortWatch(error) => {
                    assert!(error.len() < 2048, "an error of {} bytes", error.len());
                    readable(&Reply::Error(error));
                }
                Command::Local(LocalCommand::Status(line)) => assert!(line.is_ascii()),
                Command::Administer(arguments) => {
                    let is_short = arguments.len() <= 4 && arguments.iter().all(|argument| argument.len() <= 1024);
                    assert!(is_short, "{} arguments", arguments.len());
                }
                Command::Local(_) | Command::Backup | Command::SearchSlot(_) => {}
                Command::Multi | Command::Exec | Command::Discard | Command::Watch(_) => {}
            },
        }
    }
}

/// Checks that a read has the same answer alone and in a transaction.
fn execute_read(keyspace: &mut Keyspace, stored: &mut BTreeMap<Bytes, Bytes>, read: ReadCommand) {
    let mut replies = Vec::new();
    keyspace.view().read(std::slice::from_ref(&read), &mut replies);
    readable(&replies[0]);
    if matches!(read, ReadCommand::Keys(_)) {
        // A transaction refuses it.
        return;
    }
    let entry = Entry::encode(&[], true, &[WriteCommand::Read(read)]);
    let mut changes = Vec::new();
    let in_transaction = keyspace.apply(next_index(), &entry, &mut changes);
    assert_eq!(in_transaction, Ok(Outcome::Replies(replies)), "a read changes nothing");
    store(stored, changes);
    assert_eq!(contents(keyspace), *stored);
}

fn execute(keyspace: &mut Keyspace, stored: &mut BTreeMap<Bytes, Bytes>, commands: &[WriteCommand]) {
    let entry = Entry::encode(&[], true, commands);
    let decoded = Entry::decode(&entry).expect("an entry is read as it was written");
    assert_eq!(decoded.commands, commands);
    apply(keyspace, stored, &entry, &decoded);
}

/// Applies an entry, and checks its replies and changes.
fn apply(keyspace: &mut Keyspace, stored: &mut BTreeMap<Bytes, Bytes>, bytes: &Bytes, entry: &Entry) {
    let mut changes = Vec::new();
    match keyspace.apply(next_index(), bytes, &mut changes).expect("an entry of a known version") {
        Outcome::Replies(replies) => {
            let stopped = !entry.whole && !replies.is_empty();
            assert!(replies.len() == entry.commands.len() || stopped, "every command has its reply");
            replies.iter().for_each(readable);
        }
        Outcome::Conflict => assert_ne!(entry.watched, []),
    }
    store(stored, changes);
    assert_eq!(contents(keyspace), *stored, "every change is reported to the disk");
}

/// Stores changes as a disk does.
fn store(stored: &mut BTreeMap<Bytes, Bytes>, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Put(Record { key, value }) => drop(stored.insert(key, value)),
            Change::Delete(key) => drop(stored.remove(&key)),
            Change::Clear => stored.clear(),
        }
    }
}

/// Returns the index of another entry. Entries name the hashes that they make by it.
fn next_index() -> Index {
    static INDEX: AtomicU64 = AtomicU64::new(1);
    INDEX.fetch_add(1, Ordering::Relaxed)
}

/// Returns a keyspace without keys.
fn new() -> Keyspace {
    Keyspace::new("fuzzed", WallClock::new(|| 1_000_000))
}

fn contents(keyspace: &Keyspace) -> BTreeMap<Bytes, Bytes> {
    keyspace.state().records(Cursor::default()).map(|(Record { key, value }, _)| (key, value)).collect()
}

/// Checks that a client parses exactly one value from a reply, in both versions of the protocol.
fn readable(reply: &Reply) {
    for version in [Version::Two, Version::Three] {
        let mut replies = ReplyBuffer::default();
        replies.set_version(version);
        match reply {
            Reply::Ok => replies.status("OK"),
            Reply::Integer(number) => replies.integer(*number),
            Reply::Value(value) => replies.value(value.as_deref()),
            Reply::Values(values) => {
                replies.array(values.len());
                values.iter().for_each(|value| replies.value(value.as_deref()));
            }
            Reply::Error(message) => replies.error(message),
            Reply::Status(status) => replies.status(status),
            Reply::NoValues => replies.null_array(),
            Reply::Map(pairs) => {
                replies.map(pairs.len());
                pairs.iter().flat_map(|(field, value)| [field, value]).for_each(|part| replies.bulk(part));
            }
            Reply::Pairs(pairs) => {
                replies.array(2 * pairs.len());
                pairs.iter().flat_map(|(field, value)| [field, value]).for_each(|part| replies.bulk(part));
            }
            Reply::Scanned { found, .. } => {
                replies.array(found.len());
                found.iter().for_each(|part| replies.bulk(part));
            }
        }
        // A second reply follows, to check that the first is consumed exactly.
        let mut sent = replies.bytes().to_vec();
        sent.extend_from_slice(b":7\r\n");
        let mut rest = &sent[..];
        let mut parser = redis::Parser::new();
        let first = parser.parse_value(&mut rest).expect("a reply");
        let expected = match reply {
            Reply::Ok => redis::Value::Okay,
            Reply::Integer(number) => redis::Value::Int(*number),
            Reply::Value(value) => value_of(value.as_ref()),
            Reply::Values(values) => redis::Value::Array(values.iter().map(|value| value_of(value.as_ref())).collect()),
            Reply::Status(status) => redis::Value::SimpleString(status.clone()),
            Reply::NoValues => redis::Value::Nil,
            Reply::Map(_) | Reply::Pairs(_) | Reply::Scanned { .. } => first.clone(),
            Reply::Error(_) => {
                assert!(matches!(first, redis::Value::ServerError(_)), "{first:?} for {reply:?}");
                first.clone()
            }
        };
        assert_eq!(first, expected);
        assert_eq!(parser.parse_value(&mut rest), Ok(redis::Value::Int(7)), "after {reply:?}");
    }
}

fn value_of(value: Option<&Bytes>) -> redis::Value {
    value.map_or(redis::Value::Nil, |value| redis::Value::BulkString(value.to_vec()))
}

/// The most that lengths in an entry, or in an answer, may ask for before what they count is seen: three nested lists of 32 MiB.
pub(crate) const CLAIMED: usize = 3 * (32 << 20);

/// Applies bytes as an entry of the log, as a peer or a folder may contain it. Either it is a list of commands and has their
/// effect, or it changes nothing.
pub fn log_entries(bytes: &[u8]) {
    let entry = within(CLAIMED + 64 * bytes.len() + 4096, || Entry::decode(bytes));
    let mut keyspace = new();
    let records = vec![Record { key: "\0a".into(), value: "7".into() }, Record { key: "\0".into(), value: "".into() }];
    let mut state = keyspace.empty_state();
    records.into_iter().for_each(|record| state.insert(record).expect("a valid record"));
    drop(keyspace.replace(state));
    let mut stored = contents(&keyspace);
    match entry {
        Some(entry) => apply(&mut keyspace, &mut stored, &Bytes::copy_from_slice(bytes), &entry),
        None => {
            let mut changes = Vec::new();
            let outcome = keyspace.apply(next_index(), &Bytes::copy_from_slice(bytes), &mut changes);
            let nothing = outcome.is_err() || outcome == Ok(Outcome::Replies(Vec::new()));
            assert!(nothing, "it is malformed, or of another version");
            assert_eq!((changes, contents(&keyspace)), (Vec::new(), stored), "nothing changes");
        }
    }
}

/// Replays a trace file. Either it is refused with the number of a line, or its own output replays to itself.
pub fn traces(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match leasehold::replay(text) {
        Ok(trace) => {
            // A carriage return is part of a line's end, or of a comment.
            let lines = |text: &str| text.replace('\r', "");
            assert_eq!(leasehold::replay(&trace).as_deref().map(lines), Ok(lines(&trace)));
            for (before, after) in text.lines().zip(trace.lines()).filter(|(before, _)| !is_prose(before)) {
                assert_eq!(Line::parse(before, REPLAY_ORIGIN), Line::parse(after, REPLAY_ORIGIN));
            }
        }
        Err(error) => {
            assert!((1..=text.lines().count()).contains(&error.line()), "{error}");
            assert!(!error.to_string().contains('\n'));
        }
    }
}
