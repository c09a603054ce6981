//! The engine behind the trait of the kit.

use super::defect::Defect::*;
use super::{Body, Content, Disk, Message, Needs, Small, TRANSFER_TICKS};
use leasehold_conformance::{Answer, Contents, Engine, Kind, NotExpressible, Output, ReadId};
use leasehold_core::{Event, Fresh, LeaseTiming, NodeId, Read, Reading, Tag, Term};

impl Engine for Small {
    type Message = Message;
    type Disk = Disk;

    fn contents(message: &Message) -> Contents {
        let kind = match message.body {
            Body::Append { .. } => Kind::Lead,
            Body::Appended { .. } => Kind::Answer,
            Body::AskVote { .. } => Kind::AskVote,
            Body::Vote { .. } => Kind::Vote,
            Body::CampaignNow => Kind::CampaignNow,
        };
        let tag = if message.has_no_tag { Tag::default() } else { message.tag };
        Contents { kind: Some(kind).filter(|_| !message.has_no_kind), tag }
    }

    fn kill(self) -> Disk {
        self.disk
    }

    fn accept_peer(&self, timing: LeaseTiming) -> bool {
        self.has(AcceptsAnyTiming) || self.config.accept_peer(timing).is_ok()
    }

    fn receive(&mut self, now: Reading, from: NodeId, message: Message) {
        let now = self.reading(now, false);
        let tag = message.tag;
        let withheld = match message.body {
            Body::AskVote { .. } => {
                let may = self.member.may_vote(Fresh::new(now), tag.release);
                !may && !self.has(VotesWhileHeld)
            }
            Body::CampaignNow => {
                self.member.keep_release(tag.release);
                !self.member.may_campaign(Fresh::new(now)) && !self.has(CampaignsByOrder)
            }
            _ => false,
        };
        if withheld {
            return;
        }
        let is_pre_vote = matches!(message.body, Body::AskVote { pre: true, .. } | Body::Vote { pre: true });
        if message.term > self.disk.term && !is_pre_vote && !matches!(message.body, Body::AskVote { .. }) {
            self.follow(now, message.term);
        }
        match message.body {
            Body::Append { .. } => self.handle_append(now, from, message),
            Body::Appended { stored, last } if self.leads && message.term == self.disk.term => {
                self.handle_answer(now, from, tag, stored, last);
                for _ in 0..2 * u8::from(self.has(AnswersTwice)) {
                    self.replicate();
                }
            }
            Body::Appended { .. } => {}
            Body::AskVote { pre, last } => {
                if self.is_delayed && !self.has(VotesUnsuspended) {
                    self.report(now, Event::Suspended);
                }
                self.is_unseen = self.is_delayed;
                self.handle_request(now, from, message.term, pre, last);
                if self.is_delayed && !self.has(VotesUnsuspended) && !self.has(NeverResumes) {
                    self.report(now, Event::Resumed);
                }
                self.is_unseen = false;
            }
            Body::Vote { pre } => self.handle_vote(now, from, message.term, pre),
            Body::CampaignNow if message.term == self.disk.term => self.campaign_now(now),
            Body::CampaignNow => {}
        }
        self.finish();
    }

    fn tick(&mut self, now: Reading) {
        let now = self.reading(now, true);
        self.member.handle_timeout(Fresh::new(now));
        self.silent += 1;
        if self.deposed_late && self.silent >= 10 {
            self.deposed_late = false;
            self.report(now, Event::Deposed);
        }
        if self.leads {
            if let Some((_, ticks, _)) = &mut self.transfer {
                *ticks += 1;
                if *ticks == TRANSFER_TICKS {
                    self.transfer = None;
                    self.report(now, Event::TransferEnded);
                }
            }
            if self.has(ReportsCommitsLate) {
                self.report(now, Event::Committed(self.commit));
            }
            if !self.member.holder().hears_quorum(now) && !self.has(LeadsWithoutAQuorum) {
                self.follow(now, self.disk.term);
            } else {
                self.replicate();
            }
        } else if self.silent >= self.patience && self.is_voter() {
            if self.has(CampaignsByTick) {
                self.campaign_now(now);
            } else if self.member.may_campaign(Fresh::new(now)) {
                self.wait_for_a_leader();
                self.pre_votes = vec![self.id];
                if self.has_quorum(&self.pre_votes) {
                    self.campaign_now(now);
                } else {
                    self.request_votes(true);
                }
            }
        }
        self.applied = self.commit;
        self.finish();
    }

    fn write(&mut self, now: Reading, value: u64) -> bool {
        let now = self.reading(now, false);
        if self.leads {
            self.writes.insert(self.last().1 + 1, value);
            self.append(now, Content::Value(value));
            self.finish();
        }
        self.leads
    }

    fn read(&mut self, now: Reading, read: ReadId) {
        let now = self.reading(now, false);
        let needs = match self.member.cell().try_read(now) {
            _ if self.has(ReadsByQuorum) => self.member.quorum_read(Fresh::new(now)).ok().map(Needs::Confirmed),
            Some(permit) => Some(Needs::Applied(permit.index, Answer::ByLease)),
            None => match self.member.read(Fresh::new(now)) {
                Ok(Read::Lease(permit)) => Some(Needs::Applied(permit.index, Answer::ByLease)),
                Ok(Read::Quorum(ticket)) if self.has(AwaitsNoConfirmation) => {
                    Some(Needs::Applied(ticket.index, Answer::ByQuorum))
                }
                Ok(Read::Quorum(ticket)) => Some(Needs::Confirmed(ticket)),
                Err(_) => None,
            },
        };
        match needs {
            Some(needs) => self.reads.push((read, needs)),
            None => self.outputs.push_back(Output::Answer(read, Answer::Refused)),
        }
        self.finish();
    }

    fn poll_output(&mut self) -> Option<Output<Message>> {
        if self.has(RepeatsAnOutput) {
            return Some(Output::Acknowledge(0));
        }
        let mut output = self.outputs.pop_front();
        if let Some(Output::Send { message, .. }) = &mut output {
            let is_order = matches!(message.body, Body::CampaignNow);
            message.has_no_tag = self.has(LeadsItsTermAgainUnseen);
            message.has_no_kind = self.has(NamesNoKinds) || is_order && self.has(NamesNoOrders);
        }
        output
    }

    fn leads(&self) -> bool {
        self.leads
    }

    fn term(&self) -> Term {
        self.disk.term
    }

    fn voters(&self) -> Vec<NodeId> {
        self.in_force(self.commit)
    }

    fn transfer(&mut self, now: Reading, to: NodeId) -> Result<(), NotExpressible> {
        let now = self.reading(now, false);
        if self.leads {
            if self.transfer.take().is_some() {
                self.report(now, Event::TransferEnded);
            }
            if !self.has(MakesUpReleases) {
                self.report(now, Event::TransferStarted);
            }
            self.transfer = Some((to, 0, false));
            self.send_order();
            self.finish();
        }
        Ok(())
    }

    fn campaign(&mut self, now: Reading) -> Result<(), NotExpressible> {
        let now = self.reading(now, false);
        if self.has(CampaignsByCommand) || self.member.may_campaign(Fresh::new(now)) {
            self.campaign_now(now);
        }
        self.finish();
        Ok(())
    }

    fn delay_reports(&mut self, now: Reading, on: bool) -> Result<(), NotExpressible> {
        let now = self.reading(now, false);
        self.is_delayed = on;
        for event in std::mem::take(&mut self.late).into_iter().filter(|_| !on) {
            self.report(now, event);
        }
        self.finish();
        Ok(())
    }

    fn change_voters(&mut self, now: Reading, voters: &[NodeId]) -> Result<bool, NotExpressible> {
        let now = self.reading(now, false);
        if self.leads && !self.has(ForgetsChanges) {
            self.wanted = Some(voters.to_vec());
            self.change_on(now);
            self.finish();
        }
        Ok(self.leads)
    }
}
