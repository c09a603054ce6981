//! Execution of planned faults, and the healing of all of them.

use super::clock::Counter;
use super::fault::{Fault, Frames, Hitch, Shape, Target, Way, Wildness};
use super::folders::Replacement;
use super::marks::Mark;
use super::node::Input;
use super::types::Nanos;
use super::world::{Ending, Event, World};
use leasehold_core::NodeId;
use leasehold_node::ports::GroupId;
use leasehold_raft::Replica;
use leasehold_raft::wire::{Change, Membership, Step, Transition};
use leasehold_testing::dice::Dice;

impl World {
    /// Carries out a planned fault.
    pub(super) fn inject(&mut self, fault: Fault) {
        self.faults[fault.kind()] += 1;
        if self.tracing() {
            self.note_all("fault", format!("{fault:?}"));
        }
        let now = self.now;
        match fault {
            Fault::Crash { target, down, timing } => {
                let node = self.resolve(target);
                self.crash(node, down, timing);
            }
            Fault::Pause { target, lasts } => {
                let node = self.resolve(target);
                self.pause(node, lasts);
            }
            Fault::LostFolder { target, down, lasts } => {
                let node = self.resolve(target);
                self.displace(node, Replacement::Empty, down, lasts);
            }
            Fault::OlderCopy { target, down, lasts } => {
                let node = self.resolve(target);
                self.displace(node, Replacement::OlderCopy, down, lasts);
            }
            Fault::Stall { target, lasts } => {
                let node = self.resolve(target);
                let until = now + lasts;
                self.nodes[node].stalled_until = self.nodes[node].stalled_until.max(until);
                self.at(until, Event::Resume { node: node as u8 });
            }
            Fault::Suspend { target, lasts } => {
                let node = self.resolve(target);
                // The counter that stops must be the wild one. If `Total` is the wild one, the machine cannot be
                // suspended.
                if self.nodes[node].clock.wild == Counter::Awake {
                    self.marks.reach_often(Mark::MachineResumed, u64::from(self.nodes[node].process.is_some()));
                    self.nodes[node].clock.set_stopped(now, Counter::Awake, true);
                    self.at(now + lasts, Event::Ends(Ending::Standing { node: node as u8 }));
                }
                self.pause(node, lasts);
            }
            Fault::Isolate { target, way, frames, lasts } => {
                let node = self.resolve(target);
                self.isolate(node, way, frames, lasts);
            }
            Fault::Split { side, frames, lasts } => {
                for from in 0..self.nodes.len() {
                    for to in 0..self.nodes.len() {
                        if (side >> from) & 1 != (side >> to) & 1 {
                            self.cut(from, to, frames, lasts);
                        }
                    }
                }
            }
            Fault::Cut { from, to, frames, lasts } => self.cut(from as usize, to as usize, frames, lasts),
            Fault::Slow { from, to, by, lasts } => {
                let link = from as usize * self.nodes.len() + to as usize;
                self.links[link].slower = (by, now + lasts);
            }
            Fault::SlowDisk { target, by, lasts } => {
                let node = self.resolve(target);
                self.nodes[node].disk.slower_by = by;
                self.at(now + lasts, Event::Ends(Ending::SlowDisk { node: node as u8 }));
            }
            Fault::Stop { target, down, timing } => {
                let node = self.resolve(target);
                let within = self.setup.heartbeat();
                let machine = &mut self.nodes[node];
                if machine.process.is_some() && machine.stops.is_none() {
                    machine.stops = Some((down, timing));
                    let boot = machine.boot;
                    self.queue_input(node, Input::HandOver);
                    self.at(now + within, Event::Ends(Ending::HandOver { node: node as u8, boot }));
                }
            }
            Fault::HungDisk { target, lasts } => {
                let node = self.resolve(target);
                self.nodes[node].disk.hangs = true;
                let epoch = self.nodes[node].disk.epoch;
                self.at(now + lasts, Event::Ends(Ending::HungDisk { node: node as u8, epoch }));
            }
            Fault::LostAppends { target, lasts } => {
                let (from, count) = (self.resolve(target), self.nodes.len());
                for link in &mut self.links[from * count..(from + 1) * count] {
                    link.loses_appends_until = link.loses_appends_until.max(now + lasts);
                }
            }
            Fault::DiskError { target, down } => {
                let node = self.resolve(target);
                self.nodes[node].disk.fails = true;
                // The failing write comes at an unknown time; the node restarts some time after it.
                self.start_later(node, down);
            }
            Fault::NoReadings { target, lasts } => {
                let node = self.resolve(target);
                self.nodes[node].clock.fails = true;
                self.at(now + lasts, Event::Ends(Ending::NoReadings { node: node as u8 }));
            }
            Fault::StepBack { target, by, recovers } => self.step_back(target, by, recovers),
            Fault::Wild { target, what } => {
                let node = self.resolve(target);
                let clock = &mut self.nodes[node].clock;
                let wild = clock.wild;
                match what {
                    Wildness::Stands(lasts) => {
                        clock.set_stopped(now, wild, true);
                        self.at(now + lasts, Event::Ends(Ending::Standing { node: node as u8 }));
                    }
                    Wildness::Leaps(by) => clock.leap(now, wild, by as i64),
                    Wildness::FallsBack(by) => clock.leap(now, wild, -(by as i64)),
                }
            }
            Fault::NewRate { target, ppm } => {
                let node = self.resolve(target);
                self.nodes[node].clock.set_rate(now, ppm);
            }
            Fault::Transfer { to, hitch } => self.transfer(to as usize, hitch),
            Fault::Campaign { target } => {
                let node = self.resolve(target);
                self.queue_input(node, Input::Campaign { group: self.focus });
            }
            Fault::Reconfigure { to } => self.reconfigure(to),
            Fault::Burst { target, times } => {
                let node = self.resolve(target);
                self.queue_input(node, Input::Burst { times });
            }
            Fault::Rush { lasts } => self.rush_until = now + lasts,
            Fault::Silence { lasts } => self.silence_until = now + lasts,
            Fault::HiddenStop { target, lasts } => {
                let node = self.resolve(target);
                self.nodes[node].clock.set_stopped(now, Counter::Awake, true);
                self.nodes[node].clock.set_stopped(now, Counter::Total, true);
                self.at(now + lasts, Event::Ends(Ending::Standing { node: node as u8 }));
            }
            Fault::LeapAhead { target, by } => {
                let node = self.resolve(target);
                self.nodes[node].clock.leap(now, Counter::Awake, by as i64);
                self.nodes[node].clock.leap(now, Counter::Total, by as i64);
            }
            Fault::CutLog { target, down, commits } => {
                let node = self.resolve(target);
                self.cut_log(node, down, commits as usize);
            }
        }
    }

    /// Crashes a process whose disk then loses its last transactions. At most one node has lost something at a time: what
    /// two of three disks lose, nothing can restore.
    fn cut_log(&mut self, node: usize, down: Nanos, commits: usize) {
        let is_cut = |at: &super::node::Node| {
            let process = at.process.as_ref();
            let cut = |group: usize| {
                let replica = process.and_then(|process| Some(process.node.group(group as GroupId)?.replica()));
                at.disk.durable(group).log_may_be_cut || replica.is_some_and(Replica::log_may_be_cut)
            };
            (0..self.groups.len()).any(cut)
        };
        // No leader knows a spare node, so none could admit it.
        if node as u64 >= self.setup.founders || self.nodes.iter().any(is_cut) {
            return;
        }
        self.kill(node, "is killed, and its disk loses what it wrote last");
        self.marks.reach_often(Mark::LogCut, u64::from(self.nodes[node].disk.cut(commits)));
        self.start_later(node, down);
    }

    /// Ends a planned fault.
    pub(super) fn end_fault(&mut self, ending: Ending) {
        let now = self.now;
        match ending {
            Ending::Cut { from, to } => {
                let link = from as usize * self.nodes.len() + to as usize;
                self.links[link].cuts = self.links[link].cuts.saturating_sub(1);
            }
            Ending::NoReadings { node } => self.nodes[node as usize].clock.fails = false,
            Ending::Standing { node } => self.nodes[node as usize].clock.restart_counters(now),
            Ending::SlowDisk { node } => self.nodes[node as usize].disk.slower_by = 0,
            Ending::Displaced { node } => self.put_back(node as usize),
            Ending::HandOver { node, boot } => {
                if self.nodes[node as usize].boot == boot {
                    self.queue_input(node as usize, Input::Stop);
                }
            }
            Ending::HungDisk { node, epoch } => {
                if self.nodes[node as usize].disk.epoch == epoch {
                    self.unhang(node as usize);
                }
            }
            Ending::Behind { node, boot, by } => {
                // For a process that started in between, recovering would be a jump ahead, which is outside the
                // assumptions.
                let machine = &mut self.nodes[node as usize];
                if machine.boot == boot && machine.process.is_some() {
                    machine.clock.recover(now, by as i64);
                }
            }
        }
    }

    /// Lets a hung disk finish its syncs.
    fn unhang(&mut self, node: usize) {
        let disk = &mut self.nodes[node].disk;
        disk.hangs = false;
        if std::mem::take(&mut disk.held_back) {
            let epoch = disk.epoch;
            self.at(self.now, Event::Synced { node: node as u8, epoch });
        }
    }

    /// Resolves the target of a fault.
    fn resolve(&self, target: Target) -> usize {
        match (target, self.leader()) {
            (Target::Leader, leader) => leader.unwrap_or(0),
            (Target::Another(at), Some(leader)) if self.nodes.len() > 1 => {
                (leader + 1 + at as usize % (self.nodes.len() - 1)) % self.nodes.len()
            }
            (Target::Another(at) | Target::Node(at), _) => at as usize,
        }
    }

    fn crash(&mut self, node: usize, down: Nanos, timing: Option<u8>) {
        self.kill(node, "is killed");
        if let Some(timing) = timing {
            self.nodes[node].timing = timing;
        }
        self.start_later(node, down);
    }

    pub(super) fn start_later(&mut self, node: usize, after: Nanos) {
        let at = self.now + after;
        self.nodes[node].starts_at = Some(at);
        self.at(at, Event::Start { node: node as u8 });
    }

    fn pause(&mut self, node: usize, lasts: Nanos) {
        let until = self.now + lasts;
        let reading = self.nodes[node].clock.peek(self.now);
        let machine = &mut self.nodes[node];
        let Some(process) = &machine.process else { return };
        machine.paused_with_lease |= process.has_lease(reading);
        machine.paused_until = machine.paused_until.max(until);
        let after = self.draw_resume_delay();
        self.at(until + after, Event::Resume { node: node as u8 });
    }

    pub(super) fn isolate(&mut self, node: usize, way: Way, frames: Frames, lasts: Nanos) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if matches!(way, Way::In | Way::Both) {
                self.cut(other, node, frames, lasts);
            }
            if matches!(way, Way::Out | Way::Both) {
                self.cut(node, other, frames, lasts);
            }
        }
    }

    fn cut(&mut self, from: usize, to: usize, frames: Frames, lasts: Nanos) {
        let until = self.now + lasts;
        let link = from * self.nodes.len() + to;
        match frames {
            Frames::Lost => {
                self.links[link].cuts += 1;
                self.at(until, Event::Ends(Ending::Cut { from: from as u8, to: to as u8 }));
            }
            Frames::Kept => self.links[link].keeps_until = self.links[link].keeps_until.max(until),
        }
    }

    /// Makes both counters fall back. The protocol is safe only if the lease holder takes a reading before the step and
    /// one after it, so that it detects the step; readers are exposed in between. Therefore the timer fires just before
    /// and just after the step.
    fn step_back(&mut self, target: Target, by: Nanos, recovers: Option<Nanos>) {
        let (now, node) = (self.now, self.resolve(target));
        if !self.nodes[node].task_runs(now) || self.nodes[node].clock.fails || self.nodes[node].clock.flaky_ppm > 0 {
            return;
        }
        let mut recovers = recovers;
        self.handle_timeout(node, true);
        let may_recover = self.nodes[node].clock.fall_back(now, by as i64, recovers.is_some());
        recovers = recovers.filter(|_| may_recover);
        self.handle_timeout(node, true);
        if let Some(after) = recovers {
            let boot = self.nodes[node].boot;
            self.at(now + after, Event::Ends(Ending::Behind { node: node as u8, boot, by }));
        }
        self.turn(node);
    }

    /// Makes the leader transfer leadership.
    pub(super) fn transfer(&mut self, to: usize, hitch: Hitch) {
        let (now, group, Some(leader)) = (self.now, self.focus, self.leader()) else { return };
        let target = if to == leader { (to + 1) % self.nodes.len() } else { to };
        let (from, to) = (leader as NodeId + 1, target as NodeId + 1);
        match hitch {
            Hitch::CampaignNowIsLate(by) | Hitch::CampaignNowIsLateAndAlone(by) => {
                self.late_campaign = Some((from, to, by, now + self.setup.hold() * 2));
            }
            Hitch::None | Hitch::LeaderIsCutOff(_) | Hitch::CalledBack(_) => self.late_campaign = None,
        }
        self.queue_input(leader, Input::Transfer { group, to });
        if self.nodes[leader].task_runs(now) {
            self.turn(leader);
        }
        match hitch {
            Hitch::LeaderIsCutOff(lasts) | Hitch::CalledBack(lasts) => {
                // The leader's frames are already in transit.
                self.isolate(leader, Way::Both, Frames::Kept, lasts);
                if matches!(hitch, Hitch::CalledBack(_)) {
                    self.queue_input(leader, Input::Transfer { group, to: from });
                }
            }
            Hitch::CampaignNowIsLateAndAlone(by) => {
                // The leader's own "campaign now" has already left.
                self.cut(leader, target, Frames::Kept, by + self.setup.hold());
            }
            Hitch::None | Hitch::CampaignNowIsLate(_) => {}
        }
    }

    fn reconfigure(&mut self, to: Shape) {
        if self.setup.decides {
            return self.decide(to);
        }
        let Some(leader) = self.leader() else { return };
        let Some(process) = &self.nodes[leader].process else { return };
        let (id, nodes) = (leader as NodeId + 1, self.nodes.len() as u64);
        let voters = process.replica().membership().voters.clone();
        let change = match to {
            Shape::Drawn(draw) => draw_change(&mut Dice::new(draw, 1), process.replica().membership(), nodes),
            Shape::Exchanged(_) => {
                let come = (1..=nodes).filter(|node| !voters.contains(node)).map(Step::AddVoter);
                let go = voters.iter().filter(|voter| **voter != id).map(|voter| Step::Remove(*voter));
                Change::new(Transition::Explicit, come.chain(go).collect())
            }
            Shape::Sole(at) => {
                let sole = self.resolve(Target::Another(at)) as NodeId + 1;
                let comes = (!voters.contains(&sole)).then_some(Step::AddVoter(sole));
                let go = voters.iter().filter(|voter| **voter != sole).map(|voter| Step::Remove(*voter));
                Change::new(Transition::Auto, comes.into_iter().chain(go).collect())
            }
        };
        if self.tracing() {
            self.note(leader, "operator", format!("proposes {change:?}"));
        }
        self.queue_input(leader, Input::Reconfigure { group: self.focus, change });
        if let Shape::Exchanged(unheard) = to {
            // The replaced voters receive the change itself, but never learn that it was committed.
            self.turn(leader);
            let goes = |node: usize| node != leader && voters.contains(&(node as NodeId + 1));
            for from in (0..self.nodes.len()).filter(|node| !goes(*node)) {
                for to in (0..self.nodes.len()).filter(|node| goes(*node)) {
                    self.cut(from, to, Frames::Kept, unheard);
                }
            }
        }
    }

    /// Heals all faults. Starts nodes that are down. Restarts nodes whose clock is unusable, and nodes that do not yet
    /// run the last timing.
    pub(super) fn heal(&mut self) {
        let now = self.now;
        self.healed = true;
        self.late_campaign = None;
        (self.rush_until, self.silence_until) = (0, 0);
        if self.tracing() {
            self.note_all("heal", "all faults healed".to_owned());
        }
        self.links.iter_mut().for_each(|link| link.mend());
        self.setup.load.think = self.setup.load.think.min(self.setup.hold() / 2);
        self.setup.load.writes_ppm = self.setup.load.writes_ppm.min(300_000);
        self.setup.load.quorum_ppm = self.setup.load.quorum_ppm.min(20_000);
        let last = self.setup.timings.len() as u8 - 1;
        for node in 0..self.nodes.len() {
            self.put_back(node);
            self.unhang(node);
            let machine = &mut self.nodes[node];
            machine.clock.restart_counters(now);
            machine.clock.fails = false;
            machine.clock.flaky_ppm = 0;
            machine.disk.slower_by = 0;
            machine.disk.fails = false;
            (machine.paused_until, machine.stalled_until) = (now, now);
            let hopeless = machine.clock.is_behind(now);
            if matches!(self.clocks, super::types::Clocks::Beyond) {
                self.nodes[node].clock.set_rate(now, 0);
            }
            if hopeless || self.nodes[node].timing != last {
                self.kill(node, "is restarted");
                self.nodes[node].timing = last;
            }
            self.nodes[node].starts_at = None;
            if self.nodes[node].process.is_none() {
                self.at(now, Event::Start { node: node as u8 });
            }
            self.at(now, Event::Resume { node: node as u8 });
        }
    }
}

/// Draws a configuration change that an operator could request.
fn draw_change(dice: &mut Dice, now: &Membership, nodes: u64) -> Change {
    if !now.voters_outgoing.is_empty() && !now.auto_leave {
        // Only leaving the joint configuration is possible.
        return Change::default();
    }
    let mut steps = Vec::new();
    let mut voters: Vec<NodeId> = now.voters.clone();
    for _ in 0..dice.pick(&[1, 1, 1, 2, 3]) {
        let node = 1 + dice.below(nodes);
        let votes = voters.contains(&node);
        let step = match (votes, dice.below(4)) {
            (true, 0) if voters.len() > 1 => Step::AddLearner(node),
            (true, _) if voters.len() > 1 => Step::Remove(node),
            (true, _) => continue,
            (false, 0) => Step::AddLearner(node),
            (false, _) => Step::AddVoter(node),
        };
        if steps.iter().any(|earlier| node_of(*earlier) == node) {
            continue;
        }
        match step {
            Step::AddVoter(node) => voters.push(node),
            Step::AddLearner(node) | Step::Remove(node) => voters.retain(|voter| *voter != node),
        }
        steps.push(step);
    }
    let transition = dice.pick(&[Transition::Auto, Transition::Auto, Transition::Implicit, Transition::Explicit]);
    Change::new(transition, steps)
}

fn node_of(step: Step) -> NodeId {
    match step {
        Step::AddVoter(node) | Step::AddLearner(node) | Step::Remove(node) => node,
    }
}
