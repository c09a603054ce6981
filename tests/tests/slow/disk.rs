//! A disk whose every write takes longer than the lease.

use crate::cluster::{drivers, leader, within};
use crate::{HOLD, Timed};
use bytes::Bytes;
use futures::FutureExt as _;
use leasehold_node::ports::{Batch, Disk};
use leasehold_node::{Ground, ReadMode};
use leasehold_tests::simulated::MemoryDisk;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

struct SlowDisk {
    inner: MemoryDisk,
    slow: Arc<AtomicBool>,
}

impl Disk for SlowDisk {
    fn commit(&mut self, batches: &[Batch]) -> io::Result<()> {
        if self.slow.load(Ordering::Relaxed) {
            std::thread::sleep(HOLD + HOLD / 4);
        }
        self.inner.commit(batches)
    }
}

pub(crate) fn slows_writes<R: Timed>() {
    let runtime = R::start("slow", 2).expect("a runtime");
    let slow = Arc::new(AtomicBool::new(false));
    let handles = drivers(&runtime, 3, ReadMode::Lease, |_, inner| SlowDisk { inner, slow: slow.clone() });
    let (leader, clock) = (leader(&handles), runtime.clock());
    let write = |text: &'static str| leader.write(Bytes::from_static(text.as_bytes()));
    runtime.block_on(async {
        assert_eq!(within(&runtime, write("fast")).await, Ok(1));
        while leader.gate().lease().try_read(clock.now()).is_none() {
            runtime.sleep(Duration::from_millis(1)).await;
        }
        let led = leader.status();
        slow.store(true, Ordering::Relaxed);
        for (number, text) in (2..).zip(["slow", "slower"]) {
            let mut write = std::pin::pin!(within(&runtime, write(text)));
            let mut reads = 0;
            let outcome = loop {
                if let Some(outcome) = write.as_mut().now_or_never() {
                    break outcome;
                }
                assert!(leader.gate().lease().try_read(clock.now()).is_some(), "the lease is valid throughout");
                let grant = within(&runtime, leader.read()).await.expect("a leader reads");
                assert_eq!(grant.ground, Ground::Lease);
                reads += 1;
                runtime.sleep(Duration::from_millis(2)).await;
            };
            assert_eq!(outcome, Ok(number));
            assert!(reads >= 10, "{reads} reads were answered during one slow write");
        }
        let leads = leader.status();
        assert_eq!((leads.role, leads.term), (led.role, led.term), "no election took place");
    });
    runtime.kill();
}
