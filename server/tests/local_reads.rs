//! Reads that followers answer by subleases, in clusters of three nodes with real sockets.

#[path = "support/members.rs"]
mod members;
#[path = "support/served.rs"]
mod served;
#[macro_use]
mod support;

use leasehold::NodeOptions;
use leasehold_core::{Config, Options};
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use members::{Kill, Member, STEADY_HOLD};
use std::num::NonZeroU16;
use std::time::Duration;

on_every_runtime!(
    a_reader_answers_without_a_message_and_sees_every_write,
    writes_wait_for_a_reader_and_go_on_without_one_that_was_killed,
    a_key_that_dies_is_gone_on_a_reader_too,
    a_node_returns_its_sublease_when_it_is_told_to,
    leadership_is_transferred_although_readers_hold_subleases,
    the_numbers_of_several_groups_are_added_up,
);

/// The times that a condition is awaited, with a pause between two looks: many, for a loaded machine.
const ATTEMPTS: u32 = 3000;

/// The interval at which these nodes publish what they have counted: half a heartbeat.
const TICK: Duration = Duration::from_millis(150);

/// Starts three nodes, of which those that follow read locally, and returns the leader first.
fn cluster<R: Kill>(hold: Duration) -> [Member<R>; 3] {
    let timing = Config::new(Options::new(hold, 1000)).expect("a valid configuration");
    let members = members::start(3, |options| NodeOptions { timing, local_reads: true, ..options });
    members.try_into().unwrap_or_else(|_| panic!("three nodes were started"))
}

/// Returns a number of `INFO lease`.
fn number<R: Kill>(member: &Member<R>, name: &str) -> u64 {
    let info = member.exchange(b"INFO lease\r\nQUIT\r\n");
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in {info}"))
}

/// Returns how many writes of a leader have waited for readers so far. The number is published with each tick, so it is
/// awaited that everything is shown, and then that the number stays the same for longer than a tick.
fn delayed<R: Kill>(leader: &Member<R>) -> u64 {
    const NAME: &str = "writes_delayed_by_readers";
    wait("everything is shown", || number(leader, "commit_index") == number(leader, "exposed_index"));
    let mut last = number(leader, NAME);
    wait("the number of delayed writes stays the same", || {
        std::thread::sleep(TICK * 3);
        let before = std::mem::replace(&mut last, number(leader, NAME));
        before == last
    });
    last
}

/// Waits until a number of `INFO lease` is this one.
fn await_number<R: Kill>(member: &Member<R>, name: &str, expected: u64) {
    wait(&format!("{name} is {expected}"), || number(member, name) == expected);
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..ATTEMPTS {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it never came that {what}");
}

fn a_reader_answers_without_a_message_and_sees_every_write<R: Kill>() {
    let [leader, reader, _] = &cluster::<R>(Duration::from_secs(2));
    await_number(reader, "sublease_valid", 1);
    const READS: usize = 100;
    // On a loaded machine a sublease may run out. Then the reads go to the leader, and are repeated.
    let mut value = 0;
    wait("a reader answers a whole pipeline by itself", || {
        value += 1;
        assert_eq!(leader.exchange(format!("SET k {value}\r\nQUIT\r\n").as_bytes()), "+OK\r\n+OK\r\n");
        let local = reader.node.counters().reads_local.get();
        let (length, value) = (value.to_string().len(), value.to_string());
        let reply = reader.exchange(format!("{}QUIT\r\n", "GET k\r\n".repeat(READS)).as_bytes());
        assert_eq!(reply, format!("{}+OK\r\n", format!("${length}\r\n{value}\r\n").repeat(READS)), "a stale read");
        reader.node.counters().reads_local.get() == local + READS as u64
    });
    // Reads of all keys and of many.
    let reply = reader.exchange(b"DBSIZE\r\nKEYS *\r\nEXISTS k k\r\nTTL k\r\nQUIT\r\n");
    assert_eq!(reply, ":1\r\n*1\r\n$1\r\nk\r\n:2\r\n:-1\r\n+OK\r\n");
    assert_eq!(number(leader, "sublease_valid"), 0, "it has the lease");
    wait("the leader shows what it granted", || number(leader, "subleases_granted") >= 2);
    wait("the reader shows that it got a sublease", || number(reader, "subleases_received") >= 1);
    assert!(number(reader, "subleases_requested") >= 1);
    wait("the leader shows what its readers have", || {
        number(leader, "exposed_index") == number(leader, "commit_index")
    });
}

fn writes_wait_for_a_reader_and_go_on_without_one_that_was_killed<R: Kill>() {
    // The write is sent well before the sublease ends.
    let [leader, reader, other] = &cluster::<R>(Duration::from_secs(3));
    await_number(leader, "obligations", 2);
    assert_eq!(leader.exchange(b"SET k 1\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    let before = delayed(leader);
    reader.runtime.kill();
    // A node fails a write that has no outcome after 5 s.
    assert_eq!(leader.exchange(b"SET k 2\r\nGET k\r\nQUIT\r\n"), "+OK\r\n$1\r\n2\r\n+OK\r\n");
    assert!(delayed(leader) > before, "by the reader that was killed");
    assert_eq!(other.exchange(b"GET k\r\nQUIT\r\n"), "$1\r\n2\r\n+OK\r\n");
    await_number(leader, "obligations", 1);
    // The reader that lives has its sublease, and the one that was killed blocks nothing.
    assert_eq!(leader.exchange(b"SET k 3\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    await_number(leader, "obligations", 1);
    wait("the write is shown", || number(leader, "exposed_index") == number(leader, "commit_index"));
}

fn a_key_that_dies_is_gone_on_a_reader_too<R: Kill>() {
    let [leader, reader, _] = &cluster::<R>(Duration::from_secs(2));
    await_number(reader, "sublease_valid", 1);
    let local = reader.node.counters().reads_local.get();
    for round in 0..20 {
        assert_eq!(leader.exchange(b"SET k v PX 30\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
        wait("the leader has removed the key", || {
            leader.exchange(b"SET other x\r\nGET k\r\nQUIT\r\n") == "+OK\r\n$-1\r\n+OK\r\n"
        });
        assert_eq!(reader.exchange(b"GET k\r\nQUIT\r\n"), "$-1\r\n+OK\r\n", "in round {round}");
    }
    assert!(reader.node.counters().reads_local.get() > local, "by its sublease");
}

fn a_node_returns_its_sublease_when_it_is_told_to<R: Kill>() {
    let [leader, reader, other] = &cluster::<R>(Duration::from_secs(2));
    await_number(leader, "obligations", 2);
    for member in [reader, other] {
        assert_eq!(member.exchange(b"LEASEHOLD LOCALREADS OFF\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
        await_number(member, "sublease_valid", 0);
    }
    await_number(leader, "obligations", 0);
    let local = reader.node.counters().reads_local.get();
    assert_eq!(reader.exchange(b"GET k\r\nQUIT\r\n"), "$-1\r\n+OK\r\n");
    assert_eq!(reader.node.counters().reads_local.get(), local);
    assert_eq!(reader.exchange(b"LEASEHOLD LOCALREADS ON\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    await_number(reader, "sublease_valid", 1);
}

fn leadership_is_transferred_although_readers_hold_subleases<R: Kill>() {
    let [leader, reader, _] = &cluster::<R>(Duration::from_secs(2));
    await_number(leader, "obligations", 2);
    assert_eq!(leader.exchange(b"SET k 1\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    let transfer = format!("LEASEHOLD TRANSFER {}\r\nQUIT\r\n", number(reader, "node_id"));
    assert_eq!(leader.exchange(transfer.as_bytes()), "+OK\r\n+OK\r\n");
    await_number(leader, "sublease_valid", 1);
    assert_eq!(reader.exchange(b"SET k 2\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    assert_eq!(leader.exchange(b"GET k\r\nQUIT\r\n"), "$1\r\n2\r\n+OK\r\n");
}

fn the_numbers_of_several_groups_are_added_up<R: Kill>() {
    const GROUPS: u64 = 3;
    let timing = served::timing(STEADY_HOLD);
    let groups = NonZeroU16::new(GROUPS as u16);
    let members = members::start::<R>(3, |options| NodeOptions { timing, local_reads: true, groups, ..options });
    wait("every leader of a group lends to both others", || {
        let obligations: u64 = members.iter().map(|member| number(member, "obligations")).sum();
        obligations == 2 * GROUPS
    });
    wait("every node has a sublease of each group that it does not lead", || {
        members.iter().all(|member| {
            let groups = member.exchange(b"INFO groups\r\nQUIT\r\n");
            let (led, lent) = (groups.matches("role=leader").count(), groups.matches("sublease=1").count());
            let (valid, left) = (number(member, "sublease_valid"), number(member, "sublease_remaining_us"));
            led + lent == GROUPS as usize && (valid == 1) == (lent > 0) && (left > 0) == (lent > 0)
        })
    });
    let member = members.iter().find(|member| number(member, "sublease_valid") == 1).expect("no node leads alone");
    assert_eq!(member.exchange(b"LEASEHOLD LOCALREADS OFF\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    await_number(member, "sublease_valid", 0);
    assert_eq!(number(member, "stepped_down_blocked_by_readers"), 0);
}
