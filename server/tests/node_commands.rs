//! Commands about connections and nodes, as clients see them.

#[macro_use]
mod support;
#[path = "support/served.rs"]
mod served;

use leasehold::{ClientOptions, Limits};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use served::{Served, connect, exchange, serve};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

on_every_runtime!(
    connections_see_and_close_each_other,
    settings_change_while_the_node_runs_and_all_or_none,
    commands_are_counted_and_slow_ones_listed,
    the_time_of_a_command_is_not_that_of_its_client,
    commands_are_described_as_redis_describes_them,
    what_a_node_does_not_have_is_answered_as_by_a_redis_without_it,
);

fn node<R: Runtime>() -> Served<R> {
    serve(Limits::default(), ClientOptions::default())
}

/// Sends lines, ends the connection with `QUIT`, and returns the replies.
fn ask<R: Runtime>(node: &Served<R>, lines: &str) -> String {
    let replies = exchange(node.address(), format!("{lines}\r\nQUIT\r\n").as_bytes());
    replies.strip_suffix("+OK\r\n").expect("the reply to QUIT").to_owned()
}

/// A client that stays connected.
struct Client(TcpStream);

impl Client {
    /// Connects, names the connection, and returns its number too.
    fn named<R: Runtime>(node: &Served<R>, name: &str) -> (Client, String) {
        let mut client = Client(connect(node.address()));
        assert_eq!(client.ask(&format!("CLIENT SETNAME {name}")), "+OK");
        let id = client.ask("CLIENT ID").trim_start_matches(':').to_owned();
        (client, id)
    }

    /// Sends a line and returns the line of its reply.
    fn ask(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).expect("the request is sent");
        let (mut reply, mut byte) = (Vec::new(), [0]);
        while !reply.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).expect("a reply");
            reply.push(byte[0]);
        }
        String::from_utf8_lossy(&reply).trim_end().to_owned()
    }

    /// Returns what arrives until the node ends the connection.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        // Unread input may reset it.
        let _ = self.0.read_to_string(&mut rest);
        rest
    }
}

fn connections_see_and_close_each_other<R: Runtime>() {
    let node = node::<R>();
    let (mut one, first) = Client::named(&node, "one");
    let (mut two, second) = Client::named(&node, "two");
    let (mut three, _) = Client::named(&node, "three");
    let list = ask(&node, "CLIENT LIST");
    let own = format!("id={second} addr={} laddr={} name=two ", two.0.local_addr().expect("bound"), node.address());
    assert!(list.contains(&own) && list.contains("name=one ") && list.contains("cmd=client|id user=default"), "{list}");
    assert_eq!(list.matches("id=").count(), 4);
    let listed = ask(&node, &format!("CLIENT LIST ID {second} {first} 99999"));
    assert!(
        listed.contains("name=one ") && listed.contains("name=two ") && !listed.contains("name=three "),
        "{listed}"
    );
    assert_eq!(ask(&node, "CLIENT LIST TYPE pubsub"), "$0\r\n\r\n");
    one.ask("MULTI");
    assert!(ask(&node, "CLIENT LIST").contains(" flags=x db=0 sub=0 psub=0 ssub=0 multi=0 "));
    one.ask("GET k");
    assert!(ask(&node, "CLIENT LIST").contains(" multi=1 "));

    assert_eq!(ask(&node, "CLIENT KILL 1.2.3.4:5"), "-ERR No such client\r\n");
    assert_eq!(ask(&node, "CLIENT KILL ID 99999"), ":0\r\n");
    assert_eq!(ask(&node, "CLIENT KILL USER stranger"), "-ERR No such user 'stranger'\r\n");
    assert_eq!(ask(&node, &format!("CLIENT KILL ID {first}")), ":1\r\n");
    assert_eq!(one.rest(), "");
    let address = two.0.local_addr().expect("bound");
    assert_eq!(ask(&node, &format!("CLIENT KILL {address}")), "+OK\r\n");
    assert_eq!(two.rest(), "");
    // The last client has ended its connection already, and the node may not have noticed that yet.
    while three.ask("CLIENT KILL TYPE normal") != ":0" {}
    assert_eq!(three.ask("CLIENT KILL USER default SKIPME no"), ":1", "it has spared its own connection");
    assert_eq!(three.rest(), "", "it is closed after the reply");
    // It is listed until its task has ended.
    while ask(&node, "CLIENT LIST").matches("id=").count() > 1 {}
}

fn settings_change_while_the_node_runs_and_all_or_none<R: Runtime>() {
    let node = node::<R>();
    assert_eq!(ask(&node, "CONFIG GET maxmemory"), "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n");
    assert_eq!(ask(&node, "SET k v\r\nCONFIG SET maxmemory 1 slowlog-max-len 5\r\nSET k w\r\nGET k"), {
        "+OK\r\n+OK\r\n-OOM command not allowed when used memory > 'maxmemory'.\r\n$1\r\nv\r\n"
    });
    let failed = |argument: &str, reason: &str| {
        format!("-ERR CONFIG SET failed (possibly related to argument '{argument}') - {reason}\r\n")
    };
    for (line, reply) in [
        ("maxmemory 0 nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n".to_owned()),
        ("maxmemory 0 maxmemory 0", failed("maxmemory", "duplicate parameter")),
        ("maxmemory x", failed("maxmemory", "argument must be a memory value")),
        ("maxmemory 0 slowlog-max-len x", failed("slowlog-max-len", "argument couldn't be parsed into an integer")),
        ("maxmemory 0 port 1", failed("port", "can't set immutable config; a node has it from its flags")),
        ("loglevel x", failed("loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning")),
    ] {
        assert_eq!(ask(&node, &format!("CONFIG SET {line}")), reply, "{line}");
    }
    assert_eq!(ask(&node, "CONFIG SET databases 1 save ''"), "+OK\r\n", "they have these values");
    let kept = ask(&node, "CONFIG SET hash-max-ziplist-value 9\r\nCONFIG GET HASH-max-listpack-value");
    assert_eq!(kept, "+OK\r\n*2\r\n$23\r\nHASH-max-listpack-value\r\n$1\r\n9\r\n");
    let get = ask(&node, "CONFIG GET maxmemory slowlog-max-len");
    assert_eq!(get, "*4\r\n$9\r\nmaxmemory\r\n$1\r\n1\r\n$15\r\nslowlog-max-len\r\n$1\r\n5\r\n");
    assert_eq!(ask(&node, "CONFIG SET maxmemory 100mb\r\nSET k w\r\nMEMORY USAGE k\r\nMEMORY USAGE none"), {
        "+OK\r\n+OK\r\n:130\r\n$-1\r\n"
    });
    assert!(ask(&node, "INFO memory").contains("\r\nmaxmemory:104857600\r\nmaxmemory_human:100.00M\r\n"));
}

fn commands_are_counted_and_slow_ones_listed<R: Runtime>() {
    let node = node::<R>();
    ask(&node, "CONFIG SET slowlog-log-slower-than 0\r\nSLOWLOG RESET");
    ask(&node, "SET a 1");
    let slow = ask(&node, "SLOWLOG GET 9");
    assert!(slow.contains("$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n$26\r\n... (with 1 more commands)"), "{slow}");
    assert_eq!(ask(&node, "CONFIG SET slowlog-log-slower-than -1\r\nSLOWLOG RESET"), "+OK\r\n+OK\r\n");
    assert_eq!(ask(&node, "SLOWLOG LEN"), ":0\r\n");
    ask(&node, "CONFIG RESETSTAT");
    ask(&node, "GET a\r\nGET a\r\nINCR a\r\nINCRBY a x\r\nNOSUCH\r\nGET");
    let info = ask(&node, "INFO everything");
    assert!(info.contains("\r\ncmdstat_get:calls=3,usec="), "{info}");
    assert!(info.contains("\r\ncmdstat_incr:calls=1,usec="), "{info}");
    assert!(info.contains("\r\nerrorstat_ERR:count=3\r\n") && info.contains("\r\ntotal_error_replies:3\r\n"), "{info}");
    for field in
        ["redis_mode:standalone", "arch_bits:64", "cluster_enabled:0", "total_connections_received:", "run_id:"]
    {
        assert!(info.contains(&format!("\r\n{field}")), "{field} in {info}");
    }
    assert!(!ask(&node, "INFO").contains("cmdstat_"), "they are printed on request");
    ask(&node, "SET b 1 EX 1000");
    assert!(ask(&node, "INFO keyspace").contains("\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n"));
    assert!(ask(&node, "INFO commandstats").starts_with('$'));
}

fn commands_are_described_as_redis_describes_them<R: Runtime>() {
    let node = node::<R>();
    let get = "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n+@read\r\n+@string\r\n\
               +@fast\r\n*0\r\n*1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\n\
               type\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n\
               $5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";
    let described = ask(&node, "HELLO 3\r\nCOMMAND INFO get");
    assert!(described.ends_with(get), "{described}");
    for (line, reply) in [
        ("COMMAND INFO nosuch", "*1\r\n*-1\r\n"),
        ("COMMAND GETKEYS mset a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("COMMAND GETKEYS ping x", "-ERR The command has no key arguments\r\n"),
        ("COMMAND GETKEYS nosuch x", "-ERR Invalid command specified\r\n"),
        ("COMMAND GETKEYS get a b", "-ERR Invalid number of arguments specified for command\r\n"),
        ("COMMAND GETKEYSANDFLAGS get a", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n"),
        ("COMMAND LIST FILTERBY PATTERN mse?", "*1\r\n$4\r\nmset\r\n"),
        ("COMMAND LIST FILTERBY MODULE x", "*0\r\n"),
        ("COMMAND LIST FILTERBY ACLCAT nosuch", "*0\r\n"),
        ("ACL WHOAMI", "$7\r\ndefault\r\n"),
        ("ACL CAT nosuch", "-ERR Unknown category 'nosuch'\r\n"),
    ] {
        assert_eq!(ask(&node, line), reply, "{line}");
    }
    assert!(ask(&node, "COMMAND LIST FILTERBY ACLCAT transaction").contains("$4\r\nexec\r\n"));
    let docs = ask(&node, "COMMAND DOCS get");
    assert!(
        docs.starts_with("*2\r\n$3\r\nget\r\n*6\r\n$7\r\nsummary\r\n") && docs.contains("$5\r\nsince\r\n$5\r\n1.0.0")
    );
    assert!(ask(&node, "CLIENT HELP").contains("\r\n+LIST\r\n+    Describes the connections of this node.\r\n"));
}

fn what_a_node_does_not_have_is_answered_as_by_a_redis_without_it<R: Runtime>() {
    let node = node::<R>();
    for (line, reply) in [
        ("FUNCTION FLUSH", "+OK\r\n"),
        ("SCRIPT FLUSH SYNC", "+OK\r\n"),
        ("SCRIPT EXISTS a b", "*2\r\n:0\r\n:0\r\n"),
        ("MODULE LIST", "*0\r\n"),
        ("LATENCY LATEST", "*0\r\n"),
        ("LATENCY RESET", ":0\r\n"),
        ("CLIENT GETREDIR", ":-1\r\n"),
        ("CLIENT UNPAUSE", "+OK\r\n"),
        ("CLIENT TRACKING off", "+OK\r\n"),
        ("WAIT 0 0", ":0\r\n"),
        ("SWAPDB 0 0", "+OK\r\n"),
    ] {
        assert_eq!(ask(&node, line), reply, "{line}");
    }
    for (line, code) in [
        ("DEBUG SLEEP 1", "-ERR DEBUG command not allowed."),
        ("SAVE", "-ERR there is nothing to save"),
        ("SHUTDOWN", "-ERR SHUTDOWN is not supported; stop the node with SIGTERM"),
        ("REPLICAOF NO ONE", "-ERR members are not changed by this command"),
        ("CONFIG REWRITE", "-ERR CONFIG REWRITE is not supported"),
        ("CLIENT PAUSE 100", "-ERR CLIENT PAUSE is not supported"),
        ("CLIENT TRACKING on", "-ERR client-side caching is not supported"),
        ("ACL SETUSER me", "-ERR users are not changed by commands"),
    ] {
        assert!(ask(&node, line).starts_with(code), "{line}");
    }
    let role = ask(&node, "ROLE");
    assert!(role.starts_with("*3\r\n$6\r\nmaster\r\n:") && role.ends_with("\r\n*0\r\n"), "{role}");
    assert!(ask(&node, "TIME").starts_with("*2\r\n$10\r\n"));
    assert!(ask(&node, "LOLWUT").contains("Leasehold ver."));
    assert!(ask(&node, "MEMORY STATS").contains("$10\r\nkeys.count\r\n:0\r\n"));
}

fn the_time_of_a_command_is_not_that_of_its_client<R: Runtime>() {
    // Longer than a busy machine may stop the node while it executes the command.
    const IDLE: Duration = Duration::from_secs(4);
    let node = node::<R>();
    // More than the buffers of both sockets hold.
    let set = served::command(&[b"SET", b"k", &vec![b'v'; 16 << 20]]);
    assert_eq!(exchange(node.address(), &[&set[..], b"QUIT\r\n"].concat()), "+OK\r\n+OK\r\n");
    let mut client = connect(node.address());
    // Alone, because the commands of a batch share its time.
    client.write_all(b"GET k\r\n").expect("it is sent");
    std::thread::sleep(IDLE);
    client.read_exact(&mut vec![0; "$16777216\r\n\r\n".len() + (16 << 20)]).expect("the value");
    let line = loop {
        let counted = ask(&node, "INFO commandstats");
        if let Some(line) = counted.lines().find(|line| line.starts_with("cmdstat_get:")) {
            break line.to_owned();
        }
    };
    let micros = line.split("usec=").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    assert!(
        micros.is_some_and(|micros: u128| micros < IDLE.as_micros()),
        "{line}, but the client took nothing for {IDLE:?}"
    );
}
