//! The limits on a client's use of a node: connections, memory and time.

#[macro_use]
mod support;

#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use served::{Served, command, connect, exchange, free_address, info_as};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const MIB: usize = 1 << 20;

fn info(address: SocketAddr, field: &str) -> usize {
    info_as(address, "", field)
}

fn number(info: &str, field: &str) -> Option<usize> {
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?.parse().ok()
}

/// Sends bytes on a new connection and returns all replies, unless the connection is refused.
fn exchange_if_served(address: SocketAddr, request: &[u8]) -> Option<String> {
    let mut stream = connect(address);
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.starts_with("-ERR max")).then_some(answer)
}

fn serve<R: Runtime>(limits: Limits) -> Served<R> {
    served::serve(limits, ClientOptions::default())
}

fn a_client_may_send_its_whole_pipeline_before_it_reads<R: Runtime>() {
    let node = serve::<R>(Limits::default());
    let (key, value, times) = (vec![b'k'; 1000], vec![b'v'; 1000], 20_000);
    let mut client = connect(node.address());
    client.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
    client.write_all(&command(&[b"SET", &key, &value])).expect("the request is sent");
    // More than the buffers of both sockets hold, of requests and of replies.
    client.write_all(&command(&[b"GET", &key]).repeat(times)).expect("the node reads on");
    let mut reply = vec![0; 5 + times * (value.len() + 9)];
    client.read_exact(&mut reply).expect("every reply");
    let expected = [b"$1000\r\n", &value[..], b"\r\n"].concat();
    assert!(reply.starts_with(b"+OK\r\n") && reply[5..].chunks(expected.len()).all(|one| one == expected));
    while info(node.address(), "mem_client_requests") > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn clients_that_do_not_read_hold_bounded_memory_and_are_closed_in_time<R: Runtime>() {
    const KEYS: usize = 48;
    let mut limits = Limits::default();
    limits.client_timeout = Duration::from_secs(1);
    let node = serve::<R>(limits);
    let names: Vec<String> = (0..KEYS).map(|key| format!("key {key}")).collect();
    let value = vec![b'v'; MIB];
    for name in &names {
        let set = [command(&[b"SET", name.as_bytes(), &value]), b"QUIT\r\n".to_vec()].concat();
        assert_eq!(exchange(node.address(), &set), "+OK\r\n+OK\r\n");
    }
    let mut words: Vec<&[u8]> = vec![b"MGET"];
    words.extend(names.iter().map(String::as_bytes));
    let mget = command(&words);
    // Together they ask for 768 MiB.
    let idle: Vec<_> = (0..16)
        .map(|_| {
            let mut client = connect(node.address());
            client.write_all(&mget).expect("the request is sent");
            client
        })
        .collect();
    let mut most = 0;
    while info(node.address(), "timed_out_connections") < idle.len() {
        most = most.max(info(node.address(), "mem_client_replies"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!((KEYS * MIB..=256 * MIB).contains(&most), "{most} bytes of replies");
    assert_eq!(info(node.address(), "mem_client_replies"), 0);
    // One that is stopped for a second is closed too, which does not happen every time.
    let (request, all) = ([&mget[..], b"QUIT\r\n"].concat(), 5 + KEYS * (MIB + 12) + 5);
    let gets_all = |_| exchange_if_served(node.address(), &request).is_some_and(|got| got.len() == all);
    assert!((0..10).any(gets_all), "a client that reads gets all of it");
}

fn a_client_that_sends_but_does_not_read_is_closed_in_time<R: Runtime>() {
    let mut limits = Limits::default();
    limits.client_timeout = Duration::from_millis(500);
    let node = serve::<R>(limits);
    let mut client = connect(node.address());
    // A long value by a short request: one that does not fit into the buffers of both sockets must go on in time.
    client.write_all(b"SETRANGE k 16777215 v\r\n").expect("the request is sent");
    client.write_all(&b"GET k\r\n".repeat(4)).expect("the request is sent");
    let closed = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        // An error means that it is closed already.
        let _ = client.write_all(b"\r\n");
        info(node.address(), "timed_out_connections") == 1
    });
    assert!(closed, "it sent bytes more often than the timeout allows, and took none");
}

fn a_large_transaction_must_go_on<R: Runtime>() {
    let mut limits = Limits::default();
    limits.client_timeout = Duration::from_millis(300);
    let node = serve::<R>(limits);
    let set = command(&[b"SET", b"k", &vec![b'v'; MIB]]);
    let answer = exchange(node.address(), &[b"MULTI\r\n", &set[..]].concat());
    assert_eq!(answer, "+OK\r\n+QUEUED\r\n", "closed without EXEC");
    let answer = exchange(node.address(), &set[..MIB / 2]);
    assert_eq!(answer, "", "closed before its end");
    while (info(node.address(), "timed_out_connections"), info(node.address(), "mem_client_requests")) != (2, 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn the_replies_of_a_transaction_do_not_pile_up<R: Runtime>() {
    let mut limits = Limits::default();
    limits.client_timeout = Duration::from_millis(500);
    let node = serve::<R>(limits);
    let setting = |command: &str| exchange(node.address(), format!("{command}\r\nQUIT\r\n").as_bytes());
    let before = setting("CONFIG GET slowlog-max-len");
    // More replies than the buffers of both sockets hold. It takes none, so the last command is never due.
    let mut client = connect(node.address());
    let queued = "COMMAND\r\n".repeat(600);
    let transaction = format!("MULTI\r\n{queued}CONFIG SET slowlog-max-len 7\r\nEXEC\r\n");
    client.write_all(transaction.as_bytes()).expect("it is sent");
    while info(node.address(), "timed_out_connections") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(setting("CONFIG GET slowlog-max-len"), before);
}

fn an_idle_connection_is_closed_if_that_is_asked_for<R: Runtime>() {
    let mut limits = Limits::default();
    limits.idle_timeout = Some(Duration::from_secs(2));
    let node = serve::<R>(limits);
    assert_eq!(exchange(node.address(), b"PING\r\n"), "+PONG\r\n");
}

fn an_http_request_is_not_executed<R: Runtime>() {
    let node = serve::<R>(Limits::default());
    for first in ["POST / HTTP/1.1", "Host: 127.0.0.1:6379", "MULTI\r\nhost: x"] {
        let answer = exchange(node.address(), format!("{first}\r\nSET k v\r\nEXEC\r\nSET k v\r\n").as_bytes());
        assert_eq!(answer, "", "{first}: nothing is sent, as in Redis");
    }
    // As curl sends it, wherever it is split. The first request of another method gets an error, and nothing after it.
    for method in ["POST", "PUT", "GET"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: localhost:6379\r\nContent-Length: 13\r\n\r\n");
        let request = [head.as_bytes(), b"\r\nSET k v\r\n"].concat();
        for cut in 0..request.len() {
            let mut browser = connect(node.address());
            browser.set_nodelay(true).expect("the socket is one of this process");
            browser.write_all(&request[..cut]).expect("the request is sent");
            // The node may have closed the connection already, and may reset it because there is more to read.
            let _ = browser.write_all(&request[cut..]);
            let mut answer = Vec::new();
            let _ = browser.read_to_end(&mut answer);
            assert!(answer.is_empty() || (method != "POST" && answer.starts_with(b"-ERR ")), "{method}, cut at {cut}");
            assert!(answer.iter().filter(|byte| **byte == b'\n').count() <= 1, "{method}, cut at {cut}");
        }
    }
    assert_eq!(exchange(node.address(), b"DBSIZE\r\nQUIT\r\n"), ":0\r\n+OK\r\n");
}

fn one_address_has_no_more_clients_than_its_limit<R: Runtime>() {
    let mut limits = Limits::default();
    limits.max_clients_per_address = Some(3);
    let node = serve::<R>(limits);
    let mut clients: Vec<_> = (0..3).map(|_| connect(node.address())).collect();
    let mut reply = [0; 7];
    for client in &mut clients {
        client.write_all(b"PING\r\n").and_then(|()| client.read_exact(&mut reply)).expect("it is served");
    }
    let mut refused = connect(node.address());
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("it is refused");
    assert_eq!(answer, "-ERR max number of clients from this address reached\r\n");
    // Another address of the same machine is another client.
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    other.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("a second loopback address");
    other.connect(&node.address().into()).expect("the node listens");
    let mut other = TcpStream::from(other);
    other.write_all(b"PING\r\n").and_then(|()| other.read_exact(&mut reply)).expect("it is served");
    drop(clients.pop());
    // Its place is free as soon as the node notices.
    let counted = loop {
        let info = exchange_if_served(node.address(), b"INFO clients\r\nQUIT\r\n");
        if let Some(counted) = info.and_then(|info| number(&info, "rejected_connections_per_address")) {
            break counted;
        }
    };
    assert!(counted > 0);
}

fn a_longer_argument_than_the_limit_is_refused_and_counted<R: Runtime>() {
    let mut limits = Limits::default();
    limits.max_argument = 1000;
    let node = serve::<R>(limits);
    let set = |value: usize| command(&[b"SET", b"k", &vec![b'v'; value]]);
    let many: Vec<&[u8]> = std::iter::repeat_n(&[b'k'; 999][..], 4).collect();
    let request =
        [set(1000), set(1001), command(&[&[&b"MGET"[..]], &many[..]].concat()), b"QUIT\r\n".to_vec()].concat();
    let answer = exchange(node.address(), &request);
    let one = "-ERR an argument of 1001 bytes exceeds 1000 bytes; split the value\r\n";
    let all = "-ERR a request exceeds 3000 bytes in all; split it into several commands\r\n";
    assert_eq!(answer, format!("+OK\r\n{one}{all}+OK\r\n"));
    assert_eq!((info(node.address(), "requests_too_long"), info(node.address(), "max_argument_bytes")), (2, 1000));
}

fn a_pipeline_is_read_up_to_its_limit<R: Runtime>() {
    let mut limits = Limits::default();
    limits.max_pipeline = MIB;
    let node = serve::<R>(limits);
    let mut client = connect(node.address());
    client.write_all(&command(&[b"SET", b"k", &vec![b'v'; MIB]])).expect("the request is sent");
    // While it is executed, its argument counts besides what is read ahead.
    client.read_exact(&mut [0; 5]).expect("the reply +OK");
    client.set_nonblocking(true).expect("the socket is one of this process");
    // It takes no more replies, so the node reads no more at some point, and the buffers of both sockets fill up.
    let flood = command(&[b"GET", b"k"]).repeat(1000);
    let mut sent = 0;
    while info(node.address(), "pipelines_paused") == 0 {
        match client.write(&flood[sent..]) {
            Ok(more) => sent = (sent + more) % flood.len(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(info(node.address(), "mem_client_requests") <= 4 * MIB);
}

fn requests_that_are_executed_count_as_memory_besides_those_read_ahead<R: Runtime>() {
    const LIMIT: usize = 4 * MIB;
    let mut limits = Limits::default();
    limits.max_pipeline = LIMIT;
    let node = serve::<R>(limits);
    let mut client = connect(node.address());
    client.set_nonblocking(true).expect("the socket is one of this process");
    let echo = command(&[b"ECHO", &vec![b'v'; 256 << 10]]);
    let (mut sent, mut replies) = (0, vec![0; 64 << 10]);
    let counted = (0..100_000).any(|_| {
        match client.write(&echo[sent..]) {
            Ok(more) => sent = (sent + more) % echo.len(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                if info(node.address(), "mem_client_requests") > LIMIT + LIMIT / 2 {
                    return true;
                }
                // It takes just enough for the node to go on.
                let _ = client.read(&mut replies);
            }
        }
        false
    });
    assert!(counted);
}

fn requests_that_were_executed_count_no_more_although_their_client_never_pauses<R: Runtime>() {
    const TIMES: usize = 512;
    const AHEAD: usize = 16;
    let mut limits = Limits::default();
    limits.client_memory = 8 * MIB;
    let node = serve::<R>(limits);
    let mut client = connect(node.address());
    let set = command(&[b"SET", b"k", &vec![b'v'; 64 << 10]]);
    // Four times the memory for all clients, of which an eighth is under way at any time.
    client.write_all(&set.repeat(AHEAD)).expect("it is sent");
    for sent in AHEAD..TIMES + AHEAD {
        if sent < TIMES {
            client.write_all(&set).expect("it is sent");
        }
        let mut reply = [0; 5];
        client.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"+OK\r\n");
    }
    assert_eq!((info(node.address(), "pipelines_paused"), info(node.address(), "clients_waited_for_memory")), (0, 0));
}

fn without_memory_only_writes_that_need_it_are_refused<R: Runtime>() {
    let mut limits = Limits::default();
    limits.max_memory = Some(MIB as u64);
    let node = serve::<R>(limits);
    let set = command(&[b"SET", b"k", &vec![b'v'; MIB]]);
    assert_eq!(exchange(node.address(), &[&set[..], b"QUIT\r\n"].concat()), "+OK\r\n+OK\r\n");
    assert!(info(node.address(), "used_memory") > MIB);
    assert_eq!(info(node.address(), "maxmemory"), MIB);
    let refused = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let writes = "SET a 1\r\nINCR n\r\nDEL none\r\nAPPEND k x\r\nSTRLEN k\r\nMSET a 1 b 2\r\n";
    let transaction = "MULTI\r\nDEL none\r\nSET a 1\r\nEXEC\r\nMULTI\r\nSTRLEN k\r\nEXEC\r\n";
    let answer = exchange(node.address(), format!("{writes}{transaction}DEL k\r\nSET a 1\r\nQUIT\r\n").as_bytes());
    let writes = format!("{refused}{refused}:0\r\n{refused}:{MIB}\r\n{refused}");
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let transaction = format!("+OK\r\n+QUEUED\r\n{refused}{aborted}+OK\r\n+QUEUED\r\n*1\r\n:{MIB}\r\n");
    assert_eq!(answer, format!("{writes}{transaction}:1\r\n+OK\r\n+OK\r\n"));
    assert_eq!(info(node.address(), "writes_failed"), 5, "the refused ones");
    // They arrive together, so FLUSHALL is not executed yet when SET is read.
    assert_eq!(exchange(node.address(), &[&set[..], b"QUIT\r\n"].concat()), "+OK\r\n+OK\r\n");
    let answer = exchange(node.address(), b"FLUSHALL\r\nMULTI\r\nSET a 1\r\nEXEC\r\nQUIT\r\n");
    assert_eq!(answer, "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n+OK\r\n");
}

fn writes_are_refused_while_the_disk_is_almost_full_and_reads_go_on<R: Runtime>() {
    let mut limits = Limits::default();
    limits.min_free_space = Some(u64::MAX);
    let node = serve::<R>(limits);
    let writes =
        "GET k\r\nSET k v\r\nDEL k\r\nMULTI\r\nSET k v\r\nEXEC\r\nMULTI\r\nGET k\r\nEXEC\r\nDBSIZE\r\nQUIT\r\n";
    let answer = exchange(node.address(), writes.as_bytes());
    let refused: Vec<&str> = answer.lines().filter(|line| line.starts_with('-')).collect();
    let busy = "BUSY the disk of this node is almost full";
    // SET and DEL, SET as it would be queued, and the transaction that only reads, since it would be a log entry.
    assert_eq!(refused.iter().filter(|line| line.starts_with(&format!("-{busy}"))).count(), 3, "{answer}");
    let discarded = format!("-EXECABORT Transaction discarded because of: {busy}");
    assert_eq!(refused.iter().filter(|line| line.starts_with(&discarded)).count(), 1, "{answer}");
    assert_eq!(refused.len(), 5, "{answer}");
    assert!(answer.starts_with("$-1\r\n-BUSY ") && answer.ends_with(":0\r\n+OK\r\n"), "{answer}");
    assert_eq!(info(node.address(), "disk_refuses_writes"), 1);
    assert_eq!((info(node.address(), "writes_failed"), info(node.address(), "reads_failed")), (3, 1));
    assert!(info(node.address(), "disk_free") > 0);
}

on_every_runtime!(
    a_client_may_send_its_whole_pipeline_before_it_reads,
    clients_that_do_not_read_hold_bounded_memory_and_are_closed_in_time,
    a_client_that_sends_but_does_not_read_is_closed_in_time,
    a_large_transaction_must_go_on,
    the_replies_of_a_transaction_do_not_pile_up,
    an_idle_connection_is_closed_if_that_is_asked_for,
    an_http_request_is_not_executed,
    one_address_has_no_more_clients_than_its_limit,
    a_longer_argument_than_the_limit_is_refused_and_counted,
    a_pipeline_is_read_up_to_its_limit,
    requests_that_are_executed_count_as_memory_besides_those_read_ahead,
    requests_that_were_executed_count_no_more_although_their_client_never_pauses,
    without_memory_only_writes_that_need_it_are_refused,
    writes_are_refused_while_the_disk_is_almost_full_and_reads_go_on,
);

/// A process that is killed when the test ends.
#[cfg(unix)]
struct Process(std::process::Child);

#[cfg(unix)]
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn clients_leave_file_descriptors_for_the_disk_and_learn_why_they_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (client, peer) = (free_address(), free_address());
    let log = std::fs::File::create(folder.path().join("log")).expect("a log");
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 200 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_leasehold"), "serve", "--id", "1"])
        .args(["--peers", &format!("1={peer}"), "--peer-listen", &peer.to_string()])
        .args(["--client-listen", &client.to_string(), "--hold-ms", "300", "--heartbeat-ms", "30", "--data-dir"])
        .arg(folder.path().join("data"))
        .env_remove("RUST_LOG")
        .stdout(std::process::Stdio::null())
        .stderr(log)
        .spawn()
        .expect("a process");
    let mut process = Process(child);
    let mut reply = [0; 5];
    let mut first = loop {
        // It is loading at first.
        if let Ok(mut stream) = TcpStream::connect(client)
            && stream.write_all(b"SET k v\r\n").and_then(|()| stream.read_exact(&mut reply)).is_ok()
            && &reply == b"+OK\r\n"
        {
            break stream;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut clients: Vec<_> = (0..260).map(|_| (connect(client), Vec::new())).collect();
    let (mut refused, mut told) = (0, 0);
    let mut is_open = |(stream, reply): &mut (TcpStream, Vec<u8>)| {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout is set");
        match stream.read_to_end(reply) {
            // Only some are told the reason when many are refused at once.
            Ok(_) if reply.is_empty() => {}
            Ok(_) => {
                assert_eq!(String::from_utf8_lossy(reply), "-ERR max number of clients reached\r\n");
                told += 1;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            // It stays open, or the node has not come to it yet.
            Err(_) => return true,
        }
        refused += 1;
        false
    };
    for _ in 0..100 {
        clients.retain_mut(&mut is_open);
        if clients.len() <= 60 {
            break;
        }
    }
    assert!((200..260).contains(&refused) && told > 0, "{refused} of 260 are refused, {told} with the reason");
    // The disk goes on: the memory tables and journals that this fills need new files.
    let value = vec![b'v'; MIB];
    for number in 0..100 {
        first.write_all(&command(&[b"SET", format!("key {number}").as_bytes(), &value])).expect("it is sent");
        first.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"+OK\r\n");
    }
    drop(clients);
    assert_eq!(process.0.try_wait().expect("a process"), None);
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(log.matches("refusing further clients").count(), 1, "{log}");
    let serves = || {
        let mut stream = TcpStream::connect(client).ok()?;
        stream.write_all(b"PING\r\n").ok()?;
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).ok()?;
        (&reply == b"+PONG\r\n").then_some(())
    };
    while serves().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
}
