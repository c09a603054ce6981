//! Injection of faults into a cluster.

use super::faketime::Faketime;
use super::fault::Fault;
use super::options::DRIFT_PPM;
use super::rig::{Direction, Rig};
use crate::proxy::{Pace, Passage};
use leasehold_testing::dice::Dice;
use std::thread::sleep;
use std::time::Duration;

/// The time limit for the election of a new leader.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Draws a clock rate within the bound. Half of them are at the bound.
pub(super) fn rate(dice: &mut Dice) -> f64 {
    // The bound is the server's configured drift. A small margin remains for the drift of this machine's own clock.
    let bound = f64::from(DRIFT_PPM) / 1e6 * 0.98;
    let share = if dice.one_in(2) { 1.0 } else { dice.fraction() };
    let sign = if dice.one_in(2) { 1.0 } else { -1.0 };
    1.0 + sign * share * bound
}

impl Rig {
    /// Injects a fault into the cluster, and does not recover it.
    pub(super) fn strike(&mut self, fault: Fault, faketime: Option<&Faketime>, dice: &mut Dice) {
        // There was a leader after the last recovery. If there is none now, any node serves as the target.
        let leader = self.leader().unwrap_or_else(|| dice.pick(&self.nodes()));
        let followers: Vec<u64> = self.nodes().into_iter().filter(|id| *id != leader).collect();
        let follower = dice.pick(&followers);
        self.note(fault, leader);
        match fault {
            Fault::KillLeader | Fault::KillFollower => {
                self.kill(if fault == Fault::KillLeader { leader } else { follower });
                sleep(dice.millis(0, 2_500));
            }
            Fault::KillAll => {
                let mut nodes = self.nodes();
                dice.shuffle(&mut nodes);
                nodes.into_iter().for_each(|id| self.kill(id));
                sleep(dice.millis(0, 500));
            }
            Fault::PauseLeader => self.pause_leader(leader, dice),
            Fault::PauseFollower => {
                self.pause(follower);
                sleep(dice.millis(100, 3_000));
            }
            Fault::IsolateLeader => self.cut_off(leader, Direction::BothWays, dice),
            Fault::MuteLeader => self.cut_off(leader, Direction::Out, dice),
            Fault::DeafenLeader => self.cut_off(leader, Direction::In, dice),
            Fault::SplitPair => {
                let passage = dead(dice);
                self.set(leader, follower, passage);
                if dice.one_in(2) {
                    self.set(follower, leader, passage);
                }
                self.probe(leader, dice.millis(1_000, 3_500));
            }
            Fault::SlowLinks => {
                self.slow_down(dice);
                sleep(dice.millis(1_500, 4_000));
            }
            Fault::SlowLinksAndKillLeader => {
                self.slow_down(dice);
                sleep(dice.millis(200, 1_500));
                self.kill(leader);
                sleep(dice.millis(500, 2_500));
            }
            Fault::FlappingLinks => {
                for _ in 0..12 {
                    let (from, to) = dice.pick(&self.pairs());
                    let passage = if dice.one_in(3) { Passage::Open } else { dead(dice) };
                    self.set(from, to, passage);
                    sleep(dice.millis(20, 300));
                }
            }
            Fault::ClockRate => {
                let id = if dice.one_in(2) { leader } else { follower };
                self.kill(id);
                if let Some(faketime) = faketime {
                    self.set_rate(faketime, id, rate(dice));
                }
            }
        }
    }

    /// Stops the leader, mostly until another node leads and has acknowledged writes. Before it resumes, reads are
    /// queued in its socket: they are its first input, and its lease was valid when it stopped.
    fn pause_leader(&mut self, leader: u64, dice: &mut Dice) {
        let queue = self.connections(leader);
        self.pause(leader);
        if dice.one_in(4) {
            sleep(dice.millis(50, 900));
        } else if let Some(next) = self.await_leader(ELECTION_TIMEOUT) {
            sleep(dice.millis(0, 1_000));
            self.write_everywhere(next);
        }
        self.resume_amid_reads(leader, queue);
    }

    /// Isolates a node from its peers and reads from it meanwhile.
    fn cut_off(&mut self, id: u64, direction: Direction, dice: &mut Dice) {
        self.isolate(id, direction, dead(dice));
        self.probe(id, dice.millis(1_500, 4_000));
    }

    fn slow_down(&mut self, dice: &mut Dice) {
        // Mostly slow enough to matter, and sometimes so slow that leases expire.
        let delay = if dice.one_in(3) { dice.millis(300, 900) } else { dice.millis(5, 120) };
        let jitter = delay.mul_f64(dice.fraction());
        let bytes_per_second = 32 << dice.below(6) << 10;
        for (from, to) in self.pairs() {
            self.set(from, to, Passage::Slow(Pace { delay, jitter, bytes_per_second }));
        }
    }
}

/// Draws one of the ways to lose or hold all bytes.
fn dead(dice: &mut Dice) -> Passage {
    dice.pick(&[Passage::Stalled, Passage::Lossy, Passage::Cut])
}
