//! The holder and the grantor of a node, and a trace of their inputs.

use crate::options::Options;
use leasehold_core::trace::{Answer, Effect, Input, Recorder};
use leasehold_core::{Action, Event, Grantor, Holder, LeaseCell, Read, ReadError, Reading, Release, TermRound, Ticket};
use std::sync::Arc;
use std::time::Duration;

/// A holder and a grantor. Every input passes through here, so that a trace is complete.
pub(crate) struct Lease {
    holder: Holder,
    grantor: Grantor,
    /// The cell in which the holder publishes its lease.
    cell: Arc<LeaseCell>,
    trace: Option<Trace>,
}

struct Trace {
    recorder: Recorder,
    text: String,
}

impl Lease {
    pub(crate) fn new(options: &Options, longest_hold: Duration, now: Reading, cell: Arc<LeaseCell>) -> Lease {
        let Options { id, config, record, remaining_hold: remaining, .. } = *options;
        let trace = record.then(|| Trace { recorder: Recorder::new(id, now), text: String::new() });
        let grantor = match remaining {
            Some(remaining) => Grantor::after_orderly_stop(config, remaining, now),
            None => Grantor::new(config, longest_hold, now),
        };
        let mut lease = Lease { holder: Holder::new(id, config), grantor, cell, trace };
        lease.note(now, Input::Start { config, longest_hold, remaining }, None);
        lease
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    pub(crate) fn cell(&self) -> &LeaseCell {
        &self.cell
    }

    pub(crate) fn grantor(&self) -> &Grantor {
        &self.grantor
    }

    pub(crate) fn handle_event(&mut self, now: Reading, event: Event) {
        let reported = self.holder.handle_event(now, event, &self.cell);
        reported.expect("the engine reports its role before anything that needs it");
        self.note(now, Input::Event(event), None);
    }

    pub(crate) fn handle_timeout(&mut self, now: Reading) {
        self.holder.handle_timeout(now, &self.cell);
        self.note(now, Input::Timeout, None);
    }

    pub(crate) fn read(&mut self, now: Reading) -> Result<Read, ReadError> {
        let read = self.holder.read(now, &self.cell);
        self.note(now, Input::Read, Some(Answer::Read(read)));
        read
    }

    pub(crate) fn quorum_read(&mut self, now: Reading) -> Result<Ticket, ReadError> {
        let ticket = self.holder.quorum_read(now, &self.cell);
        self.note(now, Input::QuorumRead, Some(Answer::Read(ticket.map(Read::Quorum))));
        ticket
    }

    pub(crate) fn handle_round(&mut self, now: Reading, round: TermRound) -> Option<TermRound> {
        let echo = self.grantor.handle_round(now, round);
        self.note(now, Input::Frame(round), Some(Answer::Echo(echo)));
        echo
    }

    pub(crate) fn may_vote_or_campaign(&mut self, now: Reading, release: Option<Release>) -> bool {
        let may = self.grantor.may_vote_or_campaign(now, release);
        self.note(now, Input::MayElect(release), Some(Answer::MayElect(may)));
        may
    }

    /// Returns how much longer this node is held at `now`.
    pub(crate) fn remaining_hold(&mut self, now: Reading) -> Option<Duration> {
        self.grantor.remaining(now)
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        let action = self.holder.poll_action();
        if let Some(trace) = &mut self.trace {
            match action {
                Some(action) => trace.recorder.action(action),
                None => trace.recorder.taken(&mut trace.text).expect("writing to a string never fails"),
            }
        }
        action
    }

    pub(crate) fn frame_round(&mut self) -> Option<TermRound> {
        self.holder.frame_round()
    }

    /// Returns the lines recorded since the last call.
    pub(crate) fn take_trace(&mut self) -> String {
        self.trace.as_mut().map(|trace| std::mem::take(&mut trace.text)).unwrap_or_default()
    }

    /// Records an input, if a trace is kept.
    fn note(&mut self, now: Reading, input: Input, answer: Option<Answer>) {
        if let Some(trace) = &mut self.trace {
            let effect = Effect::seen(answer, &self.holder, &self.grantor);
            trace.recorder.input(now, input, effect, &mut trace.text).expect("writing to a string never fails");
        }
    }
}
