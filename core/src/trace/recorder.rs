//! Writes a trace.

use super::line::{Effect, Input, Line};
use super::replay::REPLAY_ORIGIN;
use crate::holder::Action;
use crate::ids::NodeId;
use crate::time::Reading;
use core::fmt;

/// Writes a node's trace as it runs. A line is written when its outputs have been taken, or when the next input comes.
#[derive(Clone, Debug)]
pub struct Recorder {
    node: NodeId,
    origin: Reading,
    waiting: Option<(Line, Effect)>,
}

impl Recorder {
    /// Creates the recorder of one node. Times are relative to `origin`, or to the first reading if `origin` is `None`.
    pub fn new(node: NodeId, origin: Reading) -> Recorder {
        Recorder { node, origin, waiting: None }
    }

    /// Records an input and the state right after it.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn input(&mut self, now: Reading, input: Input, effect: Effect, out: &mut impl fmt::Write) -> fmt::Result {
        self.write(false, out)?;
        self.origin = self.origin.or(now);
        self.waiting = Some((Line { node: self.node, now, input, taken: false }, effect));
        Ok(())
    }

    /// Records an action that was taken. An action before the first input belongs to no line and is ignored.
    pub fn action(&mut self, action: Action) {
        if let Some((_, effect)) = &mut self.waiting {
            effect.add(action);
        }
    }

    /// Records that no action is left to take.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn taken(&mut self, out: &mut impl fmt::Write) -> fmt::Result {
        self.write(true, out)
    }

    fn write(&mut self, taken: bool, out: &mut impl fmt::Write) -> fmt::Result {
        let Some((line, effect)) = self.waiting.take() else { return Ok(()) };
        // Without an origin there was no reading yet, so the line has no time to print.
        let origin = self.origin.unwrap_or(REPLAY_ORIGIN);
        writeln!(out, "{}", Line { taken, ..line }.shown(&effect, origin))
    }
}
