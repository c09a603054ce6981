//! The commands of Redis that this server does not have. They get an error that says so.

/// The commands that are missing, by subject, in lower case.
static MISSING: &[(&str, &[&str])] = &[
    (
        "lists",
        &[
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "lindex",
            "linsert",
            "llen",
            "lmove",
            "lmpop",
            "lpop",
            "lpos",
            "lpush",
            "lpushx",
            "lrange",
            "lrem",
            "lset",
            "ltrim",
            "rpop",
            "rpoplpush",
            "rpush",
            "rpushx",
        ],
    ),
    (
        "sets",
        &[
            "sadd",
            "scard",
            "sdiff",
            "sdiffstore",
            "sinter",
            "sintercard",
            "sinterstore",
            "sismember",
            "smembers",
            "smismember",
            "smove",
            "spop",
            "srandmember",
            "srem",
            "sscan",
            "sunion",
            "sunionstore",
        ],
    ),
    (
        "sorted sets",
        &[
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "zadd",
            "zcard",
            "zcount",
            "zdiff",
            "zdiffstore",
            "zincrby",
            "zinter",
            "zintercard",
            "zinterstore",
            "zlexcount",
            "zmpop",
            "zmscore",
            "zpopmax",
            "zpopmin",
            "zrandmember",
            "zrange",
            "zrangebylex",
            "zrangebyscore",
            "zrangestore",
            "zrank",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
            "zrevrange",
            "zrevrangebylex",
            "zrevrangebyscore",
            "zrevrank",
            "zscan",
            "zscore",
            "zunion",
            "zunionstore",
        ],
    ),
    (
        "streams",
        &[
            "xack",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xdel",
            "xgroup",
            "xinfo",
            "xlen",
            "xpending",
            "xrange",
            "xread",
            "xreadgroup",
            "xrevrange",
            "xsetid",
            "xtrim",
        ],
    ),
    (
        "geospatial indexes",
        &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
        ],
    ),
    ("HyperLogLogs", &["pfadd", "pfcount", "pfdebug", "pfmerge", "pfselftest"]),
    (
        "publish/subscribe",
        &[
            "psubscribe",
            "publish",
            "pubsub",
            "punsubscribe",
            "spublish",
            "ssubscribe",
            "subscribe",
            "sunsubscribe",
            "unsubscribe",
        ],
    ),
    ("scripts and functions", &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"]),
    ("copies of single values", &["dump", "restore", "migrate"]),
    ("the longest common parts of values", &["lcs"]),
    ("operations on the bits of several values or fields", &["bitop", "bitfield", "bitfield_ro"]),
    ("sorted copies of lists and sets", &["sort", "sort_ro"]),
    ("streams of commands", &["monitor", "psync", "sync", "replconf", "failover"]),
];

/// Returns the subject of a command of Redis that this server does not have.
pub(super) fn subject_of(name: &[u8]) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
    MISSING.iter().find(|(_, names)| has(names)).map(|(subject, _)| *subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::find;

    #[test]
    fn a_command_that_exists_is_not_listed_as_missing() {
        for name in MISSING.iter().flat_map(|(_, names)| *names) {
            assert!(find(name.as_bytes()).is_none(), "{name} exists");
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }
}
