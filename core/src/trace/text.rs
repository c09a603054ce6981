//! Prints a trace.

use super::line::{Answer, Effect, Hold, Input, Line};
use crate::holder::{Action, Event, Read};
use crate::ids::{NodeId, Release, TermRound};
use crate::time::{Instant, Reading, Reason, nanos};
use crate::voters::Voters;
use core::fmt::{self, Write as _};
use core::time::Duration;

/// The widths of the columns of the time and of the input. A longer value pushes the rest of its line to the right.
const TIME_WIDTH: usize = 10;
const INPUT_WIDTH: usize = 34;

/// Returns whether a line of a trace file is blank or a comment.
pub fn is_prose(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// A line and its effects, for printing.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    line: &'a Line,
    effect: &'a Effect,
    origin: Instant,
}

impl Line {
    /// Returns a value that prints this line with its effects; times are relative to `origin`.
    pub fn shown<'a>(&'a self, effect: &'a Effect, origin: Instant) -> Shown<'a> {
        Shown { line: self, effect, origin }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown { line, effect, origin } = *self;
        let time = Time { at: line.now, origin };
        write!(f, "{}{time}  n{} ", Padding(&time, TIME_WIDTH), line.node)?;
        f.write_str(if line.taken { "> " } else { "+ " })?;
        write!(f, "{}{} <", line.input, Padding(&line.input, INPUT_WIDTH))?;
        let mut parts = Parts { f, first: true };
        match effect.answer {
            None => {}
            Some(Answer::Read(Ok(Read::Lease(permit)))) => {
                parts.add(format_args!("lease read term={} index={}", permit.term, permit.index))?;
            }
            Some(Answer::Read(Ok(Read::Quorum(ticket)))) => {
                parts.add(format_args!("quorum read round={} index={}", ticket.round, ticket.index))?;
            }
            Some(Answer::Read(Err(_))) => parts.add(format_args!("not leader"))?,
            Some(Answer::Permit(Some(permit))) => {
                parts.add(format_args!("permit term={} index={}", permit.term, permit.index))?;
            }
            Some(Answer::Permit(None)) => parts.add(format_args!("no permit"))?,
            Some(Answer::Echo(Some(_))) => parts.add(format_args!("echo"))?,
            Some(Answer::Echo(None)) => parts.add(format_args!("no echo"))?,
            Some(Answer::MayElect(true)) => parts.add(format_args!("yes"))?,
            Some(Answer::MayElect(false)) => parts.add(format_args!("no"))?,
        }
        for action in effect.actions.iter().flatten() {
            match action {
                Action::SendRound(round) => parts.add(format_args!("send round={}", round.round))?,
                Action::Confirmed { through } => parts.add(format_args!("confirmed through={through}"))?,
                Action::Aborted { through } => parts.add(format_args!("aborted through={through}"))?,
            }
        }
        let time = |at| Time { at: Some(at), origin };
        match line.input {
            Input::Look => {}
            Input::Start { .. } | Input::Frame(_) | Input::MayElect(_) => match effect.hold {
                Hold::Until(end) if line.now.map_or(true, |now| end.is_maybe_after(now)) => {
                    parts.add(format_args!("held until {}", time(end)))?;
                }
                Hold::Until(_) | Hold::None => parts.add(format_args!("free"))?,
                Hold::FromNextReading => parts.add(format_args!("held from the next reading"))?,
            },
            Input::Event(_) | Input::Timeout | Input::Read | Input::QuorumRead => {
                match effect.lease {
                    Some(end) if line.now.map_or(true, |now| end.is_surely_after(now)) => {
                        parts.add(format_args!("lease until {}", time(end)))?;
                    }
                    Some(end) => parts.add(format_args!("lease ended {}", time(end)))?,
                    None => parts.add(format_args!("no lease"))?,
                }
                if let Some((at, reason)) = effect.wake {
                    parts.add(format_args!("wake {} {reason}", time(at)))?;
                }
            }
        }
        Ok(())
    }
}

/// Writes parts with three spaces between them.
struct Parts<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    first: bool,
}

impl Parts<'_, '_> {
    fn add(&mut self, part: fmt::Arguments<'_>) -> fmt::Result {
        self.f.write_str(if core::mem::take(&mut self.first) { " " } else { "   " })?;
        self.f.write_fmt(part)
    }
}

/// The spaces that fill up a column after a text.
struct Padding<'a, T>(&'a T, usize);

impl<T: fmt::Display> fmt::Display for Padding<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Length(usize);
        impl fmt::Write for Length {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 += text.len();
                Ok(())
            }
        }
        let mut length = Length(0);
        write!(length, "{}", self.0)?;
        (length.0..self.1).try_for_each(|_| f.write_char(' '))
    }
}

/// A reading, relative to an origin.
struct Time {
    at: Reading,
    origin: Instant,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(at) = self.at else { return f.write_str("no reading") };
        let since = |counter: u64, origin: u64| i128::from(counter) - i128::from(origin);
        let awake = since(at.awake_nanos(), self.origin.awake_nanos());
        let total = since(at.total_nanos(), self.origin.total_nanos());
        write!(f, "{}", Millis(awake))?;
        if awake != total {
            write!(f, "/{}", Millis(total))?;
        }
        Ok(())
    }
}

/// Nanoseconds, printed exactly in milliseconds.
struct Millis(i128);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, mut rest) = (nanos / 1_000_000, nanos % 1_000_000);
        write!(f, "{sign}{whole}")?;
        if rest > 0 {
            let mut width = 6;
            while rest % 10 == 0 {
                rest /= 10;
                width -= 1;
            }
            write!(f, ".{rest:0width$}")?;
        }
        f.write_str("ms")
    }
}

fn span(duration: Duration) -> Millis {
    Millis(i128::from(nanos(duration)))
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Start { config, longest_hold, remaining } => {
                let (hold, lease, heartbeat) = (span(config.hold()), span(config.lease()), span(config.heartbeat()));
                let (drift, longest) = (config.timing().drift_ppm, span(*longest_hold));
                write!(f, "start hold={hold} lease={lease} drift={drift}ppm heartbeat={heartbeat} longest={longest}")?;
                remaining.map_or(Ok(()), |remaining| write!(f, " remaining={}", span(remaining)))
            }
            Input::Event(Event::Elected { term, voters, barrier, commit }) => {
                write!(f, "elected term={term} voters={voters} barrier={barrier} commit={commit}")
            }
            Input::Event(Event::Deposed) => f.write_str("deposed"),
            Input::Event(Event::Acked { from, round }) => write!(f, "ack from=n{from} {round}"),
            Input::Event(Event::Committed(index)) => write!(f, "committed index={index}"),
            Input::Event(Event::VotersChanged(voters)) => write!(f, "voters-changed voters={voters}"),
            Input::Event(Event::TransferStarted) => f.write_str("transfer-started"),
            Input::Event(Event::TransferEnded) => f.write_str("transfer-ended"),
            Input::Event(Event::Suspended) => f.write_str("suspended"),
            Input::Event(Event::Resumed) => f.write_str("resumed"),
            Input::Timeout => f.write_str("timeout"),
            Input::Read => f.write_str("read"),
            Input::QuorumRead => f.write_str("quorum-read"),
            Input::Look => f.write_str("look"),
            Input::Frame(round) => write!(f, "frame {round}"),
            Input::MayElect(None) => f.write_str("may-elect"),
            Input::MayElect(Some(release)) => write!(f, "may-elect {release}"),
        }
    }
}

impl fmt::Display for TermRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term={} round={}", self.term, self.round)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "release={}/{}", self.through.term, self.through.round)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Heartbeat => "heartbeat",
            Reason::Tick => "tick",
        })
    }
}

impl fmt::Display for Voters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Voters::NONE {
            return f.write_str("none");
        }
        list(f, self.incoming())?;
        if !self.outgoing().is_empty() {
            f.write_char('&')?;
            list(f, self.outgoing())?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, ids: &[NodeId]) -> fmt::Result {
    for (place, id) in ids.iter().enumerate() {
        if place > 0 {
            f.write_char(',')?;
        }
        write!(f, "{id}")?;
    }
    Ok(())
}
