//! The behavior that the rest of the project requires of a runtime, checked for each of them.

use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold_runtime::{Runtime, ThreadPolicy};
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_tests::simulated::SimulatedRuntime;
use std::time::Duration;

macro_rules! on_every_runtime {
    ($($test:ident),* $(,)?) => {
        mod tokio {
            $(#[test] fn $test() { super::$test::<super::TokioRuntime>(); })*
        }
        mod smol {
            $(#[test] fn $test() { super::$test::<super::SmolRuntime>(); })*
        }
        mod simulated {
            $(#[test] fn $test() { super::$test::<super::SimulatedRuntime>(); })*
        }
    };
}

on_every_runtime!(
    bytes_cross_a_connection_both_ways,
    the_last_handle_may_be_dropped_inside_its_own_task,
    a_killed_runtime_drops_its_tasks_and_closes_its_sockets,
    listening_on_an_occupied_or_malformed_address_is_an_error,
    a_timer_outlives_the_handle_that_made_it,
    a_task_on_its_own_thread_does_not_delay_the_others,
    a_writer_waits_for_a_slow_reader_and_fails_when_the_reader_is_dropped,
    connecting_without_a_listener_is_an_error,
);

/// A runtime whose tasks can be stopped as if their process was killed.
trait Kill: Runtime {
    fn kill(&self);
}

impl Kill for TokioRuntime {
    fn kill(&self) {
        TokioRuntime::kill(self);
    }
}

impl Kill for SmolRuntime {
    fn kill(&self) {
        SmolRuntime::kill(self);
    }
}

impl Kill for SimulatedRuntime {
    fn kill(&self) {
        SimulatedRuntime::kill(self);
    }
}

fn runtime<R: Runtime>() -> R {
    R::start("test", 2).expect("threads")
}

fn bytes_cross_a_connection_both_ways<R: Runtime>() {
    let runtime = runtime::<R>();
    runtime.block_on(async {
        let listener = runtime.listen("localhost:0").await.expect("a free port");
        let address = runtime.local_address(&listener).expect("an address");
        let serving = runtime.clone();
        runtime.spawn(async move {
            let (mut stream, _) = serving.accept(&listener).await.expect("a connection");
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.expect("a word");
            word.reverse();
            stream.write_all(&word).await.expect("an answer");
        });
        let mut stream = runtime.connect(&address.to_string()).await.expect("a listener");
        stream.write_all(b"abcd").await.expect("a word");
        let mut word = Vec::new();
        stream.read_to_end(&mut word).await.expect("an answer");
        assert_eq!(word, b"dcba");
    });
}

fn the_last_handle_may_be_dropped_inside_its_own_task<R: Runtime>() {
    let (runtime, other) = (runtime::<R>(), runtime::<R>());
    let (entered, in_task) = async_channel::bounded::<()>(1);
    let (go, waiting) = async_channel::bounded::<()>(1);
    let (ended, end) = async_channel::bounded::<()>(1);
    let last = runtime.clone();
    runtime.spawn(async move {
        entered.send(()).await.expect("the test listens");
        waiting.recv().await.expect("the test sends");
        drop(last);
        // Reached only if the drop did not panic.
        ended.try_send(()).expect("the test listens");
    });
    other.block_on(async {
        in_task.recv().await.expect("the task starts");
        drop(runtime);
        go.send(()).await.expect("the task waits");
        end.recv().await.expect("the drop went well");
    });
}

fn a_killed_runtime_drops_its_tasks_and_closes_its_sockets<R: Kill>() {
    let (killed, other) = (runtime::<R>(), runtime::<R>());
    let (address, held) = killed.block_on(async {
        let listener = killed.listen("127.0.0.1:0").await.expect("a free port");
        let address = killed.local_address(&listener).expect("an address").to_string();
        let (hold, held) = async_channel::bounded::<()>(1);
        let accepting = killed.clone();
        killed.spawn(async move {
            // Locals are dropped in reverse order: the listener closes before `held` reports it.
            let _hold = hold;
            let listener = listener;
            let stream = accepting.accept(&listener).await;
            accepting.sleep(Duration::from_secs(3600)).await;
            drop(stream);
        });
        (address, held)
    });
    other.block_on(async {
        let mut stream = other.connect(&address).await.expect("a listener");
        killed.kill();
        held.recv().await.expect_err("the task is gone");
        let closed = stream.read(&mut [0; 1]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        // The port is free at once.
        other.listen(&address).await.expect("the address again");
        other.sleep(Duration::from_millis(1)).await;
    });
    killed.kill();
    killed.spawn(async { unreachable!("a killed runtime runs no task") });
}

fn listening_on_an_occupied_or_malformed_address_is_an_error<R: Runtime>() {
    let runtime = runtime::<R>();
    runtime.block_on(async {
        let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
        let address = runtime.local_address(&listener).expect("an address").to_string();
        let error = runtime.listen(&address).await.err().expect("an error");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        runtime.listen("no-port").await.err().expect("not host:port");
    });
    R::start("none", 0).err().expect("no threads");
}

fn a_timer_outlives_the_handle_that_made_it<R: Runtime>() {
    let runtime = runtime::<R>();
    let handle = runtime.clone();
    runtime.block_on(async move {
        let (short, long) = (handle.sleep(Duration::from_millis(5)), handle.sleep(Duration::from_secs(3600)));
        drop(handle);
        let (short, long) = (std::pin::pin!(short), std::pin::pin!(long));
        let first = futures::future::select(long, short).await;
        assert!(matches!(first, futures::future::Either::Right(_)), "the shorter one wakes first");
    });
}

fn a_task_on_its_own_thread_does_not_delay_the_others<R: Runtime>() {
    let runtime = R::start("test", 1).expect("a thread");
    let (ask, asked) = async_channel::bounded::<u32>(1);
    let (answer, answers) = async_channel::bounded(1);
    for policy in [ThreadPolicy::Batch, ThreadPolicy::Normal] {
        let (asked, answer) = (asked.clone(), answer.clone());
        let thread = async move {
            while let Ok(number) = asked.recv().await {
                answer.send(number + 1).await.expect("the test listens");
            }
        };
        runtime.spawn_thread("blocking", policy, thread).expect("a thread");
    }
    drop(answer);
    runtime.block_on(async {
        for _ in 0..10 {
            ask.send(1).await.expect("a thread runs");
            runtime.sleep(Duration::from_millis(1)).await;
            assert_eq!(answers.recv().await, Ok(2));
        }
        drop(ask);
        answers.recv().await.expect_err("both ended");
    });
}

fn a_writer_waits_for_a_slow_reader_and_fails_when_the_reader_is_dropped<R: Runtime>() {
    let runtime = runtime::<R>();
    runtime.block_on(async {
        let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
        let address = runtime.local_address(&listener).expect("an address").to_string();
        let mut writer = runtime.connect(&address).await.expect("a listener");
        let (reader, from) = runtime.accept(&listener).await.expect("a connection");
        assert!(from.ip().is_loopback());
        let (full, filled) = async_channel::bounded::<()>(1);
        let (failed, failure) = async_channel::bounded(1);
        runtime.spawn(async move {
            let error = loop {
                let write = std::pin::pin!(writer.write_all(&[0; 1 << 16]));
                let outcome = match futures::poll!(write) {
                    std::task::Poll::Ready(outcome) => outcome,
                    std::task::Poll::Pending => {
                        let _ = full.try_send(());
                        writer.write_all(&[0; 1 << 16]).await
                    }
                };
                if let Err(error) = outcome {
                    break error;
                }
            };
            failed.send(error).await.expect("the test listens");
        });
        filled.recv().await.expect("buffers are bounded");
        assert!(failure.is_empty());
        drop(reader);
        failure.recv().await.expect("the writer fails");
    });
}

fn connecting_without_a_listener_is_an_error<R: Runtime>() {
    let runtime = runtime::<R>();
    runtime.block_on(async {
        let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
        let address = runtime.local_address(&listener).expect("an address").to_string();
        drop(listener);
        let refused = runtime.connect(&address).await.err().expect("refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_batch_thread_has_the_batch_policy_and_a_normal_one_does_not() {
    /// `SCHED_OTHER` and `SCHED_BATCH` in the 41st field of `/proc/PID/stat`.
    const NORMAL: &str = "0";
    const BATCH: &str = "3";
    fn policy<R: Runtime>(policy: ThreadPolicy) -> String {
        let runtime = runtime::<R>();
        let (send, receive) = async_channel::bounded(1);
        let read = async move {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("the thread's own");
            send.send(stat).await.expect("the test listens");
        };
        runtime.spawn_thread("blocking", policy, read).expect("a thread");
        let stat = runtime.block_on(receive.recv()).expect("it ran");
        // The second field is the name in parentheses, which may contain anything.
        let (_, from_third) = stat.rsplit_once(") ").expect("a name");
        from_third.split(' ').nth(41 - 3).expect("a policy").to_owned()
    }
    for (wanted, shown) in [(ThreadPolicy::Normal, NORMAL), (ThreadPolicy::Batch, BATCH)] {
        assert_eq!([policy::<TokioRuntime>(wanted), policy::<SmolRuntime>(wanted)], [shown, shown]);
    }
}
