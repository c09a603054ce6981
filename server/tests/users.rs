//! Users with passwords and roles, as clients see them.

#[macro_use]
mod support;
#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use served::{Served, command, connect, exchange, info_as};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

on_every_runtime!(
    before_a_login_only_a_login_is_answered,
    the_replies_to_logins_are_those_of_redis,
    each_role_has_its_rights,
    details_of_the_node_are_for_administrators,
    a_login_applies_to_the_commands_after_it_in_the_same_pipeline,
    requests_before_a_login_are_short_and_take_no_shared_memory,
    a_client_that_does_not_log_in_is_closed_in_time,
    a_changed_file_applies_to_connections_that_are_open,
    wrong_passwords_in_a_loop_do_not_keep_others_out,
    a_right_guess_is_not_answered_before_the_wrong_ones_that_were_sent_with_it,
    a_transaction_is_not_executed_with_rights_that_were_taken_away,
    a_backup_ends_when_its_user_is_removed,
    strangers_do_not_take_the_places_of_clients_that_log_in,
    a_reset_takes_the_login_away_and_starts_the_time_for_the_next,
);

/// The Argon2 hash of `password`.
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
/// The SHA-256 hash of `secret`.
const SHA256: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const ROOT: &str = "AUTH root secret\r\n";
/// The time for a login where a test waits for its end. A client of a busy machine may need a part of it.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);

struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn write(&self, lines: &str) {
        fs::write(&self.path, lines).expect("a file");
    }
}

fn serve<R: Runtime>(limits: Limits) -> (Served<R>, File) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = File { path: folder.path().join("users"), _folder: folder };
    file.write(&format!(
        "default {ARGON2} read-write\nroot {SHA256} admin\nreader {ARGON2} read-only\nwriter {SHA256} read-write\n"
    ));
    let mut clients = ClientOptions::default();
    clients.users = Some(file.path.clone());
    (served::serve(limits, clients), file)
}

/// Sends lines on a connection and returns as many lines of replies.
fn ask(stream: &mut TcpStream, lines: &str) -> String {
    stream.write_all(lines.as_bytes()).expect("the request is sent");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while answer.iter().filter(|byte| **byte == b'\n').count() < lines.matches('\n').count() {
        stream.read_exact(&mut byte).expect("a reply");
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text")
}

fn before_a_login_only_a_login_is_answered<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let refused = "-NOAUTH Authentication required.\r\n";
    let lines =
        "GET k\r\nSET k v\r\nPING\r\nINFO\r\nCLIENT ID\r\nMULTI\r\nSET k v\r\nEXEC\r\nLEASEHOLD.BACKUP\r\nQUIT\r\n";
    assert_eq!(exchange(node.address(), lines.as_bytes()), format!("{}+OK\r\n", refused.repeat(9)));
    assert_eq!(exchange(node.address(), format!("{ROOT}DBSIZE\r\nQUIT\r\n").as_bytes()), "+OK\r\n:0\r\n+OK\r\n");
    assert_eq!(exchange(node.address(), b"POST / HTTP/1.1\r\nAUTH root secret\r\n"), "");
}

fn the_replies_to_logins_are_those_of_redis<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let hello = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
                 <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                 the same time\r\n";
    for (line, reply) in [
        ("AUTH password", "+OK\r\n"),
        ("AUTH default password", "+OK\r\n"),
        ("AUTH writer secret", "+OK\r\n"),
        ("AUTH secret", wrong),
        ("AUTH root password", wrong),
        ("AUTH stranger password", wrong),
        ("HELLO 3 AUTH stranger password", wrong),
        ("AUTH a b c", "-ERR syntax error\r\n"),
        ("AUTH", "-ERR wrong number of arguments for 'auth' command\r\n"),
        ("HELLO 3", hello),
        ("HELLO 9 AUTH root wrong", "-NOPROTO unsupported protocol version\r\n"),
        ("RESET", "+RESET\r\n"),
    ] {
        assert_eq!(
            exchange(node.address(), format!("{line}\r\nQUIT\r\n").as_bytes()),
            format!("{reply}+OK\r\n"),
            "{line}"
        );
    }
    let hello = exchange(node.address(), b"HELLO 3 AUTH reader password SETNAME it\r\nCLIENT INFO\r\nQUIT\r\n");
    assert!(
        hello.starts_with("%7\r\n$6\r\nserver\r\n")
            && hello.contains(" name=it ")
            && hello.contains(" user=reader redir=-1 resp=3 "),
        "{hello}"
    );
    let kept = exchange(node.address(), b"AUTH password\r\nAUTH wrong\r\nGET k\r\nRESET\r\nGET k\r\nQUIT\r\n");
    let refused = "-NOAUTH Authentication required.\r\n";
    assert_eq!(kept, format!("+OK\r\n{wrong}$-1\r\n+RESET\r\n{refused}+OK\r\n"), "a wrong password takes nothing away");
    assert_eq!(info_as(node.address(), ROOT, "acl_access_denied_auth"), 5);
}

fn each_role_has_its_rights<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let no = |name: &str| format!("-NOPERM this user has no permissions to run the '{name}' command\r\n");
    let ok = "+OK\r\n".to_owned();
    for (login, replies) in [
        (
            "AUTH reader password",
            [no("set"), "$-1\r\n".to_owned(), no("config|get"), no("leasehold.backup"), no("flushall")],
        ),
        ("AUTH password", [ok.clone(), "$1\r\nv\r\n".to_owned(), no("config|get"), no("leasehold.backup"), ok.clone()]),
    ] {
        let lines =
            format!("{login}\r\nSET k v\r\nGET k\r\nCONFIG GET save\r\nLEASEHOLD.BACKUP\r\nFLUSHALL\r\nQUIT\r\n");
        assert_eq!(
            exchange(node.address(), lines.as_bytes()),
            format!("+OK\r\n{}+OK\r\n", replies.concat()),
            "{login}"
        );
    }
    for line in ["CLIENT|LIST", "CLIENT|KILL|ID|9", "SLOWLOG|GET", "ROLE", "MEMORY|STATS", "CONFIG|SET|save|"] {
        let name = line.to_ascii_lowercase().split('|').take(2).collect::<Vec<_>>().join("|");
        let line = line.replace("save|", "save ''").replace('|', " ");
        let replies = exchange(node.address(), format!("AUTH password\r\n{line}\r\nQUIT\r\n").as_bytes());
        assert_eq!(replies, format!("+OK\r\n{}+OK\r\n", no(&name)), "{line}");
    }
    let transaction = exchange(
        node.address(),
        b"AUTH reader password\r\nMULTI\r\nGET k\r\nSET k v\r\nEXEC\r\nMULTI\r\nGET k\r\nEXEC\r\nQUIT\r\n",
    );
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let expected = format!("+OK\r\n+OK\r\n+QUEUED\r\n{}{aborted}+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n+OK\r\n", no("set"));
    assert_eq!(transaction, expected);
    let root = exchange(node.address(), format!("{ROOT}CONFIG GET save\r\nQUIT\r\n").as_bytes());
    assert_eq!(root, "+OK\r\n*2\r\n$4\r\nsave\r\n$0\r\n\r\n+OK\r\n");
    assert_eq!(info_as(node.address(), ROOT, "acl_access_denied_cmd"), 13);
}

fn details_of_the_node_are_for_administrators<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let info =
        |login: &str, section: &str| exchange(node.address(), format!("{login}INFO {section}\r\nQUIT\r\n").as_bytes());
    let reader = info("AUTH reader password\r\n", "");
    assert!(reader.contains("redis_version:") && reader.contains("connected_clients:"), "{reader}");
    assert!(
        !reader.contains("lease_valid") && !reader.contains("cluster_id") && !reader.contains("withheld"),
        "{reader}"
    );
    assert!(info("AUTH reader password\r\n", "lease").contains("# Lease\r\nwithheld:the role admin is needed\r\n"));
    assert!(info(ROOT, "lease").contains("lease_valid:"));
    assert!(info(ROOT, "").contains("cluster_id:"));
}

fn a_login_applies_to_the_commands_after_it_in_the_same_pipeline<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let long = vec![b'v'; 1 << 20];
    let lines = [
        &b"GET k\r\nAUTH password\r\n"[..],
        &command(&[b"SET", b"k", &long]),
        b"STRLEN k\r\nRESET\r\nGET k\r\nQUIT\r\n",
    ];
    let refused = "-NOAUTH Authentication required.\r\n";
    assert_eq!(
        exchange(node.address(), &lines.concat()),
        format!("{refused}+OK\r\n+OK\r\n:1048576\r\n+RESET\r\n{refused}+OK\r\n")
    );
}

fn requests_before_a_login_are_short_and_take_no_shared_memory<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let answer = exchange(node.address(), &command(&[&[b'a'; (16 << 10) + 1]]));
    assert_eq!(answer, "-ERR Protocol error: unauthenticated bulk length\r\n");
    let answer = exchange(node.address(), b"*11\r\n");
    assert_eq!(answer, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    let long = [b'a'; 16 << 10];
    let answer = exchange(node.address(), &command(&[&long[..]; 4]));
    assert_eq!(answer, "-ERR Protocol error: unauthenticated request length\r\n");
    // The longest request that is accepted, except for its end.
    let mut waiting = connect(node.address());
    let longest = command(&[&long, &long, &long[..15 << 10]]);
    waiting.write_all(&longest[..longest.len() - 2]).expect("the request is sent");
    // They never read, so the replies fill the buffers of both sockets, and then the requests do.
    let flooding = [command(&[b"GET", &[b'k'; 1000]]).repeat(1000), b"a\n".repeat(32 << 10)].map(|flood| {
        let mut client = connect(node.address());
        client.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout is set");
        while client.write_all(&flood).is_ok() {}
        client
    });
    assert_eq!(info_as(node.address(), ROOT, "mem_client_requests"), 0);
    waiting.write_all(b"\r\n").expect("the request is sent");
    let mut reply = [0; 12];
    waiting.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"-ERR unknown");
    drop(flooding);
}

fn a_client_that_does_not_log_in_is_closed_in_time<R: Runtime>() {
    let mut limits = Limits::default();
    limits.client_timeout = LOGIN_TIMEOUT;
    let (node, _file) = serve::<R>(limits);
    let mut stays = connect(node.address());
    assert_eq!(ask(&mut stays, ROOT), "+OK\r\n");
    let mut leaves = connect(node.address());
    let closed = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        // What it sends does not extend its time. An error means that it is closed already.
        let _ = leaves.write_all(b"\r\n");
        info_as(node.address(), ROOT, "timed_out_connections") == 1
    });
    assert!(closed);
    assert_eq!(ask(&mut stays, "PING\r\n"), "+PONG\r\n");
}

fn a_changed_file_applies_to_connections_that_are_open<R: Runtime>() {
    let (node, file) = serve::<R>(Limits::default());
    let logged_in = |login: &str| {
        let mut stream = connect(node.address());
        assert_eq!(ask(&mut stream, &format!("AUTH {login}\r\n")), "+OK\r\n");
        stream
    };
    let (mut default, mut reader, mut writer) =
        (logged_in("password"), logged_in("reader password"), logged_in("writer secret"));
    file.write("default nonsense admin\n");
    node.node.reload();
    assert_eq!(ask(&mut writer, "SET k v\r\n"), "+OK\r\n", "a file that cannot be used changes nothing");
    // One user is removed, one has another password, and one has another role.
    file.write(&format!("root {SHA256} admin\ndefault {SHA256} read-write\nwriter {SHA256} read-only\n"));
    node.node.reload();
    for gone in [&mut reader, &mut default] {
        assert_eq!(gone.read_to_end(&mut Vec::new()).expect("it is closed"), 0, "without a command");
    }
    assert_eq!(ask(&mut writer, "STRLEN k\r\n"), ":1\r\n");
    assert!(ask(&mut writer, "SET k v\r\n").starts_with("-NOPERM "));
    assert!(exchange(node.address(), b"AUTH password\r\nQUIT\r\n").starts_with("-WRONGPASS "), "it was remembered");
    assert_eq!(exchange(node.address(), b"AUTH secret\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
}

fn wrong_passwords_in_a_loop_do_not_keep_others_out<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    assert_eq!(exchange(node.address(), b"AUTH password\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    let mut guessing: Vec<_> = (0..8)
        .map(|number| {
            let mut stream = connect(node.address());
            stream.write_all(format!("AUTH guess{number}\r\n").as_bytes()).expect("the request is sent");
            stream
        })
        .collect();
    // Every password of this address waits in line, and none is refused.
    for login in ["AUTH password", "AUTH writer secret"] {
        let answer = exchange(node.address(), format!("{login}\r\nDBSIZE\r\nQUIT\r\n").as_bytes());
        assert_eq!(answer, "+OK\r\n:0\r\n+OK\r\n");
    }
    assert_eq!(exchange(node.address(), b"AUTH reader password\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    for stream in &mut guessing {
        assert!(ask(stream, "PING\r\n").starts_with("-WRONGPASS "));
    }
    assert_eq!(info_as(node.address(), ROOT, "acl_access_denied_auth"), 8);
}

fn a_right_guess_is_not_answered_before_the_wrong_ones_that_were_sent_with_it<R: Runtime>() {
    let (node, _file) = serve::<R>(Limits::default());
    let mut admin = connect(node.address());
    assert_eq!(ask(&mut admin, ROOT), "+OK\r\n");
    let mut failures = || {
        admin.write_all(b"INFO clients\r\n").expect("the request is sent");
        let mut info = Vec::new();
        while !info.ends_with(b"\r\n\r\n") && !String::from_utf8_lossy(&info).contains("acl_access_denied_cmd:0\r\n") {
            let mut byte = [0];
            admin.read_exact(&mut byte).expect("a reply");
            info.push(byte[0]);
        }
        admin.read_exact(&mut [0; 2]).expect("the end of the reply");
        let info = String::from_utf8(info).expect("text");
        let line = info.lines().find_map(|line| line.strip_prefix("acl_access_denied_auth:"));
        line.and_then(|number| number.parse::<usize>().ok()).expect("a number")
    };
    let guess = |password: &str| {
        let mut stream = connect(node.address());
        stream.write_all(format!("AUTH writer {password}\r\n").as_bytes()).expect("the request is sent");
        stream
    };
    let mut wrong: Vec<_> = (0..12).map(|number| guess(&format!("guess{number}"))).collect();
    // Some leave, which does not let the ones behind them advance.
    wrong.drain(..4);
    while failures() < 4 {}
    let mut right = guess("secret");
    let mut reply = [0; 5];
    right.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+OK\r\n");
    assert!(failures() >= 8, "the guesses before it were checked first");
}

fn a_transaction_is_not_executed_with_rights_that_were_taken_away<R: Runtime>() {
    let (node, file) = serve::<R>(Limits::default());
    let mut client = connect(node.address());
    let queued = ask(&mut client, "AUTH writer secret\r\nMULTI\r\nSET k v\r\nGET k\r\n");
    assert_eq!(queued, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    file.write(&format!("root {SHA256} admin\nwriter {SHA256} read-only\n"));
    node.node.reload();
    assert!(ask(&mut client, "EXEC\r\n").starts_with("-NOPERM "));
    assert_eq!(ask(&mut client, "STRLEN k\r\n"), ":0\r\n");
    let reads = ask(&mut client, "MULTI\r\nSTRLEN k\r\nEXEC\r\n");
    assert_eq!(reads, "+OK\r\n+QUEUED\r\n*1\r\n");
}

fn a_backup_ends_when_its_user_is_removed<R: Runtime>() {
    let (node, file) = serve::<R>(Limits::default());
    let mut client = connect(node.address());
    assert_eq!(ask(&mut client, ROOT), "+OK\r\n");
    // More than the buffers of both sockets take.
    let value = vec![b'v'; 4 << 20];
    for number in 0..16 {
        client.write_all(&command(&[b"SET", format!("key{number}").as_bytes(), &value])).expect("the request is sent");
        let mut reply = [0; 5];
        client.read_exact(&mut reply).expect("a reply");
    }
    client.write_all(b"LEASEHOLD.BACKUP\r\n").expect("the request is sent");
    client.read_exact(&mut [0; 100]).expect("the backup begins");
    file.write(&format!("writer {SHA256} read-only\n"));
    node.node.reload();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"$0\r\n\r\n") && rest.len() < 60 << 20, "{} bytes", rest.len());
}

fn strangers_do_not_take_the_places_of_clients_that_log_in<R: Runtime>() {
    let mut limits = Limits::default();
    limits.max_clients = 32;
    let (node, _file) = serve::<R>(limits);
    let mut first = connect(node.address());
    assert_eq!(ask(&mut first, ROOT), "+OK\r\n");
    let silent: Vec<_> = (0..200).map(|_| connect(node.address())).collect();
    // Evicted connections take a moment to end.
    let logged_in = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut stream = connect(node.address());
        let mut reply = [0; 5];
        stream.write_all(ROOT.as_bytes()).is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"+OK\r\n"
    });
    assert!(logged_in);
    assert_eq!(ask(&mut first, "PING\r\n"), "+PONG\r\n");
    drop(silent);
}

fn a_reset_takes_the_login_away_and_starts_the_time_for_the_next<R: Runtime>() {
    let mut limits = Limits::default();
    limits.client_timeout = LOGIN_TIMEOUT;
    let (node, _file) = serve::<R>(limits);
    let mut stays = connect(node.address());
    assert_eq!(ask(&mut stays, &format!("RESET\r\n{ROOT}")), "+RESET\r\n+OK\r\n");
    let mut leaves = connect(node.address());
    assert_eq!(ask(&mut leaves, &format!("{ROOT}RESET\r\n")), "+OK\r\n+RESET\r\n");
    assert_eq!(leaves.read_to_end(&mut Vec::new()).expect("it is closed"), 0, "it does not log in again");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ask(&mut stays, "PING\r\n"), "+PONG\r\n");
}
