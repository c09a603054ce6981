//! Strikes three real processes with faults while clients use every node, and checks what the clients saw.
//!
//! A [`Rig`] is the cluster: `leasehold serve` processes whose links all pass through a [`Proxy`](crate::proxy::Proxy), and
//! clients that record operations on a few hot keys. [`run`] strikes it with one fault after another, drawn from a seed. After
//! each it heals the cluster and waits until every node serves reads and writes again. The histories go to the checker of
//! [`linearizability`](crate::linearizability). A seed makes the same choices in the same order. Processes, sockets and
//! schedulers do not repeat themselves, so a replay is likely, but not certain, to show the same.

mod faketime;
mod fault;
mod options;
mod rig;
mod session;
mod strike;
mod summary;
mod workload;

pub use faketime::Faketime;
pub use fault::Fault;
pub use options::{DRIFT_PPM, Options, Runtime};
pub use rig::{Direction, Rig};
pub use summary::Summary;
pub use workload::Outcomes;

use leasehold_testing::dice::Dice;
use std::time::Duration;

/// Strikes a cluster with faults, and checks what its clients saw. Stops at the first violation.
///
/// # Panics
/// If a process does not start, panics, or sends an invalid answer.
pub fn run(options: &Options) -> Summary {
    eprintln!("nemesis on {} with seed {}", options.runtime, options.seed);
    let mut dice = Dice::new(options.seed, 0);
    let (faketime, skipped) = match (options.faults.contains(&Fault::ClockRate), options.runtime) {
        (false, _) => (None, None),
        // smol sleeps on a futex until an absolute time. The library fakes the clock for reads of it, but not for waits.
        (true, Runtime::Smol) => (None, Some("on smol a process under libfaketime sleeps forever".to_owned())),
        (true, Runtime::Tokio) => {
            Faketime::prepare().map_or_else(|reason| (None, Some(reason)), |found| (Some(found), None))
        }
    };
    let drift = DRIFT_PPM.to_string();
    let mut flags = if faketime.is_some() { vec!["--drift-ppm", &drift] } else { Vec::new() };
    flags.extend(options.local_reads.then_some("--local-reads"));
    let groups = options.groups.to_string();
    flags.extend(["--groups", &groups]);
    let mut rig = Rig::start(options, &flags, |cluster| {
        if let Some(faketime) = &faketime {
            for id in cluster.recipes.keys().copied().collect::<Vec<_>>() {
                faketime.apply(cluster, id, strike::rate(&mut dice));
            }
        }
    });
    if let Some(reason) = skipped {
        eprintln!("{}: skipped, {reason}", Fault::ClockRate);
        rig.skipped(Fault::ClockRate, reason);
    }
    let possible = |fault: &Fault| *fault != Fault::ClockRate || faketime.is_some();
    let faults: Vec<Fault> = options.faults.iter().copied().filter(possible).collect();
    let mut deck = Vec::new();
    while rig.elapsed() < Duration::from_secs(options.seconds) && rig.is_good() {
        if deck.is_empty() {
            deck.clone_from(&faults);
            dice.shuffle(&mut deck);
        }
        match deck.pop() {
            Some(fault) => rig.strike(fault, faketime.as_ref(), &mut dice.split()),
            None => std::thread::sleep(Duration::from_millis(100)),
        }
        rig.recover();
        std::thread::sleep(dice.millis(200, 700));
    }
    rig.finish()
}
