//! A node that starts answers its clients before it serves them.

#[path = "support/served.rs"]
mod served;
#[macro_use]
mod support;

use leasehold::{ClientOptions, Node, NodeOptions};
use leasehold_node::Role;
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use served::{free_address, options};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const KEYS: usize = 60_000;

fn start<R: Runtime>(runtime: &R, client: SocketAddr, folder: &Path) -> Result<Node<R>, leasehold::StartError> {
    start_with(runtime, client, folder, ClientOptions::default())
}

fn start_with<R: Runtime>(
    runtime: &R,
    client: SocketAddr,
    folder: &Path,
    clients: ClientOptions,
) -> Result<Node<R>, leasehold::StartError> {
    runtime.block_on(Node::start(runtime, NodeOptions { clients, ..options(folder, client.to_string()) }))
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
            return BufReader::new(stream);
        }
        std::thread::yield_now();
    }
}

fn ask(client: &mut BufReader<TcpStream>, request: &str) -> String {
    client.get_mut().write_all(request.as_bytes()).expect("the request is sent");
    let mut line = String::new();
    client.read_line(&mut line).expect("a reply");
    line
}

fn clients_of_a_node_that_loads_learn_that_and_are_served_afterwards<R: Runtime>() {
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let runtime = R::start("node", 2).expect("a runtime");
    let node = start(&runtime, address, folder.path()).expect("the node starts");
    runtime.block_on(node.handle().wait_status(|status| status.role == Role::Leader));
    let mut client = connect(address);
    for first in (0..KEYS).step_by(1000) {
        let pairs: String = (first..first + 1000).map(|key| format!(" key:{key} value-of-{key}")).collect();
        assert_eq!(ask(&mut client, &format!("MSET{pairs}\r\n")), "+OK\r\n");
    }
    runtime.block_on(node.stop());
    drop((client, node));
    in_time(|| visit(&runtime, address, folder.path()));

    // With users, requests must be short from the start.
    let users = folder.path().join("users");
    std::fs::write(&users, format!("root sha256:{} admin\n", "0".repeat(64))).expect("a file");
    let mut clients = ClientOptions::default();
    clients.users = Some(users);
    in_time(|| {
        await_closed(address);
        std::thread::scope(|scope| {
            let start = || start_with(&runtime, address, folder.path(), clients.clone()).expect("the node starts");
            let starting = scope.spawn(start);
            let mut client = connect(address);
            let first = ask(&mut client, "PING\r\n*2\r\n$16777216\r\n");
            assert_eq!(ask(&mut client, ""), "-ERR Protocol error: unauthenticated bulk length\r\n");
            runtime.block_on(starting.join().expect("no panic").stop());
            if is_refused(&first) { Ok(()) } else { Err(first) }
        })
    });
}

/// Repeats a visit to a node that loads, of which a client of a busy machine may see too little.
fn in_time(visit: impl Fn() -> Result<(), String>) {
    let mut late = String::new();
    for _ in 0..20 {
        match visit() {
            Ok(()) => return,
            Err(reply) => late = reply,
        }
    }
    panic!("a node that loads replied {late}");
}

/// Waits until the task of a node that has stopped frees its port.
fn await_closed(address: SocketAddr) {
    while TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
}

fn is_refused(reply: &str) -> bool {
    reply.starts_with("-LOADING ")
}

/// Starts a node, visits it while it loads and when it serves, and stops it. Returns the reply of a node that loaded no
/// more when it was visited.
fn visit<R: Runtime>(runtime: &R, address: SocketAddr, folder: &Path) -> Result<(), String> {
    await_closed(address);
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| start(runtime, address, folder).expect("the node starts"));
        let visited = visit_loading(address);
        let node = starting.join().expect("no panic");
        runtime.block_on(node.handle().wait_status(|status| status.role == Role::Leader));
        let visited = visited.map(|[mut client, mut halves, mut whole]| {
            assert_eq!(ask(&mut client, "IZE\r\n"), format!(":{KEYS}\r\n"));
            // A transaction whose beginning was refused is not executed command by command.
            let mut answer = String::new();
            assert_eq!(halves.read_to_string(&mut answer).expect("the node closes the connection"), 0, "{answer}");
            assert!(is_refused(&ask(&mut whole, "DBSIZE\r\n")));
            assert!(is_refused(&ask(&mut whole, "")));
            assert_eq!(ask(&mut whole, ""), format!(":{KEYS}\r\n"));
        });
        runtime.block_on(node.stop());
        visited
    })
}

/// Visits a node that loads. Returns a client that has sent a part of a command, one that has begun a transaction, and
/// one that has sent a whole transaction and read the first reply.
fn visit_loading(address: SocketAddr) -> Result<[BufReader<TcpStream>; 3], String> {
    let refused = |reply: String| if is_refused(&reply) { Ok(()) } else { Err(reply) };
    let mut client = connect(address);
    let reply = ask(&mut client, "PING\r\n");
    if reply != "-LOADING Leasehold is loading the dataset in memory\r\n" {
        return Err(reply);
    }
    let header = ask(&mut client, "INFO\r\n");
    let length: usize = header[1..].trim_end().parse().expect("the length of a string");
    let mut info = vec![0; length + 2];
    client.read_exact(&mut info).expect("the string");
    let info = String::from_utf8_lossy(&info);
    if !info.contains("\r\nloading:1\r\n") {
        return Err(info.into_owned());
    }
    // The beginning of a command that is complete only when the node serves.
    client.get_mut().write_all(b"*1\r\n$6\r\nDBS").expect("the request is sent");
    // The rest of the request of a browser is not executed, now or once the node serves.
    let mut browser = connect(address);
    let mut answer = String::new();
    browser.get_mut().write_all(b"POST / HTTP/1.1\r\nSET k v\r\n").expect("the request is sent");
    assert_eq!(browser.read_to_string(&mut answer).expect("the node closes the connection"), 0, "{answer}");
    let mut halves = connect(address);
    refused(ask(&mut halves, "MULTI\r\n"))?;
    let mut whole = connect(address);
    refused(ask(&mut whole, "MULTI\r\nSET k v\r\nEXEC\r\n"))?;
    Ok([client, halves, whole])
}

fn a_node_that_cannot_start_closes_its_connections<R: Runtime>() {
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    std::fs::write(folder.path().join("data/foreign"), "not ours").expect("a file");
    let runtime = R::start("node", 2).expect("a runtime");
    let failed = start(&runtime, address, folder.path());
    assert!(failed.is_err());
    await_closed(address);
}

on_every_runtime!(
    clients_of_a_node_that_loads_learn_that_and_are_served_afterwards,
    a_node_that_cannot_start_closes_its_connections,
);
