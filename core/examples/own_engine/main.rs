//! Leases for an engine of one's own: three nodes on threads, connected by channels. The leader is cut off, its lease ends,
//! and another node leads. `cargo run -p leasehold-core --example own_engine`
//!
//! The engine is as small as one can be that elects and commits: its log is only a length, and a leader appends at each tick.

use leasehold_core::{
    Action, Config, Event, Fresh, Instant, LeaseCell, Member, NodeId, Options, Reading, TermRound, Voters,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::{fs, path::Path, thread, time::Duration};

const HOLD: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(25);

/// Reads a clock. A product uses `leasehold-clock`: this one may be slewed, and does not count suspends.
#[allow(clippy::disallowed_methods)]
fn now() -> Reading {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    let nanos = START.elapsed().as_nanos() as u64 + 1_000_000_000;
    Some(Instant::from_nanos(nanos, nanos))
}

enum Message {
    Frame { round: TermRound, log: u64, commit: u64 },
    Stored { term: u64, log: u64, echo: Option<TermRound> },
    RequestVote { term: u64, log: u64 },
    Vote { term: u64 },
}

struct Node {
    id: NodeId,
    member: Member<Arc<LeaseCell>>,
    peers: BTreeMap<NodeId, Sender<(NodeId, Message)>>,
    cut: Arc<AtomicBool>,
    term: u64,
    leads: bool,
    votes: usize,
    log: u64,
    commit: u64,
    silent: u64, // ticks without a frame of a leader
    acknowledged: Arc<AtomicU64>,
}

impl Node {
    fn handle(&mut self, from: NodeId, message: Message) {
        match message {
            // While this node is held, its engine must not see the request: even a refusal would raise its term.
            Message::RequestVote { .. } if !self.member.may_vote(Fresh::new(now()), None) => {}
            Message::RequestVote { term, log } if term > self.term && log >= self.log => {
                self.follow(term);
                self.send(from, Message::Vote { term });
            }
            Message::Vote { term } if term == self.term && !self.leads => {
                self.votes += 1;
                if self.votes == 2 {
                    self.lead();
                }
            }
            Message::Frame { round, log, commit } if round.term >= self.term => {
                self.follow(round.term);
                (self.log, self.commit, self.silent) = (self.log.max(log), self.commit.max(commit), 0);
                // The engine has accepted the leader: the hold begins, and then the echo leaves.
                let echo = self.member.handle_round(Fresh::new(now()), round);
                self.send(from, Message::Stored { term: round.term, log: self.log, echo });
            }
            Message::Stored { term, log, echo } if term == self.term && self.leads => {
                if let Some(round) = echo {
                    self.report(Event::Acked { from, round });
                }
                // Stored here and there, that is by two of three.
                if log > self.commit {
                    self.commit = log;
                    self.report(Event::Committed(log));
                    // Only now may the write be acknowledged.
                    self.acknowledged.fetch_max(log, SeqCst);
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self) {
        self.member.handle_timeout(Fresh::new(now()));
        if self.leads && !self.member.holder().hears_quorum(now()) {
            println!("n{} hears no quorum, and steps down", self.id);
            self.follow(self.term);
        }
        self.silent += 1;
        if self.leads {
            self.log += 1;
            self.replicate();
        } else if self.silent > 20 * self.id && self.member.may_campaign(Fresh::new(now())) {
            self.follow(self.term + 1);
            (self.votes, self.silent) = (1, 0);
            self.peers.keys().for_each(|to| self.send(*to, Message::RequestVote { term: self.term, log: self.log }));
        }
    }

    fn lead(&mut self) {
        self.leads = true;
        self.log += 1; // the entry that opens the term: the barrier
        println!("n{} leads term {}", self.id, self.term);
        let voters = Voters::simple(&[1, 2, 3]).expect("three voters");
        self.report(Event::Elected { term: self.term, voters, barrier: self.log, commit: self.commit });
    }

    /// Follows in a term. A leader that steps down reports it before any message of this step leaves.
    fn follow(&mut self, term: u64) {
        if std::mem::take(&mut self.leads) {
            self.report(Event::Deposed);
        }
        self.term = term;
    }

    fn report(&mut self, event: Event) {
        self.member.handle_event(Fresh::new(now()), event).expect("the engine reports in order");
    }

    /// Sends a frame to each peer. Every frame carries the newest round.
    fn replicate(&mut self) {
        let Some(round) = self.member.frame_round() else { return };
        self.peers.keys().for_each(|to| self.send(*to, Message::Frame { round, log: self.log, commit: self.commit }));
    }

    fn send(&self, to: NodeId, message: Message) {
        if !self.cut.load(SeqCst) {
            let _ = self.peers[&to].send((self.id, message));
        }
    }

    fn run(mut self, inbox: Receiver<(NodeId, Message)>) {
        let mut due = now().expect("this clock does not fail");
        while let Some(reading) = now() {
            match inbox.recv_timeout(reading.time_until(due)) {
                Ok((from, message)) if !self.cut.load(SeqCst) => self.handle(from, message),
                Err(RecvTimeoutError::Timeout) => {
                    due = reading.plus(TICK);
                    self.tick();
                }
                _ => {}
            }
            // After every input. An engine with quorum reads answers those that an action confirms.
            while let Some(action) = self.member.poll_action() {
                if let Action::SendRound(_) = action {
                    self.replicate();
                }
            }
        }
    }
}

/// Returns the longest hold of the record, and makes the present one durable before any echo is sent.
fn longest_hold(record: &Path) -> Duration {
    let recorded = fs::read_to_string(record).ok().and_then(|millis| millis.parse().ok());
    let recorded = recorded.map_or(Duration::ZERO, Duration::from_millis);
    let written = fs::write(record, recorded.max(HOLD).as_millis().to_string());
    written.and_then(|()| fs::File::open(record)?.sync_all()).expect("the record is durable");
    recorded
}

fn main() {
    let folder = std::env::temp_dir().join(format!("own-engine-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let config = Config::new(Options::new(HOLD, 1000).with_heartbeat(HOLD / 10)).expect("the hold covers the lease");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let channels = [1, 2, 3].map(|id| (id, channel()));
    let (links, inboxes): (Vec<_>, Vec<_>) = channels.into_iter().map(|(id, (to, at))| ((id, to), at)).unzip();
    let mut readers = BTreeMap::new();
    for (inbox, (id, _)) in inboxes.into_iter().zip(&links) {
        let (id, cut, acknowledged) = (*id, Arc::new(AtomicBool::new(false)), acknowledged.clone());
        let longest = longest_hold(&folder.join(format!("hold-{id}")));
        let member = Member::new(id, config, longest, Fresh::new(now()), Arc::new(LeaseCell::new()));
        readers.insert(id, (member.cell().clone(), cut.clone(), 0));
        let peers = links.iter().filter(|(peer, _)| *peer != id).cloned().collect();
        let (term, leads, votes, log, commit, silent) = (0, false, 0, 0, 0, 0);
        let node = Node { id, member, peers, cut, term, leads, votes, log, commit, silent, acknowledged };
        thread::spawn(|| node.run(inbox));
    }
    for step in 0..4000 {
        thread::sleep(Duration::from_millis(1));
        for (id, (cell, cut, reads)) in &mut readers {
            let before = acknowledged.load(SeqCst); // a linearizable read sees at least this
            let Some(permit) = cell.try_read(now()) else { continue };
            assert!(permit.index >= before, "n{id} read {}, but {before} was acknowledged", permit.index);
            *reads += 1;
            if step == 2000 {
                println!("n{id} is cut off");
                cut.store(true, SeqCst);
            }
        }
    }
    for (id, (.., reads)) in &readers {
        println!("n{id} answered {reads} reads by its lease, none of them stale");
    }
    fs::remove_dir_all(folder).expect("the folder is there");
    assert!(readers.values().filter(|(.., reads)| *reads > 0).count() > 1, "the lease moved to another node");
}
