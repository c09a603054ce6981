//! The content of each node's lane.

use crate::moments::{ClockFault, Moment};
use leasehold_core::trace::{Answer, Hold, Input};
use leasehold_core::{Action, Event, NodeId, Read, Round, TermRound};
use std::collections::BTreeMap;
use std::time::Duration;

/// The end of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It ends at this time.
    Time(i64),
    /// An input ends it.
    Input(usize),
    /// It goes on.
    Open,
}

/// A span of time that an input begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: usize,
    pub(crate) to: End,
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    ByLease,
    ByQuorum,
    /// It waits for a quorum round.
    Waits,
    Refused,
    Aborted,
}

/// Something that happens at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Start,
    Restart,
    Elected(u64),
    Deposed,
    TransferStarted,
    TransferEnded,
    VotersChanged,
    Suspended,
    Resumed,
    MayElect(bool),
    /// True if it did not have the same fault at its input before.
    Clock(ClockFault, bool),
}

/// A lane. Numbers are those of moments.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) leads: Vec<Span>,
    pub(crate) leases: Vec<Span>,
    /// The time of the anchor of each lease, and the input at which its round was opened, if that is recorded.
    pub(crate) anchors: Vec<(i64, Option<usize>)>,
    pub(crate) holds: Vec<Span>,
    pub(crate) reads: Vec<(usize, Outcome)>,
    pub(crate) marks: Vec<(usize, Mark)>,
}

/// A round on its way, or its acknowledgement on the way back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    /// The input at which it left; `None` if that is not recorded.
    pub(crate) from: Option<usize>,
    pub(crate) to: usize,
    pub(crate) is_echo: bool,
    /// False if the round was not acknowledged.
    pub(crate) accepted: bool,
}

#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) lanes: BTreeMap<NodeId, Lane>,
    pub(crate) flights: Vec<Flight>,
    /// When leases and holds end, and the picture.
    pub(crate) ends: Vec<i64>,
}

/// Spans as they grow.
#[derive(Default)]
struct Growing {
    /// The input that began the present span, and its end so far.
    open: Option<(usize, i64)>,
    done: Vec<Span>,
}

impl Growing {
    /// Learns at this input that the span lasts until `end`, or that there is none.
    fn set(&mut self, number: usize, at: i64, end: Option<i64>) {
        match (&mut self.open, end.filter(|end| *end > at)) {
            (Some((_, open)), Some(end)) if at <= *open => *open = end,
            (open, end) => {
                if let Some((from, to)) = open.take() {
                    let to = if to > at { End::Input(number) } else { End::Time(to) };
                    self.done.push(Span { from, to });
                }
                *open = end.map(|to| (number, to));
            }
        }
    }

    fn finish(mut self) -> Vec<Span> {
        let last =
            self.open.map(|(from, to)| Span { from, to: if to == i64::MAX { End::Open } else { End::Time(to) } });
        self.done.extend(last);
        self.done
    }
}

/// The state of a lane while it is read.
#[derive(Default)]
struct Reader {
    lane: Lane,
    leads: Growing,
    leases: Growing,
    holds: Growing,
    lease: Duration,
    /// The rounds of the quorum reads that wait.
    waiting: Vec<Round>,
    /// The inputs at which rounds were opened, by time.
    opened: BTreeMap<i64, usize>,
    has_started: bool,
    /// The fault of the clock at the last input.
    fault: Option<ClockFault>,
}

pub(crate) fn lanes(moments: &[Moment]) -> Lanes {
    let mut readers: BTreeMap<NodeId, Reader> = BTreeMap::new();
    let mut flights = Vec::new();
    let mut sent: BTreeMap<TermRound, usize> = BTreeMap::new();
    let mut arrived: BTreeMap<(NodeId, TermRound), usize> = BTreeMap::new();
    for (number, moment) in moments.iter().enumerate() {
        let node = moment.line.node;
        readers.entry(node).or_default().read(number, moment);
        for action in moment.effect.actions.iter().flatten() {
            if let Action::SendRound(round) = action {
                sent.entry(*round).or_insert(number);
            }
        }
        match moment.line.input {
            Input::Frame(round) => {
                let accepted = matches!(moment.effect.answer, Some(Answer::Echo(Some(_))));
                if accepted {
                    arrived.insert((node, round), number);
                }
                flights.push(Flight { from: sent.get(&round).copied(), to: number, is_echo: false, accepted });
            }
            Input::Event(Event::Acked { from, round }) => {
                let from = arrived.get(&(from, round)).copied();
                flights.push(Flight { from, to: number, is_echo: true, accepted: true });
            }
            _ => {}
        }
    }
    let last = moments.last().map_or(0, |moment| moment.at);
    let lanes: BTreeMap<NodeId, Lane> = readers.into_iter().map(|(node, reader)| (node, reader.finish())).collect();
    let ends = lanes.values().flat_map(|lane| lane.leases.iter().chain(&lane.holds)).filter_map(|span| match span.to {
        End::Time(at) => Some(at),
        End::Input(_) | End::Open => None,
    });
    let ends = ends.chain([last.saturating_add(1_000_000)]).collect();
    Lanes { lanes, flights, ends }
}

impl Reader {
    fn read(&mut self, number: usize, moment: &Moment) {
        let at = moment.at;
        if let Some(fault) = moment.fault {
            self.lane.marks.push((number, Mark::Clock(fault, self.fault != Some(fault))));
        }
        self.fault = moment.fault;
        let mark = match moment.line.input {
            Input::Start { config, .. } => {
                self.lease = config.lease();
                self.leads.set(number, at, None);
                self.leases.set(number, at, None);
                self.waiting.clear();
                Some(if std::mem::replace(&mut self.has_started, true) { Mark::Restart } else { Mark::Start })
            }
            Input::Event(Event::Elected { term, .. }) => {
                self.leads.set(number, at, None);
                self.leads.set(number, at, Some(i64::MAX));
                Some(Mark::Elected(term))
            }
            Input::Event(Event::Deposed) => {
                self.leads.set(number, at, None);
                Some(Mark::Deposed)
            }
            Input::Event(Event::TransferStarted) => Some(Mark::TransferStarted),
            Input::Event(Event::TransferEnded) => Some(Mark::TransferEnded),
            Input::Event(Event::VotersChanged(_)) => Some(Mark::VotersChanged),
            Input::Event(Event::Suspended) => Some(Mark::Suspended),
            Input::Event(Event::Resumed) => Some(Mark::Resumed),
            Input::MayElect(_) => Some(Mark::MayElect(moment.effect.answer == Some(Answer::MayElect(true)))),
            _ => None,
        };
        self.lane.marks.extend(mark.map(|mark| (number, mark)));
        if moment.effect.actions.iter().flatten().any(|action| matches!(action, Action::SendRound(_))) {
            self.opened.insert(at, number);
        }
        self.read_spans(number, moment);
        self.read_reads(number, moment);
    }

    fn read_spans(&mut self, number: usize, moment: &Moment) {
        let at = moment.at;
        match moment.line.input {
            Input::Look => {}
            Input::Start { .. } | Input::Frame(_) | Input::MayElect(_) => {
                let end = match moment.effect.hold {
                    Hold::None => None,
                    Hold::Until(end) => Some(moment.time_of(end, true)),
                    // The next reading tells how long.
                    Hold::FromNextReading => Some(i64::MAX),
                };
                self.holds.set(number, at, end);
            }
            Input::Event(_) | Input::Timeout | Input::Read | Input::QuorumRead => {
                let end =
                    moment.effect.lease.map(|end| moment.time_of(end, false)).filter(|_| moment.line.now.is_some());
                // The configuration is that of the start, which may be before the window.
                if let Some(end) = end.filter(|end| *end > at && !self.lease.is_zero()) {
                    let anchor = end.saturating_sub(self.lease.as_nanos() as i64);
                    let anchor = (anchor, self.opened.get(&anchor).copied());
                    if self.lane.anchors.last() != Some(&anchor) {
                        self.lane.anchors.push(anchor);
                    }
                }
                self.leases.set(number, at, end);
            }
        }
    }

    fn read_reads(&mut self, number: usize, moment: &Moment) {
        match moment.effect.answer {
            Some(Answer::Permit(Some(_)) | Answer::Read(Ok(Read::Lease(_)))) => {
                self.lane.reads.push((number, Outcome::ByLease));
            }
            Some(Answer::Read(Ok(Read::Quorum(ticket)))) => {
                self.waiting.push(ticket.round);
                self.lane.reads.push((number, Outcome::Waits));
            }
            Some(Answer::Permit(None) | Answer::Read(Err(_))) => self.lane.reads.push((number, Outcome::Refused)),
            _ => {}
        }
        for action in moment.effect.actions.iter().flatten() {
            let (through, outcome) = match action {
                Action::SendRound(_) => continue,
                Action::Confirmed { through } => (*through, Outcome::ByQuorum),
                Action::Aborted { through } => (*through, Outcome::Aborted),
            };
            let count = self.waiting.len();
            self.waiting.retain(|round| *round > through);
            if self.waiting.len() < count {
                self.lane.reads.push((number, outcome));
            }
        }
    }

    fn finish(mut self) -> Lane {
        self.lane.leads = self.leads.finish();
        self.lane.leases = self.leases.finish();
        self.lane.holds = self.holds.finish();
        self.lane
    }
}
