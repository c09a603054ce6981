//! Local reads with real processes whose links pass through a proxy.

use leasehold_tests::processes::{PATIENCE, Processes, eventually, lease_info, now};
use leasehold_tests::proxy::{Pace, Passage, Proxy};
use redis::{Connection, cmd};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A lease outlasts pauses of the machine. A node that does not acknowledge within four heartbeats gets no sublease, so a
/// heartbeat is several times a round trip between zones.
const FLAGS: [&str; 4] = ["--hold-ms", "4000", "--heartbeat-ms", "400"];
/// The delay of each direction between the two zones.
const DELAY: Duration = Duration::from_millis(50);
/// The reads of a batch.
const READS: usize = 1_000;
/// The attempts at what a pause of the machine spoils, because a sublease ends meanwhile.
const ATTEMPTS: usize = 20;

/// Returns a number of `INFO lease`.
fn number(connection: &mut Connection, name: &str) -> u64 {
    let info = lease_info(connection);
    info.get(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in {info:?}"))
}

/// Returns the frames that a node has sent to others.
fn frames_sent(connection: &mut Connection) -> u64 {
    let info: String = cmd("INFO").arg("links").query(connection).expect("the node answers");
    let sent = info.lines().find_map(|line| line.strip_prefix("frames_sent:"));
    sent.and_then(|sent| sent.parse().ok()).unwrap_or_else(|| panic!("no frames_sent in {info}"))
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let held = eventually(PATIENCE, || holds().then_some(()));
    assert!(held.is_some(), "it never came that {what}");
}

fn set(connection: &mut Connection, value: usize) -> Duration {
    let sent = now();
    cmd("SET").arg("k").arg(value).exec(connection).expect("a leader executes it");
    sent.elapsed()
}

/// Reads often, and returns the time of each read. All of them must return this value.
fn gets(connection: &mut Connection, value: usize) -> Vec<Duration> {
    let get = |_| {
        let sent = now();
        let found: Option<usize> = cmd("GET").arg("k").query(connection).expect("a node answers");
        assert_eq!(found, Some(value), "a stale read");
        sent.elapsed()
    };
    (0..READS).map(get).collect()
}

/// Returns the median and the 99th percentile.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// Starts three voters, and a learner that reads locally in another zone.
fn with_distant_learner() -> (Processes, Proxy) {
    let mut cluster = Processes::prepare(3, &FLAGS);
    cluster.add_recipe(4);
    let proxy = Proxy::between(&cluster.peer_addresses()).expect("sockets and threads for the links");
    let pace = Pace { delay: DELAY, jitter: Duration::ZERO, bytes_per_second: 100 << 20 };
    for (from, to) in proxy.pairs().into_iter().filter(|(from, to)| *from == 4 || *to == 4) {
        proxy.set(from, to, Passage::Slow(pace));
    }
    let learner = cluster.recipes.get_mut(&4).expect("a node of this cluster");
    learner.peers = (1..=3).map(|to| (to, proxy.address(4, to).to_string())).collect();
    // The others dial it through the proxy too: all of them by the link of node 1.
    let address = proxy.address(1, 4).to_string();
    let flags = ["--local-reads", "--pin-peers", "--announce", &address];
    learner.flags.extend(flags.map(str::to_owned));
    (1..=4).for_each(|id| cluster.start_node(id));
    let leader = cluster.leader();
    let _: String = cluster.repeat(leader, cmd("LEASEHOLD").arg("ADD").arg(4).arg(&address).arg("LEARNER"));
    (cluster, proxy)
}

/// It takes some seconds, because a process in another zone must join and every write crosses to it and back.
#[test]
fn a_learner_in_another_zone_reads_without_a_message_and_writes_wait_for_its_round_trip() {
    let (cluster, _proxy) = with_distant_learner();
    let (mut near, mut far) = (cluster.connect(cluster.leader()), cluster.connect(4));
    wait("the learner holds a sublease", || number(&mut far, "sublease_valid") == 1);
    let (mut writes, mut reads, mut at_leader, mut attempts) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while reads.len() < 10 * READS {
        attempts += 1;
        assert!(attempts <= ATTEMPTS, "the learner did not read by itself in {attempts} attempts");
        writes.push(set(&mut near, attempts));
        // The value is in flight at the learner now, so that its first read may wait. It is the right one all the same.
        let found: Option<usize> = cmd("GET").arg("k").query(&mut far).expect("a node answers");
        assert_eq!(found, Some(attempts), "a stale read");
        let before = (number(&mut far, "reads_local"), frames_sent(&mut far));
        let times = gets(&mut far, attempts);
        let after = (number(&mut far, "reads_local"), frames_sent(&mut far));
        if after.0 - before.0 < READS as u64 {
            continue;
        }
        assert!(after.1 - before.1 < READS as u64 / 4, "{} frames for {READS} reads", after.1 - before.1);
        reads.extend(times);
        at_leader.extend(gets(&mut near, attempts));
    }
    let ([far_median, far_p99], [near_median, near_p99]) = (percentiles(reads), percentiles(at_leader));
    let [write_median, write_p99] = percentiles(writes);
    println!(
        "GET at the learner {far_median:?} (p99 {far_p99:?}), at the leader {near_median:?} (p99 {near_p99:?}): p99 \
         {:.2} times that of the leader; SET at the leader {write_median:?} (p99 {write_p99:?})",
        far_p99.as_secs_f64() / near_p99.as_secs_f64()
    );
    assert!(far_median < 2 * DELAY, "reads take a round trip: {far_median:?}");
    assert!(write_median >= 2 * DELAY, "writes do not wait for the learner: {write_median:?}");
}

/// Returns the value or the error of the next reply; `None` if nothing arrives in time.
fn reply(stream: &mut BufReader<TcpStream>, timeout: Duration) -> Option<String> {
    stream.get_ref().set_read_timeout(Some(timeout)).expect("a timeout is set");
    match stream.fill_buf() {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
        arrived => assert!(!arrived.expect("the node answers").is_empty(), "it closed the connection"),
    }
    stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
    let mut line = String::new();
    stream.read_line(&mut line).expect("a whole reply");
    if line.starts_with('$') {
        line.clear();
        stream.read_line(&mut line).expect("a whole reply");
    }
    Some(line.trim_end().to_owned())
}

/// Sends a pipeline to a reader that has received a write of its second key and cannot learn that it is committed. Returns
/// the replies: those that arrive meanwhile, and those that do once all links work again. Returns `None` if the first one
/// is not by a sublease.
fn pipeline_of_a_key_in_flight(cluster: &Processes, proxy: &Proxy, value: &str) -> Option<[Vec<String>; 2]> {
    let (leader, others) = cluster.roles();
    let [reader, other] = others[..] else { panic!("three nodes were started") };
    let (mut at_leader, mut at_reader) = (cluster.connect(leader), cluster.connect(reader));
    let connect = |id| TcpStream::connect(("127.0.0.1", cluster.recipes[&id].client_port)).expect("it listens");
    let (mut writer, mut stream) = (connect(leader), BufReader::new(connect(reader)));
    wait("both followers hold subleases", || number(&mut at_leader, "obligations") == 2);
    wait("everything is applied", || {
        let commit = number(&mut at_leader, "commit_index");
        number(&mut at_reader, "sublease_valid") == 1 && number(&mut at_reader, "applied_index") == commit
    });
    let before = number(&mut at_leader, "commit_index");
    // The other follower's acknowledgements do not arrive, so the leader shows nothing more while that one may read.
    proxy.set(other, leader, Passage::Stalled);
    writer.write_all(format!("SET k {value}\r\n").as_bytes()).expect("it is sent");
    wait("the write is committed", || number(&mut at_leader, "commit_index") > before);
    proxy.set(reader, leader, Passage::Stalled);
    proxy.set(leader, reader, Passage::Stalled);
    let local = number(&mut at_reader, "reads_local");
    stream.get_mut().write_all(b"GET a\r\nGET k\r\nGET b\r\n").expect("it is sent");
    let mut early = Vec::from_iter(reply(&mut stream, PATIENCE));
    // Nothing follows, however long that takes: a node gives a read up after five seconds.
    early.extend(reply(&mut stream, Duration::from_millis(300)));
    let was_local = number(&mut at_reader, "reads_local") == local + 1;
    proxy.heal();
    let late = (early.len()..3).filter_map(|_| reply(&mut stream, PATIENCE)).collect();
    was_local.then_some([early, late])
}

/// It takes some seconds, because a leader must be elected under a hold of four.
#[test]
fn the_reads_of_a_pipeline_before_one_of_a_key_in_flight_are_answered_at_once() {
    let mut cluster = Processes::prepare(3, &FLAGS);
    cluster.recipes.values_mut().for_each(|recipe| recipe.flags.push("--local-reads".to_owned()));
    let proxy = Proxy::through(&mut cluster).expect("sockets and threads for the links");
    (1..=3).for_each(|id| cluster.start_node(id));
    let leader = cluster.leader();
    let _: String = cluster.repeat(leader, cmd("MSET").arg("a").arg("A").arg("b").arg("B").arg("k").arg(0));
    for attempt in 1..=ATTEMPTS {
        let replies = pipeline_of_a_key_in_flight(&cluster, &proxy, &attempt.to_string());
        let Some([early, late]) = replies else { continue };
        assert_eq!(early, ["A"], "the first reply, and no more");
        let [middle, last] = &late[..] else { panic!("two more replies, and not {late:?}") };
        // The write was not acknowledged when it was read, so the value before it is right, too.
        if middle.parse().is_ok_and(|value: usize| value <= attempt) && last == "B" {
            return;
        }
        assert!(middle.starts_with('-'), "the replies are in order: {late:?}");
    }
    panic!("in {ATTEMPTS} attempts no pipeline was answered in two parts");
}
