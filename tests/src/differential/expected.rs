//! The differences from redis-server that are meant.

use super::compare::{Difference, Seen};
use super::pair::End;
use super::reply::Reply;
use super::stream::{Request, Stream};

/// A difference that is meant.
struct Expected {
    why: &'static str,
    /// The name of the command; empty for any.
    command: &'static str,
    /// The start of the reference's error; empty for any reply.
    reference: &'static str,
    /// The start of the tested server's error; empty for any reply.
    tested: &'static str,
}

const fn expected(why: &'static str, command: &'static str, reference: &'static str, tested: &'static str) -> Expected {
    Expected { why, command, reference, tested }
}

/// Each with its reason. `docs/redis.md` describes those that clients may notice.
static EXPECTED: &[Expected] = &[
    expected("a pattern has at most 1,024 bytes", "keys", "", "ERR the pattern exceeds"),
    expected("a transaction has a limited size", "", "", "ERR a transaction exceeds"),
    expected("a request has a limited size", "", "", "ERR a request exceeds"),
    expected("an argument beyond the limit is dropped, and the connection kept", "", "", "ERR an argument"),
    expected("there is one database", "", "", "ERR DB index is out of range"),
    expected("there are no users without --users", "", "", "ERR there are no users or passwords"),
    expected("a name of a connection has at most 256 bytes", "", "", "ERR a name of a connection exceeds"),
    expected("latency events are not recorded", "latency", "", "ERR No samples"),
    expected("clients are not paused", "client", "", "ERR CLIENT PAUSE is not supported"),
    expected("there is no client-side caching", "client", "", "ERR client-side caching is not supported"),
    expected("a node does not write its configuration", "config", "", "ERR CONFIG REWRITE is not supported"),
    expected("users are not changed by commands", "acl", "", "ERR users are not changed by commands"),
    expected("the error names what is missing", "", "", "ERR unknown command"),
    expected("DEBUG is for tests of Redis", "debug", "ERR DEBUG command not allowed", "ERR DEBUG command not allowed"),
    expected("there is nothing to save", "", "", "ERR there is nothing to save"),
    expected("a node is stopped by a signal", "shutdown", "", "ERR SHUTDOWN is not supported"),
    expected("leadership is handed over by `leasehold ctl`", "failover", "", "ERR leadership is not handed over"),
    expected("members are changed by `leasehold ctl`", "", "", "ERR members are not changed by this command"),
    expected("the slow log has at most 10,000 entries", "config", "ERR CONFIG SET failed", "ERR CONFIG SET failed"),
    expected("some settings of Redis are not changed here", "config", "", "ERR CONFIG SET failed"),
    expected("some settings of Redis do not exist here", "config", "", "ERR Unknown option"),
    expected("KEYS takes too long for a transaction", "keys", "", "ERR KEYS takes too long"),
    expected("sums have at most 38 digits before the point", "", "", "ERR increment would produce a number of more"),
    expected("numbers have no hexadecimal form", "", "", "ERR value is not a valid float"),
    expected("numbers have no hexadecimal form", "", "", "ERR hash value is not a float"),
    expected("errors of arguments come before those of keys", "bitcount", "", "ERR "),
    expected("errors of arguments come before those of keys", "bitpos", "", "ERR "),
    expected("errors of arguments come before those of keys", "hscan", "", "ERR "),
    expected("errors of arguments come before those of keys", "getex", "", "ERR "),
    expected("errors of arguments come before those of users", "hello", "WRONGPASS", "ERR "),
    expected("errors of arguments come before those of users", "client", "ERR No such user", "ERR "),
    expected("a command may have been introduced after Redis 7.0", "client", "ERR unknown subcommand", ""),
];

/// Returns the reason of a difference that is meant.
pub(super) fn reason(stream: &Stream, found: &Difference) -> Option<&'static str> {
    let starts =
        |seen: &Seen, start: &str| start.is_empty() || seen.error().is_some_and(|error| error.starts_with(start));
    let name = found.name();
    let number = |seen: &Seen| if let Seen::Reply(reply) = seen { reply.integer() } else { None };
    let is_shared = number(&found.reference) == Some(1) && number(&found.tested) == Some(i32::MAX.into());
    if name == "object" && (is_shared || is_shorter_encoding(&found.reference, &found.tested)) {
        return Some("OBJECT follows from the value alone, not from the commands that made it");
    }
    if name == "dbsize" && number(&found.tested).is_some_and(|tested| number(&found.reference) > Some(tested)) {
        return Some("DBSIZE of Redis counts a key that was dead when it was set");
    }
    if name == "memory" && found.reference.error().is_none() && found.tested.error().is_none() {
        return Some(
            "MEMORY USAGE is answered once a transaction is executed, and not of keys that were dead when they were set",
        );
    }
    let compares = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"GT") || word.eq_ignore_ascii_case(b"LT");
    if name.contains("expire") && found.request.iter().any(compares) && number(&found.tested).is_some() {
        return Some("each server counts from a time of its own");
    }
    let names = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"SETNAME");
    let hello = |request: &Request| request.name() == "hello" && request.words.iter().any(names);
    let asks_name = found.request.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"GETNAME"));
    if name == "client" && asks_name && stream.requests.iter().any(hello) {
        return Some("a HELLO that fails does not name the connection");
    }
    if name == "function" && found.request.iter().any(|word| word.contains(&b'\n')) {
        return Some("line ends at the end of every error are left out");
    }
    let errors = found.reference.error().is_some() && found.tested.error().is_some();
    let has_zero = found.request.iter().any(|word| word.contains(&0));
    if errors && has_zero {
        return Some("Redis ends the text of an error at a zero byte");
    }
    if has_zero && starts(&found.tested, "ERR invalid cursor") {
        return Some("Redis ends a cursor at a zero byte");
    }
    let by_protocol = is_by_protocol(stream, found);
    by_protocol.or_else(|| {
        let is_it = |expected: &&Expected| {
            (expected.command.is_empty() || expected.command == name)
                && starts(&found.reference, expected.reference)
                && starts(&found.tested, expected.tested)
                && !(expected.reference.is_empty() && expected.tested.is_empty())
        };
        EXPECTED.iter().find(is_it).map(|expected| expected.why)
    })
}

/// Returns whether the tested server names the encoding of a new value where the reference kept one for longer values.
fn is_shorter_encoding(reference: &Seen, tested: &Seen) -> bool {
    let name = |seen: &Seen| match seen {
        Seen::Reply(Reply::Bytes(b'$', Some(name))) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    };
    matches!(
        (name(reference).as_str(), name(tested).as_str()),
        ("raw", "embstr" | "int") | ("embstr", "int") | ("hashtable", "listpack")
    )
}

/// Returns the reason of a difference in what counts as a request.
fn is_by_protocol(stream: &Stream, found: &Difference) -> Option<&'static str> {
    let says = |seen: &Seen, text: &str| {
        seen.error().is_some_and(|error| error.starts_with("ERR Protocol error") && error.contains(text))
    };
    let is_silent = |seen: &Seen| matches!(seen, Seen::End(End::Silence | End::Closed));
    if says(&found.tested, "expected a line end after an argument") {
        return Some("an argument must end with a line end; Redis takes any two bytes for it");
    }
    if says(&found.reference, "invalid bulk length") && is_silent(&found.tested) {
        return Some("an argument beyond the limit is read and dropped, and the connection kept");
    }
    if says(&found.tested, "") && (says(&found.reference, "") || is_silent(&found.reference)) {
        return Some("protocol errors are found a little earlier, and worded differently");
    }
    if stream.is_raw() && found.reference == Seen::End(End::Silence) {
        return Some("a zero byte does not keep an inline request from ending");
    }
    (stream.is_raw() && found.reference == Seen::End(End::Closed))
        .then_some("replies to the requests before an HTTP request are sent")
}
