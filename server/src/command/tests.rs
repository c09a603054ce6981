use super::*;
use crate::keyspace::{
    ExpireCondition, ExpiryWrite, MAX_ENTRY_KEYS, NewExpiry, ReadCommand, SetCommand, SetCondition, When, WriteCommand,
};
use crate::resp::{Request, RequestReader};
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
        Command::Local(LocalCommand::Wrong(error)) => error,
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
    assert_eq!(error("GETEX k PERSIST EX"), "ERR syntax error");
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
    ] {
        assert_eq!(error(line), said, "{line}");
    }
    assert_eq!(error("HELLO 3 AUTH me"), "ERR Syntax error in HELLO option 'AUTH'");
    assert_eq!(error("HELLO 3 SETNAME"), "ERR Syntax error in HELLO option 'SETNAME'");
    assert_eq!(error("AUTH"), "ERR wrong number of arguments for 'auth' command");
    assert_eq!(error("AUTH a b c"), "ERR syntax error");
    assert!(error("WATCH k").starts_with("ERR optimistic locking is not supported"));
    assert!(error("CONFIG SET save x").starts_with("ERR CONFIG SET is not supported"));
    assert!(error(&format!("KEYS {}", "a*".repeat(600))).contains("exceeds 1024 bytes"));
}

#[test]
fn a_login_has_a_user_and_a_password_and_the_password_is_not_printed() {
    let of = |user: &'static str| Credentials { user: user.into(), password: "secret".into() };
    assert_eq!(parse("AUTH secret"), Command::Local(LocalCommand::Auth(of("default"))));
    assert_eq!(parse("AUTH me secret"), Command::Local(LocalCommand::Auth(of("me"))));
    let (version, login, name) = (Some("3".into()), Some(of("me")), Some("it".into()));
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
    assert!(matches!(with_keys("MGET", MAX_ENTRY_KEYS + 1), Command::Read(_)), "reads are executed in slices");
    assert!(error(&format!("CONFIG GET {}", "?".repeat(65))).starts_with("ERR CONFIG GET takes at most 16 patterns"));
    assert!(error(&format!("CONFIG GET{}", " ?".repeat(17))).starts_with("ERR CONFIG GET takes at most 16 patterns"));
    for (name, most) in [("COMMAND", 512), ("INFO", 32)] {
        assert!(matches!(with_keys(name, most), Command::Local(LocalCommand::Command(_) | LocalCommand::Info(_))));
        let Command::Local(LocalCommand::Wrong(error)) = with_keys(name, most + 1) else { panic!("it is refused") };
        assert!(error.starts_with(&format!("ERR {name} describes ")), "{error}");
    }
}

#[test]
fn decrements_are_additions() {
    let add = |amount| Command::Write(WriteCommand::Add { key: Bytes::from_static(b"k"), amount });
    assert_eq!(parse("INCR k"), add(1));
    assert_eq!(parse("DECR k"), add(-1));
    assert_eq!(parse("DECRBY k 7"), add(-7));
    assert_eq!(parse("INCRBY k -7"), add(-7));
}
