//! Commands whose effect depends on the connection: transactions, replies that are turned off, and pipelines. The expected
//! replies are those of redis-server 7.0.15.

#[macro_use]
mod support;

#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use served::{Served, command, connect, exchange};
use std::io::{Read as _, Write as _};

fn serve<R: Runtime>() -> Served<R> {
    served::serve(Limits::default(), ClientOptions::default())
}

/// Sends commands on a new connection to an empty node, and checks the replies to them. A bar separates lines.
fn check<R: Runtime>(node: &Served<R>, commands: &str, replies: &str) {
    let request = format!("FLUSHALL | {commands} | QUIT").replace(" | ", "\r\n");
    let answer = exchange(node.address(), format!("{request}\r\n").as_bytes());
    let answer =
        answer.strip_prefix("+OK\r\n").and_then(|rest| rest.strip_suffix("+OK\r\n")).expect("two replies more");
    assert_eq!(answer.trim_end().replace("\r\n", " | "), replies, "{commands}");
}

const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.";

fn a_transaction_executes_what_redis_would_execute<R: Runtime>() {
    let node = serve::<R>();
    for (commands, replies) in [
        (
            "MULTI | SET t 1 | INCRBY t x | SET u 2 | EXEC | MGET t u",
            "+OK | +QUEUED | +QUEUED | +QUEUED | *3 | +OK | -ERR value is not an integer or out of range | +OK | *2 | $1 | \
             1 | $1 | 2",
        ),
        ("MULTI | SET a 1 | SET a 2 NX XX | EXEC", "+OK | +QUEUED | +QUEUED | *2 | +OK | -ERR syntax error"),
        ("MULTI | MULTI | GET a | EXEC", "+OK | -ERR MULTI calls can not be nested | +QUEUED | *1 | $-1"),
        (
            "MULTI | SET a 1 | PING | GET a | ECHO hi | SELECT 0 | CLIENT GETNAME | CLIENT SETNAME me | CLIENT GETNAME | \
             INCR a | EXEC",
            "+OK | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | +QUEUED | *9 | +OK | \
             +PONG | $1 | 1 | $2 | hi | +OK | $-1 | +OK | $2 | me | :2",
        ),
        ("MULTI | PING | EXEC", "+OK | +QUEUED | *1 | +PONG"),
        ("MULTI | UNWATCH | EXEC", "+OK | +QUEUED | *1 | +OK"),
        ("MULTI | EXEC | EXEC", "+OK | *0 | -ERR EXEC without MULTI"),
        ("MULTI | RESET | EXEC", "+OK | +RESET | -ERR EXEC without MULTI"),
    ] {
        check(&node, commands, replies);
    }
    let unknown = "-ERR unknown command 'nosuch', with args beginning with: 'x' ";
    for (wrong, error) in [
        ("nosuch x", unknown),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("DISCARD x", "-ERR wrong number of arguments for 'discard' command"),
        ("CLIENT nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP."),
        ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"),
        ("LEASEHOLD.BACKUP", "-ERR Command not allowed inside a transaction"),
        ("SHUTDOWN", "-ERR SHUTDOWN is not supported; stop the node with SIGTERM, which hands leadership over first"),
    ] {
        let commands = format!("MULTI | SET a 1 | {wrong} | GET a | EXEC | GET a");
        check(&node, &commands, &format!("+OK | +QUEUED | {error} | +QUEUED | {ABORTED} | $-1"));
    }
    let discarded = "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
    check(&node, "EXEC x", discarded);
    check(
        &node,
        "MULTI | SET a 1 | EXEC x | GET a | EXEC",
        &format!("+OK | +QUEUED | {discarded} | $-1 | -ERR EXEC without MULTI"),
    );
}

fn a_transaction_may_end_its_connection<R: Runtime>() {
    let node = serve::<R>();
    let kill = "MULTI\r\nCLIENT KILL TYPE normal SKIPME no\r\nSET a 1\r\nPING\r\nEXEC\r\nPING\r\n";
    assert_eq!(exchange(node.address(), kill.as_bytes()), "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n");
    assert_eq!(exchange(node.address(), b"GET a\r\nQUIT\r\n"), "$1\r\n1\r\n+OK\r\n");
}

fn the_version_of_the_protocol_changes_in_the_middle_of_a_transaction<R: Runtime>() {
    let node = serve::<R>();
    check(&node, "HELLO SETNAME me", "-ERR Protocol version is not an integer or out of range");
    check(&node, "HELLO 4 nosuch", "-NOPROTO unsupported protocol version");
    let answer = exchange(node.address(), b"MULTI\r\nGET a\r\nHELLO 3\r\nGET a\r\nEXEC\r\nGET a\r\nQUIT\r\n");
    assert!(answer.starts_with("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n%7\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n_\r\n_\r\n+OK\r\n"), "{answer}");
}

fn replies_are_turned_off_and_on<R: Runtime>() {
    let node = serve::<R>();
    for (commands, replies) in [
        ("CLIENT REPLY OFF | SET a 1 | GET a | KEYS * | nosuch | CLIENT REPLY ON | GET a", "+OK | $1 | 1"),
        ("CLIENT REPLY SKIP | GET a | GET b", "$-1"),
        ("CLIENT REPLY SKIP | SET a 1 | SET b 2 | SET c 3", "+OK | +OK"),
        ("CLIENT REPLY SKIP | CLIENT REPLY SKIP | GET a | GET b", "$-1"),
        ("CLIENT REPLY SKIP | CLIENT REPLY ON | GET b", "+OK | $-1"),
        ("CLIENT REPLY OFF | CLIENT REPLY SKIP | GET a | CLIENT REPLY ON", "+OK"),
        ("CLIENT REPLY OFF | CLIENT REPLY x | CLIENT REPLY ON", "+OK"),
        ("CLIENT REPLY x", "-ERR syntax error"),
        ("CLIENT REPLY", "-ERR wrong number of arguments for 'client|reply' command"),
        ("CLIENT REPLY OFF | RESET | GET a", "+RESET | $-1"),
        ("CLIENT REPLY SKIP | RESET | GET a", "$-1"),
        ("CLIENT REPLY SKIP | MULTI | GET a | EXEC", "+QUEUED | *1 | $-1"),
        ("MULTI | CLIENT REPLY SKIP | GET a | EXEC | GET b | PING", "+OK | +QUEUED | +QUEUED | *2 | $-1 | +PONG"),
        ("MULTI | CLIENT REPLY OFF | PING | CLIENT REPLY ON | EXEC", "+OK | +QUEUED | +QUEUED | +QUEUED | *3 | +OK"),
    ] {
        check(&node, commands, replies);
    }
    // A long value is written from where it is stored, and not at all if replies are off.
    let set = command(&[b"SET", b"a", &[b'v'; 100_000]]);
    let answer = exchange(node.address(), &[&set[..], b"CLIENT REPLY SKIP\r\nGET a\r\nSTRLEN a\r\nQUIT\r\n"].concat());
    assert_eq!(answer, "+OK\r\n:100000\r\n+OK\r\n");
}

fn reset_makes_a_connection_like_a_new_one<R: Runtime>() {
    let node = serve::<R>();
    let before = "HELLO 3\r\nCLIENT SETNAME me\r\nWATCH a\r\nMULTI\r\nCLIENT REPLY OFF\r\n";
    let after = "RESET\r\nGET a\r\nCLIENT GETNAME\r\nSET a 1\r\nMULTI\r\nGET a\r\nEXEC\r\nQUIT\r\n";
    let answer = exchange(node.address(), format!("{before}{after}").as_bytes());
    let expected = "+QUEUED\r\n+RESET\r\n$-1\r\n$-1\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n+OK\r\n";
    assert!(answer.ends_with(expected), "{answer}");
}

fn a_watched_key_that_changed_stops_a_transaction<R: Runtime>() {
    let node = serve::<R>();
    for (commands, replies) in [
        (
            "WATCH a | SET a 1 | MULTI | GET a | EXEC | MULTI | GET a | EXEC",
            "+OK | +OK | +OK | +QUEUED | *-1 | +OK | +QUEUED | *1 | $1 | 1",
        ),
        ("SET a 1 | WATCH a | SET a 1 | MULTI | EXEC", "+OK | +OK | +OK | +OK | *-1"),
        ("SET a 1 | WATCH a | DEL a | SET a 1 | MULTI | EXEC", "+OK | +OK | :1 | +OK | +OK | *-1"),
        ("SET a 1 | WATCH a | FLUSHALL | MULTI | EXEC", "+OK | +OK | +OK | +OK | *-1"),
        ("WATCH a b | SET b 1 | MULTI | PING | EXEC", "+OK | +OK | +OK | +QUEUED | *-1"),
        ("WATCH a | WATCH b | SET a 1 | MULTI | PING | EXEC", "+OK | +OK | +OK | +OK | +QUEUED | *-1"),
        // Nothing has changed.
        ("WATCH a | MULTI | EXEC", "+OK | +OK | *0"),
        (
            "SET a 1 | WATCH a a | GET a | SET a 2 NX | SET b 1 | MULTI | INCR a | EXEC",
            "+OK | +OK | $1 | 1 | $-1 | +OK | +OK | +QUEUED | *1 | :2",
        ),
        (
            "SET a x | WATCH a | INCR a | MULTI | EXEC",
            "+OK | +OK | -ERR value is not an integer or out of range | +OK | *0",
        ),
        // The keys are not watched any more.
        ("WATCH a | SET a 1 | UNWATCH | MULTI | EXEC", "+OK | +OK | +OK | +OK | *0"),
        ("WATCH a | SET a 1 | MULTI | DISCARD | MULTI | EXEC", "+OK | +OK | +OK | +OK | +OK | *0"),
        (
            "WATCH a | SET a 1 | MULTI | EXEC x | MULTI | EXEC",
            "+OK | +OK | +OK | -EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command | +OK | *0",
        ),
        ("WATCH a | MULTI | SET a 1 | EXEC | MULTI | EXEC", "+OK | +OK | +QUEUED | *1 | +OK | +OK | *0"),
        ("WATCH a | MULTI | WATCH b | EXEC", "+OK | +OK | -ERR WATCH inside MULTI is not allowed | *0"),
    ] {
        check(&node, commands, replies);
    }
    let answer = exchange(node.address(), b"HELLO 3\r\nWATCH a\r\nSET a 1\r\nMULTI\r\nEXEC\r\nQUIT\r\n");
    assert!(answer.ends_with("+OK\r\n+OK\r\n+OK\r\n_\r\n+OK\r\n"), "{answer}");
    // A client that misses the error of WATCH must not execute a transaction without its condition.
    let too_many = format!("WATCH{} | MULTI | SET a 1 | EXEC | MULTI | EXEC", " k".repeat(1025));
    let refused = "-ERR a connection watches at most 1024 keys of 1048576 bytes in all; EXEC will execute nothing";
    check(&node, &too_many, &format!("{refused} | +OK | +QUEUED | {ABORTED} | +OK | *0"));
}

fn a_watch_that_is_too_long_stops_the_next_transaction<R: Runtime>() {
    let mut limits = Limits::default();
    limits.max_argument = 1000;
    let node = served::serve::<R>(limits, ClientOptions::default());
    let refused = "-ERR an argument of 1001 bytes exceeds 1000 bytes; split the value";
    // Not the transaction before it, although all arrive together.
    for (name, aborts) in [("WATCH", true), ("watch", true), ("GET", false)] {
        let before = command(&[b"MULTI"]).into_iter().chain(command(&[b"EXEC"]));
        let long = command(&[name.as_bytes(), &[b'k'; 1001]]);
        let after = b"MULTI\r\nSET a 1\r\nEXEC\r\nMULTI\r\nEXEC\r\nQUIT\r\n";
        let request: Vec<u8> = before.chain(long).chain(*after).collect();
        let outcome = if aborts { ABORTED } else { "*1\r\n+OK" };
        let expected = format!("+OK\r\n*0\r\n{refused}\r\n+OK\r\n+QUEUED\r\n{outcome}\r\n+OK\r\n*0\r\n+OK\r\n");
        assert_eq!(exchange(node.address(), &request), expected, "{name}");
    }
}

fn reads_of_many_fields_are_complete<R: Runtime>() {
    const FIELDS: usize = 1000;
    let node = serve::<R>();
    let pairs: String = (0..FIELDS).map(|field| format!(" f{field} v{field}")).collect();
    let names: String = (0..FIELDS).map(|field| format!(" f{field} none")).collect();
    let values: String =
        (0..FIELDS).map(|field| format!("v{field}")).map(|v| format!("${}\r\n{v}\r\n$-1\r\n", v.len())).collect();
    let request = format!("HSET h{pairs}\r\nHMGET h{names}\r\nSET s 1\r\nHMGET s{names}\r\nHMGET n{names}\r\nQUIT\r\n");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    let count = 2 * FIELDS;
    let none = "$-1\r\n".repeat(count);
    let expected = format!(":{FIELDS}\r\n*{count}\r\n{values}+OK\r\n{wrong}\r\n*{count}\r\n{none}+OK\r\n");
    assert!(exchange(node.address(), request.as_bytes()) == expected, "every value, in order");
}

fn a_watched_key_that_dies_stops_a_transaction<R: Runtime>() {
    let node = serve::<R>();
    let mut client = connect(node.address());
    let mut is_answered = |request: &str, reply: &str| {
        client.write_all(request.as_bytes()).expect("it is sent");
        let mut read = vec![0; reply.len()];
        client.read_exact(&mut read).expect("a reply");
        String::from_utf8_lossy(&read) == reply
    };
    // The life of a key begins before its write is on the disk. One that is dead when it is watched changes no more.
    let is_watched = (0..6).any(|attempt| {
        let watch = format!("UNWATCH\r\nSET a 1 PX {}\r\nWATCH a\r\nEXISTS a\r\n", 300 << attempt);
        is_answered(&watch, "+OK\r\n+OK\r\n+OK\r\n:1\r\n")
    });
    assert!(is_watched, "it dies too soon");
    while exchange(node.address(), b"SET other 1\r\nEXISTS a\r\nQUIT\r\n") != "+OK\r\n:0\r\n+OK\r\n" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(is_answered("MULTI\r\nSET b 1\r\nEXEC\r\nEXISTS b\r\n", "+OK\r\n+QUEUED\r\n*-1\r\n:0\r\n"));
}

fn committed<R: Runtime>(node: &Served<R>) -> usize {
    served::info_as(node.address(), "", "commit_index")
}

fn a_mixed_pipeline_takes_few_log_entries_and_keeps_its_order<R: Runtime>() {
    const PAIRS: usize = 2000;
    let node = serve::<R>();
    check(&node, "WATCH a | MULTI | EXEC", "+OK | +OK | *0");
    let pair = |number: usize| format!("SET k {number}\r\nGET k\r\nMGET k none\r\n");
    let pipeline: String = (0..PAIRS).map(pair).collect();
    let before = committed(&node);
    let answer = exchange(node.address(), format!("{pipeline}QUIT\r\n").as_bytes());
    let entries = committed(&node) - before;
    let expected: String = (0..PAIRS)
        .map(|number| {
            let value = format!("${}\r\n{number}\r\n", number.to_string().len());
            format!("+OK\r\n{value}*2\r\n{value}$-1\r\n")
        })
        .collect();
    assert!(answer == expected + "+OK\r\n", "every reply, in order");
    assert!(entries <= PAIRS / 10, "{entries} entries for {PAIRS} writes");
    // Reads alone need none. Unlike the index, this is counted before a reply is sent.
    let logged = || served::info_as(node.address(), "", "reads_logged");
    let before = logged();
    exchange(node.address(), format!("{}QUIT\r\n", "GET k\r\n".repeat(PAIRS)).as_bytes());
    assert_eq!(logged(), before);
}

fn long_replies_in_a_mixed_pipeline_are_complete<R: Runtime>() {
    const BYTES: usize = 12 << 20;
    const TIMES: usize = 8;
    let node = serve::<R>();
    check(&node, "WATCH a | MULTI | EXEC", "+OK | +OK | *0");
    let value = vec![b'v'; BYTES];
    assert_eq!(
        exchange(node.address(), &[&command(&[b"SET", b"k", &value])[..], b"QUIT\r\n"].concat()),
        "+OK\r\n+OK\r\n"
    );
    // The replies are too long for one log entry.
    let pipeline = "INCR n\r\nGET k\r\nSET k2 v GET\r\n".repeat(TIMES);
    let answer = exchange(node.address(), format!("{pipeline}QUIT\r\n").as_bytes());
    let mut rest = answer.as_bytes();
    for number in 1..=TIMES {
        let head = format!(":{number}\r\n${BYTES}\r\n");
        rest = rest.strip_prefix(head.as_bytes()).expect("a number, and the length of the value");
        assert!(rest[..BYTES].iter().all(|byte| *byte == b'v'));
        let old = if number == 1 { "\r\n$-1\r\n" } else { "\r\n$1\r\nv\r\n" };
        rest = rest[BYTES..].strip_prefix(old.as_bytes()).expect("the old value");
    }
    assert_eq!(rest, b"+OK\r\n");
}

fn commands_of_a_client_that_left_are_not_begun<R: Runtime>() {
    // More than the node executes before it notices, even if this thread is stopped before it closes the connection.
    const COUNT: usize = 100_000;
    let node = serve::<R>();
    let mut client = connect(node.address());
    // PING ends a run, so each INCR is a log entry of its own.
    client.write_all("INCR n\r\nPING\r\n".repeat(COUNT).as_bytes()).expect("it is sent");
    drop(client);
    while served::info_as(node.address(), "", "connected_clients") > 1 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let answer = exchange(node.address(), b"INCR n\r\nQUIT\r\n");
    let executed: usize = answer.lines().next().and_then(|line| line[1..].parse().ok()).expect("a number");
    assert!(executed < COUNT, "{executed} of {COUNT} were executed");
}

on_every_runtime!(
    a_transaction_executes_what_redis_would_execute,
    a_transaction_may_end_its_connection,
    the_version_of_the_protocol_changes_in_the_middle_of_a_transaction,
    replies_are_turned_off_and_on,
    reset_makes_a_connection_like_a_new_one,
    a_watched_key_that_changed_stops_a_transaction,
    a_watch_that_is_too_long_stops_the_next_transaction,
    reads_of_many_fields_are_complete,
    a_watched_key_that_dies_stops_a_transaction,
    a_mixed_pipeline_takes_few_log_entries_and_keeps_its_order,
    long_replies_in_a_mixed_pipeline_are_complete,
    commands_of_a_client_that_left_are_not_begun,
);
