use super::*;
use crate::keyspace::{MAX_ENTRY_KEYS, ReadCommand, WriteCommand};
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
    let set = |only_if_exists, get_old| {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        Command::Write(WriteCommand::Set { key, value, only_if_exists, get_old })
    };
    assert_eq!(parse("SET k v"), set(None, false));
    assert_eq!(parse("SET k v nx"), set(Some(false), false));
    assert_eq!(parse("SET k v GET XX"), set(Some(true), true));
    assert_eq!(error("SET k v NX XX"), "ERR syntax error");
    assert_eq!(error("SET k v WHAT"), "ERR syntax error");
    assert!(error("SET k v EX 10").starts_with("ERR keys do not expire here"));
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
