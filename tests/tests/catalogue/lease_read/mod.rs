//! Openraft's lease reads, [`ReadPolicy::LeaseRead`], and ours on the same openraft, on its own deterministic runtime.
//!
//! Its lease is as long as its longest election timeout; that is as long as our hold, and heartbeats are as frequent, which
//! keeps the proportions that its documentation advises. Its optional safeguards are on: pre-vote, and silence after the loss of
//! a quorum. Its disk is as fast as memory and loses nothing.

mod network;
mod runtime;
mod store;

use futures::FutureExt as _;
use leasehold_conformance::subject::{Answer, ClockFault, Founding, Links, NotExpressible, ReadId, Subject};
use leasehold_core::{NodeId, Options, Term};
use leasehold_openraft::{Ground, Lease, LeasedRaft, Record, Recorded};
use leasehold_testing::cluster::{HEARTBEAT, HOLD};
use network::{Between, Network, Outgoing, Ungated};
use openraft::async_runtime::{AsyncRuntime as _, WatchReceiver as _};
use openraft::{Raft, ReadPolicy, ServerState};
use parking_lot::Mutex;
use runtime::{Process, ProcessClock, ProcessRuntime, within};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Register, Stored};

openraft::declare_raft_types!(
    /// The types of a replicated register.
    pub(crate) Config:
        D = u64,
        R = u64,
        Node = (),
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = ProcessRuntime,
);

/// A node's log, which survives its process.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Stored>>);

/// A node: its process, and what survives it.
#[derive(Clone)]
struct Node {
    raft: Raft<Config, Register>,
    /// With a lease, and whether requests for votes must pass it.
    leased: Option<LeasedRaft<Config, Register>>,
    reads: Reads,
    process: Arc<Process>,
    disk: Disk,
    register: Register,
}

/// The reads of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Openraft's own, by its lease.
    Native,
    /// Ours.
    Leased,
    /// Ours, with election timeouts of openraft that are much shorter than the hold.
    Hasty,
    /// As hasty, but requests for votes do not pass the lease, as they must.
    Ungated,
}

/// What survives a process, except for the state machine.
#[derive(Clone, Debug, Default)]
struct Disk {
    log: Log,
    record: Arc<Mutex<Recorded>>,
}

impl Record for Disk {
    fn load(&mut self) -> io::Result<Recorded> {
        Ok(*self.record.lock())
    }

    fn store(&mut self, recorded: Recorded) -> io::Result<()> {
        *self.record.lock() = recorded;
        Ok(())
    }
}

impl Node {
    /// Returns the lease that requests for votes must pass.
    fn gated(&self) -> Option<&LeasedRaft<Config, Register>> {
        self.leased.as_ref().filter(|_| self.reads != Reads::Ungated)
    }
}

/// A cluster of openraft's nodes.
pub(super) struct LeaseRead {
    runtime: ProcessRuntime,
    network: Network,
    /// Nodes whose clocks stand still.
    stopped: BTreeSet<NodeId>,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// The state of the links; the network has a copy.
    links: Links,
}

fn config(reads: Reads, shortened: u32) -> openraft::Config {
    let millis = |duration: Duration| duration.as_millis() as u64 / u64::from(shortened);
    let longest = if matches!(reads, Reads::Hasty | Reads::Ungated) { millis(HOLD) / 3 } else { millis(HOLD) };
    let config = openraft::Config {
        heartbeat_interval: millis(HEARTBEAT),
        election_timeout_min: longest / 2,
        election_timeout_max: longest,
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(2 * millis(HOLD)),
        // With its own leases it is what its authors chose.
        enable_leader_restore: (reads != Reads::Native).then_some(false),
        ..openraft::Config::default()
    };
    config.validate().expect("a sound configuration")
}

async fn start(reads: Reads, network: Network, id: NodeId, disk: Disk, register: Register, shortened: u32) -> Node {
    let process = Arc::new(Process::default());
    let config = config(reads, shortened);
    let plain = Outgoing { network, from: id };
    let (clock, mut record) = (ProcessClock(process.clone()), disk.clone());
    let (log, state) = (disk.log.clone(), register.clone());
    let starting = async move {
        let engine = Arc::new(config.clone());
        if reads == Reads::Native {
            let raft = Raft::new(id, engine, plain, log, state).await.expect("a node from what its predecessor wrote");
            return (raft, None);
        }
        let timing = Options::new(HOLD / shortened, 1000).with_heartbeat(HEARTBEAT / shortened);
        let timing = leasehold_core::Config::new(timing).expect("a sound timing");
        let lease = Lease::new(id, &config, timing, clock, &mut record).expect("a suitable configuration");
        let leased = lease.network(plain.clone());
        let raft = match reads {
            Reads::Ungated => Raft::new(id, engine, Ungated { leased, plain }, log, state).await,
            _ => Raft::new(id, engine, leased, log, state).await,
        };
        let raft = raft.expect("a node from what its predecessor wrote");
        let leased = lease.attach(raft.clone());
        (raft, Some(leased))
    };
    let (raft, leased) = within(Some(process.clone()), starting).await;
    Node { raft, leased, reads, process, disk, register }
}

impl LeaseRead {
    /// Returns a newly founded cluster without our leases.
    pub(super) fn founded(founding: Founding) -> LeaseRead {
        LeaseRead::with(Reads::Native, founding)
    }

    /// Returns a newly founded cluster with our leases.
    pub(super) fn leased(founding: Founding) -> LeaseRead {
        LeaseRead::with(Reads::Leased, founding)
    }

    /// Returns a newly founded cluster with our leases, in which openraft campaigns long before the holds end.
    pub(super) fn hasty(founding: Founding) -> LeaseRead {
        LeaseRead::with(Reads::Hasty, founding)
    }

    /// Returns a cluster as hasty whose requests for votes do not pass the leases.
    pub(super) fn ungated(founding: Founding) -> LeaseRead {
        LeaseRead::with(Reads::Ungated, founding)
    }

    fn with(reads: Reads, founding: Founding) -> LeaseRead {
        let between = Between {
            links: Links::default(),
            latency: Duration::from_millis(1),
            deliveries: 0,
            nodes: BTreeMap::new(),
        };
        let mut cluster = LeaseRead {
            runtime: ProcessRuntime::with_seed(founding.seed),
            network: Network(Arc::new(Mutex::new(between))),
            stopped: BTreeSet::new(),
            acknowledged: Arc::default(),
            answers: Arc::default(),
            links: Links::default(),
        };
        let network = cluster.network.clone();
        cluster.runtime.block_on(async {
            for id in founding.voters.iter().chain(founding.learners).copied() {
                let node = start(reads, network.clone(), id, Disk::default(), Register::default(), 1).await;
                network.0.lock().nodes.insert(id, node);
            }
            let first = network.0.lock().nodes[&founding.voters[0]].raft.clone();
            let voters: BTreeSet<NodeId> = founding.voters.iter().copied().collect();
            first.initialize(voters).await.expect("a pristine node");
            for learner in founding.learners {
                first.wait(None).applied_index_at_least(Some(1), "the founder leads").await.expect("it is elected");
                first.add_learner(*learner, (), true).await.expect("a reachable learner");
            }
        });
        cluster
    }

    fn node(&self, id: NodeId) -> Node {
        self.network.0.lock().nodes[&id].clone()
    }

    /// Runs a task in a node's process.
    fn spawn_at(&mut self, id: NodeId, task: impl Future<Output = ()> + Send + 'static) {
        let process = self.node(id).process;
        self.runtime.block_on(async {
            openraft_rt_sim::SimRuntime::spawn(within(Some(process), task));
        });
    }

    fn relink(&mut self) {
        self.network.0.lock().links.clone_from(&self.links);
    }
}

impl Subject for LeaseRead {
    fn advance(&mut self) {
        self.relink();
        for id in &self.stopped {
            self.network.0.lock().nodes[id].process.lose_time(Duration::from_millis(1));
        }
        self.runtime.block_on(async { ProcessRuntime::sleep(Duration::from_millis(1)).await });
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn set_latency(&mut self, latency: Duration) {
        self.network.0.lock().latency = latency;
    }

    fn scramble(&mut self, _: bool) -> Result<(), NotExpressible> {
        Err(NotExpressible("its network carries requests, each with one answer"))
    }

    fn deliver(&mut self) {
        self.relink();
        self.network.0.lock().deliveries += 1;
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.network.0.lock().nodes.keys().copied().collect()
    }

    fn leads(&self, id: NodeId) -> bool {
        self.node(id).raft.metrics().borrow_watched().state == ServerState::Leader
    }

    fn term(&self, id: NodeId) -> Term {
        self.node(id).raft.metrics().borrow_watched().current_term
    }

    fn pause(&mut self, id: NodeId) {
        self.node(id).process.pause();
    }

    fn resume(&mut self, id: NodeId) {
        self.node(id).process.resume();
    }

    fn suspend(&mut self, id: NodeId) {
        self.pause(id);
        self.stopped.insert(id);
    }

    fn wake(&mut self, id: NodeId) {
        self.stopped.remove(&id);
        self.resume(id);
    }

    fn restart(&mut self, id: NodeId, shortened: u32) {
        self.relink();
        let Node { raft, reads, disk, register, .. } = self.node(id);
        let network = self.network.clone();
        let node = self.runtime.block_on(async {
            // The node was killed, so the result of its shutdown does not matter.
            let _ = raft.shutdown().await;
            start(reads, network, id, disk, register, shortened).await
        });
        self.network.0.lock().nodes.insert(id, node);
    }

    fn disturb(&mut self, id: NodeId, fault: ClockFault) -> Result<(), NotExpressible> {
        let Node { reads, process, .. } = self.node(id);
        let nanos = |by: Duration| by.as_nanos() as i64;
        match fault {
            ClockFault::AwakeCounterStops => drop(self.stopped.insert(id)),
            ClockFault::Fails | ClockFault::Works if reads == Reads::Native => {
                return Err(NotExpressible("a clock that gives nothing has no place in its API"));
            }
            ClockFault::Back(_) | ClockFault::Forward(_) if reads == Reads::Native => {
                return Err(NotExpressible("its API demands a clock that never goes back"));
            }
            ClockFault::Fails => process.fail_clock(true),
            ClockFault::Works => process.fail_clock(false),
            ClockFault::Back(by) => process.step_clock(-nanos(by)),
            ClockFault::Forward(by) => process.step_clock(nanos(by)),
        }
        Ok(())
    }

    fn burst(&mut self, _: NodeId, _: u32) -> Result<(), NotExpressible> {
        Err(NotExpressible("it compares instants and counts no ticks"))
    }

    fn transfer(&mut self, from: NodeId, to: NodeId) -> Result<(), NotExpressible> {
        self.relink();
        let raft = self.node(from).raft;
        self.spawn_at(from, async move { raft.trigger().transfer_leader(to).map(drop).await });
        Ok(())
    }

    fn campaign(&mut self, id: NodeId) -> Result<(), NotExpressible> {
        let raft = self.node(id).raft;
        self.spawn_at(id, async move { raft.trigger().elect(false).map(drop).await });
        Ok(())
    }

    fn delay_reports(&mut self, _: NodeId, _: bool) -> Result<(), NotExpressible> {
        Err(NotExpressible("its task publishes at once when it runs"))
    }

    fn change_voters(&mut self, leader: NodeId, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        let raft = self.node(leader).raft;
        let voters: BTreeSet<NodeId> = voters.iter().copied().collect();
        self.spawn_at(leader, async move { raft.change_membership(voters, false).map(drop).await });
        Ok(true)
    }

    fn voters(&self, id: NodeId) -> Vec<NodeId> {
        self.node(id).register.voters()
    }

    fn write(&mut self, id: NodeId, value: u64) -> bool {
        if !self.leads(id) {
            return false;
        }
        let (raft, acknowledged, refused) =
            (self.node(id).raft, self.acknowledged.clone(), Arc::new(AtomicBool::new(false)));
        let refuses = refused.clone();
        self.spawn_at(id, async move {
            match raft.client_write(value).await {
                Ok(_) => drop(acknowledged.lock().insert(value)),
                Err(_) => refuses.store(true, Ordering::Relaxed),
            }
        });
        // A refusal comes at once.
        self.runtime.block_on(async { ProcessRuntime::sleep(Duration::from_micros(10)).await });
        !refused.load(Ordering::Relaxed)
    }

    fn acknowledged(&self, value: u64) -> bool {
        self.acknowledged.lock().contains(&value)
    }

    fn ask(&mut self, id: NodeId) -> ReadId {
        let (Node { raft, leased, register, .. }, answers) = (self.node(id), self.answers.clone());
        let number = answers.lock().len();
        answers.lock().push(Answer::Pending);
        self.spawn_at(id, async move {
            let answer = match leased {
                Some(leased) => match leased.ensure_linearizable().await {
                    Ok(Ground::Lease) => Answer::ByLease(register.value()),
                    Ok(Ground::Quorum) => Answer::ByQuorum(register.value()),
                    Err(_) => Answer::Refused,
                },
                None => match raft.ensure_linearizable(ReadPolicy::LeaseRead).await {
                    Ok(_) => Answer::ByLease(register.value()),
                    Err(_) => Answer::Refused,
                },
            };
            answers.lock()[number] = answer;
        });
        ReadId(number)
    }

    fn answer(&self, read: ReadId) -> Answer {
        self.answers.lock()[read.0]
    }
}
