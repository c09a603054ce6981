//! Parses a trace.

use super::line::{Input, Line};
use crate::config::{Config, Options};
use crate::holder::Event;
use crate::ids::{NodeId, Release, TermRound};
use crate::time::{Instant, Reading};
use crate::voters::{MAX_VOTERS, Voters};
use core::fmt;
use core::time::Duration;

/// An error of [`Line::parse`]: the text is not a line of a trace. The caller adds the line number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Malformed {
    /// The column, from 1, of the first character that is wrong.
    pub column: usize,
    /// The text expected there.
    pub expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: expected {}", self.column, self.expected)
    }
}

impl core::error::Error for Malformed {}

impl Line {
    /// Parses a line. The effects after `<` are ignored: replaying produces them.
    ///
    /// # Errors
    /// [`Malformed`], with the place of the error and the text expected there.
    pub fn parse(text: &str, origin: Instant) -> Result<Line, Malformed> {
        let mut words = Words { whole: text, rest: text.split('<').next().unwrap_or_default() };
        let now = words.reading(origin)?;
        let node = words.keyed("n", "a node, such as `n1`")?;
        let taken = words.taken()?;
        let input = words.input()?;
        words.end()?;
        Ok(Line { node, now, input, taken })
    }
}

const INPUT: &str = "an input: start, elected, deposed, ack, committed, voters-changed, transfer-started, \
                     transfer-ended, timeout, read, quorum-read, look, frame or may-elect";
const TIME: &str = "a time such as `7ms`, `7.5ms` or `7ms/60007ms`, or `no reading`";
const SPAN: &str = "a duration such as `hold=1000ms`: hold, lease, drift, heartbeat and longest, in this order";

/// The rest of a line. Words are separated by any number of spaces.
struct Words<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn wrong<T>(&self, at: &str, expected: &'static str) -> Result<T, Malformed> {
        // `at` is a slice of `whole`, so the difference of the addresses is its offset.
        let bytes = at.as_ptr() as usize - self.whole.as_ptr() as usize;
        let before = self.whole.get(..bytes).unwrap_or_default();
        Err(Malformed { column: before.chars().count() + 1, expected })
    }

    fn next(&mut self) -> &'a str {
        let start = self.rest.trim_start();
        let end = start.find(char::is_whitespace).unwrap_or(start.len());
        let (word, rest) = start.split_at(end);
        self.rest = rest;
        word
    }

    fn end(&mut self) -> Result<(), Malformed> {
        match self.next() {
            "" => Ok(()),
            more => self.wrong(more, "nothing more before `<`"),
        }
    }

    fn reading(&mut self, origin: Instant) -> Result<Reading, Malformed> {
        let word = self.next();
        if word == "no" {
            return match self.next() {
                "reading" => Ok(None),
                other => self.wrong(other, TIME),
            };
        }
        let (awake, total) = word.split_once('/').unwrap_or((word, word));
        let since = |origin: u64, text: &str| u64::try_from(i128::from(origin) + millis(text)?).ok();
        match (since(origin.awake_nanos(), awake), since(origin.total_nanos(), total)) {
            (Some(awake), Some(total)) => Ok(Some(Instant::from_nanos(awake, total))),
            _ => self.wrong(word, TIME),
        }
    }

    fn taken(&mut self) -> Result<bool, Malformed> {
        match self.next() {
            ">" => Ok(true),
            "+" => Ok(false),
            other => self.wrong(other, "`>` or `+`"),
        }
    }

    fn input(&mut self) -> Result<Input, Malformed> {
        let word = self.next();
        Ok(match word {
            "start" => self.start()?,
            "elected" => Input::Event(Event::Elected {
                term: self.keyed("term=", "`term=` and a number")?,
                voters: self.voters()?,
                barrier: self.keyed("barrier=", "`barrier=` and an index")?,
                commit: self.keyed("commit=", "`commit=` and an index")?,
            }),
            "deposed" => Input::Event(Event::Deposed),
            "ack" => {
                let from = self.keyed("from=n", "`from=n` and a node's number")?;
                Input::Event(Event::Acked { from, round: self.round()? })
            }
            "committed" => Input::Event(Event::Committed(self.keyed("index=", "`index=` and a number")?)),
            "voters-changed" => Input::Event(Event::VotersChanged(self.voters()?)),
            "transfer-started" => Input::Event(Event::TransferStarted),
            "transfer-ended" => Input::Event(Event::TransferEnded),
            "suspended" => Input::Event(Event::Suspended),
            "resumed" => Input::Event(Event::Resumed),
            "timeout" => Input::Timeout,
            "read" => Input::Read,
            "quorum-read" => Input::QuorumRead,
            "look" => Input::Look,
            "frame" => Input::Frame(self.round()?),
            "may-elect" => Input::MayElect(self.release()?),
            other => return self.wrong(other, INPUT),
        })
    }

    fn start(&mut self) -> Result<Input, Malformed> {
        let from = self.rest;
        let hold = self.span("hold=")?;
        let lease = self.span("lease=")?;
        let word = self.next();
        let drift = word.strip_prefix("drift=").and_then(|word| word.strip_suffix("ppm"));
        let Some(drift_ppm) = drift.and_then(|drift| drift.parse().ok()) else {
            return self.wrong(word, "`drift=`, a number and `ppm`");
        };
        let heartbeat = self.span("heartbeat=")?;
        let longest_hold = self.span("longest=")?;
        let remaining =
            if self.rest.trim_start().starts_with("remaining=") { Some(self.span("remaining=")?) } else { None };
        match Config::new(Options::new(hold, drift_ppm).with_lease(lease).with_heartbeat(heartbeat)) {
            Ok(config) => Ok(Input::Start { config, longest_hold, remaining }),
            Err(_) => self.wrong(from.trim_start(), "a consistent hold, lease, drift and heartbeat"),
        }
    }

    fn span(&mut self, key: &str) -> Result<Duration, Malformed> {
        let word = self.next();
        let nanos = word.strip_prefix(key).and_then(millis).and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map_or_else(|| self.wrong(word, SPAN), |nanos| Ok(Duration::from_nanos(nanos)))
    }

    fn round(&mut self) -> Result<TermRound, Malformed> {
        let term = self.keyed("term=", "`term=` and a number")?;
        Ok(TermRound { term, round: self.keyed("round=", "`round=` and a number")? })
    }

    fn release(&mut self) -> Result<Option<Release>, Malformed> {
        let word = self.next();
        if word.is_empty() {
            return Ok(None);
        }
        let pair = word.strip_prefix("release=").and_then(|pair| pair.split_once('/'));
        match pair.map(|(term, round)| (term.parse(), round.parse())) {
            Some((Ok(term), Ok(round))) => Ok(Some(Release { through: TermRound { term, round } })),
            _ => self.wrong(word, "nothing, or `release=`, a term, `/` and a round"),
        }
    }

    fn keyed(&mut self, key: &str, expected: &'static str) -> Result<u64, Malformed> {
        let word = self.next();
        let number = word.strip_prefix(key).and_then(|number| number.parse().ok());
        number.map_or_else(|| self.wrong(word, expected), Ok)
    }

    fn voters(&mut self) -> Result<Voters, Malformed> {
        let word = self.next();
        let voters = word.strip_prefix("voters=").and_then(|list| {
            if list == "none" {
                return Some(Voters::NONE);
            }
            let (incoming, outgoing) = list.split_once('&').map_or((list, None), |(one, two)| (one, Some(two)));
            let incoming = Half::of(incoming)?;
            let outgoing = outgoing.map_or(Some(Half::default()), Half::of)?;
            Voters::joint(incoming.ids(), outgoing.ids()).ok()
        });
        voters.map_or_else(|| self.wrong(word, "`voters=` and numbers such as `1,2,3`, `1,2,3&3,4,5` or `none`"), Ok)
    }
}

#[derive(Default)]
struct Half {
    ids: [NodeId; MAX_VOTERS],
    len: usize,
}

impl Half {
    fn of(list: &str) -> Option<Half> {
        let mut half = Half::default();
        for id in list.split(',') {
            *half.ids.get_mut(half.len)? = id.parse().ok()?;
            half.len += 1;
        }
        Some(half)
    }

    fn ids(&self) -> &[NodeId] {
        &self.ids[..self.len]
    }
}

/// Parses nanoseconds from a text such as `7ms`, `-7ms` or `7.000001ms`.
fn millis(text: &str) -> Option<i128> {
    let text = text.strip_suffix("ms")?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return None;
    }
    let mut nanos = i128::from(whole.parse::<u64>().ok()?) * 1_000_000;
    let mut unit = 100_000;
    for byte in fraction.bytes() {
        nanos += i128::from(byte - b'0') * unit;
        unit /= 10;
    }
    Some(if negative { -nanos } else { nanos })
}
