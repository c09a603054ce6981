//! A runtime that belongs to the application.

use leasehold_runtime::Runtime as _;
use leasehold_runtime_tokio::TokioRuntime;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

fn application() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

/// Spawns a task that never ends. Returns a receiver that fails once the task is dropped, after it has run.
async fn endless(runtime: &TokioRuntime) -> oneshot::Receiver<()> {
    let (started, starting) = oneshot::channel();
    let (alive, dropped) = oneshot::channel();
    runtime.spawn(async move {
        started.send(()).expect("the test waits");
        let _alive: oneshot::Sender<()> = alive;
        std::future::pending().await
    });
    starting.await.expect("the task runs");
    dropped
}

#[test]
fn tasks_timers_and_sockets_use_the_applications_runtime() {
    let application = application();
    let runtime = TokioRuntime::from_handle(application.handle().clone());
    runtime.block_on(async {
        let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
        let address = runtime.local_address(&listener).expect("an address").to_string();
        let (id, ran_on) = oneshot::channel();
        let other = runtime.clone();
        runtime.spawn(async move {
            other.sleep(Duration::from_millis(1)).await;
            let (stream, _) = other.accept(&listener).await.expect("a connection");
            drop(stream);
            id.send(tokio::runtime::Handle::current().id()).expect("the test waits");
        });
        let stream = runtime.connect(&address).await.expect("a listener");
        let read = tokio::io::AsyncReadExt::read(&mut stream.compat(), &mut [0; 1]).await;
        assert_eq!(read.expect("the peer closes the connection"), 0);
        assert_eq!(ran_on.await.expect("the task ends"), application.handle().id());
    });
}

#[test]
fn a_kill_stops_the_tasks_of_the_handle_and_its_clones_only() {
    let application = application();
    let runtime = TokioRuntime::from_handle(application.handle().clone());
    let other = TokioRuntime::from_handle(application.handle().clone());
    let own = application.spawn(std::future::pending::<()>());
    application.block_on(async {
        let tasks = [endless(&runtime).await, endless(&runtime.clone()).await];
        let mut others = endless(&other).await;
        runtime.kill();
        for task in tasks {
            task.await.expect_err("the task is dropped");
        }
        runtime.spawn(async { unreachable!("a killed runtime runs no task") });
        // The runtime itself continues, and so do the tasks of others.
        other.sleep(Duration::from_millis(5)).await;
        assert_eq!(others.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(!own.is_finished());
        runtime.sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn the_drop_of_the_last_handle_stops_its_tasks() {
    let application = application();
    let runtime = TokioRuntime::from_handle(application.handle().clone());
    let clone = runtime.clone();
    application.block_on(async {
        let mut task = endless(&runtime).await;
        drop(runtime);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(task.try_recv(), Err(oneshot::error::TryRecvError::Empty), "a clone is left");
        drop(clone);
        task.await.expect_err("the task is dropped");
    });
}
