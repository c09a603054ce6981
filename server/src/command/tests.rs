use super::*;
use crate::keyspace::{
    ExpireCondition, ExpiryWrite, KeyRead, MAX_ENTRY_KEYS, NewExpiry, ReadCommand, Scan, SetCommand, SetCondition,
    TypeFilter, When, WriteCommand,
};
use crate::resp::{Request, RequestReader, Version};
use bytes::Bytes;

fn parse(line: &str) -> Command {
    let mut reader = RequestReader::default();
    reader.receive(format!("{line}\r\n").as_bytes());
    match reader.next() {
        Ok(Some(Request::Command(arguments))) => Command::parse(&arguments),
        other => panic!("{line:?} is one request, but {other:?} was read"),
    }
}

fn error(line: &str) -> String {
    match parse(line) {
        Command::Local(LocalCommand::Wrong(error) | LocalCommand::Rejected(error)) | Command::AbortExec(error) => error,
        other => panic!("{line:?} is incorrect, but was read as {other:?}"),
    }
}

#[test]
fn names_are_recognized_in_any_case() {
    let get = Command::Read(ReadCommand::Get(Bytes::from_static(b"Key")));
    assert_eq!(parse("get Key"), get);
    assert_eq!(parse("GeT Key"), get);
}

#[test]
fn set_takes_its_options_in_any_order() {
    let set = |condition, get_old, expiry| {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        Command::Write(WriteCommand::Set(SetCommand { key, value, condition, get_old, expiry }))
    };
    let dies = NewExpiry::Dies;
    let equals = |value: &'static str| SetCondition::Equals(value.into());
    for (line, condition, get_old, expiry) in [
        ("SET k v", SetCondition::Always, false, NewExpiry::None),
        ("SET k v nx", SetCondition::Missing, false, NewExpiry::None),
        ("SET k v GET XX xx", SetCondition::Exists, true, NewExpiry::None),
        ("SET k v KEEPTTL", SetCondition::Always, false, NewExpiry::Keep),
        ("SET k v IFEQ ex GET", equals("ex"), true, NewExpiry::None),
        ("SET k v EX 10 NX", SetCondition::Missing, false, dies(When::In(10_000))),
        ("SET k v ifeq w px 5", equals("w"), false, dies(When::In(5))),
        ("SET k v EX 1 EX 10", SetCondition::Always, false, dies(When::In(10_000))),
        ("SET k v EXAT 5", SetCondition::Always, false, dies(When::At(5000))),
        ("SET k v IFNE w PXAT 5", SetCondition::Differs("w".into()), false, dies(When::At(5))),
    ] {
        assert_eq!(parse(line), set(condition, get_old, expiry), "{line}");
    }
    for options in ["NX XX", "WHAT", "EX", "EX 1 PX 1", "KEEPTTL EX 1", "EX 1 KEEPTTL", "IFEQ", "NX IFEQ w", "EX 1 W"] {
        assert_eq!(error(&format!("SET k v {options}")), "ERR syntax error", "{options}");
    }
    for expiry in ["EX 0", "PX -1", "EX 9223372036854775", "PX 9223372036854775807"] {
        assert_eq!(error(&format!("SET k v {expiry}")), "ERR invalid expire time in 'set' command", "{expiry}");
    }
    assert_eq!(error("SET k v PX 1.5"), "ERR value is not an integer or out of range");
}

#[test]
fn the_conditions_of_expire_exclude_each_other_as_in_redis() {
    let expire = |options: &str| match parse(&format!("EXPIRE k 1 {options}")) {
        Command::Write(WriteCommand::Expiry(ExpiryWrite::Expire { condition, .. })) => condition,
        other => panic!("{other:?}"),
    };
    assert_eq!(expire(""), ExpireCondition::Always);
    assert_eq!(expire("nx"), ExpireCondition::Missing);
    assert_eq!(expire("xx"), ExpireCondition::Exists);
    assert_eq!(expire("gt xx"), ExpireCondition::Later);
    assert_eq!(expire("lt"), ExpireCondition::Earlier);
    assert_eq!(expire("LT XX"), ExpireCondition::ExistsAndEarlier);
    let both = "ERR NX and XX, GT or LT options at the same time are not compatible";
    assert_eq!(error("EXPIRE k 1 NX GT"), both);
    assert_eq!(error("EXPIRE k 1 GT LT"), "ERR GT and LT options at the same time are not compatible");
    assert_eq!(error("EXPIRE k 1 AB"), "ERR Unsupported option AB");
    assert_eq!(error("EXPIRE k 9223372036854775807"), "ERR invalid expire time in 'expire' command");
    assert_eq!(error("PEXPIRE k 9223372036854770000"), "ERR invalid expire time in 'pexpire' command");
    assert_eq!(error("EXPIRE k x"), "ERR value is not an integer or out of range");
    assert_eq!(error("SETEX k 0 v"), "ERR invalid expire time in 'setex' command");
    assert_eq!(error("GETEX k EX 0"), "ERR invalid expire time in 'getex' command");
    for options in ["PERSIST EX", "PERSIST EX 10", "EX 10 PERSIST", "EX 10 PX 10", "EX", "EX x EX", "NX"] {
        assert_eq!(error(&format!("GETEX k {options}")), "ERR syntax error", "{options}");
    }
}

#[test]
fn the_options_of_getex_may_be_repeated_as_in_redis() {
    let getex = |options: &str| match parse(&format!("GETEX k {options}")) {
        Command::Write(WriteCommand::Expiry(ExpiryWrite::GetAndExpire { expiry, .. })) => expiry,
        other => panic!("{other:?}"),
    };
    assert_eq!(getex("persist PERSIST"), NewExpiry::None);
    assert_eq!(getex("px 7"), NewExpiry::Dies(When::In(7)));
    assert_eq!(getex("EX x ex 10"), NewExpiry::Dies(When::In(10_000)));
}

#[test]
fn incorrect_commands_get_the_errors_that_redis_gives() {
    for (line, said) in [
        ("nosuch a b", "ERR unknown command 'nosuch', with args beginning with: 'a' 'b' "),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("get a b", "ERR wrong number of arguments for 'get' command"),
        ("MSET a", "ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("PING a b", "ERR wrong number of arguments for 'ping' command"),
        ("CONFIG GET", "ERR wrong number of arguments for 'config|get' command"),
        ("INCRBY k 1.5", "ERR value is not an integer or out of range"),
        ("DECRBY k -9223372036854775808", "ERR decrement would overflow"),
        ("FLUSHALL NOW", "ERR syntax error"),
        ("CONFIG SET a", "ERR wrong number of arguments for 'config|set' command"),
        ("CONFIG SET a b c", "ERR syntax error"),
        ("CONFIG nosuch", "ERR unknown subcommand 'nosuch'. Try CONFIG HELP."),
        ("COMMAND COUNT x", "ERR wrong number of arguments for 'command|count' command"),
        ("COMMAND LIST x", "ERR syntax error"),
        ("COMMAND LIST FILTERBY NOSUCH x", "ERR syntax error"),
        ("CLIENT", "ERR wrong number of arguments for 'client' command"),
        ("CLIENT nosuch x", "ERR unknown subcommand 'nosuch'. Try CLIENT HELP."),
        ("CLIENT KILL", "ERR wrong number of arguments for 'client|kill' command"),
        ("CLIENT KILL ID x", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 1 TYPE", "ERR syntax error"),
        ("CLIENT KILL TYPE x", "ERR Unknown client type 'x'"),
        ("CLIENT KILL ID 1 SKIPME maybe", "ERR syntax error"),
        ("CLIENT LIST ID", "ERR syntax error"),
        ("CLIENT LIST ID x", "ERR Invalid client ID"),
        ("CLIENT LIST TYPE x", "ERR Unknown client type 'x'"),
        ("CLIENT NO-EVICT x", "ERR syntax error"),
        ("CLIENT PAUSE x", "ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE 1 x", "ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("CLIENT REPLY x", "ERR syntax error"),
        ("CLIENT UNBLOCK x", "ERR value is not an integer or out of range"),
        ("CLIENT UNBLOCK 1 x", "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        ("SLOWLOG GET -2", "ERR count should be greater than or equal to -1"),
        ("SLOWLOG GET 1 2", "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."),
        ("MEMORY USAGE k SAMPLES x", "ERR value is not an integer or out of range"),
        ("MEMORY USAGE k SAMPLES", "ERR syntax error"),
        ("WAIT x 0", "ERR value is not an integer or out of range"),
        ("WAIT 0 -1", "ERR timeout is negative"),
        ("MOVE k 0", "ERR source and destination objects are the same"),
        ("MOVE k 1", "ERR DB index is out of range; there is only database 0"),
        ("SWAPDB x 0", "ERR invalid first DB index"),
        ("SWAPDB 4294967296 x", "ERR invalid first DB index"),
        ("FUNCTION FLUSH x", "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
        ("FUNCTION LIST WITHCODE x", "ERR Unknown argument x"),
        ("FUNCTION LIST LIBRARYNAME", "ERR library name argument was not given"),
        ("SCRIPT FLUSH x", "ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
    ] {
        assert_eq!(error(line), said, "{line}");
    }
    assert_eq!(error("HELLO 3 AUTH me"), "ERR Syntax error in HELLO option 'AUTH'");
    assert_eq!(error("HELLO 3 SETNAME"), "ERR Syntax error in HELLO option 'SETNAME'");
    assert_eq!(error("HELLO 4 SETNAME me"), "NOPROTO unsupported protocol version");
    assert_eq!(error("HELLO SETNAME me"), "ERR Protocol version is not an integer or out of range");
    assert_eq!(error("AUTH"), "ERR wrong number of arguments for 'auth' command");
    assert_eq!(error("AUTH a b c"), "ERR syntax error");
    assert_eq!(error("EXEC x"), "ERR wrong number of arguments for 'exec' command");
    assert!(error(&format!("KEYS {}", "a*".repeat(600))).contains("exceeds 1024 bytes"));
}

#[test]
fn only_what_redis_refuses_to_queue_aborts_a_transaction() {
    for line in ["nosuch", "GET", "CLIENT nosuch", "CLIENT SETNAME", "CONFIG GET"] {
        assert!(matches!(parse(line), Command::Local(LocalCommand::Rejected(_))), "{line}");
    }
    for line in ["INCRBY k x", "SET k v NX XX", "MSET a 1 b", "PING a b", "FLUSHALL NOW", "AUTH a b c", "HELLO 3 AUTH"]
    {
        assert!(matches!(parse(line), Command::Local(LocalCommand::Wrong(_))), "{line}");
    }
    assert!(matches!(parse("EXEC x"), Command::AbortExec(_)));
}

#[test]
fn a_login_has_a_user_and_a_password_and_the_password_is_not_printed() {
    let of = |user: &'static str| Credentials { user: user.into(), password: "secret".into() };
    assert_eq!(parse("AUTH secret"), Command::Local(LocalCommand::Auth(of("default"))));
    assert_eq!(parse("AUTH me secret"), Command::Local(LocalCommand::Auth(of("me"))));
    let (version, login, name) = (Some(Version::Three), Some(of("me")), Some("it".into()));
    let hello = parse("HELLO 3 SETNAME it AUTH me secret");
    assert!(!format!("{hello:?}").contains("secret"), "{hello:?}");
    assert_eq!(hello, Command::Local(LocalCommand::Hello { version, login, name }));
}

#[test]
fn a_command_that_would_hold_up_the_node_is_refused() {
    let with_keys = |name: &str, arguments: usize| {
        let mut reader = RequestReader::default();
        reader.receive(format!("*{}\r\n${}\r\n{name}\r\n", arguments + 1, name.len()).as_bytes());
        reader.receive("$1\r\na\r\n".repeat(arguments).as_bytes());
        match reader.next() {
            Ok(Some(Request::Command(arguments))) => Command::parse(&arguments),
            other => panic!("one request was sent, but {other:?} was read"),
        }
    };
    let refusal = Command::Local(LocalCommand::Wrong(
        "ERR a command changes more than 16384 keys; split it into several".to_owned(),
    ));
    assert!(matches!(with_keys("DEL", MAX_ENTRY_KEYS), Command::Write(_)));
    assert_eq!(with_keys("DEL", MAX_ENTRY_KEYS + 1), refusal);
    assert!(matches!(with_keys("MSET", 2 * MAX_ENTRY_KEYS), Command::Write(_)));
    assert_eq!(with_keys("MSET", 2 * MAX_ENTRY_KEYS + 2), refusal);
    assert!(matches!(with_keys("HSET", 2 * MAX_ENTRY_KEYS + 1), Command::Write(_)));
    assert_eq!(with_keys("HSET", 2 * MAX_ENTRY_KEYS + 3), refusal);
    assert!(matches!(with_keys("HDEL", MAX_ENTRY_KEYS + 1), Command::Write(_)));
    assert_eq!(with_keys("HDEL", MAX_ENTRY_KEYS + 2), refusal);
    assert_eq!(with_keys("MSETNX", 2 * MAX_ENTRY_KEYS + 2), refusal);
    assert!(matches!(with_keys("MGET", MAX_ENTRY_KEYS + 1), Command::Read(_)), "reads are executed in slices");
    assert!(error(&format!("CONFIG GET {}", "?".repeat(65))).starts_with("ERR a setting of CONFIG has at most 64"));
    assert!(error(&format!("CONFIG GET{}", " ?".repeat(17))).starts_with("ERR CONFIG GET takes at most 16 patterns"));
    assert!(matches!(with_keys("INFO", 32), Command::Local(LocalCommand::Info(_))));
    let Command::Local(LocalCommand::Wrong(refusal)) = with_keys("INFO", 33) else { panic!("it is refused") };
    assert!(refusal.starts_with("ERR INFO describes "), "{refusal}");
    assert!(error(&format!("COMMAND INFO{}", " get".repeat(513))).starts_with("ERR COMMAND describes at most 512"));
    assert!(error(&format!("CLIENT SETNAME {}", "n".repeat(257))).starts_with("ERR a name of a connection exceeds"));
}

#[test]
fn decrements_are_additions() {
    let add = |amount| Command::Write(WriteCommand::Add { key: Bytes::from_static(b"k"), amount });
    assert_eq!(parse("INCR k"), add(1));
    assert_eq!(parse("DECR k"), add(-1));
    assert_eq!(parse("DECRBY k 7"), add(-7));
    assert_eq!(parse("INCRBY k -7"), add(-7));
}

#[test]
fn a_list_without_a_filter_has_the_subcommands_too() {
    assert_eq!(parse("COMMAND LIST"), parse("COMMAND LIST FILTERBY PATTERN *"));
}

#[test]
fn commands_of_redis_that_are_missing_say_so() {
    assert_eq!(
        error("LPUSH list a"),
        "ERR unknown command 'LPUSH': lists are not supported here; docs/redis.md lists what is"
    );
    assert!(error("eval x 0").contains("scripts and functions are not supported"));
    assert!(error("replconf ack 1").contains("replicas of Redis are not supported"));
    assert!(error("FAILOVER TO 10.0.0.2 6379").contains("`leasehold ctl transfer`"));
}

#[test]
fn every_command_and_subcommand_is_in_the_table_once() {
    let mut names: Vec<_> = all().map(|spec| spec.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for (number, spec) in (0..).zip(all()) {
        let words = spec.name.replace('|', " ");
        let mut reader = RequestReader::default();
        reader.receive(format!("{words}\r\n").as_bytes());
        let Ok(Some(Request::Command(arguments))) = reader.next() else { panic!("one request was sent") };
        let (known, _) = Command::recognize(&arguments);
        assert_eq!(known.map(|known| (known.number, known.spec.name)), Some((number, spec.name)));
        assert_eq!(find(spec.name.to_ascii_uppercase().as_bytes()).map(|found| found.name), Some(spec.name));
    }
}

#[test]
fn commands_about_values_give_the_errors_of_redis() {
    for (line, said) in [
        ("MSETNX a", "ERR wrong number of arguments for 'msetnx' command"),
        ("HSET h a", "ERR wrong number of arguments for 'hset' command"),
        ("HSET h a 1 b", "ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1 b", "ERR wrong number of arguments for 'hmset' command"),
        ("OBJECT ENCODING", "ERR wrong number of arguments for 'object|encoding' command"),
        ("OBJECT what k", "ERR unknown subcommand 'what'. Try OBJECT HELP."),
        ("GETRANGE k a 1", "ERR value is not an integer or out of range"),
        ("SETRANGE k -1 x", "ERR offset is out of range"),
        ("SETBIT k -1 1", "ERR bit offset is not an integer or out of range"),
        ("SETBIT k 134217728 1", "ERR bit offset is not an integer or out of range"),
        ("SETBIT k 1 2", "ERR bit is not an integer or out of range"),
        ("GETBIT k x", "ERR bit offset is not an integer or out of range"),
        ("BITCOUNT k 1", "ERR syntax error"),
        ("BITCOUNT k 1 2 WORD", "ERR syntax error"),
        ("BITCOUNT k 1 2 BIT x", "ERR syntax error"),
        ("BITPOS k 2", "ERR The bit argument must be 1 or 0."),
        ("BITPOS k x", "ERR value is not an integer or out of range"),
        ("HINCRBY h f 1.5", "ERR value is not an integer or out of range"),
        ("HRANDFIELD h 1 VALUES", "ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES x", "ERR syntax error"),
        ("HRANDFIELD h 9223372036854775807 WITHVALUES", "ERR value is out of range"),
        (
            "HRANDFIELD h -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN 18446744073709551616", "ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer or out of range"),
        ("SCAN 0 MATCH", "ERR syntax error"),
        ("HSCAN h 0 TYPE string", "ERR syntax error"),
        ("COPY k k", "ERR source and destination objects are the same"),
        ("COPY k l DB 1", "ERR DB index is out of range; there is only database 0"),
        ("COPY k l DB x", "ERR value is not an integer or out of range"),
        ("COPY k l DB", "ERR syntax error"),
        ("FLUSHDB SYNC ASYNC", "ERR syntax error"),
    ] {
        assert_eq!(error(line), said, "{line}");
    }
    assert!(error(&format!("SCAN 0 MATCH {}", "a*".repeat(600))).contains("exceeds 1024 bytes"));
    for name in ["LPUSH", "bitop", "lcs", "Eval"] {
        assert!(error(&format!("{name} k v")).contains("not supported here"), "{name}");
    }
}

#[test]
fn scans_take_their_options_in_any_order() {
    let scan = |cursor, count, pattern: Option<&'static str>, only| {
        let scan = Scan { cursor, count, pattern: pattern.map(Bytes::from) };
        Command::Read(ReadCommand::Key(KeyRead::Scan { scan, only }))
    };
    assert_eq!(parse("SCAN 0"), scan(0, 10, None, None));
    assert_eq!(parse("SCAN 7 count 5 Match a* TYPE Hash"), scan(7, 5, Some("a*"), Some(TypeFilter::Hash)));
    assert_eq!(parse("SCAN 18446744073709551615 type zset"), scan(u64::MAX, 10, None, Some(TypeFilter::Other)));
    assert_eq!(parse("SCAN 0 MATCH a MATCH b"), scan(0, 10, Some("b"), None));
}

#[test]
fn a_command_that_exists_is_not_listed_as_missing() {
    for name in missing::MISSING.iter().flat_map(|(_, names)| *names) {
        assert!(find(name.as_bytes()).is_none(), "{name} exists");
        assert_eq!(*name, name.to_ascii_lowercase());
    }
}

#[test]
fn details_are_those_of_commands_that_exist() {
    for name in details::names() {
        assert!(find(name.as_bytes()).is_some(), "{name} does not exist");
    }
}
