//! Facts about the commands of Redis that clients read in `COMMAND INFO` and `COMMAND DOCS`, besides those in the table.

use super::table::Spec;

/// The name of a command, the version of Redis that introduced it, and the flags of its keys.
static DETAILS: &[(&str, &str, &[&str])] = &[
    ("acl", "6.0.0", &[]),
    ("append", "2.0.0", &["RW", "insert"]),
    ("asking", "3.0.0", &[]),
    ("auth", "1.0.0", &[]),
    ("bgrewriteaof", "1.0.0", &[]),
    ("bgsave", "1.0.0", &[]),
    ("bitcount", "2.6.0", &["RO", "access"]),
    ("bitpos", "2.8.7", &["RO", "access"]),
    ("client", "2.4.0", &[]),
    ("cluster", "3.0.0", &[]),
    ("command", "2.8.13", &[]),
    ("config", "2.0.0", &[]),
    ("copy", "6.2.0", &["RO", "access"]),
    ("dbsize", "1.0.0", &[]),
    ("debug", "1.0.0", &[]),
    ("decr", "1.0.0", &["RW", "access", "update"]),
    ("decrby", "1.0.0", &["RW", "access", "update"]),
    ("del", "1.0.0", &["RM", "delete"]),
    ("discard", "2.0.0", &[]),
    ("echo", "1.0.0", &[]),
    ("exec", "1.2.0", &[]),
    ("exists", "1.0.0", &["RO"]),
    ("expire", "1.0.0", &["RW", "update"]),
    ("expireat", "1.2.0", &["RW", "update"]),
    ("expiretime", "7.0.0", &["RO", "access"]),
    ("failover", "6.2.0", &[]),
    ("flushall", "1.0.0", &[]),
    ("flushdb", "1.0.0", &[]),
    ("function", "7.0.0", &[]),
    ("get", "1.0.0", &["RO", "access"]),
    ("getbit", "2.2.0", &["RO", "access"]),
    ("getdel", "6.2.0", &["RW", "access", "delete"]),
    ("getex", "6.2.0", &["RW", "access", "update"]),
    ("getrange", "2.4.0", &["RO", "access"]),
    ("getset", "1.0.0", &["RW", "access", "update"]),
    ("hdel", "2.0.0", &["RW", "delete"]),
    ("hello", "6.0.0", &[]),
    ("hexists", "2.0.0", &["RO"]),
    ("hget", "2.0.0", &["RO", "access"]),
    ("hgetall", "2.0.0", &["RO", "access"]),
    ("hincrby", "2.0.0", &["RW", "access", "update"]),
    ("hincrbyfloat", "2.6.0", &["RW", "access", "update"]),
    ("hkeys", "2.0.0", &["RO", "access"]),
    ("hlen", "2.0.0", &["RO"]),
    ("hmget", "2.0.0", &["RO", "access"]),
    ("hmset", "2.0.0", &["RW", "update"]),
    ("hrandfield", "6.2.0", &["RO", "access"]),
    ("hscan", "2.8.0", &["RO", "access"]),
    ("hset", "2.0.0", &["RW", "update"]),
    ("hsetnx", "2.0.0", &["RW", "insert"]),
    ("hstrlen", "3.2.0", &["RO"]),
    ("hvals", "2.0.0", &["RO", "access"]),
    ("incr", "1.0.0", &["RW", "access", "update"]),
    ("incrby", "1.0.0", &["RW", "access", "update"]),
    ("incrbyfloat", "2.6.0", &["RW", "access", "update"]),
    ("info", "1.0.0", &[]),
    ("keys", "1.0.0", &[]),
    ("lastsave", "1.0.0", &[]),
    ("latency", "2.8.13", &[]),
    ("lolwut", "5.0.0", &[]),
    ("memory", "4.0.0", &[]),
    ("mget", "1.0.0", &["RO", "access"]),
    ("module", "4.0.0", &[]),
    ("move", "1.0.0", &["RW", "access", "update"]),
    ("mset", "1.0.1", &["OW", "update"]),
    ("msetnx", "1.0.1", &["OW", "insert"]),
    ("multi", "1.2.0", &[]),
    ("object", "2.2.3", &[]),
    ("persist", "2.2.0", &["RW", "update"]),
    ("pexpire", "2.6.0", &["RW", "update"]),
    ("pexpireat", "2.6.0", &["RW", "update"]),
    ("pexpiretime", "7.0.0", &["RO", "access"]),
    ("ping", "1.0.0", &[]),
    ("psetex", "2.6.0", &["OW", "update"]),
    ("pttl", "2.6.0", &["RO", "access"]),
    ("quit", "1.0.0", &[]),
    ("randomkey", "1.0.0", &[]),
    ("readonly", "3.0.0", &[]),
    ("readwrite", "3.0.0", &[]),
    ("rename", "1.0.0", &["RW", "access", "delete"]),
    ("renamenx", "1.0.0", &["RW", "access", "delete"]),
    ("replicaof", "5.0.0", &[]),
    ("reset", "6.2.0", &[]),
    ("role", "2.8.12", &[]),
    ("save", "1.0.0", &[]),
    ("scan", "2.8.0", &[]),
    ("script", "2.6.0", &[]),
    ("select", "1.0.0", &[]),
    ("set", "1.0.0", &["RW", "access", "update", "variable_flags"]),
    ("setbit", "2.2.0", &["RW", "access", "update"]),
    ("setex", "2.0.0", &["OW", "update"]),
    ("setnx", "1.0.0", &["OW", "insert"]),
    ("setrange", "2.2.0", &["RW", "update"]),
    ("shutdown", "1.0.0", &[]),
    ("slaveof", "1.0.0", &[]),
    ("slowlog", "2.2.12", &[]),
    ("strlen", "2.2.0", &["RO"]),
    ("substr", "1.0.0", &["RO", "access"]),
    ("swapdb", "4.0.0", &[]),
    ("time", "2.6.0", &[]),
    ("touch", "3.2.1", &["RO"]),
    ("ttl", "1.0.0", &["RO", "access"]),
    ("type", "1.0.0", &["RO"]),
    ("unlink", "4.0.0", &["RM", "delete"]),
    ("unwatch", "2.2.0", &[]),
    ("wait", "3.0.0", &[]),
    ("watch", "2.2.0", &["RO"]),
];

/// Returns the names of the commands with details.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    DETAILS.iter().map(|(name, ..)| *name)
}

/// The version that is stated for commands that Redis does not have.
const OWN_SINCE: &str = "7.0.0";

/// The access categories of Redis, in its order.
pub(crate) static CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The commands that Redis counts among the dangerous ones although they are not for administrators.
const DANGEROUS: [&str; 6] = ["flushall", "flushdb", "info", "keys", "lastsave", "role"];
/// The commands that Redis counts among those about connections, and documents elsewhere.
const ALSO_CONNECTION: [&str; 4] = ["asking", "readonly", "readwrite", "wait"];
/// The commands about keys that Redis documents with those about the server.
const ABOUT_KEYS: [&str; 4] = ["dbsize", "flushall", "flushdb", "swapdb"];

fn details(name: &str) -> Option<&'static (&'static str, &'static str, &'static [&'static str])> {
    DETAILS.binary_search_by_key(&name, |(name, ..)| name).ok().map(|at| &DETAILS[at])
}

impl Spec {
    /// Returns the version of Redis that introduced the command.
    pub(crate) fn since(&self) -> &'static str {
        let container = self.name.split('|').next().unwrap_or(self.name);
        details(container).map_or(OWN_SINCE, |(_, since, _)| since)
    }

    /// Returns the flags of its keys: how the command uses them.
    pub(crate) fn key_flags(&self) -> &'static [&'static str] {
        match details(self.name) {
            Some((.., flags)) if !flags.is_empty() => flags,
            _ if self.flags.contains(&"write") => &["RW", "access", "update"],
            _ => &["RO", "access"],
        }
    }

    /// Returns whether the command belongs to an access category, by the rules of Redis.
    pub(crate) fn is_in(&self, category: &str) -> bool {
        let has = |flag| self.flags.contains(&flag);
        match category {
            "keyspace" => self.group == "generic" && self.name != "wait" || ABOUT_KEYS.contains(&self.name),
            "read" => has("readonly"),
            "write" => has("write"),
            "admin" => has("admin"),
            "dangerous" => has("admin") || DANGEROUS.contains(&self.name),
            "fast" => has("fast"),
            "slow" => !has("fast"),
            "connection" => {
                self.group == "connection"
                    || ALSO_CONNECTION.contains(&self.name)
                    || self.name.split('|').next() == Some("command")
            }
            "transaction" => self.group == "transactions",
            group => self.group == group,
        }
    }

    /// Returns the access categories of the command.
    pub(crate) fn categories(&self) -> impl Iterator<Item = &'static str> {
        CATEGORIES.into_iter().filter(|category| self.is_in(category))
    }

    /// Returns the positions of its keys among `length` arguments, the name counted.
    pub(crate) fn key_positions(&self, length: usize) -> impl Iterator<Item = usize> {
        let (first, last, step) = self.keys;
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let last = if last < 0 { length + last } else { last };
        let positions = (first > 0).then(|| (first..=last.min(length - 1)).step_by(usize::try_from(step).unwrap_or(1)));
        positions.into_iter().flatten().filter_map(|position| usize::try_from(position).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::find;

    #[test]
    fn the_details_are_sorted_by_name() {
        assert!(DETAILS.is_sorted_by_key(|(name, ..)| name));
    }

    #[test]
    fn categories_and_keys_are_those_of_redis() {
        for (name, categories) in [
            ("get", &["read", "string", "fast"][..]),
            ("set", &["write", "string", "slow"]),
            ("keys", &["keyspace", "read", "slow", "dangerous"]),
            ("ping", &["fast", "connection"]),
            ("dbsize", &["keyspace", "read", "fast"]),
            ("multi", &["fast", "transaction"]),
            ("flushall", &["keyspace", "write", "slow", "dangerous"]),
            ("wait", &["slow", "connection"]),
        ] {
            let spec = find(name.as_bytes()).expect("a command");
            let found: Vec<_> = spec.categories().collect();
            assert_eq!(found, categories, "{name}");
        }
        let mset = find(b"mset").expect("a command");
        assert_eq!(mset.key_positions(5).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(mset.key_flags(), ["OW", "update"]);
        assert_eq!(find(b"ping").expect("a command").key_positions(2).count(), 0);
    }
}
