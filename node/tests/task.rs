//! The task that runs a node answers every request and ends when it cannot go on. A test polls every task and thread by
//! hand.

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::io::Cursor;
use leasehold_clock::ManualClock;
use leasehold_core::{Config, Instant, NoLease, NodeId, Options as Timing};
use leasehold_node::ports::{Applied, Batch, Disk, GroupId, Lane, Links, NotSent, Recovered, StateMachine};
use leasehold_node::{
    AddGroupError, GroupOptions, Handle, NodeOptions, REQUEST_TIMEOUT, RequestError, Role, Start, StartGroup,
};
use leasehold_raft::wire::{HardState, Membership};
use leasehold_runtime::{Runtime, ThreadPolicy};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::{GROUP, HOLD, List, TICK, UNKNOWN};

/// A runtime whose tasks and threads a test polls.
#[derive(Clone, Default)]
struct ByHand(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    /// Tasks under the empty name, and threads under theirs.
    tasks: BTreeMap<String, BoxFuture<'static, ()>>,
    /// The number of times that every timer has fired.
    timers_fired: u64,
}

impl ByHand {
    /// Polls a task or thread, unless it has ended.
    fn poll(&self, name: &str) {
        let Some(mut task) = self.0.lock().tasks.remove(name) else { return };
        // Twice, because the node's task yields once per turn.
        for _ in 0..2 {
            if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return;
            }
        }
        self.0.lock().tasks.insert(name.to_owned(), task);
    }

    /// Drops a task or thread, as the end of the runtime or a panic does.
    fn kill(&self, name: &str) {
        let task = self.0.lock().tasks.remove(name);
        assert!(task.is_some(), "{name:?} is not running");
    }

    fn is_running(&self, name: &str) -> bool {
        self.0.lock().tasks.contains_key(name)
    }
}

#[async_trait]
impl Runtime for ByHand {
    const NAME: &'static str = "by hand";
    type Stream = Cursor<Vec<u8>>;
    type Listener = ();

    fn start(_: &str, _: usize) -> io::Result<Self> {
        Ok(ByHand::default())
    }

    fn block_on<F: Future>(&self, _: F) -> F::Output {
        unreachable!("a node does not block")
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().tasks.insert(String::new(), Box::pin(task));
    }

    fn spawn_thread(
        &self,
        name: &str,
        _: ThreadPolicy,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        self.0.lock().tasks.insert(name.to_owned(), Box::pin(task));
        Ok(())
    }

    fn sleep(&self, _: Duration) -> impl Future<Output = ()> + Send + 'static {
        let world = self.0.clone();
        let set_at = world.lock().timers_fired;
        poll_fn(move |_| if world.lock().timers_fired > set_at { Poll::Ready(()) } else { Poll::Pending })
    }

    async fn listen(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_address(&self, (): &()) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept(&self, (): &()) -> io::Result<(Self::Stream, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _: &str) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A disk that keeps nothing, and fails once the test says so.
struct Forgetful {
    fails: Arc<Mutex<bool>>,
    /// The number of commits without batches that are needed to delete what is left.
    left: Arc<Mutex<usize>>,
}

impl Disk for Forgetful {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        if batches.is_empty() {
            let mut left = self.left.lock();
            *left = left.checked_sub(1).expect("something is left");
        }
        if *self.fails.lock() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn has_leftovers(&self) -> bool {
        *self.left.lock() > 0
    }
}

struct Nowhere;

impl Links for Nowhere {
    fn send(&self, _: NodeId, _: Lane, _: Bytes) -> Result<(), NotSent> {
        Err(NotSent)
    }
}

/// The number of groups on the node.
const GROUPS: u32 = 3;

/// A running node that is the only member of its groups.
struct Single {
    runtime: ByHand,
    clock: ManualClock,
    disk_fails: Arc<Mutex<bool>>,
    disk_left: Arc<Mutex<usize>>,
    /// The handle to the first group.
    handle: Handle<List>,
    handles: BTreeMap<u32, Handle<List>>,
}

impl Single {
    fn start() -> Single {
        Single::recovering(Recovered::default)
    }

    fn recovering(recovered: impl Fn() -> Recovered<<List as StateMachine>::State>) -> Single {
        let runtime = ByHand::default();
        let clock = ManualClock::new(Instant::from_nanos(1_000_000_000, 1_000_000_000));
        let (disk_fails, disk_left): (Arc<Mutex<bool>>, Arc<Mutex<usize>>) = Default::default();
        let config = Config::new(Timing::new(HOLD, 1000).with_heartbeat(2 * TICK)).expect("it fits together");
        let (_, mailbox) = leasehold_node::inbox();
        let group = |group| StartGroup {
            options: GroupOptions::new(group, leasehold_raft::Options::new(1, config, 7), vec![1]),
            machine: List::default(),
            recovered: recovered(),
            trace: None,
        };
        let start = Start {
            node: NodeOptions::new(1, 1),
            groups: (0..GROUPS).map(group).collect(),
            removed: Vec::new(),
            disk: Forgetful { fails: disk_fails.clone(), left: disk_left.clone() },
            links: Arc::new(Nowhere),
            clock: Arc::new(clock.clone()),
            mailbox,
        };
        let handles = leasehold_node::start(&runtime, start).expect("it starts");
        Single { runtime, clock, disk_fails, disk_left, handle: handles[&GROUP].clone(), handles }
    }

    /// Returns a node that leads.
    fn leading() -> Single {
        let single = Single::start();
        for _ in 0..100 {
            single.tick();
            single.runtime.poll("disk");
        }
        assert_eq!(single.handle.status().leader, Some(1));
        single
    }

    fn tick(&self) {
        self.clock.advance(TICK);
        self.runtime.0.lock().timers_fired += 1;
        self.runtime.poll("");
    }

    /// Sends a write, and returns its outcome when it is there.
    fn write(&self) -> BoxFuture<'static, Result<u64, RequestError>> {
        self.write_command("a")
    }

    fn write_command(&self, command: impl Into<Bytes>) -> BoxFuture<'static, Result<u64, RequestError>> {
        write_to(&self.handle, command)
    }
}

/// Sends a write to a group, and returns its outcome when it is there.
fn write_to(handle: &Handle<List>, command: impl Into<Bytes>) -> BoxFuture<'static, Result<u64, RequestError>> {
    let (handle, command) = (handle.clone(), command.into());
    let mut write: BoxFuture<'static, _> = Box::pin(async move { handle.write(command).await });
    assert_eq!(outcome(&mut write), None);
    write
}

fn outcome<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

#[test]
fn a_write_is_executed_and_answered() {
    let single = Single::leading();
    let mut write = single.write();
    for _ in 0..3 {
        single.runtime.poll("");
        single.runtime.poll("disk");
    }
    assert_eq!(outcome(&mut write), Some(Ok(1)));
}

#[test]
fn the_members_and_their_last_change_agree_before_the_first_turn() {
    let single = Single::recovering(|| Recovered {
        hard_state: HardState { term: 1, vote: 1, commit: 7 },
        compacted: (7, 1),
        applied: Applied { index: 7, term: 1, membership: Membership { changed: 5, ..Membership::founding(vec![1]) } },
        ..Recovered::default()
    });
    // A caller that follows the members waits until they differ. It must not find that they do for ever.
    assert_eq!((single.handle.status().members_changed, single.handle.members().roster().changed), (5, 5));
}

#[test]
fn each_group_has_a_handle_that_executes_and_publishes_on_its_own() {
    let single = Single::leading();
    let (last, gate) = (&single.handles[&(GROUPS - 1)], single.handle.gate().applied());
    let before = last.gate().applied();
    let handle = last.clone();
    let mut write: BoxFuture<'static, _> = Box::pin(async move { handle.write(Bytes::from_static(b"a")).await });
    assert_eq!(outcome(&mut write), None);
    for _ in 0..3 {
        single.runtime.poll("");
        single.runtime.poll("disk");
    }
    assert_eq!(outcome(&mut write), Some(Ok(1)));
    assert_eq!((last.group(), last.gate().applied(), single.handle.gate().applied()), (GROUPS - 1, before + 1, gate));
    for handle in single.handles.values() {
        assert_eq!(handle.status().leader, Some(1));
        assert!(handle.gate().try_read(Some(single.clock.at())).is_some());
    }
    single.runtime.kill("");
    assert!(single.handles.values().all(|handle| handle.status().stopped));
    assert!(single.handles.values().all(|handle| handle.gate().try_read(Some(single.clock.at())).is_none()));
}

#[test]
fn a_group_is_created_while_the_node_runs() {
    let single = Single::leading();
    assert_eq!(single.handle.groups(), [0, 1, 2]);
    let handle = single.handle.clone();
    let config = Config::new(Timing::new(HOLD, 1000).with_heartbeat(2 * TICK)).expect("it fits together");
    let create = move |group| {
        let handle = handle.clone();
        let options = GroupOptions::new(group, leasehold_raft::Options::new(1, config, 7), vec![1]);
        let (machine, recovered) = (List::default(), Recovered::default());
        async move { handle.create_group(StartGroup { options, machine, recovered, trace: None }).await }
    };
    let mut again: BoxFuture<'static, _> = Box::pin(create(2));
    let mut new: BoxFuture<'static, _> = Box::pin(create(7));
    assert!(again.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(new.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    single.runtime.poll("");
    let refused = again.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(refused, Poll::Ready(Err(AddGroupError::SameGroup(2)))));
    assert!(new.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it is not durable");
    single.runtime.poll("disk");
    single.runtime.poll("");
    let Poll::Ready(Ok(handle)) = new.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it was created")
    };
    assert_eq!((handle.group(), single.handle.groups()), (7, vec![0, 1, 2, 7]));
    for _ in 0..100 {
        single.tick();
        single.runtime.poll("disk");
    }
    let same = single.handle.to_group(7).expect("it is listed");
    let mut write: BoxFuture<'static, _> = Box::pin(async move { same.write(Bytes::from_static(b"a")).await });
    assert_eq!(outcome(&mut write), None);
    for _ in 0..3 {
        single.runtime.poll("");
        single.runtime.poll("disk");
    }
    assert_eq!(outcome(&mut write), Some(Ok(1)));
    assert_eq!(handle.status().leader, Some(1));

    let mut removed: BoxFuture<'static, _> = Box::pin(async move { handle.remove_group().await });
    assert_eq!(outcome(&mut removed), None);
    single.runtime.poll("");
    assert_eq!(outcome(&mut removed), None, "the disk may bring it back");
    single.runtime.poll("disk");
    single.runtime.poll("");
    assert_eq!(outcome(&mut removed), Some(true));
    assert_eq!(single.handle.groups(), [0, 1, 2]);
    assert!(single.handle.to_group(7).is_none() && !single.handle.status().stopped);
}

#[test]
fn a_node_without_writes_deletes_what_is_left_on_its_disk_in_portions() {
    let single = Single::leading();
    *single.disk_left.lock() = 3;
    // A write lets the disk report it.
    let mut write = single.write();
    for _ in 0..3 {
        single.runtime.poll("");
        single.runtime.poll("disk");
    }
    assert_eq!((outcome(&mut write), *single.disk_left.lock()), (Some(Ok(1)), 3));
    let mut seen = Vec::new();
    for _ in 0..10 {
        single.tick();
        single.runtime.poll("disk");
        single.runtime.poll("");
        seen.push(*single.disk_left.lock());
    }
    assert!(seen.is_sorted_by(|before, after| *after == *before || after + 1 == *before), "{seen:?}");
    assert_eq!(seen.last(), Some(&0));
    assert!(single.runtime.is_running(""));
}

#[test]
fn a_large_write_may_wait_longer_for_the_node_than_a_small_one() {
    let single = Single::leading();
    // The node is busy for some turns.
    (0..2000).for_each(|_| drop(single.write()));
    let (mut small, mut large) = (single.write(), single.write_command(vec![b'v'; 3 << 20]));
    for _ in 0..2 {
        // No turn is so late that the node has to take itself for a process that was paused.
        single.clock.advance(REQUEST_TIMEOUT / 2 + Duration::from_secs(1));
        single.tick();
    }
    assert_eq!(outcome(&mut small), None);
    for _ in 0..10 {
        single.tick();
        single.runtime.poll("disk");
    }
    assert_eq!(outcome(&mut small), Some(Err(RequestError::TimedOut)));
    assert_eq!(outcome(&mut large), Some(Ok(1)));
}

#[test]
fn a_request_that_the_node_did_not_take_is_answered_when_it_ends() {
    let single = Single::start();
    let mut write = single.write();
    single.runtime.kill("");
    assert!(single.handle.status().stopped);
    assert_eq!(outcome(&mut write), Some(Err(RequestError::Stopping)));
}

#[test]
fn a_request_that_arrives_while_the_node_finishes_is_answered() {
    let single = Single::leading();
    let handle = single.handle.clone();
    let mut stop: BoxFuture<'static, ()> = Box::pin(async move { handle.stop().await });
    assert_eq!(outcome(&mut stop), None);
    single.runtime.poll("");
    let mut write = single.write();
    // The thread for snapshots may be busy for long.
    for thread in ["disk", ""] {
        single.runtime.poll(thread);
        assert!(!single.runtime.is_running(thread), "{thread:?} is still running");
    }
    assert_eq!(outcome(&mut stop), Some(()));
    assert_eq!(outcome(&mut write), Some(Err(RequestError::Stopping)));
}

#[test]
fn a_node_ends_when_its_disk_fails() {
    let single = Single::leading();
    *single.disk_fails.lock() = true;
    let mut write = single.write();
    for name in ["", "disk", ""] {
        single.runtime.poll(name);
    }
    assert!(!single.runtime.is_running("") && single.handle.status().stopped);
    assert_eq!(outcome(&mut write), Some(Err(RequestError::Uncertain)));
}

#[test]
fn a_group_stops_before_a_command_that_only_a_newer_release_knows_and_its_node_with_the_last_one() {
    let single = Single::leading();
    for (stopped, handle) in (1..).zip(single.handles.values()) {
        let gate = handle.gate();
        assert!(gate.try_read(Some(single.clock.at())).is_some());
        let mut lost = write_to(handle, UNKNOWN);
        for name in ["", "disk", ""] {
            single.runtime.poll(name);
        }
        assert_eq!(outcome(&mut lost), Some(Err(RequestError::Uncertain)));
        assert!(handle.status().stopped && gate.try_read(Some(single.clock.at())).is_none());
        assert_eq!((handle.status().role, handle.status().leader), (Role::Follower, None));
        assert_eq!(handle.status().no_lease, Some(NoLease::NotLeader));
        assert_eq!(single.runtime.is_running(""), stopped < GROUPS);
        if stopped < GROUPS {
            let mut refused = write_to(handle, "a");
            single.runtime.poll("");
            assert_eq!(outcome(&mut refused), Some(Err(RequestError::Halted)));
        }
    }
}

#[test]
fn a_group_with_a_thread_of_its_own_stops_when_the_thread_ends_and_the_others_go_on() {
    const NEW: GroupId = 7;
    let single = Single::leading();
    let config = Config::new(Timing::new(HOLD, 1000).with_heartbeat(2 * TICK)).expect("it fits together");
    let mut options = GroupOptions::new(NEW, leasehold_raft::Options::new(1, config, 7), vec![1]);
    options.applies_on_thread = true;
    let (machine, recovered) = (List::default(), Recovered::default());
    let handle = single.handle.clone();
    let mut created: BoxFuture<'static, _> =
        Box::pin(async move { handle.create_group(StartGroup { options, machine, recovered, trace: None }).await });
    let created = loop {
        if let Some(created) = outcome(&mut created) {
            break created.expect("a new group");
        }
        single.runtime.poll("");
        single.runtime.poll("disk");
    };
    let work = || {
        for name in ["", "disk", "", "apply", ""] {
            single.runtime.poll(name);
        }
    };
    while created.gate().try_read(Some(single.clock.at())).is_none() {
        single.tick();
        work();
    }
    let mut written = write_to(&created, "a");
    work();
    assert_eq!(outcome(&mut written), Some(Ok(1)));

    // The machine hangs, and then panics.
    let mut lost = write_to(&created, "b");
    single.runtime.poll("");
    single.runtime.poll("disk");
    single.tick();
    assert!(created.gate().lease().try_read(Some(single.clock.at())).is_some());
    assert!(created.gate().try_read(Some(single.clock.at())).is_none(), "what is committed is not applied");
    let mut other = single.write();
    for name in ["", "disk", ""] {
        single.runtime.poll(name);
    }
    assert_eq!(outcome(&mut other), Some(Ok(1)));
    single.runtime.kill("apply");
    single.runtime.poll("");
    assert_eq!(outcome(&mut lost), Some(Err(RequestError::Uncertain)));
    assert!(created.status().stopped && !single.handle.status().stopped);
}

#[test]
fn a_node_is_stopped_through_the_handle_of_a_group_that_has_stopped_or_was_removed() {
    for removes in [false, true] {
        let single = Single::leading();
        let (ended, handle) = (single.handles[&1].clone(), single.handles[&1].clone());
        let mut lost: BoxFuture<'static, ()> = if removes {
            Box::pin(async move { assert!(handle.remove_group().await) })
        } else {
            Box::pin(async move { assert!(handle.write(UNKNOWN.into()).await.is_err()) })
        };
        assert_eq!(outcome(&mut lost), None);
        let turns = || ["", "disk", ""].iter().for_each(|name| single.runtime.poll(name));
        turns();
        assert!(outcome(&mut lost).is_some() && ended.status().stopped);

        let mut written = single.write();
        let mut stopped: BoxFuture<'static, ()> = Box::pin(async move { ended.stop().await });
        assert_eq!(outcome(&mut stopped), None);
        single.runtime.poll("");
        assert_eq!((outcome(&mut written), outcome(&mut stopped)), (None, None), "a write has no outcome yet");
        // It waits for the end of its hold, too.
        for _ in 0..100 {
            single.tick();
            turns();
            single.runtime.poll("snapshots");
        }
        assert_eq!((outcome(&mut written), outcome(&mut stopped)), (Some(Ok(1)), Some(())));
        assert!(!single.runtime.is_running(""));
    }
}

#[test]
fn a_node_ends_when_one_of_its_threads_does() {
    for thread in ["disk", "snapshots"] {
        let single = Single::leading();
        let mut write = single.write();
        single.runtime.poll("");
        single.runtime.kill(thread);
        single.runtime.poll("");
        assert!(!single.runtime.is_running("") && single.handle.status().stopped, "{thread}");
        assert_eq!(outcome(&mut write), Some(Err(RequestError::Uncertain)));
        assert!(single.handle.gate().try_read(Some(single.clock.at())).is_none());
    }
}
