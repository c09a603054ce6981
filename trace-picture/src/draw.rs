//! The drawing.

use crate::align::Alignment;
use crate::axis::Axis;
use crate::lanes::{End, Flight, Lane, Lanes, Mark, Outcome, Span};
use crate::moments::{ClockFault, Moment, Story};
use crate::recording::Recording;
use leasehold_core::NodeId;
use leasehold_core::trace::REPLAY_ORIGIN;
use maud::{Markup, PreEscaped, html};
use std::collections::BTreeMap;

const STYLE: &str = include_str!("picture.css");
/// The place of the first input.
const LEFT: i64 = 70;
const MIN_WIDTH: i64 = 900;
const LINE: i64 = 17;
const LANE: i64 = 104;
/// The places in a lane, from its top.
const EVENTS: i64 = 12;
const LEASE: i64 = 22;
const BASE: i64 = 48;
const HOLD: i64 = 60;
const VOTES: i64 = 82;
const BAR: i64 = 10;
/// The distance of two labels in a lane.
const MIN_LABEL_WIDTH: i64 = 66;

/// The places that everything is drawn at.
struct Sheet<'a> {
    moments: &'a [Moment],
    axis: Axis,
    /// The top of each node's lane.
    tops: BTreeMap<NodeId, i64>,
    /// The last input of each node, where nothing is known of it later because its recording ended.
    ends: BTreeMap<NodeId, usize>,
}

impl Sheet<'_> {
    fn base(&self, number: usize) -> (i64, i64) {
        (self.axis.place(number), self.tops[&self.moments[number].line.node] + BASE)
    }

    /// Returns the places of a span's ends.
    fn ends(&self, span: Span) -> (i64, i64) {
        let from = self.axis.place(span.from);
        let to = match span.to {
            End::Time(at) => self.axis.place_of(at),
            End::Input(number) => self.axis.place(number),
            End::Open => {
                let last = self.ends.get(&self.moments[span.from].line.node);
                last.map_or_else(|| self.axis.end(), |last| self.axis.place(*last))
            }
        };
        (from, to.max(from + 1))
    }

    fn end(&self, span: Span) -> String {
        match span.to {
            End::Time(at) => format!("until {}", millis(at)),
            End::Input(number) => format!("until {}", millis(self.moments[number].at)),
            End::Open => "from then on".to_owned(),
        }
    }
}

pub(crate) fn draw(
    title: &str,
    story: &Story,
    lanes: &Lanes,
    recordings: &[Recording],
    alignments: &[Alignment],
) -> String {
    let (before, later): (Vec<_>, Vec<_>) = story.captions.iter().partition(|(at, _)| *at == 0);
    let mut within: Vec<(usize, String)> = Vec::new();
    for (at, caption) in later {
        match within.last_mut() {
            Some((last, told)) if last == at => *told = format!("{told} {caption}"),
            _ => within.push((*at, caption.clone())),
        }
    }
    let top = 34 + LINE * before.len() as i64 + 40;
    let sheet = Sheet {
        moments: &story.moments,
        axis: Axis::new(&story.moments, lanes.ends.clone(), LEFT),
        ends: if recordings.len() > 1 { last_inputs(&story.moments) } else { BTreeMap::new() },
        tops: lanes.lanes.keys().zip(0..).map(|(node, number)| (*node, top + number * LANE)).collect(),
    };
    let bottom = top + LANE * lanes.lanes.len() as i64;
    let placed = alignments.iter().zip(recordings).map(|(alignment, recording)| placed(*alignment, &recording.name));
    let placed: Vec<String> = if recordings.len() > 1 { placed.collect() } else { Vec::new() };
    let told = bottom + 24 + LINE * within.len() as i64;
    let legend_top = told + LINE * placed.len() as i64 + 10;
    let (width, height) = ((sheet.axis.end() + 120).max(MIN_WIDTH), legend_top + 64);
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox=(format!("0 0 {width} {height}"))
            role="img" aria-label=(title) {
            style { (PreEscaped(STYLE)) }
            rect class="paper" width=(width) height=(height) {}
            text class="title" x="12" y="24" { (title) }
            @for (number, (_, caption)) in before.iter().enumerate() {
                text x="12" y=(44 + LINE * number as i64) { (caption) }
            }
            (times(&sheet, top - 14, bottom))
            @for (number, (at, caption)) in within.iter().enumerate() {
                (told_at(&sheet, number + 1, *at, top - 32, bottom))
                text x="12" y=(bottom + 18 + LINE * number as i64) { (number + 1) ". " (caption) }
            }
            @for (node, lane) in &lanes.lanes {
                (bars(&sheet, *node, lane))
            }
            @for flight in &lanes.flights {
                (flown(&sheet, *flight))
            }
            @for (node, lane) in &lanes.lanes {
                (points(&sheet, sheet.tops[node], lane))
            }
            @for (number, placed) in placed.iter().enumerate() {
                text class="small" x="12" y=(told + LINE * number as i64) { (placed) }
            }
            (legend(legend_top))
        }
    };
    // One element a line, so that a changed picture has a readable difference.
    picture.into_string().replace("><", ">\n<") + "\n"
}

fn last_inputs(moments: &[Moment]) -> BTreeMap<NodeId, usize> {
    moments.iter().enumerate().map(|(number, moment)| (moment.line.node, number)).collect()
}

/// Says how exactly a recording was placed on the axis.
fn placed(alignment: Alignment, name: &str) -> String {
    match alignment {
        Alignment::Reference => format!("{name}: the axis has the time of its clock"),
        Alignment::Within(count, width) => {
            format!("{name}: placed by {count} rounds, to within {} either way", millis(width))
        }
        Alignment::Contradicts(count, width) => {
            format!(
                "{name}: placed by {count} rounds, which contradict each other by {}, as its clock drifts",
                millis(width)
            )
        }
        Alignment::Unknown => format!("{name}: shares no round with the others, so its place is not known"),
    }
}

/// Prints nanoseconds, to a microsecond.
fn millis(nanos: i64) -> String {
    let micros = nanos.unsigned_abs() / 1000;
    let sign = if nanos < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:03}", micros / 1000, micros % 1000);
    format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
}

fn times(sheet: &Sheet<'_>, y: i64, bottom: i64) -> Markup {
    html! {
        @for (at, x) in sheet.axis.labels(MIN_LABEL_WIDTH) {
            line class="axis" x1=(x) y1=(y + 4) x2=(x) y2=(bottom) {}
            text class="small" x=(x) y=(y) { (millis(at / 100_000 * 100_000)) }
        }
    }
}

fn told_at(sheet: &Sheet<'_>, number: usize, at: usize, y: i64, bottom: i64) -> Markup {
    let x = if at < sheet.moments.len() { sheet.axis.place(at) } else { sheet.axis.end() } - 5;
    html! {
        line class="caption-line" x1=(x) y1=(y) x2=(x) y2=(bottom) {}
        circle class="badge" cx=(x) cy=(y - 4) r="8" {}
        text class="small" x=(x) y=(y) text-anchor="middle" { (number) }
    }
}

fn bars(sheet: &Sheet<'_>, node: NodeId, lane: &Lane) -> Markup {
    let top = sheet.tops[&node];
    let bar = |class: &str, y: i64, of: Span, what: &str| {
        let (from, to) = sheet.ends(of);
        html! {
            rect class=(class) x=(from) y=(y) width=(to - from) height=(BAR) rx="2" {
                title { "n" (node) " " (what) " from " (millis(sheet.moments[of.from].at)) " " (sheet.end(of)) }
            }
        }
    };
    html! {
        text class="node" x="12" y=(top + BASE + 5) { "n" (node) }
        line class="base" x1=(LEFT - 14) y1=(top + BASE) x2=(sheet.axis.end()) y2=(top + BASE) {}
        @for of in &lane.leads {
            @let (from, to) = sheet.ends(*of);
            line class="leads" x1=(from) y1=(top + BASE) x2=(to) y2=(top + BASE) {}
        }
        @for of in &lane.leases { (bar("lease", top + LEASE, *of, "has a lease")) }
        @for of in &lane.holds { (bar("hold", top + HOLD, *of, "is held")) }
        @for (anchor, opened) in lane.anchors.iter().filter(|(anchor, _)| sheet.moments[0].at <= *anchor) {
            @let x = opened.map_or_else(|| sheet.axis.place_of(*anchor), |number| sheet.axis.place(number));
            @let y = top + LEASE + BAR / 2;
            path class="anchor" d=(format!("M{x} {} V{} M{} {y} L{x} {} L{} {y}", y - 9, y + 9, x - 4, y - 5, x + 4)) {
                title { "an anchor of n" (node) ": a lease counts from " (millis(*anchor)) }
            }
        }
    }
}

fn flown(sheet: &Sheet<'_>, flight: Flight) -> Markup {
    let (x, y) = sheet.base(flight.to);
    let (from_x, from_y) = flight.from.map_or((x - 8, y - 14), |from| sheet.base(from));
    let class = match flight {
        Flight { is_echo: true, .. } => "echo",
        Flight { accepted: true, .. } => "round",
        Flight { accepted: false, .. } => "ignored",
    };
    html! {
        line class=(class) x1=(from_x) y1=(from_y) x2=(x) y2=(y) {
            title { (input(&sheet.moments[flight.to])) }
        }
        circle class=(class) cx=(x) cy=(y) r="1.5" {}
    }
}

fn points(sheet: &Sheet<'_>, top: i64, lane: &Lane) -> Markup {
    let mut labelled = i64::MIN / 2;
    let marks: Vec<Markup> = lane
        .marks
        .iter()
        .map(|(number, mark)| {
            let x = sheet.axis.place(*number);
            // A label that would cover the one before is left to the tooltip.
            let has_room = x - labelled >= MIN_LABEL_WIDTH;
            labelled = if has_room && !matches!(mark, Mark::Start | Mark::MayElect(_)) { x } else { labelled };
            marked(sheet, top, *number, *mark, has_room)
        })
        .collect();
    html! {
        @for mark in marks { (mark) }
        @for (number, outcome) in &lane.reads {
            @let class = match outcome {
                Outcome::ByLease => "by-lease",
                Outcome::ByQuorum => "by-quorum",
                Outcome::Waits => "waits",
                Outcome::Refused => "refused",
                Outcome::Aborted => "aborted",
            };
            circle class=(class) cx=(sheet.axis.place(*number)) cy=(top + LEASE + BAR / 2) r="4.5" {
                title { (input(&sheet.moments[*number])) }
            }
        }
    }
}

fn marked(sheet: &Sheet<'_>, top: i64, number: usize, mark: Mark, has_room: bool) -> Markup {
    let x = sheet.axis.place(number);
    let event = |class: &str, text: String| {
        html! {
            line class="event-line" x1=(x) y1=(top + EVENTS + 2) x2=(x) y2=(top + BASE) {
                title { (input(&sheet.moments[number])) }
            }
            @if has_room {
                text class=(class) x=(x) y=(top + EVENTS) { (text) }
            }
        }
    };
    let fault = |what: &str| {
        html! {
            path class="aborted" d=(format!("M{} {} l8 8 m0 -8 l-8 8", x - 4, top + BASE - 4)) {
                title { (input(&sheet.moments[number])) }
            }
            @if has_room && !what.is_empty() {
                text class="small fault" x=(x) y=(top + VOTES + 16) { (what) }
            }
        }
    };
    match mark {
        Mark::Start => html! {
            path class="event-line" d=(format!("M{x} {} V{}", top + BASE - 7, top + BASE + 7)) {
                title { (input(&sheet.moments[number])) }
            }
        },
        Mark::Restart => event("event", "restarts".to_owned()),
        Mark::Elected(term) => event("event", format!("leads term {term}")),
        Mark::Deposed => event("event", "deposed".to_owned()),
        Mark::TransferStarted => event("event", "transfer".to_owned()),
        Mark::TransferEnded => event("event", "no transfer".to_owned()),
        Mark::VotersChanged => event("event", "voters".to_owned()),
        Mark::Suspended => event("event", "suspended".to_owned()),
        Mark::Resumed => event("event", "resumed".to_owned()),
        Mark::Clock(ClockFault::Missing, true) => fault("no reading"),
        Mark::Clock(ClockFault::Missing, false) => fault(""),
        Mark::Clock(ClockFault::WentBack, _) => fault("clock back"),
        Mark::Clock(ClockFault::Differs(by), _) => fault(&format!("counters differ, {}", millis(by))),
        Mark::MayElect(may) => {
            let y = top + VOTES;
            let class = if may { "yes" } else { "no" };
            html! {
                path class=(class) d=(format!("M{} {} L{x} {} L{} {} Z", x - 4, y + 4, y - 4, x + 4, y + 4)) {
                    title { (input(&sheet.moments[number])) }
                }
            }
        }
    }
}

/// Returns the line of the trace, without the spaces that align it.
fn input(moment: &Moment) -> String {
    let line = moment.line.shown(&moment.effect, REPLAY_ORIGIN).to_string();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn legend(y: i64) -> Markup {
    let dots = [
        ("by-lease", "read by lease"),
        ("waits", "waits for a quorum round"),
        ("by-quorum", "confirmed"),
        ("refused", "refused"),
        ("aborted", "aborted"),
    ];
    let lines = [
        ("round", "round"),
        ("echo", "its acknowledgement"),
        ("ignored", "round not acknowledged"),
        ("leads", "leads"),
    ];
    html! {
        text class="small" x="12" y=(y) {
            "Time runs to the right; long gaps are shortened, and inputs at the same time follow each other. Names and values are in the tooltips."
        }
        @for (number, (class, what)) in (0..).zip(dots) {
            circle class=(class) cx=(18 + 170 * number) cy=(y + 18) r="4.5" {}
            text class="small" x=(28 + 170 * number) y=(y + 22) { (what) }
        }
        @for (number, (class, what)) in (0..).zip(lines) {
            line class=(class) x1=(12 + 170 * number) y1=(y + 36) x2=(32 + 170 * number) y2=(y + 36) {}
            text class="small" x=(38 + 170 * number) y=(y + 40) { (what) }
        }
        rect class="lease" x="12" y=(y + 47) width="20" height=(BAR) rx="2" {}
        text class="small" x="38" y=(y + 56) { "lease; \u{2191} its anchor" }
        rect class="hold" x="182" y=(y + 47) width="20" height=(BAR) rx="2" {}
        text class="small" x="208" y=(y + 56) { "hold" }
        path class="yes" d=(format!("M352 {} l4 -8 l4 8 Z", y + 56)) {}
        text class="small" x="378" y=(y + 56) { "may vote or campaign" }
        path class="no" d=(format!("M522 {} l4 -8 l4 8 Z", y + 56)) {}
        text class="small" x="548" y=(y + 56) { "may not" }
        path class="aborted" d=(format!("M692 {} l8 8 m0 -8 l-8 8", y + 48)) {}
        text class="small" x="718" y=(y + 56) { "fault of a clock" }
    }
}
