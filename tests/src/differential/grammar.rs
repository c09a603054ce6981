//! Random streams, drawn from a table of commands.

use super::stream::{Request, Stream, inline};
use fastrand::Rng;

/// The commands, one a line: the name, and the kinds of its arguments. `+` after a kind is one to four of them, `*` none
/// to three. A word in capitals is itself. A command stands in several lines to be drawn in several forms.
static TABLE: &[&str] = &[
    // Strings.
    "GET string",
    "GET string",
    "SET string value",
    "SET string value",
    "SET string value",
    "SET string value set-option",
    "SET string value set-option*",
    "SET string long",
    "SETNX string value",
    "SETEX string seconds value",
    "PSETEX string milliseconds value",
    "GETSET string value",
    "GETDEL string",
    "GETEX string",
    "GETEX string getex-option",
    "GETRANGE string offset offset",
    "SUBSTR string offset offset",
    "SETRANGE string offset value",
    "MGET any+",
    "MSET pair+",
    "MSETNX pair+",
    "INCR string",
    "DECR string",
    "INCRBY string integer",
    "DECRBY string integer",
    "INCRBYFLOAT string float",
    "APPEND string value",
    "APPEND string long",
    "STRLEN string",
    "SETBIT string bit-offset bit",
    "GETBIT string bit-offset",
    "BITCOUNT string",
    "BITCOUNT string offset offset",
    "BITCOUNT string offset offset unit",
    "BITPOS string bit",
    "BITPOS string bit offset",
    "BITPOS string bit offset offset",
    "BITPOS string bit offset offset unit",
    // Keys.
    "DEL any+",
    "UNLINK any+",
    "EXISTS any+",
    "TOUCH any+",
    "TYPE any",
    "KEYS pattern",
    "RENAME any any",
    "RENAMENX any any",
    "COPY any any",
    "COPY any any REPLACE",
    "COPY any any copy-option*",
    "RANDOMKEY",
    "DBSIZE",
    "FLUSHALL",
    "FLUSHALL flush-option*",
    "FLUSHDB",
    "FLUSHDB flush-option*",
    "OBJECT ENCODING any",
    "OBJECT REFCOUNT any",
    "OBJECT IDLETIME any",
    "OBJECT FREQ any",
    "OBJECT HELP",
    "SCAN cursor scan-option*",
    "MOVE any database",
    "SWAPDB database database",
    // Expiry, by times that do not pass meanwhile.
    "EXPIRE any seconds",
    "EXPIRE any seconds expire-option",
    "EXPIRE any seconds expire-option*",
    "PEXPIRE any milliseconds",
    "PEXPIRE any milliseconds expire-option",
    "EXPIREAT any second",
    "EXPIREAT any second expire-option",
    "PEXPIREAT any millisecond",
    "PEXPIREAT any millisecond expire-option*",
    "TTL any",
    "PTTL any",
    "EXPIRETIME any",
    "PEXPIRETIME any",
    "PERSIST any",
    // Hashes.
    "HSET hash field-value+",
    "HSET hash field-value+",
    "HSET hash field long",
    "HSET hash many-fields",
    "HSETNX hash field value",
    "HGET hash field",
    "HMGET hash field+",
    "HMSET hash field-value+",
    "HGETALL hash",
    "HDEL hash field+",
    "HEXISTS hash field",
    "HLEN hash",
    "HKEYS hash",
    "HVALS hash",
    "HINCRBY hash field integer",
    "HINCRBYFLOAT hash field float",
    "HSTRLEN hash field",
    "HRANDFIELD hash",
    "HRANDFIELD hash count",
    "HRANDFIELD hash count WITHVALUES",
    "HSCAN hash cursor scan-option*",
    // Transactions.
    "MULTI",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH any+",
    "UNWATCH",
    // Connections and servers.
    "PING",
    "PING value",
    "ECHO value",
    "SELECT database",
    "HELLO version",
    "HELLO version SETNAME name",
    "HELLO version AUTH value value",
    "HELLO version AUTH default value SETNAME name",
    "CLIENT GETNAME",
    "CLIENT SETNAME name",
    "CLIENT ID",
    "CLIENT INFO",
    "CLIENT LIST",
    "CLIENT REPLY ON",
    "CLIENT NO-EVICT switch",
    "CLIENT KILL address",
    "CLIENT KILL ID client-id",
    "CLIENT KILL client-filter+",
    "CLIENT LIST client-filter",
    "CLIENT UNBLOCK client-id",
    "CLIENT GETREDIR",
    "CLIENT TRACKINGINFO",
    "CLIENT TRACKING OFF",
    "CLIENT CACHING switch",
    "CONFIG GET config-pattern+",
    "CONFIG SET setting setting-value",
    "CONFIG SET setting setting-value setting setting-value",
    "CONFIG RESETSTAT",
    "COMMAND COUNT",
    "COMMAND GETKEYS sub-command",
    "COMMAND GETKEYSANDFLAGS sub-command",
    "COMMAND LIST FILTERBY filter pattern",
    "COMMAND INFO sub-command",
    "COMMAND DOCS sub-command",
    "SLOWLOG LEN",
    "SLOWLOG RESET",
    "SLOWLOG GET integer",
    "LATENCY LATEST",
    "LATENCY HISTORY value",
    "LATENCY RESET value",
    "MEMORY USAGE any",
    "MEMORY USAGE any SAMPLES integer",
    "TIME",
    "WAIT integer wait-timeout",
    "LOLWUT",
    "ACL WHOAMI",
    "ACL CAT value",
    "FUNCTION FLUSH",
    "FUNCTION LIST",
    "SCRIPT FLUSH flush-option*",
    "SCRIPT EXISTS value+",
    "MODULE LIST",
    "INFO section",
    "RESET",
    "QUIT",
];

/// The longest request that is written as a line: both servers refuse a line of 64 KiB.
const MAX_LINE_BYTES: usize = 32 << 10;
/// The most fields that a command sets. A hash of more than 512 fields has another encoding in Redis, and one of more
/// than 128 is scanned in several steps here.
const MAX_FIELDS: usize = 600;
/// The lengths of long values: those at which an encoding changes, or replies are written in another way.
static LENGTHS: &[usize] = &[44, 45, 64, 65, 1000, 16_384, 16_385, 40_000];

/// A line of the table.
#[derive(Clone, Debug)]
struct Template {
    words: Vec<&'static str>,
}

/// The commands that both servers have.
#[derive(Clone, Debug)]
pub(super) struct Grammar {
    templates: Vec<Template>,
    /// The places of the templates that may stand in a transaction without ending it.
    queued: Vec<usize>,
}

impl Grammar {
    pub(super) fn new() -> Grammar {
        let templates: Vec<_> = TABLE.iter().map(|line| Template { words: line.split(' ').collect() }).collect();
        let ends = ["MULTI", "EXEC", "DISCARD", "RESET", "WATCH"];
        let queued = (0..templates.len()).filter(|at| !ends.contains(&templates[*at].words[0])).collect();
        Grammar { templates, queued }
    }

    /// Draws a stream.
    pub(super) fn stream(&self, rng: &mut Rng) -> Stream {
        let length = rng.usize(1..=40);
        let mut requests = Vec::new();
        // What both have not in common comes seldom in a transaction, because it aborts it.
        let mut queueing = false;
        if rng.u8(..) < 80 {
            requests.push(Request::new(vec![b"HELLO".to_vec(), b"3".to_vec()]));
        }
        while requests.len() < length {
            let words = if queueing && rng.u8(..) < 220 {
                self.templates[*pick(&self.queued, rng)].draw(rng)
            } else {
                pick(&self.templates, rng).draw(rng)
            };
            // A connection that is killed, or a setting that is changed, would change what comes after the stream.
            let is_harmless = !matches!(words[0].as_slice(), b"CLIENT" | b"CONFIG");
            let words = if is_harmless && rng.u8(..) < 10 { disturbed(words, rng) } else { words };
            let name = words[0].to_ascii_uppercase();
            queueing = name == b"MULTI" || (queueing && !matches!(name.as_slice(), b"EXEC" | b"DISCARD" | b"RESET"));
            let mut request = Request::new(words);
            if rng.u8(..) < 50 {
                let line = inline(&request.words, rng);
                // Such a line would be taken for an array, for an empty one, or for one that is too long.
                let is_line =
                    |line: &Vec<u8>| line[0] != b'*' && !line.trim_ascii().is_empty() && line.len() <= MAX_LINE_BYTES;
                request.raw = Some(line).filter(is_line);
            }
            requests.push(request);
        }
        let mut stream = Stream { requests, cuts: Vec::new() };
        let bytes: usize = stream.pieces().iter().map(Vec::len).sum();
        let cuts = *pick(&[0, 0, 0, 1, 3, 10], rng);
        stream.cuts = (0..cuts).map(|_| rng.usize(1..bytes.max(2))).collect();
        stream.cuts.sort_unstable();
        stream.cuts.dedup();
        stream
    }
}

fn pick<'a, T>(choices: &'a [T], rng: &mut Rng) -> &'a T {
    &choices[rng.usize(..choices.len())]
}

/// Returns the words with one that is missing, doubled or strange.
fn disturbed(mut words: Vec<Vec<u8>>, rng: &mut Rng) -> Vec<Vec<u8>> {
    match rng.u8(..4) {
        0 => drop(words.pop()),
        1 => words.push(argument("value", rng)),
        2 => {
            let at = rng.usize(..words.len());
            words[at] = argument("value", rng);
        }
        _ => words[0].make_ascii_lowercase(),
    }
    // A name that one of them has and the other has not, or one that ends the connection, cannot be compared.
    let letter = |byte: &u8| byte.is_ascii_alphabetic();
    if words.first().is_none_or(|name| name.is_empty() || !name.iter().all(letter)) {
        words = vec![b"nosuch".to_vec(), b"x".to_vec()];
    }
    words
}

impl Template {
    fn draw(&self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        for word in &self.words {
            let (kind, count) = match word.as_bytes().last() {
                Some(b'+') => (&word[..word.len() - 1], rng.usize(1..=4)),
                Some(b'*') => (&word[..word.len() - 1], rng.usize(0..=3)),
                _ => (*word, 1),
            };
            for _ in 0..count {
                match kind {
                    "pair" => words.extend([argument("string", rng), argument("value", rng)]),
                    "field-value" => words.extend([argument("field", rng), argument("value", rng)]),
                    "sub-command" => words.extend(several(SUB_COMMANDS, rng)),
                    "scan-option" => words.extend(several(SCAN_OPTIONS, rng)),
                    "set-option" => words.extend(several(SET_OPTIONS, rng)),
                    "getex-option" => words.extend(several(GETEX_OPTIONS, rng)),
                    "copy-option" => words.extend(several(COPY_OPTIONS, rng)),
                    "client-filter" => words.extend(several(CLIENT_FILTERS, rng)),
                    "many-fields" => {
                        let (fields, first) = (rng.usize(1..=MAX_FIELDS), rng.usize(..MAX_FIELDS));
                        for field in first..first + fields {
                            words.extend([format!("field:{field}").into_bytes(), argument("value", rng)]);
                        }
                    }
                    "long" => {
                        let length = *pick(LENGTHS, rng);
                        words.push((0..length).map(|at| (at * 7 % 256) as u8).collect());
                    }
                    kind => words.push(argument(kind, rng)),
                }
            }
        }
        words
    }
}

/// Splits one of the choices into words; those in small letters are kinds of arguments.
fn several(choices: &[&'static str], rng: &mut Rng) -> Vec<Vec<u8>> {
    let words = pick(choices, rng).split(' ').collect();
    Template { words }.draw(rng)
}

static SET_OPTIONS: &[&str] = &[
    "NX",
    "XX",
    "GET",
    "KEEPTTL",
    "EX seconds",
    "PX milliseconds",
    "EXAT second",
    "PXAT millisecond",
    "nX",
    "get",
    "EX",
    "FOO",
];
static GETEX_OPTIONS: &[&str] =
    &["PERSIST", "EX seconds", "PX milliseconds", "EXAT second", "PXAT millisecond", "persist", "EX", "KEEPTTL", "FOO"];
static COPY_OPTIONS: &[&str] = &["REPLACE", "DB 0", "DB integer", "replace", "FOO", "DB"];
static SCAN_OPTIONS: &[&str] = &["MATCH pattern", "COUNT count", "TYPE type", "FOO", "MATCH", "NOVALUES"];
static CLIENT_FILTERS: &[&str] = &[
    "ID 99999",
    "ID client-id",
    "TYPE pubsub",
    "TYPE replica",
    "TYPE value",
    "ADDR 1.2.3.4:5",
    "LADDR 1:1",
    "USER nosuch",
    "FOO 1",
    "ID",
];
static SUB_COMMANDS: &[&str] = &[
    "GET any",
    "SET any value",
    "MSET pair+",
    "MGET any+",
    "DEL any+",
    "PING",
    "PING value",
    "NOSUCH value",
    "GET",
    "APPEND any value",
    "INCR any",
    "STRLEN any",
    "EXISTS any+",
];

static STRINGS: &[&[u8]] = &[b"a", b"b", b"key:1", b"key:2", b"", b"\x00\xff\r\n", b"[x]", b"h\xc3\xa9llo"];
static HASHES: &[&[u8]] = &[b"h", b"g", b"hash:1", b"\x01hash"];
static FIELDS: &[&[u8]] = &[b"f", b"g", b"1", b"", b"field:10", b"\r\n\x00", b"F", b"longer-field-name"];
static INTEGERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"10",
    b"-7",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"4611686018427387904",
    b"-0",
    b"+1",
    b"007",
    b" 1",
    b"1.0",
    b"1e3",
    b"0x10",
    b"abc",
    b"",
    b"99999999999999999999999999",
    b"1\x00",
];
static FLOATS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"0.1",
    b"-0.5",
    b"3.14159",
    b"1e3",
    b"5.0e3",
    b"1e-5",
    b"1e17",
    b"200000000000.7",
    b"10.50",
    b".5",
    b"5.",
    b"-0",
    b"inf",
    b"-inf",
    b"nan",
    b"abc",
    b"",
    b" 1",
    b"1 ",
    b"0x10",
    b"1e400",
    b"123456789.123456789",
    b"1e-20",
];
static VALUES: &[&[u8]] = &[
    b"hello",
    b"\r\n",
    b"\x00\x01\x02",
    b"-ERR x",
    b"$3\r\nabc\r\n",
    b"'\"\\",
    b"OK",
    b"1",
    b"10.5",
    b"ohmytext",
    b"mynewtext",
    b"3.0",
    b"0123456789012345678901234567890123456789012",
    b"01234567890123456789012345678901234567890123456789012345678901234",
];
static OFFSETS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"3",
    b"-3",
    b"10",
    b"-100",
    b"100",
    b"5",
    b"-2",
    b"abc",
    b"",
    b"9223372036854775807",
    b"-9223372036854775808",
];
static BIT_OFFSETS: &[&[u8]] =
    &[b"0", b"1", b"7", b"8", b"63", b"100", b"1000", b"-1", b"abc", b"4294967296", b"9223372036854775807"];
static SECONDS: &[&[u8]] = &[
    b"100000",
    b"200000",
    b"1000000",
    b"100000",
    b"200000",
    b"0",
    b"-1",
    b"abc",
    b"",
    b"1.5",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775",
    b"+5",
];
static MILLISECONDS: &[&[u8]] = &[
    b"100000000",
    b"200000000",
    b"1000000000",
    b"100000000",
    b"200000000",
    b"0",
    b"-1",
    b"abc",
    b"",
    b"9223372036854775807",
    b"-9223372036854775808",
];
static SECOND: &[&[u8]] = &[
    b"4000000000",
    b"5000000000",
    b"4000000000",
    b"1",
    b"0",
    b"-1",
    b"abc",
    b"9223372036854775807",
    b"9223372036854775",
];
static MILLISECOND: &[&[u8]] =
    &[b"4000000000000", b"5000000000000", b"4000000000000", b"1", b"0", b"-1", b"abc", b"9223372036854775807"];
static PATTERNS: &[&[u8]] = &[
    b"*",
    b"?",
    b"a*",
    b"key:?",
    b"[ab]",
    b"[^a]",
    b"[a-c]*",
    b"\\*",
    b"",
    b"k[^x]y:*",
    b"*:[0-9]",
    b"[",
    b"a[",
    b"\\",
    b"h*llo",
    b"*\x00*",
    b"[b-a]",
    b"**1",
];
static COUNTS: &[&[u8]] =
    &[b"1", b"2", b"5", b"100", b"0", b"-1", b"-3", b"abc", b"", b"9223372036854775807", b"-9223372036854775808"];

/// Draws an argument of a kind.
fn argument(kind: &str, rng: &mut Rng) -> Vec<u8> {
    // Most commands get a key of their type.
    let (other_type, half) = (rng.u8(..) < 20, rng.bool());
    let mut any = |choices: &[&[u8]]| pick(choices, rng).to_vec();
    match kind {
        "string" => any(if other_type { HASHES } else { STRINGS }),
        "hash" => any(if other_type { STRINGS } else { HASHES }),
        "any" => any(if half { HASHES } else { STRINGS }),
        "field" => any(FIELDS),
        "value" => any(if half { INTEGERS } else { VALUES }),
        "integer" => any(INTEGERS),
        "float" => any(FLOATS),
        "offset" => any(OFFSETS),
        "bit-offset" => any(BIT_OFFSETS),
        "bit" => any(&[b"0", b"1", b"0", b"1", b"2", b"abc", b""]),
        "unit" => any(&[b"BYTE", b"BIT", b"bit", b"FOO"]),
        "seconds" => any(SECONDS),
        "milliseconds" => any(MILLISECONDS),
        "second" => any(SECOND),
        "millisecond" => any(MILLISECOND),
        "pattern" => any(PATTERNS),
        "config-pattern" => any(&[b"nosuch", b"databases*x", b"MAXMEMORY", b"maxmemory-policy", b""]),
        "setting" => {
            any(&[b"maxmemory", b"slowlog-max-len", b"slowlog-log-slower-than", b"nosuch", b"loglevel", b"databases"])
        }
        "setting-value" => any(&[b"x", b"", b"1.5", b"-2", b"10zb"]),
        "count" => any(COUNTS),
        "cursor" => any(&[b"0", b"0", b"0", b"0", b"abc", b"-1", b"", b"18446744073709551616"]),
        "type" => any(&[b"string", b"hash", b"list", b"STRING", b"nosuch"]),
        "database" => any(&[b"0", b"0", b"abc", b"", b"-1", b"99"]),
        "version" => any(&[b"2", b"3", b"3", b"4", b"abc", b""]),
        "name" => any(&[b"me", b"", b"a b", b"\xff", b"a\n", b"x-1"]),
        "switch" => any(&[b"on", b"OFF", b"x", b""]),
        "address" => any(&[b"1.2.3.4:5", b"x", b""]),
        // Without a limit, or with a long one, the reference waits for replicas that it does not have.
        "wait-timeout" => any(&[b"1", b"10", b"-1", b"abc", b"", b"1.0", b"1\x00"]),
        // No connection that exists.
        "client-id" => any(&[b"999999999", b"0", b"-1", b"abc", b""]),
        "filter" => any(&[b"MODULE", b"ACLCAT", b"PATTERN", b"FOO"]),
        "flush-option" => any(&[b"ASYNC", b"SYNC", b"async", b"FOO"]),
        "expire-option" => any(&[b"NX", b"XX", b"GT", b"LT", b"nx", b"FOO"]),
        "section" => any(&[b"nosuch", b"server"]),
        word => word.as_bytes().to_vec(),
    }
}
